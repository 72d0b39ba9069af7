//! Obtaining an offer from the core.

use super::super::core::{PendingOffer, replace_credentials};
use super::super::session::{Offer, own_attribute};
use super::super::values::PeerError;
use super::Peer;
use crate::proto::ice::IceCredentials;
use crate::proto::sdp::offer_as_negotiated;

impl Peer {
    pub(super) fn core_offer(&mut self) -> Result<Offer<PendingOffer>, PeerError> {
        // Additions of an earlier offer that was not answered go into this one.
        self.keep_additions();
        let earlier = self.session.kept_additions();
        let mut adds = earlier.is_some();
        self.declare_senders();
        // Without a current description there is nothing to restart.
        let restart = self.session.restarts();
        let mut core = self.core.offers();
        let mut offer = core.begin();
        if !self.session.has_application()
            && !self.session.application_offered()
            && let Some((stream, config)) = self.channels.announcer()
        {
            self.session.note_application_offered();
            adds = true;
            let announcer = offer.add_channel(&config);
            self.channels.bind_announcer(stream, announcer);
        }
        adds |= self.tracks.add_to_offer(&mut offer);
        if restart {
            offer.restart_ice();
        }
        if let Some(earlier) = earlier {
            offer.merge(earlier);
        }
        let applied = offer.apply();
        drop(core);
        let Some((text, pending)) = applied else {
            return self.unchanged_offer();
        };
        let mut sdp = self.tracks.write_local(text, true);
        let made = own_credentials(&sdp);
        let mut creds = self.path.credentials().local().clone();
        if made != creds {
            creds = self.core.credentials();
            sdp = replace_credentials(&sdp, &made, &creds);
        }
        let sdp = offer_as_negotiated(&sdp, self.session.lines());
        Ok(Offer {
            sdp,
            core: pending,
            adds,
            creds,
        })
    }

    /// Keeps the additions of an offer that is no longer pending. A restart in it is not kept; it is requested again,
    /// with new credentials.
    pub(super) fn keep_additions(&mut self) {
        if let Some(core) = self.session.take_additions() {
            let additions = self.without_offered_media(core);
            self.session.keep_additions(additions);
        }
        self.forget_offered_media();
    }

    /// Creates an offer without changes. The core creates none in that case, unlike W3C; so it is asked for a restart,
    /// and the old credentials are restored.
    fn unchanged_offer(&mut self) -> Result<Offer<PendingOffer>, PeerError> {
        if self.session.lines().is_empty() {
            return Err(PeerError::BadDescription(
                "nothing to offer: create a data channel or add a track first".into(),
            ));
        }
        let mut core = self.core.offers();
        let mut offer = core.begin();
        let made = offer.restart_ice();
        let Some((text, pending)) = offer.apply() else {
            return Err(PeerError::Core("the core made no offer".into()));
        };
        let sdp = replace_credentials(&text, &made, self.path.credentials().local());
        let sdp = self.tracks.write_local(sdp, true);
        Ok(Offer {
            sdp: offer_as_negotiated(&sdp, self.session.lines()),
            core: pending,
            adds: false,
            creds: self.path.credentials().local().clone(),
        })
    }
}

/// Returns the ICE credentials in a local description.
pub(super) fn own_credentials(sdp: &str) -> IceCredentials {
    let value = |name| own_attribute(sdp, name).unwrap_or_default();
    IceCredentials {
        ufrag: value("ice-ufrag"),
        password: value("ice-pwd"),
    }
}
