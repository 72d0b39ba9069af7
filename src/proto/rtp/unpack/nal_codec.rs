//! H.264 and H.265, as far as their depacketizers differ.

use crate::proto::media::Timebase;
use crate::proto::media::{h264, h265};

/// Properties of a stream's pictures.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VideoInfo {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Profile and level as people write them, for example `High 4.0`; empty for MJPEG.
    pub profile: String,
    /// The codec string of RFC 6381, for example `avc1.640028`; empty for MJPEG.
    pub codec_string: String,
    /// Duration of a picture that the parameter sets state; cameras often state a wrong one.
    pub frame_time: Option<Timebase>,
    /// Number of pictures that may be displayed later than a following one, if stated. Above 0, B-frames are possible.
    pub max_reordered: Option<u32>,
}

/// A codec whose pictures consist of NAL units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NalCodec {
    H264,
    H265,
}

/// Role of a NAL unit in an access unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A slice of a picture.
    Slice {
        /// Set if it is the picture's first one.
        first: bool,
        /// Set if decoding can start with the picture.
        key: bool,
    },
    /// A parameter set of this kind.
    Set(u8),
    /// Precedes the slices of a picture: supplemental information and the like.
    Prefix,
    /// An access unit delimiter: begins an access unit, and is not given out.
    Delimiter,
    /// Follows the slices of a picture.
    Suffix,
    /// Not given out: filler, other layers, numbers that RTP or vendors use.
    Ignored,
}

impl Role {
    /// Returns `true` for the first slice of a picture.
    pub fn is_first_slice(self) -> bool {
        matches!(self, Self::Slice { first: true, .. })
    }
}

impl NalCodec {
    /// Returns the size of a NAL unit's header, in bytes.
    pub fn header(self) -> usize {
        match self {
            Self::H264 => 1,
            Self::H265 => 2,
        }
    }

    /// Returns the type of a NAL unit.
    pub fn kind(self, nal: &[u8]) -> u8 {
        match self {
            Self::H264 => h264::nal_type(nal),
            Self::H265 => h265::nal_type(nal),
        }
    }

    /// Returns `true` for a picture that refers to what precedes the keyframe before it (RASL).
    pub fn is_leading(self, nal: &[u8]) -> bool {
        self == Self::H265 && matches!(h265::nal_type(nal), 8 | 9)
    }

    /// Returns `true` for a keyframe that such pictures may follow (BLA, CRA).
    pub fn may_have_leading(self, nal: &[u8]) -> bool {
        self == Self::H265 && matches!(h265::nal_type(nal), 16..=18 | 21)
    }

    /// Returns the kinds of parameter sets that decoding requires.
    pub fn required_sets(self) -> &'static [u8] {
        match self {
            Self::H264 => &[h264::SPS, h264::PPS],
            Self::H265 => &[h265::VPS, h265::SPS, h265::PPS],
        }
    }

    /// Returns the kind of a parameter set; `None` if the unit is something else.
    pub fn set_kind(self, nal: &[u8]) -> Option<u8> {
        match self.role(nal) {
            Role::Set(kind) => Some(kind),
            _ => None,
        }
    }

    /// Returns the id of a parameter set; 0 if it cannot be parsed.
    pub fn set_id(self, kind: u8, nal: &[u8]) -> u8 {
        let id = match (self, kind) {
            (Self::H264, h264::SPS) => h264::Sps::parse(nal).map(|sps| sps.id),
            (Self::H264, _) => h264::Pps::parse(nal).map(|pps| pps.id),
            (Self::H265, h265::VPS) => nal.get(2).map(|byte| byte >> 4),
            (Self::H265, h265::SPS) => h265::Sps::parse(nal).map(|sps| sps.id),
            (Self::H265, _) => h265::Pps::parse(nal).map(|pps| pps.id),
        };
        id.unwrap_or(0)
    }

    pub fn role(self, nal: &[u8]) -> Role {
        match self {
            Self::H264 => match h264::nal_type(nal) {
                kind @ (h264::SLICE | h264::IDR) => Role::Slice {
                    // first_mb_in_slice is 0, a single bit. Slices in arbitrary order are for Baseline decoders that nobody
                    // has.
                    first: nal.get(1).is_some_and(|byte| byte & 0x80 != 0),
                    key: kind == h264::IDR,
                },
                kind @ (h264::SPS | h264::PPS) => Role::Set(kind),
                h264::SEI | 14..=18 => Role::Prefix,
                h264::AUD => Role::Delimiter,
                // Data partitions, filler, other layers and views.
                2..=4 | h264::FILLER | 20 | 21 => Role::Ignored,
                _ if !h264::is_sendable(nal) => Role::Ignored,
                _ => Role::Suffix,
            },
            Self::H265 if h265::layer(nal) > 0 => Role::Ignored,
            Self::H265 => match h265::nal_type(nal) {
                0..=9 | 16..=21 => Role::Slice {
                    first: h265::is_first_slice(nal),
                    key: h265::is_irap(nal),
                },
                kind @ (h265::VPS | h265::SPS | h265::PPS) => Role::Set(kind),
                h265::PREFIX_SEI | 41..=44 => Role::Prefix,
                h265::AUD => Role::Delimiter,
                h265::FILLER => Role::Ignored,
                _ if !h265::is_sendable(nal) => Role::Ignored,
                _ => Role::Suffix,
            },
        }
    }
}

