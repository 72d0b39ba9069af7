//! Our side's media in a call: sends a clip on each track, and keeps received frames.

use std::sync::Arc;
use std::time::{Duration, Instant};

use looprtc::driver::PeerMut;
use looprtc::proto::peer::{
    BandwidthEstimate, Codec, CodecParameters, EncodedFrame, KeyframeRequestKind, MediaKind,
    PeerEvent, ReceivedFrame, RemoteTrack, SenderReport, TransceiverConfig, TransceiverId,
};

use crate::clips::{self, Clip, GROUP};

/// An m-line with both directions.
#[derive(Debug)]
pub struct Line {
    pub id: TransceiverId,
    pub codec: Codec,
    clip: Arc<Clip>,
    /// The negotiated codec, while it can be sent.
    pub bound: Option<CodecParameters>,
    begun: Option<Instant>,
    /// The next tick to send, by the schedule.
    tick: usize,
    /// The next frame of the clip to send.
    position: usize,
    /// Checksums of the frames sent, in order.
    pub sent: Vec<String>,
    /// When the last keyframe was sent.
    pub keyframe_sent: Option<Instant>,
    /// Set while nothing is sent.
    pub silent: bool,
    pub asked: Vec<(KeyframeRequestKind, Instant)>,
    /// Number of frames sent before the first keyframe request.
    pub before_asked: usize,
    pub tracks: Vec<RemoteTrack>,
    pub removed: usize,
    pub received: Vec<ReceivedFrame>,
    /// When each frame was delivered to us.
    pub came: Vec<Instant>,
    pub reports: Vec<(SenderReport, std::time::SystemTime)>,
}

#[derive(Debug, Default)]
pub struct Media {
    pub lines: Vec<Line>,
    /// The bitrate limit that the remote peer reports.
    pub estimates: Vec<BandwidthEstimate>,
}

impl Media {
    /// Adds a track for each of these.
    pub fn add(peer: &mut PeerMut<'_>, codecs: &[Codec]) -> Self {
        let lines = codecs.iter().map(|codec| {
            let config = TransceiverConfig::default().codecs([*codec]);
            let id = peer.add_track(MediaKind::of(*codec), config);
            Line::new(id.expect("a track"), *codec)
        });
        Self {
            lines: lines.collect(),
            estimates: Vec::new(),
        }
    }

    pub fn line(&mut self, kind: MediaKind) -> &mut Line {
        let mut lines = self.lines.iter_mut();
        let found = lines.find(|l| MediaKind::of(l.codec) == kind);
        found.expect("a line of this kind")
    }

    pub fn on_event(&mut self, event: &PeerEvent) {
        let lines = &mut self.lines;
        match event {
            PeerEvent::TrackBound { transceiver, codec } => {
                if let Some(line) = by_id(lines, transceiver) {
                    line.bound = Some(codec.clone());
                }
            }
            PeerEvent::TrackUnbound(id) => {
                if let Some(line) = by_id(lines, id) {
                    line.bound = None;
                }
            }
            PeerEvent::Track(track) => {
                if by_id(lines, &track.transceiver).is_none() {
                    // An m-line of theirs only.
                    let codec = track.codecs.first().expect("a codec").codec;
                    lines.push(Line::new(track.transceiver, codec));
                }
                if let Some(line) = by_id(lines, &track.transceiver) {
                    line.tracks.push(track.clone());
                }
            }
            PeerEvent::TrackRemoved(id) => {
                if let Some(line) = by_id(lines, id) {
                    line.removed += 1;
                }
            }
            PeerEvent::Frame(frame) => {
                if let Some(line) = by_id(lines, &frame.transceiver) {
                    line.received.push(frame.clone());
                    line.came.push(Instant::now());
                }
            }
            PeerEvent::SenderReport(report) => {
                if let Some(line) = by_id(lines, &report.transceiver) {
                    line.reports
                        .push((report.clone(), std::time::SystemTime::now()));
                }
            }
            PeerEvent::BandwidthEstimate(estimate) => self.estimates.push(*estimate),
            PeerEvent::KeyframeRequest {
                transceiver, kind, ..
            } => {
                if let Some(line) = by_id(lines, transceiver) {
                    if line.asked.is_empty() {
                        line.before_asked = line.sent.len();
                    }
                    line.asked.push((*kind, Instant::now()));
                    line.seek_keyframe();
                }
            }
            _ => {}
        }
    }

    /// Sends frames that are due.
    pub fn play(&mut self, peer: &mut PeerMut<'_>) {
        let now = Instant::now();
        for line in self.lines.iter_mut().filter(|l| l.bound.is_some()) {
            line.play(peer, now);
        }
    }
}

fn by_id<'a>(lines: &'a mut [Line], id: &TransceiverId) -> Option<&'a mut Line> {
    lines.iter_mut().find(|l| l.id == *id)
}

impl Line {
    fn new(id: TransceiverId, codec: Codec) -> Self {
        Self {
            id,
            codec,
            clip: clips::clip(codec),
            bound: None,
            begun: None,
            tick: 0,
            position: 0,
            sent: Vec::new(),
            keyframe_sent: None,
            silent: false,
            asked: Vec::new(),
            before_asked: 0,
            tracks: Vec::new(),
            removed: 0,
            received: Vec::new(),
            came: Vec::new(),
            reports: Vec::new(),
        }
    }

    fn play(&mut self, peer: &mut PeerMut<'_>, now: Instant) {
        let begun = *self.begun.get_or_insert(now);
        while begun + self.clip.time(self.tick) <= now {
            let time = self.clip.time(self.tick);
            self.tick += 1;
            if self.silent {
                continue;
            }
            let data = self.clip.frame(self.position).clone();
            let is_key = self.codec.is_video() && self.position.is_multiple_of(GROUP);
            self.position += 1;
            let fingerprint = clips::fingerprint(self.codec, &data);
            let frame = EncodedFrame::new(data, time);
            if peer.write_frame(self.id, &frame).is_ok() {
                self.sent.push(fingerprint);
                self.keyframe_sent = is_key.then_some(now).or(self.keyframe_sent);
            }
        }
    }

    /// Makes the next frame a keyframe.
    fn seek_keyframe(&mut self) {
        self.position = self.position.next_multiple_of(GROUP);
    }

    /// Starts after a keyframe: nothing can be decoded until one is requested.
    pub fn skip_keyframe(&mut self) {
        self.position = 1;
    }

    /// Returns for how long frames have been arriving.
    pub fn span(&self) -> Duration {
        match (self.received.first(), self.received.last()) {
            (Some(first), Some(last)) => last.time.saturating_sub(first.time),
            _ => Duration::ZERO,
        }
    }
}
