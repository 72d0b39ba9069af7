//! Timestamps and sender reports of a camera.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::timeline(data));
