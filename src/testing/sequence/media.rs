//! Tracks of schedules, and their frames.

use std::collections::HashSet;
use std::time::Duration;

use super::step::{Flag, Kind, Step, Way};
use super::world::World;
use crate::proto::peer::{
    Codec, Direction, EncodedFrame, KeyframeRequestKind, MediaKind, PeerError, TransceiverConfig,
    TransceiverId,
};

/// Transceivers made by applications in one schedule.
const MAX_TRACKS: usize = 8;

/// What each side has written.
pub(super) struct Media {
    written: Vec<HashSet<Vec<u8>>>,
    frames: u64,
    bytes: u64,
    tracks: usize,
}

impl Media {
    pub fn new(sides: usize) -> Self {
        Self {
            written: vec![HashSet::new(); sides],
            frames: 0,
            bytes: 0,
            tracks: 0,
        }
    }

    /// Bytes of all that was written.
    pub fn held(&self) -> u64 {
        self.bytes
    }

    /// A frame has come that this side should have written.
    pub fn received(&mut self, from: usize, data: &[u8]) {
        let (length, head) = (data.len(), &data[..data.len().min(12)]);
        assert!(
            self.written[from].contains(data),
            "a frame of {length} bytes that was never written, {head:02x?}"
        );
    }
}

impl World {
    /// A transceiver of a side, by its place in the list.
    fn track(&self, side: usize, index: u8) -> Option<TransceiverId> {
        let list = self.sim.peer(self.seats[side].node).transceivers();
        list.get(usize::from(index) % list.len().max(1))
            .map(|t| t.id)
    }

    pub(super) fn media_step(&mut self, step: &Step) {
        match *step {
            Step::AddTrack { side, kind } => self.add_track(self.side_of(side), kind, None),
            Step::AddTransceiver { side, kind, way } => {
                self.add_track(self.side_of(side), kind, Some(way));
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

    fn add_track(&mut self, side: usize, kind: Kind, way: Option<Way>) {
        if self.media.tracks >= MAX_TRACKS {
            return;
        }
        self.media.tracks += 1;
        // Codecs whose payload says nothing of its own beginning and end, so that any bytes are a frame.
        let (kind, codec) = match kind {
            Kind::Audio => (MediaKind::Audio, Codec::Opus),
            Kind::Video => (MediaKind::Video, Codec::Vp8),
        };
        let config = TransceiverConfig::default().codecs([codec]);
        let added = match way {
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
    }

    fn write_frame(&mut self, side: usize, track: u8, size: usize) {
        let Some(track) = self.track(side, track) else {
            return;
        };
        let number = self.media.frames;
        self.media.frames += 1;
        // Every tenth picture is a keyframe: an even first byte in VP8 (RFC 7741 §4.3).
        let mut data = vec![u8::from(!number.is_multiple_of(10)); size.max(9)];
        data[1..9].copy_from_slice(&number.to_be_bytes());
        let frame = EncodedFrame::new(data.clone(), Duration::from_millis(20 * number));
        let written = self.with(side, |p, now| p.write_frame(track, &frame, now));
        match written {
            Ok(()) => {
                self.media.bytes += data.len() as u64 + 64;
                self.media.written[side].insert(data);
            }
            Err(PeerError::TrackNotBound | PeerError::BufferFull { .. }) => {}
            // Sound has no fragments.
            Err(PeerError::MessageTooLarge { limit, .. }) => assert!(size > limit),
            Err(error) => panic!("a frame of {size} bytes: {error}"),
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
