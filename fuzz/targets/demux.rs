//! Datagrams on a port that peers share.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::demux(data));
