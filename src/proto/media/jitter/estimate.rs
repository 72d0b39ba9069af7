//! Delay estimation; see the parent module for the algorithm and its origin.

use std::time::{Duration, Instant};

use super::JitterConfig;

/// Microseconds: precise enough for jitter, and 2^63 of them are 292,000 years.
type Micros = i64;

/// Length of the sliding minimum, in seconds.
const WINDOW: usize = 10;

/// Width of a histogram bucket in microseconds; the buckets span 2 s.
const BUCKET: Micros = 5_000;
const BUCKETS: usize = 400;

/// Time constant of forgetting, in seconds: after it an arrival counts 1/e.
const FORGET: f64 = 10.0;

/// Weights are scaled down beyond this value, well before an f64 loses precision.
const MAX_WEIGHT: f64 = 1e9;

/// Relative delay beyond which an arrival is ignored, in microseconds; several in a row mean that the sender's
/// timestamps jumped.
const JUMP: Micros = 2_000_000;
const JUMPS: u32 = 4;

/// Fraction of the elapsed time by which the delay shrinks.
const SHRINK: f64 = 0.02;

#[derive(Debug)]
pub(super) struct Estimator {
    start: Instant,
    clock_rate: i64,
    min_delay: Micros,
    max_delay: Micros,
    quantile: f64,
    /// The minimum transit time of each of the last seconds, and the newest second.
    minima: [Option<Micros>; WINDOW],
    second: u64,
    histogram: Box<[f64; BUCKETS]>,
    weight: f64,
    total: f64,
    last_arrival: Instant,
    jumps: u32,
    target: Micros,
    delay: f64,
    advanced: Instant,
    last_transit: Option<Micros>,
    jitter: f64,
}

impl Estimator {
    pub fn new(config: &JitterConfig, now: Instant) -> Self {
        let max_delay = micros(config.max_delay);
        let min_delay = micros(config.min_delay).min(max_delay);
        let target = micros(config.initial_delay).clamp(min_delay, max_delay);
        Self {
            start: now,
            clock_rate: i64::from(config.clock_rate.max(1)),
            min_delay,
            max_delay,
            quantile: config.quantile.clamp(0.5, 1.0),
            minima: [None; WINDOW],
            second: 0,
            histogram: Box::new([0.0; BUCKETS]),
            weight: 1.0,
            total: 0.0,
            last_arrival: now,
            jumps: 0,
            target,
            delay: target as f64,
            advanced: now,
            last_transit: None,
            jitter: 0.0,
        }
    }

    /// Records an arrival.
    pub fn arrived(&mut self, timestamp: i64, now: Instant) {
        self.advance(now);
        let transit = self.since_start(now) - self.media_time(timestamp);
        let base = self.base();
        if base.is_some_and(|base| transit.abs_diff(base) > JUMP as u64) {
            self.jumps += 1;
            if self.jumps < JUMPS {
                return;
            }
            self.minima = [None; WINDOW];
            self.last_transit = None;
        }
        self.jumps = 0;
        if let Some(newest) = self.minima.first_mut() {
            *newest = Some(newest.map_or(transit, |least| least.min(transit)));
        }
        self.smooth_jitter(transit);
        let relative = transit - self.base().unwrap_or(transit);
        self.count(relative, now);
        self.aim();
    }

    /// Advances the time: the window slides, and the delay shrinks towards its target.
    pub fn advance(&mut self, now: Instant) {
        let second = now.saturating_duration_since(self.start).as_secs();
        let steps = second.saturating_sub(self.second).min(WINDOW as u64) as usize;
        // Without arrivals in the whole window, the last minimum is the best estimate.
        if steps < WINDOW || self.minima.iter().all(Option::is_none) {
            self.minima.rotate_right(steps);
            self.minima
                .iter_mut()
                .take(steps)
                .for_each(|minimum| *minimum = None);
        } else {
            let last = self.base();
            self.minima = [None; WINDOW];
            self.minima[WINDOW - 1] = last;
        }
        self.second = self.second.max(second);
        let passed = now.saturating_duration_since(self.advanced).as_micros() as f64;
        self.advanced = self.advanced.max(now);
        let target = self.target as f64;
        self.delay = if target > self.delay {
            target
        } else {
            (self.delay - passed * SHRINK).max(target)
        };
    }

    /// Returns the playout time for a timestamp. `None` before the first measurement.
    pub fn play_at(&self, timestamp: i64) -> Option<Instant> {
        let since_start = self
            .media_time(timestamp)
            .saturating_add(self.base()?)
            .saturating_add(self.delay as Micros);
        let ahead = Duration::from_micros(since_start.unsigned_abs());
        if since_start < 0 {
            self.start.checked_sub(ahead).or(Some(self.start))
        } else {
            self.start.checked_add(ahead)
        }
    }

    pub fn delay(&self) -> Duration {
        Duration::from_micros(self.delay as u64)
    }

    pub fn target(&self) -> Duration {
        Duration::from_micros(self.target.unsigned_abs())
    }

    pub fn jitter(&self) -> Duration {
        Duration::from_micros(self.jitter as u64)
    }

    /// Updates the jitter (RFC 3550 §6.4.1 and appendix A.8).
    fn smooth_jitter(&mut self, transit: Micros) {
        if let Some(last) = self.last_transit {
            self.jitter += (transit.abs_diff(last) as f64 - self.jitter) / 16.0;
        }
        self.last_transit = Some(transit);
    }

    fn count(&mut self, relative: Micros, now: Instant) {
        // Instead of reducing all earlier weights, each arrival weighs more than the one before.
        let passed = now
            .saturating_duration_since(self.last_arrival)
            .as_secs_f64();
        self.last_arrival = self.last_arrival.max(now);
        // Beyond this, earlier weights are negligible; avoids overflow of the f64.
        self.weight *= (passed / FORGET).min(20.0).exp();
        let bucket = usize::try_from(relative / BUCKET)
            .unwrap_or(0)
            .min(BUCKETS - 1);
        self.histogram[bucket] += self.weight;
        self.total += self.weight;
        if self.weight > MAX_WEIGHT {
            let scale = self.weight.recip();
            self.histogram
                .iter_mut()
                .for_each(|bucket| *bucket *= scale);
            self.total *= scale;
            self.weight = 1.0;
        }
    }

    /// Sets the target to the upper end of the bucket that contains the quantile.
    fn aim(&mut self) {
        let wanted = self.total * self.quantile;
        let mut sum = 0.0;
        let bucket = self.histogram.iter().position(|weight| {
            sum += weight;
            sum >= wanted
        });
        let bucket = bucket.unwrap_or(BUCKETS - 1) as Micros;
        self.target = ((bucket + 1) * BUCKET).clamp(self.min_delay, self.max_delay);
        if self.target as f64 > self.delay {
            self.delay = self.target as f64;
        }
    }

    fn base(&self) -> Option<Micros> {
        self.minima.iter().flatten().min().copied()
    }

    fn media_time(&self, timestamp: i64) -> Micros {
        let micros = i128::from(timestamp) * 1_000_000 / i128::from(self.clock_rate);
        Micros::try_from(micros).unwrap_or(Micros::MAX / 4)
    }

    fn since_start(&self, now: Instant) -> Micros {
        micros(now.saturating_duration_since(self.start))
    }
}

fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX / 4)
}
