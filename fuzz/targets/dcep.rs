//! Messages of DCEP, and data on the streams they open.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::dcep(data));
