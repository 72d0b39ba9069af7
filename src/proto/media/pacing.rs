//! Send times of frames: an absolute schedule.
//!
//! ```text
//! timeline = source time + shift          due = origin + timeline
//! ```
//! All tracks of a source share `origin` and `shift`, so they cannot drift apart; each due time is computed from the
//! frame's own time, so errors do not accumulate over hours. An interruption (a stall, a pause, a seek) changes only
//! `shift`, and the timeline continues in step with the clock: RTP timestamps are derived from it, and receivers see a
//! pause rather than a delay.
//!
//! ```
//! # use looprtc::proto::media::pacing::{Paced, Pacer, PacerConfig, TrackKind};
//! # use std::time::{Duration, Instant};
//! # let mut now = Instant::now(); // the loop's; `Pacer` never asks for it
//! let mut frames = (0..3).map(|n| (Duration::from_millis(n * 40), n));
//! let mut pacer = Pacer::new(PacerConfig::default());
//! let video = pacer.add_track(TrackKind::Video);
//! loop {
//!     match pacer.poll(now) {
//!         Paced::Need(track) => match frames.next() {
//!             Some((time, n)) => pacer.push(track, time, Duration::from_millis(40), n == 0, n).unwrap(),
//!             None => pacer.end(track),
//!         },
//!         Paced::Frame { item, time, .. } => println!("send {item} as of {time:?}"),
//!         Paced::SourceEnded => {}              // or rewind the reader, and `pacer.repeat()`
//!         Paced::Wait(Some(at)) => now = at,    // the loop sleeps until then
//!         Paced::Wait(None) | Paced::Finished => break,
//!     }
//! }
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Frame, MAX_TIME};

#[cfg(test)]
mod tests;

/// Behavior when frames are late: the process was stopped, the disk was slow, a pipe ran dry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStall {
    /// Continue where it stopped: everything after is later by the stall. Nothing is lost and nothing is sent in a
    /// burst. For files.
    #[default]
    Resume,
    /// Keep to the clock: drop late frames. Audio resumes at once, video at the next keyframe that is not late. For
    /// sources that must stay in sync with something else.
    Skip,
}

/// Configuration of a [`Pacer`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacerConfig {
    /// Frames later than this are a stall; smaller delays are caught up at once, which is the largest possible burst.
    /// Default: 60 ms, two video frames.
    pub max_lateness: Duration,
    /// Behavior after a stall. Default: [`OnStall::Resume`].
    pub on_stall: OnStall,
    /// Maximum number of queued frames per track. Default: 256.
    pub max_queue: usize,
}

impl Default for PacerConfig {
    fn default() -> Self {
        Self {
            max_lateness: Duration::from_millis(60),
            on_stall: OnStall::Resume,
            max_queue: 256,
        }
    }
}

impl PacerConfig {
    /// Sets [`max_lateness`](Self::max_lateness).
    pub fn max_lateness(mut self, lateness: Duration) -> Self {
        self.max_lateness = lateness;
        self
    }

    /// Sets [`on_stall`](Self::on_stall).
    pub fn on_stall(mut self, on_stall: OnStall) -> Self {
        self.on_stall = on_stall;
        self
    }

    /// Sets [`max_queue`](Self::max_queue).
    pub fn max_queue(mut self, frames: usize) -> Self {
        self.max_queue = frames;
        self
    }
}

/// Dependence of a track's frames on keyframes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackKind {
    /// A decoder can start at any frame.
    Audio,
    /// A decoder can start at keyframes only.
    Video,
}

/// Identifies a track of a [`Pacer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(usize);

/// Output of [`Pacer::poll`].
#[derive(Debug, PartialEq, Eq)]
pub enum Paced<T> {
    /// This track needs its next frame: [`push`](Pacer::push) it, or mark the end ([`end`](Pacer::end)). Reported once;
    /// the frame may come later, for example from a pipe.
    Need(TrackId),
    /// Send this frame now.
    Frame {
        /// The track of the frame.
        track: TrackId,
        /// The item that was pushed.
        item: T,
        /// Time from the start of playback, in step with the clock: derive the RTP timestamp from it. Never decreases
        /// within a track, also across loops and seeks.
        time: Duration,
        /// Delay since the frame was due.
        late: Duration,
    },
    /// All tracks have ended; frames may still be queued. For a seamless loop, call [`repeat`](Pacer::repeat) now,
    /// rewind the readers and push from the beginning. Reported once per repetition.
    SourceEnded,
    /// Nothing to do before this time. `None`: until a [`push`](Pacer::push) or [`resume`](Pacer::resume).
    Wait(Option<Instant>),
    /// All tracks have ended and all frames were sent.
    Finished,
}

