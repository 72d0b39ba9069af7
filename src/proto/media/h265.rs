//! H.265 parameter sets and slice headers (ITU-T H.265 §7.3, §8.3.1). NAL units are passed without start code and with
//! emulation prevention bytes.

use super::Timebase;
use super::bits::{Bits, unescape};

/// Video parameter set.
pub const VPS: u8 = 32;
/// Sequence parameter set.
pub const SPS: u8 = 33;
/// Picture parameter set.
pub const PPS: u8 = 34;
/// Access unit delimiter.
pub const AUD: u8 = 35;
/// End of sequence.
pub const EOS: u8 = 36;
/// End of bitstream.
pub const EOB: u8 = 37;
/// Filler data.
pub const FILLER: u8 = 38;
/// Supplemental enhancement information before the picture.
pub const PREFIX_SEI: u8 = 39;

const HEADER_BYTES: usize = 4096;
const SLICE_HEADER_BYTES: usize = 64;

/// Returns the type of a NAL unit (§7.4.2.2); 63, "unspecified", if its header is incomplete.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first_chunk::<2>()
        .map_or(63, |header| header[0] >> 1 & 0x3F)
}

/// Returns `false` for NAL units of unspecified types (48 to 63), which are reserved for applications: RTP uses these
/// numbers for its own purposes (RFC 7798 §4.4).
pub fn is_sendable(nal: &[u8]) -> bool {
    nal_type(nal) < 48
}

/// Returns `true` for a slice of a picture at which decoding can start (IDR, BLA or CRA).
pub fn is_irap(nal: &[u8]) -> bool {
    matches!(nal_type(nal), 16..=23)
}

/// Returns nuh_layer_id: above 0 for enhancement layers, which WebRTC does not use.
pub(crate) fn layer(nal: &[u8]) -> u8 {
    nal.first_chunk().map_or(0, |&[a, b]| (a & 1) << 5 | b >> 3)
}

fn temporal_id(nal: &[u8]) -> u8 {
    nal.get(1).map_or(0, |byte| (byte & 7).saturating_sub(1))
}

/// The fields of a sequence parameter set that a sender needs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sps {
    /// sps_seq_parameter_set_id.
    pub id: u8,
    /// general_profile_idc: 1 Main, 2 Main 10.
    pub profile: u8,
    /// general_level_idc: thirty times the level, so 93 is 3.1.
    pub level: u8,
    /// general_tier_flag: set for the high tier.
    pub high_tier: bool,
    /// Width in pixels, inside the conformance window.
    pub width: u32,
    /// Height in pixels, inside the conformance window.
    pub height: u32,
    /// Number of pictures that may precede another in decoding order and follow it in output order.
    pub max_num_reorder_pics: u32,
    /// Duration of one picture; `None` if unspecified.
    pub frame_time: Option<Timebase>,
    log2_max_poc_lsb: u32,
    separate_colour_planes: bool,
}

impl Sps {
    /// Parses a sequence parameter set NAL unit. Returns `None` if it is invalid.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        let rbsp = unescape(nal.get(2..)?, HEADER_BYTES);
        let mut bits = Bits::new(&rbsp);
        bits.skip(4)?; // sps_video_parameter_set_id
        let sub_layers = bits.bits(3).filter(|n| *n <= 6)?;
        bits.skip(1)?; // sps_temporal_id_nesting_flag
        let (high_tier, profile, level) = profile_tier_level(&mut bits, sub_layers)?;
        let id = u8::try_from(bits.ue()?).ok().filter(|id| *id < 16)?;
        let chroma = bits.ue().filter(|chroma| *chroma <= 3)?;
        let separate_colour_planes = chroma == 3 && bits.bit()?;
        let (width, height) = (bits.ue()?, bits.ue()?);
        let (crop_x, crop_y) = window(&mut bits)?;
        let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
        let unit_y = if chroma == 1 { 2 } else { 1 };
        let width = width.checked_sub(crop_x.checked_mul(unit_x)?)?;
        let height = height.checked_sub(crop_y.checked_mul(unit_y)?)?;
        bits.ue()?; // bit_depth_luma_minus8
        bits.ue()?; // bit_depth_chroma_minus8
        let log2_max_poc_lsb = bits.ue().filter(|n| *n <= 12)? + 4;
        let all_layers = bits.bit()?;
        let mut max_num_reorder_pics = 0;
        for _ in 0..=if all_layers { sub_layers } else { 0 } {
            bits.ue()?; // sps_max_dec_pic_buffering_minus1
            max_num_reorder_pics = bits.ue()?; // the last one is the highest layer's
            bits.ue()?; // sps_max_latency_increase_plus1
        }
        Some(Self {
            id,
            profile,
            level,
            high_tier,
            width,
            height,
            max_num_reorder_pics,
            // The rest is read for the timing only; if it is damaged, there is none.
            frame_time: timing(&mut bits, log2_max_poc_lsb).flatten(),
            log2_max_poc_lsb,
            separate_colour_planes,
        })
    }
}

