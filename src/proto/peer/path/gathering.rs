//! Local candidates: from the gatherer to the core and to the application.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use super::super::contract::Output;
use super::super::outbox::Outbox;
use super::super::values::{IceGatheringState, PeerConfig, PeerError, PeerEvent};
use super::names::Names;
use crate::proto::ice::candidate::{CandidateAddress, CandidateType};
use crate::proto::ice::rank::{foundation, tcp_priority};
use crate::proto::ice::{
    BindingReply, BindingRequest, GatherOutput, Gatherer, IceCandidate, IceServer, LocalCandidate,
    LocalKind, Relayed, ServerTransport, TcpType,
};
use crate::proto::net::{NetworkChange, Protocol, Received, SocketId, SocketReply, Transmit};

/// Maximum number of local candidates of one generation: host candidates are limited by the gatherer's configuration,
/// and each server adds some for each of them.
#[cfg(any(test, feature = "testing"))]
const MAX_GATHERED: usize = 512;

/// The gatherer and its results.
#[derive(Debug)]
pub(in super::super) struct Gathering {
    gatherer: Gatherer,
    state: IceGatheringState,
    gathered: Vec<IceCandidate>,
    names: Names,
    /// Set if host addresses are signaled as `.local` names.
    hide: bool,
}

/// A result of the gatherer, for the peer to pass on.
pub(in super::super) enum Found {
    Candidate(LocalCandidate),
    Lost(LocalCandidate),
    /// All candidates of the signaled generation have been found.
    Complete,
}

impl Gathering {
    pub fn new(config: &PeerConfig) -> Result<Self, PeerError> {
        let gatherer = Gatherer::new(config.gather.clone())
            .with_seed(config.seed)
            .with_servers(&config.ice_servers, config.ice_transport_policy)
            .map_err(|e| PeerError::Config(e.to_string()))?;
        Ok(Self {
            gatherer,
            state: IceGatheringState::New,
            gathered: Vec::new(),
            names: Names::new(config.seed),
            hide: config.gather.hide_addresses,
        })
    }

    pub fn state(&self) -> IceGatheringState {
        self.state
    }

    /// mDNS names of addresses, and the numbers of generations.
    pub fn names(&mut self) -> &mut Names {
        &mut self.names
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.gatherer.deadline()
    }

    /// Starts gathering, initially or after an ICE restart. Returns `false` if there is nothing to do.
    pub fn start(&mut self, is_restart: bool, now: Instant, out: &mut Outbox) -> bool {
        let begins = self.state == IceGatheringState::New || is_restart;
        if begins {
            self.set_state(IceGatheringState::Gathering, out);
            self.gatherer.start(now);
        }
        begins
    }

    pub fn add_servers(&mut self, servers: &[IceServer], now: Instant) -> Result<(), PeerError> {
        self.gatherer
            .add_servers(servers, now)
            .map_err(|e| PeerError::Config(e.to_string()))
    }

    /// Returns the next result; requests for the driver are added to `out`.
    pub fn poll(&mut self, out: &mut Outbox) -> Option<Found> {
        loop {
            match self.gatherer.poll_output()? {
                GatherOutput::OpenSocket(request) => out.push(Output::OpenSocket(request)),
                GatherOutput::CloseSocket(id) => out.push(Output::CloseSocket(id)),
                GatherOutput::Transmit(transmit) => out.push(Output::Transmit(transmit)),
                GatherOutput::Resolve(host) => out.push(Output::Resolve(host)),
                GatherOutput::RequestBinding(request) => out.push(Output::RequestBinding(request)),
                GatherOutput::Failed(why) => out.event(PeerEvent::IceCandidateError(why)),
                GatherOutput::Lost(candidate) => return Some(Found::Lost(candidate)),
                GatherOutput::Candidate(candidate) => return Some(Found::Candidate(candidate)),
                // After a network change, completion was already reported.
                GatherOutput::Complete if self.state == IceGatheringState::Complete => {}
                GatherOutput::Complete => return Some(Found::Complete),
            }
        }
    }

    /// The end of candidates has been reported.
    pub fn complete(&mut self, out: &mut Outbox) {
        self.set_state(IceGatheringState::Complete, out);
    }

    fn set_state(&mut self, state: IceGatheringState, out: &mut Outbox) {
        if self.state != state {
            self.state = state;
            out.event(PeerEvent::IceGatheringStateChange(state));
        }
    }

