//! One time for all tracks of a camera, which only moves forward.
//!
//! RTP timestamps say how far apart frames of one track are, if the camera's clock is right. Which frames of two tracks belong
//! together is said by sender reports, if they are plausible, and by arrival until then. All this is checked, because cameras
//! get it wrong: a timestamp that moves more than 10 s away from arrival is counted from its arrival anew, a stated clock rate
//! that is far off is replaced by the measured one, and times never go back.
//!
//! Audio keeps the exact intervals of its timestamps, since receivers play it sample by sample. Video is moved towards it, by at
//! most 2 % of the time that passes.

use std::time::{Duration, Instant};

use super::rtcp::SenderInfo;
use crate::proto::peer::MediaKind;

mod measure;
#[cfg(test)]
mod tests;

use measure::{Drift, Rate};

/// Time in nanoseconds since the timeline's start.
type Nanos = i64;

const SECOND: Nanos = 1_000_000_000;
const MILLISECOND: Nanos = 1_000_000;

/// Difference between media and arrival from which on media is counted from its arrival.
const JUMP: Nanos = 10 * SECOND;

/// Step backward of a B-frame from which on media is counted from its arrival.
const BACKWARD: Nanos = SECOND;

/// Step backward of any other frame from which on media is counted from its arrival.
const UNEXPLAINED: Nanos = 200 * MILLISECOND;

/// Number of successive frames before the latest time from which on media is counted from its arrival. There are at most 16
/// B-frames in a row.
const MAX_BEHIND: u32 = 16;

/// Number of successive frames with the same timestamp from which on the clock stands still.
const MAX_EQUAL: u32 = 2;

/// Time that media may be ahead of its arrival. More is a burst of what was recorded before, or a clock that runs ahead.
const AHEAD: Nanos = 200 * MILLISECOND;

/// Silence after which a track is no reference for another.
const ALIVE: Nanos = 5 * SECOND;

/// Difference between two tracks by sender reports that is believed.
const MAX_DIFFERENCE: Nanos = 3 * SECOND;

/// Distance of a sender report from the media, in seconds, that is believed.
const MAX_REPORT_DISTANCE: i64 = 60;

/// Share of the elapsed time by which video is moved towards audio: one part in this many.
const SLEW: Nanos = 50;

/// 2010-01-01 in seconds since 1900. A camera that states less has not set its clock.
const EARLIEST_NTP: u64 = 3_471_292_800;

/// Time of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameStamp {
    /// Time since the start of the timeline, greater than that of the frame before.
    pub time: Duration,
    /// Time of display. Differs from `time` for a frame displayed before one that came earlier (B-frames).
    pub presentation: Duration,
}

/// Counters of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TimelineStats {
    /// Jumps: media more than 10 s away from its arrival.
    pub jumps: u64,
    /// Frames with the timestamp of the one before.
    pub equal: u64,
    /// Times that media went back by more than B-frames explain.
    pub backward: u64,
    /// Times that media was more than 200 ms ahead of its arrival.
    pub ahead: u64,
    /// Clock rate measured and used, in Hz, because the stated one is wrong.
    pub measured_rate: Option<u32>,
    /// Sender reports that were believed.
    pub reports: u64,
    /// Sender reports that were not: their clock is not set, or they are far from the media.
    pub implausible_reports: u64,
}

/// Relates the tracks of one session.
#[derive(Debug)]
pub struct Timeline {
    start: Instant,
    tracks: Vec<Track>,
}

#[derive(Debug)]
struct Track {
    kind: MediaKind,
    clock_rate: u32,
    state: Option<State>,
    /// The time given out last.
    last: Option<Nanos>,
    /// NTP time, in nanoseconds, that corresponds to the start of the timeline.
    report: Option<Report>,
    drift: Drift,
    rate: Rate,
    stats: TimelineStats,
}

#[derive(Debug, Clone, Copy)]
struct Report {
    ntp: i128,
    rtp_timestamp: u32,
}

/// Relation of timestamps to the timeline.
#[derive(Debug)]
struct State {
    /// Time of the first frame since media was last counted from its arrival.
    anchor: Nanos,
    /// Ticks since then.
    ticks: i64,
    /// Correction.
    shift: Nanos,
    rtp_timestamp: u32,
    arrival: Nanos,
    /// Number of successive frames before the latest time.
    behind: u32,
    /// Number of successive frames with the same timestamp.
    equal: u32,
}

