//! Descriptions in the form that str0m takes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use str0m::change::{SdpAnswer, SdpOffer};
use str0m::error::SdpError;
use str0m::{Rtc, RtcError};

use super::super::values::{PeerError, panic_text};
use super::Core;
use super::offer::PendingOffer;

/// Reason why a description was not applied.
pub(in super::super) enum NotApplied {
    /// The core has refused it.
    Refused(PeerError),
    /// The core has panicked. Its state is unknown.
    Panicked(String),
}

impl Core {
    /// Parses an answer in canonical form.
    pub fn read_answer(text: &str) -> Result<SdpAnswer, PeerError> {
        SdpAnswer::from_sdp_string(text).map_err(not_canonical)
    }

    /// Parses an offer in canonical form.
    pub fn read_offer(text: &str) -> Result<SdpOffer, PeerError> {
        SdpOffer::from_sdp_string(text).map_err(not_canonical)
    }

    /// Applies the answer to a local offer.
    pub fn accept_answer(
        &mut self,
        offer: PendingOffer,
        answer: SdpAnswer,
    ) -> Result<(), NotApplied> {
        self.apply(|rtc| rtc.sdp_api().accept_answer(offer, answer))
    }

    /// Applies a remote offer. Returns the answer.
    pub fn accept_offer(&mut self, offer: SdpOffer) -> Result<String, NotApplied> {
        let answer = self.apply(|rtc| rtc.sdp_api().accept_offer(offer))?;
        Ok(answer.to_sdp_string())
    }

    /// Applies a description that was found valid; it may still contain what the core did not expect.
    pub fn apply<R>(
        &mut self,
        body: impl FnOnce(&mut Rtc) -> Result<R, RtcError>,
    ) -> Result<R, NotApplied> {
        match catch_unwind(AssertUnwindSafe(|| body(&mut self.rtc.change()))) {
            Ok(result) => result.map_err(|e| NotApplied::Refused(bad_sdp(e))),
            Err(panic) => Err(NotApplied::Panicked(format!(
                "the description: {}",
                panic_text(&*panic).unwrap_or_default()
            ))),
        }
    }
}

/// Converts the core's error about a description.
fn bad_sdp(error: RtcError) -> PeerError {
    match error {
        RtcError::RemoteSdp(why) => PeerError::BadDescription(why),
        RtcError::Sdp(error) => not_canonical(error),
        other => PeerError::BadDescription(other.to_string()),
    }
}

/// Handles a canonical description that the core cannot read, which is a fault of ours. Its parser's message is not
/// repeated, because it contains memory addresses.
fn not_canonical(error: SdpError) -> PeerError {
    PeerError::BadDescription(match error {
        SdpError::Inconsistent(why) => why,
        _ => "the core cannot read this description".into(),
    })
}