    /// Stores a candidate that was found; returns it as it is signaled in the generation of `ufrag`. `add` passes it to
    /// the core, and returns `None` if the core refuses it.
    pub fn found(
        &mut self,
        found: &LocalCandidate,
        ufrag: String,
        mid: Option<String>,
        add: impl FnOnce(&LocalCandidate) -> Option<IceCandidate>,
        out: &mut Outbox,
    ) -> Option<IceCandidate> {
        let index = match self.position(protocol_of(found), found.address) {
            Some(index) => index,
            None => {
                let candidate = match &found.kind {
                    LocalKind::ServerReflexiveTcp { base, .. } => {
                        reflexive_tcp(found.address, (!self.hide).then_some(*base))
                    }
                    _ => add(found)?,
                };
                self.keep(found, candidate, out)
            }
        };
        let generation = self.names.generation(&ufrag);
        let candidate = &mut self.gathered[index];
        candidate.username_fragment = Some(ufrag);
        candidate.sdp_mid = mid;
        let mut candidate = candidate.clone();
        candidate.priority = younger(candidate.priority, generation);
        Some(candidate)
    }

    /// Stores a new candidate. Returns its index.
    fn keep(
        &mut self,
        found: &LocalCandidate,
        mut candidate: IceCandidate,
        out: &mut Outbox,
    ) -> usize {
        candidate.url = match &found.kind {
            LocalKind::Host | LocalKind::HostTcp(_) => None,
            LocalKind::ServerReflexive { url, .. } | LocalKind::ServerReflexiveTcp { url, .. } => {
                url.clone()
            }
            LocalKind::Relay { url, .. } => Some(url.clone()),
        };
        let is_host = matches!(found.kind, LocalKind::Host | LocalKind::HostTcp(_));
        if self.hide && is_host {
            let name = self.names.hide(found.address);
            out.push(Output::Publish(name.clone(), found.address.ip()));
            candidate.address = CandidateAddress::Name(name);
        }
        self.gathered.push(candidate);
        self.gathered.len() - 1
    }

    /// Handles a lost address. Returns `true` if the core has to remove its candidate.
    pub fn lost(&mut self, lost: &LocalCandidate) -> bool {
        if let Some(index) = self.position(protocol_of(lost), lost.address) {
            self.gathered.remove(index);
            self.names.forget(lost.address);
        }
        !matches!(lost.kind, LocalKind::ServerReflexiveTcp { .. })
    }

    /// Returns the candidates as they are written in a description with this ufrag: see [`younger`].
    pub fn candidates(&self, ufrag: &str) -> Vec<IceCandidate> {
        let generation = self.names.generation_of(ufrag).unwrap_or(0);
        let mut candidates = self.gathered.clone();
        for candidate in &mut candidates {
            candidate.priority = younger(candidate.priority, generation);
        }
        candidates
    }

    /// Returns `true` if this address is among the candidates.
    pub fn has(&self, protocol: Protocol, address: SocketAddr) -> bool {
        self.position(protocol, address).is_some()
    }

    fn position(&self, protocol: Protocol, address: SocketAddr) -> Option<usize> {
        let name = self.names.of(address);
        let is_address = |c: &IceCandidate| match &c.address {
            CandidateAddress::Ip(_) => c.socket_addr() == Some(address),
            CandidateAddress::Name(n) => Some(n.as_str()) == name,
        };
        let is_tcp = protocol == Protocol::IceTcp;
        let mut gathered = self.gathered.iter();
        gathered.position(|c| (c.protocol == "tcp") == is_tcp && is_address(c))
    }

    /// Returns the relay that a datagram came through, if any.
    pub fn relay_of(&self, received: &Received<'_>) -> Option<usize> {
        match self.gatherer.has_relays() {
            true => self.gatherer.relay_of(received),
            false => None,
        }
    }

    pub fn has_relays(&self) -> bool {
        self.gatherer.has_relays()
    }

    /// Returns `true` if this is the address of one of our relays.
    pub fn is_relayed(&self, address: SocketAddr) -> bool {
        self.gatherer.is_relayed(address)
    }

    /// Returns the protocol to the server of the relay with this address.
    pub fn relay_transport(&self, address: SocketAddr) -> Option<ServerTransport> {
        self.gatherer.relay_transport(address)
    }

