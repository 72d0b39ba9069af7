//! An MP4, Matroska or WebM file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::movie(data));
