//! Connectivity checks and their answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::stun_peer(data));
