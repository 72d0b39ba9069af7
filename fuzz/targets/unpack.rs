//! Depacketizers of cameras.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::unpack(data));
