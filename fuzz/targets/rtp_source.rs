//! Senders of plain RTP.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::rtp_source(data));
