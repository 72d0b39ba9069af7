//! RTP payloads of H.264 (RFC 6184 §5) and H.265 (RFC 7798 §4.4).

use super::nal_codec::{NalCodec, Role};
use crate::proto::media::h264;

/// Part of a payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A whole NAL unit: its header, and the rest.
    Whole(&'a [u8], &'a [u8]),
    Fragment(Fragment<'a>),
    /// A payload of another kind, or one that is cut off.
    Unknown,
}

/// A fragment of a NAL unit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fragment<'a> {
    pub is_first: bool,
    pub is_last: bool,
    /// The header of the NAL unit, of 1 or 2 bytes.
    header: [u8; 2],
    codec: NalCodec,
    /// Its header says what no header should: start and end at once, or the reserved bit; or it is empty.
    pub is_odd: bool,
    pub data: &'a [u8],
}

impl Fragment<'_> {
    pub fn header(&self) -> &[u8] {
        self.header.get(..self.codec.header()).unwrap_or_default()
    }

    /// Returns `true` if this NAL unit has the type of the fragment.
    pub fn has_type_of(&self, nal: &[u8]) -> bool {
        self.codec.kind(nal) == self.codec.kind(&self.header)
    }
}

/// Returns a payload without a start code before it.
pub(super) fn without_start_code(payload: &[u8]) -> &[u8] {
    let long = payload.strip_prefix(&[0, 0, 0, 1]);
    long.or_else(|| payload.strip_prefix(&[0, 0, 1]))
        .unwrap_or(payload)
}

/// Returns the role of the first NAL unit that begins in a payload; `None` if none does.
pub(super) fn head(codec: NalCodec, has_order_numbers: bool, payload: &[u8]) -> Option<Role> {
    let mut found = None;
    each(codec, has_order_numbers, payload, |piece| {
        // The header, and the byte behind it, say it all.
        let (header, data) = match &piece {
            Piece::Whole(header, data) => (*header, *data),
            Piece::Fragment(fragment) if fragment.is_first => (fragment.header(), fragment.data),
            _ => return false,
        };
        let mut start = [0; 3];
        let bytes = header.iter().chain(data).take(3);
        let count = bytes
            .zip(&mut start)
            .map(|(byte, place)| *place = *byte)
            .count();
        found = start.get(..count).map(|start| codec.role(start));
        false
    });
    found
}

/// Calls `take` for each piece of a payload.
pub(super) fn split<'a>(
    codec: NalCodec,
    has_order_numbers: bool,
    payload: &'a [u8],
    mut take: impl FnMut(Piece<'a>),
) {
    each(codec, has_order_numbers, payload, |piece| {
        take(piece);
        true
    });
}

/// Calls `take` for each piece of a payload until it returns `false`.
fn each<'a>(
    codec: NalCodec,
    has_order_numbers: bool,
    payload: &'a [u8],
    mut take: impl FnMut(Piece<'a>) -> bool,
) {
    if payload.is_empty() {
        return;
    }
    let parsed = match codec {
        NalCodec::H264 => h264(payload, &mut take),
        NalCodec::H265 => h265(has_order_numbers, payload, &mut take),
    };
    if parsed.is_none() {
        take(Piece::Unknown);
    }
}

/// Returns `None` if the payload cannot be used, or only in part.
fn h264<'a>(payload: &'a [u8], take: &mut dyn FnMut(Piece<'a>) -> bool) -> Option<()> {
    let codec = NalCodec::H264;
    match h264::nal_type(payload) {
        1..=23 => {
            let (header, data) = payload.split_at_checked(1)?;
            take(Piece::Whole(header, data));
        }
        24 => aggregate(codec, payload.get(1..)?, 0, take)?,
        // STAP-B, with a decoding order number.
        25 => aggregate(codec, payload.get(3..)?, 0, take)?,
        kind @ (28 | 29) => {
            let &[indicator, header, ref data @ ..] = payload else {
                return None;
            };
            let is_first = header & 0x80 != 0;
            // FU-B: the first fragment has a decoding order number.
            let skipped = if kind == 29 && is_first { 2 } else { 0 };
            take(Piece::Fragment(Fragment {
                is_odd: header & 0xC0 == 0xC0 || header & 0x20 != 0 || data.is_empty(),
                is_first,
                is_last: header & 0x40 != 0,
                header: [indicator & 0xE0 | header & 0x1F, 0],
                codec,
                data: data.get(skipped..)?,
            }));
        }
        _ => return None,
    }
    Some(())
}

fn h265<'a>(
    has_order_numbers: bool,
    payload: &'a [u8],
    take: &mut dyn FnMut(Piece<'a>) -> bool,
) -> Option<()> {
    let codec = NalCodec::H265;
    let number = if has_order_numbers { 2 } else { 0 };
    let (header, data) = payload.split_at_checked(2)?;
    match codec.kind(header) {
        0..=47 => {
            take(Piece::Whole(header, data.get(number..)?));
        }
        48 => aggregate(codec, data.get(number..)?, number / 2, take)?,
        49 => {
            let (&fragment, data) = data.split_first()?;
            let is_first = fragment & 0x80 != 0;
            let skipped = if is_first { number } else { 0 };
            let &[first, second] = header else {
                return None;
            };
            take(Piece::Fragment(Fragment {
                is_odd: fragment & 0xC0 == 0xC0 || data.is_empty(),
                is_first,
                is_last: fragment & 0x40 != 0,
                header: [first & 0x81 | (fragment & 0x3F) << 1, second],
                codec,
                data: data.get(skipped..)?,
            }));
        }
        // PACI, and numbers that nobody uses.
        _ => return None,
    }
    Some(())
}

/// Units after their lengths, with `between` bytes of decoding order before all but the first.
fn aggregate<'a>(
    codec: NalCodec,
    mut rest: &'a [u8],
    between: usize,
    take: &mut dyn FnMut(Piece<'a>) -> bool,
) -> Option<()> {
    let mut skipped = 0;
    while !rest.is_empty() {
        let (length, after) = rest.get(skipped..)?.split_first_chunk::<2>()?;
        let (unit, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let unit = without_start_code(unit);
        if let Some((header, data)) = unit.split_at_checked(codec.header())
            && !take(Piece::Whole(header, data))
        {
            return Some(());
        }
        (rest, skipped) = (after, between);
    }
    Some(())
}
