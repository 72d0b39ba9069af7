//! A frame: whether it is a keyframe, and of what size.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::frame(data));
