//! Peers on a simulated network and clock: hours pass in seconds, and a failing seed replays.

mod common;
mod lossy;
mod negotiation;
mod tracks;
