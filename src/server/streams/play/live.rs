//! A live pipe: each frame is sent when it arrives, with its arrival time.

use std::time::{Duration, Instant};

use super::clip::Clip;
use super::queue::Item;
use super::reading::Reading;
use crate::proto::media::{Codec, Frame};

/// Window for the minimum delay between a frame's own time and its arrival.
const WINDOW: Duration = Duration::from_secs(1);

/// Delays up to this are treated as jitter, which the frames' own times do not have.
const TOLERANCE: Duration = Duration::from_millis(20);

/// Minimum interval between two video frames that arrived at once, and between two audio packets. Frames repeated for a
/// viewer ([`Cache::again`](crate::server::streams::cache::Cache::again)) fit in between.
const STEP: (Duration, Duration) = (Duration::from_millis(6), Duration::from_micros(100));

/// Media this much faster than real time, for this duration, does not come from a live source.
const HASTE: (u32, Duration) = (4, Duration::from_secs(5));

/// A pipe that is read in real time.
#[derive(Debug)]
pub(super) struct Live {
    codecs: Vec<Codec>,
    clocks: Vec<Clock>,
    dropped: u64,
    haste: Haste,
}

/// Detects a file that was written into a pipe meant for a camera.
#[derive(Debug, Default)]
struct Haste {
    /// When the first frame arrived.
    since: Option<Instant>,
    told: bool,
}

impl Live {
    pub fn new() -> Self {
        Self {
            codecs: Vec::new(),
            clocks: Vec::new(),
            dropped: 0,
            haste: Haste::default(),
        }
    }

    /// Returns the next clip.
    pub fn poll(&mut self, reading: &Reading) -> Clip {
        loop {
            let Some(item) = reading.pop() else {
                return Clip::Wait(None);
            };
            match item {
                Item::Note(note) => return Clip::Note(note),
                Item::Tracks(contents) => {
                    let codecs = &contents.codecs;
                    let last = self.clocks.iter().filter_map(|clock| clock.last).max();
                    self.clocks = codecs.iter().map(|c| Clock::new(*c, last)).collect();
                    self.haste = Haste::default();
                    if self.codecs != *codecs {
                        self.codecs.clone_from(codecs);
                        return Clip::Tracks(contents);
                    }
                }
                Item::Frame {
                    track,
                    frame,
                    arrived,
                } => {
                    let codec = self.codecs.get(track).copied();
                    let Some((clock, codec)) = self.clocks.get_mut(track).zip(codec) else {
                        continue;
                    };
                    let due = clock.time(frame.time, arrived);
                    self.haste.note(&frame, arrived);
                    self.tell_dropped(reading);
                    return Clip::Frame { codec, frame, due };
                }
                Item::End { more: true } => return Clip::Pause,
                Item::End { more: false } => return Clip::Ended,
                Item::Trouble(why) => return Clip::Trouble(why),
                Item::Failed(why) => return Clip::Failed(why),
            }
        }
    }

    fn tell_dropped(&mut self, reading: &Reading) {
        let dropped = reading.dropped();
        if dropped > self.dropped {
            let now = dropped - self.dropped;
            log::debug!("{now} frames of a live pipe were dropped: the loop was busy");
            self.dropped = dropped;
        }
    }
}

impl Haste {
    fn note(&mut self, frame: &Frame, arrived: Instant) {
        let took = arrived.saturating_duration_since(*self.since.get_or_insert(arrived));
        if !self.told && frame.time > HASTE.1 && frame.time > took.saturating_mul(HASTE.0) {
            self.told = true;
            log::warn!(
                "the pipe brought {:.0} s of media within {:.1} s and is played as it comes; \
                 for the pace of its timestamps write ?paced behind the source, as in -?paced",
                frame.time.as_secs_f64(),
                took.as_secs_f64()
            );
        }
    }
}

/// Maps a frame's time to our clock.
///
/// A byte stream has no times, only a nominal frame rate that cameras do not keep: its frames get their arrival times.
/// Other formats have times without the jitter of pipes and schedulers: these are kept, at the minimum delay observed,
/// and follow the sender's clock if it is slower or faster than ours.
#[derive(Debug)]
struct Clock {
    has_times: bool,
    /// The instant of the source's time 0.
    origin: Option<Instant>,
    /// Start of the window, and the minimum by which its frames were later than expected.
    window: Option<(Instant, Duration)>,
    last: Option<Instant>,
    /// Minimum step after it.
    step: Duration,
}

