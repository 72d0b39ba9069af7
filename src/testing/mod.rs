//! A simulated network and clock: peers, and a link between them that loses, delays, reorders and duplicates datagrams.
//! A seed determines a run exactly.
//!
//! ```
//! # #[cfg(any(feature = "aws-lc", feature = "rust-crypto"))] {
//! use looprtc::proto::peer::{ChannelConfig, ConnectionState};
//! use looprtc::testing::{Link, Simulation};
//!
//! let mut sim = Simulation::new(7, Link::default().loss(0.2));
//! let (a, b) = sim.pair();
//! sim.with(a, |peer, now| peer.create_data_channel(ChannelConfig::new("data"), now)).unwrap();
//! assert!(sim.run_until(60_000, |sim| {
//!     [a, b].iter().all(|p| sim.peer(*p).connection_state() == ConnectionState::Connected)
//! }));
//! # }
//! ```

mod bytes;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod camera;
#[doc(hidden)]
pub mod fuzz;
mod ice_tcp;
mod interfaces;
mod link;
mod nat;
#[doc(hidden)]
pub mod sequence;
mod tap;
mod trace;
mod transit;
#[cfg(feature = "turn-server")]
mod turn;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use self::ice_tcp::Connections;
use self::nat::{Nat, Socket};
use self::tap::Tap;
use self::trace::Trace;
use self::transit::{MAX_IN_FLIGHT, Parcel, Transit};
use crate::proto::ice::Bindings;
use crate::proto::net::{Protocol, Received, SocketId, Transmit};
use crate::proto::peer::{Certificate, CryptoBackend, IceCandidateInit, Input, Output, Peer};
use crate::proto::peer::{PeerConfig, PeerError, PeerEvent, Politeness, SessionDescription};

/// Parts of the media readers, to write streams for them.
#[doc(hidden)]
pub mod h264 {
    pub use crate::proto::media::h264::*;
}

#[doc(hidden)]
#[allow(missing_docs)]
pub mod h265 {
    pub use crate::proto::media::h265::*;
}

#[doc(hidden)]
#[allow(missing_docs)]
pub mod keyframe {
    pub use crate::proto::media::keyframe::*;
}

pub use self::link::{Link, Rng};
pub use self::nat::{NatKind, Server};
#[cfg(feature = "turn-server")]
pub use self::turn::TurnServer;

/// Maximum number of events queued per peer; tests that read them do not reach it.
const MAX_EVENTS: usize = 1_000_000;

/// A peer of a [`Simulation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node(usize);

struct Place {
    peer: Peer,
    address: SocketAddr,
    /// Addresses of further interfaces.
    others: Vec<SocketAddr>,
    /// Addresses of removed interfaces.
    gone: Vec<IpAddr>,
    events: VecDeque<PeerEvent>,
    /// The node that receives its signaling; `None`: the test transfers it itself.
    partner: Option<Node>,
    unplugged: bool,
    /// Parcels delivered on resume; `None`: the machine is awake.
    asleep: Option<Vec<Parcel>>,
    timeouts: u64,
    /// When it last sent a datagram.
    sent_at: Option<Instant>,
    /// Number of address changes.
    moves: u8,
    nat: Option<Nat>,
    sockets: Vec<Socket>,
    bindings: Bindings,
    bindings_at: Option<Instant>,
    /// The deadline returned when it was last drained; valid until its next input.
    deadline: Option<Instant>,
}

/// Decides about each datagram, before the link does: `false` drops it.
type Filter = Box<dyn FnMut(&Transmit) -> bool>;

/// A network, a clock, and peers.
pub struct Simulation {
    now: Instant,
    start: Instant,
    rng: Rng,
    seeded: bool,
    link: Link,
    places: Vec<Place>,
    transit: Transit,
    trace: Trace,
    steps: u64,
    stun_servers: Vec<SocketAddr>,
    servers: Vec<Box<dyn Server>>,
    connections: Connections,
    filter: Option<Filter>,
    /// Set if no UDP passes, for the whole simulation.
    without_udp: bool,
    recorded: Option<Vec<Transmit>>,
    tap: Option<Tap>,
    /// Number of refused descriptions, in tests that make invalid calls; `None`: a refusal is a failure.
    refused: Option<u64>,
    /// Signaling delay, in milliseconds. Signaling is reliable and ordered.
    pub signaling_ms: u64,
}

