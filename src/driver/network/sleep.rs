//! Detection of suspends of the machine.

use std::time::{Duration, Instant};

/// Shorter suspends are ignored: NATs, servers and peers keep their state that long.
const LONG: Duration = Duration::from_secs(3);

/// Interval of the comparison.
const STEP: Duration = Duration::from_millis(500);

/// Compares two clocks, one of which continues during a suspend.
#[derive(Debug)]
pub(super) struct SleepWatch {
    last: Option<(Instant, Duration)>,
}

impl SleepWatch {
    pub fn new() -> Self {
        Self { last: None }
    }

    /// Returns `true` if the machine was suspended since the last call. Cheap to call often.
    pub fn has_slept(&mut self, now: Instant) -> bool {
        let is_early = |(at, _): (Instant, _)| now < at + STEP;
        if self.last.is_some_and(is_early) {
            return false;
        }
        awake_or_not().is_some_and(|clock| self.compare(now, clock))
    }

    /// Simulates a suspend of this duration.
    #[cfg(test)]
    pub fn pretend(&mut self, long: Duration) {
        if let Some((_, clock)) = &mut self.last {
            *clock = clock.saturating_sub(long);
        }
    }

    fn compare(&mut self, now: Instant, clock: Duration) -> bool {
        let Some((then, before)) = self.last.replace((now, clock)) else {
            return false;
        };
        let awake = now.saturating_duration_since(then);
        clock.saturating_sub(before) >= awake + LONG
    }
}

/// CLOCK_BOOTTIME: like the clock of `Instant`, but including suspends.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn awake_or_not() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
    Some(Duration::new(seconds, nanoseconds))
}

/// The time of day. It also jumps when it is set, which costs no more than an unnecessary query.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn awake_or_not() -> Option<Duration> {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_runs_ahead_is_sleep() {
        let t0 = Instant::now();
        let s = Duration::from_secs;
        let mut watch = SleepWatch::new();
        assert!(!watch.compare(t0, s(100)), "nothing to compare with");
        assert!(!watch.compare(t0 + s(1), s(101)));
        // A busy or idle loop: both clocks have advanced.
        assert!(!watch.compare(t0 + s(60), s(160)));
        // A suspend of one minute.
        assert!(watch.compare(t0 + s(61), s(221)));
        assert!(!watch.compare(t0 + s(62), s(222)), "said once");
        // Too short to matter; and a clock that was set back.
        assert!(!watch.compare(t0 + s(63), s(225)));
        assert!(!watch.compare(t0 + s(64), s(20)));
        assert!(!watch.compare(t0 + s(65), s(21)));
    }

    #[test]
    fn the_clocks_of_this_machine_agree() {
        let mut watch = SleepWatch::new();
        let t0 = Instant::now();
        assert!(!watch.has_slept(t0));
        assert!(watch.last.is_some(), "the clock cannot be read");
        assert!(!watch.has_slept(t0 + STEP / 2));
        std::thread::sleep(STEP);
        assert!(!watch.has_slept(Instant::now()));
    }
}
