//! Servers that run on a program's own thread, beside its peers.

#[cfg(feature = "server")]
pub mod calls;
#[cfg(feature = "server")]
pub(crate) mod cameras;
#[cfg(feature = "server")]
pub mod compat;
#[cfg(feature = "server")]
pub mod door;
#[cfg(feature = "server")]
pub mod gateway;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub(crate) mod pages;
#[cfg(feature = "server")]
pub mod proxies;
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

#[cfg(any(feature = "server", feature = "turn-server"))]
mod cidr;
#[cfg(feature = "server")]
mod ice_servers;
#[cfg(feature = "server")]
mod limits;
#[cfg(feature = "server")]
mod names;
#[cfg(any(feature = "server", feature = "turn-server"))]
pub(crate) mod quota;
#[cfg(feature = "self-signed")]
mod self_signed;
#[cfg(any(feature = "server", feature = "turn-server"))]
mod tls;
