//! Offers and answers (W3C WebRTC §4.3.1, RFC 8829), glare, rollback.
//!
//! ```text
//!                    set_local(offer)                     set_remote(answer)
//!         ┌────────────────────────► HaveLocalOffer ───────────────────────┐
//!         │                            │ rollback, or a remote offer       │
//!         │                            │ if we are polite                  ▼
//!      Stable ◄────────────────────────┴──────────────────────────────► Stable
//!         │                                                                ▲
//!         └────────────────────────► HaveRemoteOffer ──────────────────────┘
//!                    set_remote(offer)                    set_local(answer)
//! ```
//!
//! The core applies an offer and creates its answer in one step, which is therefore taken in `create_answer`; until
//! then a remote offer can be rolled back.

mod answer;
mod offer;

use std::time::Instant;

use str0m::change::{SdpAnswer, SdpPendingOffer};

use super::core::SEND_BUFFER;
use super::description::{Description, check_own, own_attribute, own_media_lines, tagged_mid};
use super::error::PeerError;
use super::state::{PeerEvent, SignalingState};
use super::tracks::remote_media;
use super::{Peer, SdpType, SessionDescription};
use crate::proto::ice::IceCredentials;
use crate::proto::sdp::{self, Fingerprint, MediaLine, Role, Sdp, Strictness};

pub(super) use self::answer::bad_sdp;
use self::answer::not_canonical;

/// State of offer and answer, with the data for the next step.
pub(super) struct Negotiation {
    signaling: SignalingState,
    pub(super) local: Descriptions,
    remote: Descriptions,
    /// The offer created last, and what is needed to accept its answer.
    created: Option<Created>,
    /// Additions of an offer that was rolled back; they go into the next one.
    taken_back: Option<SdpPendingOffer>,
    /// The remote offer, until it is answered.
    remote_offer: Option<Description>,
    /// The answer created for it.
    answer: Option<String>,
    /// The m-lines negotiated last.
    lines: Vec<MediaLine>,
    /// The core's names of m-lines and their mids on the wire, where these differ.
    mids: Vec<(String, String)>,
    /// The remote fingerprints, once negotiated.
    fingerprints: Vec<Fingerprint>,
    application: bool,
    /// Set once the core was asked for the application m-line; it is in every offer until it is accepted.
    application_offered: bool,
    pub(super) restart_wanted: bool,
    needed: bool,
    pub(super) remote_in_generation: usize,
}

/// Current and pending description of one side, as defined by W3C.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    pub(super) current: Option<SessionDescription>,
    pub(super) pending: Option<SessionDescription>,
}

struct Created {
    sdp: String,
    core: SdpPendingOffer,
    /// Set if it adds an m-line, which must not get lost in a rollback.
    adds: bool,
    /// The credentials in it: the current ones, or new ones for a restart.
    creds: IceCredentials,
}

impl Negotiation {
    pub fn new() -> Self {
        Self {
            signaling: SignalingState::Stable,
            local: Descriptions::default(),
            remote: Descriptions::default(),
            created: None,
            taken_back: None,
            remote_offer: None,
            answer: None,
            lines: Vec::new(),
            mids: Vec::new(),
            fingerprints: Vec::new(),
            application: false,
            application_offered: false,
            restart_wanted: false,
            needed: false,
            remote_in_generation: 0,
        }
    }

    /// Returns `true` if the current offer is ours.
    pub fn is_offerer(&self) -> bool {
        let current = self.local.current.as_ref();
        current.is_some_and(|d| d.kind == SdpType::Offer)
    }

    /// Returns `true` if data channels have been negotiated.
    pub fn has_application(&self) -> bool {
        self.application
    }

    /// Returns `true` if an unanswered offer of ours adds data channels to a session without them.
    pub fn awaits_application(&self) -> bool {
        let is_offered = self.signaling == SignalingState::HaveLocalOffer;
        is_offered && self.application_offered && !self.application
    }

    /// Returns the mid that candidates are signaled with: that of the tagged m-line.
    pub fn first_mid(&self) -> Option<String> {
        let local = self.local.pending.as_ref().or(self.local.current.as_ref());
        tagged_mid(&local?.sdp)
    }

    /// Returns the fingerprints of the remote certificate.
    pub fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    /// Returns the core's mids that differ from those on the wire, with the latter.
    pub fn mids(&self) -> &[(String, String)] {
        &self.mids
    }

