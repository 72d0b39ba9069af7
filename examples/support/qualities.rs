//! A film in several qualities, and the selection for each page.

use std::error::Error;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, PeerId, PeerMut};
use looprtc::proto::peer::{EncodedFrame, TransceiverId};

use show::{File, REFRESH, Sent};

#[path = "show.rs"]
mod show;

/// A quality is selected if the path carries this much more than it needs, to prevent frequent switching.
pub const MARGIN: f64 = 1.15;

/// A file and its bitrate.
pub struct Quality {
    pub file: File,
    pub bits_per_second: u64,
    length: Duration,
}

impl Quality {
    /// Reads a file.
    pub fn read(path: &str) -> Result<Self, Box<dyn Error>> {
        let file = File::read(path)?;
        let bytes: usize = file.frames.iter().map(|(_, data)| data.len()).sum();
        let (last, _) = &file.frames[file.frames.len() - 1];
        // A single frame is repeated.
        let length = (last.time + last.duration).max(Duration::from_millis(20));
        let bits_per_second = (bytes as f64 * 8.0 / length.as_secs_f64()) as u64;
        println!("{path}: {} kbit/s", bits_per_second / 1000);
        Ok(Self {
            file,
            bits_per_second,
            length,
        })
    }
}

/// Playback for one page.
pub struct Viewer {
    track: TransceiverId,
    /// Start of the first pass, and of the current one.
    start: Instant,
    begin: Instant,
    quality: usize,
    wanted: usize,
    next: usize,
    /// The frame of the current quality that was sent last.
    sent: Option<Sent>,
    refreshed: Option<Instant>,
}

impl Viewer {
    /// Creates the playback for a page whose track is bound.
    pub fn new(track: TransceiverId, now: Instant) -> Self {
        Self {
            track,
            start: now,
            begin: now,
            quality: 0,
            wanted: 0,
            next: 0,
            sent: None,
            refreshed: None,
        }
    }

    /// Handles a keyframe request of the page, which may have missed the first one.
    pub fn refresh(&mut self, peer: &mut PeerMut<'_>, qualities: &[Quality]) {
        let now = Instant::now();
        let is_recent = |at: Instant| now < at + REFRESH;
        if let Some(last) = self.sent.filter(|_| !self.refreshed.is_some_and(is_recent)) {
            self.refreshed = Some(now);
            for frame in qualities[self.quality].file.again(last, now) {
                let _ = peer.write_frame(self.track, &frame);
            }
        }
    }

    /// Sends what is due; returns when the next frame is.
    pub fn play(
        &mut self,
        net: &mut EventLoop,
        id: PeerId,
        qualities: &[Quality],
    ) -> Option<Instant> {
        let now = Instant::now();
        loop {
            let frames = &qualities[self.quality].file.frames;
            let Some((frame, _)) = frames.get(self.next) else {
                self.begin += qualities[self.quality].length;
                self.next = 0;
                continue;
            };
            let due = self.begin + frame.time;
            if due > now {
                return Some(due);
            }
            self.change_at(frame.time, qualities);
            let (frame, data) = &qualities[self.quality].file.frames[self.next];
            let time = due.saturating_duration_since(self.start);
            let frame = EncodedFrame::new(data.clone(), time).wallclock(self.begin + frame.time);
            // What the path cannot carry would only queue, and delay everything after it.
            if self.wanted >= self.quality {
                // The peer may have closed; an event reports it.
                let _ = net.peer(id).map(|mut p| p.write_frame(self.track, &frame));
                self.sent = Some(Sent {
                    index: self.next,
                    time,
                    at: now,
                });
            }
            self.next += 1;
        }
    }

    /// Switches to the wanted quality, if that has a keyframe now.
    fn change_at(&mut self, time: Duration, qualities: &[Quality]) {
        let frames = &qualities[self.wanted].file.frames;
        let at = frames.partition_point(|(frame, _)| frame.time < time);
        let is_key = frames.get(at).is_some_and(|(frame, _)| frame.keyframe);
        if self.wanted != self.quality && is_key {
            (self.quality, self.next) = (self.wanted, at);
            self.sent = None;
        }
    }

    /// Selects a quality for this bandwidth. Returns a text for the page.
    pub fn estimate(&mut self, bits_per_second: u64, qualities: &[Quality]) -> String {
        let fits = |q: &Quality| q.bits_per_second as f64 * MARGIN <= bits_per_second as f64;
        self.wanted = qualities.iter().rposition(fits).unwrap_or(0);
        let rates: Vec<u64> = qualities.iter().map(|q| q.bits_per_second / 1000).collect();
        let (estimate, wanted) = (bits_per_second / 1000, self.wanted);
        serde_json::json!({"estimate": estimate, "wanted": wanted, "rates": rates}).to_string()
    }
}
