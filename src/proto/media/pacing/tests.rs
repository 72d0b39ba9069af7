use super::*;
use crate::proto::media::Timebase;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A source of audio and video, repeated endlessly.
struct Show {
    pacer: Pacer<u64>,
    start: Instant,
    now: Instant,
    tracks: Vec<(TrackId, Timebase, u64, u64)>,
    gop: u64,
    repeat: bool,
    /// Track, item, timeline and clock of each frame sent.
    sent: Vec<(usize, u64, Duration, Duration)>,
}

impl Show {
    fn new(config: PacerConfig) -> Self {
        let start = Instant::now();
        Self {
            pacer: Pacer::new(config),
            start,
            now: start,
            tracks: Vec::new(),
            gop: 30,
            repeat: false,
            sent: Vec::new(),
        }
    }

    /// Adds a track with this number of frames.
    fn track(mut self, kind: TrackKind, numerator: u32, denominator: u32, frames: u64) -> Self {
        let id = self.pacer.add_track(kind);
        let base = Timebase::new(numerator, denominator).unwrap();
        self.tracks.push((id, base, 0, frames));
        self
    }

    /// Runs one step; returns `None` after progress, or else the time to wait for.
    fn step(&mut self) -> Option<Option<Instant>> {
        match self.pacer.poll(self.now) {
            Paced::Need(id) => {
                let (_, base, next, frames) = &mut self.tracks[id.0];
                if next == frames {
                    self.pacer.end(id);
                } else {
                    let at = |n| base.time(n).unwrap();
                    let (time, length) = (at(*next), at(*next + 1) - at(*next));
                    let keyframe = *next % self.gop == 0;
                    self.pacer.push(id, time, length, keyframe, *next).unwrap();
                    *next += 1;
                }
            }
            Paced::Frame {
                track, item, time, ..
            } => {
                self.sent.push((track.0, item, time, self.now - self.start));
            }
            Paced::SourceEnded if self.repeat => {
                self.pacer.repeat();
                self.rewind();
            }
            Paced::SourceEnded => {}
            Paced::Wait(at) => return Some(at),
            Paced::Finished => return Some(None),
        }
        None
    }

    fn rewind(&mut self) {
        self.tracks.iter_mut().for_each(|track| track.2 = 0);
    }

    /// Runs until this time, in ticks of this length like a coarse timer.
    fn run(&mut self, until: Duration, tick: Duration) {
        let end = self.start + until;
        while self.now < end {
            match self.step() {
                None => {}
                Some(Some(at)) => {
                    let ticks = (at - self.start).as_nanos().div_ceil(tick.as_nanos());
                    let at = self.start + Duration::from_nanos((ticks * tick.as_nanos()) as u64);
                    self.now = at.max(self.now).min(end);
                }
                Some(None) => self.now = end,
            }
        }
    }
}

#[test]
fn ten_hours_without_drift() {
    let hours = Duration::from_secs(10 * 3600);
    for tick in [Duration::from_nanos(1), ms(1), ms(4)] {
        let mut show = Show::new(PacerConfig::default())
            .track(TrackKind::Video, 1001, 30_000, u64::MAX)
            .track(TrackKind::Audio, 20, 1000, u64::MAX);
        let bases = [show.tracks[0].1, show.tracks[1].1];
        let mut counts = [0u64; 2];
        // An hour at a time, to bound memory.
        for hour in 1..=10 {
            show.run(hours / 10 * hour, tick);
            for (track, item, time, clock) in show.sent.drain(..) {
                assert_eq!(item, counts[track]);
                counts[track] += 1;
                let ideal = bases[track].time(item).unwrap();
                assert_eq!(time, ideal);
                assert!(
                    clock >= ideal && clock - ideal < tick,
                    "{track} {item}: {clock:?}"
                );
            }
        }
        // The last video frame is due 2.6 ms before the end.
        let expected = if tick < ms(3) { 1_078_922 } else { 1_078_921 };
        assert_eq!(counts, [expected, 1_800_000]);
        assert_eq!(show.pacer.stats().stalls, 0);
    }
}

#[test]
fn looping_has_no_seam() {
    let mut show = Show::new(PacerConfig::default())
        .track(TrackKind::Video, 1, 25, 50) // 2.000 s
        .track(TrackKind::Audio, 20, 1000, 100); // 2.000 s
    show.repeat = true;
    show.run(Duration::from_secs(3600), ms(1));
    for (track, step) in [(0, 40), (1, 20)] {
        let mine = show
            .sent
            .iter()
            .filter(|frame| frame.0 == track)
            .enumerate();
        for (n, (_, item, time, clock)) in mine {
            assert_eq!(*item, n as u64 % (2000 / step));
            assert_eq!((*time, *clock), (ms(n as u64 * step), ms(n as u64 * step)));
        }
    }
    assert_eq!(show.sent.len(), 1800 * 150);
}

