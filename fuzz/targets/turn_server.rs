//! Clients of the TURN server, and peers of its relays.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::turn_server(data));
