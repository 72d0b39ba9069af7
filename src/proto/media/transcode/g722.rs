//! G.722 encoder at 64 kbit/s (ITU-T G.722, mode 1): 16 kHz samples in, one byte for every two samples out.
//!
//! A quadrature mirror filter splits the signal into two bands of 8 kHz, and each band is coded by adaptive differential
//! PCM: six bits for the lower band, two for the higher one. Arithmetic is the fixed-point arithmetic of the
//! recommendation, so that every decoder follows the encoder's predictors bit for bit.

/// Encodes 16 kHz mono samples as G.722.
#[derive(Debug, Clone)]
pub(super) struct G722Encoder {
    /// Latest 24 samples, oldest first.
    history: [i32; 24],
    low: Band,
    high: Band,
}

/// Every second one of the quadrature mirror filter's 24 coefficients, in 1/8192 (table 11). The filter is symmetric, so
/// the other twelve are these in reverse.
const MIRROR_FILTER: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// Decision levels of the lower band's 60-level quantizer (table 14, Q6).
const LOW_LEVELS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023,
    1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];

/// Output of the lower band's inverse quantizer, which predicts from the upper four of the six bits (table 16, QM4).
const LOW_OUTPUT: [i32; 16] = [
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584,
    1200, 0,
];

/// Multiplier of the lower band's logarithmic scale factor for each of the four-bit codes (tables 17 and 18, RL42 and WL).
const LOW_SCALE: [i32; 16] = [
    -60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60,
];

/// Output of the higher band's inverse quantizer (table 16, QM2).
const HIGH_OUTPUT: [i32; 4] = [-7408, -1616, 7408, 1616];

/// Multiplier of the higher band's logarithmic scale factor (tables 17 and 18, RH2 and WH).
const HIGH_SCALE: [i32; 4] = [798, -214, 798, -214];

/// Powers of two in 32 steps, in 1/2048 (table 15, ILB).
const POWERS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

impl G722Encoder {
    /// Creates an encoder in the reset state.
    pub fn new() -> Self {
        Self {
            history: [0; 24],
            low: Band::new(32),
            high: Band::new(8),
        }
    }

    /// Encodes samples, an even number of them; an odd one at the end is left out.
    pub fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        for pair in samples.chunks_exact(2) {
            if let [first, second] = *pair {
                out.push(self.encode_pair(first, second));
            }
        }
    }

    fn encode_pair(&mut self, first: i16, second: i16) -> u8 {
        self.history.copy_within(2.., 0);
        self.history[22] = i32::from(first);
        self.history[23] = i32::from(second);
        let (mut older, mut newer) = (0, 0);
        for (n, coefficient) in MIRROR_FILTER.iter().enumerate() {
            older += self.history[2 * n] * coefficient;
            newer += self.history[2 * n + 1] * MIRROR_FILTER[11 - n];
        }
        let low = self.encode_low((newer + older) >> 14);
        let high = self.encode_high((newer - older) >> 14);
        high << 6 | low
    }

    fn encode_low(&mut self, sample: i32) -> u8 {
        let error = clip(sample - self.low.prediction);
        let magnitude = if error >= 0 { error } else { -(error + 1) };
        let scale = self.low.scale;
        let level = LOW_LEVELS
            .iter()
            .position(|level| magnitude < (level * scale) >> 12)
            .unwrap_or(LOW_LEVELS.len());
        // Codes count down from the smallest error (table 14, IL): 61…32 upwards, 63, 62, 31…4 downwards.
        let code = match (error < 0, level) {
            (false, level) => 61 - level,
            (true, level @ 0..2) => 63 - level,
            (true, level) => 33 - level,
        };
        let coarse = code >> 2;
        self.low.rescale(LOW_SCALE[coarse], 18_432, 8);
        self.low.adapt((scale * LOW_OUTPUT[coarse]) >> 15);
        code as u8
    }

    fn encode_high(&mut self, sample: i32) -> u8 {
        let error = clip(sample - self.high.prediction);
        let magnitude = if error >= 0 { error } else { -(error + 1) };
        let scale = self.high.scale;
        let is_large = magnitude >= (564 * scale) >> 12;
        let code = match (error < 0, is_large) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        };
        self.high.rescale(HIGH_SCALE[code], 22_528, 10);
        self.high.adapt((scale * HIGH_OUTPUT[code]) >> 15);
        code as u8
    }
}

