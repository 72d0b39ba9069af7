//! Local candidates: from the gatherer to the core and to the application.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Instant;

use str0m::net::Protocol as CoreProtocol;
use str0m::{Candidate, CandidateKind, Rtc};

use super::config::{CandidatePolicy, PeerConfig};
use super::description::{own_attribute, with_candidates};
use super::error::PeerError;
use super::state::{IceGatheringState, PeerEvent, SignalingState};
use super::{Input, Output, Peer};
use crate::proto::ice::candidate::CandidateAddress;
use crate::proto::ice::{
    GatherOutput, Gatherer, IceCandidate, IceServer, LocalCandidate, LocalKind, Relayed,
    ServerTransport, TransactionIds,
};
use crate::proto::net::{Protocol, Received, Transmit};

/// Creates the gatherer for this configuration.
pub(super) fn gatherer(config: &PeerConfig) -> Result<Gatherer, PeerError> {
    Gatherer::new(config.gather.clone())
        .with_seed(config.seed)
        .with_servers(&config.ice_servers, config.ice_transport_policy)
        .map_err(|e| PeerError::Config(e.to_string()))
}

/// Maximum number of remote candidates that wait for name resolution; further ones are dropped.
const MAX_WAITING: usize = 32;

/// Number of generations remembered. One can be rolled back, so it is not always the last.
const MAX_GENERATIONS: usize = 4;

/// mDNS names in place of addresses: our own, and those of remote candidates being resolved.
#[derive(Debug)]
pub(super) struct Names {
    ids: TransactionIds,
    hidden: Vec<(SocketAddr, String)>,
    waiting: Vec<IceCandidate>,
    /// The ufrags of the last generations that were signaled, with their numbers.
    generations: VecDeque<(String, u8)>,
}

impl Names {
    pub fn new(seed: Option<u64>) -> Self {
        Self {
            ids: TransactionIds::new(seed),
            hidden: Vec::new(),
            waiting: Vec::new(),
            generations: VecDeque::new(),
        }
    }

    /// Returns the number of the generation with this ufrag, if it is known.
    fn generation_of(&self, ufrag: &str) -> Option<u8> {
        let mut known = self.generations.iter();
        known.find(|(u, _)| u == ufrag).map(|(_, number)| *number)
    }

    /// Returns the number of the generation with this ufrag; a new ufrag starts a new generation.
    fn generation(&mut self, ufrag: &str) -> u8 {
        if let Some(number) = self.generation_of(ufrag) {
            return number;
        }
        let last = self.generations.back();
        let number = last.map_or(0, |(_, number)| number.saturating_add(1));
        if self.generations.len() >= MAX_GENERATIONS {
            self.generations.pop_front();
        }
        self.generations.push_back((ufrag.to_owned(), number));
        number
    }

