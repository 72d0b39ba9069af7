//! Perfect negotiation (W3C WebRTC §10.7): both sides may offer at any time, and glare resolves itself.

use std::time::Instant;

use super::values::PeerError;
use super::{Peer, SdpType, SessionDescription};

impl Peer {
    /// Creates an offer, sets it as local description, and returns it for the remote peer: the sending half of perfect
    /// negotiation (W3C §10.7). Call it on [`PeerEvent::NegotiationNeeded`](super::PeerEvent::NegotiationNeeded).
    ///
    /// # Errors
    ///
    /// The same as [`create_offer`](Self::create_offer).
    pub fn negotiate(&mut self, now: Instant) -> Result<SessionDescription, PeerError> {
        let offer = self.create_offer(now)?;
        self.set_local_description(Some(offer.clone()), now)?;
        Ok(offer)
    }

    /// Handles a description from the remote peer, and returns the answer to send back, if there is one: the receiving
    /// half of perfect negotiation (W3C §10.7). When offers collide, the polite side rolls its own back, and the
    /// impolite side ignores the other one; candidates of an ignored offer are held.
    ///
    /// # Errors
    ///
    /// The same as [`set_remote_description`](Self::set_remote_description).
    pub fn receive(
        &mut self,
        description: SessionDescription,
        now: Instant,
    ) -> Result<Option<SessionDescription>, PeerError> {
        self.begin(now)?;
        let is_offer = description.kind == SdpType::Offer;
        let ignore = is_offer && self.session.ignores_offer(self.config.politeness);
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

    /// Requests an ICE restart (W3C §4.4.2 `restartIce`): the next offer has new credentials. Does nothing before the
    /// first local description.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::Closed`].
    pub fn restart_ice(&mut self, now: Instant) -> Result<(), PeerError> {
        self.begin(now)?;
        // W3C: the credentials of the descriptions set so far are to be replaced.
        if self.session.local().is_some() {
            self.session.want_restart();
            self.check_negotiation_needed();
        }
        Ok(())
    }
}
