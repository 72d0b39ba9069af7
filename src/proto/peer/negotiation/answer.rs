//! Obtaining an answer from the core, and rewriting it in the form of its offer.

use super::super::core::{Core, replace_credentials};
use super::super::session::Description;
use super::super::tracks::remote_media;
use super::super::values::PeerError;
use super::Peer;
use crate::proto::sdp::{self, MediaLine, Sdp, SdpError, Strictness};

impl Peer {
    pub(super) fn accept_offer(&mut self, offer: &Description) -> Result<String, PeerError> {
        let media = remote_media(&offer.text, &offer.lines);
        let text = self.tracks.as_wanted(&offer.text, &media);
        let parsed = Core::read_offer(&text)?;
        self.wake_inactive(&media);
        let answer = self.core.accept_offer(parsed);
        let answer = self.applied(answer)?;
        self.tracks_answered(&offer.text, &media);
        // The core has no SSRC for an m-line that receives layers.
        self.declare_senders();
        let mut sdp = self.tracks.write_local(answer, false);
        let made = self.core.local_credentials();
        if made != *self.path.credentials().local() {
            let creds = self.core.credentials();
            sdp = replace_credentials(&sdp, &made, &creds);
            self.core.set_local_credentials(&creds);
        }
        let sdp = self.as_offered(&sdp, &offer.lines)?;
        self.negotiated(offer);
        self.keep_additions();
        if let Some(earlier) = self.session.kept_additions() {
            let mut core = self.core.offers();
            let mut additions = core.begin();
            additions.merge(earlier);
            // Once there are data channels, no announcement is needed. Other needs are evaluated anew.
            if let Some((_, pending)) = additions.apply()
                && !offer.has_application()
            {
                self.session.keep_additions(Some(pending));
            }
        }
        self.after_negotiation(offer);
        Ok(sdp)
    }

    /// Returns our answer in the form of its offer. An answer that does not fit is never sent.
    fn as_offered(&self, core: &str, lines: &[MediaLine]) -> Result<String, PeerError> {
        let offered = self.session.signaling().remote_offer();
        let offered = Sdp::parse(offered.map_or("", |d| &d.sdp))?;
        let text = sdp::answer_as_offered(core, &offered, lines);
        let fits = |answer: &Sdp<'_>| sdp::check_answer(&offered, answer, Strictness::Ours);
        let checked = Sdp::parse(&text).and_then(|answer| fits(&answer));
        match checked {
            Ok(()) => Ok(text),
            Err(SdpError { line, text }) => Err(PeerError::from(SdpError {
                line,
                text: format!("this offer cannot be answered: {text}"),
            })),
        }
    }
}