impl Timeline {
    /// Creates a timeline that starts now.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            tracks: Vec::new(),
        }
    }

    /// Adds a track with this RTP clock rate in Hz, and returns its index.
    pub fn add_track(&mut self, kind: MediaKind, clock_rate: u32) -> usize {
        let clock_rate = clock_rate.max(1);
        self.tracks.push(Track {
            kind,
            clock_rate,
            state: None,
            last: None,
            report: None,
            drift: Drift::default(),
            rate: Rate::default(),
            stats: TimelineStats::default(),
        });
        self.tracks.len() - 1
    }

    /// Counts all tracks from their next arrival, for a new connection to the camera. Times go on.
    pub fn restart(&mut self) {
        for track in &mut self.tracks {
            track.state = None;
            track.report = None;
            track.drift = Drift::default();
            track.rate = Rate::default();
        }
    }

    /// Returns the time of a frame by its RTP timestamp and the arrival of its first packet; `None` if there is no such track.
    ///
    /// `is_reordered` says that the frame is displayed before one that came earlier (B-frames), and may go back.
    pub fn time(
        &mut self,
        track: usize,
        rtp_timestamp: u32,
        arrived: Instant,
        is_reordered: bool,
    ) -> Option<FrameStamp> {
        let arrival = nanos(arrived.saturating_duration_since(self.start));
        let reference = self.reference(track, arrival);
        let own = self.tracks.get_mut(track)?;
        let predicted = own.predict(rtp_timestamp, arrival, is_reordered, &reference);
        let step = match own.kind {
            MediaKind::Video => MILLISECOND,
            MediaKind::Audio => SECOND / Nanos::from(own.clock_rate),
        };
        let least = own.last.map_or(0, |last| last.saturating_add(step.max(1)));
        let time = predicted.max(least);
        own.last = Some(time);
        Some(FrameStamp {
            time: duration(time),
            presentation: duration(predicted),
        })
    }

    /// Takes a sender report of a track's own SSRC. Implausible ones are counted and ignored.
    pub fn sender_report(&mut self, track: usize, info: &SenderInfo) {
        let Some(track) = self.tracks.get_mut(track) else {
            return;
        };
        let rate = i64::from(track.clock_rate);
        let is_near = track.state.as_ref().is_some_and(|state| {
            let distance = i64::from(
                info.rtp_timestamp
                    .wrapping_sub(state.rtp_timestamp)
                    .cast_signed(),
            );
            distance.abs() <= MAX_REPORT_DISTANCE * rate
        });
        if info.ntp >> 32 < EARLIEST_NTP || !is_near {
            track.stats.implausible_reports += 1;
            return;
        }
        track.stats.reports += 1;
        track.report = Some(Report {
            ntp: (i128::from(info.ntp) * i128::from(SECOND)) >> 32,
            rtp_timestamp: info.rtp_timestamp,
        });
    }

    /// Returns how fast the camera's clock runs compared with ours, in parts per million: 100 if it gains 6 ms a minute. `None`
    /// before 5 s of measurement. The precision after ten seconds is some hundred, after an hour about one.
    pub fn drift_ppm(&self, track: usize) -> Option<f64> {
        self.tracks.get(track)?.drift.ppm()
    }

    /// Returns the counters of a track.
    pub fn stats(&self, track: usize) -> Option<TimelineStats> {
        Some(self.tracks.get(track)?.stats)
    }

    /// Returns what this track is to be related to: the first audio for video, and what is alive for a track that begins.
    fn reference(&self, track: usize, now: Nanos) -> Reference {
        let others = self.tracks.iter().enumerate();
        let mut others = others.filter(|(index, other)| *index != track && other.is_alive(now));
        let own = self.tracks.get(track);
        let is_video = own.is_some_and(|own| own.kind == MediaKind::Video);
        let is_wanted = |other: &Track| !is_video || other.kind == MediaKind::Audio;
        let Some((_, other)) = others.find(|(_, other)| is_wanted(other)) else {
            return Reference::default();
        };
        Reference {
            lateness: other.lateness(),
            offset: other.offset(),
        }
    }
}

/// The track that another one follows.
#[derive(Debug, Default)]
struct Reference {
    /// How late it arrives at least.
    lateness: Option<Nanos>,
    /// NTP time of the timeline's start, by its sender reports.
    offset: Option<i128>,
}

impl Track {
    fn is_alive(&self, now: Nanos) -> bool {
        let arrival = self.state.as_ref().map(|state| state.arrival);
        arrival.is_some_and(|arrival| now.saturating_sub(arrival) < ALIVE)
    }

