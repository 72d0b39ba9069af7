//! Detection of keyframes in RTP packets.

use crate::proto::media::Codec;

/// Returns `true` if a decoder can start with the frame that begins in this payload: always for audio, never for
/// invalid data.
pub(super) fn begins_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => vp8(payload).unwrap_or(false),
        Codec::Vp9 => vp9(payload).unwrap_or(false),
        Codec::H264 => h264(payload).unwrap_or(false),
        Codec::H265 => h265(payload).unwrap_or(false),
        // RTP payload format for AV1 §4.4: N, a new coded video sequence starts.
        Codec::Av1 => payload.first().is_some_and(|b| b & 0x08 != 0),
        Codec::Opus | Codec::Pcmu | Codec::Pcma | Codec::G722 => true,
    }
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

/// Checks for an IDR picture or the parameter sets before it, alone, aggregated or fragmented (RFC 6184 §5).
fn h264(payload: &[u8]) -> Option<bool> {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let is_key = |nal: u8| matches!(nal & 31, IDR | SPS);
    let (first, rest) = payload.split_first()?;
    Some(match first & 31 {
        STAP_A => units(rest).any(|unit| unit.first().copied().is_some_and(is_key)),
        FU_A => {
            let header = rest.first()?;
            header & 0x80 != 0 && is_key(*header)
        }
        _ => is_key(*first),
    })
}

/// Checks for a random access picture or its parameter sets (RFC 7798 §4.4).
fn h265(payload: &[u8]) -> Option<bool> {
    const AP: u8 = 48;
    const FU: u8 = 49;
    // Random access pictures, or the parameter sets before one.
    let is_key = |kind: u8| matches!(kind, 16..=21 | 32 | 33);
    let kind = |nal: &[u8]| nal.first().map(|b| b >> 1 & 63);
    let rest = payload.get(2..)?;
    Some(match kind(payload)? {
        AP => units(rest).any(|unit| kind(unit).is_some_and(is_key)),
        FU => {
            let header = rest.first()?;
            header & 0x80 != 0 && is_key(header & 63)
        }
        kind => is_key(kind),
    })
}

/// Iterates over length-prefixed NAL units.
fn units(mut several: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = several.split_first_chunk::<2>()?;
        let (unit, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        several = rest;
        Some(unit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
                begins_keyframe(*codec, payload),
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
                    begins_keyframe(codec, &bytes[..end]);
                }
            }
        }
    }
}