    /// Returns the mid on the wire for one of the core's m-lines.
    pub fn wire_mid(&self, id: &str) -> String {
        let known = self.mids.iter().find(|(known, _)| known == id);
        known.map_or(id, |(_, mid)| mid).to_owned()
    }

    /// Records the mids that the core does not know, of the current m-lines and of these.
    fn note_mids(&mut self, lines: &[MediaLine]) {
        let all = self.lines.iter().chain(lines);
        let other = all.filter(|l| l.wire_mid() != l.id);
        self.mids = other
            .map(|l| (l.id.clone(), l.wire_mid().to_owned()))
            .collect();
    }

    /// Returns the ufrag that candidates are gathered for: that of an unanswered offer, if there is one.
    pub fn gathering_ufrag(&self, local: &str) -> String {
        match &self.created {
            Some(created) if self.signaling == SignalingState::HaveLocalOffer => {
                created.creds.ufrag.clone()
            }
            _ => local.to_owned(),
        }
    }

    pub fn close(&mut self, events: &mut Vec<PeerEvent>) {
        if self.signaling != SignalingState::Closed {
            *self = Self {
                signaling: SignalingState::Closed,
                ..Self::new()
            };
            events.push(PeerEvent::SignalingStateChange(SignalingState::Closed));
        }
    }
}

impl Peer {
    /// Returns the signaling state. See [`SignalingState`].
    pub fn signaling_state(&self) -> SignalingState {
        self.negotiation.signaling
    }

    /// Returns the local description with the candidates gathered so far (W3C `localDescription`). For signaling
    /// without trickle, call it after [`IceGatheringState::Complete`](super::IceGatheringState::Complete).
    pub fn local_description(&self) -> Option<SessionDescription> {
        let local = &self.negotiation.local;
        let description = local.pending.as_ref().or(local.current.as_ref())?;
        Some(SessionDescription {
            kind: description.kind,
            sdp: self.with_gathered(&description.sdp, true),
        })
    }

    /// Returns the remote description as it was set (W3C `remoteDescription`).
    pub fn remote_description(&self) -> Option<&SessionDescription> {
        let remote = &self.negotiation.remote;
        remote.pending.as_ref().or(remote.current.as_ref())
    }

