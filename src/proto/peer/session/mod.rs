//! Offer and answer (W3C WebRTC §4.3.1, RFC 8829): the signaling state with its data, the results of negotiation, and
//! the queue of candidates that wait for their description.
//!
//! ```text
//!                    set_local(offer)                     set_remote(answer)
//!         ┌────────────────────────►  LocalOffer  ──────────────────────┐
//!         │                            │ rollback, or a remote offer    │
//!         │                            │ if we are polite               ▼
//!      Stable ◄────────────────────────┴────────────────────────────► Stable
//!         │                        create_answer                        ▲
//!         └────────►  RemoteOffer  ───────────────►  Answered  ─────────┘
//!            set_remote(offer)                        set_local(answer)
//! ```
//!
//! This module depends neither on the core nor on media. The core's part of an offer, `O`, is a value that is kept here
//! until the answer arrives.

mod agreed;
mod candidates;
mod description;
mod signaling;
mod wanted;

use self::agreed::Agreed;
use self::wanted::Wanted;
use super::values::{Limits, PeerError, PeerEvent, Politeness, SignalingState};
use crate::proto::ice::IceCredentials;
use crate::proto::sdp::{Fingerprint, MediaLine};
use crate::proto::signal::{SdpType, SessionDescription};

pub use self::candidates::CandidateCounts;
pub(super) use self::candidates::{PendingCandidates, Remote};
pub(super) use self::description::{
    Description, check_own, own_attribute, own_media_lines, parse_within, with_candidates,
};
pub(super) use self::signaling::{Offer, Signaling};

/// State of offer and answer.
pub(super) struct Session<O> {
    signaling: Signaling<O>,
    /// The offer created last, until it is set.
    drafted: Option<Offer<O>>,
    /// The current descriptions, as defined by W3C.
    local: Option<SessionDescription>,
    remote: Option<SessionDescription>,
    agreed: Agreed,
    wanted: Wanted<O>,
    candidates: PendingCandidates,
    /// Number of remote candidates of the current generation that the core has.
    remote_in_generation: usize,
}

impl<O> Session<O> {
    pub fn new(limits: &Limits) -> Self {
        let (local, remote) = (limits.max_pending_local, limits.max_pending_remote);
        Self::with(PendingCandidates::new(local, remote))
    }

    fn with(candidates: PendingCandidates) -> Self {
        Self {
            signaling: Signaling::Stable,
            drafted: None,
            local: None,
            remote: None,
            agreed: Agreed::default(),
            wanted: Wanted::default(),
            candidates,
            remote_in_generation: 0,
        }
    }

    // State.

    /// Returns the state as W3C names it.
    pub fn state(&self) -> SignalingState {
        self.signaling.state()
    }

    pub fn signaling(&self) -> &Signaling<O> {
        &self.signaling
    }

    /// Returns the error for an operation that is invalid in the current state.
    pub fn wrong_state(&self, operation: &'static str) -> PeerError {
        PeerError::WrongState {
            operation,
            state: self.state(),
        }
    }

    /// Enters a state, and reports it if the W3C state changes.
    fn enter(&mut self, signaling: Signaling<O>, events: &mut Vec<PeerEvent>) {
        let before = self.state();
        self.signaling = signaling;
        let state = self.state();
        if state == before {
            return;
        }
        // Negotiation that is still needed is reported again (W3C §4.4.1.5, "is now stable").
        self.wanted.report_again();
        events.push(PeerEvent::SignalingStateChange(state));
        if state == SignalingState::Stable && self.remote.is_some() {
            let held = self.candidates.release_local();
            events.extend(held.map(PeerEvent::IceCandidate));
        }
    }

    /// Clears everything, because the connection is closed.
    pub fn close(&mut self, events: &mut Vec<PeerEvent>) {
        if self.state() != SignalingState::Closed {
            let mut candidates =
                std::mem::replace(&mut self.candidates, PendingCandidates::new(0, 0));
            candidates.clear();
            *self = Self::with(candidates);
            self.signaling = Signaling::Closed;
            events.push(PeerEvent::SignalingStateChange(SignalingState::Closed));
        }
    }

