//! Records of DTLS between two ends.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::dtls(data));
