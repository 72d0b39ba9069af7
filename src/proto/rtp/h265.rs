//! H.265 parameter sets, required for decoding, in packets and in SDP (RFC 7798 §7.1 `sprop-vps`, `sprop-sps`,
//! `sprop-pps`).

use super::base64;
use super::h264::{MAX_SET, parameter};

const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
const AP: u8 = 48;
const FU: u8 = 49;

/// The latest video, sequence and picture parameter set of an H.265 stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct H265ParameterSets {
    video: Vec<u8>,
    sequence: Vec<u8>,
    picture: Vec<u8>,
}

impl H265ParameterSets {
    /// Parses the sets in `a=fmtp` parameters; `None` if they are missing or incomplete.
    pub fn from_fmtp(fmtp: &str) -> Option<Self> {
        let mut sets = Self::default();
        for name in ["sprop-vps", "sprop-sps", "sprop-pps"] {
            for set in parameter(fmtp, name)?.split(',') {
                sets.take(&base64::decode(set.trim())?);
            }
        }
        sets.is_complete().then_some(sets)
    }

    /// Stores the parameter sets in a packet's payload (RFC 7798 §4.4.1, §4.4.2: a single NAL unit, or an aggregate).
    /// Returns `true` if they differ from the stored ones.
    pub fn observe(&mut self, payload: &[u8]) -> bool {
        units(payload).fold(false, |new, unit| self.take(unit) | new)
    }

    fn take(&mut self, unit: &[u8]) -> bool {
        let place = match kind(unit) {
            Some(VPS) => &mut self.video,
            Some(SPS) => &mut self.sequence,
            Some(PPS) => &mut self.picture,
            _ => return false,
        };
        if unit.len() > MAX_SET || unit.len() < 3 || place == unit {
            return false;
        }
        *place = unit.to_vec();
        true
    }

    /// Returns `true` if all three sets are present.
    pub fn is_complete(&self) -> bool {
        let sets = [&self.video, &self.sequence, &self.picture];
        sets.iter().all(|set| !set.is_empty())
    }

    /// Returns the sets as the payload of one packet (RFC 7798 §4.4.2, aggregation packet).
    pub(super) fn to_payload(&self) -> Vec<u8> {
        // Layer 0, temporal layer 0.
        let mut payload = vec![AP << 1, 1];
        for set in [&self.video, &self.sequence, &self.picture] {
            // At most `MAX_SET`.
            payload.extend((set.len() as u16).to_be_bytes());
            payload.extend(set);
        }
        payload
    }
}

fn kind(unit: &[u8]) -> Option<u8> {
    unit.first().map(|b| b >> 1 & 63)
}

/// Iterates over the NAL units that are complete in this payload.
fn units(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (single, mut several) = match kind(payload) {
        Some(AP) => (None, payload.get(2..).unwrap_or_default()),
        Some(0..AP) => (Some(payload), &[][..]),
        _ => (None, &[][..]),
    };
    single.into_iter().chain(std::iter::from_fn(move || {
        let (length, rest) = several.split_first_chunk::<2>()?;
        let (unit, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        several = rest;
        Some(unit)
    }))
}

/// Returns `true` if a random access picture starts in this payload, without parameter sets.
pub(super) fn begins_bare_keyframe(payload: &[u8]) -> bool {
    let is_picture = |kind: u8| matches!(kind, 16..=21);
    if let [_, _, header, ..] = payload
        && kind(payload) == Some(FU)
    {
        return header & 0x80 != 0 && is_picture(header & 63);
    }
    let has_picture = units(payload).filter_map(kind).any(is_picture);
    has_picture && units(payload).filter_map(kind).all(|kind| kind != SPS)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for set in [&sets.video, &sets.sequence, &sets.picture] {
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
        assert!(begins_bare_keyframe(&[19 << 1, 1, 0x80]));
        assert!(begins_bare_keyframe(&[FU << 1, 1, 0x80 | 21]));
        assert!(!begins_bare_keyframe(&[FU << 1, 1, 21]), "its middle");
        assert!(!begins_bare_keyframe(&[1 << 1, 1, 0x80]));
        assert!(!begins_bare_keyframe(&sets));
        let with_sets = [&sets[..], &[0, 3, 19 << 1, 1, 0x80]].concat();
        assert!(!begins_bare_keyframe(&with_sets));
    }
}
