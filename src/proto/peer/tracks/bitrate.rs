//! How much the path carries, by what the other side reports, and how much is wanted of it.

use std::time::Instant;

use str0m::bwe::{Bitrate, BweKind};

use super::super::Peer;
use super::super::error::PeerError;
use super::super::state::PeerEvent;
use super::TransceiverId;

/// What a path carries, in bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BandwidthEstimate {
    /// What all that is sent to this peer may take together, worked out here from the arrival times that
    /// the other side reports (transport-wide congestion control). Comes while
    /// [`PeerConfig::bandwidth_estimation`](super::super::PeerConfig::bandwidth_estimation) is on.
    TransportCc {
        /// The estimate.
        bits_per_second: u64,
        /// Whether more could be found out: by sending more than is needed for a moment.
        can_probe: bool,
    },
    /// What the other side says it can take (REMB), of a track or of all.
    Remb {
        /// The track it was said of.
        transceiver: TransceiverId,
        /// What it said.
        bits_per_second: u64,
    },
}

impl BandwidthEstimate {
    /// In bits a second.
    pub fn bits_per_second(&self) -> u64 {
        match self {
            Self::TransportCc {
                bits_per_second, ..
            }
            | Self::Remb {
                bits_per_second, ..
            } => *bits_per_second,
        }
    }
}

impl Peer {
    /// How much is wanted to be sent to this peer, in bits a second: the estimate is driven up to that,
    /// by probing, and not beyond. Without
    /// [`PeerConfig::bandwidth_estimation`](super::super::PeerConfig::bandwidth_estimation) nothing
    /// happens.
    ///
    /// # Errors
    ///
    /// [`PeerError::Closed`].
    pub fn set_desired_bitrate(
        &mut self,
        bits_per_second: u64,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        let bitrate = Bitrate::bps(bits_per_second);
        self.rtc.bwe().set_desired_bitrate(bitrate);
        Ok(())
    }

    /// Tells the other side to send no more than this on a received track (REMB,
    /// draft-alvestrand-rmcat-remb). It is a request; browsers follow it.
    ///
    /// # Errors
    ///
    /// [`PeerError::BadTrack`] when nothing has been received there;
    /// [`PeerError::NoSuchTransceiver`], [`PeerError::Closed`].
    pub fn request_bitrate(
        &mut self,
        transceiver: TransceiverId,
        rid: Option<&str>,
        bits_per_second: u64,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        let mid = self.tracks.find(transceiver)?.mid;
        let mid = mid.ok_or_else(|| PeerError::BadTrack("it is not negotiated yet".into()))?;
        let bitrate = Bitrate::bps(bits_per_second);
        self.stream_rx(mid, rid, |stream| stream.request_remb(bitrate))
    }

    pub(in super::super) fn on_bandwidth(&mut self, core: &BweKind) {
        let estimate = match core {
            BweKind::Twcc {
                estimate,
                can_probe,
            } => {
                let bits_per_second = estimate.as_u64();
                self.stats.available_outgoing_bitrate = Some(bits_per_second);
                BandwidthEstimate::TransportCc {
                    bits_per_second,
                    can_probe: *can_probe,
                }
            }
            BweKind::Remb { estimate, mid } => {
                let Some(transceiver) = self.tracks.by_core_mid(*mid) else {
                    return;
                };
                BandwidthEstimate::Remb {
                    transceiver: transceiver.id,
                    bits_per_second: estimate.as_u64(),
                }
            }
            _ => return,
        };
        self.event(PeerEvent::BandwidthEstimate(estimate));
    }
}
