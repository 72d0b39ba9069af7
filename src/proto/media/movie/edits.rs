//! MP4 edit lists (ISO/IEC 14496-12 §8.6.6): which part of a track is presented, and when.

use std::time::Duration;

use shiguredo_mp4::Decode;
use shiguredo_mp4::boxes::MoovBox;

use super::super::{MAX_TIME, Timebase};

/// Maximum number of entries per track; real ones have one or two.
const MAX_EDITS: usize = 1000;

/// Speed-up of frames before the presented part: they are decoded but not displayed.
const HURRY: u64 = 100;

/// Rounding error of the movie's time units, usually milliseconds; in nanoseconds.
const ROUNDING: Nanos = 2_000_000;

/// Maximum duration of an audio packet that may start before the presented part.
const LONGEST_PACKET: Nanos = 120_000_000;

type Nanos = i128;

/// A part of a track, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Edit {
    /// Presentation time of its start.
    start: Nanos,
    /// Start and end within the track.
    from: Nanos,
    to: Nanos,
}

/// Mapping from a track's time to presentation time.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    is_video: bool,
    edits: Vec<Edit>,
    /// Added to all times of the file, so that none is negative.
    base: Nanos,
}

impl Timeline {
    /// Returns the presentation time of a sample with this time and duration in the track; `None` if it is not sent.
    pub fn place(&self, time: Duration, duration: Duration) -> Option<Duration> {
        let (time, end) = (nanos(time), nanos(time) + nanos(duration));
        let shown = self.shown(time, end)? + self.base;
        u64::try_from(shown.max(0)).ok().map(Duration::from_nanos)
    }

    fn shown(&self, time: Nanos, end: Nanos) -> Option<Nanos> {
        if self.edits.is_empty() {
            return Some(time);
        }
        // The first part that does not end before the sample.
        let edit = self.edits.iter().find(|edit| time < edit.to)?;
        match edit.from - time {
            before if before <= 0 => Some(edit.start - before),
            before if self.is_video => Some(edit.start - before / Nanos::from(HURRY)),
            before => (end > edit.from).then_some(edit.start - before),
        }
    }

    /// Returns the duration of the track before presentation time 0.
    fn before_zero(&self) -> Nanos {
        let Some(first) = self.edits.first() else {
            return 0;
        };
        let before = match self.is_video {
            true => first.from / Nanos::from(HURRY),
            false => first.from.min(LONGEST_PACKET),
        };
        (before - first.start).max(0)
    }
}

/// The timelines of a file's tracks, by track number.
#[derive(Debug, Default, Clone)]
pub(super) struct Timelines(Vec<(u32, Timeline)>);

impl Timelines {
    /// Reads the edit lists of a `moov` box. Without valid ones, tracks are presented unchanged.
    pub fn read(moov: &[u8]) -> Self {
        // Avoids parsing all tables a second time.
        if !moov.windows(4).any(|name| name == b"elst") {
            return Self::default();
        }
        let Ok((moov, _)) = MoovBox::decode(moov) else {
            return Self::default();
        };
        let movie = moov.mvhd_box.timescale.get();
        let mut all = Self::default();
        for track in &moov.trak_boxes {
            let entries = track.edts_box.as_ref().and_then(|e| e.elst_box.as_ref());
            let entries = entries.map(|e| &e.entries[..]).unwrap_or_default();
            let entries = entries
                .iter()
                .take(MAX_EDITS)
                .map(|e| (e.edit_duration, e.media_time));
            let media = track.mdia_box.mdhd_box.timescale.get();
            let timeline = Timeline {
                is_video: &track.mdia_box.hdlr_box.handler_type == b"vide",
                edits: edits(entries, movie, media),
                base: 0,
            };
            all.0.push((track.tkhd_box.track_id, timeline));
        }
        let base = all.0.iter().map(|(_, t)| t.before_zero()).max();
        for (_, timeline) in &mut all.0 {
            timeline.base = base.unwrap_or(0);
        }
        all
    }

    /// Returns the timeline of a track; `None` if it is presented unchanged.
    pub fn of(&self, track: u32) -> Option<&Timeline> {
        let mut all = self.0.iter();
        all.find(|(number, _)| *number == track).map(|(_, t)| t)
    }

    /// Returns the duration before presentation time 0 of the file.
    pub fn base(&self) -> Duration {
        let base = self.0.first().map_or(0, |(_, t)| t.base);
        Duration::from_nanos(u64::try_from(base.max(0)).unwrap_or(0))
    }
}

