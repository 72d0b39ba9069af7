//! Connections to the door: bytes in pieces, answers, WebSockets, ends, deadlines.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::door(data));
