use super::*;
use crate::testing::Rng;

/// A timeline with a clock of its own.
struct Clock {
    timeline: Timeline,
    start: Instant,
}

impl Clock {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            timeline: Timeline::new(start),
            start,
        }
    }

    fn video(&mut self) -> usize {
        self.timeline.add_track(MediaKind::Video, 90_000)
    }

    /// Returns the time in milliseconds of a frame that arrives after so many milliseconds.
    fn at(&mut self, track: usize, timestamp: u32, arrival: f64) -> f64 {
        let arrived = self.start + Duration::from_secs_f64(arrival / 1000.0);
        let stamp = self
            .timeline
            .time(track, timestamp, arrived, false)
            .unwrap();
        stamp.time.as_secs_f64() * 1000.0
    }

    fn report(&mut self, track: usize, seconds_since_1900: f64, rtp_timestamp: u32) {
        let info = SenderInfo {
            ssrc: 1,
            ntp: (seconds_since_1900 * 65_536.0 * 65_536.0) as u64,
            rtp_timestamp,
            packets: 0,
            bytes: 0,
        };
        self.timeline.sender_report(track, &info);
    }

    fn stats(&self, track: usize) -> TimelineStats {
        self.timeline.stats(track).unwrap()
    }
}

fn is_near(time: f64, expected: f64) -> bool {
    (time - expected).abs() < 2.0
}

/// Seconds from 1900 to a day in 2026.
const TODAY: f64 = 3_989_000_000.0;

#[test]
fn intervals_are_those_of_timestamps_not_of_arrival() {
    let mut clock = Clock::new();
    let track = clock.video();
    let mut rng = Rng::new(1);
    for n in 0..500u32 {
        let jitter = rng.below(60) as f64;
        let time = clock.at(track, n * 3600, f64::from(n) * 40.0 + jitter + 10.0);
        let ideal = f64::from(n) * 40.0;
        assert!(
            (time - ideal).abs() < 75.0,
            "{n}: {time} instead of {ideal}"
        );
    }
    assert_eq!(clock.stats(track), TimelineStats::default());
}

#[test]
fn timestamps_wrap() {
    let mut clock = Clock::new();
    let track = clock.video();
    let first = u32::MAX - 5 * 3600 + 1;
    for n in 0..10u32 {
        let time = clock.at(track, first.wrapping_add(n * 3600), f64::from(n) * 40.0);
        assert!(is_near(time, f64::from(n) * 40.0), "{n}: {time}");
    }
}

#[test]
fn quirk_31_jumps_are_counted_from_arrival() {
    for jump in [
        11 * 90_000,
        (86_400u64 * 90_000) as u32,
        (11 * 90_000u32).wrapping_neg(),
        1 << 31,
    ] {
        let mut clock = Clock::new();
        let track = clock.video();
        for n in 0..10u32 {
            clock.at(track, n * 3600, f64::from(n) * 40.0);
        }
        for n in 10..20u32 {
            let time = clock.at(track, (n * 3600).wrapping_add(jump), f64::from(n) * 40.0);
            assert!(is_near(time, f64::from(n) * 40.0), "{jump} {n}: {time}");
        }
        assert_eq!(clock.stats(track).jumps, 1, "{jump}");
    }
}

#[test]
fn quirk_31_smaller_jumps_do_not_last() {
    // Three seconds forward and back, such as NTP makes them.
    for jump in [3 * 90_000, (3 * 90_000u32).wrapping_neg()] {
        let mut clock = Clock::new();
        let track = clock.video();
        for n in 0..100u32 {
            let shift = if n < 50 { 0 } else { jump };
            let time = clock.at(track, (n * 3600).wrapping_add(shift), f64::from(n) * 40.0);
            assert!(is_near(time, f64::from(n) * 40.0), "{jump} {n}: {time}");
        }
    }
}

#[test]
fn quirk_31_equal_timestamps() {
    let mut clock = Clock::new();
    let track = clock.video();
    // Two pictures each with one timestamp.
    let mut last = -1.0;
    for n in 0..50u32 {
        let time = clock.at(track, n / 2 * 7200, f64::from(n) * 40.0);
        assert!(
            time > last && (time - f64::from(n) * 40.0).abs() < 45.0,
            "{n}: {time}"
        );
        last = time;
    }
    assert_eq!(clock.stats(track).equal, 25);
    // A clock that stands still is replaced by arrival.
    let mut clock = Clock::new();
    let track = clock.video();
    let mut times = (0..50u32).map(|n| clock.at(track, 7, f64::from(n) * 40.0));
    assert!((times.next_back().unwrap() - 49.0 * 40.0).abs() < 130.0);
}

