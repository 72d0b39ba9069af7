//! NATs in front of simulated peers, servers behind them, and TCP connections to these.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use turn_types::stun::attribute::XorMappedAddress;
use turn_types::stun::message::{BINDING, Message, MessageClass, MessageWriteVec};
use turn_types::stun::prelude::{MessageWrite, MessageWriteExt};

use super::transit::Parcel;
use super::{Node, Simulation};
use crate::proto::ice::BindingOutput;
use crate::proto::net::{
    InterfaceAddress, Protocol, Received, SocketId, SocketKind, SocketReply, SocketRequest,
    Transmit,
};
use crate::proto::peer::Input;

/// Mapping and filtering behavior of a NAT (RFC 4787 §4.1, §5). None of them supports hairpinning (§6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatKind {
    /// One public port per socket, open to everybody.
    FullCone,
    /// One public port per socket, open to addresses that it has sent to.
    PortRestricted,
    /// A separate public port for each destination, open to that only.
    Symmetric,
    /// No UDP at all; outgoing TCP connections are allowed.
    UdpBlocked,
    /// Only outgoing TCP connections to port 443 are allowed.
    Tcp443,
}

impl NatKind {
    fn lets_out(self, protocol: Protocol, to: SocketAddr) -> bool {
        match (self, protocol) {
            (Self::UdpBlocked | Self::Tcp443, Protocol::Udp) => false,
            (Self::Tcp443, Protocol::Tcp) => to.port() == 443,
            _ => true,
        }
    }
}

/// Default lifetime of an unused mapping; RFC 4787 §4.3 requires at least 2 min.
const MAPPING: Duration = Duration::from_secs(120);

/// A NAT in front of one node.
#[derive(Debug)]
pub(super) struct Nat {
    kind: NatKind,
    public: IpAddr,
    mappings: Vec<Mapping>,
    timeout: Duration,
    next_port: u16,
}

#[derive(Debug)]
struct Mapping {
    inside: SocketAddr,
    /// The only destination it is valid for; `None`: all.
    only: Option<SocketAddr>,
    port: u16,
    sent_to: HashMap<SocketAddr, Instant>,
    used: Instant,
}

impl Nat {
    pub(super) fn public(&self) -> IpAddr {
        self.public
    }

    /// Returns `true` if mappings accept datagrams from everybody.
    pub(super) fn is_open_to_all(&self) -> bool {
        self.kind == NatKind::FullCone
    }

    pub(super) fn lets_out(&self, protocol: Protocol, to: SocketAddr) -> bool {
        self.kind.lets_out(protocol, to)
    }

    /// Returns the public source address, creating a mapping if necessary.
    fn outbound(&mut self, inside: SocketAddr, to: SocketAddr, now: Instant) -> SocketAddr {
        let only = (self.kind == NatKind::Symmetric).then_some(to);
        let timeout = self.timeout;
        self.mappings.retain(|m| now < m.used + timeout);
        let is_it = |m: &Mapping| m.inside == inside && m.only == only;
        let index = self.mappings.iter().position(is_it).unwrap_or_else(|| {
            self.next_port = self.next_port.checked_add(1).unwrap_or(40_000);
            self.mappings.push(Mapping {
                inside,
                only,
                port: self.next_port,
                sent_to: HashMap::new(),
                used: now,
            });
            self.mappings.len() - 1
        });
        let mapping = &mut self.mappings[index];
        mapping.used = now;
        mapping.sent_to.insert(to, now);
        SocketAddr::new(self.public, mapping.port)
    }

    /// Returns the inside address of the recipient, if the datagram is allowed in.
    fn inbound(&self, from: SocketAddr, to: SocketAddr, now: Instant) -> Option<SocketAddr> {
        // A datagram from inside to the public address would need hairpinning.
        if to.ip() != self.public || from.ip() == self.public {
            return None;
        }
        let is_live = |at: &Instant| now < *at + self.timeout;
        let mapping = self.mappings.iter().find(|m| m.port == to.port())?;
        let is_open = match self.kind {
            NatKind::FullCone => is_live(&mapping.used),
            _ => mapping.sent_to.get(&from).is_some_and(is_live),
        };
        is_open.then_some(mapping.inside)
    }
}

/// A server in the simulated network, running real protocol code: STUN, TURN.
pub trait Server {
    /// Returns `true` if the address is one of the server's.
    fn has(&self, address: SocketAddr) -> bool;
    /// Handles data received at one of the server's addresses.
    fn receive(&mut self, received: &Received<'_>, now: Instant);
    /// Handles the time, after [`deadline`](Self::deadline) has passed.
    fn handle_timeout(&mut self, now: Instant);
    /// Returns the next transmission, from one of the server's addresses.
    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit>;
    /// Returns when [`handle_timeout`](Self::handle_timeout) has to be called, if at all.
    fn deadline(&self) -> Option<Instant>;
}

/// A socket of a node other than that of its host candidates.
#[derive(Debug)]
pub(super) struct Socket {
    id: SocketId,
    local: SocketAddr,
    /// Its address as seen by the other end of a connection. `None`: a UDP socket.
    outer: Option<SocketAddr>,
}

impl Simulation {
    /// Puts a NAT in front of a node, which is reachable only through it from now on.
    pub fn set_nat(&mut self, node: Node, kind: NatKind) {
        let n = u8::try_from(node.0 % 250 + 1).unwrap_or(1);
        self.places[node.0].nat = Some(Nat {
            kind,
            public: Ipv4Addr::new(203, 0, 113, n).into(),
            mappings: Vec::new(),
            timeout: MAPPING,
            next_port: 40_000,
        });
    }