/// Reads tier, profile and level (§7.3.3).
fn profile_tier_level(bits: &mut Bits<'_>, sub_layers: u32) -> Option<(bool, u8, u8)> {
    bits.skip(2)?; // general_profile_space
    let high_tier = bits.bit()?;
    let profile = bits.bits(5)? as u8;
    bits.skip(32 + 48)?; // compatibility and constraint flags
    let level = bits.bits(8)? as u8;
    let mut present = Vec::new();
    for _ in 0..sub_layers {
        present.push((bits.bit()?, bits.bit()?));
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers as usize))?;
    }
    for (profile_present, level_present) in present {
        bits.skip(if profile_present { 88 } else { 0 })?;
        bits.skip(if level_present { 8 } else { 0 })?;
    }
    Some((high_tier, profile, level))
}

/// Returns left plus right and top plus bottom of a window, in chroma units.
fn window(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
    if !bits.bit()? {
        return Some((0, 0));
    }
    let x = bits.ue()?.checked_add(bits.ue()?)?;
    let y = bits.ue()?.checked_add(bits.ue()?)?;
    Some((x, y))
}

/// Reads from log2_min_luma_coding_block_size_minus3 to vui_timing_info.
fn timing(bits: &mut Bits<'_>, log2_max_poc_lsb: u32) -> Option<Option<Timebase>> {
    for _ in 0..6 {
        bits.ue()?; // block sizes, transform hierarchy depths
    }
    if bits.bit()? && bits.bit()? {
        skip_scaling_list_data(bits)?;
    }
    bits.skip(2)?; // amp_enabled_flag, sample_adaptive_offset_enabled_flag
    if bits.bit()? {
        bits.skip(8)?; // pcm bit depths
        bits.ue()?;
        bits.ue()?;
        bits.skip(1)?;
    }
    let sets = bits.ue().filter(|n| *n <= 64)?;
    let mut pictures = 0;
    for set in 0..sets {
        pictures = short_term_ref_pic_set(bits, set, pictures)?;
    }
    if bits.bit()? {
        for _ in 0..bits.ue().filter(|n| *n <= 32)? {
            bits.skip(log2_max_poc_lsb as usize + 1)?;
        }
    }
    bits.skip(2)?; // sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
    if bits.bit()? { vui(bits) } else { Some(None) }
}

/// Skips scaling lists (§7.3.4).
fn skip_scaling_list_data(bits: &mut Bits<'_>) -> Option<()> {
    for size in 0..4 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if !bits.bit()? {
                bits.ue()?;
                continue;
            }
            if size > 1 {
                bits.se()?;
            }
            for _ in 0..64.min(1 << (4 + (size << 1))) {
                bits.se()?;
            }
        }
    }
    Some(())
}

/// Reads a short-term reference picture set (§7.3.7). Takes the number of pictures in the previous set and returns that
/// of this one.
fn short_term_ref_pic_set(bits: &mut Bits<'_>, set: u32, previous: u32) -> Option<u32> {
    if set > 0 && bits.bit()? {
        bits.skip(1)?; // delta_rps_sign
        bits.ue()?; // abs_delta_rps_minus1
        let mut pictures = 0;
        for _ in 0..=previous {
            let used = bits.bit()?;
            if used || bits.bit()? {
                pictures += 1;
            }
        }
        return Some(pictures);
    }
    let negative = bits.ue().filter(|n| *n <= 16)?;
    let positive = bits.ue().filter(|n| *n <= 16)?;
    for _ in 0..negative + positive {
        bits.ue()?;
        bits.skip(1)?;
    }
    Some(negative + positive)
}

/// Reads the VUI (annex E) up to the timing.
fn vui(bits: &mut Bits<'_>) -> Option<Option<Timebase>> {
    const EXTENDED_SAR: u32 = 255;
    if bits.bit()? && bits.bits(8)? == EXTENDED_SAR {
        bits.skip(32)?;
    }
    if bits.bit()? {
        bits.skip(1)?; // overscan_appropriate_flag
    }
    if bits.bit()? {
        bits.skip(4)?;
        if bits.bit()? {
            bits.skip(24)?;
        }
    }
    if bits.bit()? {
        bits.ue()?;
        bits.ue()?;
    }
    bits.skip(3)?; // neutral_chroma_indication_flag, field_seq_flag, frame_field_info_present_flag
    window(bits)?;
    if !bits.bit()? {
        return Some(None);
    }
    let (units, scale) = (bits.bits(32)?, bits.bits(32)?);
    Some(Timebase::new(units, scale))
}

