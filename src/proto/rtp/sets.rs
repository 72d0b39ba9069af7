//! Parameter sets of a stream of NAL units, of any codec.

use super::base64;
use crate::proto::media::payload::NalPayload;

/// Maximum size of a stored parameter set, in bytes.
const MAX_SET: usize = 4096;

/// The latest parameter set of each kind of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sets<const N: usize>([Vec<u8>; N]);

impl<const N: usize> Default for Sets<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Vec::new()))
    }
}

impl<const N: usize> Sets<N> {
    /// Parses the sets in the named `a=fmtp` parameters; `None` if one is missing or is not base64.
    pub fn from_fmtp(format: &NalPayload, fmtp: &str, names: &[&str]) -> Option<Self> {
        let mut sets = Self::default();
        for name in names {
            for set in parameter(fmtp, name)?.split(',') {
                sets.take(format, &base64::decode(set.trim())?);
            }
        }
        Some(sets)
    }

    /// Stores the parameter sets in a packet's payload. Returns `true` if they differ from the stored ones.
    pub fn observe(&mut self, format: &NalPayload, payload: &[u8]) -> bool {
        let units = format.units(payload);
        units.fold(false, |new, unit| self.take(format, unit) | new)
    }

    fn take(&mut self, format: &NalPayload, unit: &[u8]) -> bool {
        let kind = format.kind(unit);
        let at = format.sets.iter().position(|set| Some(*set) == kind);
        let Some(place) = at.and_then(|at| self.0.get_mut(at)) else {
            return false;
        };
        if unit.len() > MAX_SET || unit.len() <= format.header || place == unit {
            return false;
        }
        *place = unit.to_vec();
        true
    }

    /// Returns the sets in the order of [`NalPayload::sets`]; an empty one is unknown.
    pub fn all(&self) -> &[Vec<u8>; N] {
        &self.0
    }

    /// Appends all sets to the header of an aggregate.
    pub fn aggregate(&self, mut payload: Vec<u8>) -> Vec<u8> {
        for set in &self.0 {
            // At most `MAX_SET`.
            payload.extend((set.len() as u16).to_be_bytes());
            payload.extend(set);
        }
        payload
    }
}

/// Returns the value of a parameter (RFC 6184 §8.1: `name=value; name=value`).
pub(crate) fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then_some(value.trim())
    })
}
