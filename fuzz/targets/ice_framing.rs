//! A stream of messages with their lengths before them (RFC 4571).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::ice_framing(data));
