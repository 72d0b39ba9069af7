//! Named streams for many viewers, over real sockets on this machine.
#![cfg(feature = "server")]

mod browser;
#[cfg(feature = "movies")]
mod cases;
mod files;
mod leak;
mod pipes;
mod publishers;
mod rtp;
mod stage;
mod whep;