impl Clock {
    /// Creates a clock whose times follow `last`, the latest time of the previous writer's frames.
    fn new(codec: Codec, last: Option<Instant>) -> Self {
        Self {
            has_times: !codec.is_byte_stream(),
            origin: None,
            window: None,
            last,
            step: match codec.is_video() {
                true => STEP.0,
                false => STEP.1,
            },
        }
    }

    fn time(&mut self, source: Duration, arrived: Instant) -> Instant {
        let at = match self.has_times {
            true => self.mapped(source, arrived).unwrap_or(arrived),
            false => arrived,
        };
        let at = self.last.map_or(at, |last| at.max(last + self.step));
        self.last = Some(at);
        at
    }

    fn mapped(&mut self, source: Duration, arrived: Instant) -> Option<Instant> {
        let expected = self.origin.and_then(|origin| origin.checked_add(source));
        let Some(expected) = expected.filter(|at| *at <= arrived) else {
            // The first frame, or one earlier than expected.
            self.origin = arrived.checked_sub(source);
            self.window = None;
            return Some(arrived);
        };
        let late = arrived - expected;
        let (since, least) = self.window.get_or_insert((arrived, late));
        *least = late.min(*least);
        if arrived.saturating_duration_since(*since) >= WINDOW {
            let shift = Some(*least).filter(|least| *least > TOLERANCE);
            self.origin = self.origin?.checked_add(shift.unwrap_or_default());
            self.window = None;
        }
        Some(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_byte_stream_counts_from_its_arrival_whatever_its_nominal_rate() {
        let start = Instant::now();
        let mut clock = Clock::new(Codec::H264, None);
        // Nominally 30 frames per second, but 33, for an hour.
        for n in 0..33 * 3600u64 {
            let arrived = start + Duration::from_nanos(n * 1_000_000_000 / 33);
            let at = clock.time(Duration::from_nanos(n * 1_000_000_000 / 30), arrived);
            assert_eq!(at, arrived);
        }
        let late = start + millis(4_000_000);
        assert_eq!(clock.time(millis(0), late), late);
        assert_eq!(
            clock.time(millis(0), late),
            late + STEP.0,
            "never twice the same"
        );
    }

    #[test]
    fn audio_keeps_its_own_times_and_follows_the_senders_clock() {
        let start = Instant::now() + millis(1000);
        let mut clock = Clock::new(Codec::Opus, None);
        let mut last = None;
        let mut gaps = Vec::new();
        // Jitter of up to 15 ms, and a clock that is 0.1 % slow; ten minutes.
        for n in 0..30_000u64 {
            let arrived = start + Duration::from_micros(n * 20_020) + millis(n * 7 % 16);
            let at = clock.time(millis(n * 20), arrived);
            assert!(
                at <= arrived && arrived - at < millis(60),
                "{n}: {:?}",
                arrived - at
            );
            if let Some(last) = last.replace(at)
                && at - last != millis(20)
            {
                gaps.push(at - last);
            }
        }
        // 600 ms in steps of at least 20 ms.
        assert!(gaps.len() <= 31, "{gaps:?}");
    }

    #[test]
    fn a_stall_is_waited_for_and_a_pause_is_believed() {
        let start = Instant::now() + millis(1000);
        let mut clock = Clock::new(Codec::Vp8, None);
        for n in 0..10u64 {
            clock.time(millis(n * 40), start + millis(n * 40));
        }
        // Nothing for 800 ms, then everything at once: the times continue unchanged.
        for n in 10..30u64 {
            let at = clock.time(millis(n * 40), start + millis(1160));
            assert_eq!(at, start + millis(n * 40));
        }
        // From here on everything is 5 s late: after a second that is the new normal.
        for n in 30..60u64 {
            clock.time(millis(n * 40), start + millis(n * 40 + 5000));
        }
        let at = clock.time(millis(60 * 40), start + millis(60 * 40 + 5000));
        assert_eq!(at, start + millis(60 * 40 + 5000));
    }
}
