//! Bitrates that remote peers are asked for.

use super::packet::stream_rx;
use super::{CoreMedia, PeerError, Tracks, TransceiverId};

impl Tracks {
    /// Requests that the remote peer sends no more than this on a received track.
    pub fn request_bitrate(
        &mut self,
        id: TransceiverId,
        rid: Option<&str>,
        bits_per_second: u64,
        core: &mut CoreMedia<'_>,
    ) -> Result<(), PeerError> {
        let mid = self.mid_of(id)?;
        stream_rx(core, mid, rid, |stream| {
            stream.request_bitrate(bits_per_second);
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