    /// Returns `true` if a remote offer has to be ignored because it collides (W3C §10.7).
    pub fn ignores_offer(&self, politeness: Politeness) -> bool {
        self.state() != SignalingState::Stable && politeness == Politeness::Impolite
    }

    // Descriptions.

    /// Returns the local description, pending or current.
    pub fn local(&self) -> Option<(SdpType, &str)> {
        match &self.signaling {
            Signaling::LocalOffer(offer) => Some((SdpType::Offer, &offer.sdp)),
            _ => self.local.as_ref().map(|d| (d.kind, d.sdp.as_str())),
        }
    }

    /// Returns the remote description, pending or current.
    pub fn remote(&self) -> Option<&SessionDescription> {
        self.signaling.remote_offer().or(self.remote.as_ref())
    }

    /// Returns `true` if the current offer is ours.
    pub fn is_offerer(&self) -> bool {
        let current = self.local.as_ref();
        current.is_some_and(|d| d.kind == SdpType::Offer)
    }

    /// Returns the mid that candidates are signaled with: that of the tagged m-line.
    pub fn first_mid(&self) -> Option<String> {
        description::tagged_mid(self.local()?.1)
    }

    /// Returns the ufrag that candidates are gathered for: that of an unanswered offer, if there is one.
    pub fn gathering_ufrag(&self, local: &str) -> String {
        match &self.signaling {
            Signaling::LocalOffer(offer) => offer.creds.ufrag.clone(),
            _ => local.to_owned(),
        }
    }

    // Local offers.

    /// Stores an offer that was created.
    pub fn draft(&mut self, offer: Offer<O>) {
        self.drafted = Some(offer);
    }

    /// Sets the offer that was created last. Returns its ufrag, and `true` if it restarts ICE.
    pub fn set_local_offer(
        &mut self,
        given: &str,
        local: &IceCredentials,
        events: &mut Vec<PeerEvent>,
    ) -> Result<(String, bool), PeerError> {
        if self.state() != SignalingState::Stable {
            return Err(self.wrong_state("set_local_description(offer)"));
        }
        let Some(offer) = self.drafted.take() else {
            return Err(self.wrong_state("set_local_description(offer) without create_offer"));
        };
        if let Err(e) = check_own(&offer.sdp, given) {
            self.drafted = Some(offer);
            return Err(e);
        }
        let ufrag = offer.creds.ufrag.clone();
        let is_restart = ufrag != local.ufrag;
        if is_restart {
            self.wanted.restart = false;
        }
        self.enter(Signaling::LocalOffer(offer), events);
        Ok((ufrag, is_restart))
    }

    /// Returns our unanswered offer, if there is one.
    pub fn offered(&self, operation: &'static str) -> Result<&Offer<O>, PeerError> {
        match &self.signaling {
            Signaling::LocalOffer(offer) => Ok(offer),
            _ => Err(self.wrong_state(operation)),
        }
    }

    /// Takes our offer, for applying its answer to the core. [`accepted`](Self::accepted) or
    /// [`not_accepted`](Self::not_accepted) has to follow.
    pub fn take_offered(&mut self, operation: &'static str) -> Result<Offer<O>, PeerError> {
        match std::mem::replace(&mut self.signaling, Signaling::Accepting) {
            Signaling::LocalOffer(offer) => Ok(offer),
            other => {
                self.signaling = other;
                Err(self.wrong_state(operation))
            }
        }
    }

    /// Handles that the core has accepted the answer to our offer.
    pub fn accepted(
        &mut self,
        offer: String,
        answer: SessionDescription,
        events: &mut Vec<PeerEvent>,
    ) {
        self.local = Some(SessionDescription {
            kind: SdpType::Offer,
            sdp: offer,
        });
        self.remote = Some(answer);
        self.enter(Signaling::Stable, events);
    }

