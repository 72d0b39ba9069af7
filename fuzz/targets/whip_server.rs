//! Requests to WHIP and WHEP, with peers inside.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::whip_server(data));
