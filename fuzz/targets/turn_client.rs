//! What a TURN server says to its client.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::turn_client(data));