    /// Handles that the core has refused the answer and dropped our offer. The next offer starts from the current
    /// descriptions.
    pub fn not_accepted(&mut self, events: &mut Vec<PeerEvent>) {
        self.enter(Signaling::Stable, events);
    }

    /// Checks that an answer has new credentials if and only if its offer has (RFC 8839 §4.4.1.1.1). The core detects
    /// that too late, or not at all.
    pub fn check_answered_credentials(
        &self,
        answer: &Description,
        local: &IceCredentials,
        before: Option<&IceCredentials>,
    ) -> Result<(), PeerError> {
        let Signaling::LocalOffer(offer) = &self.signaling else {
            return answer.check_username(&local.ufrag);
        };
        answer.check_username(&offer.creds.ufrag)?;
        let Some(before) = before else {
            return Ok(());
        };
        let offered = offer.creds.ufrag != local.ufrag;
        let answered = before.ufrag != answer.ufrag || before.password != answer.pwd;
        match (offered, answered) {
            (true, false) => Err(PeerError::BadDescription(
                "the offer restarts ICE, but a=ice-ufrag of the answer is the old one".into(),
            )),
            (false, true) => Err(PeerError::BadDescription(
                "a=ice-ufrag of the answer is new, but the offer does not restart ICE".into(),
            )),
            _ => Ok(()),
        }
    }

    /// Rolls back our pending offer, if there is one (RFC 8829 §4.1.10.2): it becomes a draft again, whose additions
    /// are kept. Returns its ufrag if that is not the current one: its route and its candidates are to be removed. The
    /// caller enters the next state.
    pub fn take_back(&mut self, local: &IceCredentials) -> Option<String> {
        let Signaling::LocalOffer(offer) =
            std::mem::replace(&mut self.signaling, Signaling::TakenBack)
        else {
            return None;
        };
        let ufrag = Some(offer.creds.ufrag.clone()).filter(|u| *u != local.ufrag);
        if let Some(ufrag) = &ufrag {
            // The restart is still wanted; its candidates are not.
            self.candidates.drop_local(ufrag);
            self.wanted.restart = true;
        }
        self.drafted = Some(offer);
        ufrag
    }

    /// Takes the draft if it adds an m-line, which must not get lost.
    pub fn take_additions(&mut self) -> Option<O> {
        let offer = self.drafted.take().filter(|offer| offer.adds)?;
        Some(offer.core)
    }

    /// Stores additions for the next offer.
    pub fn keep_additions(&mut self, additions: Option<O>) {
        self.wanted.additions = additions;
    }

    /// Takes the stored additions.
    pub fn kept_additions(&mut self) -> Option<O> {
        self.wanted.additions.take()
    }

    // Remote offers.

    /// Sets a validated remote offer.
    pub fn set_remote_offer(
        &mut self,
        description: SessionDescription,
        offer: Description,
        events: &mut Vec<PeerEvent>,
    ) {
        self.agreed.note_mids(&offer.lines);
        let offer = Box::new(offer);
        self.enter(Signaling::RemoteOffer { description, offer }, events);
    }

    /// Returns the remote offer to be answered; `None` if it has been answered.
    pub fn remote_offer(&self, operation: &'static str) -> Result<Option<Description>, PeerError> {
        match &self.signaling {
            Signaling::RemoteOffer { offer, .. } => Ok(Some((**offer).clone())),
            Signaling::Answered { .. } => Ok(None),
            _ => Err(self.wrong_state(operation)),
        }
    }

    /// Stores an answer that was created for the remote offer, which has taken effect.
    pub fn answered(&mut self, answer: String, events: &mut Vec<PeerEvent>) {
        if let Some(description) = self.signaling.remote_offer().cloned() {
            self.enter(
                Signaling::Answered {
                    description,
                    answer,
                },
                events,
            );
        }
    }

    /// Returns the answer that was created.
    pub fn answer(&self) -> Option<&str> {
        match &self.signaling {
            Signaling::Answered { answer, .. } => Some(answer),
            _ => None,
        }
    }

