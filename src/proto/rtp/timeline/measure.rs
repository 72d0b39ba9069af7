//! How fast a camera's clock runs.

use super::{Nanos, SECOND};

/// Length of the windows whose least lateness counts: delays of the network are added to it, never taken away.
const WINDOW: Nanos = 2 * SECOND;

/// Number of windows that the recent lateness is taken from.
const RECENT: usize = 5;

/// Time of measurement before a drift is stated.
const LEAST: Nanos = 5 * SECOND;

/// Lateness of frames compared with their timestamps, and how it grows.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// The least lateness of the first window, and when it was.
    first: Option<(Nanos, Nanos)>,
    latest: Option<(Nanos, Nanos)>,
    window: Option<Window>,
    /// Least lateness of the latest windows.
    recent: [Option<Nanos>; RECENT],
    place: usize,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    begun: Nanos,
    /// Least lateness, and when it was.
    least: (Nanos, Nanos),
}

impl Drift {
    /// Takes how late a frame is, without corrections, and its arrival.
    pub fn take(&mut self, late: Nanos, arrival: Nanos) {
        let window = self.window.get_or_insert(Window {
            begun: arrival,
            least: (late, arrival),
        });
        if late < window.least.0 {
            window.least = (late, arrival);
        }
        if arrival.saturating_sub(window.begun) < WINDOW {
            return;
        }
        let (lateness, at) = window.least;
        self.window = None;
        if let Some(place) = self.recent.get_mut(self.place % RECENT) {
            *place = Some(lateness);
        }
        self.place = (self.place + 1) % RECENT;
        self.first.get_or_insert((at, lateness));
        self.latest = Some((at, lateness));
    }

    /// Lateness is counted from another time from now on.
    pub fn interrupt(&mut self) {
        *self = Self::default();
    }

    /// Returns how late frames have been at least in the last ten seconds.
    pub fn recent(&self) -> Option<Nanos> {
        self.recent.iter().flatten().min().copied()
    }

    /// Returns the drift in parts per million, positive if the camera's clock is fast.
    pub fn ppm(&self) -> Option<f64> {
        let ((begun, first), (ended, latest)) = (self.first?, self.latest?);
        let passed = ended - begun;
        (passed >= LEAST).then(|| (first - latest) as f64 * 1e6 / passed as f64)
    }
}

/// Length of the periods over which a clock rate is measured.
const PERIOD: Nanos = 5 * SECOND;

/// Clock rates in use, in Hz.
const RATES: [u32; 12] = [
    1_000, 8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 90_000, 1_000_000,
];

/// Measures a clock rate over two successive periods. Both have to agree: bursts and stalls change one, or each in another way.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// Begin of the period, and ticks since then.
    period: Option<(Nanos, i64)>,
    /// Rate measured over the period before, if it was far off.
    suspect: Option<f64>,
}

impl Rate {
    /// Takes the next frame. Returns the rate to use instead of the stated one, if that is off by more than 5 %.
    pub fn take(&mut self, ticks: i64, arrival: Nanos, stated: u32) -> Option<u32> {
        let (begun, sum) = self.period.get_or_insert((arrival, 0));
        *sum = sum.saturating_add(ticks);
        let passed = arrival.saturating_sub(*begun);
        if passed < PERIOD {
            return None;
        }
        let measured = *sum as f64 * SECOND as f64 / passed as f64;
        self.period = Some((arrival, 0));
        let ratio = measured / f64::from(stated);
        if (0.95..=1.05).contains(&ratio) || !(500.0..=2e6).contains(&measured) {
            self.suspect = None;
            return None;
        }
        let before = self.suspect.replace(measured)?;
        if (before / measured - 1.0).abs() > 0.02 {
            return None;
        }
        self.suspect = None;
        let near = |rate: &&u32| (measured / f64::from(**rate) - 1.0).abs() < 0.03;
        Some(RATES.iter().find(near).copied().unwrap_or(measured as u32))
    }
}