/// The fields of a picture parameter set needed to parse slice headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pps {
    pub id: u8,
    pub sps: u8,
    output_flag_present: bool,
    extra_slice_header_bits: u32,
}

impl Pps {
    pub fn parse(nal: &[u8]) -> Option<Self> {
        let rbsp = unescape(nal.get(2..)?, SLICE_HEADER_BYTES);
        let mut bits = Bits::new(&rbsp);
        let id = u8::try_from(bits.ue()?).ok().filter(|id| *id < 64)?;
        let sps = u8::try_from(bits.ue()?).ok().filter(|id| *id < 16)?;
        bits.skip(1)?; // dependent_slice_segments_enabled_flag
        Some(Self {
            id,
            sps,
            output_flag_present: bits.bit()?,
            extra_slice_header_bits: bits.bits(3)?,
        })
    }
}

/// Returns `true` for the first slice segment of a picture (first_slice_segment_in_pic_flag).
pub(crate) fn is_first_slice(nal: &[u8]) -> bool {
    nal.get(2).is_some_and(|byte| byte & 0x80 != 0)
}

/// Returns the id of the picture parameter set that the first slice of a picture refers to.
pub(crate) fn slice_pps_id(nal: &[u8]) -> Option<u8> {
    let rbsp = unescape(nal.get(2..)?, SLICE_HEADER_BYTES);
    let mut bits = Bits::new(&rbsp);
    bits.skip(if is_irap(nal) { 2 } else { 1 })?;
    u8::try_from(bits.ue()?).ok()
}

/// Tracks the picture order count and detects pictures that are displayed before one that was stored earlier.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// Order count of the last reference picture of temporal layer 0.
    previous: i64,
    highest: Option<i64>,
    started: bool,
}

impl Order {
    /// Starts a new sequence with the next picture (§7.4.2.4.4: after an end of sequence NAL unit).
    pub fn restart(&mut self) {
        *self = Self::default();
    }

    /// Processes the first slice of the next picture. Returns `true` if it is displayed before an earlier one, and
    /// `None` if the slice header is invalid.
    pub fn is_reordered(&mut self, nal: &[u8], pps: &Pps, sps: &Sps) -> Option<bool> {
        let kind = nal_type(nal);
        let rbsp = unescape(nal.get(2..)?, SLICE_HEADER_BYTES);
        let mut bits = Bits::new(&rbsp);
        bits.skip(if is_irap(nal) { 2 } else { 1 })?;
        bits.ue()?; // slice_pic_parameter_set_id
        bits.skip(pps.extra_slice_header_bits as usize)?;
        bits.ue()?; // slice_type
        let shown = !pps.output_flag_present || bits.bit()?;
        if sps.separate_colour_planes {
            bits.skip(2)?;
        }
        let idr = matches!(kind, 19 | 20);
        let lsb = if idr {
            0
        } else {
            i64::from(bits.bits(sps.log2_max_poc_lsb)?)
        };
        // IDR and BLA pictures start a sequence, and so does the first picture.
        let first = matches!(kind, 16..=20) || !self.started;
        if first {
            *self = Self {
                started: true,
                ..Self::default()
            };
        }
        let count = if first { lsb } else { self.count(lsb, sps) };
        // §8.3.1: RADL, RASL and sub-layer non-reference pictures do not count.
        let counts = !matches!(kind, 6..=9) && (kind >= 16 || kind % 2 == 1);
        if temporal_id(nal) == 0 && counts {
            self.previous = count;
        }
        let reordered = shown && self.highest.is_some_and(|highest| count < highest);
        if shown {
            self.highest = self.highest.max(Some(count));
        }
        Some(reordered)
    }

    fn count(&self, lsb: i64, sps: &Sps) -> i64 {
        let modulus = 1i64 << sps.log2_max_poc_lsb;
        let previous_lsb = self.previous.rem_euclid(modulus);
        let mut msb = self.previous - previous_lsb;
        if lsb - previous_lsb <= -modulus / 2 {
            msb += modulus;
        } else if lsb - previous_lsb > modulus / 2 {
            msb -= modulus;
        }
        msb + lsb
    }
}
