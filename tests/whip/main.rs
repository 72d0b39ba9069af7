//! WHIP and WHEP over HTTP: a small server, our client, the program, and real peers as clients.
#![cfg(all(feature = "server", any(feature = "aws-lc", feature = "rust-crypto")))]

mod client;
mod losses;
mod peers;
#[cfg(feature = "cli")]
mod program;
mod server;
