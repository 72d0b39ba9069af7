//! Arrivals at the jitter buffer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::jitter(data));
