//! Peers on a simulated network and clock: hours pass in seconds, and a failing seed replays.

mod attacks;
mod channels;
mod checks;
mod codecs;
mod common;
mod connectivity;
mod descriptions;
mod gate;
mod ice_tcp;
mod impaired;
mod limits;
mod lossy;
mod nat;
mod negotiation;
mod packets;
mod recovery;
mod relays;
mod secrets;

mod tracks;