    /// Drops the remote offer, which cannot be answered.
    pub fn drop_remote_offer(&mut self, events: &mut Vec<PeerEvent>) {
        self.enter(Signaling::Stable, events);
    }

    /// Handles the rollback of the pending offer, ours or the remote one.
    pub fn rolled_back(&mut self, events: &mut Vec<PeerEvent>) {
        self.enter(Signaling::Stable, events);
    }

    /// Sets the answer that was created. Returns `true` if it restarts ICE.
    pub fn set_local_answer(
        &mut self,
        given: &str,
        local: &IceCredentials,
        events: &mut Vec<PeerEvent>,
    ) -> Result<bool, PeerError> {
        let (description, answer) = match &self.signaling {
            Signaling::Answered {
                description,
                answer,
            } => (description.clone(), answer.clone()),
            Signaling::RemoteOffer { .. } => {
                let operation = "set_local_description(answer) without create_answer";
                return Err(self.wrong_state(operation));
            }
            _ => return Err(self.wrong_state("set_local_description(answer)")),
        };
        check_own(&answer, given)?;
        let before = self.local.as_ref();
        let before = before.and_then(|d| own_attribute(&d.sdp, "ice-ufrag"));
        self.local = Some(SessionDescription {
            kind: SdpType::Answer,
            sdp: answer,
        });
        self.remote = Some(description);
        self.enter(Signaling::Stable, events);
        Ok(before.is_some_and(|before| before != local.ufrag))
    }

    // Results of negotiation.

    /// Records the properties of a remote description, once the core has applied it.
    pub fn negotiated(&mut self, remote: &Description, is_restart: bool) {
        if is_restart {
            self.remote_in_generation = 0;
            // New credentials satisfy `restartIce` (W3C §4.4.1.5), whichever side requested them.
            self.wanted.restart = false;
        }
        self.agreed.record(remote);
    }

    pub fn lines(&self) -> &[MediaLine] {
        self.agreed.lines()
    }

    /// Returns the fingerprints of the remote certificate.
    pub fn fingerprints(&self) -> &[Fingerprint] {
        self.agreed.fingerprints()
    }

    /// Returns `true` if data channels have been negotiated.
    pub fn has_application(&self) -> bool {
        self.agreed.has_application()
    }

    pub fn set_application(&mut self, application: bool) {
        self.agreed.set_application(application);
    }

    /// Returns `true` if data channels have been offered, now or before.
    pub fn application_offered(&self) -> bool {
        self.agreed.application_offered()
    }

    pub fn note_application_offered(&mut self) {
        self.agreed.note_application_offered();
    }

    /// Returns `true` if an unanswered offer of ours adds data channels to a session without them.
    pub fn awaits_application(&self) -> bool {
        let is_offered = self.state() == SignalingState::HaveLocalOffer;
        is_offered && self.application_offered() && !self.has_application()
    }

    /// Returns the core's mids that differ from those on the wire, with the latter.
    pub fn mids(&self) -> &[(String, String)] {
        self.agreed.mids()
    }

    /// Returns the mid on the wire for one of the core's m-lines.
    pub fn wire_mid(&self, id: &str) -> String {
        self.agreed.wire_mid(id)
    }

    // Negotiation needed.

    /// Makes the next offer restart ICE.
    pub fn want_restart(&mut self) {
        self.wanted.restart = true;
    }

    /// Returns `true` if the next offer has to restart ICE. Without a current description there is nothing to restart.
    pub fn restarts(&self) -> bool {
        self.wanted.restart && !self.lines().is_empty()
    }

    /// Evaluates whether negotiation is needed (W3C §4.7.3), and reports it once, until an offer was created.
    /// `channels`: data channels have to be negotiated. `tracks`: media has to be.
    pub fn check_needed(&mut self, channels: bool, tracks: bool, events: &mut Vec<PeerEvent>) {
        if self.state() != SignalingState::Stable {
            return self.wanted.report_again();
        }
        let others = self.restarts() || (channels && !self.has_application()) || tracks;
        self.wanted.check(others, events);
    }

