//! One program that serves streams, rooms and calls: the door, the peers and the services on one thread.

mod access;
mod config;

pub use self::config::{ConfigError, DoorTls, GatewayConfig};
