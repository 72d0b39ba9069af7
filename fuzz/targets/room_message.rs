//! What pages say in rooms and calls.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::room_message(data));
