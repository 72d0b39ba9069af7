//! Formats of RTP streams whose packets can be turned into frames.

use crate::proto::media::transcode::AudioFormat;
use crate::proto::media::{AacConfig, Codec};
use crate::proto::peer::MediaKind;

/// Payload format of an RTP stream, with the parameters that unpacking needs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaFormat {
    /// H.264 (RFC 6184), packetization mode 0 or 1.
    H264 {
        /// Parameter sets of the description, as NAL units without start codes; unparsed, and maybe wrong. At most 16.
        sets: Vec<Vec<u8>>,
    },
    /// H.265 (RFC 7798).
    H265 {
        /// Parameter sets of the description, as NAL units without start codes; unparsed, and maybe wrong. At most 16.
        sets: Vec<Vec<u8>>,
        /// Set if units carry decoding order numbers (`sprop-max-don-diff` above 0).
        has_order_numbers: bool,
    },
    /// Motion JPEG (RFC 2435).
    Jpeg {
        /// Width and height in pixels, from `a=x-dimensions`, for pictures larger than 2040 pixels, whose size RFC 2435
        /// cannot express.
        dimensions: Option<(u16, u16)>,
    },
    /// AAC (RFC 3640 `mpeg4-generic`).
    Aac(AacFormat),
    /// AAC in LATM (RFC 6416 `MP4A-LATM`).
    Latm {
        /// StreamMuxConfig of the description; `None` if it is in band.
        config: Option<Vec<u8>>,
        /// Set if each packet may carry a StreamMuxConfig (`cpresent`).
        in_band: bool,
    },
    /// G.711 µ-law.
    Pcmu {
        /// Sampling rate, in Hz; WebRTC has 8,000 only.
        clock_rate: u32,
        /// Number of channels; WebRTC has 1 only.
        channels: u8,
    },
    /// G.711 A-law.
    Pcma {
        /// Sampling rate, in Hz; WebRTC has 8,000 only.
        clock_rate: u32,
        /// Number of channels; WebRTC has 1 only.
        channels: u8,
    },
    /// G.722 at 64 kbit/s: 16 kHz audio with an RTP clock of 8 kHz (RFC 3551 §4.5.2).
    G722,
    /// Opus (RFC 7587): always 48 kHz, two channels.
    Opus,
    /// Uncompressed audio of 16 bits per sample (RFC 3551 §4.5.11).
    L16 {
        /// Sampling rate, in Hz.
        clock_rate: u32,
        /// Number of channels.
        channels: u8,
        /// Set if the low byte comes first, against the RFC.
        little_endian: bool,
    },
}

/// Parameters of AAC in RFC 3640.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AacFormat {
    /// The configuration: that of the description, or one made from the clock rate and the channels.
    pub config: AacConfig,
    /// Set if the description had no usable `config`.
    pub config_is_guessed: bool,
    /// Number of bits of each field in the AU headers (§3.2.1).
    pub header: AuHeader,
    /// Size of all access units if `header.size` is 0 (`constantSize`), in bytes; 0: one access unit a packet.
    pub constant_size: u16,
}

/// Number of bits of each field of an AU header (RFC 3640 §3.2.1.1); 0 if the field is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuHeader {
    /// AU-size: at most 16.
    pub size: u8,
    /// AU-index, of the first header of a packet: at most 16.
    pub index: u8,
    /// AU-index-delta, of the others: at most 16.
    pub index_delta: u8,
    /// CTS-delta, after its flag: at most 32.
    pub cts_delta: u8,
    /// DTS-delta, after its flag: at most 32.
    pub dts_delta: u8,
    /// RAP-flag: 0 or 1.
    pub random_access: u8,
    /// Stream-state: at most 32.
    pub stream_state: u8,
    /// Length field of the auxiliary section behind the headers (§3.2.2): at most 32.
    pub auxiliary_size: u8,
}

impl Default for AuHeader {
    /// Returns the fields of mode AAC-hbr: 13 bits of size, 3 of index and index delta (RFC 3640 §3.3.6).
    fn default() -> Self {
        Self {
            size: 13,
            index: 3,
            index_delta: 3,
            cts_delta: 0,
            dts_delta: 0,
            random_access: 0,
            stream_state: 0,
            auxiliary_size: 0,
        }
    }
}

impl MediaFormat {
    /// Returns the kind of media.
    pub fn kind(&self) -> MediaKind {
        match self {
            Self::H264 { .. } | Self::H265 { .. } | Self::Jpeg { .. } => MediaKind::Video,
            _ => MediaKind::Audio,
        }
    }

    /// Returns the RTP clock rate that the payload format prescribes, in Hz. A description may state another one.
    pub fn clock_rate(&self) -> u32 {
        match self {
            Self::H264 { .. } | Self::H265 { .. } | Self::Jpeg { .. } => 90_000,
            Self::Aac(format) => format.config.sample_rate,
            Self::Pcmu { clock_rate, .. }
            | Self::Pcma { clock_rate, .. }
            | Self::L16 { clock_rate, .. } => *clock_rate,
            Self::G722 => 8_000,
            Self::Opus => 48_000,
            Self::Latm { .. } => 90_000,
        }
    }

    /// Returns the name that people know, for example `H.264` or `AAC`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::H264 { .. } => "H.264",
            Self::H265 { .. } => "H.265",
            Self::Jpeg { .. } => "MJPEG",
            Self::Aac(_) | Self::Latm { .. } => "AAC",
            Self::Pcmu { .. } => "G.711 µ-law",
            Self::Pcma { .. } => "G.711 A-law",
            Self::G722 => "G.722",
            Self::Opus => "Opus",
            Self::L16 { .. } => "uncompressed audio (L16)",
        }
    }

    /// Returns the WebRTC codec that carries these frames unchanged; `None` if they have to be converted (AAC, L16,
    /// MJPEG, G.711 at another rate than 8 kHz or with several channels).
    pub fn codec(&self) -> Option<Codec> {
        match self {
            Self::H264 { .. } => Some(Codec::H264),
            Self::H265 { .. } => Some(Codec::H265),
            Self::Opus => Some(Codec::Opus),
            Self::G722 => Some(Codec::G722),
            Self::Pcmu {
                clock_rate: 8_000,
                channels: 1,
            } => Some(Codec::Pcmu),
            Self::Pcma {
                clock_rate: 8_000,
                channels: 1,
            } => Some(Codec::Pcma),
            _ => None,
        }
    }

    /// Returns the format as a transcoder takes it, for audio that is not [carried unchanged](Self::codec). `None` for video,
    /// and for AAC whose configuration is in band.
    pub fn audio_format(&self) -> Option<AudioFormat> {
        match *self {
            Self::Aac(ref format) => Some(AudioFormat::Aac {
                config: format.config.clone(),
            }),
            Self::Pcmu {
                clock_rate,
                channels,
            } => Some(AudioFormat::Pcmu {
                clock_rate,
                channels,
            }),
            Self::Pcma {
                clock_rate,
                channels,
            } => Some(AudioFormat::Pcma {
                clock_rate,
                channels,
            }),
            Self::L16 {
                clock_rate,
                channels,
                little_endian,
            } => Some(AudioFormat::L16 {
                clock_rate,
                channels,
                big_endian: !little_endian,
            }),
            _ => None,
        }
    }
}