/// Parsed parameter sets, and the order in which pictures are displayed.
#[derive(Debug)]
pub(super) enum PictureOrder {
    H264 {
        sps: Vec<h264::Sps>,
        pps: Vec<h264::Pps>,
        newest: Option<u8>,
        order: h264::Order,
    },
    H265 {
        sps: Vec<h265::Sps>,
        pps: Vec<h265::Pps>,
        newest: Option<u8>,
        order: h265::Order,
    },
}

impl PictureOrder {
    pub fn new(codec: NalCodec) -> Self {
        match codec {
            NalCodec::H264 => Self::H264 {
                sps: Vec::new(),
                pps: Vec::new(),
                newest: None,
                order: h264::Order::default(),
            },
            NalCodec::H265 => Self::H265 {
                sps: Vec::new(),
                pps: Vec::new(),
                newest: None,
                order: h265::Order::default(),
            },
        }
    }

    /// Takes a parameter set. One that cannot be parsed changes nothing.
    pub fn take_set(&mut self, nal: &[u8]) {
        match self {
            Self::H264 {
                sps: all,
                pps: pictures,
                newest,
                ..
            } => match h264::nal_type(nal) {
                h264::SPS => {
                    if let Some(sps) = h264::Sps::parse(nal) {
                        *newest = Some(sps.id);
                        replace(all, sps, |sps| sps.id);
                    }
                }
                _ => {
                    if let Some(pps) = h264::Pps::parse(nal) {
                        replace(pictures, pps, |pps| pps.id);
                    }
                }
            },
            Self::H265 {
                sps: all,
                pps: pictures,
                newest,
                ..
            } => match h265::nal_type(nal) {
                h265::SPS => {
                    if let Some(sps) = h265::Sps::parse(nal) {
                        *newest = Some(sps.id);
                        replace(all, sps, |sps| sps.id);
                    }
                }
                h265::PPS => {
                    if let Some(pps) = h265::Pps::parse(nal) {
                        replace(pictures, pps, |pps| pps.id);
                    }
                }
                _ => {}
            },
        }
    }

    /// Takes the first slice of a picture. Returns `true` if it is displayed before an earlier one; `false` also if its
    /// parameter sets are unknown.
    pub fn is_reordered(&mut self, nal: &[u8]) -> bool {
        match self {
            Self::H264 {
                sps, pps, order, ..
            } => (|| {
                let id = h264::Slice::pps_id(nal)?;
                let pps = pps.iter().find(|pps| pps.id == id)?;
                let sps = sps.iter().find(|sps| sps.id == pps.sps)?;
                let slice = h264::Slice::parse(nal, pps, sps)?;
                // Both fields of a picture may have the same time; cameras with B-frames are progressive.
                Some(!slice.field && order.is_reordered(&slice, sps))
            })()
            .unwrap_or(false),
            Self::H265 {
                sps, pps, order, ..
            } => (|| {
                let id = h265::slice_pps_id(nal)?;
                let pps = pps.iter().find(|pps| pps.id == id)?;
                let sps = sps.iter().find(|sps| sps.id == pps.sps)?;
                order.is_reordered(nal, pps, sps)
            })()
            .unwrap_or(false),
        }
    }

    pub fn info(&self) -> Option<VideoInfo> {
        match self {
            Self::H264 { sps, newest, .. } => {
                let sps = sps.iter().find(|sps| Some(sps.id) == *newest)?;
                let level = format!("{}.{}", sps.level / 10, sps.level % 10);
                Some(VideoInfo {
                    width: sps.width,
                    height: sps.height,
                    profile: format!("{} {level}", h264_profile(sps)),
                    codec_string: format!("avc1.{}", sps.profile_level_id().to_uppercase()),
                    frame_time: sps.frame_time,
                    max_reordered: sps.max_num_reorder_frames,
                })
            }
            Self::H265 { sps, newest, .. } => {
                let sps = sps.iter().find(|sps| Some(sps.id) == *newest)?;
                let level = format!("{}.{}", sps.level / 30, sps.level % 30 / 3);
                let tier = if sps.high_tier { "H" } else { "L" };
                let profile = match sps.profile {
                    1 => "Main".to_owned(),
                    2 => "Main 10".to_owned(),
                    other => format!("profile {other}"),
                };
                Some(VideoInfo {
                    width: sps.width,
                    height: sps.height,
                    profile: format!("{profile} {level}"),
                    // Compatibility flags of Main and Main 10; no constraints.
                    codec_string: format!("hvc1.{}.6.{tier}{}.B0", sps.profile, sps.level),
                    frame_time: sps.frame_time,
                    max_reordered: Some(sps.max_num_reorder_pics),
                })
            }
        }
    }
}

fn h264_profile(sps: &h264::Sps) -> String {
    match (sps.profile, sps.constraints & 0x40 != 0) {
        (66, true) => "Constrained Baseline".into(),
        (66, false) => "Baseline".into(),
        (77, _) => "Main".into(),
        (88, _) => "Extended".into(),
        (100, _) => "High".into(),
        (110, _) => "High 10".into(),
        (122, _) => "High 4:2:2".into(),
        (other, _) => format!("profile {other}"),
    }
}

/// At most 32 sequence and 256 picture parameter sets: their ids are that many.
fn replace<T>(all: &mut Vec<T>, new: T, id: impl Fn(&T) -> u8) {
    match all.iter_mut().find(|old| id(old) == id(&new)) {
        Some(old) => *old = new,
        None => all.push(new),
    }
}
