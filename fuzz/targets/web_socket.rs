//! WebSocket frames at the door.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::web_socket(data));