    /// Returns the name for this address: a random UUID (RFC 9562 §5.4), as in other implementations.
    fn hide(&mut self, address: SocketAddr) -> String {
        let [a, b] = [(); 2].map(|()| u128::from(self.ids.next()));
        let bits = (a << 64) ^ b;
        let id = (bits & !(0xF << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{id:032x}");
        let part = |range: Range<usize>| hex.get(range).unwrap_or_default();
        let (a, b, c, d, e) = (
            part(0..8),
            part(8..12),
            part(12..16),
            part(16..20),
            part(20..32),
        );
        let name = format!("{a}-{b}-{c}-{d}-{e}.local");
        self.hidden.push((address, name.clone()));
        name
    }

    fn of(&self, address: SocketAddr) -> Option<&str> {
        let hidden = self.hidden.iter().find(|(a, _)| *a == address);
        hidden.map(|(_, name)| name.as_str())
    }

    /// Keeps a remote candidate until its name is resolved. Returns `false` if there is no room.
    pub fn wait(&mut self, candidate: &IceCandidate) -> bool {
        let has_room = self.waiting.len() < MAX_WAITING;
        if has_room {
            self.waiting.push(candidate.clone());
        }
        has_room
    }

    /// Returns the candidates that waited for this name.
    pub fn take(&mut self, host: &str) -> Vec<IceCandidate> {
        let is_it = |c: &IceCandidate| matches!(&c.address, CandidateAddress::Name(n) if n == host);
        let (taken, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(is_it);
        self.waiting = waiting;
        taken
    }

    pub fn clear(&mut self) {
        self.hidden.clear();
        self.waiting.clear();
    }
}

impl Peer {
    /// Adds STUN and TURN servers, for signaling that delivers them late (in WHIP with the answer). If gathering has
    /// started they are asked at once: their candidates follow as [`PeerEvent::IceCandidate`], also after the end of
    /// candidates.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::Config`] for an invalid URL, a TURN server without a credential, or more than 16 URLs in
    /// all; nothing is changed then. Returns [`PeerError::Closed`] if the peer is closed.
    pub fn add_ice_servers(
        &mut self,
        servers: &[IceServer],
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        self.gatherer
            .add_servers(servers, self.now)
            .map_err(|e| PeerError::Config(e.to_string()))?;
        self.on_gathered();
        Ok(())
    }

    /// Handles the gatherer's output.
    pub(super) fn on_gathered(&mut self) {
        while let Some(output) = self.gatherer.poll_output() {
            match output {
                GatherOutput::OpenSocket(request) => {
                    self.out.push(Output::OpenSocket(request));
                }
                GatherOutput::CloseSocket(id) => self.out.push(Output::CloseSocket(id)),
                GatherOutput::Transmit(transmit) => self.out.push(Output::Transmit(transmit)),
                GatherOutput::Lost(candidate) => self.on_local_lost(&candidate),
                GatherOutput::Resolve(host) => self.out.push(Output::Resolve(host)),
                GatherOutput::Bind(request) => self.out.push(Output::Bind(request)),
                GatherOutput::Candidate(candidate) => self.on_local_candidate(&candidate),
                GatherOutput::Failed(why) => self.event(PeerEvent::IceCandidateError(why)),
                // After a network change, completion was already reported.
                GatherOutput::Complete if self.gathering == IceGatheringState::Complete => {}
                GatherOutput::Complete => {
                    self.signal_candidate(None);
                    self.set_gathering(IceGatheringState::Complete);
                }
            }
        }
    }

    /// Handles a datagram from a TURN server: the relayed payload is what the remote peer sent to our relayed address.
    pub(super) fn on_relay(&mut self, relay: usize, received: &Received<'_>) {
        if received.protocol == Protocol::Udp {
            if let Some(relayed) = self.gatherer.receive_relayed(relay, received, self.now) {
                self.on_relayed(&relayed);
                return;
            }
        } else {
            for relayed in self.gatherer.receive_stream(relay, received, self.now) {
                self.on_relayed(&relayed);
            }
        }
        self.settle();
        self.on_gathered();
        self.core.touch();
        self.settle();
    }

    /// Handles input of a closed peer: responses of TURN servers.
    pub(super) fn after_close(&mut self, input: &Input<'_>) -> Result<(), PeerError> {
        if !self.gatherer.has_relays() {
            return Err(PeerError::Closed);
        }
        match input {
            Input::Receive { now, received } => {
                self.advance(*now);
                if let Some(relay) = self.gatherer.relay_of(received) {
                    match received.protocol {
                        Protocol::Udp => {
                            self.gatherer.receive_relayed(relay, received, self.now);
                        }
                        Protocol::Tcp => {
                            self.gatherer.receive_stream(relay, received, self.now);
                        }
                        Protocol::IceTcp => {}
                    }
                }
            }
            Input::Timeout(now) => {
                self.advance(*now);
                self.gatherer.handle_timeout(self.now);
            }
            Input::Socket { now, id, reply } => {
                self.advance(*now);
                self.gatherer.handle_socket(*id, reply, self.now);
            }
            // Only the time matters: the next timeout must not be in the past.
            Input::Resolved { now, .. }
            | Input::Binding { now, .. }
            | Input::StreamLost { now, .. }
            | Input::NetworkChanged { now, .. } => {
                self.advance(*now);
                self.gatherer.handle_timeout(self.now);
            }
        }
        self.on_gathered();
        // Nobody is left to be notified.
        self.out.events.clear();
        Ok(())
    }

    fn on_relayed(&mut self, relayed: &Relayed<'_>) {
        self.on_datagram(&Received {
            protocol: Protocol::Udp,
            source: relayed.source,
            destination: relayed.destination,
            contents: &relayed.contents,
        });
    }

    /// Sends through a relay, if the source is a relayed address. Returns `true` if it is.
    pub(super) fn relay(&mut self, transmit: &Transmit) -> bool {
        let sent = self.gatherer.send_relayed(transmit, self.now);
        self.on_gathered();
        sent.is_some()
    }

    pub(super) fn gather_timeout(&mut self) {
        self.gatherer.handle_timeout(self.now);
        self.on_gathered();
    }

    fn on_local_candidate(&mut self, found: &LocalCandidate) {
        let index = match self.position_gathered(protocol_of(found), found.address) {
            Some(index) => index,
            None => {
                let candidate = match &found.kind {
                    LocalKind::ServerReflexiveTcp { base, .. } => {
                        let base = (!self.config.gather.hide_addresses).then_some(*base);
                        Some(super::tcp::reflexive_candidate(found.address, base))
                    }
                    _ => add_local_candidate(&mut self.core, found),
                };
                let Some(mut candidate) = candidate else {
                    return;
                };
                candidate.url = match &found.kind {
                    LocalKind::Host | LocalKind::HostTcp(_) => None,
                    LocalKind::ServerReflexive { url, .. }
                    | LocalKind::ServerReflexiveTcp { url, .. } => url.clone(),
                    LocalKind::Relay { url, .. } => Some(url.clone()),
                };
                let is_host = matches!(found.kind, LocalKind::Host | LocalKind::HostTcp(_));
                if self.config.gather.hide_addresses && is_host {
                    let name = self.names.hide(found.address);
                    let published = Output::Publish(name.clone(), found.address.ip());
                    self.out.push(published);
                    candidate.address = CandidateAddress::Name(name);
                }
                self.gathered.push(candidate);
                self.gathered.len() - 1
            }
        };
        let ufrag = self.negotiation.gathering_ufrag(&self.local_creds);
        let generation = self.names.generation(&ufrag);
        let candidate = &mut self.gathered[index];
        candidate.username_fragment = Some(ufrag);
        candidate.sdp_mid = self.negotiation.first_mid();
        let mut candidate = candidate.clone();
        candidate.priority = younger(candidate.priority, generation);
        self.signal_candidate(Some(candidate));
    }

    /// Returns a local description with the gathered candidates, with the priorities of its generation: see
    /// [`younger`].
    pub(super) fn with_gathered(&self, sdp: &str, complete: bool) -> String {
        let ufrag = own_attribute(sdp, "ice-ufrag").unwrap_or_default();
        let generation = self.names.generation_of(&ufrag).unwrap_or(0);
        let mut candidates = self.gathered.clone();
        for candidate in &mut candidates {
            candidate.priority = younger(candidate.priority, generation);
        }
        with_candidates(sdp, &candidates, complete)
    }

    /// Records that candidates may be signaled in a description with this ufrag.
    pub(super) fn note_generation(&mut self, ufrag: &str) {
        self.names.generation(ufrag);
    }

    /// Handles a lost local address: no candidate pair may use it any more.
    fn on_local_lost(&mut self, lost: &LocalCandidate) {
        if let Some(index) = self.position_gathered(protocol_of(lost), lost.address) {
            self.gathered.remove(index);
            self.names.hidden.retain(|(a, _)| *a != lost.address);
        }
        if matches!(lost.kind, LocalKind::ServerReflexiveTcp { .. }) {
            return;
        }
        if let Ok(candidate) = core_candidate(lost) {
            self.core.direct_api().invalidate_candidate(&candidate);
            self.core.touch();
        }
        if matches!(lost.kind, LocalKind::Relay { .. }) {
            self.on_relay_lost(lost.address);
        }
    }

    pub(super) fn position_gathered(
        &self,
        protocol: Protocol,
        address: SocketAddr,
    ) -> Option<usize> {
        let name = self.names.of(address);
        let is_address = |c: &IceCandidate| match &c.address {
            CandidateAddress::Ip(_) => c.socket_addr() == Some(address),
            CandidateAddress::Name(n) => Some(n.as_str()) == name,
        };
        let is_tcp = protocol == Protocol::IceTcp;
        let mut gathered = self.gathered.iter();
        gathered.position(|c| (c.protocol == "tcp") == is_tcp && is_address(c))
    }

    /// Reports a local candidate to the application, or holds it (see [`CandidatePolicy`]).
    fn signal_candidate(&mut self, candidate: Option<IceCandidate>) {
        let hold = self.config.candidates == CandidatePolicy::HoldUntilAnswered
            && self.signaling_state() == SignalingState::HaveLocalOffer;
        if hold {
            self.pending.hold_local(candidate);
        } else {
            self.event(PeerEvent::IceCandidate(candidate));
        }
    }

    pub(super) fn set_gathering(&mut self, state: IceGatheringState) {
        if self.gathering != state {
            self.gathering = state;
            self.event(PeerEvent::IceGatheringStateChange(state));
        }
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

/// Returns the foundation: one per type and address (RFC 8445 §5.1.1.3), in the allowed characters (RFC 8839 §5.1).
pub(super) fn foundation(kind: &str, base: IpAddr) -> String {
    let (family, bits) = match base {
        IpAddr::V4(ip) => (4, u64::from(u32::from(ip))),
        IpAddr::V6(ip) => (6, {
            let bits = u128::from(ip);
            (bits >> 64) as u64 ^ (bits as u64).rotate_left(17)
        }),
    };
    format!("{kind}{family}{bits:x}")
}

/// Adds a local address to the core. Returns `None` if the core refuses it.
fn add_local_candidate(rtc: &mut Rtc, found: &LocalCandidate) -> Option<IceCandidate> {
    let candidate = match core_candidate(found) {
        Ok(candidate) => candidate,
        Err(e) => {
            log::debug!("local candidate {} not usable: {e}", found.address);
            return None;
        }
    };
    let line = rtc.add_local_candidate(candidate)?.to_sdp_string();
    IceCandidate::parse(&line)
        .inspect_err(|e| crate::seldom::seldom!(warn, "own candidate {line:?}: {e}"))
        .ok()
}

fn core_candidate(found: &LocalCandidate) -> Result<Candidate, String> {
    let address = found.address;
    match &found.kind {
        LocalKind::Host => Candidate::host(address, CoreProtocol::Udp).map_err(|e| e.to_string()),
        LocalKind::HostTcp(tcp_type) => Ok(super::tcp::core_candidate(address, *tcp_type)),
        LocalKind::ServerReflexive { base, .. } => {
            Candidate::server_reflexive(address, *base, CoreProtocol::Udp)
                .map_err(|e| e.to_string())
        }
        LocalKind::ServerReflexiveTcp { .. } => Err("the core knows its base".into()),
        // Traffic is relayed here; the core sees no socket beneath it.
        LocalKind::Relay { transport, .. } => Ok(relay_candidate(address, *transport)),
    }
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
