//! The application's side of offers and answers (W3C WebRTC §4.3.1, RFC 8829): the session keeps the state, the core
//! applies, and tracks and channels are told.
//!
//! The core applies an offer and makes its answer in one step, so that step is taken in `create_answer`; until then a
//! remote offer can be rolled back.

mod answer;
mod offer;

use std::time::Instant;

use super::core::{Core, SEND_BUFFER};
use super::session::{Description, own_attribute, own_media_lines, parse_within};
use super::tracks::{check_media, remote_media};
use super::values::{PeerError, PeerEvent, SignalingState};
use super::{Limits, Peer, SdpType, SessionDescription};
use crate::proto::ice::IceCredentials;
use crate::proto::sdp::{self, MediaLine, Reading, Role, Sdp, SdpError, Strictness};

impl Peer {
    /// Returns the signaling state. See [`SignalingState`].
    pub fn signaling_state(&self) -> SignalingState {
        self.session.state()
    }

    /// Returns the local description with the candidates gathered so far (W3C `localDescription`). For signaling
    /// without trickle, call it after [`IceGatheringState::Complete`](super::IceGatheringState::Complete).
    pub fn local_description(&self) -> Option<SessionDescription> {
        let (kind, sdp) = self.session.local()?;
        let sdp = self.with_gathered(sdp, true);
        Some(SessionDescription { kind, sdp })
    }

