//! The look at a datagram that finds its peer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::stun_peek(data));
