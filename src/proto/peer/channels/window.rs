//! How much data from the application the core is given at a time.
//!
//! The core examines every chunk in flight each time it is polled, which is for every received datagram: the cost of a
//! message grows with what is in flight (figures in docs/benchmarks.md). The core therefore gets no more than what
//! keeps the path full while one processor does nothing else: the round-trip time, times a rate above what it can send.
//! On loopback that is some kilobytes, across an ocean a megabyte.
//!
//! The round-trip time is measured from time to time with a small window, so that the core's own queue does not extend
//! it: from feeding data to its acknowledgement.

use std::time::{Duration, Instant};

/// The window while measuring, and the minimum otherwise, in bytes.
const MIN: usize = 16 * 1024;

/// The maximum window, in bytes: 40 MB/s over 26 ms, 5 MB/s over 200 ms.
const MAX: usize = 1024 * 1024;

/// Maximum number of bytes in the core over all channels, unless it is a single message. Less than the megabyte that
/// the core receives without reading: it does not read data of a channel that was closed meanwhile, and ends the
/// connection when there is no more room (docs/upstream.md).
const MOST: usize = 896 * 1024;

/// More than a processor can send, in bytes per microsecond (40 MB/s).
const RATE: usize = 40;

/// Smaller messages cost as much as those of this size: a chunk each.
const MIN_MESSAGE: usize = 256;

/// Minimum number of bytes in the core per channel, however many channels send.
const MIN_SHARE: usize = 2 * 1024;

/// Minimum interval of measurements.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Minimum interval of measurements in round trips: measuring sends less than the path could carry.
const PROBE_ROUND_TRIPS: u32 = 256;

/// Number of samples per measurement, whose minimum counts: on a busy machine any single one may be delayed.
const SAMPLES: u8 = 4;

#[derive(Debug)]
pub(super) struct SendWindow {
    window: usize,
    /// Bytes given to the core, and bytes it has released.
    fed: u64,
    released: u64,
    /// Smoothed message size.
    message: usize,
    probe: Probe,
}

#[derive(Debug)]
enum Probe {
    /// Measurement in progress.
    Now {
        /// When `released` reaches this value, what was fed at that time has been acknowledged.
        mark: Option<(u64, Instant)>,
        least: Duration,
        samples_left: u8,
    },
    /// Measured; the next measurement is at this time.
    At(Instant),
}

impl SendWindow {
    pub fn new() -> Self {
        Self {
            window: MIN,
            fed: 0,
            released: 0,
            message: 1024,
            // The first measurement has to be quick: a connection starts slowly anyway.
            probe: Probe::now(1),
        }
    }

    /// Returns the number of bytes that one channel may have in the core while `channels` have something to send.
    pub fn share(&self, channels: usize) -> usize {
        let window = match self.probe {
            Probe::Now { .. } => MIN,
            Probe::At(_) => self.window,
        };
        let window = window * self.message.clamp(MIN_MESSAGE / 8, MIN_MESSAGE) / MIN_MESSAGE;
        (window / channels.max(1)).max(MIN_SHARE)
    }

    /// Returns `true` if the core may be given `bytes` more.
    pub fn has_room(&self, bytes: usize) -> bool {
        let held = usize::try_from(self.fed.saturating_sub(self.released)).unwrap_or(usize::MAX);
        held == 0 || held.saturating_add(bytes) <= MOST
    }

    /// Records that the core was given a message of `bytes`.
    pub fn on_fed(&mut self, bytes: usize, now: Instant) {
        self.fed += bytes as u64;
        self.message = (self.message * 7 + bytes) / 8;
        match &mut self.probe {
            Probe::Now { mark, .. } => {
                mark.get_or_insert((self.fed, now));
            }
            Probe::At(at) if now >= *at => self.probe = Probe::now(SAMPLES),
            Probe::At(_) => {}
        }
    }

    /// Records that `bytes` were discarded with their channel.
    pub fn forget(&mut self, bytes: usize) {
        self.released += bytes as u64;
    }

