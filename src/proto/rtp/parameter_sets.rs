//! Parameter sets of H.264 or H.265.

use super::{H264ParameterSets, H265ParameterSets};
use crate::proto::media::Codec;
use crate::proto::media::payload::{self, NalPayload};

/// Parameter sets of H.264 or H.265.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParameterSets {
    /// H.264 parameter sets.
    H264(H264ParameterSets),
    /// H.265 parameter sets.
    H265(H265ParameterSets),
}

impl Default for ParameterSets {
    fn default() -> Self {
        Self::H264(H264ParameterSets::default())
    }
}

impl ParameterSets {
    /// Parses the sets in a stream's `a=fmtp` parameters; empty sets if they are missing or incomplete. `None` for a codec
    /// without parameter sets.
    pub(super) fn of_stream(codec: Codec, fmtp: &str) -> Option<Self> {
        Some(match codec {
            Codec::H264 => Self::H264(H264ParameterSets::from_fmtp(fmtp).unwrap_or_default()),
            Codec::H265 => Self::H265(H265ParameterSets::from_fmtp(fmtp).unwrap_or_default()),
            _ => return None,
        })
    }

    /// Stores the parameter sets in a packet's payload. Returns `true` if they differ from the stored ones.
    pub fn observe(&mut self, payload: &[u8]) -> bool {
        match self {
            Self::H264(sets) => sets.observe(payload),
            Self::H265(sets) => sets.observe(payload),
        }
    }

    /// Returns `true` if all sets that a decoder needs are present.
    pub fn is_complete(&self) -> bool {
        match self {
            Self::H264(sets) => sets.is_complete(),
            Self::H265(sets) => sets.is_complete(),
        }
    }

    /// Returns all sets as the payload of one packet.
    pub(super) fn to_payload(&self) -> Vec<u8> {
        match self {
            Self::H264(sets) => sets.to_payload(),
            Self::H265(sets) => sets.to_payload(),
        }
    }

    /// Returns `true` if a keyframe starts in this payload, without parameter sets.
    pub(super) fn begins_bare_keyframe(&self, payload: &[u8]) -> bool {
        self.format().begins_bare_keyframe(payload)
    }

    fn format(&self) -> &'static NalPayload {
        match self {
            Self::H264(_) => &payload::H264,
            Self::H265(_) => &payload::H265,
        }
    }
}
