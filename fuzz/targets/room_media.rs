//! Packets of a camera in layers, for a receiver whose layer changes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::room_media(data));