    /// Records that the core has released `bytes`. `flowing`: there is more to send.
    pub fn on_released(&mut self, bytes: usize, flowing: bool, now: Instant) {
        self.released += bytes as u64;
        let Probe::Now {
            mark,
            least,
            samples_left,
        } = &mut self.probe
        else {
            return;
        };
        let Some((_, since)) = mark.take_if(|(fed, _)| self.released >= *fed) else {
            return;
        };
        if !flowing {
            // The last datagram of a burst may have been acknowledged late on purpose (RFC 9260 §6.2).
            return;
        }
        *least = now.saturating_duration_since(since).min(*least);
        *samples_left = samples_left.saturating_sub(1);
        let window = window_for(*least);
        // It cannot become smaller than the minimum.
        if *samples_left == 0 || window == MIN {
            let pause = PROBE_INTERVAL.max(least.saturating_mul(PROBE_ROUND_TRIPS));
            self.window = window;
            self.probe = Probe::At(now + pause);
        }
    }
}

impl Probe {
    fn now(samples: u8) -> Self {
        Self::Now {
            mark: None,
            least: Duration::MAX,
            samples_left: samples,
        }
    }
}

fn window_for(round_trip: Duration) -> usize {
    let micros = usize::try_from(round_trip.as_micros()).unwrap_or(usize::MAX);
    micros.saturating_mul(RATE).clamp(MIN, MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates a path that acknowledges after this time; returns the share at the end.
    fn settled_share(round_trip_ms: u64, message: usize) -> usize {
        #[allow(clippy::disallowed_methods, reason = "some instant to start from")]
        let mut now = Instant::now();
        let mut window = SendWindow::new();
        for _ in 0..100 {
            window.on_fed(message, now);
            now += Duration::from_millis(round_trip_ms);
            window.on_released(message, true, now);
        }
        window.share(1)
    }

    #[test]
    fn grows_with_the_round_trip_time() {
        assert_eq!(settled_share(0, 1200), MIN);
        assert_eq!(settled_share(2, 1200), 80_000);
        assert_eq!(settled_share(200, 1200), MAX);
    }

    /// The machine was busy during one measurement; the next one corrects it.
    #[test]
    fn one_late_sample_does_not_stay() {
        #[allow(clippy::disallowed_methods, reason = "some instant to start from")]
        let mut now = Instant::now();
        let mut window = SendWindow::new();
        let mut shares = vec![];
        for n in 0..3_000 {
            window.on_fed(1200, now);
            now += Duration::from_millis(if n % 4 == 0 { 20 } else { 1 });
            window.on_released(1200, true, now);
            shares.push(window.share(1));
        }
        assert_eq!(shares[1], 800_000);
        assert_eq!(shares.last(), Some(&40_000));
    }

    #[test]
    fn small_messages_get_a_smaller_window() {
        assert_eq!(settled_share(0, 64), MIN / 4);
    }

    #[test]
    fn the_core_holds_less_than_the_other_side_can() {
        #[allow(clippy::disallowed_methods, reason = "some instant to start from")]
        let now = Instant::now();
        let mut window = SendWindow::new();
        assert!(window.has_room(2 * MOST), "a single one");
        window.on_fed(MOST - 100, now);
        assert!(window.has_room(100) && !window.has_room(101));
        window.on_released(50, true, now);
        window.forget(50);
        assert!(window.has_room(200) && !window.has_room(201));
    }

    #[test]
    fn many_channels_share_it() {
        let window = SendWindow::new();
        assert_eq!(window.share(4), MIN / 4);
        assert_eq!(window.share(1000), MIN_SHARE);
    }

    #[test]
    fn a_late_acknowledgement_of_the_last_datagram_says_nothing() {
        #[allow(clippy::disallowed_methods, reason = "some instant to start from")]
        let now = Instant::now();
        let mut window = SendWindow::new();
        window.on_fed(64_000, now);
        window.on_released(64_000, false, now + Duration::from_millis(200));
        assert!(matches!(window.probe, Probe::Now { mark: None, .. }));
        assert_eq!(window.share(1), MIN);
    }
}