impl Simulation {
    /// Creates an empty network at time zero.
    pub fn new(seed: u64, link: Link) -> Self {
        // The only use of the real clock: an `Instant` cannot be created otherwise. It is in the future, because
        // sctp-proto reads the real clock when an association starts: the timer of its first INIT has then always
        // expired, rather than depending on the speed of the simulation (one more INIT is sent).
        let start = Instant::now() + Duration::from_secs(24 * 3600);
        Self {
            now: start,
            start,
            rng: Rng::new(seed),
            seeded: true,
            link,
            places: Vec::new(),
            transit: Transit::default(),
            trace: Trace::default(),
            steps: 0,
            stun_servers: Vec::new(),
            servers: Vec::new(),
            connections: Connections::default(),
            filter: None,
            without_udp: false,
            recorded: None,
            tap: None,
            refused: None,
            signaling_ms: 5,
        }
    }

    /// Adds later peers without a seed: their secrets come from the operating system, as outside of simulations, and
    /// runs are not reproducible.
    pub fn without_seeds(&mut self) {
        self.seeded = false;
    }

    /// Adds a polite and an impolite peer that signal to each other by perfect negotiation.
    pub fn pair(&mut self) -> (Node, Node) {
        self.pair_with(PeerConfig::default(), PeerConfig::default())
    }

    /// Like [`pair`](Self::pair), with these configurations. Politeness, seed and certificate are overridden.
    pub fn pair_with(&mut self, a: PeerConfig, b: PeerConfig) -> (Node, Node) {
        let a = self.add(a.politeness(Politeness::Polite));
        let b = self.add(b.politeness(Politeness::Impolite));
        self.places[a.0].partner = Some(b);
        self.places[b.0].partner = Some(a);
        (a, b)
    }

    /// Adds a peer without signaling. Its address is `10.0.0.n`.
    ///
    /// # Panics
    ///
    /// Panics if the configuration is invalid.
    pub fn add(&mut self, config: PeerConfig) -> Node {
        let seed = self.rng.next_u64();
        let config = config.seed(self.seeded.then_some(seed));
        let certificate = config.certificate.clone().or_else(shared_certificate);
        let config = config.certificate(certificate);
        let peer = Peer::new(config, self.now).expect("a configuration that a peer accepts");
        let node = Node(self.places.len());
        let host = u8::try_from(self.places.len() % 250 + 1).unwrap_or(1);
        let net = u8::try_from(self.places.len() / 250).unwrap_or(255);
        self.places.push(Place {
            peer,
            address: SocketAddr::from(([10, 0, net, host], 5000)),
            others: Vec::new(),
            gone: Vec::new(),
            events: VecDeque::new(),
            partner: None,
            unplugged: false,
            asleep: None,
            timeouts: 0,
            sent_at: None,
            moves: 0,
            nat: None,
            sockets: Vec::new(),
            bindings: Bindings::new(Some(self.rng.0)),
            bindings_at: None,
            deadline: None,
        });
        self.flush(node);
        node
    }

    /// Returns the peer, for inspection.
    pub fn peer(&self, node: Node) -> &Peer {
        &self.places[node.0].peer
    }

    /// Returns the peer's address.
    pub fn address(&self, node: Node) -> SocketAddr {
        self.places[node.0].address
    }

    /// Returns the simulated time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Returns the simulated time since the start, in milliseconds.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from((self.now - self.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns a hash of everything that was sent: the time, the destination, and for STUN the length. It is the same
    /// for two runs with the same seed.
    ///
    /// Random values of DTLS and SCTP cannot be seeded: ephemeral keys, signatures (whose DER form varies by a byte or
    /// two), initial sequence numbers, verification tags. So the contents differ between two runs, and the lengths
    /// slightly; the times and outcomes do not.
    pub fn trace(&self) -> u64 {
        self.trace.hash()
    }

    /// Returns the number of steps so far: datagrams, signaling messages and timeouts.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Changes the link from now on.
    pub fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    /// Installs a filter called for each datagram that a peer sends; `false` drops it.
    pub fn set_filter(&mut self, filter: impl FnMut(&Transmit) -> bool + 'static) {
        self.filter = Some(Box::new(filter));
    }

    /// Removes the filter.
    pub fn clear_filter(&mut self) {
        self.filter = None;
    }

    /// Starts keeping a copy of each datagram sent, as an observer on the path could.
    pub fn record(&mut self) {
        self.recorded = Some(Vec::new());
    }

