//! Pages that come and go in rooms, with peers inside.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::rooms_with_peers(data));
