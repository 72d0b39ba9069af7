//! The event loop: the only module that uses mio and the clock.
//!
//! An [`EventLoop`] owns the poll, the sockets, the deadlines and the peers, on one thread. The application pulls
//! events from it; there are no callbacks:
//!
//! ```no_run
//! use looprtc::driver::{EventLoop, LoopConfig};
//! use looprtc::proto::peer::{ChannelConfig, PeerConfig, PeerEvent};
//!
//! let mut net = EventLoop::new(LoopConfig::default())?;
//! let id = net.add_peer(PeerConfig::default())?;
//! net.peer(id)?.create_data_channel(ChannelConfig::new("data"))?;
//! while let Some((id, event)) = net.next_event(None)? {
//!     match event {
//!         PeerEvent::NegotiationNeeded => {
//!             let offer = net.peer(id)?.negotiate()?;
//!             println!("send this to the remote peer: {}", offer.sdp);
//!         }
//!         PeerEvent::ChannelMessage { message, .. } => println!("{message:?}"),
//!         _ => {}
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When networks change
//!
//! The loop detects changes of interfaces, addresses and the default route, and suspends of the machine
//! ([`LoopConfig::network`]). An affected peer emits [`NegotiationNeeded`](PeerEvent::NegotiationNeeded) and then
//! [`IceCandidate`](PeerEvent::IceCandidate), also in the middle of a session, and continues once the remote peer has
//! answered; so does a peer whose remote peer has gone silent. The signaling is the same as for the first offer, and
//! all that an application has to do:
//!
//! | event or message | action |
//! |---|---|
//! | `NegotiationNeeded` | call [`negotiate`](PeerMut::negotiate) and send the offer |
//! | `IceCandidate` | send it, with its `username_fragment` |
//! | a description arrives | call [`receive`](PeerMut::receive) and send the answer, if there is one |
//! | a candidate arrives | call [`add_ice_candidate`](PeerMut::add_ice_candidate) |
//!
//! Signaling has to be reliable and to reconnect by itself: a WebSocket from an address that is gone is gone, too, and
//! messages sent meanwhile have to be delivered after reconnecting. It must not use a channel of the session that it is
//! meant to restore. Both peers may restart at once; give them different
//! [`Politeness`](crate::proto::peer::Politeness). If the application cannot signal later, it may ignore the event, or
//! turn restarts off in the [`PeerConfig`]. Channels keep their order and lose nothing; media in transit is lost, and a
//! keyframe is requested.
//!
//! # Turns
//!
//! One turn does a bounded amount of work: a limited number of datagrams per socket and of posted jobs, and each due
//! deadline once. The rest is remembered, and the next turn does not wait. To embed the loop in another one, wait for
//! its descriptor ([`AsRawFd`](std::os::fd::AsRawFd)) to become readable or for
//! [`next_deadline`](EventLoop::next_deadline), then call [`run_once`](EventLoop::run_once) with a zero wait and take the
//! events with [`poll_event`](EventLoop::poll_event).

mod camera_sockets;
mod checks;
mod config;
mod connections;
mod datagrams;
pub(crate) mod deadlines;
pub(crate) mod demux;
mod error;
mod gathering;
mod handle;
mod ice_tcp;
mod interfaces;
mod local_track;
mod mdns;
pub(crate) mod network;
mod peer_mut;
pub(crate) mod peers;
mod resolver;
pub(crate) mod senders;
pub(crate) mod shared_media;
pub(crate) mod sockets;
pub(crate) mod tcp;
mod tcp_config;
mod tls;
#[cfg(feature = "tls")]
mod tls_verify;
pub(crate) mod udp;
mod udp_config;
#[cfg(unix)]
mod watch;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use self::connections::Connections;
use self::datagrams::Inbox;
use self::demux::Demux;
use self::ice_tcp::IceStreams;
use self::mdns::MdnsDriver;
use self::network::NetworkWatch;
use self::peers::Peers;
use self::resolver::Resolver;
use self::sockets::Sockets;
use self::tcp::Streams;
use self::tls::TlsSetup;
use self::udp::Owner;
use crate::proto::ice::{Bindings, stun};
use crate::proto::net::SocketId;
use crate::proto::peer::{Certificate, ConnectionState, CryptoBackend, PeerConfig, PeerEvent};

