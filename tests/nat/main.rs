//! Connections through every kind of NAT, in network namespaces, with coturn as the server (`tests/nat/lab`).
//!
//! `cargo test --test nat` runs the tests of continuous integration. `LOOPRTC_MATRIX=1 cargo test --test nat matrix --
//! --nocapture` generates the table of docs/nat.md: both sides of each pair, three times.
#![cfg(target_os = "linux")]

#[path = "../real_peers/child.rs"]
#[expect(dead_code, reason = "a part of it is enough here")]
mod child;
mod client;
mod lab;
mod mapped;
mod matrix;
mod others;
mod over_tcp;
mod server;
mod session;
mod soak;
mod trouble;
mod which;
