//! Servers that a program can have on its own thread, beside its peers.

#[cfg(feature = "server")]
pub mod door;
#[cfg(feature = "server")]
pub mod http;

#[cfg(any(feature = "server", feature = "turn-server"))]
mod tls;
#[cfg(feature = "turn-server")]
pub mod turn;
#[cfg(any(feature = "server", feature = "turn-server"))]
mod who;