pub use self::camera_sockets::CameraSockets;
pub use self::config::{LoopConfig, NetworkWatching};
pub use self::connections::{TcpEvent, TcpEventKind};
pub use self::datagrams::Datagram;
pub use self::error::LoopError;
pub use self::handle::{LoopHandle, PostError};
pub use self::local_track::{LocalTrack, LocalTrackEvent};
pub use self::peer_mut::PeerMut;
pub use self::peers::PeerId;
pub use self::tcp_config::{TcpConfig, TcpError, TcpId, TlsMode};
pub use self::udp_config::{UdpConfig, UdpId};

/// mio token of the waker; sockets are numbered from 0.
const WAKER: Token = Token(usize::MAX);

/// mio token of netlink.
const NETWORK: Token = Token(usize::MAX - 2);

/// Maximum number of readiness events taken from the system per turn.
const EVENTS: usize = 256;

/// Counters of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LoopStats {
    /// Turns of the loop.
    pub turns: u64,
    /// Datagrams read.
    pub datagrams_received: u64,
    /// Datagrams queued for sending.
    pub datagrams_sent: u64,
    /// Datagrams dropped because they belong to no peer.
    pub unroutable: u64,
    /// Datagrams dropped because the application did not take earlier ones.
    pub unread_dropped: u64,
    /// Datagrams dropped because the system accepted no more, or refused them.
    pub send_dropped: u64,
    /// Claims of a remote address that another peer was using.
    pub address_conflicts: u64,
    /// ICE-TCP streams refused because too many were not validated yet ([`LoopConfig::max_unvalidated_streams`]).
    pub tcp_refused: u64,
    /// ICE checks not sent because too many were unanswered ([`LoopConfig::max_unanswered_checks`]).
    pub checks_withheld: u64,
    /// Peers closed because they panicked.
    pub panics: u64,
    /// Changes of the machine's networks, and suspends.
    pub network_changes: u64,
}

/// Event loop that runs peers, sockets and timers on one thread. See the [module](self).
pub struct EventLoop {
    poll: Poll,
    ready: Events,
    handle: LoopHandle,
    sockets: Sockets,
    streams: Streams,
    ice: IceStreams,
    tls: TlsSetup,
    demux: Demux,
    peers: Peers,
    resolver: Resolver,
    mdns: MdnsDriver,
    bindings: Bindings,
    /// The streams of the STUN bindings, by id.
    binding_streams: HashMap<SocketId, usize>,
    binding_deadline: Option<Instant>,
    network: NetworkWatch,
    config: LoopConfig,
    backend: CryptoBackend,
    certificate: Certificate,
    events: VecDeque<(PeerId, PeerEvent)>,
    inbox: Inbox,
    connections: Connections,
    udp_generation: u32,
    /// Peers with output to be polled.
    touched: Vec<usize>,
    stats: LoopStats,
}

