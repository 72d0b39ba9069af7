//! The rest of the guide: driving a [`Peer`] yourself, embedding the event loop, finding faults, the cost of features.
//!
//! The [front page](crate) has the first steps: a data channel, a camera, a server.
//!
//! # A peer without the event loop
//!
//! A [`Peer`] owns no socket, clock or thread. Whoever drives it hands in what happens ([`Input`]) and does what it asks for
//! ([`Output`]), until [`Output::Timeout`] says that nothing is left to do before the next deadline. After every call of a method,
//! poll again. Here two peers, each with a plain socket of the standard library:
//!
//! ```
//! # #[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
//! # mod example {
//! use looprtc::proto::net::{InterfaceAddress, Protocol, Received, SocketReply};
//! use looprtc::{ChannelConfig, Input, Output, Peer, PeerConfig, PeerEvent};
//! use std::error::Error;
//! use std::net::UdpSocket;
//! use std::time::{Duration, Instant};
//!
//! struct Driven {
//!     peer: Peer,
//!     socket: UdpSocket,
//!     deadline: Option<Instant>,
//! }
//!
//! impl Driven {
//!     fn new() -> Result<Self, Box<dyn Error>> {
//!         let socket = UdpSocket::bind("127.0.0.1:0")?;
//!         socket.set_nonblocking(true)?;
//!         let config = PeerConfig::default().include_loopback(true);
//!         let peer = Peer::new(config, Instant::now())?;
//!         Ok(Self { peer, socket, deadline: None })
//!     }
//!
//!     /// Hands in what has arrived and what is due, does what the peer asks for, and returns its events.
//!     fn run_once(&mut self) -> Result<Vec<PeerEvent>, Box<dyn Error>> {
//!         let now = Instant::now();
//!         let destination = self.socket.local_addr()?;
//!         let mut buffer = [0; 2000];
//!         while let Ok((length, source)) = self.socket.recv_from(&mut buffer) {
//!             let contents = &buffer[..length];
//!             let received = Received { protocol: Protocol::Udp, source, destination, contents };
//!             self.peer.handle_input(Input::Receive { now, received })?;
//!         }
//!         if self.deadline.is_some_and(|deadline| deadline <= now) {
//!             self.peer.handle_input(Input::Timeout(now))?;
//!         }
//!         let mut events = Vec::new();
//!         loop {
//!             match self.peer.poll_output() {
//!                 Output::Transmit(datagram) => {
//!                     self.socket.send_to(&datagram.contents, datagram.destination)?;
//!                 }
//!                 // The socket is open already: tell the peer its address.
//!                 Output::OpenSocket(request) => {
//!                     let here = InterfaceAddress { interface: "lo".into(), address: destination };
//!                     let reply = SocketReply::Opened(vec![here]);
//!                     self.peer.handle_input(Input::Socket { now, id: request.id, reply })?;
//!                 }
//!                 Output::Event(event) => events.push(event),
//!                 Output::Timeout(deadline) => {
//!                     self.deadline = deadline;
//!                     return Ok(events);
//!                 }
//!                 // For STUN and TURN servers, host names, and several peers on one socket.
//!                 _ => {}
//!             }
//!         }
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//!     let mut peers = [Driven::new()?, Driven::new()?];
//!     let config = ChannelConfig::new("data");
//!     peers[0].peer.create_data_channel(config, Instant::now())?;
//!     let begun = Instant::now();
//!     while begun.elapsed() < Duration::from_secs(20) {
//!         for n in [0, 1] {
//!             for event in peers[n].run_once()? {
//!                 let now = Instant::now();
//!                 let [this, other] = peers.get_disjoint_mut([n, 1 - n])?;
//!                 match event {
//!                     PeerEvent::NegotiationNeeded => {
//!                         let offer = this.peer.negotiate(now)?;
//!                         if let Some(answer) = other.peer.receive(offer, now)? {
//!                             this.peer.receive(answer, now)?;
//!                         }
//!                     }
//!                     PeerEvent::IceCandidate(candidate) => {
//!                         let candidate = candidate.map(|candidate| candidate.to_init());
//!                         other.peer.add_ice_candidate(candidate.as_ref(), now)?;
//!                     }
//!                     PeerEvent::ChannelOpen(channel) if n == 0 => {
//!                         this.peer.send_text(channel, "hello", now)?;
//!                     }
//!                     PeerEvent::ChannelMessage { message, .. } => {
//!                         println!("{message:?} after {:?}", begun.elapsed());
//!                         return Ok(());
//!                     }
//!                     _ => {}
//!                 }
//!             }
//!         }
//!         // A real driver waits for its socket, or for the earlier deadline.
//!         std::thread::sleep(Duration::from_millis(1));
//!     }
//!     Err("the peers did not find each other".into())
//! }
//! # pub fn run() { main().unwrap() }
//! # }
//! # #[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
//! # example::run();
//! ```
//!
//! | output | needed for | answered by |
//! |---|---|---|
//! | [`Output::Transmit`] | everything | |
//! | [`Output::OpenSocket`], [`CloseSocket`](Output::CloseSocket) | everything; TCP for TURN over TCP and ICE-TCP | [`Input::Socket`] |
//! | [`Output::Event`] | the application | |
//! | [`Output::Timeout`] | everything | [`Input::Timeout`] |
//! | [`Output::RequestBinding`] | STUN servers: pass it to [`ice::Bindings`](crate::proto::ice::Bindings) | [`Input::Binding`] |
//! | [`Output::Resolve`] | host names of servers and candidates | [`Input::Resolved`] |
//! | [`Output::Publish`] | `.local` candidates: pass it to [`ice::Mdns`](crate::proto::ice::Mdns) | |
//! | [`Output::Route`] | several peers on one socket | |
//!
//! Time is an argument of every method, so that a test can advance it at will: the feature `testing` has a simulated network with
//! loss, NATs and a virtual clock (`looprtc::testing::Simulation`), whose runs a seed repeats exactly.
//!
//! # The event loop inside another loop
//!
//! `EventLoop` is a descriptor and a deadline to others. Wait until the descriptor is readable or until `next_deadline` has
//! passed, whichever is first; then run one iteration without waiting, and take the events:
//!
//! ```
//! # #[cfg(all(unix, feature = "driver", any(feature = "aws-lc", feature = "rust-crypto")))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use looprtc::{EventLoop, LoopConfig, PeerConfig};
//! use std::os::fd::AsRawFd;
//! use std::time::{Duration, Instant};
//!
//! let mut net = EventLoop::new(LoopConfig::default())?;
//! net.add_peer(PeerConfig::default())?;
//! let descriptor = net.as_raw_fd();       // for epoll, poll, kqueue, libuv, GLib, mio
//! # let mut iterations = 0;
//! loop {
//!     let deadline = net.next_deadline();
//!     let wait = deadline.map(|at| at.saturating_duration_since(Instant::now()));
//!     your_poll(descriptor, wait);
//!     net.run_once(Some(Duration::ZERO))?;
//!     while let Some((peer, event)) = net.poll_event() {
//!         println!("{peer}: {event:?}");
//!     }
//! #   iterations += 1; if iterations == 3 { return Ok(()); }
//! }
//! # }
//! # #[cfg(all(unix, feature = "driver", any(feature = "aws-lc", feature = "rust-crypto")))]
//! # fn your_poll(_descriptor: std::os::fd::RawFd, wait: Option<std::time::Duration>) {
//! #     std::thread::sleep(wait.unwrap_or_default().min(std::time::Duration::from_millis(1)));
//! # }
//! # #[cfg(not(all(unix, feature = "driver", any(feature = "aws-lc", feature = "rust-crypto"))))]
//! # fn main() {}
//! ```
//!
//! An iteration is bounded: the loop never starves the rest of your program. Other threads talk to it through a
//! `LoopHandle`: `post` runs a closure on the loop's thread, `wake` makes `next_event` return. The example
//! `embed_in_own_loop` is a whole program of this kind. `Gateway`, `Door` and `TurnServer` are embedded in the same way.
//!
//! # Finding faults
//!
//! | what you see | where to look |
//! |---|---|
//! | no connection | the log at `info`: set up any backend of the crate `log` (`RUST_LOG=looprtc=debug` with `env_logger`); str0m's own lines have the target `str0m` |
//! | no connection, no error | [`PeerEvent::IceCandidateError`](crate::PeerEvent::IceCandidateError): each STUN or TURN server that failed, and what to check; [`PeerEvent::Error`](crate::PeerEvent::Error) |
//! | "is this SDP right?" | [`proto::inspect`](crate::proto::inspect), or `looprtc inspect` on the command line: each line explained, with its faults |
//! | connected, but nothing arrives | [`Peer::stats`]: datagrams received and dropped, and why; [`Peer::track_stats`]: packets, losses, keyframe requests |
//! | works at home, fails elsewhere | the example `which_nat`; `EventLoop::stats`; TURN servers ([`PeerConfig::ice_servers`](crate::PeerConfig::ice_servers)) |
//! | fails one time in a thousand | `looprtc::testing::Simulation` with your calls and a lossy link; the seed repeats the failure |
//!
//! A panic of one peer is contained: the loop closes that peer with [`PeerError`](crate::PeerError) and counts it. So do not build
//! with `panic = "abort"`.
//!
//! # What features cost
//!
//! `benches/features` measures this table. *Crates* counts dependencies. *CPU s* is the processor time of a cold release build, on a
//! busy machine of two slow cores: only the proportions count (the rows below `tls` include its dependencies). *KB* is the size of a
//! stripped program that uses the feature, without link-time optimization; it varies by a tenth with what the compiler inlines.
//!
//! | features | crates | CPU s | KB |
//! |---|---|---|---|
//! | `openssl`: the sans-IO `Peer` | 90 | 214 | 3,495 |
//! | `aws-lc`: the sans-IO `Peer` | 111 | 283 | 6,987 |
//! | `rust-crypto`: the sans-IO `Peer` | 123 | 275 | 4,581 |
//! | `driver`, `rust-crypto` | 130 | 470 | 5,350 |
//! | `driver`, `aws-lc` | 118 | 414 | 7,766 |
//! | `signaling` (with `driver`), `aws-lc` | 129 | 465 | 7,060 |
//! | the same with `tls` | 134 | 580 | 7,114 |
//! | `server` (with `signaling`), `aws-lc` | 142 | 739 | 8,990 |
//! | the same with `turn-server` | 142 | 855 | 9,046 |
//!
//! `self-signed` adds `rcgen` to `tls`, `movies` one crate without dependencies, `aac` seven small crates
//! (0.16 MB) and no C compiler, `cli` the command line and its help (0.7 MB).
//!
//! With `default-features = false` only [`proto`](crate::proto) is built; add one of the three cryptography features to connect.

#[cfg(doc)]
use crate::{Input, Output, Peer};

/// Compiles the program of `docs/library.md`.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../docs/library.md")]
struct Library;
