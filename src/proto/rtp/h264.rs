//! H.264 parameter sets, required for decoding, in packets and in SDP (RFC 6184 §8.1 `sprop-parameter-sets`).

use super::base64;

const SPS: u8 = 7;
const PPS: u8 = 8;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const IDR: u8 = 5;

/// Maximum size of a stored parameter set, in bytes.
pub(super) const MAX_SET: usize = 4096;

/// The latest sequence and picture parameter set of an H.264 stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct H264ParameterSets {
    sequence: Vec<u8>,
    picture: Vec<u8>,
}

impl H264ParameterSets {
    /// Parses the sets in `a=fmtp` parameters; `None` if they are missing or incomplete.
    pub fn from_fmtp(fmtp: &str) -> Option<Self> {
        let mut sets = Self::default();
        for set in parameter(fmtp, "sprop-parameter-sets")?.split(',') {
            sets.take(&base64::decode(set.trim())?);
        }
        sets.is_complete().then_some(sets)
    }

    /// Stores the parameter sets in a packet's payload (RFC 6184 §5.6, §5.7.1: a single NAL unit, or an aggregate).
    /// Returns `true` if they differ from the stored ones.
    pub fn observe(&mut self, payload: &[u8]) -> bool {
        units(payload).fold(false, |new, unit| self.take(unit) | new)
    }

    fn take(&mut self, unit: &[u8]) -> bool {
        let place = match unit.first().map(|b| b & 31) {
            Some(SPS) => &mut self.sequence,
            Some(PPS) => &mut self.picture,
            _ => return false,
        };
        if unit.len() > MAX_SET || place == unit {
            return false;
        }
        *place = unit.to_vec();
        true
    }

    /// Returns `true` if both sets are present.
    pub fn is_complete(&self) -> bool {
        self.sequence.len() >= 4 && !self.picture.is_empty()
    }

    /// Formats both sets as `a=fmtp` parameters: `profile-level-id` and `sprop-parameter-sets`. `None` unless both are
    /// present.
    pub fn to_fmtp(&self) -> Option<String> {
        if !self.is_complete() {
            return None;
        }
        let [_, profile, constraints, level, ..] = self.sequence[..] else {
            return None;
        };
        let (sequence, picture) = (
            base64::encode(&self.sequence),
            base64::encode(&self.picture),
        );
        Some(format!(
            "profile-level-id={profile:02x}{constraints:02x}{level:02x}; \
             sprop-parameter-sets={sequence},{picture}"
        ))
    }

    /// Returns both sets as the payload of one packet (RFC 6184 §5.7.1, STAP-A).
    pub(super) fn to_payload(&self) -> Vec<u8> {
        let importance = (self.sequence[0] | self.picture[0]) & 0x60;
        let mut payload = vec![importance | STAP_A];
        for set in [&self.sequence, &self.picture] {
            // At most `MAX_SET`.
            payload.extend((set.len() as u16).to_be_bytes());
            payload.extend(set);
        }
        payload
    }
}

/// Iterates over the NAL units that are complete in this payload.
fn units(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (single, mut several) = match payload.first().map(|b| b & 31) {
        Some(STAP_A) => (None, &payload[1..]),
        Some(1..=23) => (Some(payload), &[][..]),
        _ => (None, &[][..]),
    };
    single.into_iter().chain(std::iter::from_fn(move || {
        let (length, rest) = several.split_first_chunk::<2>()?;
        let (unit, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        several = rest;
        Some(unit)
    }))
}

/// Returns `true` if an IDR picture starts in this payload, without parameter sets.
pub(super) fn begins_bare_keyframe(payload: &[u8]) -> bool {
    if let [indicator, header, ..] = payload
        && indicator & 31 == FU_A
    {
        return header & 0x80 != 0 && header & 31 == IDR;
    }
    let has = |kind| units(payload).any(|u| u.first().is_some_and(|b| b & 31 == kind));
    has(IDR) && !has(SPS)
}

/// Returns the value of a parameter (RFC 6184 §8.1: `name=value; name=value`).
pub(super) fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then_some(value.trim())
    })
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
        assert!(one_by_one.observe(&sets.sequence));
        assert_eq!(
            (one_by_one.is_complete(), one_by_one.to_fmtp()),
            (false, None)
        );
        assert!(one_by_one.observe(&sets.picture));
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
        assert!(begins_bare_keyframe(&[0x65, 0x88]));
        assert!(begins_bare_keyframe(&[0x7c, 0x85, 1]));
        assert!(!begins_bare_keyframe(&[0x7c, 0x05, 1]), "its middle");
        assert!(!begins_bare_keyframe(&[0x41, 1]));
        assert!(!begins_bare_keyframe(&sets));
        let with_sets = [&sets[..], &[0, 2, 0x65, 0x88]].concat();
        assert!(!begins_bare_keyframe(&with_sets));
    }
}
