//! NATs before simulated peers, and the STUN servers that see through them.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use turn_types::stun::attribute::XorMappedAddress;
use turn_types::stun::message::{BINDING, Message, MessageClass, MessageWriteVec};
use turn_types::stun::prelude::{MessageWrite, MessageWriteExt};

use super::{Node, Parcel, Simulation};
use crate::proto::ice::BindingOutput;
use crate::proto::peer::Input;

/// What a NAT gives out and lets in (RFC 4787 §4.1, §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatKind {
    /// One public port for each socket, open to all.
    FullCone,
    /// One public port for each socket, open to those that were sent to.
    PortRestricted,
    /// Another public port for each destination, open to it alone.
    Symmetric,
}

/// A NAT before one node.
#[derive(Debug)]
pub(super) struct Nat {
    kind: NatKind,
    public: IpAddr,
    ports: HashMap<Option<SocketAddr>, u16>,
    sent_to: HashSet<(u16, SocketAddr)>,
    next_port: u16,
}

impl Nat {
    /// The source that the world sees.
    fn outbound(&mut self, to: SocketAddr) -> SocketAddr {
        let key = (self.kind == NatKind::Symmetric).then_some(to);
        let port = *self.ports.entry(key).or_insert_with(|| {
            self.next_port += 1;
            self.next_port
        });
        self.sent_to.insert((port, to));
        SocketAddr::new(self.public, port)
    }

    /// Whether this is let in.
    fn accepts(&self, from: SocketAddr, to: SocketAddr) -> bool {
        to.ip() == self.public
            && match self.kind {
                NatKind::FullCone => self.ports.values().any(|port| *port == to.port()),
                NatKind::PortRestricted | NatKind::Symmetric => {
                    self.sent_to.contains(&(to.port(), from))
                }
            }
    }
}

impl Simulation {
    /// Puts a NAT before a node. From now on it is reached through that alone.
    pub fn set_nat(&mut self, node: Node, kind: NatKind) {
        let n = u8::try_from(node.0 % 250 + 1).unwrap_or(1);
        self.places[node.0].nat = Some(Nat {
            kind,
            public: Ipv4Addr::new(203, 0, 113, n).into(),
            ports: HashMap::new(),
            sent_to: HashSet::new(),
            next_port: 40_000,
        });
    }

    /// A STUN server at this address.
    pub fn add_stun_server(&mut self, address: SocketAddr) {
        self.stun_servers.push(address);
    }

    /// The source of what a node sends there.
    pub(super) fn translate(&mut self, node: Node, from: SocketAddr, to: SocketAddr) -> SocketAddr {
        match &mut self.places[node.0].nat {
            Some(nat) => nat.outbound(to),
            None => from,
        }
    }

    /// The node that a datagram reaches.
    pub(super) fn find(&self, from: SocketAddr, to: SocketAddr) -> Option<Node> {
        let reached = |p: &super::Place| match &p.nat {
            Some(nat) => nat.accepts(from, to),
            None => p.address == to,
        };
        self.places.iter().position(reached).map(Node)
    }

    /// Whether this was for a STUN server. It answers as fast as the link is.
    pub(super) fn serve_stun(&mut self, from: SocketAddr, to: SocketAddr, contents: &[u8]) -> bool {
        if !self.stun_servers.contains(&to) {
            return false;
        }
        let Ok(request) = Message::from_bytes(contents) else {
            return true;
        };
        if request.class() == MessageClass::Request && request.method() == BINDING {
            let mut answer = Message::builder_success(&request, MessageWriteVec::new());
            let mapped = XorMappedAddress::new(from, request.transaction_id());
            answer
                .add_attribute(&mapped)
                .expect("an empty message has room");
            let delay = Duration::from_millis(self.link.delay_ms);
            let parcel = Parcel::Datagram {
                from: to,
                to: from,
                contents: answer.finish(),
            };
            self.post(self.now + delay, parcel);
        }
        true
    }

    /// Sends what a node's bindings want to send, and tells its peer what came of them.
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
                BindingOutput::Timeout(at) => {
                    self.places[node.0].bindings_at = at;
                    return;
                }
            }
        }
    }
}
