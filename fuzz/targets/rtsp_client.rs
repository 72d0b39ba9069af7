//! Sessions with cameras.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::rtsp_client(data));
