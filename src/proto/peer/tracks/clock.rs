//! Media time in ticks of RTP clocks.

use std::time::{Duration, Instant, SystemTime};

use super::super::core::SenderClock;
use super::super::values::FrameTime;

/// Media time of outgoing media. A new source continues the time of the previous one.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Offset added to the times of this source, in ticks.
    offset: i128,
    /// Ticks and wall clock of the last frame sent.
    last: Option<(u64, Instant)>,
    restarting: bool,
    rate: u32,
}

impl Clock {
    pub fn restart(&mut self) {
        self.restarting = self.last.is_some();
    }

    /// Converts the time of a frame to ticks of the outgoing stream.
    pub fn ticks(&mut self, time: FrameTime, rate: u32, wallclock: Instant) -> u64 {
        let own = match time {
            FrameTime::Media(time) => {
                let scaled = time.as_nanos() * u128::from(rate) + 500_000_000;
                i128::try_from(scaled / 1_000_000_000).unwrap_or(0)
            }
            FrameTime::Ticks(ticks) => i128::from(ticks),
        };
        if let Some((ticks, at)) = self.last
            && (self.restarting || self.rate != rate)
        {
            let gap = wallclock.saturating_duration_since(at).as_nanos() * u128::from(rate)
                / 1_000_000_000;
            let next = i128::from(ticks) + i128::try_from(gap).unwrap_or(0).max(1);
            self.offset = next - own;
        }
        self.restarting = false;
        self.rate = rate;
        let ticks = u64::try_from(own + self.offset).unwrap_or(0);
        self.last = Some((ticks, wallclock));
        ticks
    }
}

/// Returns the sender's wall clock at this timestamp (RFC 3550 §6.4.1).
pub(super) fn captured_at(clock: SenderClock, timestamp: u32, rate: u32) -> Option<SystemTime> {
    let ahead = timestamp.wrapping_sub(clock.rtp_timestamp).cast_signed();
    let distance = duration_of(ahead.unsigned_abs().into(), rate);
    if ahead < 0 {
        clock.wallclock.checked_sub(distance)
    } else {
        clock.wallclock.checked_add(distance)
    }
}

/// Converts ticks of a clock to a time.
pub(super) fn duration_of(ticks: u64, rate: u32) -> Duration {
    let rate = u64::from(rate.max(1));
    let nanos = (ticks % rate) * 1_000_000_000 / rate;
    Duration::from_secs(ticks / rate) + Duration::from_nanos(nanos)
}