/// State of one band: scale factor of the quantizer, and predictor with two poles and six zeros (§3.6).
#[derive(Debug, Clone)]
struct Band {
    /// Scale factor of the quantizer.
    scale: i32,
    /// The scale factor's logarithm, in 1/2048.
    log_scale: i32,
    /// Predicted sample.
    prediction: i32,
    /// The zeros' part of the prediction.
    zero_prediction: i32,
    /// Coefficients of the poles, in 1/16384, and of the zeros.
    poles: [i32; 2],
    zeros: [i32; 6],
    /// Latest reconstructed samples, partially reconstructed samples and quantized errors, newest first.
    reconstructed: [i32; 2],
    partial: [i32; 2],
    errors: [i32; 6],
}

impl Band {
    fn new(scale: i32) -> Self {
        Self {
            scale,
            log_scale: 0,
            prediction: 0,
            zero_prediction: 0,
            poles: [0; 2],
            zeros: [0; 6],
            reconstructed: [0; 2],
            partial: [0; 2],
            errors: [0; 6],
        }
    }

    /// Adapts the scale factor (§3.5, LOGSCL and SCALEL, or LOGSCH and SCALEH).
    fn rescale(&mut self, multiplier: i32, max: i32, exponent: i32) {
        self.log_scale = (((self.log_scale * 127) >> 7) + multiplier).clamp(0, max);
        let power = POWERS[(self.log_scale >> 6) as usize & 31];
        // At most 11 for the higher band, 9 for the lower one: the shift never turns round.
        let shift = exponent - (self.log_scale >> 11);
        let scale = if shift < 0 {
            power << -shift
        } else {
            power >> shift
        };
        self.scale = scale << 2;
    }

    /// Adapts the predictor to a quantized error, and predicts the next sample (§3.6, "block 4").
    fn adapt(&mut self, error: i32) {
        let reconstructed = clip(self.prediction + error);
        let partial = clip(self.zero_prediction + error);
        self.adapt_poles(partial);
        self.adapt_zeros(error);
        self.reconstructed = [reconstructed, self.reconstructed[0]];
        self.partial = [partial, self.partial[0]];
        self.errors.copy_within(..5, 1);
        self.errors[0] = error;

        let term = |coefficient: i32, value: i32| (coefficient * clip(2 * value)) >> 15;
        let products = |coefficients: &[i32], values: &[i32]| {
            let terms = coefficients.iter().zip(values);
            terms.map(|(c, v)| term(*c, *v)).sum::<i32>()
        };
        self.zero_prediction = clip(products(&self.zeros, &self.errors));
        let poles = clip(products(&self.poles, &self.reconstructed));
        self.prediction = clip(poles + self.zero_prediction);
    }

    fn adapt_poles(&mut self, partial: i32) {
        let agrees = self.partial.map(|before| (partial < 0) == (before < 0));
        let [first, second] = self.poles;
        let step = clip(4 * first);
        let step = if agrees[0] { clip(-step) } else { step };
        let sign = if agrees[1] { 128 } else { -128 };
        let second = ((step >> 7) + sign + ((second * 32_512) >> 15)).clamp(-12_288, 12_288);
        let sign = if agrees[0] { 192 } else { -192 };
        let bound = 15_360 - second;
        let first = clip(sign + ((first * 32_640) >> 15)).clamp(-bound, bound);
        self.poles = [first, second];
    }

    fn adapt_zeros(&mut self, error: i32) {
        let step = if error == 0 { 0 } else { 128 };
        for (zero, before) in self.zeros.iter_mut().zip(self.errors) {
            let agrees = (error < 0) == (before < 0);
            let step = if agrees { step } else { -step };
            *zero = clip(step + ((*zero * 32_640) >> 15));
        }
    }
}

fn clip(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}