    /// Creates an offer (W3C §4.4.2 `createOffer`). It has no effect until it is [set](Self::set_local_description).
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::WrongState`] in states other than *stable*, and [`PeerError::BadDescription`] if there is
    /// nothing to offer yet.
    pub fn create_offer(&mut self, now: Instant) -> Result<SessionDescription, PeerError> {
        self.begin(now)?;
        if self.signaling_state() != SignalingState::Stable {
            return Err(self.wrong_state("create_offer"));
        }
        let created = self.core_offer()?;
        self.note_generation(&created.creds.ufrag);
        let description = SessionDescription {
            kind: SdpType::Offer,
            sdp: self.with_gathered(&created.sdp, false),
        };
        self.negotiation.created = Some(created);
        Ok(description)
    }

    /// Creates the answer to the remote offer (W3C §4.4.2 `createAnswer`). The offer takes effect here; it can no
    /// longer be rolled back.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::WrongState`] in states other than *have-remote-offer*, and [`PeerError::BadDescription`] if
    /// the core does not accept the offer.
    pub fn create_answer(&mut self, now: Instant) -> Result<SessionDescription, PeerError> {
        self.begin(now)?;
        if self.signaling_state() != SignalingState::HaveRemoteOffer {
            return Err(self.wrong_state("create_answer"));
        }
        if self.negotiation.answer.is_none() {
            let Some(offer) = self.negotiation.remote_offer.take() else {
                return Err(self.wrong_state("create_answer"));
            };
            match self.accept_offer(offer) {
                Ok(answer) => self.negotiation.answer = Some(answer),
                Err(e) if self.is_closed() => return Err(e),
                Err(e) => {
                    self.tracks.drop_remote_offer();
                    self.negotiation.remote.pending = None;
                    self.set_signaling(SignalingState::Stable);
                    return Err(e);
                }
            }
        }
        let sdp = self.negotiation.answer.as_deref().unwrap_or_default();
        let ufrag = own_attribute(sdp, "ice-ufrag").unwrap_or_default();
        self.note_generation(&ufrag);
        let sdp = self.negotiation.answer.as_deref().unwrap_or_default();
        Ok(SessionDescription {
            kind: SdpType::Answer,
            sdp: self.with_gathered(sdp, false),
        })
    }

    /// Sets the local description (W3C §4.4.2 `setLocalDescription`): the one created last, or a rollback. With `None`,
    /// the description that fits the state is created first. Starts gathering.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::WrongState`], or [`PeerError::BadDescription`] if the text differs from the one created.
    pub fn set_local_description(
        &mut self,
        description: Option<SessionDescription>,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        let description = match (description, self.signaling_state()) {
            (Some(description), _) => description,
            (None, SignalingState::HaveRemoteOffer) => self.create_answer(now)?,
            (None, _) => self.create_offer(now)?,
        };
        match description.kind {
            SdpType::Offer => self.set_local_offer(&description),
            SdpType::Answer => self.set_local_answer(&description),
            SdpType::Rollback => self.roll_back("set_local_description(rollback)"),
            SdpType::PrAnswer => Err(no_pranswer()),
        }
    }

    fn set_local_offer(&mut self, description: &SessionDescription) -> Result<(), PeerError> {
        if self.signaling_state() != SignalingState::Stable {
            return Err(self.wrong_state("set_local_description(offer)"));
        }
        let Some(created) = &self.negotiation.created else {
            return Err(self.wrong_state("set_local_description(offer) without create_offer"));
        };
        check_own(&created.sdp, &description.sdp)?;
        let sdp = created.sdp.clone();
        let ufrag = created.creds.ufrag.clone();
        let is_restart = ufrag != self.path.credentials().local().ufrag;
        self.negotiation.local.pending = Some(SessionDescription {
            kind: SdpType::Offer,
            sdp,
        });
        if is_restart {
            self.negotiation.restart_wanted = false;
        }
        self.set_signaling(SignalingState::HaveLocalOffer);
        self.path.credentials_mut().route(ufrag, &mut self.out);
        self.gather(is_restart);
        Ok(())
    }

    fn set_local_answer(&mut self, description: &SessionDescription) -> Result<(), PeerError> {
        if self.signaling_state() != SignalingState::HaveRemoteOffer {
            return Err(self.wrong_state("set_local_description(answer)"));
        }
        let Some(answer) = self.negotiation.answer.take() else {
            return Err(self.wrong_state("set_local_description(answer) without create_answer"));
        };
        if let Err(e) = check_own(&answer, &description.sdp) {
            self.negotiation.answer = Some(answer);
            return Err(e);
        }
        let ufrag = |d: &SessionDescription| own_attribute(&d.sdp, "ice-ufrag");
        let before = self.negotiation.local.current.as_ref().and_then(ufrag);
        let is_restart = before.is_some_and(|b| b != self.path.credentials().local().ufrag);
        self.negotiation.local.current = Some(SessionDescription {
            kind: SdpType::Answer,
            sdp: answer,
        });
        let negotiation = &mut self.negotiation;
        negotiation.remote.current = negotiation.remote.pending.take();
        negotiation.local.pending = None;
        self.set_signaling(SignalingState::Stable);
        self.gather(is_restart);
        self.check_negotiation_needed();
        Ok(())
    }

    /// Sets the remote description (W3C §4.4.2 `setRemoteDescription`). An offer that collides with our own rolls ours
    /// back; see [`receive`](Self::receive) for perfect negotiation.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::WrongState`], [`PeerError::BadDescription`] or [`PeerError::LimitReached`]. Nothing was
    /// changed then.
    pub fn set_remote_description(
        &mut self,
        description: SessionDescription,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        match description.kind {
            SdpType::Offer => self.set_remote_offer(description),
            SdpType::Answer => self.set_remote_answer(description),
            SdpType::Rollback => self.roll_back("set_remote_description(rollback)"),
            SdpType::PrAnswer => Err(no_pranswer()),
        }
    }

    fn set_remote_offer(&mut self, description: SessionDescription) -> Result<(), PeerError> {
        if self.negotiation.answer.is_some() {
            return Err(
                self.wrong_state("set_remote_description(offer) before the last is answered")
            );
        }
        let limits = &self.config.limits;
        let before = &self.negotiation.lines;
        let offer = Description::parse(&description.sdp, Role::Offer, before, limits)?;
        offer.check_follows(before)?;
        offer.check_fingerprint(&self.negotiation.fingerprints)?;
        offer.check_username(&self.path.credentials().local().ufrag)?;
        if self.config.ice_lite && offer.ice_lite {
            return Err(PeerError::BadDescription(
                "both sides are ICE-lite: neither would look for a path".into(),
            ));
        }
        let media = remote_media(&offer.text, &offer.lines);
        self.tracks.check_remote(&offer.text, &media)?;
        if self.signaling_state() == SignalingState::HaveLocalOffer {
            self.take_back_offer();
        }
        self.tracks.drop_remote_offer();
        if let Err(e) = self.tracks.on_remote_offer(&media, &self.config.limits) {
            self.tracks.drop_remote_offer();
            return Err(e);
        }
        self.negotiation.note_mids(&offer.lines);
        self.negotiation.remote.pending = Some(description);
        self.negotiation.remote_offer = Some(offer);
        self.set_signaling(SignalingState::HaveRemoteOffer);
        Ok(())
    }

    fn set_remote_answer(&mut self, description: SessionDescription) -> Result<(), PeerError> {
        if self.signaling_state() != SignalingState::HaveLocalOffer {
            return Err(self.wrong_state("set_remote_description(answer)"));
        }
        let offered = self.negotiation.local.pending.as_ref();
        let offered = offered.map_or("", |d| &d.sdp);
        let lines = own_media_lines(offered, &self.negotiation.lines);
        let limits = &self.config.limits;
        let answer = Description::parse(&description.sdp, Role::Answer, &lines, limits)?;
        sdp::check_answer(
            &Sdp::parse(offered)?,
            &Sdp::parse(&description.sdp)?,
            Strictness::Theirs,
        )?;
        answer.check_fingerprint(&self.negotiation.fingerprints)?;
        self.check_answered_credentials(&answer)?;
        let media = remote_media(&answer.text, &answer.lines);
        self.tracks.check_remote(&answer.text, &media)?;
        let text = self.tracks.as_wanted(&answer.text, &media);
        let parsed = SdpAnswer::from_sdp_string(&text).map_err(not_canonical)?;
        let Some(Created { core, creds, .. }) = self.negotiation.created.take() else {
            return Err(self.wrong_state("set_remote_description(answer)"));
        };
        self.wake_inactive(&media);
        if self.config.begin_sctp && answer.has_application() && !self.negotiation.application {
            self.core.direct_api().start_sctp(true);
        }
        let accepted = self.apply(|rtc| rtc.sdp_api().accept_answer(core, parsed));
        if let Err(e) = accepted {
            if self.is_closed() {
                return Err(e);
            }
            self.forget_offered_media();
            // The core has consumed the offer; the next one starts from the current state.
            self.negotiation.local.pending = None;
            self.set_signaling(SignalingState::Stable);
            return Err(e);
        }
        // The core has restarted with credentials of its own.
        self.core.set_local_credentials(&creds);
        self.tracks_accepted(&answer.text, &media);
        let negotiation = &mut self.negotiation;
        negotiation.local.current = negotiation.local.pending.take();
        negotiation.remote.current = Some(description);
        negotiation.remote.pending = None;
        self.set_signaling(SignalingState::Stable);
        self.negotiated(&answer);
        self.after_negotiation(&answer);
        self.check_negotiation_needed();
        Ok(())
    }

    /// An answer has new credentials if its offer had, and only then (RFC 8839 §4.4.1.1.1). The core finds
    /// that out too late, or not at all.
    fn check_answered_credentials(&self, answer: &Description) -> Result<(), PeerError> {
        let created = self.negotiation.created.as_ref();
        answer.check_username(
            created.map_or(&self.path.credentials().local().ufrag, |c| &c.creds.ufrag),
        )?;
        let (Some(created), Some(before)) = (created, self.path.credentials().remote()) else {
            return Ok(());
        };
        let offered = created.creds.ufrag != self.path.credentials().local().ufrag;
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

    /// The core has taken a remote description: credentials may be new.
    fn negotiated(&mut self, remote: &Description) {
        let local = self.core.local_credentials();
        let theirs = IceCredentials {
            ufrag: remote.ufrag.clone(),
            password: remote.pwd.clone(),
        };
        if self.path.negotiated(local, theirs, self.now, &mut self.out) {
            self.negotiation.remote_in_generation = 0;
            // New credentials satisfy `restartIce` (W3C §4.4.1.5), whoever asked for them.
            self.negotiation.restart_wanted = false;
        }
        self.negotiation.note_mids(&remote.lines);
        self.negotiation.lines = remote.lines.clone();
        self.negotiation
            .fingerprints
            .clone_from(&remote.fingerprints);
    }

    fn after_negotiation(&mut self, remote: &Description) {
        if let Some(bytes) = remote.max_message_size {
            // An association that was begun before the answer was read has the core's default.
            let most = if self.config.begin_sctp || self.core.began_sctp_early() {
                64 * 1024
            } else {
                // What is larger than the core's buffer would never be taken out of ours.
                SEND_BUFFER.min(self.config.limits.max_send_buffer)
            };
            self.channels.set_max_message(bytes.min(most));
        }
        self.negotiation.application = remote.has_application();
        if self.negotiation.application {
            self.channels
                .open_waiting(&mut self.core, &mut self.out.events);
        } else if self.negotiation.application_offered && remote.rejects_application() {
            self.event(PeerEvent::Error(PeerError::BadDescription(
                "the other side rejects data channels (its m=application has port 0)".into(),
            )));
            self.channels.close_all(&mut self.out.events);
        }
        self.pending.counts.unusable += remote.candidates_unreadable as u64;
        let early = self.pending.take_early(&remote.ufrag, self.now);
        let ready = self.pending.set_generation(&remote.ufrag);
        for candidate in ready.into_iter().chain(early) {
            self.apply_remote_candidate(&candidate);
        }
        for candidate in remote.candidates.clone() {
            self.take_remote_candidate(candidate);
        }
        // The core handles time before candidates.
        self.core_timeout();
    }

    /// Rolls back our offer, or drops the remote one (RFC 8829 §4.1.10.2).
    fn roll_back(&mut self, operation: &'static str) -> Result<(), PeerError> {
        match self.signaling_state() {
            SignalingState::HaveLocalOffer => {
                self.take_back_offer();
                self.set_signaling(SignalingState::Stable);
                self.check_negotiation_needed();
                Ok(())
            }
            SignalingState::HaveRemoteOffer if self.negotiation.answer.is_none() => {
                self.tracks.drop_remote_offer();
                self.negotiation.remote.pending = None;
                self.negotiation.remote_offer = None;
                self.set_signaling(SignalingState::Stable);
                self.check_negotiation_needed();
                Ok(())
            }
            _ => Err(self.wrong_state(operation)),
        }
    }

    fn take_back_offer(&mut self) {
        self.negotiation.local.pending = None;
        let ufrag = self
            .negotiation
            .created
            .as_ref()
            .map(|c| c.creds.ufrag.clone());
        if let Some(ufrag) = ufrag.filter(|u| *u != self.path.credentials().local().ufrag) {
            // The restart is still wanted; its candidates are not.
            self.pending.drop_local(&ufrag);
            self.path.credentials_mut().unroute(&ufrag, &mut self.out);
            self.negotiation.restart_wanted = true;
        }
        self.keep_additions();
    }

    fn set_signaling(&mut self, state: SignalingState) {
        if self.negotiation.signaling == state {
            return;
        }
        self.negotiation.signaling = state;
        // What is needed now is reported again (W3C §4.4.1.5, "is now stable").
        self.negotiation.needed = false;
        self.event(PeerEvent::SignalingStateChange(state));
        if state == SignalingState::Stable && self.negotiation.remote.current.is_some() {
            for candidate in self.pending.release_local() {
                self.event(PeerEvent::IceCandidate(candidate));
            }
        }
    }

    /// Reports that negotiation is needed, once until an offer was created (W3C §4.7.3).
    pub(super) fn check_negotiation_needed(&mut self) {
        let n = &mut self.negotiation;
        if n.signaling != SignalingState::Stable {
            n.needed = false;
            return;
        }
        let needed = (n.restart_wanted && !n.lines.is_empty())
            || n.taken_back.is_some()
            || (self.channels.has_waiting() && !n.application)
            || self.tracks.need_negotiation();
        if needed && !n.needed {
            self.out.event(PeerEvent::NegotiationNeeded);
        }
        n.needed = needed;
    }

    /// Returns `true` if it was reported and still applies.
    pub(crate) fn needs_negotiation(&self) -> bool {
        self.negotiation.needed
    }

    fn wrong_state(&self, operation: &'static str) -> PeerError {
        PeerError::WrongState {
            operation,
            state: self.signaling_state(),
        }
    }
}

fn no_pranswer() -> PeerError {
    PeerError::BadDescription("provisional answers (pranswer) are not supported".into())
}
