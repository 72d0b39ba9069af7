//! Candidates in the form that str0m takes.

use std::net::{IpAddr, SocketAddr};

use str0m::net::{Protocol as CoreProtocol, TcpType as CoreTcpType};
use str0m::{Candidate, CandidateKind};

use super::Core;
use crate::proto::ice::rank::{foundation, tcp_priority};
use crate::proto::ice::{IceCandidate, LocalCandidate, LocalKind, ServerTransport, TcpType};

/// A remote candidate that the core can parse.
pub(in super::super) struct RemoteCandidate(Candidate);

impl RemoteCandidate {
    /// Parses a candidate whose protocol, address and port are valid. Errors are the core's.
    pub fn new(candidate: &IceCandidate) -> Result<Self, String> {
        let parsed = Candidate::from_sdp_string(&candidate.to_sdp_line());
        parsed.map(Self).map_err(|e| e.to_string())
    }

    pub fn is_tcp(&self) -> bool {
        self.0.proto() != CoreProtocol::Udp
    }
}

impl Core {
    /// Adds a local address to the core. Returns its candidate; `None` if the core refuses it.
    pub fn add_local(&mut self, found: &LocalCandidate) -> Option<IceCandidate> {
        let candidate = match core_candidate(found) {
            Ok(candidate) => candidate,
            Err(e) => {
                log::debug!("local candidate {} not usable: {e}", found.address);
                return None;
            }
        };
        let line = self
            .rtc
            .change()
            .add_local_candidate(candidate)?
            .to_sdp_string();
        IceCandidate::parse(&line)
            .inspect_err(|e| crate::seldom::seldom!(warn, "own candidate {line:?}: {e}"))
            .ok()
    }

    /// Removes a lost local address: no candidate pair may use it any more.
    pub fn remove_local(&mut self, lost: &LocalCandidate) {
        if let Ok(candidate) = core_candidate(lost) {
            self.rtc
                .change()
                .direct_api()
                .invalidate_candidate(&candidate);
            self.touch();
        }
    }

    pub fn add_remote(&mut self, candidate: RemoteCandidate) {
        self.rtc.change().add_remote_candidate(candidate.0);
    }

    /// Handles the closing of a stream opened by the remote peer from this address.
    pub fn remove_stream(&mut self, remote: SocketAddr) {
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
        self.rtc.change().direct_api().invalidate_candidate(&gone);
    }
}

fn core_candidate(found: &LocalCandidate) -> Result<Candidate, String> {
    let address = found.address;
    match &found.kind {
        LocalKind::Host => Candidate::host(address, CoreProtocol::Udp).map_err(|e| e.to_string()),
        LocalKind::HostTcp(tcp_type) => Ok(tcp_candidate(address, *tcp_type)),
        LocalKind::ServerReflexive { base, .. } => {
            Candidate::server_reflexive(address, *base, CoreProtocol::Udp)
                .map_err(|e| e.to_string())
        }
        LocalKind::ServerReflexiveTcp { .. } => Err("the core knows its base".into()),
        // Traffic is relayed here; the core sees no socket beneath it.
        LocalKind::Relay { transport, .. } => Ok(relay_candidate(address, *transport)),
    }
}

/// Creates a TCP host candidate. Its type preference is that of other implementations.
fn tcp_candidate(address: SocketAddr, tcp_type: TcpType) -> Candidate {
    let core_type = match tcp_type {
        TcpType::Active => CoreTcpType::Active,
        TcpType::Passive => CoreTcpType::Passive,
    };
    Candidate::from_parts(
        foundation("tcp", address.ip()),
        1,
        CoreProtocol::Tcp,
        tcp_priority(90, address, tcp_type),
        address,
        CandidateKind::Host,
        None,
        Some(core_type),
        None,
    )
}

/// Creates a relayed candidate. Its type preference depends on the transport to the server, as in other
/// implementations: UDP before TCP before TLS. Equal ones are in order of gathering.
fn relay_candidate(address: SocketAddr, transport: ServerTransport) -> Candidate {
    let type_preference = match transport {
        ServerTransport::Udp => 2,
        ServerTransport::Tcp => 1,
        ServerTransport::Tls => 0,
    };
    let (local_preference, related) = match address {
        SocketAddr::V4(_) => (65_534, IpAddr::from([0; 4])),
        SocketAddr::V6(_) => (65_535, IpAddr::from([0; 16])),
    };
    Candidate::from_parts(
        foundation(&format!("relay{type_preference}"), address.ip()),
        1,
        CoreProtocol::Udp,
        type_preference << 24 | local_preference << 8 | 255,
        address,
        CandidateKind::Relayed,
        // It is required, and has no meaning.
        Some(SocketAddr::new(related, 0)),
        None,
        None,
    )
}