    /// Returns `true` if that was reported and still applies.
    pub fn is_needed(&self) -> bool {
        self.wanted.is_reported()
    }

    // Candidates.

    /// The queue of candidates.
    pub fn candidates(&mut self) -> &mut PendingCandidates {
        &mut self.candidates
    }

    pub fn candidate_counts(&self) -> CandidateCounts {
        self.candidates.counts
    }

    /// Returns `true` if there is room for another remote candidate in this generation.
    pub fn has_room(&self, limits: &Limits) -> bool {
        self.remote_in_generation < limits.max_remote_candidates
    }

    /// Counts a remote candidate that was passed to the core.
    pub fn candidate_applied(&mut self) {
        self.remote_in_generation += 1;
        self.candidates.counts.applied += 1;
    }

    #[cfg(any(test, feature = "testing"))]
    pub fn audit(&self) -> [(&'static str, usize, usize); 4] {
        self.candidates.audit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creds(ufrag: &str) -> IceCredentials {
        IceCredentials {
            ufrag: ufrag.into(),
            password: "p".into(),
        }
    }

    fn offer(ufrag: &str, adds: bool) -> Offer<&'static str> {
        Offer {
            sdp: format!("v=0\r\na=ice-ufrag:{ufrag}\r\n"),
            core: "the core's part",
            adds,
            creds: creds(ufrag),
        }
    }

    fn session() -> (Session<&'static str>, Vec<PeerEvent>) {
        (Session::new(&Limits::default()), Vec::new())
    }

    #[test]
    fn an_offer_is_set_as_it_was_created() {
        let (mut s, mut events) = session();
        let local = creds("a");
        let unknown = s.set_local_offer("v=0\r\n", &local, &mut events);
        assert!(matches!(unknown, Err(PeerError::WrongState { .. })));
        s.draft(offer("a", false));
        let changed = s.set_local_offer("v=1\r\n", &local, &mut events);
        assert!(matches!(changed, Err(PeerError::BadDescription(_))));
        let sdp = offer("a", false).sdp;
        let set = s.set_local_offer(&sdp, &local, &mut events);
        assert_eq!(set, Ok(("a".into(), false)));
        assert_eq!(s.state(), SignalingState::HaveLocalOffer);
        assert_eq!(s.local(), Some((SdpType::Offer, sdp.as_str())));
        assert!(s.remote_offer("create_answer").is_err());
    }

    #[test]
    fn an_offer_that_is_taken_back_keeps_its_additions_and_its_restart() {
        let (mut s, mut events) = session();
        s.draft(offer("new", true));
        let sdp = offer("new", true).sdp;
        let set = s.set_local_offer(&sdp, &creds("old"), &mut events);
        assert_eq!(set, Ok(("new".into(), true)));
        assert_eq!(s.take_back(&creds("old")).as_deref(), Some("new"));
        assert_eq!(s.take_additions(), Some("the core's part"));
        assert_eq!(s.take_additions(), None);
        s.rolled_back(&mut events);
        assert_eq!(s.state(), SignalingState::Stable);
        assert!(s.wanted.restart && s.local().is_none());
        s.keep_additions(Some("the core's part"));
        s.check_needed(false, false, &mut events);
        s.check_needed(false, false, &mut events);
        let told = events
            .iter()
            .filter(|e| **e == PeerEvent::NegotiationNeeded);
        assert_eq!(told.count(), 1);
    }

    #[test]
    fn a_closed_session_has_nothing_left() {
        let (mut s, mut events) = session();
        s.draft(offer("a", true));
        s.close(&mut events);
        s.close(&mut events);
        assert_eq!(events.len(), 1);
        assert_eq!(s.take_additions(), None);
        assert_eq!(s.state(), SignalingState::Closed);
        s.check_needed(true, true, &mut events);
        assert!(!s.is_needed());
    }
}
