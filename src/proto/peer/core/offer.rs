//! Offers that str0m makes.

use str0m::change::SdpApi;
use str0m::media::{Simulcast, SimulcastLayer};

use super::super::values::{ChannelConfig, Direction, MediaKind};
use super::access::{self, RtcMut};
use super::channels::{self, CoreChannelId};
use super::codecs;
use super::names::Mid;
use crate::proto::ice::IceCredentials;

/// The core's part of a local offer, which it needs back with the answer.
pub(in super::super) use str0m::change::SdpPendingOffer as PendingOffer;

/// The core, borrowed for an offer.
pub(in super::super) struct CoreOffers<'a>(pub(super) RtcMut<'a>);

impl CoreOffers<'_> {
    /// Starts an offer without changes.
    pub fn begin(&mut self) -> NewOffer<'_> {
        NewOffer(self.0.sdp_api())
    }
}

/// An offer under construction.
pub(in super::super) struct NewOffer<'a>(SdpApi<'a>);

/// An m-line to be added.
pub(in super::super) struct NewLine<'a> {
    pub kind: MediaKind,
    pub direction: Direction,
    pub stream_id: &'a str,
    pub track_id: &'a str,
    /// Simulcast layers, for sending and for receiving; both are empty for one stream.
    pub send_rids: &'a [String],
    pub recv_rids: &'a [String],
}

impl NewOffer<'_> {
    /// Adds a data channel.
    pub fn add_channel(&mut self, config: &ChannelConfig) -> CoreChannelId {
        let config = channels::to_core(config);
        CoreChannelId(self.0.add_channel_with_config(config))
    }

    /// Adds an m-line.
    pub fn add_line(&mut self, line: NewLine<'_>) -> Mid {
        let layers = |rids: &[String]| rids.iter().map(|r| SimulcastLayer::new(r)).collect();
        let is_layered = !line.send_rids.is_empty() || !line.recv_rids.is_empty();
        let simulcast = is_layered.then(|| Simulcast {
            send: layers(line.send_rids),
            recv: layers(line.recv_rids),
        });
        let mid = self.0.add_media(
            codecs::core_kind(line.kind),
            codecs::core_direction(line.direction),
            Some(line.stream_id.to_owned()),
            Some(line.track_id.to_owned()),
            simulcast,
        );
        Mid(mid)
    }

    /// Requests an ICE restart. Returns the credentials that the core will use in it.
    pub fn restart_ice(&mut self) -> IceCredentials {
        access::from_core(self.0.ice_restart(true))
    }

    /// Adds what an earlier offer has added.
    pub fn merge(&mut self, earlier: PendingOffer) {
        self.0.merge(earlier);
    }

    /// Returns the offer's text, and what the core needs for its answer; `None` if nothing is changed.
    pub fn apply(self) -> Option<(String, PendingOffer)> {
        let (offer, pending) = self.0.apply()?;
        Some((offer.to_sdp_string(), pending))
    }
}
