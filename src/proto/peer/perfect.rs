//! Perfect negotiation (W3C WebRTC §10.7): both sides may offer at any time, and glare resolves itself.

use std::time::Instant;

use super::config::Politeness;
use super::error::PeerError;
use super::state::SignalingState;
use super::{Peer, SdpType, SessionDescription};

impl Peer {
    /// Perfect negotiation, sending (W3C §10.7): makes an offer, sets it, and returns it for the other
    /// side. Call it on [`PeerEvent::NegotiationNeeded`](super::PeerEvent::NegotiationNeeded).
    ///
    /// # Errors
    ///
    /// As [`create_offer`](Self::create_offer).
    pub fn negotiate(&mut self, now: Instant) -> Result<SessionDescription, PeerError> {
        let offer = self.create_offer(now)?;
        self.set_local_description(Some(offer.clone()), now)?;
        Ok(offer)
    }

    /// Perfect negotiation, receiving (W3C §10.7): takes a description from the other side and returns
    /// the answer to send back, if there is one. When offers cross, the polite side takes its own back
    /// and the impolite side ignores the other's; the candidates that belong to it are held.
    ///
    /// # Errors
    ///
    /// As [`set_remote_description`](Self::set_remote_description).
    pub fn receive(
        &mut self,
        description: SessionDescription,
        now: Instant,
    ) -> Result<Option<SessionDescription>, PeerError> {
        self.begin(now)?;
        let is_offer = description.kind == SdpType::Offer;
        let collides = is_offer && self.signaling_state() != SignalingState::Stable;
        let ignore = collides && self.config.politeness == Politeness::Impolite;
        if ignore {
            log::debug!("ignoring an offer that crosses ours");
            return Ok(None);
        }
        self.set_remote_description(description, now)?;
        if !is_offer {
            return Ok(None);
        }
        let answer = self.create_answer(now)?;
        self.set_local_description(Some(answer.clone()), now)?;
        Ok(Some(answer))
    }

    /// Asks for an ICE restart (W3C §4.4.2 `restartIce`): the next offer has new credentials.
    /// Before the first local description there is nothing to restart, and nothing happens.
    ///
    /// # Errors
    ///
    /// [`PeerError::Closed`].
    pub fn restart_ice(&mut self, now: Instant) -> Result<(), PeerError> {
        self.begin(now)?;
        // W3C: it is the credentials of the descriptions set so far that are to be replaced.
        let local = &self.negotiation.local;
        if local.current.is_some() || local.pending.is_some() {
            self.negotiation.restart_wanted = true;
            self.check_negotiation_needed();
        }
        Ok(())
    }
}
