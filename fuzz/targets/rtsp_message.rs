//! Data of a camera's connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::rtsp_message(data));
