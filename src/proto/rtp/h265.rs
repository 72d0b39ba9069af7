//! H.265 parameter sets, required for decoding, in packets and in SDP (RFC 7798 §7.1 `sprop-vps`, `sprop-sps`,
//! `sprop-pps`).

use super::sets::Sets;
use crate::proto::media::payload::H265;

/// The latest video, sequence and picture parameter set of an H.265 stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct H265ParameterSets(Sets<3>);

impl H265ParameterSets {
    /// Parses the sets in `a=fmtp` parameters; `None` if they are missing or incomplete.
    pub fn from_fmtp(fmtp: &str) -> Option<Self> {
        let names = ["sprop-vps", "sprop-sps", "sprop-pps"];
        let sets = Self(Sets::from_fmtp(&H265, fmtp, &names)?);
        sets.is_complete().then_some(sets)
    }

    /// Stores the parameter sets in a packet's payload (RFC 7798 §4.4.1, §4.4.2: a single NAL unit, or an aggregate).
    /// Returns `true` if they differ from the stored ones.
    pub fn observe(&mut self, payload: &[u8]) -> bool {
        self.0.observe(&H265, payload)
    }

    /// Returns `true` if all three sets are present.
    pub fn is_complete(&self) -> bool {
        self.0.all().iter().all(|set| !set.is_empty())
    }

    /// Returns the sets as the payload of one packet (RFC 7798 §4.4.2, aggregation packet).
    pub(super) fn to_payload(&self) -> Vec<u8> {
        // Layer 0, temporal layer 0.
        self.0.aggregate(vec![H265.aggregate << 1, 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AP: u8 = 48;
    const VPS: u8 = 32;
    const FU: u8 = 49;

    /// From ffmpeg's `-sdp_file`.
    const FMTP: &str = "sprop-vps=QAEMAf//AWAAAAMAkAAAAwAAAwA8ugJA; \
        sprop-sps=QgEBAWAAAAMAkAAAAwAAAwA8oAoIDxZbpKTC8BaAgAAAAwCAAAAMhA==; sprop-pps=RAHAc8GJ";

    #[test]
    fn through_sdp_and_packets() {
        let sets = H265ParameterSets::from_fmtp(FMTP).unwrap();
        let mut seen = H265ParameterSets::default();
        assert!(seen.observe(&sets.to_payload()));
        assert_eq!(seen, sets);
        assert!(!seen.observe(&sets.to_payload()), "not new any more");
        let mut one_by_one = H265ParameterSets::default();
        for set in sets.0.all() {
            assert!(!one_by_one.is_complete());
            assert!(one_by_one.observe(set));
        }
        assert_eq!(one_by_one, sets);
        for fmtp in [
            "",
            "sprop-vps=QAEMAf//",
            "sprop-vps=!; sprop-sps=QgEB; sprop-pps=RAHA",
        ] {
            assert_eq!(H265ParameterSets::from_fmtp(fmtp), None, "{fmtp}");
        }
        for payload in [
            &[][..],
            &[AP << 1],
            &[AP << 1, 1, 0, 9, 66],
            &[VPS << 1; 5000],
        ] {
            assert!(!sets.clone().observe(payload), "{payload:?}");
        }
    }

    #[test]
    fn keyframes() {
        let sets = H265ParameterSets::from_fmtp(FMTP).unwrap().to_payload();
        assert!(H265.begins_bare_keyframe(&[19 << 1, 1, 0x80]));
        assert!(H265.begins_bare_keyframe(&[FU << 1, 1, 0x80 | 21]));
        assert!(!H265.begins_bare_keyframe(&[FU << 1, 1, 21]), "its middle");
        assert!(!H265.begins_bare_keyframe(&[1 << 1, 1, 0x80]));
        assert!(!H265.begins_bare_keyframe(&sets));
        let with_sets = [&sets[..], &[0, 3, 19 << 1, 1, 0x80]].concat();
        assert!(!H265.begins_bare_keyframe(&with_sets));
    }
}
