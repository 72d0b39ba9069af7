//! Inspection of RTP payloads: whether a keyframe starts in one, and which NAL units it contains.

pub(super) fn vp8_begins_keyframe(payload: &[u8]) -> bool {
    vp8(payload).unwrap_or(false)
}

pub(super) fn vp9_begins_keyframe(payload: &[u8]) -> bool {
    vp9(payload).unwrap_or(false)
}

/// Checks the N bit: a new coded video sequence starts (RTP payload format for AV1 §4.4).
pub(super) fn av1_begins_keyframe(payload: &[u8]) -> bool {
    payload.first().is_some_and(|b| b & 0x08 != 0)
}

/// Checks the frame tag at the start of the first partition (RFC 7741 §4.2, §4.3).
fn vp8(payload: &[u8]) -> Option<bool> {
    const X: u8 = 0x80;
    let first = *payload.first()?;
    let begins = first & 0x10 != 0 && first & 0x07 == 0;
    let mut header = 1;
    if first & X != 0 {
        let has = *payload.get(1)?;
        header += 1;
        if has & 0x80 != 0 {
            let is_long = payload.get(header)? & 0x80 != 0;
            header += if is_long { 2 } else { 1 };
        }
        header += usize::from(has & 0x40 != 0);
        header += usize::from(has & 0x30 != 0);
    }
    Some(begins && payload.get(header)? & 1 == 0)
}

/// Checks for a frame that is not predicted from another one, at the start of its lowest layer (RFC 9628 §4.2).
fn vp9(payload: &[u8]) -> Option<bool> {
    const I: u8 = 0x80;
    const P: u8 = 0x40;
    const L: u8 = 0x20;
    const B: u8 = 0x08;
    let first = *payload.first()?;
    if first & P != 0 || first & B == 0 {
        return Some(false);
    }
    if first & L == 0 {
        return Some(true);
    }
    let mut at = 1;
    if first & I != 0 {
        at += if payload.get(1)? & 0x80 != 0 { 2 } else { 1 };
    }
    Some(payload.get(at)? >> 1 & 7 == 0)
}

/// RTP payload format of a codec with NAL units.
pub(crate) struct NalPayload {
    /// Size of a NAL unit's header, in bytes. A fragment has one more byte, with the type of the whole unit.
    pub header: usize,
    /// Position of the type in the first byte of a header: shift and mask.
    kind_at: (u32, u8),
    /// Type of an aggregate: several units, each after its length.
    pub aggregate: u8,
    /// Type of a fragment.
    fragment: u8,
    /// Types of the parameter sets required for decoding, in the order in which they are sent.
    pub sets: &'static [u8],
    /// Type of the sequence parameter set.
    sequence_set: u8,
    /// Returns `true` for types of slices that decoding can start with.
    is_key: fn(u8) -> bool,
}

/// H.264 (RFC 6184 §5.2).
pub(crate) const H264: NalPayload = NalPayload {
    header: 1,
    kind_at: (0, 31),
    aggregate: 24,
    fragment: 28,
    sets: &[7, 8],
    sequence_set: 7,
    is_key: |kind| kind == 5,
};

/// H.265 (RFC 7798 §4.4).
pub(crate) const H265: NalPayload = NalPayload {
    header: 2,
    kind_at: (1, 63),
    aggregate: 48,
    fragment: 49,
    sets: &[32, 33, 34],
    sequence_set: 33,
    is_key: |kind| matches!(kind, 16..=21),
};

impl NalPayload {
    /// Returns the type of a unit or of a payload; `None` if its header is incomplete.
    pub fn kind(&self, unit: &[u8]) -> Option<u8> {
        let (shift, mask) = self.kind_at;
        let first = unit.first().filter(|_| unit.len() >= self.header)?;
        Some(first >> shift & mask)
    }

