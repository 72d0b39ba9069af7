//! Local candidates, from the gatherer to the core and to the application, and relayed datagrams.

use std::net::SocketAddr;
use std::time::Instant;

use super::path::Found;
use super::session::{own_attribute, with_candidates};
use super::values::{CandidatePolicy, IceGatheringState, PeerError, PeerEvent, SignalingState};
use super::{Input, Peer};
use crate::proto::ice::{IceCandidate, IceServer, LocalCandidate, LocalKind, Relayed};
use crate::proto::net::{NetworkChange, Protocol, Received};

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
        let gathering = self.path.gathering_mut();
        gathering.add_servers(servers, self.now)?;
        self.on_gathered();
        Ok(())
    }

    /// Starts gathering, initially or after an ICE restart.
    pub(super) fn gather(&mut self, is_restart: bool) {
        let gathering = self.path.gathering_mut();
        if gathering.start(is_restart, self.now, &mut self.out) {
            self.on_gathered();
        }
    }

    /// Handles the gatherer's output.
    pub(super) fn on_gathered(&mut self) {
        while let Some(found) = self.path.gathering_mut().poll(&mut self.out) {
            match found {
                Found::Candidate(candidate) => self.on_local_candidate(&candidate),
                Found::Lost(candidate) => self.on_local_lost(&candidate),
                Found::Complete => {
                    self.signal_candidate(None);
                    self.path.gathering_mut().complete(&mut self.out);
                }
            }
        }
    }

    pub(super) fn gather_timeout(&mut self) {
        self.path.gathering_mut().handle_timeout(self.now);
        self.on_gathered();
    }

    /// Handles a datagram from a TURN server: the relayed payload is what the remote peer sent to our relayed address.
    pub(super) fn on_relay(&mut self, relay: usize, received: &Received<'_>) {
        let gathering = self.path.gathering_mut();
        if received.protocol == Protocol::Udp {
            if let Some(relayed) = gathering.receive_relayed(relay, received, self.now) {
                self.on_relayed(&relayed);
                return;
            }
        } else {
            for relayed in gathering.receive_stream(relay, received, self.now) {
                self.on_relayed(&relayed);
            }
        }
        self.settle();
        self.on_gathered();
        self.core.touch();
        self.settle();
    }

    fn on_relayed(&mut self, relayed: &Relayed<'_>) {
        self.on_datagram(&Received {
            protocol: Protocol::Udp,
            source: relayed.source,
            destination: relayed.destination,
            contents: &relayed.contents,
        });
    }

    /// Handles input of a closed peer: responses of TURN servers.
    pub(super) fn after_close(&mut self, input: &Input<'_>) -> Result<(), PeerError> {
        self.advance(input.time());
        let now = self.now;
        let gathering = self.path.gathering_mut();
        if !gathering.has_relays() {
            return Err(PeerError::Closed);
        }
        match input {
            Input::Receive { received, .. } => {
                if let Some(relay) = gathering.relay_of(received) {
                    match received.protocol {
                        Protocol::Udp => {
                            gathering.receive_relayed(relay, received, now);
                        }
                        Protocol::Tcp => {
                            gathering.receive_stream(relay, received, now);
                        }
                        Protocol::IceTcp => {}
                    }
                }
            }
            Input::Socket { id, reply, .. } => gathering.handle_socket(*id, reply, now),
            // Only the time matters: the next timeout must not be in the past.
            Input::Timeout(_)
            | Input::Resolved { .. }
            | Input::Binding { .. }
            | Input::StreamLost { .. }
            | Input::NetworkChanged { .. } => gathering.handle_timeout(now),
        }
        self.on_gathered();
        // No application is left to be notified.
        self.out.events.clear();
        Ok(())
    }

    fn on_local_candidate(&mut self, found: &LocalCandidate) {
        let local = &self.path.credentials().local().ufrag;
        let ufrag = self.session.gathering_ufrag(local);
        let mid = self.session.first_mid();
        let core = &mut self.core;
        let add = |found: &LocalCandidate| core.add_local(found);
        let gathering = self.path.gathering_mut();
        let candidate = gathering.found(found, ufrag, mid, add, &mut self.out);
        if let Some(candidate) = candidate {
            self.signal_candidate(Some(candidate));
        }
    }

    /// Handles a lost local address: no candidate pair may use it any more.
    fn on_local_lost(&mut self, lost: &LocalCandidate) {
        if self.path.gathering_mut().lost(lost) {
            self.core.remove_local(lost);
        }
        if matches!(lost.kind, LocalKind::Relay { .. }) {
            self.on_relay_lost(lost.address);
        }
    }

    fn on_relay_lost(&mut self, address: SocketAddr) {
        let was_in_use = !self.is_closed() && self.path.relay_lost(address, self.now);
        if was_in_use && self.config.restart_after_disconnected.is_some() {
            self.recover("the relay that data was sent from is gone");
        }
    }

    /// Reports a local candidate to the application, or holds it (see [`CandidatePolicy`]).
    fn signal_candidate(&mut self, candidate: Option<IceCandidate>) {
        let hold = self.config.candidates == CandidatePolicy::HoldUntilAnswered
            && self.signaling_state() == SignalingState::HaveLocalOffer;
        if hold {
            self.session.candidates().hold_local(candidate);
        } else {
            self.out.event(PeerEvent::IceCandidate(candidate));
        }
    }

    /// Returns a local description with the candidates gathered for its generation.
    pub(super) fn with_gathered(&self, sdp: &str, with_end: bool) -> String {
        let ufrag = own_attribute(sdp, "ice-ufrag").unwrap_or_default();
        let gathering = self.path.gathering();
        let complete = with_end && gathering.state() == IceGatheringState::Complete;
        with_candidates(sdp, &gathering.candidates(&ufrag), complete)
    }

    /// Records that candidates may be signaled in a description with this ufrag.
    pub(super) fn note_generation(&mut self, ufrag: &str) {
        self.path.gathering_mut().names().generation(ufrag);
    }

    /// Handles a change of interfaces, addresses or routes, or a suspend of the machine.
    pub(super) fn on_network_changed(&mut self, change: &NetworkChange<'_>) {
        let before = self.path.before_change();
        let gathering = self.path.gathering_mut();
        let has_begun = gathering.network_changed(change, self.now);
        // The gathering state is that of the signaled generation, to which this adds.
        self.on_gathered();
        let may_restart = self.config.restart_on_network_change;
        if self
            .path
            .after_change(change, before, has_begun, may_restart)
        {
            self.recover("the network has changed");
        }
    }

    /// Requests an offer with new credentials from the application, if there is anything to restart.
    pub(super) fn recover(&mut self, why: &str) {
        if self.path.credentials().remote().is_none() {
            return;
        }
        log::debug!("{why}: ICE is to be restarted");
        self.session.want_restart();
        self.check_negotiation_needed();
    }
}
