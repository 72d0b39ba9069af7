//! The door with real clients: those that behave, and those that do not.
//!
//! `tests/setup` installs the clients. One that is missing is said loudly, and fails the test where the environment
//! variable `CI` is set.

#![cfg(all(target_os = "linux", feature = "self-signed"))]

mod app;
mod crowd;
mod descriptors;
mod http;
mod tls;
mod web_socket;
