//! RTP payloads of one codec, made into frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::depacketize(data));
