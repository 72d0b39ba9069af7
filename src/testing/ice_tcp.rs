//! ICE-TCP on the simulated network: connections between nodes, message by message.
//!
//! Nothing is lost or reordered: a segment that the link loses arrives after one or more retransmission timeouts, and
//! delays the following ones. If an end is unplugged or has lost its address, everything waits; after 10 s the
//! connection breaks. A NAT allows outgoing connections; only a full-cone NAT allows incoming ones, to a port that a
//! STUN server was queried from.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::transit::{Parcel, Segment};
use super::{Node, Simulation};
use crate::proto::ice::tcp::ACTIVE_PORT;
use crate::proto::net::{
    InterfaceAddress, Protocol, Received, SocketId, SocketKind, SocketReply, SocketRequest,
    Transmit,
};
use crate::proto::peer::Input;

/// The port that all listening nodes use.
pub(super) const PORT: u16 = 7000;

/// Connection timeout (`LoopConfig::tcp_patience`).
const PATIENCE: Duration = Duration::from_secs(5);

/// Time for which an end may be unreachable.
const ENDURANCE: Duration = Duration::from_secs(10);

/// Interval of retries of waiting segments.
const RETRY: Duration = Duration::from_millis(500);

/// Initial retransmission timeout, in milliseconds.
const RTO_MS: u64 = 200;

/// Maximum number of bytes waiting for one end; more are dropped, as in the driver.
const MAX_WAITING: usize = 64 * 1024;

/// All connections of a simulation.
#[derive(Default)]
pub(super) struct Connections {
    listening: Vec<Node>,
    all: Vec<Connection>,
    /// Public ports through which a listening node is reached.
    mapped: Vec<(SocketAddr, Node)>,
    opened: u16,
}

/// A connection; `ends[0]` has opened it.
struct Connection {
    ends: [End; 2],
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    Open,
    Gone,
}

struct End {
    node: Node,
    /// The socket id used by its peer, if that has opened the connection.
    id: Option<SocketId>,
    local: SocketAddr,
    /// Its address as seen by the other end.
    seen: SocketAddr,
    waiting: VecDeque<Vec<u8>>,
    /// Time since which it has been unreachable.
    stuck: Option<Instant>,
    /// Nothing arrives before this time.
    last: Instant,
}

impl Connections {
    /// Returns the node that is notified at once.
    pub fn told(&self, segment: &Segment) -> Option<Node> {
        match *segment {
            Segment::SynAck(index) | Segment::GiveUp(index) => Some(self.all[index].ends[0].node),
            Segment::Reset(index, end) => Some(self.all[index].ends[end].node),
            Segment::Answer(node, ..) => Some(Node(node)),
            Segment::Syn(_) | Segment::Message(..) | Segment::Retry(..) => None,
        }
    }
}

impl End {
    fn new(node: Node, id: Option<SocketId>, ends: [SocketAddr; 2], now: Instant) -> Self {
        let [local, seen] = ends;
        Self {
            node,
            id,
            local,
            seen,
            waiting: VecDeque::new(),
            stuck: None,
            last: now,
        }
    }
}

impl Simulation {
    /// Opens the ICE-TCP addresses of a node, or a connection.
    pub(super) fn open_ice_tcp(&mut self, node: Node, request: &SocketRequest) {
        match request.kind {
            SocketKind::IceTcp { listen } => {
                if listen && !self.connections.listening.contains(&node) {
                    self.connections.listening.push(node);
                }
                let port = if listen { PORT } else { ACTIVE_PORT };
                let mut addresses = self.places[node.0].interfaces();
                for address in &mut addresses {
                    address.address.set_port(port);
                }
                self.tell_socket(node, request.id, SocketReply::Opened(addresses));
            }
            SocketKind::IceStream { local, remote } => {
                self.connections.opened = self.connections.opened.wrapping_add(1);
                let port = 20_000 + self.connections.opened % 10_000;
                let local = SocketAddr::new(local, port);
                self.connect(node, request.id, local, remote);
            }
            _ => {}
        }
    }

    fn connect(&mut self, node: Node, id: SocketId, local: SocketAddr, remote: SocketAddr) {
        let nat = self.places[node.0].nat.as_ref();
        let gets_out = nat.is_none_or(|nat| nat.lets_out(Protocol::Tcp, remote));
        let seen = match nat {
            Some(nat) => SocketAddr::new(nat.public(), local.port()),
            None => local,
        };
        let index = self.connections.all.len();
        let now = self.now;
        let other = self.listener_at(remote);
        let to = other.unwrap_or((node, remote));
        let ends = [
            End::new(node, Some(id), [local, seen], now),
            End::new(to.0, None, [to.1, remote], now),
        ];
        let state = State::Opening;
        self.connections.all.push(Connection { ends, state });
        if other.is_some() && gets_out {
            self.send_segment(index, 1, Segment::Syn(index));
        }
        self.post(now + PATIENCE, Parcel::Tcp(Segment::GiveUp(index)));
    }

