//! Requests to the interfaces of other programs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::compat_requests(data));
