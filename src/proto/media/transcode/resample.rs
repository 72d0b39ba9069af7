//! Sample rate conversion by a rational factor: a polyphase filter of windowed sincs.

/// Half of the filter's length, in samples of the lower of the two rates.
const HALF_WIDTH: usize = 32;

/// Shape of the Kaiser window: aliases and images are at least 70 dB below the signal.
const BETA: f64 = 7.0;

/// Passband edge as a fraction of the lower rate. The stopband begins at a half, above which the lower rate has nothing.
#[cfg(test)]
pub(super) const PASSBAND: f64 = 0.425;

/// Middle of the transition band, between [`PASSBAND`] and a half, as a fraction of the lower rate.
const CUTOFF: f64 = 0.463;

/// Maximum number of phases, each with coefficients of its own. 640 are needed for 11,025 to 16,000 Hz.
const MAX_PHASES: u32 = 1024;

/// Maximum number of coefficients, over all phases.
const MAX_COEFFICIENTS: usize = 1 << 17;

/// Converts mono samples from one rate to another. The first output sample is at the time of the first input sample.
#[derive(Debug)]
pub(super) struct Resampler {
    /// Coefficients of each phase in turn; empty if the rates are the same.
    coefficients: Vec<f32>,
    /// Number of coefficients of a phase.
    length: usize,
    /// Number of phases: the output rate, divided by the common divisor of the rates.
    phases: usize,
    /// The input rate, divided likewise: distance of two output samples, in phases.
    step: usize,
    /// Phase of the next output sample.
    phase: usize,
    /// Input that later output depends on. The next output's filter starts at its first sample.
    history: Vec<f32>,
}

impl Resampler {
    /// Creates a converter; `None` if a rate is 0, or if the two would take an unreasonable amount of memory.
    pub fn new(from: u32, to: u32) -> Option<Self> {
        let divisor = gcd(from, to);
        if divisor == 0 || from == 0 || to == 0 {
            return None;
        }
        let (step, phases) = (from / divisor, to / divisor);
        if phases > MAX_PHASES {
            return None;
        }
        let (step, phases) = (step as usize, phases as usize);
        // In input samples, rounded up.
        let half = (HALF_WIDTH * step.max(phases)).div_ceil(phases);
        let length = 2 * half;
        if phases * length > MAX_COEFFICIENTS {
            return None;
        }
        let coefficients = if from == to {
            Vec::new()
        } else {
            design(phases, step, half)
        };
        let mut resampler = Self {
            coefficients,
            length,
            phases,
            step,
            phase: 0,
            history: Vec::new(),
        };
        resampler.reset();
        Some(resampler)
    }

    /// Forgets the input so far. The next output sample is at the time of the next input sample.
    pub fn reset(&mut self) {
        self.phase = 0;
        self.history.clear();
        // The filter of the first output sample reaches back before the first input sample.
        self.history.resize(self.length / 2 - 1, 0.0);
    }

    /// Returns how much input is held back for later output, in input samples and fractions of them.
    pub fn held(&self) -> f64 {
        if self.coefficients.is_empty() {
            return 0.0;
        }
        let centre = (self.length / 2 - 1) as f64 + self.phase as f64 / self.phases as f64;
        self.history.len() as f64 - centre
    }

    /// Converts samples. Work is linear in the input and output; output lags by [`held`](Self::held).
    pub fn push(&mut self, input: &[f32], out: &mut Vec<f32>) {
        if self.coefficients.is_empty() {
            return out.extend_from_slice(input);
        }
        self.history.extend_from_slice(input);
        let mut start = 0;
        while let Some(samples) = self.history.get(start..start + self.length) {
            let at = self.phase * self.length;
            // `phase` is below `phases`.
            let coefficients = &self.coefficients[at..at + self.length];
            out.push(product(samples, coefficients));
            self.phase += self.step;
            start += self.phase / self.phases;
            self.phase %= self.phases;
        }
        // Less than `length`: the filter is longer than the distance of two output samples.
        self.history.drain(..start);
    }
}

/// Multiplies and adds in eight lanes, which the compiler makes into vector instructions.
fn product(samples: &[f32], coefficients: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (samples, coefficients) = (samples.chunks_exact(8), coefficients.chunks_exact(8));
    let rest = samples.remainder().iter().zip(coefficients.remainder());
    let rest: f32 = rest.map(|(s, c)| s * c).sum();
    for (s, c) in samples.zip(coefficients) {
        for (lane, (s, c)) in lanes.iter_mut().zip(s.iter().zip(c)) {
            *lane += s * c;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Computes the coefficients of all phases.
fn design(phases: usize, step: usize, half: usize) -> Vec<f32> {
    // In cycles per input sample.
    let cutoff = CUTOFF * (phases as f64 / step as f64).min(1.0);
    let mut all = Vec::with_capacity(phases * 2 * half);
    for phase in 0..phases {
        let fraction = phase as f64 / phases as f64;
        let tap = |n: usize| {
            let distance = n as f64 - (half - 1) as f64 - fraction;
            2.0 * cutoff * sinc(2.0 * cutoff * distance) * kaiser(distance / half as f64)
        };
        let taps: Vec<f64> = (0..2 * half).map(tap).collect();
        // The gain at 0 Hz is one in every phase, or a constant input would come out with ripples.
        let sum: f64 = taps.iter().sum();
        all.extend(taps.iter().map(|tap| (tap / sum) as f32));
    }
    all
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

/// The Kaiser window over -1…1.
fn kaiser(x: f64) -> f64 {
    bessel(BETA * (1.0 - x * x).max(0.0).sqrt()) / bessel(BETA)
}

/// The modified Bessel function of the first kind and order 0, by its power series.
fn bessel(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..40 {
        term *= quarter / f64::from(k * k);
        sum += term;
    }
    sum
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
