//! Descriptions, candidates and URLs to be explained.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::inspect(data));
