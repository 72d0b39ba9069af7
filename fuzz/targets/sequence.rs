//! Schedules of calls, network faults and time over two peers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| looprtc::testing::fuzz::sequence(data));
