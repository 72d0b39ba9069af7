//! Answers of STUN servers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::stun_bindings(data));
