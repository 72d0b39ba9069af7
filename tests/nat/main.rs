//! Through every kind of NAT, in network namespaces, with coturn as the server (`tests/nat/lab`).
//!
//! `cargo test --test nat` runs what continuous integration runs. `LOOPRTC_MATRIX=1 cargo test --test nat
//! matrix -- --nocapture` makes the table of docs/nat.md: both sides of each pair, three times.
#![cfg(target_os = "linux")]

mod client;
mod lab;
mod matrix;
mod server;
mod session;
mod trouble;
mod which;
