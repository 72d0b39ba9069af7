//! Bandwidth: estimates of what the path carries, and the bitrate that is wanted.

use str0m::Rtc;
use str0m::bwe::{Bitrate, BweKind};

use super::super::error::PeerError;
use super::packet::stream_rx;
use super::{Tracks, TransceiverId};

/// Bandwidth available for sending, in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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

/// Sets the bitrate up to which the core probes.
pub(in super::super) fn set_desired(core: &mut Rtc, bits_per_second: u64) {
    let bitrate = Bitrate::bps(bits_per_second);
    core.bwe().set_desired_bitrate(bitrate);
}

impl Tracks {
    /// Requests that the remote peer sends no more than this on a received track.
    pub fn request_bitrate(
        &mut self,
        id: TransceiverId,
        rid: Option<&str>,
        bits_per_second: u64,
        core: &mut Rtc,
    ) -> Result<(), PeerError> {
        let mid = self.mid_of(id)?;
        let bitrate = Bitrate::bps(bits_per_second);
        stream_rx(core, mid, rid, |stream| stream.request_remb(bitrate))
    }

    /// Converts an estimate of the core; `None` for kinds and m-lines that are unknown.
    pub fn estimate(&self, core: &BweKind) -> Option<BandwidthEstimate> {
        Some(match core {
            BweKind::Twcc {
                estimate,
                can_probe,
            } => BandwidthEstimate::TransportCc {
                bits_per_second: estimate.as_u64(),
                can_probe: *can_probe,
            },
            BweKind::Remb { estimate, mid } => BandwidthEstimate::Remb {
                transceiver: self.id_of(*mid)?,
                bits_per_second: estimate.as_u64(),
            },
            _ => return None,
        })
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
