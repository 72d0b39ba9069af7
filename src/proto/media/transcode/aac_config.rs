//! AudioSpecificConfig: what an AAC stream says of itself (ISO/IEC 14496-3 §1.6.2.1).

use super::{TranscodeError, TranscodeErrorKind};
use crate::proto::media::bits::Bits;

/// Sample rates by their index, in Hz (table 1.18).
const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

const LOW_COMPLEXITY: u8 = 2;
/// Spectral band replication, alone and with parametric stereo: HE-AAC and its second version.
const SBR: u8 = 5;
const PS: u8 = 29;

/// The part of the configuration that AAC-LC has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AacConfig {
    rate_index: u8,
    channels: u8,
}

impl AacConfig {
    /// Reads a configuration. Of HE-AAC, what remains is its core, which is AAC-LC at half the rate.
    pub fn parse(config: &[u8]) -> Result<Self, TranscodeError> {
        let mut bits = Bits::new(config);
        let mut object = object_type(&mut bits)?;
        let rate = sample_rate(&mut bits)?;
        let channels = read(&mut bits, 4)? as u8;
        if object == SBR || object == PS {
            sample_rate(&mut bits)?;
            object = object_type(&mut bits)?;
        }
        if object != LOW_COMPLEXITY {
            let name = match object {
                1 => "Main",
                3 => "SSR",
                4 => "LTP",
                23 => "LD",
                39 => "ELD",
                42 => "xHE-AAC",
                _ => "an unknown kind",
            };
            return Err(unsupported(format!(
                "AAC of another kind than LC ({name}, object type {object})"
            )));
        }
        if read(&mut bits, 1)? == 1 {
            return Err(unsupported("AAC with 960 samples a frame"));
        }
        let Some(rate_index) = RATES.iter().position(|known| *known == rate) else {
            return Err(unsupported(format!("AAC at {rate} Hz")));
        };
        if !matches!(channels, 1 | 2) {
            return Err(unsupported(format!(
                "AAC with channel configuration {channels}; 1 and 2 are decoded"
            )));
        }
        Ok(Self {
            rate_index: rate_index as u8,
            channels,
        })
    }

    /// Returns the sample rate in Hz.
    pub fn rate(self) -> u32 {
        RATES
            .get(usize::from(self.rate_index))
            .copied()
            .unwrap_or_default()
    }

    /// Returns the number of channels: 1 or 2.
    pub fn channels(self) -> u8 {
        self.channels
    }

    /// Returns a configuration of AAC-LC, without extensions.
    #[cfg(feature = "aac")]
    pub fn low_complexity(self) -> [u8; 2] {
        let bits = u16::from(LOW_COMPLEXITY) << 11
            | u16::from(self.rate_index) << 7
            | u16::from(self.channels) << 3;
        bits.to_be_bytes()
    }
}

fn object_type(bits: &mut Bits<'_>) -> Result<u8, TranscodeError> {
    match read(bits, 5)? {
        31 => Ok(32 + read(bits, 6)? as u8),
        object => Ok(object as u8),
    }
}

fn sample_rate(bits: &mut Bits<'_>) -> Result<u32, TranscodeError> {
    match read(bits, 4)? {
        15 => read(bits, 24),
        index => RATES
            .get(index as usize)
            .copied()
            .ok_or_else(|| unsupported(format!("AAC with the reserved sample rate index {index}"))),
    }
}

fn read(bits: &mut Bits<'_>, count: u32) -> Result<u32, TranscodeError> {
    bits.bits(count).ok_or_else(|| {
        unsupported("AAC whose configuration (`config=` in the SDP) is missing or cut off")
    })
}

fn unsupported(reason: impl Into<String>) -> TranscodeError {
    TranscodeError::new(TranscodeErrorKind::Unsupported, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(config: &[u8]) -> Result<(u32, u8), String> {
        let config = AacConfig::parse(config).map_err(|e| e.to_string())?;
        Ok((config.rate(), config.channels()))
    }

    #[test]
    fn configurations_of_cameras() {
        assert_eq!(parsed(&[0x14, 0x08]), Ok((16_000, 1)));
        assert_eq!(parsed(&[0x15, 0x88]), Ok((8_000, 1)));
        assert_eq!(parsed(&[0x12, 0x10]), Ok((44_100, 2)));
        assert_eq!(parsed(&[0x11, 0x90, 0x56, 0xE5, 0x00]), Ok((48_000, 2)));
    }

    #[test]
    fn he_aac_leaves_its_core() {
        // Object type 5, 16 kHz mono, doubled to 32 kHz, over object type 2.
        assert_eq!(parsed(&[0x2C, 0x0A, 0x88]), Ok((16_000, 1)));
    }

    #[test]
    fn what_is_refused_has_its_reason() {
        let reason = |config: &[u8]| parsed(config).unwrap_err();
        assert!(reason(&[]).contains("missing or cut off"));
        assert!(reason(&[0x14]).contains("missing or cut off"));
        assert!(reason(&[0x0C, 0x08]).contains("Main"));
        assert!(reason(&[0x14, 0x0C]).contains("960"));
        assert!(reason(&[0x14, 0x30]).contains("channel configuration 6"));
        assert!(reason(&[0x14, 0x00]).contains("channel configuration 0"));
        assert!(reason(&[0x16, 0x88]).contains("reserved"));
    }
}