    /// Returns the node that listens at this address, and the local address it uses.
    fn listener_at(&self, address: SocketAddr) -> Option<(Node, SocketAddr)> {
        let mut mapped = self.connections.mapped.iter();
        let behind_nat = mapped.find(|(a, _)| *a == address).map(|(_, node)| *node);
        let mut listening = self.connections.listening.iter().copied();
        let is_it = |n: &Node| {
            let place = &self.places[n.0];
            place.nat.is_none() && place.is_own(address.ip()) && address.port() == PORT
        };
        if let Some(node) = behind_nat {
            let own = self.places[node.0].address.ip();
            return Some((node, SocketAddr::new(own, PORT)));
        }
        listening.find(is_it).map(|node| (node, address))
    }

    /// Sends a segment to an end: delayed by losses of the link, and never before earlier segments.
    fn send_segment(&mut self, index: usize, end: usize, segment: Segment) {
        let mut delay = self.link.delay_ms + self.rng.below(self.link.jitter_ms + 1);
        let mut timeout = RTO_MS;
        while timeout < 10_000 && self.rng.chance(self.link.loss) {
            delay += timeout;
            timeout *= 2;
        }
        let end = &mut self.connections.all[index].ends[end];
        end.last = end.last.max(self.now + Duration::from_millis(delay));
        let at = end.last;
        self.post(at, Parcel::Tcp(segment));
    }

    /// Sends an ICE-TCP message.
    pub(super) fn transmit_ice_tcp(&mut self, from: Node, transmit: Transmit) {
        let (local, remote) = (transmit.source, transmit.destination);
        let found = self.connections.all.iter().enumerate().find_map(|(n, c)| {
            let is_it = |e: &usize| {
                let end = &c.ends[*e];
                (end.node, end.local, c.ends[1 - e].seen) == (from, local, remote)
            };
            let end = [0, 1].into_iter().find(is_it)?;
            (c.state == State::Open).then_some((n, 1 - end))
        });
        if let Some((index, end)) = found {
            self.send_segment(index, end, Segment::Message(index, end, transmit.contents));
        }
    }

    pub(super) fn deliver_segment(&mut self, segment: Segment) {
        match segment {
            Segment::Syn(index) => {
                if self.connections.all[index].state == State::Opening && self.is_whole(index) {
                    self.connections.all[index].state = State::Open;
                    self.send_segment(index, 0, Segment::SynAck(index));
                }
            }
            Segment::SynAck(index) => {
                let end = &self.connections.all[index].ends[0];
                let (node, local, id) = (end.node, end.local, end.id);
                let interface = String::new();
                let address = InterfaceAddress {
                    interface,
                    address: local,
                };
                if let Some(id) = id {
                    self.tell_socket(node, id, SocketReply::Opened(vec![address]));
                }
            }
            Segment::GiveUp(index) => {
                if self.connections.all[index].state == State::Opening {
                    self.break_off(index);
                }
            }
            Segment::Message(index, end, contents) => {
                let waiting = &mut self.connections.all[index].ends[end].waiting;
                if waiting.iter().map(Vec::len).sum::<usize>() < MAX_WAITING {
                    waiting.push_back(contents);
                }
                self.drain_end(index, end);
            }
            Segment::Retry(index, end) => {
                self.connections.all[index].ends[end].last = self.now;
                self.drain_end(index, end);
            }
            Segment::Reset(index, end) => self.reset(index, end),
            Segment::Answer(node, id, bytes) => {
                let now = self.now;
                let bindings = &mut self.places[node].bindings;
                bindings.handle_stream(SocketId(id), &bytes, now);
                self.input(Node(node), Input::Timeout(now));
            }
        }
    }

    /// Returns `true` if both ends are reachable.
    fn is_whole(&self, index: usize) -> bool {
        self.connections.all[index].ends.iter().all(|end| {
            let place = &self.places[end.node.0];
            !place.unplugged && place.asleep.is_none() && place.is_own(end.local.ip())
        })
    }

