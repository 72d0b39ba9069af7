//! Samples to frames of 20 ms whose times follow the times of the input.

use std::time::Duration;

use super::resample::Resampler;

/// Duration of a frame.
pub(super) const FRAME: Duration = Duration::from_millis(20);

/// Difference between a unit's time and the end of the samples before it, beyond which the two are not joined.
pub(super) const MAX_DRIFT: Duration = Duration::from_millis(40);

/// Difference from which frames are stretched or squeezed, by one sample each, and that at which this ends.
const CORRECT_FROM: f64 = 0.005;
const CORRECT_TO: f64 = 0.001;

/// A frame of samples at the output rate.
pub(super) struct Samples {
    pub time: Duration,
    /// Set if the frame does not continue the one before it.
    pub discontinuity: bool,
    pub samples: Vec<i16>,
}

/// Placement of a unit of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// It continues what came before.
    Continued,
    /// It is the first one, or there is a gap before it.
    Started,
    /// Its time has been filled already; it was dropped.
    Overlapped,
}

/// Resamples units of input and cuts them into frames.
///
/// The input's sample clock and the clock of its times differ a little in every camera. So frames follow each other every
/// 20 ms, and as the difference grows, some are made of one sample more or less: 0.3 % at 16 kHz, which nobody hears.
#[derive(Debug)]
pub(super) struct Framer {
    resampler: Resampler,
    from: u32,
    to: u32,
    /// Samples at the output rate, less than a frame of them.
    pending: Vec<f32>,
    /// Time of the first pending sample; `None` before the first unit.
    next: Option<Duration>,
    correction: Correction,
    discontinuity: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Correction {
    None,
    /// A frame takes one sample less than it has: the input's samples are too few for its times.
    Stretch,
    /// A frame takes one sample more than it has.
    Squeeze,
}

impl Framer {
    /// Creates a framer; `None` if the rates cannot be converted.
    pub fn new(from: u32, to: u32) -> Option<Self> {
        Some(Self {
            resampler: Resampler::new(from, to)?,
            from,
            to,
            pending: Vec::new(),
            next: None,
            correction: Correction::None,
            discontinuity: false,
        })
    }

    /// Takes the samples of a unit, mono and at the input rate, whose first one is at `time`.
    pub fn push(&mut self, samples: &[f32], time: Duration, out: &mut Vec<Samples>) -> Placed {
        let placed = self.place(time);
        if placed == Placed::Overlapped {
            return placed;
        }
        self.resampler.push(samples, &mut self.pending);
        self.cut(out);
        placed
    }

    /// Compares the time of a unit with the end of the samples so far.
    fn place(&mut self, time: Duration) -> Placed {
        let Some(next) = self.next else {
            return self.start(time);
        };
        let held = self.resampler.held() / f64::from(self.from);
        let end = next.as_secs_f64() + self.pending.len() as f64 / f64::from(self.to) + held;
        let error = time.as_secs_f64() - end;
        if error > MAX_DRIFT.as_secs_f64() {
            return self.start(time.max(next));
        }
        if error < -MAX_DRIFT.as_secs_f64() {
            return Placed::Overlapped;
        }
        self.correction = match self.correction {
            _ if error > CORRECT_FROM => Correction::Stretch,
            _ if error < -CORRECT_FROM => Correction::Squeeze,
            Correction::Stretch if error > CORRECT_TO => Correction::Stretch,
            Correction::Squeeze if error < -CORRECT_TO => Correction::Squeeze,
            _ => Correction::None,
        };
        Placed::Continued
    }

    fn start(&mut self, time: Duration) -> Placed {
        self.resampler.reset();
        self.pending.clear();
        self.next = Some(time);
        self.correction = Correction::None;
        self.discontinuity = true;
        Placed::Started
    }

    fn cut(&mut self, out: &mut Vec<Samples>) {
        let Some(mut next) = self.next else { return };
        let length = (self.to / 50) as usize;
        let mut start = 0;
        loop {
            let take = match self.correction {
                Correction::None => length,
                Correction::Stretch => length - 1,
                Correction::Squeeze => length + 1,
            };
            let Some(samples) = self.pending.get(start..start + take) else {
                break;
            };
            out.push(Samples {
                time: next,
                discontinuity: std::mem::take(&mut self.discontinuity),
                samples: fit(samples, length),
            });
            next = next.saturating_add(FRAME);
            start += take;
        }
        self.pending.drain(..start);
        self.next = Some(next);
    }
}

/// Interpolates samples to a length that differs by at most one.
fn fit(samples: &[f32], length: usize) -> Vec<i16> {
    let last = samples.len().saturating_sub(1);
    let at = |n: usize| samples.get(n).copied().unwrap_or_default();
    let whole = |sample: f32| sample.round() as i16;
    if samples.len() == length {
        return samples.iter().map(|s| whole(*s)).collect();
    }
    let step = last as f32 / (length.max(2) - 1) as f32;
    let interpolated = (0..length).map(|n| {
        let place = n as f32 * step;
        let (left, fraction) = ((place as usize).min(last), place.fract());
        whole(at(left) + (at((left + 1).min(last)) - at(left)) * fraction)
    });
    interpolated.collect()
}
