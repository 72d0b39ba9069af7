//! How much of what the application sends the core is given to hold at a time.
//!
//! The core looks at every chunk in flight each time it is polled, which is for every datagram that
//! comes: what a message costs grows with what is in flight (docs/benchmarks.md has the figures). So it
//! is given no more than what keeps the path full while one processor does nothing else: the round-trip
//! time, times a rate that is beyond it. On a loopback that is some kilobytes, across an ocean a megabyte.
//!
//! The round-trip time is measured now and then under a small window, where the core's own queue does not
//! stretch it: from feeding to the acknowledgement of what was fed.

use std::time::{Duration, Instant};

/// The window while measuring, and the smallest outside of it, in bytes.
const MIN: usize = 16 * 1024;

/// The largest window, in bytes: 40 MB/s over 26 ms, 5 MB/s over 200 ms.
const MAX: usize = 1024 * 1024;

/// More than a processor can send, in bytes for each microsecond (40 MB/s).
const RATE: usize = 40;

/// Messages smaller than this cost as much as those of this size: a chunk each.
const MIN_MESSAGE: usize = 256;

/// However many channels send at once, each may have this many bytes in the core.
const MIN_SHARE: usize = 2 * 1024;

/// At least so long between two measurements; at most 1/64 of the time is spent measuring.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct SendWindow {
    window: usize,
    /// Bytes given to the core, and bytes it no longer holds.
    fed: u64,
    released: u64,
    /// The size of messages, smoothed.
    message: usize,
    probe: Probe,
}

#[derive(Debug)]
enum Probe {
    /// Measuring. With a mark: when `released` reaches it, what was fed then has been acknowledged.
    Now(Option<(u64, Instant)>),
    /// Measured; again at this time.
    At(Instant),
}

impl SendWindow {
    pub fn new() -> Self {
        Self {
            window: MIN,
            fed: 0,
            released: 0,
            message: 1024,
            probe: Probe::Now(None),
        }
    }

    /// How many bytes of one channel the core may hold, when so many have something to send.
    pub fn share(&self, channels: usize) -> usize {
        let window = match self.probe {
            Probe::Now(_) => MIN,
            Probe::At(_) => self.window,
        };
        let window = window * self.message.clamp(MIN_MESSAGE / 8, MIN_MESSAGE) / MIN_MESSAGE;
        (window / channels.max(1)).max(MIN_SHARE)
    }

    /// The core was given a message of so many bytes.
    pub fn on_fed(&mut self, bytes: usize, now: Instant) {
        self.fed += bytes as u64;
        self.message = (self.message * 7 + bytes) / 8;
        match self.probe {
            Probe::Now(None) => self.probe = Probe::Now(Some((self.fed, now))),
            Probe::At(at) if now >= at => self.probe = Probe::Now(None),
            Probe::Now(Some(_)) | Probe::At(_) => {}
        }
    }

    /// So many bytes went with their channel.
    pub fn forget(&mut self, bytes: usize) {
        self.released += bytes as u64;
    }

    /// The core holds so many bytes less. `flowing`: there is more to send.
    pub fn on_released(&mut self, bytes: usize, flowing: bool, now: Instant) {
        self.released += bytes as u64;
        let Probe::Now(Some((mark, since))) = self.probe else {
            return;
        };
        if self.released < mark {
            return;
        }
        if !flowing {
            // The last datagram of a burst may have been acknowledged late on purpose (RFC 9260 §6.2).
            self.probe = Probe::Now(None);
            return;
        }
        let round_trip = now.saturating_duration_since(since);
        let micros = usize::try_from(round_trip.as_micros()).unwrap_or(usize::MAX);
        self.window = micros.saturating_mul(RATE).clamp(MIN, MAX);
        self.probe = Probe::At(now + PROBE_INTERVAL.max(round_trip.saturating_mul(64)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that acknowledges what it is fed after so many milliseconds.
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

    #[test]
    fn small_messages_get_a_smaller_window() {
        assert_eq!(settled_share(0, 64), MIN / 4);
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
        assert!(matches!(window.probe, Probe::Now(None)));
        assert_eq!(window.share(1), MIN);
    }
}
