//! Properties shown by the first bytes of an encoded frame: whether it is a keyframe, and its size.

use super::bits::Bits;
use super::start_codes::units;
use super::{h264, h265};

/// Checks the frame tag, whose lowest bit is 0 in keyframes (RFC 6386 §9.1).
pub(super) fn vp8_is_key(frame: &[u8]) -> bool {
    frame.first().is_some_and(|tag| tag & 1 == 0)
}

pub(super) fn vp9_is_key(frame: &[u8]) -> bool {
    vp9_header(frame).is_some_and(|header| header.key)
}

pub(super) fn vp9_dimensions(frame: &[u8]) -> Option<(u32, u32)> {
    vp9_header(frame)?.dimensions
}

pub(super) fn av1_is_key(frame: &[u8]) -> bool {
    av1_unit(frame).is_some_and(|unit| unit.key)
}

pub(super) fn av1_dimensions(frame: &[u8]) -> Option<(u32, u32)> {
    av1_unit(frame)?.dimensions
}

pub(super) fn h264_is_key(frame: &[u8]) -> bool {
    units(frame).any(|(_, nal)| h264::nal_type(nal) == h264::IDR)
}

pub(super) fn h264_dimensions(frame: &[u8]) -> Option<(u32, u32)> {
    let mut units = units(frame);
    let (_, nal) = units.find(|(_, nal)| h264::nal_type(nal) == h264::SPS)?;
    h264::Sps::parse(nal).map(|sps| (sps.width, sps.height))
}

pub(super) fn h265_is_key(frame: &[u8]) -> bool {
    units(frame).any(|(_, nal)| h265::is_irap(nal))
}

pub(super) fn h265_dimensions(frame: &[u8]) -> Option<(u32, u32)> {
    let mut units = units(frame);
    let (_, nal) = units.find(|(_, nal)| h265::nal_type(nal) == h265::SPS)?;
    h265::Sps::parse(nal).map(|sps| (sps.width, sps.height))
}

/// Reads the picture size (RFC 6386 §9.1): start code, then width and height in 14 bits each, with 2 bits of scaling
/// above.
pub(super) fn vp8_dimensions(frame: &[u8]) -> Option<(u32, u32)> {
    let head = frame.first_chunk::<10>()?;
    if head[0] & 1 != 0 || head[3..6] != [0x9D, 0x01, 0x2A] {
        return None;
    }
    let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
    Some((side(head[6], head[7]), side(head[8], head[9])))
}

struct Vp9Header {
    key: bool,
    dimensions: Option<(u32, u32)>,
}

/// Reads the start of the uncompressed header (VP9 bitstream specification §6.2).
fn vp9_header(frame: &[u8]) -> Option<Vp9Header> {
    let mut bits = Bits::new(frame);
    if bits.bits(2)? != 2 {
        return None;
    }
    let profile = bits.bits(1)? | bits.bits(1)? << 1;
    if profile == 3 {
        bits.skip(1)?;
    }
    let show_existing_frame = bits.bit()?;
    let key = !show_existing_frame && !bits.bit()?;
    let dimensions = if key {
        vp9_size(&mut bits, profile)
    } else {
        None
    };
    Some(Vp9Header { key, dimensions })
}

fn vp9_size(bits: &mut Bits<'_>, profile: u32) -> Option<(u32, u32)> {
    const SYNC_CODE: u32 = 0x49_83_42;
    const CS_RGB: u32 = 7;
    bits.skip(2)?; // show_frame, error_resilient_mode
    if bits.bits(24)? != SYNC_CODE {
        return None;
    }
    if profile >= 2 {
        bits.skip(1)?; // ten_or_twelve_bit
    }
    let odd = profile & 1 == 1;
    if bits.bits(3)? == CS_RGB {
        bits.skip(usize::from(odd))?;
    } else {
        bits.skip(if odd { 4 } else { 1 })?; // color_range, subsampling
    }
    Some((bits.bits(16)? + 1, bits.bits(16)? + 1))
}

struct Av1Unit {
    key: bool,
    dimensions: Option<(u32, u32)>,
}

/// Scans the OBUs of a temporal unit (AV1 specification §5.3, §7.5: decoding can start at a shown key frame that
/// follows a sequence header).
fn av1_unit(unit: &[u8]) -> Option<Av1Unit> {
    const SEQUENCE_HEADER: u8 = 1;
    const FRAME_HEADER: u8 = 3;
    const FRAME: u8 = 6;
    let mut found = Av1Unit {
        key: false,
        dimensions: None,
    };
    let mut still = None;
    let mut rest = unit;
    while !rest.is_empty() {
        let (kind, payload, next) = av1_obu(rest)?;
        match kind {
            SEQUENCE_HEADER => {
                still = Some(payload.first()? & 0b1000 != 0);
                found.dimensions = av1_size(payload);
            }
            FRAME_HEADER | FRAME => {
                // show_existing_frame (1 bit), frame_type (2 bits, 0 is KEY_FRAME), show_frame (1 bit)
                let shown_key = payload.first()? & 0b1111_0000 == 0b0001_0000;
                found.key = still.is_some_and(|reduced| reduced || shown_key);
                break;
            }
            _ => {}
        }
        rest = next;
    }
    Some(found)
}

/// Returns type and payload of the first OBU, and the remaining bytes.
fn av1_obu(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let header = *bytes.first()?;
    let extended = header & 0b100 != 0;
    let mut rest = bytes.get(if extended { 2 } else { 1 }..)?;
    let mut size = rest.len() as u64;
    if header & 0b10 != 0 {
        size = 0;
        for shift in 0..8 {
            let byte = *rest.first()?;
            rest = &rest[1..];
            size |= u64::from(byte & 0x7F) << (7 * shift);
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    let (payload, next) = rest.split_at_checked(usize::try_from(size).ok()?)?;
    Some((header >> 3 & 0xF, payload, next))
}

/// Reads the sequence header up to the frame size (AV1 specification §5.5.1).
fn av1_size(payload: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits::new(payload);
    bits.skip(4)?; // seq_profile, still_picture
    if bits.bit()? {
        bits.skip(5)?; // seq_level_idx
    } else {
        av1_operating_points(&mut bits)?;
    }
    let width_bits = bits.bits(4)? + 1;
    let height_bits = bits.bits(4)? + 1;
    Some((bits.bits(width_bits)? + 1, bits.bits(height_bits)? + 1))
}

fn av1_operating_points(bits: &mut Bits<'_>) -> Option<()> {
    let mut delay_bits = None;
    if bits.bit()? {
        bits.skip(64)?; // num_units_in_display_tick, time_scale
        if bits.bit()? {
            bits.ue()?; // num_ticks_per_picture_minus_1
        }
        if bits.bit()? {
            delay_bits = Some(bits.bits(5)? as usize + 1);
            bits.skip(32 + 5 + 5)?;
        }
    }
    let display_delay = bits.bit()?;
    for _ in 0..=bits.bits(5)? {
        bits.skip(12)?; // operating_point_idc
        if bits.bits(5)? > 7 {
            bits.skip(1)?; // seq_tier
        }
        if let Some(n) = delay_bits
            && bits.bit()?
        {
            bits.skip(2 * n + 1)?;
        }
        if display_delay && bits.bit()? {
            bits.skip(4)?;
        }
    }
    Some(())
}
