//! H.264 parameter sets and slice headers (ITU-T H.264 §7.3, §8.2.1). NAL units are passed without start code and with
//! emulation prevention bytes.

use super::Timebase;
use super::bits::{Bits, unescape};

/// A slice of a picture that is not an IDR picture.
pub const SLICE: u8 = 1;
/// A slice of an IDR picture: a keyframe.
pub const IDR: u8 = 5;
/// Supplemental enhancement information.
pub const SEI: u8 = 6;
/// Sequence parameter set.
pub const SPS: u8 = 7;
/// Picture parameter set.
pub const PPS: u8 = 8;
/// Access unit delimiter.
pub const AUD: u8 = 9;
/// Filler data.
pub const FILLER: u8 = 12;

/// Maximum size of a header that is parsed, in bytes; real ones are much shorter.
const HEADER_BYTES: usize = 4096;
const SLICE_HEADER_BYTES: usize = 64;

/// Returns the type of a NAL unit (§7.4.1); 0, "unspecified", if it is empty.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1F)
}

/// Returns `false` for NAL units of unspecified types (0, 24 to 31), which are reserved for applications: RTP uses
/// these numbers for its own purposes (RFC 6184 §5.2).
pub fn is_sendable(nal: &[u8]) -> bool {
    matches!(nal_type(nal), 1..=23)
}

/// The fields of a sequence parameter set that a sender needs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sps {
    /// seq_parameter_set_id.
    pub id: u8,
    /// profile_idc: 66 Baseline, 77 Main, 100 High.
    pub profile: u8,
    /// constraint_set0_flag (highest bit) to constraint_set5_flag.
    pub constraints: u8,
    /// level_idc: ten times the level, so 31 is 3.1.
    pub level: u8,
    /// Width in pixels, after cropping.
    pub width: u32,
    /// Height in pixels, after cropping.
    pub height: u32,
    /// Number of pictures that may precede another in decoding order and follow it in output order; `None` if
    /// unspecified.
    pub max_num_reorder_frames: Option<u32>,
    /// Duration of one frame; `None` if unspecified.
    pub frame_time: Option<Timebase>,
    log2_max_frame_num: u32,
    poc_type: u32,
    log2_max_poc_lsb: u32,
    delta_pic_order_always_zero: bool,
    frame_mbs_only: bool,
    separate_colour_planes: bool,
}

impl Sps {
    /// Parses a sequence parameter set NAL unit. Returns `None` if it is invalid.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        let rbsp = unescape(nal.get(1..)?, HEADER_BYTES);
        let &[profile, constraints, level] = rbsp.first_chunk()?;
        let mut bits = Bits::new(rbsp.get(3..)?);
        let id = u8::try_from(bits.ue()?).ok().filter(|id| *id < 32)?;
        let (mut chroma, mut separate_colour_planes) = (1, false);
        if has_chroma_format(profile) {
            chroma = bits.ue().filter(|chroma| *chroma <= 3)?;
            if chroma == 3 {
                separate_colour_planes = bits.bit()?;
            }
            bits.ue()?; // bit_depth_luma_minus8
            bits.ue()?; // bit_depth_chroma_minus8
            bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
            if bits.bit()? {
                skip_scaling_lists(&mut bits, if chroma == 3 { 12 } else { 8 })?;
            }
        }
        let log2_max_frame_num = bits.ue().filter(|n| *n <= 12)? + 4;
        let poc_type = bits.ue().filter(|kind| *kind <= 2)?;
        let (mut log2_max_poc_lsb, mut delta_pic_order_always_zero) = (0, false);
        if poc_type == 0 {
            log2_max_poc_lsb = bits.ue().filter(|n| *n <= 12)? + 4;
        } else if poc_type == 1 {
            delta_pic_order_always_zero = bits.bit()?;
            bits.se()?; // offset_for_non_ref_pic
            bits.se()?; // offset_for_top_to_bottom_field
            for _ in 0..bits.ue().filter(|n| *n <= 255)? {
                bits.se()?; // offset_for_ref_frame
            }
        }
        bits.ue()?; // max_num_ref_frames
        bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
        let width = bits.ue().filter(|n| *n < 4096)? + 1;
        let height = bits.ue().filter(|n| *n < 4096)? + 1;
        let frame_mbs_only = bits.bit()?;
        bits.skip(if frame_mbs_only { 1 } else { 2 })?; // mb_adaptive…, direct_8x8_inference_flag
        let fields = if frame_mbs_only { 1 } else { 2 };
        // Table 6-1: luma samples per chroma sample.
        let chroma = if separate_colour_planes { 0 } else { chroma };
        let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
        let unit_y = if chroma == 1 { 2 } else { 1 } * fields;
        let (crop_x, crop_y) = cropping(&mut bits)?;
        let width = (width * 16).checked_sub(crop_x.checked_mul(unit_x)?)?;
        let height = (height * 16 * fields).checked_sub(crop_y.checked_mul(unit_y)?)?;
        // A damaged VUI does not invalidate the rest.
        let vui = if bits.bit()? { vui(&mut bits) } else { None };
        let (frame_time, max_num_reorder_frames) = vui.unwrap_or_default();
        Some(Self {
            id,
            profile,
            constraints,
            level,
            width,
            height,
            max_num_reorder_frames,
            frame_time,
            log2_max_frame_num,
            poc_type,
            log2_max_poc_lsb,
            delta_pic_order_always_zero,
            frame_mbs_only,
            separate_colour_planes,
        })
    }

    /// Returns the `profile-level-id` of RFC 6184 §8.1, six hexadecimal digits.
    pub fn profile_level_id(&self) -> String {
        format!(
            "{:02x}{:02x}{:02x}",
            self.profile, self.constraints, self.level
        )
    }
}