    /// Unwraps a datagram from a TURN server; `None` if it is a message of the server itself.
    pub fn receive_relayed<'a>(
        &mut self,
        relay: usize,
        received: &Received<'a>,
        now: Instant,
    ) -> Option<Relayed<'a>> {
        self.gatherer.receive_relayed(relay, received, now)
    }

    /// Unwraps data received on the stream to a TURN server.
    pub fn receive_stream(
        &mut self,
        relay: usize,
        received: &Received<'_>,
        now: Instant,
    ) -> Vec<Relayed<'static>> {
        self.gatherer.receive_stream(relay, received, now)
    }

    /// Sends data through a relay. Returns `false` if the source is not a relayed address.
    pub fn send_relayed(&mut self, transmit: &Transmit, now: Instant) -> bool {
        self.gatherer.has_relays() && self.gatherer.send_relayed(transmit, now).is_some()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.gatherer.handle_timeout(now);
    }

    pub fn handle_socket(&mut self, id: SocketId, reply: &SocketReply, now: Instant) {
        self.gatherer.handle_socket(id, reply, now);
    }

    pub fn handle_resolved(&mut self, host: &str, result: &Result<Vec<IpAddr>, String>) {
        self.gatherer.handle_resolved(host, result);
    }

    pub fn handle_binding(&mut self, request: &BindingRequest, reply: &BindingReply) {
        self.gatherer.handle_binding(request, reply);
    }

    /// Handles a network change. Returns `true` if gathering has restarted.
    pub fn network_changed(&mut self, change: &NetworkChange<'_>, now: Instant) -> bool {
        self.gatherer.network_changed(change, now)
    }

    /// Returns `true` if the machine has no address.
    pub fn is_cut_off(&self) -> bool {
        self.gatherer.is_cut_off()
    }

    /// Handles the end of the connection: drops the candidates, and releases allocations.
    pub fn release(&mut self, now: Instant) {
        self.gathered = Vec::new();
        self.names.clear();
        self.gatherer.release(now);
    }

    #[cfg(any(test, feature = "testing"))]
    pub fn audit(&self) -> (&'static str, usize, usize) {
        ("gathered candidates", self.gathered.len(), MAX_GATHERED)
    }
}

/// Returns the signaled priority of a candidate: its local preference (RFC 8445 §5.1.2.1) rises with each generation.
///
/// While libwebrtc still receives on its old path, and for 2.5 s after, it sends no check on a pair with a lower
/// priority, whatever the remote peer nominates: after a restart from a network that is gone it would be silent for
/// that time. The core's priorities differ in that only, so the order within a generation is preserved.
fn younger(priority: u32, generation: u8) -> u32 {
    const LEVELS: u32 = 0xFF00 << 8;
    let level = 0x80 | u32::from(generation.min(0x7F));
    priority & !LEVELS | level << 16
}

fn protocol_of(found: &LocalCandidate) -> Protocol {
    match found.kind.is_tcp() {
        true => Protocol::IceTcp,
        false => Protocol::Udp,
    }
}

/// Creates a passive candidate with an address seen by a server (RFC 6544 §5.2). It is not added to the core:
/// connections to it arrive at its base, which the core knows, and a passive candidate sends no checks itself.
fn reflexive_tcp(address: SocketAddr, base: Option<SocketAddr>) -> IceCandidate {
    let nowhere = SocketAddr::new(
        match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        },
        0,
    );
    let of = base.map_or(address, |base| base).ip();
    IceCandidate {
        foundation: foundation("srflxtcp", of),
        component: 1,
        protocol: "tcp".to_owned(),
        // Below what a peer finds by itself, as in other implementations.
        priority: tcp_priority(70, address, TcpType::Passive),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_younger_generation_is_preferred_and_its_order_kept() {
        let of = |local: u32| 126 << 24 | local << 8 | 255;
        let ranked = |g| [of(65_534), of(65_532), of(65_500)].map(|p| younger(p, g));
        for g in 0..0x7F {
            assert!(ranked(g).is_sorted_by(|a, b| a > b));
            assert!(ranked(g)[0] < ranked(g + 1)[2], "{g}");
        }
        assert_eq!(ranked(0x7F), ranked(0xFF), "and then no more");
        assert_eq!(younger(younger(of(65_532), 3), 4), younger(of(65_532), 4));
        // Neither the type nor the component is changed.
        assert_eq!(younger(of(65_534), 0) & 0xFF00_00FF, of(0));
    }
}
