//! The receiving part of a transceiver: the remote track and its layers.

use std::time::Instant;

use super::super::core::CoreFrame;
use super::frame::Repair;
use super::pieces::Pieces;
use super::playout::Playout;
use super::sdp::RemoteMedia;
use super::{MAX_LAYERS, ReceivedStats, Rid};

/// The receiver of a transceiver (W3C `RTCRtpReceiver`).
#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// Requested simulcast layers.
    rids: Vec<String>,
    /// Names given by the remote peer.
    remote: RemoteNames,
    is_receiving: bool,
    /// Number of frames or packets received, and of their bytes.
    received: (u64, u64),
    repair: Vec<Repair>,
    pieces: Vec<Pieces>,
    pub playout: Playout,
    stats: Vec<ReceivedStats>,
}

/// Names of a remote track.
#[derive(Debug, Clone, Default)]
pub(super) struct RemoteNames {
    pub stream_ids: Vec<String>,
    pub track_id: Option<String>,
    pub rids: Vec<String>,
}

impl Receiver {
    pub fn new(rids: Vec<String>) -> Self {
        Self {
            rids,
            ..Self::default()
        }
    }

    /// Returns the requested simulcast layers.
    pub fn rids(&self) -> &[String] {
        &self.rids
    }

    pub fn names(&self) -> &RemoteNames {
        &self.remote
    }

    pub fn set_names(&mut self, media: &RemoteMedia) {
        self.remote.stream_ids.clone_from(&media.stream_ids);
        self.remote.track_id.clone_from(&media.track_id);
        self.remote.rids.clone_from(&media.rids);
    }

    pub fn is_receiving(&self) -> bool {
        self.is_receiving
    }

    /// Starts or ends the track. Returns `false` if nothing changes.
    pub fn set_receiving(&mut self, receiving: bool) -> bool {
        if receiving == self.is_receiving {
            return false;
        }
        self.is_receiving = receiving;
        self.repair.clear();
        self.pieces.clear();
        true
    }

    /// Returns the numbers of frames (or packets) received and of their bytes.
    pub fn received(&self) -> (u64, u64) {
        self.received
    }

    /// Counts a frame or a packet of this size.
    pub fn count(&mut self, bytes: usize) {
        self.received.0 += 1;
        self.received.1 += bytes as u64;
    }

    /// Returns the number of layers with state.
    #[cfg(any(test, feature = "testing"))]
    pub fn layers(&self) -> usize {
        let others = self.pieces.len().max(self.repair.len());
        self.playout.layers().max(others)
    }

    pub fn stats(&self) -> &[ReceivedStats] {
        &self.stats
    }

    /// Updates the statistics of a layer.
    pub fn learn(&mut self, stats: ReceivedStats) {
        super::stats::put(&mut self.stats, stats, |a, b| a.rid == b.rid);
    }

    /// Adds a piece of a frame, and appends the frames that are complete.
    pub fn join_pieces(&mut self, piece: CoreFrame, whole: &mut Vec<CoreFrame>) {
        let index = match self.pieces.iter().position(|p| p.rid == piece.rid) {
            Some(index) => index,
            None if self.pieces.len() >= MAX_LAYERS => return whole.push(piece),
            None => {
                self.pieces.push(Pieces::new(piece.rid));
                self.pieces.len() - 1
            }
        };
        self.pieces[index].join(piece, whole);
    }

    /// Returns `true` if a keyframe has to be requested now: something is missing, and no keyframe has arrived since.
    pub fn wants_keyframe(
        &mut self,
        rid: Option<Rid>,
        contiguous: bool,
        keyframe: bool,
        now: Instant,
    ) -> bool {
        let index = match self.repair.iter().position(|r| r.rid == rid) {
            Some(index) => index,
            None if self.repair.len() >= MAX_LAYERS => return false,
            None => {
                self.repair.push(Repair::new(rid));
                self.repair.len() - 1
            }
        };
        self.repair[index].wants_keyframe(contiguous, keyframe, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_keyframe_is_asked_for_until_one_comes() {
        let mut receiver = Receiver::default();
        let begun = Instant::now();
        let mut wants = |contiguous, keyframe, ms| {
            let now = begun + Duration::from_millis(ms);
            receiver.wants_keyframe(None, contiguous, keyframe, now)
        };
        assert!(wants(true, false, 0), "what comes first is no keyframe");
        assert!(!wants(true, false, 100), "it is under way");
        assert!(wants(true, false, 300));
        assert!(!wants(true, true, 700));
        assert!(!wants(true, false, 1100), "all is there");
        assert!(wants(false, false, 1200));
        assert!(!wants(false, true, 1600), "a keyframe behind a gap");
    }

    #[test]
    fn layers_beyond_the_limit_are_not_looked_after() {
        let mut receiver = Receiver::default();
        let now = Instant::now();
        for n in 0..2 * MAX_LAYERS {
            let rid = Some(Rid::from(format!("r{n}").as_str()));
            receiver.wants_keyframe(rid, false, false, now);
        }
        assert_eq!(receiver.layers(), MAX_LAYERS);
        assert!(receiver.set_receiving(true) && !receiver.set_receiving(true));
        assert_eq!(receiver.layers(), 0, "a new track");
    }
}
