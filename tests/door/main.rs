//! The HTTP port with real clients, well-behaved and otherwise.
//!
//! `tests/setup` installs the clients. A missing one is reported, and fails the test if the environment variable `CI`
//! is set.

#![cfg(all(target_os = "linux", feature = "self-signed"))]

mod app;
mod crowd;
mod descriptors;
mod http;
mod tls;
mod web_socket;