    /// Sets the lifetime of unused mappings of the NAT in front of a node. Default: 2 min.
    pub fn set_mapping_timeout(&mut self, node: Node, timeout: Duration) {
        if let Some(nat) = &mut self.places[node.0].nat {
            nat.timeout = timeout;
        }
    }

    /// Makes the NAT in front of a node forget all mappings, as a restart would.
    pub fn forget_mappings(&mut self, node: Node) {
        if let Some(nat) = &mut self.places[node.0].nat {
            nat.mappings.clear();
        }
    }

    /// Adds a STUN server at this address.
    pub fn add_stun_server(&mut self, address: SocketAddr) {
        self.stun_servers.push(address);
    }

    /// Adds a server. UDP to and from it is subject to the link; TCP connections lose nothing.
    pub fn add_server(&mut self, server: impl Server + 'static) {
        self.servers.push(Box::new(server));
    }

    /// Returns the source address of a datagram that a node sends to this destination. `None`: it is blocked.
    pub(super) fn translate(
        &mut self,
        node: Node,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        let now = self.now;
        let place = &mut self.places[node.0];
        let ip = match from.ip() {
            ip if ip.is_unspecified() => place.address.ip(),
            ip => ip,
        };
        let from = SocketAddr::new(ip, from.port());
        if place.gone.contains(&ip) {
            // A node cannot send from an address that it has lost.
            return None;
        }
        match &mut place.nat {
            Some(nat) => nat
                .kind
                .lets_out(Protocol::Udp, to)
                .then(|| nat.outbound(from, to, now)),
            None => Some(from),
        }
    }

    /// Returns the node that a datagram reaches, and the local address it is delivered to.
    pub(super) fn find(&self, from: SocketAddr, to: SocketAddr) -> Option<(Node, SocketAddr)> {
        self.places.iter().enumerate().find_map(|(n, place)| {
            let local = match &place.nat {
                Some(nat) => nat.inbound(from, to, self.now)?,
                None => to,
            };
            let is_open = local == place.address
                || place.others.contains(&local)
                || place.sockets.iter().any(|s| s.local == local);
            is_open.then_some((Node(n), local))
        })
    }

    /// Opens a socket for a node.
    pub(super) fn open(&mut self, node: Node, request: &SocketRequest) {
        let place = &mut self.places[node.0];
        let port = 5000 + u16::try_from(request.id.0).unwrap_or(0);
        let local = SocketAddr::new(place.address.ip(), port);
        let mut at = self.now;
        match &request.kind {
            SocketKind::Datagrams(_) => {}
            SocketKind::DatagramsTo(_) => place.sockets.push(Socket {
                id: request.id,
                local,
                outer: None,
            }),
            SocketKind::IceTcp { .. }
            | SocketKind::IceStream { .. }
            | SocketKind::BindingStream { .. } => return self.open_ice_tcp(node, request),
            SocketKind::Stream { remote, .. } => {
                let outer = match &place.nat {
                    Some(nat) if nat.kind.lets_out(Protocol::Tcp, *remote) => {
                        SocketAddr::new(nat.public, port + 10_000)
                    }
                    // A blocked connection attempt gets no answer.
                    Some(_) => return,
                    None => local,
                };
                if !self.servers.iter().any(|s| s.has(*remote)) {
                    return;
                }
                place.sockets.push(Socket {
                    id: request.id,
                    local,
                    outer: Some(outer),
                });
                // SYN and SYN ACK; TLS is not simulated.
                at += Duration::from_millis(2 * self.link.delay_ms);
            }
        }
        let parcel = Parcel::Opened {
            node,
            id: request.id.0,
            local,
        };
        if at > self.now {
            self.post(at, parcel);
        } else {
            self.deliver_opened(node, request.id, local);
        }
    }

    pub(super) fn deliver_opened(&mut self, node: Node, id: SocketId, local: SocketAddr) {
        let reply = SocketReply::Opened(vec![InterfaceAddress {
            interface: "sim0".into(),
            address: local,
        }]);
        let now = self.now;
        let input = Input::Socket { now, id, reply };
        let _ = self.places[node.0].peer.handle_input(input);
    }

    pub(super) fn close(&mut self, node: Node, id: SocketId) {
        if self.close_ice_tcp(node, id) {
            return;
        }
        self.places[node.0].sockets.retain(|s| s.id != id);
    }

