//! AAC configurations (ISO/IEC 14496-3): AudioSpecificConfig, and the header of an ADTS frame.

use super::bits::Bits;

/// Sampling rates by their index (§1.6.3.4).
const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// Sampling rate index followed by the rate in 24 bits.
const EXPLICIT_RATE: u32 = 15;

/// Maximum size of a configuration that is kept, in bytes; real ones have 2 to 7.
const MAX_CONFIG: usize = 64;

/// AAC-LC, the object type that every decoder supports.
const LOW_COMPLEXITY: u8 = 2;

/// Configuration of an AAC stream (ISO/IEC 14496-3 §1.6.2.1, AudioSpecificConfig).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AacConfig {
    /// Audio object type: 2 is AAC-LC, 5 is HE-AAC (SBR), 29 is HE-AAC v2 (PS).
    pub object_type: u8,
    /// Sampling rate of the core coder, in Hz. HE-AAC doubles it on output.
    pub sample_rate: u32,
    /// Number of channels: 1 to 8, or 0 if the stream itself describes them.
    pub channels: u8,
    /// Number of samples per access unit and channel: 1024 or 960.
    pub frame_length: u16,
    /// The configuration as transmitted, for a decoder or an MP4 file; at most 64 bytes.
    pub bytes: Vec<u8>,
}

impl AacConfig {
    /// Creates an AAC-LC configuration. Returns `None` for a sampling rate without index, and for more than 8 channels
    /// or 7, or none.
    pub fn new(sample_rate: u32, channels: u8) -> Option<Self> {
        let index = RATES.iter().position(|rate| *rate == sample_rate)?;
        let configuration = match channels {
            1..=6 => channels,
            8 => 7,
            _ => return None,
        };
        // The index is below 13.
        let index = index as u8;
        let bytes = vec![
            LOW_COMPLEXITY << 3 | index >> 1,
            index << 7 | configuration << 3,
        ];
        Self::parse(&bytes)
    }

    /// Parses an AudioSpecificConfig; trailing bytes are kept. Returns `None` if it is cut off, reserved or not AAC.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut config = Self::read(&mut Bits::new(bytes))?;
        config.bytes = bytes.get(..bytes.len().min(MAX_CONFIG))?.to_vec();
        Some(config)
    }

    /// Reads a configuration from a bit stream, up to its end, without its [`bytes`](Self::bytes).
    pub(crate) fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let mut object_type = read_object_type(bits)?;
        let sample_rate = read_rate(bits)?;
        let channels = match bits.bits(4)? {
            7 => 8,
            // Reserved.
            8.. => return None,
            channels => channels as u8,
        };
        let whole = object_type;
        if matches!(object_type, 5 | 29) {
            read_rate(bits)?; // extensionSamplingFrequency
            object_type = read_object_type(bits)?;
        }
        // The GASpecificConfig of Main, LC, SSR, LTP and ER AAC LC, LD.
        if !matches!(object_type, 1..=4 | 17 | 23) {
            return None;
        }
        let short = bits.bit()?;
        if bits.bit()? {
            bits.skip(14)?; // coreCoderDelay
        }
        let extended = bits.bit()?;
        if channels == 0 {
            // A program_config_element, whose channels are left to the decoder.
            return Some(Self {
                object_type: whole,
                sample_rate,
                channels,
                frame_length: if short { 960 } else { 1024 },
                bytes: Vec::new(),
            });
        }
        if extended {
            if matches!(object_type, 17 | 23) {
                bits.skip(3)?; // resilience flags
            }
            bits.skip(1)?; // extensionFlag3
        }
        if matches!(object_type, 17 | 23) {
            bits.skip(2)?; // epConfig
        }
        Some(Self {
            object_type: whole,
            sample_rate,
            channels,
            frame_length: if short { 960 } else { 1024 },
            bytes: Vec::new(),
        })
    }

    /// Returns the codec string of RFC 6381, for example `mp4a.40.2`.
    pub fn codec_string(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }
}

fn read_object_type(bits: &mut Bits<'_>) -> Option<u8> {
    const ESCAPE: u32 = 31;
    let kind = match bits.bits(5)? {
        ESCAPE => 32 + bits.bits(6)?,
        kind => kind,
    };
    u8::try_from(kind).ok()
}

fn read_rate(bits: &mut Bits<'_>) -> Option<u32> {
    let rate = match bits.bits(4)? {
        EXPLICIT_RATE => bits.bits(24)?,
        index => *RATES.get(index as usize)?,
    };
    (rate > 0).then_some(rate)
}

