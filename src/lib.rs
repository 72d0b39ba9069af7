//! WebRTC without an async runtime: peer connections, data channels and media tracks on one thread, driven by one
//! poll loop, with events that the application pulls.
//!
//! # Five minutes to a data channel
//!
//! Two peers on one loop, joined by a data channel:
//!
//! ```
//! # #[cfg(all(feature = "driver", any(feature = "aws-lc", feature = "rust-crypto")))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use looprtc::{ChannelConfig, EventLoop, LoopConfig, PeerConfig, PeerEvent, PortPolicy};
//! use std::time::Duration;
//!
//! let mut net = EventLoop::new(LoopConfig::default())?;
//! // Both peers are on this machine: they need its loopback addresses, and a port each.
//! let config = PeerConfig::default().include_loopback(true).port(PortPolicy::Own);
//! let (caller, callee) = (net.add_peer(config.clone())?, net.add_peer(config)?);
//! net.peer(caller)?.create_data_channel(ChannelConfig::new("data"))?;
//!
//! loop {
//!     let Some((id, event)) = net.next_event(Some(Duration::from_secs(20)))? else {
//!         return Err("the peers did not find each other".into());
//!     };
//!     let other = if id == caller { callee } else { caller };
//!     match event {
//!         // Signaling: between two machines, HTTP, MQTT or a QR code carries these.
//!         PeerEvent::NegotiationNeeded => {
//!             let offer = net.peer(id)?.negotiate()?;
//!             if let Some(answer) = net.peer(other)?.receive(offer)? {
//!                 net.peer(id)?.receive(answer)?;
//!             }
//!         }
//!         PeerEvent::IceCandidate(candidate) => {
//!             let candidate = candidate.map(|candidate| candidate.to_init());
//!             net.peer(other)?.add_ice_candidate(candidate.as_ref())?;
//!         }
//!         PeerEvent::ChannelOpen(channel) if id == caller => {
//!             net.peer(id)?.send_text(channel, "hello")?;
//!         }
//!         PeerEvent::ChannelMessage { message, .. } => {
//!             println!("{message:?}");
//!             break;
//!         }
//!         PeerEvent::Error(error) => return Err(error.into()),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "driver", any(feature = "aws-lc", feature = "rust-crypto"))))]
//! # fn main() {}
//! ```
//!
//! Between two machines, both ends do the same four things, over any transport that delivers in order. [`SignalMessage`]
//! reads and writes the JSON that browsers use, so that the other end may be a page:
//!
//! | when | do |
//! |---|---|
//! | [`PeerEvent::NegotiationNeeded`] | send the description that [`negotiate`](Peer::negotiate) returns |
//! | [`PeerEvent::IceCandidate`] | send the candidate |
//! | a description arrives | pass it to [`receive`](Peer::receive), and send the answer that it may return |
//! | a candidate arrives | pass it to [`add_ice_candidate`](Peer::add_ice_candidate) |
//!
//! ```
//! # #[cfg(feature = "driver")] mod with_driver {
//! use looprtc::{EventLoop, PeerEvent, PeerId, SignalMessage};
//!
//! /// Returns the text to send to the other end after this event, if any.
//! fn to_send(
//!     net: &mut EventLoop,
//!     id: PeerId,
//!     event: &PeerEvent,
//! ) -> Result<Option<String>, Box<dyn std::error::Error>> {
//!     Ok(match event {
//!         PeerEvent::NegotiationNeeded => Some(net.peer(id)?.negotiate()?.to_json()),
//!         PeerEvent::IceCandidate(Some(candidate)) => Some(candidate.to_init().to_json()),
//!         PeerEvent::IceCandidate(None) => Some(SignalMessage::EndOfCandidates.to_json()),
//!         _ => None,
//!     })
//! }
//!
//! /// Handles a text that the other end has sent. Returns the answer to send back, if any.
//! fn on_text(
//!     net: &mut EventLoop,
//!     id: PeerId,
//!     text: &str,
//! ) -> Result<Option<String>, Box<dyn std::error::Error>> {
//!     let mut peer = net.peer(id)?;
//!     match SignalMessage::parse(text.as_bytes())? {
//!         SignalMessage::Description(description) => {
//!             return Ok(peer.receive(description)?.map(|answer| answer.to_json()));
//!         }
//!         SignalMessage::Candidate(candidate) => peer.add_ice_candidate(Some(&candidate))?,
//!         SignalMessage::EndOfCandidates => peer.add_ice_candidate(None)?,
//!         SignalMessage::Bye => peer.close(),
//!         _ => {}
//!     }
//!     Ok(None)
//! }
//! # }
//! ```
//!
//! Offers that cross are resolved ([`Politeness`]); candidates that arrive before their description are kept until it is
//! there. After a change of network the same events come again, and the same code brings the connection back.
//!
//! # Five minutes to a camera
//!
//! Sends H.264 from the standard input to a WHIP server (RFC 9725), for example to `looprtc serve`:
//!
//! ```no_run
//! # #[cfg(feature = "signaling")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use looprtc::driver::LocalTrack;
//! use looprtc::proto::media::{Limits, Reader};
//! use looprtc::signaling::whip::{WhipClient, WhipClientConfig, WhipEvent};
//! use looprtc::{Codec, Direction, EncodedFrame, EventLoop, LoopConfig, MediaKind, PeerConfig, TransceiverConfig};
//! use std::io::Read;
//! use std::sync::mpsc;
//! use std::time::Instant;
//!
//! let mut net = EventLoop::new(LoopConfig::default())?;
//! let peer = net.add_peer(PeerConfig::default().include_loopback(true))?;
//! let track = TransceiverConfig::default().codecs([Codec::H264]).direction(Direction::SendOnly);
//! let mut camera = LocalTrack::new(MediaKind::Video, track);
//! camera.add_to(&mut net, peer)?;
//! let config = WhipClientConfig::new("http://localhost:8080/whip/live");
//! let mut session = WhipClient::start(&mut net, peer, config)?;
//!
//! // Reading blocks, so another thread does it. It wakes the loop for each piece.
//! let (pieces, arrived) = mpsc::sync_channel(16);
//! let handle = net.handle();
//! std::thread::spawn(move || {
//!     let mut buffer = [0; 64 * 1024];
//!     while let Ok(length @ 1..) = std::io::stdin().read(&mut buffer) {
//!         if pieces.send(buffer[..length].to_vec()).is_err() {
//!             break;
//!         }
//!         handle.wake();
//!     }
//! });
//!
//! let mut reader = Reader::new(Limits::default());
//! let begun = Instant::now();
//! loop {
//!     let now = Instant::now();
//!     let wait = session.next_deadline().map(|at| at.saturating_duration_since(now));
//!     if let Some((id, event)) = net.next_event(wait)? {
//!         session.handle_peer_event(&mut net, id, &event);
//!         camera.handle_event(id, &event);
//!     }
//!     session.handle_timeout(&mut net, Instant::now());
//!     while let Some(event) = session.poll_event() {
//!         match event {
//!             WhipEvent::Failed(error) => return Err(error.into()),
//!             event => println!("{event:?}"),
//!         }
//!     }
//!     for piece in arrived.try_iter() {
//!         reader.feed(&piece)?;
//!         while let Some(frame) = reader.poll()? {
//!             camera.write_frame(&mut net, &EncodedFrame::new(frame.data, begun.elapsed()));
//!         }
//!     }
//! }
//! # }
//! # #[cfg(not(feature = "signaling"))]
//! # fn main() {}
//! ```
//!
//! ```text
//! rpicam-vid -t 0 --codec h264 --inline -o - | your-program
//! ```
//!
//! Nothing is encoded here: frames go in as an encoder made them ([`EncodedFrame`]), or as RTP packets
//! ([`Peer::write_rtp`]). What arrives comes out as whole frames, or as packets ([`PeerConfig::media_mode`]).
//!
//! # Five minutes to a server
//!
//! Everything that `looprtc serve` does, in your own program: pages, WHIP and WHEP, rooms, calls:
//!
//! ```no_run
//! # #[cfg(feature = "server")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use looprtc::server::gateway::{Gateway, GatewayConfig};
//! use std::time::Duration;
//!
//! let film = ("film".to_owned(), "film.mp4".to_owned());
//! let door = ("door".to_owned(), "whip:".to_owned());
//! let mut gateway = Gateway::new(GatewayConfig::default().sources(vec![film, door]))?;
//! println!("Open {} in a browser", gateway.url());
//! loop {
//!     gateway.run_once(Duration::from_secs(1))?;
//! }
//! # }
//! # #[cfg(not(feature = "server"))]
//! # fn main() {}
//! ```
//!
//! Its parts are modules of their own, to be combined otherwise: `server::whip` for sessions, `server::streams` for sources
//! with many viewers, `server::rooms`, `server::calls`, `server::turn`, and `server::door` for HTTP and WebSockets.
//!
//! # Where to go from here
//!
//! - [`guide`]: a [`Peer`] with your own sockets and clock, the event loop inside another loop, finding faults, and what each
//!   cargo feature costs.
//! - The `examples/` folder of the repository: 24 programs, many with a browser page at the other end.
//! - [`proto`]: protocols without I/O. [`Peer`] is one peer connection: it is told the time and the datagrams that arrived, and
//!   returns the datagrams to send, the events, and its next deadline. Media files ([`proto::media`]), plain RTP
//!   ([`proto::rtp`]) and the explanation of session descriptions ([`proto::inspect`]) are here too.
//! - `driver`: [`EventLoop`], which drives any number of peers over one UDP port with mio.
//! - `signaling`: clients for WHIP and WHEP, and the HTTP signaling of pion's examples.
//! - `server`: servers on the same loop.
//! - `ARCHITECTURE.md` in the repository explains the design; `docs/limits.md` lists every limit with its test.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod seldom;

pub mod guide;
pub mod proto;

mod setters;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[cfg(feature = "driver")]
pub mod driver;

#[cfg(feature = "signaling")]
pub mod signaling;

#[cfg(any(feature = "server", feature = "turn-server"))]
pub mod server;

pub use proto::ice::IceServer;
pub use proto::net::PortPolicy;
pub use proto::peer::{
    ChannelConfig, ChannelId, Codec, ConnectionState, Direction, EncodedFrame, IceCandidateInit,
    Input, MediaKind, Message, Output, Peer, PeerConfig, PeerError, PeerEvent, Politeness,
    ReceivedFrame, SessionDescription, TransceiverConfig, TransceiverId,
};
pub use proto::signal::SignalMessage;

#[cfg(feature = "driver")]
pub use driver::{EventLoop, LoopConfig, LoopError, LoopHandle, PeerId, PeerMut};