/// Returns the presented parts. Entries have a duration in units of the movie and a start in units of the track. Parts
/// that go back in the track would have to be sent twice, and are left out.
fn edits(entries: impl Iterator<Item = (u64, i64)>, movie: u32, media: u32) -> Vec<Edit> {
    let (Some(movie), Some(media)) = (Timebase::new(1, movie), Timebase::new(1, media)) else {
        return Vec::new();
    };
    let mut edits: Vec<Edit> = Vec::new();
    let mut start: Nanos = 0;
    for (duration, from) in entries {
        let duration = nanos(movie.time(duration).unwrap_or(MAX_TIME));
        // An empty edit: a pause of this duration.
        let Ok(from) = u64::try_from(from) else {
            start = (start + duration).min(nanos(MAX_TIME));
            continue;
        };
        let from = nanos(media.time(from).unwrap_or(MAX_TIME));
        // In a fragmented file the duration was unknown when this was written.
        let to = match duration {
            0 => nanos(MAX_TIME) + 1,
            duration => from + duration + ROUNDING,
        };
        if edits.last().is_none_or(|last| from >= last.to - ROUNDING) {
            if let Some(last) = edits.last_mut() {
                last.to = last.to.min(from);
            }
            edits.push(Edit { start, from, to });
        }
        start = (start + duration).min(nanos(MAX_TIME));
    }
    edits
}

fn nanos(time: Duration) -> Nanos {
    // A Duration is less than 2^94 nanoseconds.
    time.as_nanos() as Nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(is_video: bool, entries: &[(u64, i64)]) -> Timeline {
        let mut timeline = Timeline {
            is_video,
            edits: edits(entries.iter().copied(), 1000, 1000),
            base: 0,
        };
        timeline.base = timeline.before_zero();
        timeline
    }

    fn places(timeline: &Timeline, times: &[u64]) -> Vec<Option<u128>> {
        let place = |t: &u64| timeline.place(Duration::from_millis(*t), Duration::from_millis(20));
        times
            .iter()
            .map(|t| place(t).map(|t| t.as_micros()))
            .collect()
    }

    #[test]
    fn delays_cuts_and_ends() {
        let as_it_stands = timeline(true, &[]);
        assert_eq!(places(&as_it_stands, &[0, 40]), [Some(0), Some(40_000)]);
        // An empty edit of 2 s.
        let delayed = timeline(false, &[(2000, -1), (100, 0)]);
        assert_eq!(
            places(&delayed, &[0, 80]),
            [Some(2_000_000), Some(2_080_000)]
        );
        assert_eq!(places(&delayed, &[120]), [None], "behind its end");
        // Starts 300 ms into the track: earlier frames are needed for decoding, and sent fast.
        let cut = timeline(true, &[(1000, 300)]);
        assert_eq!(
            places(&cut, &[0, 40, 300, 340]),
            [Some(0), Some(400), Some(3000), Some(43_000)]
        );
        // Audio is sent if it is presented at least in part.
        let cut = timeline(false, &[(1000, 310)]);
        assert_eq!(
            places(&cut, &[280, 300, 320]),
            [None, Some(110_000), Some(130_000)]
        );
        // Two parts with a gap between them.
        let two = timeline(true, &[(100, 0), (100, 500)]);
        let at = places(&two, &[60, 300, 480, 500, 540]);
        assert_eq!(
            at,
            [
                Some(60_000),
                Some(98_000),
                Some(99_800),
                Some(100_000),
                Some(140_000)
            ]
        );
        // In a fragmented file the end is open.
        assert_eq!(
            places(&timeline(false, &[(0, 0)]), &[9_000_000]),
            [Some(9_000_000_000)]
        );
    }

    #[test]
    fn extremes() {
        for entries in [
            &[(u64::MAX, i64::MAX)][..],
            &[(u64::MAX, -1), (u64::MAX, -1), (u64::MAX, i64::MAX)],
            &[(0, i64::MIN), (1, i64::MAX), (1, 0)],
        ] {
            for is_video in [true, false] {
                let timeline = timeline(is_video, entries);
                for time in [Duration::ZERO, MAX_TIME] {
                    let at = timeline.place(time, MAX_TIME);
                    assert!(at.is_none_or(|at| at <= 4 * MAX_TIME), "{at:?}");
                }
            }
        }
    }
}
