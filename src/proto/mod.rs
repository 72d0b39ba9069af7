//! The sans-IO core: no sockets, no clock, no threads, no I/O.
//!
//! Every machine has the same kinds of methods: `handle_…` takes input (a datagram, a timeout, a socket that was opened
//! or closed), `poll_output` returns what to do (send, open a socket, report an event) and, when drained, the next
//! timeout. Methods that depend on the time take it as `now`.
// Tests may read the clock to have a starting time.
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

// Its values are public as `server::http`.
#[cfg(feature = "signaling")]
pub(crate) mod http;
pub mod ice;
pub mod inspect;
pub mod media;
pub mod net;
#[cfg(feature = "onvif")]
pub mod onvif;
pub mod peer;
mod random;
pub mod rtp;
pub mod rtsp;
// Used by `peer`, `inspect`, `rtp` and, above, by signaling and the server.
pub(crate) mod sdp;
pub mod signal;