/// Header of an ADTS frame (ISO/IEC 14496-3 §1.A.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdtsHeader {
    pub config: AacConfig,
    /// Size of the header, in bytes: 7, or 9 with a checksum.
    pub header: usize,
    /// Size of the frame with its header, in bytes.
    pub frame: usize,
}

impl AdtsHeader {
    /// Parses the header at the start of these bytes. Returns `None` if there is none, or if the frame has several raw
    /// data blocks, which nobody sends. The frame may be longer than `bytes`.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(bytes.get(..7)?);
        if bits.bits(12)? != 0xFFF {
            return None;
        }
        bits.skip(1)?; // ID
        if bits.bits(2)? != 0 {
            return None; // layer
        }
        let header = if bits.bit()? { 7 } else { 9 };
        let profile = bits.bits(2)? as u8;
        let index = bits.bits(4)?;
        bits.skip(1)?;
        let channels = bits.bits(3)? as u8;
        bits.skip(4)?;
        let frame = bits.bits(13)? as usize;
        bits.skip(11)?;
        let blocks = bits.bits(2)?;
        let known = RATES.get(index as usize).is_some();
        if blocks != 0 || frame <= header || !known {
            return None;
        }
        let index = index as u8;
        let bytes = vec![(profile + 1) << 3 | index >> 1, index << 7 | channels << 3];
        Some(Self {
            config: AacConfig::parse(&bytes)?,
            header,
            frame,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_of_cameras() {
        for (bytes, kind, rate, channels) in [
            (&[0x11, 0x90][..], 2, 48_000, 2),
            (&[0x12, 0x08], 2, 44_100, 1),
            (&[0x14, 0x08], 2, 16_000, 1),
            (&[0x15, 0x88], 2, 8_000, 1),
            // HE-AAC with explicit signalling.
            (&[0x2B, 0x0A, 0x88, 0x00], 5, 24_000, 1),
            // A trailing synchronization extension.
            (&[0x14, 0x08, 0x56, 0xE5, 0x00], 2, 16_000, 1),
        ] {
            let config = AacConfig::parse(bytes).unwrap();
            assert_eq!(
                (config.object_type, config.sample_rate, config.channels),
                (kind, rate, channels),
                "{bytes:02x?}"
            );
            assert_eq!((config.frame_length, &config.bytes[..]), (1024, bytes));
        }
        let short = AacConfig::parse(&[0x14, 0x0C]).unwrap();
        assert_eq!(short.frame_length, 960);
        assert_eq!(short.codec_string(), "mp4a.40.2");
    }

    #[test]
    fn made_ones_are_parsed() {
        for rate in RATES {
            for channels in [1, 2, 6, 8] {
                let config = AacConfig::new(rate, channels).unwrap();
                assert_eq!((config.sample_rate, config.channels), (rate, channels));
            }
        }
        assert_eq!(AacConfig::new(44_100, 2).unwrap().bytes, [0x12, 0x10]);
        assert_eq!(
            (AacConfig::new(8_001, 1), AacConfig::new(8_000, 7)),
            (None, None)
        );
    }

    #[test]
    fn what_is_none() {
        for bytes in [
            &[][..],
            &[0x12],
            &[0x16, 0x90],       // rate index 13
            &[0x11, 0xC0],       // channel configuration 8
            &[0x41, 0x90],       // CELP
            &[0x17, 0x80, 0, 0], // a rate of 0
        ] {
            assert_eq!(AacConfig::parse(bytes), None, "{bytes:02x?}");
        }
    }

    #[test]
    fn adts() {
        // 16 kHz, mono, 20 bytes with the header.
        let bytes = [0xFF, 0xF1, 0x60, 0x40, 0x02, 0x9F, 0xFC];
        let header = AdtsHeader::parse(&bytes).unwrap();
        assert_eq!((header.header, header.frame), (7, 20));
        assert_eq!(header.config.bytes, [0x14, 0x08]);
        assert_eq!(AdtsHeader::parse(&bytes[..6]), None);
        assert_eq!(
            AdtsHeader::parse(&[0xFF, 0xF7, 0x60, 0x40, 2, 0x9F, 0xFC]),
            None
        );
        // MP3 has another layer.
        assert_eq!(
            AdtsHeader::parse(&[0xFF, 0xFB, 0x60, 0x40, 2, 0x9F, 0xFC]),
            None
        );
    }
}