/// Reason why a frame was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacerError {
    /// The track does not exist.
    NoSuchTrack,
    /// The track already has [`PacerConfig::max_queue`] queued frames. Push when [`Paced::Need`] asks.
    Full,
    /// The track has ended; call [`Pacer::repeat`] or [`Pacer::seek`] first.
    Ended,
}

impl std::fmt::Display for PacerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoSuchTrack => "no such track",
            Self::Full => "the track's queue is full; push when the pacer asks",
            Self::Ended => "the track has ended; repeat or seek first",
        })
    }
}

impl std::error::Error for PacerError {}

/// Statistics of a [`Pacer`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacerStats {
    /// Frames sent.
    pub sent: u64,
    /// Frames dropped because they were late, or before the position of a seek.
    pub dropped: u64,
    /// Number of stalls.
    pub stalls: u64,
    /// Total duration of the stalls.
    pub stalled: Duration,
    /// Maximum delay of a frame.
    pub max_late: Duration,
}

/// Nanoseconds, wide enough not to overflow.
type Nanos = i128;

/// Number of frames that each track keeps queued, so that the next due time is known.
const LOW_WATER: usize = 2;

/// Schedules the frames of a source with one or several tracks.
///
/// Playback starts when every track has a frame or has ended. The first frame, whatever its time, is then due at once,
/// and its timeline is 0.
#[derive(Debug)]
pub struct Pacer<T> {
    config: PacerConfig,
    tracks: Vec<Track<T>>,
    origin: Option<Instant>,
    shift: Nanos,
    /// Waiting for a frame of every track, at the start and after a seek.
    starting: bool,
    paused: Option<Instant>,
    /// Added to pushed times: the duration of the repetitions so far.
    base: Nanos,
    /// Time of the source's first frame, once pushed.
    source_start: Option<Nanos>,
    /// Set until the first repeat or seek.
    first_pass: bool,
    told_end: bool,
    position: Duration,
    stats: PacerStats,
}

#[derive(Debug)]
struct Track<T> {
    kind: TrackKind,
    queue: VecDeque<Queued<T>>,
    asked: bool,
    ended: bool,
    /// Source time of the end of its last frame.
    end: Nanos,
    /// Source time of its last frame.
    last: Nanos,
    /// Frames before this time are dropped, after a seek.
    gate: Option<Nanos>,
    wants_keyframe: bool,
    sent: Nanos,
}

#[derive(Debug)]
struct Queued<T> {
    source_time: Nanos,
    position: Duration,
    keyframe: bool,
    item: T,
}

impl<T> Pacer<T> {
    /// Creates a pacer without tracks.
    pub fn new(config: PacerConfig) -> Self {
        Self {
            config,
            tracks: Vec::new(),
            origin: None,
            shift: 0,
            starting: true,
            paused: None,
            base: 0,
            source_start: None,
            first_pass: true,
            told_end: false,
            position: Duration::ZERO,
            stats: PacerStats::default(),
        }
    }

    /// Adds a track. Add all tracks before the first [`poll`](Self::poll).
    pub fn add_track(&mut self, kind: TrackKind) -> TrackId {
        self.tracks.push(Track {
            kind,
            queue: VecDeque::new(),
            asked: false,
            ended: false,
            end: self.base,
            last: self.base,
            gate: None,
            wants_keyframe: false,
            sent: 0,
        });
        TrackId(self.tracks.len() - 1)
    }