    /// Returns the time that timestamp and arrival make.
    fn predict(
        &mut self,
        rtp_timestamp: u32,
        arrival: Nanos,
        is_reordered: bool,
        reference: &Reference,
    ) -> Nanos {
        let rate = self.clock_rate;
        let usual = self.lateness().unwrap_or(0);
        let Some(state) = &mut self.state else {
            let lateness = reference.lateness.unwrap_or(0).clamp(0, JUMP);
            return self.anchor(
                rtp_timestamp,
                arrival,
                arrival.saturating_sub(lateness).max(0),
            );
        };
        let ticks = i64::from(
            rtp_timestamp
                .wrapping_sub(state.rtp_timestamp)
                .cast_signed(),
        );
        let step = of_ticks(ticks, rate);
        let passed = arrival.saturating_sub(state.arrival);
        if (step - passed).abs() > JUMP {
            self.stats.jumps += 1;
            self.rate = Rate::default();
            self.drift = Drift::default();
            return self.anchor(rtp_timestamp, arrival, arrival);
        }
        if ticks == 0 {
            self.stats.equal += 1;
            state.equal = state.equal.saturating_add(1);
            if state.equal > MAX_EQUAL {
                // Its clock stands still.
                state.anchor = state.anchor.saturating_add(passed);
            }
        } else {
            state.equal = 0;
        }
        state.ticks = state.ticks.saturating_add(ticks);
        state.rtp_timestamp = rtp_timestamp;
        state.arrival = arrival;
        if let Some(measured) = self.rate.take(ticks, arrival, rate) {
            self.clock_rate = measured;
            self.stats.measured_rate = Some(measured);
            self.drift = Drift::default();
            return self.anchor(rtp_timestamp, arrival, arrival);
        }
        let plain = state.anchor.saturating_add(of_ticks(state.ticks, rate));
        let late = arrival.saturating_sub(plain.saturating_add(state.shift));
        let last = self.last.unwrap_or(0);
        let behind = last.saturating_sub(plain.saturating_add(state.shift));
        state.behind = if behind > 0 { state.behind + 1 } else { 0 };
        let limit = if is_reordered { BACKWARD } else { UNEXPLAINED };
        if behind > limit || state.behind > MAX_BEHIND {
            self.stats.backward += 1;
            return self.anchor(rtp_timestamp, arrival, arrival);
        }
        // A clock that is a little fast gets ahead slowly, and is followed.
        if late < usual.saturating_sub(AHEAD) || late < -JUMP {
            self.stats.ahead += 1;
            return self.anchor(rtp_timestamp, arrival, arrival);
        }
        if late > JUMP {
            self.stats.jumps += 1;
            return self.anchor(rtp_timestamp, arrival, arrival);
        }
        self.drift.take(arrival.saturating_sub(plain), arrival);
        if self.kind == MediaKind::Video && step > 0 {
            self.slew(step, reference);
        }
        let shift = self.state.as_ref().map_or(0, |state| state.shift);
        plain.saturating_add(shift)
    }

    /// Moves video towards what it is related to.
    fn slew(&mut self, step: Nanos, reference: &Reference) {
        let by_reports = reference.offset.zip(self.offset());
        // A greater offset means that the same NTP time is earlier on the timeline.
        let error = match by_reports.map(|(other, own)| own - other) {
            Some(error) if error.unsigned_abs() < MAX_DIFFERENCE as u128 => Some(error as Nanos),
            _ => {
                let wanted = reference.lateness.unwrap_or(0);
                self.lateness().map(|own| own - wanted)
            }
        };
        if let (Some(error), Some(state)) = (error, &mut self.state) {
            let most = step / SLEW;
            state.shift = state.shift.saturating_add(error.clamp(-most, most));
        }
    }

    /// Returns how late frames have been at least in the last ten seconds, with the present correction.
    fn lateness(&self) -> Option<Nanos> {
        let shift = self.state.as_ref().map_or(0, |state| state.shift);
        Some(self.drift.recent()?.saturating_sub(shift))
    }

    /// Counts media from this time on.
    fn anchor(&mut self, rtp_timestamp: u32, arrival: Nanos, time: Nanos) -> Nanos {
        self.drift.interrupt();
        self.state = Some(State {
            anchor: time,
            ticks: 0,
            shift: 0,
            rtp_timestamp,
            arrival,
            behind: 0,
            equal: 0,
        });
        time
    }

    /// Returns the NTP time that corresponds to the start of the timeline, in nanoseconds, by the latest sender report.
    fn offset(&self) -> Option<i128> {
        let (report, state) = (self.report.as_ref()?, self.state.as_ref()?);
        let distance = report
            .rtp_timestamp
            .wrapping_sub(state.rtp_timestamp)
            .cast_signed();
        let ticks = state.ticks.saturating_add(distance.into());
        let time = state
            .anchor
            .saturating_add(of_ticks(ticks, self.clock_rate))
            .saturating_add(state.shift);
        Some(report.ntp - i128::from(time))
    }
}

fn of_ticks(ticks: i64, rate: u32) -> Nanos {
    let nanos = i128::from(ticks) * i128::from(SECOND) / i128::from(rate.max(1));
    Nanos::try_from(nanos).unwrap_or(if ticks < 0 {
        Nanos::MIN / 4
    } else {
        Nanos::MAX / 4
    })
}

fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX / 4)
}

fn duration(nanos: Nanos) -> Duration {
    Duration::from_nanos(nanos.max(0).unsigned_abs())
}