#[test]
fn tracks_of_unequal_length_stay_together_through_loops() {
    let mut show = Show::new(PacerConfig::default())
        .track(TrackKind::Video, 1, 25, 50) // 2.000 s
        .track(TrackKind::Audio, 20, 1000, 103); // 2.060 s
    show.repeat = true;
    show.run(Duration::from_secs(60), ms(1));
    let starts = |track| {
        let first = show
            .sent
            .iter()
            .filter(move |frame| (frame.0, frame.1) == (track, 0));
        first.map(|frame| frame.2).collect::<Vec<_>>()
    };
    assert_eq!(starts(0), starts(1));
    assert_eq!(starts(0)[1..4], [ms(2060), ms(4120), ms(6180)]);
}

#[test]
fn times_that_do_not_begin_at_zero() {
    let now = Instant::now();
    let mut pacer = Pacer::new(PacerConfig::default());
    let track = pacer.add_track(TrackKind::Audio);
    let mut times = Vec::new();
    let mut clock = now;
    for _ in 0..3 {
        for n in [5000, 5020] {
            pacer.push(track, ms(n), ms(20), true, n).unwrap();
        }
        pacer.end(track);
        loop {
            match pacer.poll(clock) {
                Paced::Frame { time, .. } => times.push(time.as_millis()),
                Paced::SourceEnded => break pacer.repeat(),
                Paced::Wait(Some(at)) => clock = at,
                other => panic!("{other:?}"),
            }
        }
    }
    pacer.end(track);
    loop {
        match pacer.poll(clock) {
            Paced::Frame { time, .. } => times.push(time.as_millis()),
            Paced::SourceEnded => {}
            Paced::Wait(Some(at)) => clock = at,
            Paced::Finished => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(times, [0, 20, 40, 60, 80, 100]);
}

#[test]
fn a_stall_makes_no_burst_and_loses_nothing() {
    let mut show = Show::new(PacerConfig::default())
        .track(TrackKind::Video, 1001, 30_000, 1000)
        .track(TrackKind::Audio, 20, 1000, 1000);
    show.run(ms(1000), ms(1));
    show.now += ms(5000);
    let before = show.sent.len();
    show.run(ms(30_000), ms(1));
    // No duplicates and no gaps.
    for track in [0, 1] {
        let items: Vec<_> = show
            .sent
            .iter()
            .filter(|f| f.0 == track)
            .map(|f| f.1)
            .collect();
        assert!(items.iter().enumerate().all(|(n, item)| n as u64 == *item));
        assert!(items.len() > 700);
    }
    // Any 100 ms contain at most 3 frames of video and 5 of audio, and one more of each at the edges.
    for (n, frame) in show.sent.iter().enumerate() {
        let window = show.sent[n..]
            .iter()
            .take_while(|other| other.3 - frame.3 < ms(100))
            .count();
        assert!(window <= 10, "{window} frames at {:?}", frame.3);
    }
    // The timeline keeps step with the clock, so receivers see a pause.
    for (_, _, time, clock) in &show.sent[before..] {
        assert!(clock.abs_diff(*time) <= ms(1), "{time:?} at {clock:?}");
    }
    let stats = show.pacer.stats();
    assert_eq!((stats.stalls, stats.dropped), (1, 0));
    assert!(stats.stalled.abs_diff(ms(5000)) < ms(40));
    // Audio and video stay in sync.
    let time_of = |track, item| {
        show.sent
            .iter()
            .find(|f| (f.0, f.1) == (track, item))
            .unwrap()
            .2
    };
    let apart = time_of(0, 30 * 19).as_micros() as i64 - time_of(1, 50 * 19).as_micros() as i64;
    assert_eq!(apart, 19_019_000 - 19_000_000);
}

#[test]
fn small_delays_are_caught_up_with() {
    let mut show = Show::new(PacerConfig::default()).track(TrackKind::Audio, 20, 1000, 500);
    for n in 1..20 {
        show.run(ms(n * 500), ms(1));
        show.now += ms(50);
    }
    assert_eq!(show.pacer.stats().stalls, 0);
    assert!(show.sent.iter().all(|(_, item, time, clock)| {
        *time == ms(item * 20) && *clock >= *time && *clock - *time <= ms(51)
    }));
}

#[test]
fn skipping_stays_with_the_clock() {
    let config = PacerConfig::default().on_stall(OnStall::Skip);
    let mut show = Show::new(config)
        .track(TrackKind::Video, 1, 25, 1000)
        .track(TrackKind::Audio, 20, 1000, 2000);
    show.gop = 50; // 2 s
    show.run(ms(1000), ms(1));
    show.now += ms(5300);
    show.run(ms(15_000), ms(1));
    for (track, item, time, clock) in &show.sent {
        let step = if *track == 0 { 40 } else { 20 };
        assert_eq!(*time, ms(item * step));
        assert!(*clock - *time <= ms(60), "{track} {item} at {clock:?}");
    }
    let after = |track| {
        show.sent
            .iter()
            .find(|f| f.0 == track && f.3 > ms(2000))
            .unwrap()
    };
    // Audio at once, video with the keyframe at 8 s.
    assert_eq!(after(1).1, 6240 / 20);
    assert_eq!((after(0).1, after(0).3), (200, ms(8000)));
    assert!(show.pacer.stats().dropped > 300);
}

#[test]
fn pause_and_resume() {
    let mut show = Show::new(PacerConfig::default()).track(TrackKind::Audio, 20, 1000, 500);
    show.run(ms(995), ms(5));
    show.pacer.pause(show.now);
    show.run(ms(3000), ms(5));
    let count = show.sent.len();
    assert_eq!(count, 50);
    show.pacer.resume(show.now);
    assert!(!show.pacer.is_paused());
    show.run(ms(4000), ms(5));
    // 5 ms were missing, and it takes 5 ms.
    assert_eq!(show.sent[count], (0, 50, ms(3005), ms(3005)));
    assert_eq!(show.pacer.stats().stalls, 0);
}

#[test]
fn seek_to_a_keyframe() {
    let mut show = Show::new(PacerConfig::default())
        .track(TrackKind::Video, 1, 25, 1000)
        .track(TrackKind::Audio, 20, 1000, 2000);
    show.gop = 50;
    show.run(ms(3000), ms(1));
    for to in [ms(10_000), ms(4000), ms(0)] {
        let count = show.sent.len();
        let (start, from) = (show.now, show.now - show.start);
        show.pacer.seek(to);
        show.rewind();
        show.run(from + ms(1000), ms(1));
        let firsts = |track| {
            show.sent[count..]
                .iter()
                .find(|f| f.0 == track)
                .copied()
                .unwrap()
        };
        assert_eq!(firsts(0), (0, to.as_millis() as u64 / 40, from, from));
        assert_eq!(firsts(1), (1, to.as_millis() as u64 / 20, from, from));
        assert!(show.pacer.position() >= to + ms(940));
        assert!(show.now >= start);
    }
    // Frames that depend on a dropped one are left out until the next keyframe.
    let count = show.sent.len();
    show.pacer.seek(ms(4100));
    show.rewind();
    show.run(ms(9000), ms(1));
    let video = show.sent[count..].iter().find(|f| f.0 == 0).unwrap();
    assert_eq!(video.1, 150);
    let mut last = [Duration::ZERO; 2];
    for (track, _, time, _) in &show.sent {
        assert!(*time >= last[*track], "the timeline runs backwards");
        last[*track] = *time;
    }
}

#[test]
fn a_dry_pipe_is_asked_once() {
    let now = Instant::now();
    let mut pacer = Pacer::new(PacerConfig::default());
    let track = pacer.add_track(TrackKind::Video);
    assert_eq!(pacer.poll(now), Paced::Need(track));
    assert_eq!(pacer.poll(now), Paced::Wait(None));
    assert_eq!(pacer.poll(now + ms(500)), Paced::Wait(None));
    pacer.push(track, ms(0), ms(40), true, 'a').unwrap();
    assert_eq!(pacer.poll(now + ms(600)), Paced::Need(track));
    let zero = Duration::ZERO;
    let a = Paced::Frame {
        track,
        item: 'a',
        time: zero,
        late: zero,
    };
    assert_eq!(pacer.poll(now + ms(600)), a);
    assert_eq!(pacer.poll(now + ms(600)), Paced::Wait(None));
    pacer.end(track);
    assert_eq!(pacer.poll(now + ms(600)), Paced::SourceEnded);
    assert_eq!(pacer.poll(now + ms(600)), Paced::Finished);
    assert_eq!(
        pacer.push(track, ms(0), ms(40), true, 'b'),
        Err(PacerError::Ended)
    );
}

#[test]
fn bounds() {
    let mut pacer = Pacer::new(PacerConfig::default().max_queue(3));
    let track = pacer.add_track(TrackKind::Video);
    for _ in 0..3 {
        pacer
            .push(track, Duration::MAX, Duration::MAX, true, ())
            .unwrap();
    }
    assert_eq!(
        pacer.push(track, ms(0), ms(0), true, ()),
        Err(PacerError::Full)
    );
    assert_eq!(
        pacer.push(TrackId(9), ms(0), ms(0), true, ()),
        Err(PacerError::NoSuchTrack)
    );
    for _ in 0..10_000 {
        pacer.repeat();
        pacer.poll(Instant::now());
        let _ = pacer.push(track, Duration::MAX, Duration::MAX, true, ());
    }
}

#[test]
fn keyframe_index() {
    let mut index = KeyframeIndex::default();
    assert_eq!(index.before(ms(5)), None);
    let frame = |n: u64| Frame {
        time: ms(n * 10),
        duration: ms(10),
        keyframe: n.is_multiple_of(3),
        offset: n,
        data: vec![],
    };
    for n in 0..10 * KeyframeIndex::MAX as u64 {
        index.note(&frame(n));
        assert!(index.entries.len() <= KeyframeIndex::MAX);
    }
    assert_eq!(index.before(ms(0)), Some((ms(0), 0)));
    let (time, offset) = index.before(ms(1_000_000)).unwrap();
    assert!(time <= ms(1_000_000) && time > ms(999_000), "{time:?}");
    assert_eq!(time, ms(offset * 10));
    assert_eq!(offset % 3, 0);
}