#[test]
fn quirk_31_backward_steps_within_b_frames_stay() {
    let mut clock = Clock::new();
    let track = clock.video();
    // I P B B, P B B: display order 0 3 1 2 6 4 5.
    let order = [0u32, 3, 1, 2, 6, 4, 5, 9, 7, 8];
    let mut last = -1.0;
    for (n, place) in order.iter().enumerate() {
        let arrived = clock.start + Duration::from_millis(40 * n as u64 + 120);
        let stamp = clock
            .timeline
            .time(
                track,
                place * 3600,
                arrived,
                [1, 2, 4, 5, 7, 8].contains(place),
            )
            .unwrap();
        let time = stamp.time.as_secs_f64() * 1000.0;
        assert!(time > last, "{time} after {last}");
        last = time;
        let shown = stamp.presentation.as_secs_f64() * 1000.0;
        assert!(
            is_near(shown, 120.0 + f64::from(*place) * 40.0),
            "{place}: {shown}"
        );
    }
    assert_eq!(clock.stats(track), TimelineStats::default());
}

#[test]
fn quirk_31_a_wrong_clock_rate_is_measured() {
    for (stated, real) in [
        (90_000, 1_000),
        (8_000, 16_000),
        (16_000, 8_000),
        (48_000, 44_100),
    ] {
        let mut clock = Clock::new();
        let kind = if stated == 90_000 {
            MediaKind::Video
        } else {
            MediaKind::Audio
        };
        let track = clock.timeline.add_track(kind, stated);
        let mut last = -1.0;
        for n in 0..1500u32 {
            let arrival = f64::from(n) * 40.0;
            let time = clock.at(track, (f64::from(real) * arrival / 1000.0) as u32, arrival);
            assert!(time > last);
            last = time;
            assert!(
                n < 300 || (time - arrival).abs() < 150.0,
                "{stated} {n}: {time} at {arrival}"
            );
        }
        let measured = clock.stats(track).measured_rate;
        assert_eq!(measured, Some(real), "{stated} instead of {real}");
    }
}

/// A burst of what was recorded before, or a stall and what came meanwhile, is no wrong rate.
#[test]
fn bursts_and_stalls_are_no_wrong_rate() {
    let mut clock = Clock::new();
    let track = clock.video();
    for n in 0..1000u32 {
        let ideal = f64::from(n) * 40.0;
        // Four seconds at once at the beginning, and a stall of six seconds.
        let arrival = match n {
            0..100 => 4000.0 + f64::from(n) * 0.1,
            500..650 => 26_000.0 + f64::from(n - 500) * 0.1,
            _ => ideal,
        };
        clock.at(track, n * 3600, arrival);
    }
    assert_eq!(clock.stats(track).measured_rate, None);
    let last = clock.at(track, 1000 * 3600, 40_000.0);
    assert!(is_near(last, 40_000.0), "{last}");
}

#[test]
fn tracks_are_related_by_arrival_until_a_plausible_report() {
    let mut clock = Clock::new();
    let (video, audio) = (
        clock.video(),
        clock.timeline.add_track(MediaKind::Audio, 8_000),
    );
    let run = |clock: &mut Clock, from: u32, to: u32| {
        let mut latest = (0.0, 0.0);
        for n in from..to {
            let arrival = f64::from(n) * 40.0;
            // The video of a moment arrives 400 ms after its audio.
            latest.0 = clock.at(video, n.wrapping_sub(10).wrapping_mul(3600), arrival);
            latest.1 = clock.at(audio, 77_777 + n * 320, arrival);
        }
        latest
    };
    let (shown, heard) = run(&mut clock, 10, 100);
    assert!(is_near(shown, heard), "{shown} {heard}");
    // Clocks that are not set, and reports that are far away, change nothing.
    clock.report(video, 5.0, 90 * 3600);
    clock.report(audio, 5.0, 77_777 + 90 * 320);
    clock.report(video, 2_208_988_800.0 + 100.0, 90 * 3600);
    clock.report(audio, TODAY, 3_000_000_000);
    assert_eq!(clock.stats(video).implausible_reports, 2);
    assert_eq!(clock.stats(audio).implausible_reports, 2);
    let (shown, heard) = run(&mut clock, 100, 200);
    assert!(is_near(shown, heard), "{shown} {heard}");
    // Plausible ones: the same moment has the same time, within a minute.
    clock.report(video, TODAY, 180 * 3600);
    clock.report(audio, TODAY, 77_777 + 180 * 320);
    let (shown, heard) = run(&mut clock, 200, 1700);
    assert!(is_near(heard - shown, 400.0), "{shown} {heard}");
    assert_eq!(clock.stats(audio).ahead + clock.stats(video).ahead, 0);
}