    /// Iterates over the NAL units that are complete in this payload.
    pub fn units<'a>(&self, payload: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (single, mut several) = match self.kind(payload) {
            Some(kind) if kind == self.aggregate => (None, &payload[self.header..]),
            Some(kind) if kind < self.aggregate => (Some(payload), &[][..]),
            _ => (None, &[][..]),
        };
        single.into_iter().chain(std::iter::from_fn(move || {
            let (length, rest) = several.split_first_chunk::<2>()?;
            let (unit, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            several = rest;
            Some(unit)
        }))
    }

    /// Iterates over the types of the units that start in this payload, complete or as a first fragment.
    fn kinds<'a>(&'a self, payload: &'a [u8]) -> impl Iterator<Item = u8> + 'a {
        const START: u8 = 0x80;
        let is_fragment = self.kind(payload) == Some(self.fragment);
        let fragment = payload.get(self.header).filter(|_| is_fragment);
        let begun = fragment.filter(|header| **header & START != 0);
        let begun = begun.map(|header| header & self.kind_at.1);
        let whole = self.units(payload).filter_map(|unit| self.kind(unit));
        begun.into_iter().chain(whole)
    }

    /// Returns `true` if a keyframe, or the parameter sets before one, starts in this payload.
    pub fn begins_keyframe(&self, payload: &[u8]) -> bool {
        let leads = |kind| kind != self.last_set() && self.sets.contains(&kind);
        self.kinds(payload)
            .any(|kind| (self.is_key)(kind) || leads(kind))
    }

    /// Returns `true` if a keyframe starts in this payload, without parameter sets.
    pub fn begins_bare_keyframe(&self, payload: &[u8]) -> bool {
        self.kinds(payload).any(self.is_key)
            && self.kinds(payload).all(|kind| kind != self.sequence_set)
    }

    /// Returns the type of the picture parameter set, which may also precede other frames.
    fn last_set(&self) -> u8 {
        self.sets.last().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use crate::proto::media::Codec;

    #[test]
    fn beginnings_of_keyframes() {
        let cases: &[(Codec, &[u8], bool)] = &[
            (Codec::Vp8, &[0x10, 0x10, 0x02], true),
            (Codec::Vp8, &[0x10, 0x11, 0x02], false),
            (Codec::Vp8, &[0x00, 0x10, 0x02], false),
            (Codec::Vp8, &[0x11, 0x10], false),
            (Codec::Vp8, &[0x90, 0x80, 0x7f, 0x10], true),
            (Codec::Vp8, &[0x90, 0x80, 0x80, 0x01, 0x10], true),
            (Codec::Vp8, &[0x90, 0xf0, 0x80, 0x01, 5, 6, 0x10], true),
            (Codec::Vp8, &[0x90, 0xf0, 0x80, 0x01, 5, 6, 0x11], false),
            (Codec::Vp8, &[0x90, 0x80], false),
            (Codec::Vp9, &[0x88, 0x01, 0], true),
            (Codec::Vp9, &[0xc8, 0x01, 0], false),
            (Codec::Vp9, &[0x80, 0x01, 0], false),
            (Codec::Vp9, &[0xa8, 0x81, 0x01, 0x00], true),
            (Codec::Vp9, &[0xa8, 0x81, 0x01, 0x02], false),
            (Codec::H264, &[0x67, 1], true),
            (Codec::H264, &[0x65, 1], true),
            (Codec::H264, &[0x61, 1], false),
            (Codec::H264, &[0x78, 0, 1, 0x67, 0, 1, 0x68], true),
            (Codec::H264, &[0x78, 0, 1, 0x61], false),
            (Codec::H264, &[0x7c, 0x85], true),
            (Codec::H264, &[0x7c, 0x45], false),
            (Codec::H264, &[0x7c, 0x81], false),
            (Codec::H265, &[0x40, 1, 1], true),
            (Codec::H265, &[0x26, 1, 1], true),
            (Codec::H265, &[0x02, 1, 1], false),
            (Codec::H265, &[0x60, 1, 0, 2, 0x42, 1], true),
            (Codec::H265, &[0x62, 1, 0x93], true),
            (Codec::H265, &[0x62, 1, 0x13], false),
            (Codec::Av1, &[0x18, 0], true),
            (Codec::Av1, &[0x10, 0], false),
            (Codec::Opus, &[1], true),
        ];
        for (codec, payload, is_key) in cases {
            assert_eq!(
                codec.begins_keyframe(payload),
                *is_key,
                "{codec} {payload:02x?}"
            );
        }
    }

    #[test]
    fn nothing_panics() {
        for codec in Codec::ALL {
            for seed in 0..=255u8 {
                let bytes: Vec<u8> = (0..12).map(|i: u8| seed.wrapping_mul(i) ^ seed).collect();
                for end in 0..bytes.len() {
                    codec.begins_keyframe(&bytes[..end]);
                }
            }
        }
    }
}
