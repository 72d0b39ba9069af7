//! Servers that a program can have on its own thread, beside its peers.

#[cfg(feature = "server")]
pub mod gateway;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod pages;
#[cfg(feature = "server")]
pub mod token;

#[cfg(feature = "server")]
pub mod streams;

#[cfg(feature = "turn-server")]
pub mod turn;

#[cfg(feature = "server")]
pub mod whip;
