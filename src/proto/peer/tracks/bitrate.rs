//! Bandwidth: estimates of what the path carries, and the bitrate that is wanted.

use std::time::Instant;

use str0m::bwe::{Bitrate, BweKind};

use super::super::Peer;
use super::super::error::PeerError;
use super::super::state::PeerEvent;
use super::TransceiverId;

/// Bandwidth available for sending, in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BandwidthEstimate {
    /// Estimate for everything sent to this peer, computed here from the arrival times that the remote peer reports
    /// (transport-wide congestion control). Reported if
    /// [`PeerConfig::bandwidth_estimation`](super::super::PeerConfig::bandwidth_estimation) is set.
    TransportCc {
        /// The estimate.
        bits_per_second: u64,
        /// `true` if probing, which briefly sends more than is needed, could find more.
        can_probe: bool,
    },
    /// Maximum bitrate requested by the remote peer (REMB), for a track or for all.
    Remb {
        /// The track it was reported for.
        transceiver: TransceiverId,
        /// The requested maximum.
        bits_per_second: u64,
    },
}

impl BandwidthEstimate {
    /// Returns the bitrate, in bits per second.
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
    /// Sets the bitrate wanted for sending to this peer, in bits per second: the estimate is raised by probing up to
    /// that value. Has no effect without
    /// [`PeerConfig::bandwidth_estimation`](super::super::PeerConfig::bandwidth_estimation).
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::Closed`].
    pub fn set_desired_bitrate(
        &mut self,
        bits_per_second: u64,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        let bitrate = Bitrate::bps(bits_per_second);
        self.core.bwe().set_desired_bitrate(bitrate);
        Ok(())
    }

    /// Requests a maximum bitrate for a received track from the remote peer (REMB, draft-alvestrand-rmcat-remb).
    /// Browsers comply.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::BadTrack`] if nothing was received there, [`PeerError::NoSuchTransceiver`], or
    /// [`PeerError::Closed`].
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

    /// The core pads an idle track with up to 50 kbit/s while its direction allows sending (docs/upstream.md): no more
    /// than that, and nothing once the direction forbids it.
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
            // Bandwidth probes end first.
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
