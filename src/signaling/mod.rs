//! Signaling over HTTP: offers, answers and candidates.
//!
//! - [`address`]: addresses to listen on and to connect to, in Go's notation (`:50000`).
//! - [`http`]: a server for `POST /sdp` and `POST /candidate`. Its threads only transport messages: each becomes a
//!   [`http::SignalRequest`] in a bounded queue, and the application's verdict becomes the response.
//! - [`client`]: [`client::Poster`], which posts to the remote side, in order and with retries, without blocking the
//!   loop.
//! - [`pion`]: both combined with a peer, as in pion's pion-to-pion.
//! - [`whip`]: WHIP and WHEP.
//! - `onvif`: finds cameras on the network (feature `onvif`).
//!
//! The messages themselves are parsed and written by [`crate::proto::signal`].

pub mod address;
mod agent;
pub mod client;
pub mod http;
#[cfg(feature = "onvif")]
pub mod onvif;
pub mod pion;
pub mod whip;

/// Content type of every message, as sent by pion's pion-to-pion.
pub const CONTENT_TYPE: &str = "application/json; charset=utf-8";