fn has_chroma_format(profile: u8) -> bool {
    matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    )
}

/// Skips scaling lists (§7.3.2.1.1.1).
fn skip_scaling_lists(bits: &mut Bits<'_>, lists: usize) -> Option<()> {
    for list in 0..lists {
        if !bits.bit()? {
            continue;
        }
        let (mut last, mut next) = (8i32, 8i32);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.se()?.rem_euclid(256)) % 256;
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

/// Returns left plus right and top plus bottom cropping, in crop units.
fn cropping(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
    if !bits.bit()? {
        return Some((0, 0));
    }
    let x = bits.ue()?.checked_add(bits.ue()?)?;
    let y = bits.ue()?.checked_add(bits.ue()?)?;
    Some((x, y))
}

/// Reads the VUI (annex E): frame time and max_num_reorder_frames.
fn vui(bits: &mut Bits<'_>) -> Option<(Option<Timebase>, Option<u32>)> {
    const EXTENDED_SAR: u32 = 255;
    if bits.bit()? && bits.bits(8)? == EXTENDED_SAR {
        bits.skip(32)?;
    }
    if bits.bit()? {
        bits.skip(1)?; // overscan_appropriate_flag
    }
    if bits.bit()? {
        bits.skip(4)?; // video_format, video_full_range_flag
        if bits.bit()? {
            bits.skip(24)?; // colour_primaries, transfer_characteristics, matrix_coefficients
        }
    }
    if bits.bit()? {
        bits.ue()?; // chroma_sample_loc_type_top_field
        bits.ue()?; // chroma_sample_loc_type_bottom_field
    }
    let mut frame_time = None;
    if bits.bit()? {
        let (units, scale) = (bits.bits(32)?, bits.bits(32)?);
        bits.skip(1)?; // fixed_frame_rate_flag
        // A tick is the duration of a field (§E.2.1).
        frame_time = units
            .checked_mul(2)
            .and_then(|units| Timebase::new(units, scale));
    }
    Some((frame_time, reordering(bits).flatten()))
}

fn reordering(bits: &mut Bits<'_>) -> Option<Option<u32>> {
    let nal_hrd = bits.bit()?;
    if nal_hrd {
        skip_hrd(bits)?;
    }
    let vcl_hrd = bits.bit()?;
    if vcl_hrd {
        skip_hrd(bits)?;
    }
    bits.skip(if nal_hrd || vcl_hrd { 2 } else { 1 })?; // low_delay_hrd_flag, pic_struct_present_flag
    if !bits.bit()? {
        return Some(None);
    }
    bits.skip(1)?; // motion_vectors_over_pic_boundaries_flag
    for _ in 0..4 {
        bits.ue()?; // max_bytes_per_pic_denom to log2_max_mv_length_vertical
    }
    Some(Some(bits.ue()?))
}

/// Skips HRD parameters (§E.1.2).
fn skip_hrd(bits: &mut Bits<'_>) -> Option<()> {
    let count = bits.ue().filter(|n| *n < 32)?;
    bits.skip(8)?;
    for _ in 0..=count {
        bits.ue()?;
        bits.ue()?;
        bits.skip(1)?;
    }
    bits.skip(20)
}

/// The fields of a picture parameter set needed to parse slice headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pps {
    pub id: u8,
    pub sps: u8,
    bottom_field_pic_order_in_frame_present: bool,
}

impl Pps {
    pub fn parse(nal: &[u8]) -> Option<Self> {
        let rbsp = unescape(nal.get(1..)?, SLICE_HEADER_BYTES);
        let mut bits = Bits::new(&rbsp);
        let id = u8::try_from(bits.ue()?).ok()?;
        let sps = u8::try_from(bits.ue()?).ok().filter(|id| *id < 32)?;
        bits.skip(1)?; // entropy_coding_mode_flag
        Some(Self {
            id,
            sps,
            bottom_field_pic_order_in_frame_present: bits.bit()?,
        })
    }
}

