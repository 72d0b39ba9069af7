//! Peers on a simulated network and clock: hours pass in seconds, and a failing seed replays.

mod channels;
mod common;
mod connectivity;
mod gate;
mod lossy;
mod nat;
mod negotiation;
mod packets;
mod tracks;
