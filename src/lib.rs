//! WebRTC on a loop you own.
//!
//! A map of the crate, bottom to top:
//!
//! - [`proto`]: the sans-IO core. [`proto::peer::Peer`] is one peer connection; it is told the time
//!   and what arrived, and says what to send and when to wake it. No socket, clock or thread.
//! - `driver`: [`driver::EventLoop`], the one place that touches mio and the clock.
//! - `signaling`: what is said before media flows.
//! - `server`: [`server::turn`], STUN and TURN for those who have no such server.
//!
//! With `default-features = false` only [`proto`] is built.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod seldom;

pub mod proto;

#[cfg(any(feature = "signaling", feature = "turn-server"))]
mod setters;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(feature = "driver")]
pub mod driver;

#[cfg(feature = "signaling")]
pub mod signaling;

#[cfg(any(feature = "server", feature = "turn-server"))]
pub mod server;