    /// Adds the next frame of a track, with its time and duration from the reader. A time before the previous frame's
    /// is raised to it.
    pub fn push(
        &mut self,
        track: TrackId,
        time: Duration,
        duration: Duration,
        keyframe: bool,
        item: T,
    ) -> Result<(), PacerError> {
        let base = self.base;
        let track = self
            .tracks
            .get_mut(track.0)
            .ok_or(PacerError::NoSuchTrack)?;
        if track.ended {
            return Err(PacerError::Ended);
        }
        if track.queue.len() >= self.config.max_queue.max(LOW_WATER) {
            return Err(PacerError::Full);
        }
        track.asked = false;
        let source_time = (base + nanos(time.min(MAX_TIME))).max(track.last);
        track.end = track.end.max(source_time + nanos(duration.min(MAX_TIME)));
        let too_early = track.gate.is_some_and(|gate| source_time < gate);
        let undecodable = track.kind == TrackKind::Video && track.gate.is_some() && !keyframe;
        if too_early || undecodable {
            self.stats.dropped += 1;
            return Ok(());
        }
        if self.first_pass {
            let start = self.source_start.unwrap_or(source_time);
            self.source_start = Some(start.min(source_time));
        }
        track.gate = None;
        track.last = source_time;
        track.queue.push_back(Queued {
            source_time,
            position: time,
            keyframe,
            item,
        });
        Ok(())
    }

    /// Marks the end of a track.
    pub fn end(&mut self, track: TrackId) {
        if let Some(track) = self.tracks.get_mut(track.0) {
            track.ended = true;
            track.gate = None;
        }
    }

    /// Starts a repetition of the source: frames pushed from now on follow those pushed before. The repetition starts
    /// for all tracks when the longest one has ended, so that they stay in sync; queued frames are still sent.
    pub fn repeat(&mut self) {
        let end = self.tracks.iter().map(|track| track.end).max();
        self.base = end.unwrap_or(self.base) - self.source_start.unwrap_or(0);
        self.reopen();
    }

    /// Drops queued frames and continues at `to`, in source time: rewind the readers to that time or earlier. Frames
    /// before it are dropped, and so is video before a keyframe, so pass the time of a keyframe (see
    /// [`KeyframeIndex`]).
    pub fn seek(&mut self, to: Duration) {
        let to = nanos(to.min(MAX_TIME));
        self.base = 0;
        self.starting = true;
        self.reopen();
        for track in &mut self.tracks {
            self.stats.dropped += track.queue.len() as u64;
            track.queue.clear();
            track.gate = Some(to);
            track.wants_keyframe = false;
            (track.last, track.end) = (0, 0);
        }
    }

    /// Pauses playback. Frames may still be pushed.
    pub fn pause(&mut self, now: Instant) {
        self.paused.get_or_insert(now);
    }

    /// Continues after a pause; each frame is later by the duration of the pause.
    pub fn resume(&mut self, now: Instant) {
        if let Some(since) = self.paused.take() {
            self.shift += nanos(now.saturating_duration_since(since));
        }
    }

    /// Returns `true` while paused.
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Returns the source time of the frame sent last.
    pub fn position(&self) -> Duration {
        self.position
    }

    /// Returns the statistics so far.
    pub fn stats(&self) -> PacerStats {
        self.stats
    }

    /// Returns what to do now. Call it until it returns [`Paced::Wait`] or [`Paced::Finished`].
    pub fn poll(&mut self, now: Instant) -> Paced<T> {
        loop {
            let hungry = self
                .tracks
                .iter_mut()
                .position(|track| !track.ended && !track.asked && track.queue.len() < LOW_WATER);
            if let Some(index) = hungry {
                if let Some(track) = self.tracks.get_mut(index) {
                    track.asked = true;
                }
                return Paced::Need(TrackId(index));
            }
            let ended = self.tracks.iter().all(|track| track.ended);
            if ended && !self.told_end {
                self.told_end = true;
                return Paced::SourceEnded;
            }
            if ended && self.tracks.iter().all(|track| track.queue.is_empty()) {
                return Paced::Finished;
            }
            if self.paused.is_some() || (self.starting && !self.start(now)) {
                return Paced::Wait(None);
            }
            if self.config.on_stall == OnStall::Skip && self.skip_late(now) {
                continue; // dropped frames are to be replaced first
            }
            return self.next_frame(now);
        }
    }

