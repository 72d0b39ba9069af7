//! When to send which frame: an absolute schedule.
//!
//! ```text
//! timeline = source time + shift          due = origin + timeline
//! ```
//! All tracks of a source share `origin` and `shift`, so they cannot drift apart; each due time is computed
//! from the frame's own time, so nothing adds up over hours. What interrupts the show (a stall, a pause,
//! a seek) only changes `shift`, and the timeline goes on in step with the clock: it is what RTP timestamps
//! are made of, and receivers see a pause rather than a delay.
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

/// What to do when frames come too late: the process was stopped, the disk slept, a pipe ran dry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStall {
    /// Go on where it stopped: the rest of the show is that much later. Nothing is lost and nothing is
    /// sent in a burst. Right for files.
    #[default]
    Resume,
    /// Stay with the clock: drop what is late. Sound goes on at once, video with the next keyframe that
    /// is not late, however far that is. Right for what must keep step with something outside.
    Skip,
}

/// How a [`Pacer`] behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacerConfig {
    /// Frames later than this mean a stall; less is caught up with at once, and is all that can ever be
    /// sent in a burst. Default: 60 ms, two frames of video.
    pub max_lateness: Duration,
    /// What to do then. Default: [`OnStall::Resume`].
    pub on_stall: OnStall,
    /// Frames waiting in a track. Default: 256.
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

/// Whether a track's frames depend on keyframes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackKind {
    /// A decoder can start anywhere.
    Audio,
    /// A decoder can start at keyframes.
    Video,
}

/// A track of a [`Pacer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(usize);

/// What [`Pacer::poll`] says.
#[derive(Debug, PartialEq, Eq)]
pub enum Paced<T> {
    /// This track wants its next frame: [`push`](Pacer::push) it, or say that there is none
    /// ([`end`](Pacer::end)). Said once; the frame may come later, from a pipe.
    Need(TrackId),
    /// Send this now.
    Frame {
        /// Where it belongs.
        track: TrackId,
        /// What was pushed.
        item: T,
        /// Its time from the start of the show, in step with the clock: make the RTP timestamp of this.
        /// Never runs backwards within a track, through loops and seeks.
        time: Duration,
        /// How late it is.
        late: Duration,
    },
    /// All tracks have ended; frames may still wait. Call [`repeat`](Pacer::repeat) now, rewind the
    /// readers and push from the beginning, and the loop has no seam. Said once for each repetition.
    SourceEnded,
    /// Nothing to do until then. `None`: until something is pushed, or [`resume`](Pacer::resume)d.
    Wait(Option<Instant>),
    /// All tracks have ended and everything was sent.
    Finished,
}

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacerError {
    /// There is no such track.
    NoSuchTrack,
    /// [`PacerConfig::max_queue`] frames wait in it already. Push when [`Paced::Need`] asks.
    Full,
    /// It has ended; [`Pacer::repeat`] or [`Pacer::seek`] first.
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

/// What a [`Pacer`] has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacerStats {
    /// Frames given out.
    pub sent: u64,
    /// Frames dropped because they were late, or stood before the place that was sought.
    pub dropped: u64,
    /// Times the show stopped.
    pub stalls: u64,
    /// How long it stopped altogether.
    pub stalled: Duration,
    /// The latest that a frame was given out.
    pub max_late: Duration,
}

/// Nanoseconds: wide enough that nothing overflows.
type Nanos = i128;

/// Frames a track wants to have waiting, so that the next due time is known.
const LOW_WATER: usize = 2;

/// Schedules the frames of one source, of one or several tracks.
///
/// The show starts when every track has a frame, or has ended. The first frame, whatever its time, is then
/// due at once, and its timeline is 0.
#[derive(Debug)]
pub struct Pacer<T> {
    config: PacerConfig,
    tracks: Vec<Track<T>>,
    origin: Option<Instant>,
    shift: Nanos,
    /// Waiting for a frame of every track, at the start and after a seek.
    starting: bool,
    paused: Option<Instant>,
    /// Added to what is pushed: the length of the repetitions so far.
    base: Nanos,
    /// The time of the source's first frame, once pushed.
    source_start: Option<Nanos>,
    /// Neither repeated nor sought yet.
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
    /// Source time behind its last frame.
    end: Nanos,
    /// Source time of its last frame.
    last: Nanos,
    /// Frames before this are dropped, after a seek.
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
    /// A pacer without tracks.
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

    /// Adds a track. Add all before the first [`poll`](Self::poll).
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

    /// Takes the next frame of a track: its time and duration as the reader told them. A time before the
    /// last frame's is taken for the same as that.
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

    /// The track has no more frames.
    pub fn end(&mut self, track: TrackId) {
        if let Some(track) = self.tracks.get_mut(track.0) {
            track.ended = true;
            track.gate = None;
        }
    }

    /// The source begins again: what is pushed from now on follows what was pushed before. The repetition
    /// begins when the longest track has ended, for all of them, so that they stay together; frames that
    /// wait are still sent.
    pub fn repeat(&mut self) {
        let end = self.tracks.iter().map(|track| track.end).max();
        self.base = end.unwrap_or(self.base) - self.source_start.unwrap_or(0);
        self.reopen();
    }

    /// Drops what waits, and goes on at `to`, in the source's time: the readers are to be rewound to there
    /// or before. Frames before it are dropped, and video before a keyframe, so give it a keyframe's time
    /// (see [`KeyframeIndex`]).
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

    /// Stops the show. Frames may still be pushed.
    pub fn pause(&mut self, now: Instant) {
        self.paused.get_or_insert(now);
    }

    /// Goes on after a pause, each frame later by the length of the pause.
    pub fn resume(&mut self, now: Instant) {
        if let Some(since) = self.paused.take() {
            self.shift += nanos(now.saturating_duration_since(since));
        }
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// The source's time of the last frame given out.
    pub fn position(&self) -> Duration {
        self.position
    }

    /// What was done so far.
    pub fn stats(&self) -> PacerStats {
        self.stats
    }

    /// What to do now. Call until it says [`Paced::Wait`] or [`Paced::Finished`].
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
            // The source's end of a hundred years is what keeps this in range; None waits for a push.
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

    /// Starts, or starts again after a seek, if every track is ready: the earliest frame is due now.
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

    /// Drops late frames, and video that lacks its keyframe. True when a track ran short of frames.
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
    // A Duration has less than 2^94 nanoseconds.
    duration.as_nanos() as Nanos
}

/// Zero for what is before the beginning.
fn duration(nanos: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

/// Where a source's keyframes stand, filled while it is read.
#[derive(Debug, Clone, Default)]
pub struct KeyframeIndex {
    entries: Vec<(Duration, u64)>,
}

impl KeyframeIndex {
    /// Keyframes kept. When there are more, every second one is forgotten.
    pub const MAX: usize = 65_536;

    /// Notes a frame, if it is a keyframe behind all those noted before.
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

    /// Time and [`Frame::offset`] of the last keyframe at this time or before it; of the first one, if
    /// there is none.
    pub fn before(&self, time: Duration) -> Option<(Duration, u64)> {
        let behind = self.entries.partition_point(|(at, _)| *at <= time);
        self.entries.get(behind.saturating_sub(1)).copied()
    }
}
