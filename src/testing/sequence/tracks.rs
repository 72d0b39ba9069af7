//! Tracks of schedules, and their frames.

use std::time::Duration;

use super::step::{Flag, Kind, Step, Way};
use super::world::World;
use crate::proto::peer::{
    Codec, Direction, EncodedFrame, KeyframeRequestKind, MediaKind, PeerError, RtpPacket,
    TransceiverConfig, TransceiverId,
};

/// Maximum number of transceivers created by applications in a schedule.
const MAX_TRACKS: usize = 8;

/// The names of layers.
const RIDS: [&str; 3] = ["f", "h", "q"];

/// Maximum RTP payload size accepted by peers, in bytes.
const MAX_PAYLOAD: usize = 1_460;

impl World {
    /// Returns a transceiver of a side, by its index.
    fn track(&self, side: usize, index: u8) -> Option<TransceiverId> {
        let list = self.sim.peer(self.seats[side].node).transceivers();
        list.get(usize::from(index) % list.len().max(1))
            .map(|t| t.id)
    }

    pub(super) fn media_step(&mut self, step: &Step) {
        match *step {
            Step::AddTrack { side, kind } => self.add_track(self.side_of(side), kind, None, 0),
            Step::AddTransceiver { side, kind, way } => {
                self.add_track(self.side_of(side), kind, Some(way), 0);
            }
            Step::AddLayers { side, layers } => {
                let layers = 2 + usize::from(layers) % 2;
                self.add_track(self.side_of(side), Kind::Video, None, layers);
            }
            Step::Frames {
                side,
                track,
                count,
                size,
            } => {
                let side = self.side_of(side);
                for _ in 0..count % 64 {
                    self.write_frame(side, track, size.into());
                    self.run(20);
                    self.look();
                }
            }
            Step::Direction { side, track, way } => {
                let way = direction(way);
                self.change(self.side_of(side), track, |p, t, now| {
                    p.set_direction(t, way, now)
                });
            }
            Step::RemoveTrack { side, track } => {
                self.change(self.side_of(side), track, |p, t, now| {
                    p.remove_track(t, now)
                });
            }
            Step::StopTrack { side, track } => {
                self.change(self.side_of(side), track, |p, t, now| {
                    p.stop_transceiver(t, now)
                });
            }
            Step::PauseTrack {
                side,
                track,
                paused,
            } => {
                let paused = paused == Flag::Yes;
                self.change(self.side_of(side), track, |p, t, now| {
                    p.set_track_paused(t, paused, now)
                });
            }
            Step::Keyframe { side, track } => {
                self.change(self.side_of(side), track, |p, t, now| {
                    p.request_keyframe(t, None, KeyframeRequestKind::Pli, now)
                });
            }
            _ => {}
        }
    }

    fn change(
        &mut self,
        side: usize,
        track: u8,
        f: impl FnOnce(
            &mut crate::proto::peer::Peer,
            TransceiverId,
            std::time::Instant,
        ) -> Result<(), PeerError>,
    ) {
        if let Some(track) = self.track(side, track) {
            let changed = self.with(side, |p, now| f(p, track, now));
            assert!(
                matches!(changed, Ok(()) | Err(PeerError::BadTrack(_))),
                "{changed:?}"
            );
        }
    }

    pub(super) fn add_track(&mut self, side: usize, kind: Kind, way: Option<Way>, layers: usize) {
        if self.media.tracks >= MAX_TRACKS {
            return;
        }
        self.media.tracks += 1;
        // Codecs whose payloads do not mark their own beginning and end, so that any bytes are a valid frame.
        let (kind, codec) = match kind {
            Kind::Audio => (MediaKind::Audio, Codec::Opus),
            Kind::Video => (MediaKind::Video, Codec::Vp8),
        };
        let config = TransceiverConfig::default().codecs([codec]);
        let added = match way {
            // A transceiver of the remote peer may exist already; it cannot have layers.
            None if layers > 0 => {
                let config = config.send_rids(RIDS[..layers].iter().copied());
                self.with(side, |p, now| p.add_transceiver(kind, config, now))
            }
            None => self.with(side, |p, now| p.add_track(kind, config, now)),
            Some(way) => {
                let config = config.direction(direction(way));
                self.with(side, |p, now| p.add_transceiver(kind, config, now))
            }
        };
        assert!(
            matches!(
                added,
                Ok(_) | Err(PeerError::LimitReached { .. } | PeerError::Closed)
            ),
            "{added:?}"
        );
        if let (Ok(track), 1..) = (added, layers) {
            self.media.layers.insert((side, track), layers);
        }
    }

    fn write_frame(&mut self, side: usize, track: u8, size: usize) {
        let Some(track) = self.track(side, track) else {
            return;
        };
        let layers = self.media.layers.get(&(side, track)).copied();
        for layer in 0..layers.unwrap_or(1) {
            self.write_layer(side, track, layer, size >> layer);
        }
    }

    fn write_layer(&mut self, side: usize, track: TransceiverId, layer: usize, size: usize) {
        let rid = self.media.has_layers(side, track).then_some(RIDS[layer]);
        let number = self.media.frames;
        self.media.frames += 1;
        let most = if self.media.packets {
            MAX_PAYLOAD
        } else {
            usize::MAX
        };
        // Every tenth frame is a keyframe: an even first byte in VP8 (RFC 7741 §4.3).
        let mut data = vec![u8::from(!number.is_multiple_of(10)); size.clamp(9, most)];
        data[1..9].copy_from_slice(&number.to_be_bytes());
        let written = match self.media.packets {
            true => {
                let next = self.media.numbers.entry((side, track, layer)).or_default();
                *next = next.wrapping_add(1);
                let ssrc = 1_000 + layer as u32;
                let time = u32::from(*next) * 1_800;
                let mut packet = RtpPacket::new(ssrc, *next, time, data.clone());
                packet.rid = rid.map(Into::into);
                self.with(side, |p, now| p.write_rtp(track, &packet, now))
            }
            false => {
                let time = Duration::from_millis(20 * number);
                let mut frame = EncodedFrame::new(data.clone(), time);
                frame.rid = rid.map(Into::into);
                self.with(side, |p, now| p.write_frame(track, &frame, now))
            }
        };
        match written {
            Ok(()) => self.media.wrote((side, track, layer), &data),
            Err(PeerError::TrackNotBound | PeerError::BufferFull { .. }) => {}
            // Audio is not fragmented.
            Err(PeerError::MessageTooLarge { limit, .. }) => assert!(size > limit),
            Err(error) => panic!("a frame of {size} bytes, layer {rid:?}: {error}"),
        }
    }
}

fn direction(way: Way) -> Direction {
    match way {
        Way::SendRecv => Direction::SendRecv,
        Way::SendOnly => Direction::SendOnly,
        Way::RecvOnly => Direction::RecvOnly,
        Way::Inactive => Direction::Inactive,
    }
}