    /// Sends a piece of a TCP stream.
    pub(super) fn transmit_stream(&mut self, node: Node, transmit: Transmit) {
        let mut sockets = self.places[node.0].sockets.iter();
        let socket = sockets.find(|s| s.local == transmit.source && s.outer.is_some());
        let Some(from) = socket.and_then(|s| s.outer) else {
            return;
        };
        self.post_piece(from, transmit.destination, transmit.contents);
    }

    /// Delivers TCP data: reliable and ordered.
    fn post_piece(&mut self, from: SocketAddr, to: SocketAddr, contents: Vec<u8>) {
        let at = self.now + Duration::from_millis(self.link.delay_ms);
        self.post(at, Parcel::Piece { from, to, contents });
    }

    pub(super) fn deliver_piece(&mut self, from: SocketAddr, to: SocketAddr, contents: &[u8]) {
        if self.serve(Protocol::Tcp, from, to, contents) {
            return;
        }
        let found = self.places.iter().enumerate().find_map(|(n, place)| {
            let mut sockets = place.sockets.iter();
            let socket = sockets.find(|s| s.outer == Some(to))?;
            (!place.unplugged && place.asleep.is_none()).then_some((Node(n), socket.local))
        });
        if let Some((node, destination)) = found {
            let now = self.now;
            let received = Received {
                protocol: Protocol::Tcp,
                source: from,
                destination,
                contents,
            };
            self.input(node, Input::Receive { now, received });
        }
    }

    /// Delivers data to a server. Returns `true` if it was for one.
    pub(super) fn serve(
        &mut self,
        protocol: Protocol,
        from: SocketAddr,
        to: SocketAddr,
        contents: &[u8],
    ) -> bool {
        if self.stun_servers.contains(&to) {
            self.serve_stun(from, to, contents);
            return true;
        }
        let Some(server) = self.servers.iter_mut().find(|s| s.has(to)) else {
            return false;
        };
        let received = Received {
            protocol,
            source: from,
            destination: to,
            contents,
        };
        server.receive(&received, self.now);
        self.drain_servers();
        true
    }

    pub(super) fn servers_deadline(&self) -> Option<Instant> {
        self.servers.iter().filter_map(|s| s.deadline()).min()
    }

    pub(super) fn fire_servers(&mut self) {
        let now = self.now;
        for server in &mut self.servers {
            if server.deadline().is_some_and(|at| at <= now) {
                server.handle_timeout(now);
            }
        }
        self.drain_servers();
    }

    fn drain_servers(&mut self) {
        let now = self.now;
        for index in 0..self.servers.len() {
            while let Some(transmit) = self.servers[index].poll_transmit(now) {
                match transmit.protocol {
                    Protocol::Udp => self.carry(transmit),
                    Protocol::Tcp => {
                        let (from, to) = (transmit.source, transmit.destination);
                        self.post_piece(from, to, transmit.contents);
                    }
                    Protocol::IceTcp => {}
                }
            }
        }
    }

    /// Answers for a STUN server, at the speed of the link.
    fn serve_stun(&mut self, from: SocketAddr, to: SocketAddr, contents: &[u8]) {
        let Some(contents) = binding_answer(contents, from) else {
            return;
        };
        let delay = Duration::from_millis(self.link.delay_ms);
        let parcel = Parcel::Datagram {
            from: to,
            to: from,
            contents,
        };
        self.post(self.now + delay, parcel);
    }

    /// Sends the output of a node's STUN queries, and passes their results to its peer.
    pub(super) fn drain_bindings(&mut self, node: Node) {
        loop {
            let now = self.now;
            match self.places[node.0].bindings.poll_output() {
                BindingOutput::Transmit(_, transmit) => self.transmit(node, transmit),
                BindingOutput::Reply(_, request, reply) => {
                    let input = Input::Binding {
                        now,
                        request,
                        reply,
                    };
                    let _ = self.places[node.0].peer.handle_input(input);
                }
                BindingOutput::OpenSocket(request) => self.open_binding_stream(node, &request),
                BindingOutput::Write(id, contents) => {
                    self.write_binding_stream(node, id, &contents);
                }
                BindingOutput::CloseSocket(_) => {}
                BindingOutput::Timeout(at) => {
                    self.places[node.0].bindings_at = at;
                    return;
                }
            }
        }
    }
}

/// Returns the answer of a STUN server to a Binding request from this address.
pub(super) fn binding_answer(request: &[u8], seen: SocketAddr) -> Option<Vec<u8>> {
    let request = Message::from_bytes(request).ok()?;
    if request.class() != MessageClass::Request || request.method() != BINDING {
        return None;
    }
    let mut answer = Message::builder_success(&request, MessageWriteVec::new());
    let mapped = XorMappedAddress::new(seen, request.transaction_id());
    answer.add_attribute(&mapped).ok()?;
    Some(answer.finish())
}
