//! Datagrams to a peer in several states.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::peer_datagrams(data));
