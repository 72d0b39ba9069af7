//! Streams that neither a description nor a header extension assigns to an m-line: the payload type does, if it occurs
//! in one only (RFC 8843 §9.2). The core assigns streams by SSRC or MID.

use super::sdp::RemoteMedia;
use super::{CoreMedia, Mid, Tracks};

/// Maximum number of SSRCs per peer assigned in this way; further ones are dropped as unknown.
pub(super) const MAX_STREAMS: usize = 16;

/// Payload types that suffice to assign a stream.
#[derive(Debug, Default)]
pub(super) struct Unannounced {
    types: Vec<(u8, Mid, bool)>,
    placed: Vec<u32>,
}

impl Unannounced {
    #[cfg(any(test, feature = "testing"))]
    pub fn placed(&self) -> usize {
        self.placed.len()
    }

    /// Updates the payload types after a negotiation. If we send layers, the core treats everything received without
    /// one as unknown, despite its MID (docs/upstream.md).
    pub fn update(&mut self, media: &[RemoteMedia], sends_layers: impl Fn(&str) -> bool) {
        self.types.clear();
        let used = media.iter().filter(|m| !m.rejected);
        let all: Vec<u8> = used.clone().flat_map(|m| m.payload_types()).collect();
        let is_unplaced = |m: &&RemoteMedia| {
            let is_taken = m.places_streams && !(m.rids.is_empty() && sends_layers(&m.mid));
            m.direction.is_sending() && !is_taken
        };
        for m in used.filter(is_unplaced) {
            for (payload_type, encoding) in &m.codecs {
                if all.iter().filter(|pt| *pt == payload_type).count() > 1 {
                    continue;
                }
                let is_repair = encoding.to_ascii_lowercase().starts_with("rtx/");
                let mid = Mid::from(m.mid.as_str());
                self.types.push((*payload_type, mid, is_repair));
            }
        }
    }
}

/// A packet of a stream that may be unknown to the core.
#[derive(Debug)]
pub(in super::super) struct Unplaced {
    ssrc: u32,
    mid: Mid,
    is_repair: bool,
}

impl Unplaced {
    /// Gives the stream its m-line. Returns its SSRC if this is the first packet of a new stream;
    /// [confirm](Tracks::confirm_stream) it afterwards.
    ///
    /// The packet may be forged: only the core, which has to know the stream first, can tell. An RTX stream takes no
    /// place, and displaces another one only while that sends nothing.
    pub fn place(&self, core: &mut CoreMedia<'_>) -> Option<u32> {
        let (ssrc, mid) = (self.ssrc, self.mid);
        if !core.has_line(mid) || core.received_on(ssrc).is_some() {
            return None;
        }
        if !self.is_repair {
            core.expect(ssrc, None, mid);
            return Some(ssrc);
        }
        let (main, rtx) = core.receiver(mid, None, |stream| (stream.ssrc(), stream.rtx()))?;
        if rtx != Some(ssrc) {
            core.expect(main, Some(ssrc), mid);
        }
        None
    }
}

impl Tracks {
    /// Inspects a datagram before the core does, which could not assign its stream. Returns the stream if the payload
    /// type identifies the m-line.
    pub fn unplaced(&self, datagram: &[u8]) -> Option<Unplaced> {
        let known = &self.unannounced;
        let (payload_type, ssrc) = rtp_source(datagram)?;
        if known.placed.contains(&ssrc) || known.placed.len() >= MAX_STREAMS {
            return None;
        }
        let found = known.types.iter().find(|(pt, _, _)| *pt == payload_type);
        let (_, mid, is_repair) = *found?;
        Some(Unplaced {
            ssrc,
            mid,
            is_repair,
        })
    }

    /// Called after the core has handled the first packet of a stream. If it was not authentic (RFC 3711 §3.3), the
    /// stream is removed.
    pub fn confirm_stream(&mut self, ssrc: u32, core: &mut CoreMedia<'_>) {
        if core.is_heard(ssrc) {
            log::debug!("SSRC {ssrc} is in no description; its payload type tells its m-line");
            self.unannounced.placed.push(ssrc);
        } else {
            core.forget(ssrc);
        }
    }
}

/// Returns payload type and SSRC of an RTP packet (RFC 3550 §5.1, RFC 5761 §4).
fn rtp_source(datagram: &[u8]) -> Option<(u8, u32)> {
    let [first, second, _, _, _, _, _, _, a, b, c, d, ..] = datagram else {
        return None;
    };
    let is_rtp = first >> 6 == 2 && !(192..=223).contains(second);
    is_rtp.then(|| (second & 127, u32::from_be_bytes([*a, *b, *c, *d])))
}

#[cfg(all(test, any(feature = "aws-lc", feature = "rust-crypto")))]
mod tests {
    use std::time::Duration;

    use crate::proto::peer::{
        Codec, ConnectionState, EncodedFrame, MediaKind, MediaMode, PeerConfig, PeerEvent,
        RtpPacket, TransceiverConfig,
    };
    use crate::testing::{Link, Simulation};

    /// If one side sends layers, the other side's stream without layers is received: as frames and as packets.
    #[test]
    fn something_comes_back_where_layers_go() {
        for mode in [MediaMode::Frames, MediaMode::Packets] {
            let mut sim = Simulation::new(4, Link::default());
            let config = PeerConfig::default().media_mode(mode);
            let (a, b) = sim.pair_with(config.clone(), config);
            let vp8 = TransceiverConfig::default().codecs([Codec::Vp8]);
            let layers = vp8.clone().send_rids(["f", "h"]);
            let kind = MediaKind::Video;
            sim.with(b, |p, now| p.add_track(kind, layers, now))
                .unwrap();
            assert!(sim.run_until(30_000, |sim| {
                [a, b]
                    .iter()
                    .all(|n| sim.peer(*n).connection_state() == ConnectionState::Connected)
            }));
            let ours = sim.with(a, |p, now| p.add_track(kind, vp8, now)).unwrap();
            sim.run_for(1_000);
            for n in 0..20_u16 {
                let written = match mode {
                    MediaMode::Frames => {
                        let time = Duration::from_millis(20 * u64::from(n));
                        let frame = EncodedFrame::new(vec![u8::from(n > 0); 2_000], time);
                        sim.with(a, |p, now| p.write_frame(ours, &frame, now))
                    }
                    MediaMode::Packets => {
                        let packet = RtpPacket::new(1, n, u32::from(n) * 1_800, vec![16; 500]);
                        sim.with(a, |p, now| p.write_rtp(ours, &packet, now))
                    }
                };
                assert_eq!(written, Ok(()));
                sim.run_for(20);
            }
            sim.run_for(1_000);
            let is_media = |e: &PeerEvent| matches!(e, PeerEvent::Frame(_) | PeerEvent::Packet(_));
            let events = std::iter::from_fn(|| sim.next_event(b));
            assert_eq!(events.filter(is_media).count(), 20, "{mode:?}");
        }
    }
}