    /// Delivers waiting segments to an end, or keeps them.
    fn drain_end(&mut self, index: usize, end: usize) {
        if self.connections.all[index].state != State::Open {
            return;
        }
        let (now, is_whole) = (self.now, self.is_whole(index));
        let it = &mut self.connections.all[index].ends[end];
        if !is_whole {
            let since = *it.stuck.get_or_insert(now);
            let mut ends = self.connections.all[index].ends.iter();
            // A sleeping machine does not break connections.
            let is_asleep = ends.any(|e| self.places[e.node.0].asleep.is_some());
            match is_asleep || now < since + ENDURANCE {
                true => self.post(now + RETRY, Parcel::Tcp(Segment::Retry(index, end))),
                false => self.break_off(index),
            }
            return;
        }
        it.stuck = None;
        let (node, destination) = (it.node, it.local);
        let waiting = std::mem::take(&mut it.waiting);
        let source = self.connections.all[index].ends[1 - end].seen;
        for contents in waiting {
            let received = Received {
                protocol: Protocol::IceTcp,
                source,
                destination,
                contents: &contents,
            };
            self.input(node, Input::Receive { now, received });
        }
    }

    /// Tells both ends that the connection is closed.
    fn break_off(&mut self, index: usize) {
        let was_open = self.connections.all[index].state == State::Open;
        self.reset(index, 0);
        if was_open {
            self.connections.all[index].state = State::Open;
            self.reset(index, 1);
        }
    }

    /// Tells this end that the connection is closed.
    fn reset(&mut self, index: usize, end: usize) {
        let connection = &mut self.connections.all[index];
        if std::mem::replace(&mut connection.state, State::Gone) == State::Gone {
            return;
        }
        let remote = connection.ends[1 - end].seen;
        let it = &connection.ends[end];
        let (node, local) = (it.node, it.local);
        match it.id {
            Some(id) => {
                let why = format!("the stream with {remote} is gone");
                self.tell_socket(node, id, SocketReply::Failed(why));
            }
            None => {
                let now = self.now;
                self.input(node, Input::StreamLost { now, local, remote });
            }
        }
        self.flush(node);
    }

    /// Closes a connection on behalf of the peer that opened it. Returns `true` if it existed.
    pub(super) fn close_ice_tcp(&mut self, node: Node, id: SocketId) -> bool {
        let is_it = |c: &Connection| (c.ends[0].node, c.ends[0].id) == (node, Some(id));
        let Some(index) = self.connections.all.iter().position(is_it) else {
            return false;
        };
        self.connections.all[index].ends[0].id = None;
        if self.connections.all[index].state == State::Open {
            self.send_segment(index, 1, Segment::Reset(index, 1));
        }
        true
    }

    fn tell_socket(&mut self, node: Node, id: SocketId, reply: SocketReply) {
        let now = self.now;
        let input = Input::Socket { now, id, reply };
        let _ = self.places[node.0].peer.handle_input(input);
        self.flush(node);
    }

    /// Queries a STUN server from a node's ICE-TCP port: the connection opens at once if the server is reachable;
    /// otherwise there is no answer.
    pub(super) fn open_binding_stream(&mut self, node: Node, request: &SocketRequest) {
        let SocketKind::BindingStream { remote, .. } = request.kind else {
            return;
        };
        let nat = self.places[node.0].nat.as_ref();
        let gets_out = nat.is_none_or(|nat| nat.lets_out(Protocol::Tcp, remote));
        if gets_out && self.stun_servers.contains(&remote) {
            let now = self.now;
            let reply = SocketReply::Opened(Vec::new());
            let bindings = &mut self.places[node.0].bindings;
            bindings.handle_socket(request.id, &reply, now);
        }
    }

    /// Sends the query; the answer holds the mapped address.
    pub(super) fn write_binding_stream(&mut self, node: Node, id: SocketId, contents: &[u8]) {
        let place = &self.places[node.0];
        let seen = match &place.nat {
            Some(nat) => SocketAddr::new(nat.public(), 30_000),
            None => SocketAddr::new(place.address.ip(), PORT),
        };
        if place.nat.as_ref().is_some_and(|nat| nat.is_open_to_all())
            && !self.connections.mapped.contains(&(seen, node))
        {
            self.connections.mapped.push((seen, node));
        }
        if let Some(answer) = super::nat::binding_answer(contents, seen) {
            let at = self.now + Duration::from_millis(2 * self.link.delay_ms);
            let segment = Segment::Answer(node.0, id.0, answer);
            self.post(at, Parcel::Tcp(segment));
        }
    }
}
