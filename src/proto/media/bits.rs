//! Bit reader for H.264, H.265, VP9 and AV1: most significant bit first.

/// Reads bits from a slice; returns `None` at its end.
#[derive(Debug, Clone)]
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Returns the number of bits read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// Reads `n` ≤ 32 bits: u(n).
    pub fn bits(&mut self, n: u32) -> Option<u32> {
        let mut value = 0u64;
        for _ in 0..n {
            value = value << 1 | u64::from(self.bit()?);
        }
        Some(value as u32)
    }

    pub fn skip(&mut self, n: usize) -> Option<()> {
        let at = self.at.checked_add(n)?;
        (at <= self.bytes.len() * 8).then(|| self.at = at)
    }

    /// Reads an unsigned Exp-Golomb code, ue(v) (H.264 §9.1). `None` also if it is longer than 32 bits.
    pub fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = u64::from(self.bits(zeros)?);
        u32::try_from((1u64 << zeros) - 1 + rest).ok()
    }

    /// Reads a signed Exp-Golomb code, se(v) (H.264 §9.1.1).
    pub fn se(&mut self) -> Option<i32> {
        let code = i64::from(self.ue()?);
        let magnitude = (code + 1) / 2;
        i32::try_from(if code % 2 == 1 { magnitude } else { -magnitude }).ok()
    }
}

/// Returns a NAL unit's payload without emulation prevention bytes (H.264 §7.4.1, H.265 §7.4.2), up to `limit` bytes:
/// enough for headers, so that slices are not copied.
pub(crate) fn unescape(nal: &[u8], limit: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(nal.len().min(limit));
    let mut zeros = 0;
    for &byte in nal {
        if out.len() == limit {
            break;
        }
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb() {
        // 1 | 010 | 011 | 00100 | 00101
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!([0; 5].map(|_| bits.ue().unwrap()), [0, 1, 2, 3, 4]);
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!([0; 5].map(|_| bits.se().unwrap()), [0, 1, -1, 2, -2]);
        assert_eq!(Bits::new(&[0; 20]).ue(), None);
        assert_eq!(
            Bits::new(&[0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]).ue(),
            Some(u32::MAX - 1)
        );
        assert_eq!(Bits::new(&[]).ue(), None);
    }

    #[test]
    fn emulation_prevention() {
        assert_eq!(
            unescape(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3], 99),
            [0, 0, 1, 0, 0, 0, 0]
        );
        assert_eq!(unescape(&[1, 2, 3, 4], 2), [1, 2]);
    }
}
