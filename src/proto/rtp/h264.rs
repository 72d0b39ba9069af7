//! H.264 parameter sets, required for decoding, in packets and in SDP (RFC 6184 §8.1 `sprop-parameter-sets`).

use super::base64;
use super::sets::Sets;
use crate::proto::media::payload::H264;

/// The latest sequence and picture parameter set of an H.264 stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct H264ParameterSets(Sets<2>);

impl H264ParameterSets {
    /// Parses the sets in `a=fmtp` parameters; `None` if they are missing or incomplete.
    pub fn from_fmtp(fmtp: &str) -> Option<Self> {
        let sets = Self(Sets::from_fmtp(&H264, fmtp, &["sprop-parameter-sets"])?);
        sets.is_complete().then_some(sets)
    }

    /// Stores the parameter sets in a packet's payload (RFC 6184 §5.6, §5.7.1: a single NAL unit, or an aggregate).
    /// Returns `true` if they differ from the stored ones.
    pub fn observe(&mut self, payload: &[u8]) -> bool {
        self.0.observe(&H264, payload)
    }

    /// Returns `true` if both sets are present.
    pub fn is_complete(&self) -> bool {
        let [sequence, picture] = self.0.all();
        sequence.len() >= 4 && !picture.is_empty()
    }

    /// Formats both sets as `a=fmtp` parameters: `profile-level-id` and `sprop-parameter-sets`. `None` unless both are
    /// present.
    pub fn to_fmtp(&self) -> Option<String> {
        if !self.is_complete() {
            return None;
        }
        let [sequence, picture] = self.0.all();
        let [_, profile, constraints, level, ..] = sequence[..] else {
            return None;
        };
        let (sequence, picture) = (base64::encode(sequence), base64::encode(picture));
        Some(format!(
            "profile-level-id={profile:02x}{constraints:02x}{level:02x}; \
             sprop-parameter-sets={sequence},{picture}"
        ))
    }

    /// Returns both sets as the payload of one packet (RFC 6184 §5.7.1, STAP-A).
    pub(super) fn to_payload(&self) -> Vec<u8> {
        let firsts = self.0.all().iter().filter_map(|set| set.first());
        let importance = firsts.fold(0, |bits, first| bits | first) & 0x60;
        self.0.aggregate(vec![importance | H264.aggregate])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From ffmpeg's `-sdp_file`.
    const FMTP: &str = "packetization-mode=1; \
        sprop-parameter-sets=Z2QADKzZQUH7ARAAAAMAEAAAAwHg8UKZYA==,aOvjyyLA; profile-level-id=64000C";

    #[test]
    fn through_sdp_and_packets() {
        let sets = H264ParameterSets::from_fmtp(FMTP).unwrap();
        let written = sets.to_fmtp().unwrap();
        assert!(
            written.starts_with("profile-level-id=64000c; "),
            "{written}"
        );
        assert_eq!(H264ParameterSets::from_fmtp(&written).as_ref(), Some(&sets));
        let mut seen = H264ParameterSets::default();
        assert!(seen.observe(&sets.to_payload()));
        assert_eq!(seen, sets);
        assert!(!seen.observe(&sets.to_payload()), "not new any more");
        let mut one_by_one = H264ParameterSets::default();
        assert!(one_by_one.observe(&sets.0.all()[0]));
        assert_eq!(
            (one_by_one.is_complete(), one_by_one.to_fmtp()),
            (false, None)
        );
        assert!(one_by_one.observe(&sets.0.all()[1]));
        assert_eq!(one_by_one, sets);
    }

    #[test]
    fn what_is_none() {
        for fmtp in [
            "",
            "packetization-mode=1",
            "sprop-parameter-sets=",
            "sprop-parameter-sets=Z2QADKw=",
            "sprop-parameter-sets=!,aOs=",
        ] {
            assert_eq!(H264ParameterSets::from_fmtp(fmtp), None, "{fmtp}");
        }
        let mut sets = H264ParameterSets::default();
        for payload in [
            &[][..],
            &[24],
            &[24, 0],
            &[24, 0, 9, 7],
            &[24, 255, 255, 7],
            &[28, 0x87, 1],
            &[7 | 0x60; 5000],
        ] {
            assert!(!sets.observe(payload), "{payload:?}");
        }
    }

    #[test]
    fn keyframes() {
        let sets = H264ParameterSets::from_fmtp(FMTP).unwrap().to_payload();
        assert!(H264.begins_bare_keyframe(&[0x65, 0x88]));
        assert!(H264.begins_bare_keyframe(&[0x7c, 0x85, 1]));
        assert!(!H264.begins_bare_keyframe(&[0x7c, 0x05, 1]), "its middle");
        assert!(!H264.begins_bare_keyframe(&[0x41, 1]));
        assert!(!H264.begins_bare_keyframe(&sets));
        let with_sets = [&sets[..], &[0, 2, 0x65, 0x88]].concat();
        assert!(!H264.begins_bare_keyframe(&with_sets));
    }
}