#[test]
fn reports_that_separate_tracks_by_seconds_are_not_believed() {
    let mut clock = Clock::new();
    let (video, audio) = (
        clock.video(),
        clock.timeline.add_track(MediaKind::Audio, 8_000),
    );
    for n in 0..1000u32 {
        let arrival = f64::from(n) * 40.0;
        let shown = clock.at(video, n * 3600, arrival);
        let heard = clock.at(audio, n * 320, arrival);
        assert!(is_near(shown, heard), "{shown} {heard}");
        if n % 100 == 0 {
            clock.report(video, TODAY, n * 3600);
            clock.report(audio, TODAY + 3600.0, n * 320);
        }
    }
}

#[test]
fn audio_that_begins_later_joins_the_video() {
    let mut clock = Clock::new();
    let (video, audio) = (
        clock.video(),
        clock.timeline.add_track(MediaKind::Audio, 8_000),
    );
    for n in 0..100u32 {
        clock.at(video, n * 3600, f64::from(n) * 40.0);
    }
    let heard = clock.at(audio, 5, 4000.0);
    let shown = clock.at(video, 100 * 3600, 4000.0);
    assert!(is_near(shown, heard), "{shown} {heard}");
}

#[test]
fn the_drift_of_a_clock_is_measured_and_followed() {
    for drift in [-300.0, 0.0, 150.0] {
        let mut clock = Clock::new();
        let track = clock.video();
        let mut rng = Rng::new(3);
        let mut time = 0.0;
        let mut arrival = 0.0;
        for n in 0..90_000u32 {
            arrival = f64::from(n) * 40.0 + rng.below(30) as f64;
            let ticks = f64::from(n) * 3600.0 * (1.0 + drift / 1e6);
            time = clock.at(track, ticks as u64 as u32, arrival);
        }
        let measured = clock.timeline.drift_ppm(track).unwrap();
        assert!(
            (measured - drift).abs() < 15.0,
            "{measured} instead of {drift}"
        );
        // After an hour, media is still beside its arrival.
        assert!(
            (time - arrival).abs() < 60.0,
            "{drift}: {time} at {arrival}"
        );
    }
}

#[test]
fn a_new_connection_goes_on_in_time() {
    let mut clock = Clock::new();
    let track = clock.video();
    clock.at(track, 0, 0.0);
    let before = clock.at(track, 9000, 100.0);
    clock.timeline.restart();
    let after = clock.at(track, 4_000_000_000, 5000.0);
    assert!(before < after && is_near(after, 5000.0), "{before} {after}");
    assert_eq!(clock.stats(track).jumps, 0);
}

/// Whatever timestamps, reports and arrivals are, times only go up, and stay within 11 s of arrival but for the steps that
/// keep them apart.
#[test]
fn anything_goes_up() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut clock = Clock::new();
        let tracks = [
            clock.video(),
            clock.timeline.add_track(MediaKind::Audio, 8_000),
        ];
        let (mut timestamp, mut arrival) = (rng.next_u64() as u32, 0.0);
        let mut last = [-1.0; 2];
        for _ in 0..500 {
            arrival += rng.below(200) as f64;
            timestamp = match rng.below(10) {
                0 => rng.next_u64() as u32,
                1 => timestamp,
                2 => timestamp.wrapping_sub(rng.below(200_000) as u32),
                _ => timestamp.wrapping_add(rng.below(20_000) as u32),
            };
            let n = rng.below(2) as usize;
            if rng.chance(0.1) {
                clock.report(tracks[n], rng.next_u64() as f64 / 4e9, timestamp);
            }
            let time = clock.at(tracks[n], timestamp, arrival);
            assert!(time > last[n], "seed {seed}");
            assert!(
                (time - arrival).abs() < 11_500.0,
                "seed {seed}: {time} at {arrival}"
            );
            last[n] = time;
        }
    }
}
