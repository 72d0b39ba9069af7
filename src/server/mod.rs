//! Servers that a program can have on its own thread, beside its peers.

#[cfg(feature = "server")]
pub mod calls;
#[cfg(feature = "server")]
pub mod gateway;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
mod keys;
#[cfg(feature = "server")]
mod limits;
#[cfg(feature = "server")]
pub mod rooms;

#[cfg(feature = "turn-server")]
pub mod turn;