    /// Returns the remote description as it was set (W3C `remoteDescription`).
    pub fn remote_description(&self) -> Option<&SessionDescription> {
        self.session.remote()
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
            return Err(self.session.wrong_state("create_offer"));
        }
        let created = self.core_offer()?;
        self.note_generation(&created.creds.ufrag);
        let description = SessionDescription {
            kind: SdpType::Offer,
            sdp: self.with_gathered(&created.sdp, false),
        };
        self.session.draft(created);
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
        if let Some(offer) = self.session.remote_offer("create_answer")? {
            match self.accept_offer(&offer) {
                Ok(answer) => self.session.answered(answer, &mut self.out.events),
                Err(e) if self.is_closed() => return Err(e),
                Err(e) => {
                    self.tracks.drop_remote_offer();
                    self.session.drop_remote_offer(&mut self.out.events);
                    return Err(e);
                }
            }
        }
        let sdp = self.session.answer().unwrap_or_default();
        let ufrag = own_attribute(sdp, "ice-ufrag").unwrap_or_default();
        self.note_generation(&ufrag);
        let sdp = self.session.answer().unwrap_or_default();
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
        let local = self.path.credentials().local();
        let events = &mut self.out.events;
        let set = self
            .session
            .set_local_offer(&description.sdp, local, events);
        let (ufrag, is_restart) = set?;
        self.path.credentials_mut().route(ufrag, &mut self.out);
        self.gather(is_restart);
        Ok(())
    }

    fn set_local_answer(&mut self, description: &SessionDescription) -> Result<(), PeerError> {
        let local = self.path.credentials().local();
        let events = &mut self.out.events;
        let is_restart = self
            .session
            .set_local_answer(&description.sdp, local, events)?;
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
        if self.session.answer().is_some() {
            return Err(self
                .session
                .wrong_state("set_remote_description(offer) before the last is answered"));
        }
        let limits = &self.config.limits;
        let before = self.session.lines();
        let offer = Description::parse(&description.sdp, Role::Offer, before, limits)?;
        offer.check_follows(before)?;
        offer.check_fingerprint(self.session.fingerprints())?;
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
        self.session
            .set_remote_offer(description, offer, &mut self.out.events);
        Ok(())
    }

    fn set_remote_answer(&mut self, description: SessionDescription) -> Result<(), PeerError> {
        let operation = "set_remote_description(answer)";
        let offered = &self.session.offered(operation)?.sdp;
        let lines = own_media_lines(offered, self.session.lines());
        let limits = &self.config.limits;
        let answer = Description::parse(&description.sdp, Role::Answer, &lines, limits)?;
        sdp::check_answer(
            &Sdp::parse(offered)?,
            &Sdp::parse(&description.sdp)?,
            Strictness::Theirs,
        )?;
        answer.check_fingerprint(self.session.fingerprints())?;
        let credentials = self.path.credentials();
        let (local, before) = (credentials.local(), credentials.remote());
        self.session
            .check_answered_credentials(&answer, local, before)?;
        let media = remote_media(&answer.text, &answer.lines);
        self.tracks.check_remote(&answer.text, &media)?;
        let text = self.tracks.as_wanted(&answer.text, &media);
        let parsed = Core::read_answer(&text)?;
        let offer = self.session.take_offered(operation)?;
        self.wake_inactive(&media);
        if self.config.begin_sctp && answer.has_application() && !self.session.has_application() {
            self.core.start_sctp();
        }
        let accepted = self.core.accept_answer(offer.core, parsed);
        if let Err(e) = self.applied(accepted) {
            if !self.is_closed() {
                self.forget_offered_media();
                self.session.not_accepted(&mut self.out.events);
            }
            return Err(e);
        }
        // The core has restarted with credentials of its own.
        self.core.set_local_credentials(&offer.creds);
        self.tracks_accepted(&answer.text, &media);
        self.session
            .accepted(offer.sdp, description, &mut self.out.events);
        self.negotiated(&answer);
        self.after_negotiation(&answer);
        self.check_negotiation_needed();
        Ok(())
    }

    /// The core has taken a remote description: credentials may be new.
    fn negotiated(&mut self, remote: &Description) {
        let local = self.core.local_credentials();
        let theirs = IceCredentials {
            ufrag: remote.ufrag.clone(),
            password: remote.pwd.clone(),
        };
        let is_restart = self.path.negotiated(local, theirs, self.now, &mut self.out);
        self.session.negotiated(remote, is_restart);
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
        self.session.set_application(remote.has_application());
        if self.session.has_application() {
            self.channels
                .open_waiting(&mut self.core.channels(), &mut self.out.events);
        } else if self.session.application_offered() && remote.rejects_application() {
            self.out.event(PeerEvent::Error(PeerError::BadDescription(
                "the other side rejects data channels (its m=application has port 0)".into(),
            )));
            self.channels.close_all(&mut self.out.events);
        }
        let candidates = self.session.candidates();
        candidates.count_unusable(remote.candidates_unreadable as u64);
        let early = candidates.take_early(&remote.ufrag, self.now);
        let ready = candidates.set_generation(&remote.ufrag);
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
            SignalingState::HaveLocalOffer => self.take_back_offer(),
            SignalingState::HaveRemoteOffer if self.session.answer().is_none() => {
                self.tracks.drop_remote_offer();
            }
            _ => return Err(self.session.wrong_state(operation)),
        }
        self.session.rolled_back(&mut self.out.events);
        self.check_negotiation_needed();
        Ok(())
    }

    fn take_back_offer(&mut self) {
        let local = self.path.credentials().local();
        if let Some(ufrag) = self.session.take_back(local) {
            self.path.credentials_mut().unroute(&ufrag, &mut self.out);
        }
        self.keep_additions();
    }

    /// Reports that negotiation is needed, once until an offer was created (W3C §4.7.3).
    pub(super) fn check_negotiation_needed(&mut self) {
        let channels = self.channels.has_waiting();
        let tracks = self.tracks.need_negotiation();
        self.session
            .check_needed(channels, tracks, &mut self.out.events);
    }

    /// Returns `true` if that was reported and still holds.
    pub(crate) fn needs_negotiation(&self) -> bool {
        self.session.is_needed()
    }
}

/// Checks whether a new peer with default limits would accept this description. Returns the m-lines and their fate.
pub(crate) fn check_description(text: &str, role: Role) -> Result<Vec<MediaLine>, SdpError> {
    let whole = |error: &PeerError| SdpError::whole(error.to_string());
    let limits = Limits::default();
    let sdp = match parse_within(text, &limits) {
        Err(error @ PeerError::LimitReached { .. }) => return Err(whole(&error)),
        _ => Sdp::parse(text)?,
    };
    let read = Reading::of(&sdp, role, &[])?;
    check_media(&read.canonical, &read.lines)?;
    Ok(read.lines)
}

fn no_pranswer() -> PeerError {
    PeerError::BadDescription("provisional answers (pranswer) are not supported".into())
}
