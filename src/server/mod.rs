//! Servers that a program can have on its own thread, beside its peers.

#[cfg(feature = "server")]
pub mod calls;
#[cfg(feature = "server")]
pub mod door;
#[cfg(feature = "server")]
pub mod gateway;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod pages;
#[cfg(feature = "server")]
pub mod rooms;
#[cfg(feature = "server")]
pub mod streams;
#[cfg(feature = "server")]
pub mod token;
#[cfg(feature = "turn-server")]
pub mod turn;
#[cfg(feature = "server")]
pub mod whip;

#[cfg(feature = "server")]
mod limits;
#[cfg(feature = "self-signed")]
mod self_signed;
#[cfg(any(feature = "server", feature = "turn-server"))]
mod tls;
#[cfg(any(feature = "server", feature = "turn-server"))]
mod who;
