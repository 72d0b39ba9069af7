//! ICE over TCP (RFC 6544): connects the core, which knows candidates, with streams.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use str0m::net::{Protocol as CoreProtocol, TcpType as CoreTcpType};
use str0m::{Candidate, CandidateKind};

use super::ends::Ends;
use super::{Output, Peer, Route};
use crate::proto::ice::candidate::{CandidateAddress, CandidateType, IceCandidate};
use crate::proto::ice::stun;
use crate::proto::ice::tcp::{ACTIVE_PORT, Sending, TcpPaths, TcpType};
use crate::proto::net::{Protocol, Received, SocketId, SocketReply, Transmit};

/// Maximum number of validated streams remembered. Forgetting one is harmless: it is reported again.
const MAX_PROVED: usize = 16;

impl Peer {
    /// Handles a message from an ICE-TCP stream.
    pub(super) fn on_tcp_message(&mut self, received: &Received<'_>) {
        let (local, remote) = (received.destination, received.source);
        let is_ours = self.tcp.base_of(local, remote);
        self.tcp_verified = false;
        self.on_datagram(&Received {
            destination: is_ours.unwrap_or(local),
            ..*received
        });
        if std::mem::take(&mut self.tcp_verified) && !self.tcp_proved.contains(&(local, remote)) {
            if self.tcp_proved.len() >= MAX_PROVED {
                self.tcp_proved.remove(0);
            }
            self.tcp_proved.push((local, remote));
            self.close_streams(|tcp| tcp.proved(local, remote));
            self.out.push(Output::Route(Route::Stream(local, remote)));
        }
    }

    /// Sends a message on the stream of this address pair, or opens it.
    pub(super) fn send_over_tcp(&mut self, ends: Ends, contents: Vec<u8>) {
        let mut source = ends.local;
        if source.port() == ACTIVE_PORT {
            let is_check = stun::request_transaction(&contents).is_some();
            let (base, remote) = (ends.local, ends.remote);
            match self.tcp.send(base, remote, &contents, is_check, self.now) {
                Sending::From(local) => source = local,
                Sending::Open(request) => {
                    self.out.push(Output::OpenSocket(request));
                    return;
                }
                Sending::Kept => return,
            }
        }
        self.out.push(Output::Transmit(Transmit {
            protocol: Protocol::IceTcp,
            source,
            destination: ends.remote,
            contents,
        }));
    }

    /// Handles the opening or closing of one of our streams.
    pub(super) fn on_stream(&mut self, id: SocketId, reply: &SocketReply) {
        match reply {
            SocketReply::Opened(addresses) => {
                let Some(local) = addresses.first().map(|a| a.address) else {
                    return;
                };
                if let Some((destination, contents)) = self.tcp.opened(id, local) {
                    self.out.push(Output::Transmit(Transmit {
                        protocol: Protocol::IceTcp,
                        source: local,
                        destination,
                        contents,
                    }));
                }
            }
            SocketReply::Failed(why) => {
                log::debug!("ICE-TCP: {why}");
                self.out.push(Output::CloseSocket(id));
                if let Some((local, remote)) = self.tcp.failed(id, self.now) {
                    self.validated_tcp.remove(remote);
                    self.path_lost(local, remote);
                }
            }
        }
    }

    /// Handles the closing of a stream opened by the remote peer, which has to open another one from another address.
    pub(super) fn on_stream_lost(&mut self, local: SocketAddr, remote: SocketAddr) {
        self.tcp_proved.retain(|ends| *ends != (local, remote));
        self.validated_tcp.remove(remote);
        self.path_lost(local, remote);
        let kind = CandidateKind::PeerReflexive;
        let gone = Candidate::from_parts(
            String::new(),
            1,
            CoreProtocol::Tcp,
            0,
            remote,
            kind,
            None,
            None,
            None,
        );
        self.core.direct_api().invalidate_candidate(&gone);
    }

    fn path_lost(&mut self, local: SocketAddr, remote: SocketAddr) {
        let ends = Ends::of_stream(local, remote);
        self.connectivity.lost(ends, self.now);
    }

    /// Handles an ICE restart.
    pub(super) fn restart_tcp(&mut self) {
        self.close_streams(TcpPaths::restart);
    }

    /// Closes streams that are no longer needed.
    pub(super) fn close_streams(&mut self, which: impl FnOnce(&mut TcpPaths) -> Vec<SocketId>) {
        let closed = which(&mut self.tcp).into_iter();
        closed.for_each(|id| self.out.push(Output::CloseSocket(id)));
    }
}

/// Creates a TCP host candidate. Its type preference is that of other implementations.
pub(super) fn core_candidate(address: SocketAddr, tcp_type: TcpType) -> Candidate {
    let core_type = match tcp_type {
        TcpType::Active => CoreTcpType::Active,
        TcpType::Passive => CoreTcpType::Passive,
    };
    Candidate::from_parts(
        super::gathering::foundation("tcp", address.ip()),
        1,
        CoreProtocol::Tcp,
        priority(90, address, tcp_type),
        address,
        CandidateKind::Host,
        None,
        Some(core_type),
        None,
    )
}

/// Creates a passive candidate with an address seen by a server (RFC 6544 §5.2). It is not added to the core:
/// connections to it arrive at its base, which the core knows, and a passive candidate sends no checks itself.
pub(super) fn reflexive_candidate(address: SocketAddr, base: Option<SocketAddr>) -> IceCandidate {
    let nowhere = SocketAddr::new(
        match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        },
        0,
    );
    let of = base.map_or(address, |base| base).ip();
    IceCandidate {
        foundation: super::gathering::foundation("srflxtcp", of),
        component: 1,
        protocol: "tcp".to_owned(),
        // Below what a peer finds by itself, as in other implementations.
        priority: priority(70, address, TcpType::Passive),
        address: CandidateAddress::Ip(address.ip()),
        port: address.port(),
        typ: CandidateType::ServerReflexive,
        related_address: Some(base.unwrap_or(nowhere)),
        tcp_type: Some("passive".to_owned()),
        username_fragment: None,
        sdp_mid: None,
        url: None,
    }
}

/// Returns the priority. The local preference is that of RFC 6544 §4.2: direction first, then family.
fn priority(type_preference: u32, address: SocketAddr, tcp_type: TcpType) -> u32 {
    let direction = match tcp_type {
        TcpType::Active => 6,
        TcpType::Passive => 4,
    };
    let other = if address.is_ipv6() { 8_191 } else { 8_190 };
    type_preference << 24 | (direction << 13 | other) << 8 | 255
}
