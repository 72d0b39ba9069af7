//! The sans-IO core: no sockets, no clock, no threads, no I/O.
//!
//! Every machine here has the same three verbs: `handle_input` (a datagram, a timeout, a socket
//! opened or lost), `poll_output` (what to send, which socket to open, an event, and last the next
//! timeout: drained) and the verbs of its own, which take `now`.
// Tests may look at the clock to have a time to tell.
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod ice;
pub mod inspect;
pub mod media;
pub mod net;
pub mod peer;
mod random;
pub mod rtp;
// Its parts are used by `peer`, `inspect`, `rtp` and, above, by signaling and the server.
pub(crate) mod sdp;
pub mod signal;
