//! The codecs. Each is described once, here; the rest of the crate reads its description.
//!
//! `CONTRIBUTING.md` says what else a new codec needs.

use std::fmt;

use super::{payload, picture};

/// A media codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// VP8 (RFC 6386; RTP: RFC 7741).
    Vp8,
    /// VP9 (RTP: RFC 9628).
    Vp9,
    /// AV1; a frame is a temporal unit of OBUs ("low overhead format").
    Av1,
    /// ITU-T H.264; a frame is an access unit in Annex B form. RTP: RFC 6184.
    H264,
    /// ITU-T H.265; a frame is an access unit in Annex B form. RTP: RFC 7798.
    H265,
    /// Opus (RFC 6716; RTP: RFC 7587).
    Opus,
    /// G.711 µ-law (RFC 3551 §4.5.14).
    Pcmu,
    /// G.711 A-law (RFC 3551 §4.5.14).
    Pcma,
    /// G.722, 64 kbit/s (RFC 3551 §4.5.2).
    G722,
}

/// Everything that the rest of the crate needs to know about a codec.
#[cfg_attr(
    not(all(feature = "cli", feature = "movies")),
    allow(dead_code, reason = "for servers and commands")
)]
pub(crate) struct Description {
    /// Name in `a=rtpmap`.
    pub name: &'static str,
    /// Name in messages.
    pub common_name: &'static str,
    /// Explanation for `looprtc inspect`.
    pub title: &'static str,
    /// Document that defines the RTP payload format.
    pub payload_format: &'static str,
    pub is_video: bool,
    /// RTP clock rate, in Hz.
    pub clock_rate: u32,
    /// Number of channels in `a=rtpmap`; 0 for video.
    pub channels: u8,
    /// Static payload type, which needs no `a=rtpmap` (RFC 3551 §6).
    pub static_payload_type: Option<u8>,
    /// Default `a=fmtp` parameters of a plain RTP stream.
    pub fmtp: &'static str,
    /// `a=fmtp` parameters that distinguish profiles, with their defaults. Two profiles are not the same codec.
    pub profile: &'static [(&'static str, &'static str)],
    /// Profiles and modes that are negotiated, if there are several.
    pub negotiated: &'static str,
    /// File format for a stream of this codec alone.
    pub file: FileFormat,
    /// Codec id in Matroska and WebM; empty if it is not read from them.
    pub matroska: &'static str,
    /// Name of a frame that decoding can start with.
    pub keyframe: &'static str,
    /// Set if encoders may replace keyframes by intra refresh.
    pub has_intra_refresh: bool,
    /// ffmpeg encoder to recommend for a file without keyframes; empty if none is.
    pub encoder: &'static str,
    /// See [`Codec::is_keyframe`].
    is_keyframe: fn(&[u8]) -> bool,
    /// See [`Codec::dimensions`].
    dimensions: fn(&[u8]) -> Option<(u32, u32)>,
    /// See [`Codec::begins_keyframe`].
    begins_keyframe: fn(&[u8]) -> bool,
}

