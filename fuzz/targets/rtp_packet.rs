//! RTP and RTCP packets.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::rtp_packet(data));