    /// Returns the datagrams recorded since the last call, oldest first.
    pub fn recorded(&mut self) -> Vec<Transmit> {
        self.recorded
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Returns the number of timeouts that a peer has handled.
    pub fn timeouts(&self, node: Node) -> u64 {
        self.places[node.0].timeouts
    }

    /// Disconnects a peer from the network, or reconnects it.
    pub fn unplug(&mut self, node: Node, unplugged: bool) {
        self.places[node.0].unplugged = unplugged;
    }

    /// Calls `f` with a peer and the current time, then transmits its output.
    pub fn with<R>(&mut self, node: Node, f: impl FnOnce(&mut Peer, Instant) -> R) -> R {
        let now = self.now;
        let result = f(&mut self.places[node.0].peer, now);
        self.flush(node);
        result
    }

    /// Returns the next event of a peer, without advancing time.
    pub fn next_event(&mut self, node: Node) -> Option<PeerEvent> {
        self.places[node.0].events.pop_front()
    }

    /// Sends a forged datagram to a node, with source address `from`.
    pub fn forge(&mut self, from: SocketAddr, to: Node, contents: Vec<u8>) {
        let to = self.places[to.0].address;
        self.post(self.now, Parcel::Datagram { from, to, contents });
    }

    /// Advances time until `done` returns `true`, or by this many simulated milliseconds. Returns `true` if `done` did.
    pub fn run_until(&mut self, milliseconds: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + Duration::from_millis(milliseconds);
        loop {
            if done(self) {
                return true;
            }
            if !self.step(end) {
                return done(self);
            }
        }
    }

    /// Advances time by this many simulated milliseconds.
    pub fn run_for(&mut self, milliseconds: u64) {
        self.run_until(milliseconds, |_| false);
    }

    /// Processes the next event before `end`. Returns `false` if there is none, and sets the time to `end`.
    fn step(&mut self, end: Instant) -> bool {
        let parcel = self.transit.next_at();
        let places = self.places.iter().enumerate();
        let awake = places.filter(|(_, p)| p.asleep.is_none());
        let timeout = awake.filter_map(|(i, p)| p.deadline.map(|t| (t, i)));
        let timeout = timeout.min();
        let servers = self.servers_deadline();
        let next = parcel.into_iter().chain(timeout.map(|(t, _)| t));
        let next = next.chain(servers).min();
        let Some(next) = next.filter(|t| *t <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        self.steps += 1;
        if parcel.is_some_and(|at| at <= next) {
            if let Some(parcel) = self.transit.pop() {
                self.deliver(parcel);
            }
        } else if servers.is_some_and(|at| at <= next) {
            self.fire_servers();
        } else if let Some((_, index)) = timeout {
            self.places[index].timeouts += 1;
            self.places[index].bindings.handle_timeout(self.now);
            self.input(Node(index), Input::Timeout(self.now));
        }
        true
    }

    fn deliver(&mut self, parcel: Parcel) {
        let Some(parcel) = self.awake(parcel) else {
            return;
        };
        match parcel {
            Parcel::Datagram { from, to, contents } => {
                if self.serve(Protocol::Udp, from, to, &contents) {
                    return;
                }
                let Some((Node(index), destination)) = self.find(from, to) else {
                    return;
                };
                let (place, now) = (&mut self.places[index], self.now);
                if place.unplugged || place.asleep.is_some() {
                    return;
                }
                if place.bindings.handle_datagram(from, &contents, now) {
                    // The peer is told the time, too: some of its own deadlines may have passed.
                    self.input(Node(index), Input::Timeout(now));
                    return;
                }
                let received = Received {
                    protocol: Protocol::Udp,
                    source: from,
                    destination,
                    contents: &contents,
                };
                self.input(Node(index), Input::Receive { now, received });
            }
            Parcel::Tcp(segment) => self.deliver_segment(segment),
            Parcel::Piece { from, to, contents } => self.deliver_piece(from, to, &contents),
            Parcel::Opened { node, id, local } => {
                self.deliver_opened(node, SocketId(id), local);
                self.flush(node);
            }
            Parcel::Description { to, kind, sdp } => {
                let description = match kind {
                    "offer" => SessionDescription::offer(sdp),
                    _ => SessionDescription::answer(sdp),
                };
                // The answer is sent before its consequences: an offer of the next round must not overtake it.
                let answer = self.places[to.0].peer.receive(description, self.now);
                match answer {
                    Ok(Some(answer)) => self.signal(to, &answer),
                    Ok(None) => {}
                    Err(PeerError::WrongState { .. } | PeerError::Closed) => {}
                    Err(e) => match &mut self.refused {
                        Some(count) => *count += 1,
                        None => panic!("signaling between our own peers: {e}"),
                    },
                }
                self.flush(to);
            }
            Parcel::Candidate { to, line, ufrag } => {
                let mut init = IceCandidateInit::new(line);
                init.username_fragment = ufrag;
                let _ = self.with(to, |peer, now| peer.add_ice_candidate(Some(&init), now));
            }
        }
    }

    fn input(&mut self, node: Node, input: Input<'_>) {
        let _ = self.places[node.0].peer.handle_input(input);
        self.flush(node);
    }

    /// Polls a peer until it has no more output. A peer whose deadline is always now would cause a busy loop: the
    /// simulation panics then.
    fn flush(&mut self, node: Node) {
        loop {
            let output = self.places[node.0].peer.poll_output();
            match output {
                Output::Timeout(at) => {
                    let late = at.is_some_and(|at| at <= self.now);
                    assert!(!late, "a peer asks for a timeout that has been");
                    let place = &mut self.places[node.0];
                    if place.bindings.is_drained(place.bindings_at) {
                        place.deadline = at.into_iter().chain(place.bindings_at).min();
                        return;
                    }
                    self.drain_bindings(node);
                }
                Output::Transmit(transmit) => {
                    self.places[node.0].sent_at = Some(self.now);
                    self.transmit(node, transmit);
                }
                Output::OpenSocket(request) => self.open(node, &request),
                Output::CloseSocket(id) => self.close(node, id),
                Output::Route(_) | Output::Publish(..) | Output::Resolve(_) => {}
                Output::RequestBinding(request) => {
                    let now = self.now;
                    self.places[node.0].bindings.request(0, request, now);
                }
                Output::Event(event) => self.on_event(node, event),
            }
        }
    }

    fn on_event(&mut self, node: Node, event: PeerEvent) {
        let partner = self.places[node.0].partner;
        match (&event, partner) {
            (PeerEvent::NegotiationNeeded, Some(_)) => {
                let offer = self.places[node.0].peer.negotiate(self.now);
                if let Ok(offer) = offer {
                    self.signal(node, &offer);
                }
            }
            (PeerEvent::IceCandidate(Some(candidate)), Some(to)) => {
                let parcel = Parcel::Candidate {
                    to,
                    line: candidate.to_sdp_line(),
                    ufrag: candidate.username_fragment.clone(),
                };
                self.post(self.now + Duration::from_millis(self.signaling_ms), parcel);
            }
            _ => {}
        }
        let events = &mut self.places[node.0].events;
        if events.len() < MAX_EVENTS {
            events.push_back(event);
        }
    }

    /// Sends a description to the partner.
    pub fn signal(&mut self, from: Node, description: &SessionDescription) {
        if let Some(tap) = &mut self.tap {
            tap.description(description);
        }
        if let Some(to) = self.places[from.0].partner {
            let parcel = Parcel::Description {
                to,
                kind: description.kind.as_str(),
                sdp: description.sdp.clone(),
            };
            self.post(self.now + Duration::from_millis(self.signaling_ms), parcel);
        }
    }

    fn transmit(&mut self, from: Node, transmit: Transmit) {
        self.trace.note(self.now - self.start, &transmit);
        if let Some(recorded) = self.recorded.as_mut().filter(|r| r.len() < MAX_IN_FLIGHT) {
            recorded.push(transmit.clone());
        }
        if self
            .filter
            .as_mut()
            .is_some_and(|passes| !passes(&transmit))
        {
            return;
        }
        if self.without_udp && transmit.protocol == Protocol::Udp {
            return;
        }
        if transmit.protocol == Protocol::IceTcp {
            return self.transmit_ice_tcp(from, transmit);
        }
        if self.places[from.0].unplugged {
            return;
        }
        if transmit.protocol == Protocol::Tcp {
            return self.transmit_stream(from, transmit);
        }
        let (inside, to) = (transmit.source, transmit.destination);
        let Some(source) = self.translate(from, inside, to) else {
            return;
        };
        self.carry(Transmit { source, ..transmit });
    }

    /// Sends a datagram over the link.
    fn carry(&mut self, mut transmit: Transmit) {
        if let Some(tap) = &mut self.tap {
            tap.datagram(&transmit);
        }
        if self.rng.chance(self.link.loss) {
            return;
        }
        // Random numbers are drawn only if needed, so that other runs do not change.
        if self.link.corrupt > 0.0 && self.rng.chance(self.link.corrupt) {
            transmit = self.corrupted(transmit);
        }
        let copies = 1 + usize::from(self.rng.chance(self.link.duplicate));
        for _ in 0..copies {
            let delay = self.link.delay_ms + self.rng.below(self.link.jitter_ms + 1);
            let parcel = Parcel::Datagram {
                from: transmit.source,
                to: transmit.destination,
                contents: transmit.contents.clone(),
            };
            self.post(self.now + Duration::from_millis(delay), parcel);
        }
    }

    fn post(&mut self, at: Instant, parcel: Parcel) {
        self.transit.post(at, parcel);
    }
}

/// Returns a certificate shared by all simulated peers: generating one is expensive, and irrelevant here.
pub(crate) fn shared_certificate() -> Option<Certificate> {
    use std::sync::OnceLock;
    static SHARED: OnceLock<Option<Certificate>> = OnceLock::new();
    SHARED
        .get_or_init(|| Certificate::generate(CryptoBackend::default_backend()?).ok())
        .clone()
}

#[cfg(test)]
mod tests;
