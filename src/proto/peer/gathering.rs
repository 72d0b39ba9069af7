//! Local candidates: from the gatherer to the core and to the application.

use std::net::SocketAddr;

use str0m::net::Protocol as CoreProtocol;
use str0m::{Candidate, Rtc};

use super::config::{CandidatePolicy, PeerConfig};
use super::error::PeerError;
use super::state::{IceGatheringState, PeerEvent, SignalingState};
use super::{Output, Peer};
use crate::proto::ice::{GatherOutput, Gatherer, IceCandidate, LocalCandidate, LocalKind};

/// The gatherer of this configuration.
pub(super) fn gatherer(config: &PeerConfig) -> Result<Gatherer, PeerError> {
    Gatherer::new(config.gather.clone())
        .with_servers(&config.ice_servers, config.ice_transport_policy)
        .map_err(|e| PeerError::Config(e.to_string()))
}

impl Peer {
    /// Passes on what the gatherer has found.
    pub(super) fn on_gathered(&mut self) {
        while let Some(output) = self.gatherer.poll_output() {
            match output {
                GatherOutput::OpenSocket(request) => {
                    self.out.push_back(Output::OpenSocket(request));
                }
                GatherOutput::Resolve(host) => self.out.push_back(Output::Resolve(host)),
                GatherOutput::Bind(request) => self.out.push_back(Output::Bind(request)),
                GatherOutput::Candidate(candidate) => self.on_local_candidate(&candidate),
                GatherOutput::Failed(why) => self.event(PeerEvent::IceCandidateError(why)),
                GatherOutput::Complete => {
                    self.signal_candidate(None);
                    self.set_gathering(IceGatheringState::Complete);
                }
            }
        }
    }

    pub(super) fn gather_timeout(&mut self) {
        self.gatherer.handle_timeout(self.now);
        self.on_gathered();
    }

    fn on_local_candidate(&mut self, found: &LocalCandidate) {
        let index = match self.position_gathered(found.address) {
            Some(index) => index,
            None => {
                let Some(mut candidate) = add_local_candidate(&mut self.rtc, found) else {
                    return;
                };
                candidate.url = match &found.kind {
                    LocalKind::Host => None,
                    LocalKind::ServerReflexive { url, .. } => Some(url.clone()),
                };
                self.gathered.push(candidate);
                self.gathered.len() - 1
            }
        };
        let candidate = &mut self.gathered[index];
        candidate.username_fragment = Some(self.negotiation.gathering_ufrag(&self.local_creds));
        candidate.sdp_mid = self.negotiation.first_mid();
        let candidate = candidate.clone();
        self.signal_candidate(Some(candidate));
    }

    fn position_gathered(&self, address: SocketAddr) -> Option<usize> {
        self.gathered
            .iter()
            .position(|c| c.socket_addr() == Some(address))
    }

    /// Gives a local candidate to the application, or holds it (see [`CandidatePolicy`]).
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

/// Tells the core of a local address. `None` when it does not want it.
fn add_local_candidate(rtc: &mut Rtc, found: &LocalCandidate) -> Option<IceCandidate> {
    let address = found.address;
    let candidate = match &found.kind {
        LocalKind::Host => Candidate::host(address, CoreProtocol::Udp),
        LocalKind::ServerReflexive { base, .. } => {
            Candidate::server_reflexive(address, *base, CoreProtocol::Udp)
        }
    };
    let candidate = match candidate {
        Ok(candidate) => candidate,
        Err(e) => {
            log::debug!("local candidate {address} not usable: {e}");
            return None;
        }
    };
    let line = rtc.add_local_candidate(candidate)?.to_sdp_string();
    IceCandidate::parse(&line)
        .inspect_err(|e| log::warn!("own candidate {line:?}: {e}"))
        .ok()
}