    fn next_frame(&mut self, now: Instant) -> Paced<T> {
        let heads = self.tracks.iter().enumerate();
        let earliest = heads
            .filter_map(|(index, track)| Some((track.queue.front()?.source_time, index)))
            .min();
        let (Some((source_time, index)), Some(origin)) = (earliest, self.origin) else {
            return Paced::Wait(None);
        };
        let clock = nanos(now.saturating_duration_since(origin));
        let mut late = clock - (source_time + self.shift);
        if late < 0 {
            // The limit of a hundred years keeps this in range; `None` waits for a push.
            return Paced::Wait(origin.checked_add(duration(source_time + self.shift)));
        }
        if late > nanos(self.config.max_lateness) && self.config.on_stall == OnStall::Resume {
            self.shift += late;
            self.stats.stalls += 1;
            self.stats.stalled += duration(late);
            late = 0;
        }
        let time = source_time + self.shift;
        let track = self.tracks.get_mut(index);
        let Some((track, frame)) = track.and_then(|track| {
            let frame = track.queue.pop_front()?;
            Some((track, frame))
        }) else {
            return Paced::Wait(None); // not reached: it was there above
        };
        track.sent = track.sent.max(time);
        self.position = frame.position;
        self.stats.sent += 1;
        self.stats.max_late = self.stats.max_late.max(duration(late));
        Paced::Frame {
            track: TrackId(index),
            item: frame.item,
            time: duration(track.sent),
            late: duration(late),
        }
    }

    /// Starts playback, or restarts it after a seek, if every track is ready: the earliest frame is due now.
    fn start(&mut self, now: Instant) -> bool {
        let ready = |track: &Track<T>| track.ended || !track.queue.is_empty();
        if !self.tracks.iter().all(ready) {
            return false;
        }
        let fronts = self.tracks.iter().filter_map(|track| track.queue.front());
        let Some(first) = fronts.map(|frame| frame.source_time).min() else {
            return false;
        };
        let origin = *self.origin.get_or_insert(now);
        self.shift = nanos(now.saturating_duration_since(origin)) - first;
        self.starting = false;
        true
    }

    /// Drops late frames, and video without its keyframe. Returns `true` if a track ran short of frames.
    fn skip_late(&mut self, now: Instant) -> bool {
        let Some(origin) = self.origin else {
            return false;
        };
        let clock = nanos(now.saturating_duration_since(origin));
        let oldest = clock - nanos(self.config.max_lateness) - self.shift;
        let mut short = false;
        for track in &mut self.tracks {
            while let Some(frame) = track.queue.front() {
                let late = frame.source_time < oldest;
                if late && track.kind == TrackKind::Video && !track.wants_keyframe {
                    track.wants_keyframe = true;
                    self.stats.stalls += 1;
                }
                if !late && (frame.keyframe || !track.wants_keyframe) {
                    track.wants_keyframe = false;
                    break;
                }
                track.queue.pop_front();
                self.stats.dropped += 1;
            }
            short |= track.queue.is_empty() && !track.ended && !track.asked;
        }
        short
    }

    fn reopen(&mut self) {
        self.told_end = false;
        self.first_pass = false;
        for track in &mut self.tracks {
            track.ended = false;
            track.asked = false;
        }
    }
}

fn nanos(duration: Duration) -> Nanos {
    // A Duration is less than 2^94 nanoseconds.
    duration.as_nanos() as Nanos
}

/// Converts to a duration; zero for negative values.
fn duration(nanos: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

/// Index of a source's keyframes, built while it is read.
#[derive(Debug, Clone, Default)]
pub struct KeyframeIndex {
    entries: Vec<(Duration, u64)>,
}

impl KeyframeIndex {
    /// Maximum number of keyframes. Beyond it, every second one is removed.
    pub const MAX: usize = 65_536;

    /// Adds a frame if it is a keyframe after all those in the index.
    pub fn note(&mut self, frame: &Frame) {
        let is_new = self
            .entries
            .last()
            .is_none_or(|(last, _)| frame.time > *last);
        if !frame.keyframe || !is_new {
            return;
        }
        if self.entries.len() == Self::MAX {
            let mut index = 0;
            self.entries.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        self.entries.push((frame.time, frame.offset));
    }

    /// Returns time and [`Frame::offset`] of the last keyframe at or before this time, or of the first one if there is
    /// none before.
    pub fn before(&self, time: Duration) -> Option<(Duration, u64)> {
        let behind = self.entries.partition_point(|(at, _)| *at <= time);
        self.entries.get(behind.saturating_sub(1)).copied()
    }
}
