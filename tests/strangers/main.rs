//! Costs that unauthenticated clients can cause to the real program, relative to the bytes they send: log lines, time,
//! bytes sent.
#![cfg(all(
    target_os = "linux",
    feature = "cli",
    any(feature = "aws-lc", feature = "rust-crypto")
))]

mod candidates;
mod growth;
mod log;
mod server;
