//! Codecs: known, offered and negotiated ones.

use std::fmt;

use crate::proto::media::Codec;

/// Kind of media: audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
}

impl MediaKind {
    /// Returns the kind of media that this codec encodes.
    pub fn of(codec: Codec) -> Self {
        match codec.is_video() {
            true => Self::Video,
            false => Self::Audio,
        }
    }
}

impl fmt::Display for MediaKind {
    /// Formats the kind as in an m-line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audio => "audio",
            Self::Video => "video",
        })
    }
}

/// The codecs that a peer may negotiate. Default: all that browsers support, in the order of preference of Chromium's
/// offers.
///
/// H.264 is offered as constrained baseline, baseline, main and high, level 3.1; the first three in both packetization
/// modes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codecs(Vec<Codec>);

impl Default for Codecs {
    fn default() -> Self {
        Self(Codec::ALL.to_vec())
    }
}

impl Codecs {
    /// Creates a list with these codecs only. The first of each kind is preferred.
    pub fn only(codecs: impl IntoIterator<Item = Codec>) -> Self {
        let mut list = Vec::new();
        for codec in codecs {
            if !list.contains(&codec) {
                list.push(codec);
            }
        }
        Self(list)
    }

    /// Returns the list without this codec.
    #[must_use]
    pub fn without(mut self, codec: Codec) -> Self {
        self.0.retain(|c| *c != codec);
        self
    }

    /// Iterates over the codecs in order of preference.
    pub fn iter(&self) -> impl Iterator<Item = Codec> + '_ {
        self.0.iter().copied()
    }

    /// Returns `true` if this codec is in the list.
    pub fn contains(&self, codec: Codec) -> bool {
        self.0.contains(&codec)
    }

    /// Returns the names of the codecs of one kind.
    pub(in super::super) fn names(&self, kind: MediaKind) -> Vec<String> {
        let of_kind = self.iter().filter(|c| MediaKind::of(*c) == kind);
        of_kind.map(|c| c.name().to_owned()).collect()
    }
}

/// A negotiated codec (W3C `RTCRtpCodecParameters`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodecParameters {
    /// The codec.
    pub codec: Codec,
    /// RTP payload type.
    pub payload_type: u8,
    /// RTP clock rate, in Hz.
    pub clock_rate: u32,
    /// Number of audio channels; 0 for video.
    pub channels: u8,
    /// Format parameters, as in `a=fmtp`; empty if there are none.
    pub sdp_fmtp_line: String,
    /// H.264: profile and level (RFC 6184 §8.1), such as `0x42e01f` for constrained baseline 3.1.
    pub profile_level_id: Option<u32>,
    /// H.264: 0 for one NAL unit per packet, 1 for any packetization.
    pub packetization_mode: Option<u8>,
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