impl std::fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLoop")
            .field("peers", &self.peers.len())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl EventLoop {
    /// Creates a loop without peers. Sockets are opened when the first peer needs them.
    ///
    /// # Errors
    ///
    /// Returns [`LoopError::Io`] or [`LoopError::Crypto`].
    pub fn new(config: LoopConfig) -> Result<Self, LoopError> {
        let poll = Poll::new().map_err(|e| LoopError::Io("creating the poll", e))?;
        let waker = handle::waker(poll.registry(), WAKER)
            .map_err(|e| LoopError::Io("creating the waker", e))?;
        let backend = config
            .crypto
            .or_else(CryptoBackend::default_backend)
            .unwrap_or(CryptoBackend::AwsLc);
        let certificate = match &config.certificate {
            Some(certificate) => certificate.clone(),
            None => Certificate::generate(backend)?,
        };
        let handle = LoopHandle::new(waker, config.max_posted);
        Ok(Self {
            poll,
            ready: Events::with_capacity(EVENTS),
            resolver: Resolver::new(handle.clone()),
            mdns: MdnsDriver::default(),
            bindings: Bindings::new(None),
            binding_streams: HashMap::new(),
            binding_deadline: None,
            network: NetworkWatch::new(config.network, NETWORK),
            handle,
            sockets: Sockets::new(&config),
            streams: Streams::default(),
            ice: IceStreams::new(&config),
            tls: TlsSetup::new(config.tls_authorities.clone()),
            demux: Demux::new(
                config.address_claim_timeout,
                config.max_unanswered_checks,
                Instant::now(),
            ),
            peers: Peers::default(),
            backend,
            certificate,
            events: VecDeque::new(),
            inbox: Inbox::new(config.max_unread),
            connections: Connections::default(),
            udp_generation: 0,
            touched: Vec::new(),
            stats: LoopStats::default(),
            config,
        })
    }

    /// Adds a peer. It uses the loop's certificate and crypto backend unless its configuration has its own.
    ///
    /// # Errors
    ///
    /// Returns [`LoopError::LimitReached`] or [`LoopError::Peer`].
    pub fn add_peer(&mut self, config: PeerConfig) -> Result<PeerId, LoopError> {
        if self.peers.len() >= self.config.max_peers {
            return Err(LoopError::LimitReached {
                limit: "max_peers",
                value: self.config.max_peers,
            });
        }
        let backend = config.crypto.unwrap_or(self.backend);
        let shared = (backend == self.backend).then(|| self.certificate.clone());
        let certificate = config.certificate.clone().or(shared);
        let config = config.crypto(Some(backend)).certificate(certificate);
        let now = Instant::now();
        self.start_watching(now);
        let id = self.peers.add(config, now)?;
        self.touched.push(id.index());
        Ok(id)
    }

    /// Borrows a peer to call its methods. Its output is sent in the next turn.
    ///
    /// # Errors
    ///
    /// Returns [`LoopError::NoSuchPeer`].
    pub fn peer(&mut self, id: PeerId) -> Result<PeerMut<'_>, LoopError> {
        if !self.peers.contains(id) {
            return Err(LoopError::NoSuchPeer);
        }
        Ok(PeerMut { net: self, id })
    }

    /// Returns the ids of all peers that are not closed.
    pub fn peer_ids(&self) -> Vec<PeerId> {
        self.peers.ids()
    }

    /// Returns the next event of any peer. Waits for at most `timeout` (`None`: without limit). Returns `Ok(None)` when
    /// the time has passed, [`LoopHandle::wake`] was called, or something waits in
    /// [`poll_datagram`](Self::poll_datagram) or [`poll_tcp`](Self::poll_tcp) (if the application has opened sockets with
    /// [`add_udp`](Self::add_udp) or [`add_tcp`](Self::add_tcp)).
    ///
    /// The last event of a peer is *closed*; after it, [`peer`](Self::peer) no longer finds the peer.
    ///
    /// # Errors
    ///
    /// Returns [`LoopError::Io`] if the system refuses to wait; the loop is unusable then.
    pub fn next_event(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<(PeerId, PeerEvent)>, LoopError> {
        let end = timeout.and_then(|t| Instant::now().checked_add(t));
        loop {
            if let Some(event) = self.poll_event() {
                return Ok(Some(event));
            }
            if self.handle.take_wake() {
                return Ok(None);
            }
            let wait = match self.has_unread() {
                false => end.map(|end| end.saturating_duration_since(Instant::now())),
                // Still runs a turn: unread datagrams must not stop the peers.
                true => Some(Duration::ZERO),
            };
            self.run_once(wait)?;
            let is_over = wait == Some(Duration::ZERO) || self.has_unread();
            if is_over && self.events.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Returns the next queued event without waiting.
    pub fn poll_event(&mut self) -> Option<(PeerId, PeerEvent)> {
        let (id, event) = loop {
            let (id, event) = self.events.pop_front()?;
            // Dropped if it was handled since it was queued (W3C §4.7.3).
            if event != PeerEvent::NegotiationNeeded || self.peers.needs_negotiation(id) {
                break (id, event);
            }
        };
        if is_last(&event) {
            self.forget(id);
        }
        Some((id, event))
    }

    /// Runs one turn: sends pending output, waits for activity for at most `max_wait` (`None`: without limit), and
    /// handles it. Apart from the wait, its work is bounded.
    ///
    /// # Errors
    ///
    /// Returns [`LoopError::Io`], see [`next_event`](Self::next_event).
    pub fn run_once(&mut self, max_wait: Option<Duration>) -> Result<(), LoopError> {
        self.turn_once(max_wait, true)
    }

    /// Runs one turn. `for_news`: do not wait if the application has events or datagrams to take.
    fn turn_once(&mut self, max_wait: Option<Duration>, for_news: bool) -> Result<(), LoopError> {
        self.stats.turns += 1;
        // Before the check for news, because it may create some.
        self.flush();
        let wait = match for_news && self.has_news() {
            true => Some(Duration::ZERO),
            false => self.wait(max_wait),
        };
        match self.poll.poll(&mut self.ready, wait) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(LoopError::Io("waiting for events", e)),
        }
        let mut posted = self.handle.has_jobs();
        for event in &self.ready {
            match event.token() {
                WAKER => posted = true,
                NETWORK => self.network.on_ready(Instant::now()),
                #[cfg(unix)]
                watch::WATCHED => self.handle.ask_wake(),
                Token(stream) if stream >= tcp::FIRST_TOKEN => {
                    self.streams.on_ready(stream - tcp::FIRST_TOKEN);
                }
                Token(socket) if socket >= mdns::FIRST_TOKEN => self.mdns.on_ready(),
                Token(listener) if listener >= ice_tcp::FIRST_TOKEN => self.ice.on_acceptable(),
                Token(socket) => {
                    self.sockets
                        .on_ready(socket, event.is_readable(), event.is_writable());
                }
            }
        }
        if posted {
            for job in self.handle.take(self.config.max_posted) {
                job(self);
            }
        }
        let now = Instant::now();
        self.read(now);
        self.watch_network(now);
        self.deliver_resolved(now);
        self.fire_bindings(now);
        self.fire_connections(now);
        self.run_mdns(now);
        self.peers.fire(now, &mut self.touched);
        self.flush();
        Ok(())
    }

    /// Returns the time by which [`run_once`](Self::run_once) must be called even if nothing arrives. A time in the past means
    /// now.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.has_leftovers() || self.has_news() {
            return Some(Instant::now());
        }
        self.machines_deadline()
    }

    /// Returns a handle for other threads.
    pub fn handle(&self) -> LoopHandle {
        self.handle.clone()
    }

    /// Returns the counters accumulated since the loop was created.
    pub fn stats(&self) -> LoopStats {
        LoopStats {
            send_dropped: self.sockets.dropped() + self.streams.dropped,
            unread_dropped: self.inbox.dropped,
            ..self.stats
        }
    }

    /// Shuts down gracefully: waits up to `timeout` until data that peers accepted for sending is acknowledged, then
    /// closes all peers, sends their close messages and releases their relays. Events can still be taken afterwards.
    ///
    /// # Errors
    ///
    /// Returns [`LoopError::Io`], see [`next_event`](Self::next_event).
    pub fn shutdown(&mut self, timeout: Duration) -> Result<(), LoopError> {
        let end = Instant::now() + timeout;
        while self.peers.has_buffered() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.turn_once(Some(left), false)?;
        }
        for id in self.peers.ids() {
            if let Ok(mut peer) = self.peer(id) {
                peer.close();
            }
        }
        self.flush();
        let is_busy = |net: &Self| {
            net.sockets.has_queued() || net.peers.has_farewells() || net.connections.is_closing()
        };
        while is_busy(self) && Instant::now() < end {
            self.turn_once(Some(Duration::from_millis(5)), false)?;
        }
        Ok(())
    }

    fn has_leftovers(&self) -> bool {
        !self.touched.is_empty()
            || self.sockets.has_readable()
            || self.streams.has_ready()
            || self.ice.is_acceptable()
            || self.mdns.has_readable()
            || self.sockets.is_fresh()
            || self.handle.has_jobs()
    }

    /// Returns `true` if the application has something to take.
    fn has_news(&self) -> bool {
        !self.events.is_empty() || self.has_unread() || self.handle.is_wake_asked()
    }

    /// Returns `true` if datagrams or events of connections wait for the application.
    fn has_unread(&self) -> bool {
        !self.inbox.is_empty() || self.connections.has_events()
    }

    fn machines_deadline(&self) -> Option<Instant> {
        let peers = self.peers.next_deadline();
        let look = self.network.deadline().filter(|_| self.peers.len() > 0);
        let others = [
            self.binding_deadline,
            self.mdns.deadline(),
            self.ice.deadline(),
            self.connections.deadline(),
            look,
        ];
        peers.into_iter().chain(others.into_iter().flatten()).min()
    }

    fn wait(&self, max_wait: Option<Duration>) -> Option<Duration> {
        if self.has_leftovers() {
            return Some(Duration::ZERO);
        }
        let deadline = self.machines_deadline();
        let until = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        match (until, max_wait) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Returns the UDP port shared by peers with [`PortPolicy::Shared`](crate::proto::net::PortPolicy); `None` before
    /// the first of them was added.
    pub fn shared_port(&self) -> Option<u16> {
        self.sockets.shared_port()
    }

    /// Reads incoming datagrams, up to the budget of each socket.
    fn read(&mut self, now: Instant) {
        let (demux, peers) = (&mut self.demux, &mut self.peers);
        let (touched, stats) = (&mut self.touched, &mut self.stats);
        let inbox = &mut self.inbox;
        let bindings = &mut self.bindings;
        self.sockets.read(|socket, owner, from, local, datagram| {
            stats.datagrams_received += 1;
            if let Owner::Application(id) = owner {
                return inbox.push(id, from, local, datagram);
            }
            if stun::is_stun(datagram) && bindings.handle_datagram(from, datagram, now) {
                return;
            }
            let peer = match owner {
                Owner::Peer(peer) => {
                    demux.note_received(datagram, now);
                    Some(peer)
                }
                Owner::Shared => demux.route(socket, from, datagram, now),
                Owner::Application(_) | Owner::Nobody => None,
            };
            match peer {
                Some(peer) => peers.receive(peer, now, from, local, datagram, touched),
                None => stats.unroutable += 1,
            }
        });
        self.drain_bindings(now);
        self.run_streams(now);
    }

    /// Polls every touched peer until it is drained, and sends its output.
    fn flush(&mut self) {
        // A peer's request can affect it again (a socket was opened), so repeat until nothing is left.
        while let Some(index) = self.touched.pop() {
            self.drain_peer(index);
            // While the data is in the processor's cache: with many peers, a turn produces more than fits.
            self.sockets.flush(self.poll.registry());
        }
        self.sockets.flush(self.poll.registry());
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        self.handle.close();
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for EventLoop {
    /// The descriptor becomes readable when [`run_once`](EventLoop::run_once) has something to do.
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.poll)
    }
}

/// Returns `true` for the last event of a peer.
fn is_last(event: &PeerEvent) -> bool {
    matches!(
        event,
        PeerEvent::ConnectionStateChange(ConnectionState::Closed)
    )
}
