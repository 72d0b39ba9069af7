//! A stream with a publisher and viewers that are connected, with frames of the fuzzer's making.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::published(data));
