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

#[cfg(all(test, any(feature = "aws-lc", feature = "rust-crypto")))]
mod tests {
    use std::time::Duration;

    use crate::proto::peer::{
        Codec, ConnectionState, Direction, EncodedFrame, MediaKind, PeerConfig, TransceiverConfig,
    };
    use crate::testing::{Link, Simulation};

    /// The core pads what is sent up to 50 kbit/s for as long as anything may be sent, though nothing is
    /// (docs/upstream.md): no more than that, and nothing once the direction says so.
    #[test]
    fn an_idle_track_is_padded_within_bounds() {
        let mut sim = Simulation::new(6, Link::default().delay(10, 0));
        let config = PeerConfig::default().bandwidth_estimation(Some(300_000));
        let (a, b) = sim.pair_with(config.clone(), config);
        let vp8 = TransceiverConfig::default().codecs([Codec::Vp8]);
        let kind = MediaKind::Video;
        let ours = sim.with(a, |p, now| p.add_track(kind, vp8, now)).unwrap();
        assert!(sim.run_until(30_000, |sim| {
            [a, b]
                .iter()
                .all(|n| sim.peer(*n).connection_state() == ConnectionState::Connected)
        }));
        sim.run_for(1_000);
        for n in 0..50_u16 {
            let time = Duration::from_millis(20 * u64::from(n));
            let frame = EncodedFrame::new(vec![u8::from(n > 0); 1_000], time);
            sim.with(a, |p, now| p.write_frame(ours, &frame, now))
                .unwrap();
            sim.run_for(20);
        }
        let in_ten_seconds = |sim: &mut Simulation| {
            // Probes of what the path carries come to an end first.
            sim.run_for(30_000);
            let before = sim.peer(a).stats();
            sim.run_for(10_000);
            let after = sim.peer(a).stats();
            (
                after.datagrams_sent - before.datagrams_sent,
                after.bytes_sent - before.bytes_sent,
            )
        };
        let (datagrams, bytes) = in_ten_seconds(&mut sim);

        assert!(datagrams < 2_500 && bytes < 300_000, "{datagrams} {bytes}");
        let way = Direction::RecvOnly;
        sim.with(a, |p, now| p.set_direction(ours, way, now))
            .unwrap();
        let (datagrams, bytes) = in_ten_seconds(&mut sim);

        assert!(datagrams < 100 && bytes < 20_000, "{datagrams} {bytes}");
    }
}
