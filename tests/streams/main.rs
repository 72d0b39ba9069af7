//! Named streams for many viewers, over real sockets on this machine.
#![cfg(feature = "server")]

mod files;
mod stage;
