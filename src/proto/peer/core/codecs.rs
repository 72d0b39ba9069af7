//! Codecs and directions, in the core's terms.

use str0m::RtcConfig;
use str0m::format::{Codec as CoreCodec, PayloadParams};
use str0m::media;

use super::super::values::{CodecParameters, Codecs, Direction, MediaKind};
use crate::proto::media::Codec;

/// Returns the codec for one of the core's; `None` if it is not offered.
pub(super) fn codec_of(codec: CoreCodec) -> Option<Codec> {
    Some(match codec {
        CoreCodec::Vp8 => Codec::Vp8,
        CoreCodec::Vp9 => Codec::Vp9,
        CoreCodec::Av1 => Codec::Av1,
        CoreCodec::H264 => Codec::H264,
        CoreCodec::H265 => Codec::H265,
        CoreCodec::Opus => Codec::Opus,
        CoreCodec::PCMU => Codec::Pcmu,
        CoreCodec::PCMA => Codec::Pcma,
        CoreCodec::G722 => Codec::G722,
        _ => return None,
    })
}

/// Enables these codecs in the core.
pub(super) fn configure(codecs: &Codecs, core: RtcConfig) -> RtcConfig {
    let mut core = core.clear_codecs();
    for codec in codecs.iter() {
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

/// Returns the parameters of a negotiated codec; `None` if it is not offered.
pub(super) fn parameters(params: &PayloadParams) -> Option<CodecParameters> {
    let spec = params.spec();
    let codec = codec_of(spec.codec)?;
    let is_h264 = codec == Codec::H264;
    Some(CodecParameters {
        codec,
        payload_type: *params.pt(),
        clock_rate: codec.clock_rate(),
        channels: match MediaKind::of(codec) {
            MediaKind::Audio => spec.channels.unwrap_or(1),
            MediaKind::Video => 0,
        },
        sdp_fmtp_line: spec.format.to_string(),
        profile_level_id: spec.format.profile_level_id.filter(|_| is_h264),
        packetization_mode: spec.format.packetization_mode.filter(|_| is_h264),
    })
}

pub(super) fn core_kind(kind: MediaKind) -> media::MediaKind {
    match kind {
        MediaKind::Audio => media::MediaKind::Audio,
        MediaKind::Video => media::MediaKind::Video,
    }
}

pub(super) fn core_direction(direction: Direction) -> media::Direction {
    match direction {
        Direction::SendRecv => media::Direction::SendRecv,
        Direction::SendOnly => media::Direction::SendOnly,
        Direction::RecvOnly => media::Direction::RecvOnly,
        Direction::Inactive => media::Direction::Inactive,
    }
}
