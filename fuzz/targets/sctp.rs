//! Packets of SCTP in an established association.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::sctp(data));
