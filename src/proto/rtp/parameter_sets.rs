//! The parameter sets of either codec that has them.

use super::{H264ParameterSets, H265ParameterSets, h264, h265};

/// Parameter sets of H.264 or H.265.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParameterSets {
    /// Of H.264.
    H264(H264ParameterSets),
    /// Of H.265.
    H265(H265ParameterSets),
}

impl Default for ParameterSets {
    fn default() -> Self {
        Self::H264(H264ParameterSets::default())
    }
}

impl ParameterSets {
    /// Looks into the payload of a packet. Returns `true` if it held sets that are new.
    pub fn observe(&mut self, payload: &[u8]) -> bool {
        match self {
            Self::H264(sets) => sets.observe(payload),
            Self::H265(sets) => sets.observe(payload),
        }
    }

    /// Returns `true` if all that a decoder needs is there.
    pub fn is_complete(&self) -> bool {
        match self {
            Self::H264(sets) => sets.is_complete(),
            Self::H265(sets) => sets.is_complete(),
        }
    }

    /// All as the payload of one packet.
    pub(super) fn to_payload(&self) -> Vec<u8> {
        match self {
            Self::H264(sets) => sets.to_payload(),
            Self::H265(sets) => sets.to_payload(),
        }
    }

    /// Returns `true` if a keyframe begins in this payload, and parameter sets do not.
    pub(super) fn begins_bare_keyframe(&self, payload: &[u8]) -> bool {
        match self {
            Self::H264(_) => h264::begins_bare_keyframe(payload),
            Self::H265(_) => h265::begins_bare_keyframe(payload),
        }
    }
}
