//! Which codecs there are, which are offered, and what was agreed upon.

use std::fmt;

use str0m::RtcConfig;
use str0m::format::{Codec as CoreCodec, PayloadParams};

/// What the frames of a track are encoded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// RFC 6386; RTP: RFC 7741.
    Vp8,
    /// RTP: RFC 9628. Profiles 0 and 2.
    Vp9,
    /// AV1; a frame is a temporal unit of OBUs with their sizes.
    Av1,
    /// ITU-T H.264; a frame is an access unit in Annex B form. RTP: RFC 6184.
    H264,
    /// ITU-T H.265; a frame is an access unit in Annex B form. RTP: RFC 7798.
    H265,
    /// RFC 6716; RTP: RFC 7587.
    Opus,
    /// G.711 µ-law (RFC 3551 §4.5.14).
    Pcmu,
    /// G.711 A-law (RFC 3551 §4.5.14).
    Pcma,
    /// G.722, 64 kbit/s (RFC 3551 §4.5.2).
    G722,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Vp8,
        Self::Vp9,
        Self::Av1,
        Self::H264,
        Self::H265,
        Self::Opus,
        Self::Pcmu,
        Self::Pcma,
        Self::G722,
    ];

    /// What it encodes.
    pub fn kind(self) -> MediaKind {
        match self {
            Self::Vp8 | Self::Vp9 | Self::Av1 | Self::H264 | Self::H265 => MediaKind::Video,
            Self::Opus | Self::Pcmu | Self::Pcma | Self::G722 => MediaKind::Audio,
        }
    }

    /// Ticks of the RTP timestamp in a second. G.722 says 8,000 although it samples at 16,000
    /// (RFC 3551 §4.5.2).
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Pcmu | Self::Pcma | Self::G722 => 8_000,
            _ => 90_000,
        }
    }

    /// The name in `a=rtpmap`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Opus => "opus",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
        }
    }

    /// The codec of this name, in any case (RFC 4855 §3).
    pub fn from_name(name: &str) -> Option<Self> {
        let is_it = |codec: &Self| codec.name().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(is_it)
    }

    pub(super) fn from_core(codec: CoreCodec) -> Option<Self> {
        Some(match codec {
            CoreCodec::Vp8 => Self::Vp8,
            CoreCodec::Vp9 => Self::Vp9,
            CoreCodec::Av1 => Self::Av1,
            CoreCodec::H264 => Self::H264,
            CoreCodec::H265 => Self::H265,
            CoreCodec::Opus => Self::Opus,
            CoreCodec::PCMU => Self::Pcmu,
            CoreCodec::PCMA => Self::Pcma,
            CoreCodec::G722 => Self::G722,
            _ => return None,
        })
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Sound or pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
}

impl MediaKind {
    pub(super) fn to_core(self) -> str0m::media::MediaKind {
        match self {
            Self::Audio => str0m::media::MediaKind::Audio,
            Self::Video => str0m::media::MediaKind::Video,
        }
    }
}

impl fmt::Display for MediaKind {
    /// As in an m-line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audio => "audio",
            Self::Video => "video",
        })
    }
}

/// The codecs a peer knows. All that browsers know by default, in the order of preference of
/// Chromium's offers.
///
/// H.264 is offered as constrained baseline, baseline, main and high, level 3.1; the first three in both
/// packetization modes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codecs(Vec<Codec>);

impl Default for Codecs {
    fn default() -> Self {
        Self(Codec::ALL.to_vec())
    }
}

impl Codecs {
    /// These and no others. For each kind the first is what is preferred.
    pub fn only(codecs: impl IntoIterator<Item = Codec>) -> Self {
        let mut list = Vec::new();
        for codec in codecs {
            if !list.contains(&codec) {
                list.push(codec);
            }
        }
        Self(list)
    }

    /// Without this one.
    #[must_use]
    pub fn without(mut self, codec: Codec) -> Self {
        self.0.retain(|c| *c != codec);
        self
    }

    /// In order of preference.
    pub fn iter(&self) -> impl Iterator<Item = Codec> + '_ {
        self.0.iter().copied()
    }

    /// Whether this one is among them.
    pub fn contains(&self, codec: Codec) -> bool {
        self.0.contains(&codec)
    }

    /// Their names, of one kind.
    pub(super) fn names(&self, kind: MediaKind) -> Vec<String> {
        let of_kind = self.iter().filter(|c| c.kind() == kind);
        of_kind.map(|c| c.name().to_owned()).collect()
    }

    pub(in super::super) fn configure(&self, core: RtcConfig) -> RtcConfig {
        let mut core = core.clear_codecs();
        for codec in self.iter() {
            core = match codec {
                Codec::Vp8 => core.enable_vp8(true),
                Codec::Vp9 => core.enable_vp9(true),
                Codec::Av1 => core.enable_av1(true),
                Codec::H264 => core.enable_h264(true),
                Codec::H265 => core.enable_h265(true),
                Codec::Opus => core.enable_opus(true, false),
                Codec::Pcmu => core.enable_pcmu(true, false),
                Codec::Pcma => core.enable_pcma(true, false),
                Codec::G722 => core.enable_g722(true, false),
            };
        }
        core
    }
}

/// A codec as it was agreed upon (W3C `RTCRtpCodecParameters`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodecParameters {
    /// Which.
    pub codec: Codec,
    /// Its payload type in RTP.
    pub payload_type: u8,
    /// Ticks of the RTP timestamp in a second.
    pub clock_rate: u32,
    /// Of sound; 0 for video.
    pub channels: u8,
    /// The parameters, as in `a=fmtp`; empty when there are none.
    pub sdp_fmtp_line: String,
    /// H.264: profile and level (RFC 6184 §8.1), `0x42e01f` for constrained baseline 3.1.
    pub profile_level_id: Option<u32>,
    /// H.264: 0 for one NAL unit a packet, 1 for any.
    pub packetization_mode: Option<u8>,
}

impl CodecParameters {
    pub(super) fn from_core(params: &PayloadParams) -> Option<Self> {
        let spec = params.spec();
        let codec = Codec::from_core(spec.codec)?;
        let is_h264 = codec == Codec::H264;
        Some(Self {
            codec,
            payload_type: *params.pt(),
            clock_rate: codec.clock_rate(),
            channels: match codec.kind() {
                MediaKind::Audio => spec.channels.unwrap_or(1),
                MediaKind::Video => 0,
            },
            sdp_fmtp_line: spec.format.to_string(),
            profile_level_id: spec.format.profile_level_id.filter(|_| is_h264),
            packetization_mode: spec.format.packetization_mode.filter(|_| is_h264),
        })
    }
}

impl fmt::Display for CodecParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.codec, self.clock_rate)?;
        if self.channels > 1 {
            write!(f, "/{}", self.channels)?;
        }
        if !self.sdp_fmtp_line.is_empty() {
            write!(f, " ({})", self.sdp_fmtp_line)?;
        }
        Ok(())
    }
}