/// File format for a stream of one codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileFormat {
    /// IVF with this FourCC.
    Ivf(&'static [u8; 4]),
    /// NAL units in Annex B form, with this file extension.
    ByteStream(&'static str),
    Ogg,
    /// Raw audio samples, or WAV with this format tag. `silence` is the byte for silence.
    Samples {
        wav: Option<u16>,
        silence: u8,
    },
}

/// Defaults for video.
const VIDEO: Description = Description {
    name: "",
    common_name: "",
    title: "",
    payload_format: "",
    is_video: true,
    clock_rate: 90_000,
    channels: 0,
    static_payload_type: None,
    fmtp: "",
    profile: &[],
    negotiated: "",
    file: FileFormat::Ivf(b"    "),
    matroska: "",
    keyframe: "a keyframe",
    has_intra_refresh: false,
    encoder: "",
    is_keyframe: |_| false,
    dimensions: |_| None,
    begins_keyframe: |_| false,
};

/// Defaults for audio: mono, 8 kHz; a decoder can start anywhere.
const AUDIO: Description = Description {
    is_video: false,
    clock_rate: 8_000,
    channels: 1,
    file: FileFormat::Ogg,
    is_keyframe: |frame| !frame.is_empty(),
    begins_keyframe: |_| true,
    ..VIDEO
};

const VP8: Description = Description {
    name: "VP8",
    common_name: "VP8",
    title: "VP8",
    payload_format: "RFC 7741",
    file: FileFormat::Ivf(b"VP80"),
    matroska: "V_VP8",
    is_keyframe: picture::vp8_is_key,
    dimensions: picture::vp8_dimensions,
    begins_keyframe: payload::vp8_begins_keyframe,
    ..VIDEO
};

const VP9: Description = Description {
    name: "VP9",
    common_name: "VP9",
    title: "VP9",
    payload_format: "RFC 9628",
    profile: &[("profile-id", "0")],
    file: FileFormat::Ivf(b"VP90"),
    matroska: "V_VP9",
    is_keyframe: picture::vp9_is_key,
    dimensions: picture::vp9_dimensions,
    begins_keyframe: payload::vp9_begins_keyframe,
    ..VIDEO
};

const AV1: Description = Description {
    name: "AV1",
    common_name: "AV1",
    title: "AV1",
    payload_format: "AV1 RTP payload §7.2",
    profile: &[("profile", "0")],
    file: FileFormat::Ivf(b"AV01"),
    matroska: "V_AV1",
    is_keyframe: picture::av1_is_key,
    dimensions: picture::av1_dimensions,
    begins_keyframe: payload::av1_begins_keyframe,
    ..VIDEO
};

const H264: Description = Description {
    name: "H264",
    common_name: "H.264",
    title: "H.264 (AVC)",
    payload_format: "RFC 6184",
    fmtp: "packetization-mode=1",
    profile: &[("profile-level-id", "42000a"), ("packetization-mode", "0")],
    negotiated: "baseline, main and high profile, packetization modes 0 and 1",
    file: FileFormat::ByteStream("h264"),
    matroska: "V_MPEG4/ISO/AVC",
    keyframe: "an IDR picture",
    has_intra_refresh: true,
    encoder: "libx264",
    is_keyframe: picture::h264_is_key,
    dimensions: picture::h264_dimensions,
    begins_keyframe: |payload| payload::H264.begins_keyframe(payload),
    ..VIDEO
};

const H265: Description = Description {
    name: "H265",
    common_name: "H.265",
    title: "H.265 (HEVC)",
    payload_format: "RFC 7798",
    profile: &[("profile-id", "1"), ("tier-flag", "0"), ("tx-mode", "SRST")],
    file: FileFormat::ByteStream("h265"),
    matroska: "V_MPEGH/ISO/HEVC",
    keyframe: "a random access picture",
    encoder: "libx265",
    is_keyframe: picture::h265_is_key,
    dimensions: picture::h265_dimensions,
    begins_keyframe: |payload| payload::H265.begins_keyframe(payload),
    ..VIDEO
};

const OPUS: Description = Description {
    name: "opus",
    common_name: "Opus",
    title: "Opus, for speech and music",
    payload_format: "RFC 7587",
    clock_rate: 48_000,
    channels: 2,
    file: FileFormat::Ogg,
    matroska: "A_OPUS",
    ..AUDIO
};

const PCMU: Description = Description {
    name: "PCMU",
    common_name: "G.711 µ-law",
    title: "G.711 µ-law, as used in telephony",
    payload_format: "RFC 3551 §4.5.14",
    static_payload_type: Some(0),
    file: FileFormat::Samples {
        wav: Some(7),
        silence: 0xFF,
    },
    ..AUDIO
};

const PCMA: Description = Description {
    name: "PCMA",
    common_name: "G.711 A-law",
    title: "G.711 A-law, as used in telephony",
    payload_format: "RFC 3551 §4.5.14",
    static_payload_type: Some(8),
    file: FileFormat::Samples {
        wav: Some(6),
        silence: 0xD5,
    },
    ..AUDIO
};

/// Samples at 16 kHz, with an RTP clock rate of 8000 Hz all the same (RFC 3551 §4.5.2).
const G722: Description = Description {
    name: "G722",
    common_name: "G.722",
    title: "G.722, wideband speech",
    payload_format: "RFC 3551 §4.5.2",
    static_payload_type: Some(9),
    file: FileFormat::Samples {
        wav: None,
        silence: 0,
    },
    ..AUDIO
};

impl Codec {
    /// All codecs, in the order of preference of Chromium's offers.
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

    /// Returns the codec's description.
    pub(crate) fn description(self) -> &'static Description {
        match self {
            Self::Vp8 => &VP8,
            Self::Vp9 => &VP9,
            Self::Av1 => &AV1,
            Self::H264 => &H264,
            Self::H265 => &H265,
            Self::Opus => &OPUS,
            Self::Pcmu => &PCMU,
            Self::Pcma => &PCMA,
            Self::G722 => &G722,
        }
    }

    fn find(is_it: impl Fn(&Description) -> bool) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|codec| is_it(codec.description()))
    }

    /// Returns the codec with this name in `a=rtpmap`, ignoring case (RFC 4855 §3).
    pub fn named(name: &str) -> Option<Self> {
        Self::find(|d| d.name.eq_ignore_ascii_case(name))
    }

    /// Returns the codec with this static payload type (RFC 3551 §6).
    pub(crate) fn of_static_payload_type(payload_type: u8) -> Option<Self> {
        Self::find(|d| d.static_payload_type == Some(payload_type))
    }

    /// Returns the codec with this id in Matroska.
    #[cfg(feature = "movies")]
    pub(crate) fn of_matroska(id: &str) -> Option<Self> {
        Self::find(|d| d.matroska == id && !id.is_empty())
    }

    /// Returns the codec whose file format satisfies `format`.
    pub(crate) fn in_file(format: impl Fn(FileFormat) -> bool) -> Option<Self> {
        Self::find(|d| format(d.file))
    }

    /// Returns `true` for a video codec.
    pub fn is_video(self) -> bool {
        self.description().is_video
    }

    /// Returns the RTP clock rate in Hz. 8000 for G.722, although it samples at 16000 (RFC 3551 §4.5.2).
    pub fn clock_rate(self) -> u32 {
        self.description().clock_rate
    }

    /// Returns the codec's name in `a=rtpmap`.
    pub fn name(self) -> &'static str {
        self.description().name
    }

    /// Returns `true` for a codec whose frames are raw samples: G.711 and G.722.
    pub(crate) fn is_samples(self) -> bool {
        matches!(self.description().file, FileFormat::Samples { .. })
    }

    /// Returns `true` for a codec whose files are byte streams of NAL units, without timestamps.
    #[cfg(any(feature = "server", feature = "movies", feature = "testing"))]
    pub(crate) fn is_byte_stream(self) -> bool {
        matches!(self.description().file, FileFormat::ByteStream(_))
    }

    /// Returns `true` if a decoder can start with this frame: always for audio, never for invalid data. H.264 and H.265
    /// frames must be in Annex B form.
    pub fn is_keyframe(self, frame: &[u8]) -> bool {
        (self.description().is_keyframe)(frame)
    }

    /// Returns width and height in pixels from a keyframe. `None` for other frames, for audio, and for invalid data,
    /// including a size of zero.
    pub fn dimensions(self, frame: &[u8]) -> Option<(u32, u32)> {
        let read = (self.description().dimensions)(frame);
        read.filter(|(width, height)| *width > 0 && *height > 0)
    }

    /// Returns `true` if a keyframe, or the parameter sets before one, starts in this RTP payload: always for audio, never
    /// for invalid data.
    pub fn begins_keyframe(self, payload: &[u8]) -> bool {
        (self.description().begins_keyframe)(payload)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches a description that was copied and not adapted.
    #[test]
    fn no_two_codecs_are_told_apart_by_nothing() {
        for (n, codec) in Codec::ALL.into_iter().enumerate() {
            assert_eq!(codec as usize, n, "{codec} stands elsewhere in ALL");
            let d = codec.description();
            assert!(!d.name.is_empty() && !d.common_name.is_empty() && !d.title.is_empty());
            assert!(!d.payload_format.is_empty(), "{codec}");
            assert_eq!(d.is_video, d.channels == 0, "{codec}");
            for other in Codec::ALL.into_iter().skip(n + 1) {
                let o = other.description();
                assert!(!d.name.eq_ignore_ascii_case(o.name), "{codec}");
                assert_ne!(d.common_name, o.common_name);
                let types = [d, o].map(|d| d.static_payload_type);
                assert!(types[0] != types[1] || types[0].is_none(), "{codec}");
                assert!(d.matroska != o.matroska || d.matroska.is_empty());
                assert_ne!(d.file, o.file, "{codec} and {other}");
            }
        }
    }

    #[test]
    fn they_are_found_by_their_names() {
        assert_eq!(Codec::named("OPUS"), Some(Codec::Opus));
        assert_eq!(Codec::named("rtx"), None);
        assert_eq!(Codec::of_static_payload_type(8), Some(Codec::Pcma));
        assert_eq!(Codec::of_static_payload_type(96), None);
    }
}
