//! What is said before media flows: offers, answers and candidates over HTTP.
//!
//! - [`address`]: where to listen and whom to call, written as Go writes it (`:50000`).
//! - [`http`]: a server for `POST /sdp` and `POST /candidate`. Its threads only carry messages: each
//!   becomes a [`http::Request`] in a bounded queue, and the application's verdict becomes the
//!   response.
//! - [`client`]: [`client::Poster`], which posts to the other end, in order and with retries,
//!   without ever blocking the loop.
//! - [`pion`]: both joined to a peer, as pion's pion-to-pion does it.
//! - [`whip`]: WHIP and WHEP.
//!
//! The messages themselves are parsed and written by [`crate::proto::signal`].

pub mod address;
mod agent;
pub mod client;
pub mod http;
pub mod pion;
pub mod whip;

/// The content type of every message, as pion's pion-to-pion sends it.
pub const CONTENT_TYPE: &str = "application/json; charset=utf-8";
