//! G.711: 16-bit samples to and from A-law and µ-law (ITU-T G.711).

use std::sync::LazyLock;

/// The two ways in which G.711 compresses a sample to eight bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Law {
    /// µ-law: Northern America, Japan.
    Mu,
    /// A-law: everywhere else.
    A,
}

static MU_LAW: LazyLock<[i16; 256]> = LazyLock::new(|| std::array::from_fn(|n| decode_mu(n as u8)));
static A_LAW: LazyLock<[i16; 256]> = LazyLock::new(|| std::array::from_fn(|n| decode_a(n as u8)));

impl Law {
    /// Returns the sample of each code.
    pub fn table(self) -> &'static [i16; 256] {
        match self {
            Self::Mu => &MU_LAW,
            Self::A => &A_LAW,
        }
    }

    /// Returns the code of the nearest level, or of one of two that are equally near.
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Mu => encode_mu(sample),
            Self::A => encode_a(sample),
        }
    }
}

/// Offset that µ-law adds to a 14-bit magnitude, so that segments begin at powers of two; here in 16 bits.
const BIAS: i32 = 33 << 2;

/// A code is the complement of: sign, three bits of exponent, four of mantissa.
fn decode_mu(code: u8) -> i16 {
    let code = !code;
    let (exponent, mantissa) = (code >> 4 & 7, i32::from(code & 15));
    let magnitude = ((mantissa << 3) + BIAS) << exponent;
    signed(code & 0x80 != 0, magnitude - BIAS)
}

fn encode_mu(sample: i16) -> u8 {
    const MAX: i32 = 32_767 - BIAS;
    let magnitude = i32::from(sample).abs().min(MAX) + BIAS;
    // 132…32767: the leading one is bit 7 to 14.
    let exponent = 24 - magnitude.leading_zeros();
    let mantissa = (magnitude >> (exponent + 3)) as u8 & 15;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(sign | (exponent as u8) << 4 | mantissa)
}

/// A code is, with every second bit inverted: sign (1 is positive), three bits of exponent, four of mantissa.
fn decode_a(code: u8) -> i16 {
    let code = code ^ 0x55;
    let (exponent, mantissa) = (code >> 4 & 7, i32::from(code & 15));
    let magnitude = match exponent {
        0 => (mantissa << 4) + 8,
        _ => ((mantissa << 4) + 0x108) << (exponent - 1),
    };
    signed(code & 0x80 == 0, magnitude)
}

fn encode_a(sample: i16) -> u8 {
    let is_positive = sample >= 0;
    let magnitude = if is_positive {
        i32::from(sample)
    } else {
        -1 - i32::from(sample)
    };
    // 0…32767: below 512 the levels are linear.
    let exponent = 24u32.saturating_sub((magnitude | 0xFF).leading_zeros());
    let mantissa = (magnitude >> (exponent.max(1) + 3)) as u8 & 15;
    let sign = if is_positive { 0x80 } else { 0 };
    (sign | (exponent as u8) << 4 | mantissa) ^ 0x55
}

fn signed(is_negative: bool, magnitude: i32) -> i16 {
    // At most 32,256, in A-law.
    (if is_negative { -magnitude } else { magnitude }) as i16
}
