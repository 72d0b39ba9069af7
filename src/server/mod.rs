//! Servers that a program can have on its own thread, beside its peers.

pub mod turn;