/// The fields of a slice header that distinguish pictures (§7.4.1.2.4) and give their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    pps: u8,
    pub idr: bool,
    pub reference: bool,
    pub field: bool,
    frame_num: u32,
    idr_pic_id: u32,
    poc_lsb: u32,
    delta_poc_bottom: i32,
    delta_poc: [i32; 2],
    /// May differ between slices of one picture.
    pub bidirectional: bool,
}

impl Slice {
    /// Returns the id of the picture parameter set that a slice refers to.
    pub fn pps_id(nal: &[u8]) -> Option<u8> {
        let rbsp = unescape(nal.get(1..)?, SLICE_HEADER_BYTES);
        let mut bits = Bits::new(&rbsp);
        bits.ue()?;
        bits.ue()?;
        u8::try_from(bits.ue()?).ok()
    }

    pub fn parse(nal: &[u8], pps: &Pps, sps: &Sps) -> Option<Self> {
        let (header, rest) = nal.split_first()?;
        let rbsp = unescape(rest, SLICE_HEADER_BYTES);
        let mut bits = Bits::new(&rbsp);
        bits.ue()?; // first_mb_in_slice
        let slice_type = bits.ue().filter(|kind| *kind <= 9)?;
        bits.ue()?; // pic_parameter_set_id
        if sps.separate_colour_planes {
            bits.skip(2)?;
        }
        let frame_num = bits.bits(sps.log2_max_frame_num)?;
        let field = !sps.frame_mbs_only && bits.bit()?;
        if field {
            bits.skip(1)?; // bottom_field_flag
        }
        let idr = header & 0x1F == IDR;
        let idr_pic_id = if idr { bits.ue()? } else { 0 };
        let mut poc_lsb = 0;
        let mut delta_poc_bottom = 0;
        let mut delta_poc = [0; 2];
        let both_fields = pps.bottom_field_pic_order_in_frame_present && !field;
        if sps.poc_type == 0 {
            poc_lsb = bits.bits(sps.log2_max_poc_lsb)?;
            if both_fields {
                delta_poc_bottom = bits.se()?;
            }
        } else if sps.poc_type == 1 && !sps.delta_pic_order_always_zero {
            delta_poc[0] = bits.se()?;
            if both_fields {
                delta_poc[1] = bits.se()?;
            }
        }
        Some(Self {
            pps: pps.id,
            idr,
            reference: header & 0x60 != 0,
            field,
            frame_num,
            idr_pic_id,
            poc_lsb,
            delta_poc_bottom,
            delta_poc,
            bidirectional: slice_type % 5 == 1,
        })
    }

    /// Returns `true` if both slices belong to the same picture.
    pub fn same_picture(&self, other: &Self) -> bool {
        let other = Self {
            bidirectional: self.bidirectional,
            ..*other
        };
        *self == other
    }
}

/// Tracks the picture order count and detects pictures that are displayed before one that was stored earlier.
///
/// Does not handle memory_management_control_operation 5, which restarts the count within a sequence.
#[derive(Debug, Default)]
pub(crate) struct Order {
    previous: i64,
    previous_lsb: u32,
    highest: Option<i64>,
}

impl Order {
    /// Processes the first slice of the next picture. Returns `true` if it is displayed before an earlier one.
    pub fn is_reordered(&mut self, slice: &Slice, sps: &Sps) -> bool {
        if slice.idr {
            *self = Self::default();
        }
        match sps.poc_type {
            0 => {
                let count = self.count(slice, sps);
                let reordered = self.highest.is_some_and(|highest| count < highest);
                self.highest = self.highest.max(Some(count));
                reordered
            }
            // Type 1 permits reordering, but encoders use it for B-frames only.
            1 => slice.bidirectional,
            // §8.2.1.3: output order equals decoding order.
            _ => false,
        }
    }

    /// Computes the picture order count (§8.2.1.1).
    fn count(&mut self, slice: &Slice, sps: &Sps) -> i64 {
        let modulus = 1i64 << sps.log2_max_poc_lsb;
        let step = i64::from(slice.poc_lsb) - i64::from(self.previous_lsb);
        let mut msb = self.previous;
        if step <= -modulus / 2 {
            msb += modulus;
        } else if step > modulus / 2 {
            msb -= modulus;
        }
        if slice.reference {
            self.previous = msb;
            self.previous_lsb = slice.poc_lsb;
        }
        msb + i64::from(slice.poc_lsb)
    }
}
