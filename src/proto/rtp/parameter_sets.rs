//! Parameter sets of H.264 or H.265.

use super::{H264ParameterSets, H265ParameterSets, h264, h265};

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
        match self {
            Self::H264(_) => h264::begins_bare_keyframe(payload),
            Self::H265(_) => h265::begins_bare_keyframe(payload),
        }
    }
}
