//! WebRTC without an async runtime: peer connections, data channels and media tracks on one thread, driven by one
//! poll loop, with events that the application pulls.
//!
//! Two peers, joined by a data channel, on one loop. Between two machines, whatever signaling there is (HTTP, MQTT, a
//! QR code) carries the descriptions and candidates that are handed over directly here:
//!
//! ```
//! # #[cfg(all(feature = "driver", any(feature = "aws-lc", feature = "rust-crypto")))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use looprtc::driver::{EventLoop, LoopConfig};
//! use looprtc::proto::peer::{ChannelConfig, PeerConfig, PeerEvent};
//! use std::time::Duration;
//!
//! let mut net = EventLoop::new(LoopConfig::default())?;
//! // Peers of one machine need its loopback addresses.
//! let config = PeerConfig::default().include_loopback(true);
//! let (caller, callee) = (net.add_peer(config.clone())?, net.add_peer(config)?);
//! net.peer(caller)?.create_data_channel(ChannelConfig::new("data"))?;
//!
//! loop {
//!     let Some((id, event)) = net.next_event(Some(Duration::from_secs(20)))? else {
//!         return Err("the peers did not find each other".into());
//!     };
//!     let other = if id == caller { callee } else { caller };
//!     match event {
//!         PeerEvent::NegotiationNeeded => {
//!             let offer = net.peer(id)?.negotiate()?;
//!             if let Some(answer) = net.peer(other)?.receive(offer)? {
//!                 net.peer(id)?.receive(answer)?;
//!             }
//!         }
//!         PeerEvent::IceCandidate(candidate) => {
//!             net.peer(other)?.add_ice_candidate(candidate)?;
//!         }
//!         PeerEvent::ChannelOpen(channel) if id == caller => {
//!             net.peer(id)?.send_text(channel, "hello")?;
//!         }
//!         PeerEvent::ChannelMessage { message, .. } => {
//!             println!("{message:?}");
//!             break;
//!         }
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "driver", any(feature = "aws-lc", feature = "rust-crypto"))))]
//! # fn main() {}
//! ```
//!
//! # Modules, from bottom to top
//!
//! - [`proto`]: the sans-IO core. [`proto::peer::Peer`] is one peer connection: it is told the time and the datagrams that
//!   arrived, and returns the datagrams to send, the events, and its next deadline. It owns no socket, clock or thread.
//!   Media files, RTP and the explanation of session descriptions (`proto::inspect`) are here too.
//! - `driver`: `EventLoop`, which drives any number of peers over one UDP port with mio, and gathers their candidates.
//! - `signaling`: clients for WHIP and WHEP, and the HTTP signaling of pion's examples.
//! - `server`: a port for pages, HTTP and WebSockets (`door`), named streams for many viewers (`streams`), WHIP and WHEP
//!   (`whip`), rooms, calls, a STUN and TURN server (`turn`), and all of these in one (`gateway`), which is what the
//!   program `looprtc serve` runs.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `driver` | yes | the event loop on mio |
//! | `signaling` | yes | WHIP, WHEP and HTTP signaling |
//! | `server` | with `cli` | streams, WHIP and WHEP endpoints, rooms and calls |
//! | `turn-server` | with `cli` | a STUN and TURN server |
//! | `cli` | yes | the program `looprtc` |
//! | `tls` | yes | TLS for TURN clients (`turns:`) and servers, by rustls |
//! | `self-signed` | yes | certificates created at startup |
//! | `movies` | yes | MP4, Matroska and WebM as input |
//! | `aws-lc` | yes | cryptography by AWS-LC (needs a C compiler) |
//! | `rust-crypto` | no | cryptography in pure Rust |
//! | `openssl` | no | DTLS by OpenSSL, for peers with RSA certificates |
//! | `testing` | no | a simulated network and clock, for tests |
//!
//! With `default-features = false` only [`proto`] is built; add one of the three cryptography features to connect.
//! `ARCHITECTURE.md` in the repository explains the design, `docs/limits.md` lists every limit with its test.
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
