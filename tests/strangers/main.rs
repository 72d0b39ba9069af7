//! What strangers make the real program do: lines of log, time, and bytes sent, against the bytes that they send.
#![cfg(all(
    target_os = "linux",
    feature = "cli",
    any(feature = "aws-lc", feature = "rust-crypto")
))]

mod candidates;
mod growth;
mod log;
mod server;
