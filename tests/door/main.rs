//! The door with real clients: those that behave, and those that do not.
//!
//! `tests/setup` installs the clients. One that is missing is said loudly, and fails the test where the environment
//! variable `CI` is set.

#![cfg(all(unix, feature = "server", feature = "tls"))]

mod app;
mod http;
mod latency;
mod web_socket;
