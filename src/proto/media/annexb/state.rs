//! Decoder state between NAL units: parameter sets and picture order.

use super::super::{Codec, MediaError, MediaErrorKind, Timebase, h264, h265};
use super::MAX_PARAMETER_SETS;

/// Role of a NAL unit in the division into access units (H.264 §7.4.1.2.3, H.265 §7.4.2.4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// An access unit delimiter.
    Delimiter,
    ParameterSet {
        kind: u8,
        id: u8,
    },
    /// Precedes the slices of a picture.
    Prefix,
    Slice {
        first: bool,
        keyframe: bool,
    },
    /// A slice whose parameter sets are missing.
    Orphan {
        first: bool,
    },
    /// Follows the slices of a picture.
    Suffix,
    /// Dropped: filler data, other layers.
    Ignored,
}

impl Role {
    /// Returns `true` if a NAL unit of this role starts a new access unit.
    pub fn begins_next(self, has_picture: bool) -> bool {
        has_picture
            && match self {
                Self::Delimiter | Self::ParameterSet { .. } | Self::Prefix => true,
                Self::Slice { first, .. } | Self::Orphan { first } => first,
                Self::Suffix | Self::Ignored => false,
            }
    }
}

/// A parameter set kept for repetition before keyframes.
#[derive(Debug)]
pub(super) struct ParameterSet {
    pub kind: u8,
    pub id: u8,
    pub nal: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct State {
    sets: Vec<ParameterSet>,
    codec: CodecState,
}

#[derive(Debug)]
enum CodecState {
    H264(Box<H264>),
    H265(Box<H265>),
}

#[derive(Debug, Default)]
struct H264 {
    sps: Vec<h264::Sps>,
    pps: Vec<h264::Pps>,
    newest: Option<h264::Sps>,
    last: Option<h264::Slice>,
    order: h264::Order,
}

#[derive(Debug, Default)]
struct H265 {
    sps: Vec<h265::Sps>,
    pps: Vec<h265::Pps>,
    newest: Option<h265::Sps>,
    order: h265::Order,
    /// Set if the parameter sets of the current picture's slices are present.
    decodable: bool,
}

impl State {
    pub fn new(codec: Codec) -> Option<Self> {
        let codec = match codec {
            Codec::H264 => CodecState::H264(Box::default()),
            Codec::H265 => CodecState::H265(Box::default()),
            _ => return None,
        };
        let sets = Vec::new();
        Some(Self { sets, codec })
    }

    pub fn codec(&self) -> Codec {
        match self.codec {
            CodecState::H264(_) => Codec::H264,
            CodecState::H265(_) => Codec::H265,
        }
    }

    pub fn h264_sps(&self) -> Option<&h264::Sps> {
        match &self.codec {
            CodecState::H264(state) => state.newest.as_ref(),
            CodecState::H265(_) => None,
        }
    }

    pub fn h265_sps(&self) -> Option<&h265::Sps> {
        match &self.codec {
            CodecState::H265(state) => state.newest.as_ref(),
            CodecState::H264(_) => None,
        }
    }

    /// Returns the frame time, if the stream specifies it.
    pub fn frame_time(&self) -> Option<Timebase> {
        match &self.codec {
            CodecState::H264(state) => state.newest.as_ref()?.frame_time,
            CodecState::H265(state) => state.newest.as_ref()?.frame_time,
        }
    }

    /// Iterates over the parameter sets in decoding order.
    pub fn sets(&self) -> impl Iterator<Item = &ParameterSet> {
        self.sets.iter()
    }

    /// Processes a NAL unit (not empty) and returns its role.
    pub fn take(&mut self, nal: &[u8], offset: u64) -> Result<Role, MediaError> {
        let role = match &mut self.codec {
            CodecState::H264(state) => state.take(nal, offset)?,
            CodecState::H265(state) => state.take(nal, offset)?,
        };
        if let Role::ParameterSet { kind, id } = role {
            self.keep(kind, id, nal, offset)?;
        }
        Ok(role)
    }

    fn keep(&mut self, kind: u8, id: u8, nal: &[u8], offset: u64) -> Result<(), MediaError> {
        let key = (kind, id);
        let others = self.sets.iter().filter(|set| (set.kind, set.id) != key);
        let total = others.map(|set| set.nal.len()).sum::<usize>() + nal.len();
        if total > MAX_PARAMETER_SETS {
            let reason =
                format!("{total} bytes of parameter sets; the limit is {MAX_PARAMETER_SETS}");
            return Err(MediaError::new(MediaErrorKind::TooLarge, offset, reason));
        }
        let nal = nal.to_vec();
        // Types ascend in order of dependence: VPS, SPS, PPS.
        match self
            .sets
            .binary_search_by_key(&key, |set| (set.kind, set.id))
        {
            Ok(at) => self.sets[at].nal = nal,
            Err(at) => self.sets.insert(at, ParameterSet { kind, id, nal }),
        }
        Ok(())
    }
}

impl H264 {
    fn take(&mut self, nal: &[u8], offset: u64) -> Result<Role, MediaError> {
        let damaged = |what| damaged(offset, "H.264", what);
        let kind = h264::nal_type(nal);
        Ok(match kind {
            h264::SLICE | h264::IDR => self.slice(nal, offset)?,
            2..=4 => {
                let reason =
                    "H.264 with data partitioning (Extended profile), which no browser decodes";
                return Err(MediaError::new(MediaErrorKind::Unsupported, offset, reason));
            }
            h264::SPS => {
                let sps = h264::Sps::parse(nal).ok_or_else(|| damaged("sequence parameter set"))?;
                let id = sps.id;
                self.newest = Some(sps.clone());
                replace(&mut self.sps, sps, |sps| sps.id);
                Role::ParameterSet { kind, id }
            }
            h264::PPS => {
                let pps = h264::Pps::parse(nal).ok_or_else(|| damaged("picture parameter set"))?;
                replace(&mut self.pps, pps, |pps| pps.id);
                Role::ParameterSet { kind, id: pps.id }
            }
            h264::AUD => Role::Delimiter,
            h264::FILLER => Role::Ignored,
            h264::SEI | 14..=18 => Role::Prefix,
            // Other layers and views (annexes F and G), which browsers cannot decode.
            20 | 21 => Role::Ignored,
            _ if !h264::is_sendable(nal) => Role::Ignored,
            _ => Role::Suffix,
        })
    }

    fn slice(&mut self, nal: &[u8], offset: u64) -> Result<Role, MediaError> {
        let pps = h264::Slice::pps_id(nal).and_then(|id| self.pps.iter().find(|pps| pps.id == id));
        let sets = pps.and_then(|pps| Some((pps, self.sps.iter().find(|sps| sps.id == pps.sps)?)));
        let Some((pps, sps)) = sets else {
            self.last = None;
            return Ok(Role::Orphan { first: true });
        };
        let slice = h264::Slice::parse(nal, pps, sps)
            .ok_or_else(|| damaged(offset, "H.264", "slice header"))?;
        if slice.field {
            let reason = "interlaced H.264 (field pictures), which WebRTC receivers do not show; \
                          re-encode: ffmpeg -i in.h264 -vf yadif -c:v libx264 -bf 0 out.h264";
            return Err(MediaError::new(MediaErrorKind::Unsupported, offset, reason));
        }
        let first = self.last.is_none_or(|last| !last.same_picture(&slice));
        self.last = Some(slice);
        if first && self.order.is_reordered(&slice, sps) {
            return Err(reordered(offset, "H.264", "libx264"));
        }
        let keyframe = slice.idr;
        Ok(Role::Slice { first, keyframe })
    }
}

impl H265 {
    fn take(&mut self, nal: &[u8], offset: u64) -> Result<Role, MediaError> {
        let damaged = |what| damaged(offset, "H.265", what);
        let kind = h265::nal_type(nal);
        if h265::layer(nal) > 0 {
            return Ok(Role::Ignored);
        }
        Ok(match kind {
            0..=9 | 16..=21 => self.slice(nal, offset)?,
            h265::VPS => {
                let id = nal.get(2).ok_or_else(|| damaged("video parameter set"))? >> 4;
                Role::ParameterSet { kind, id }
            }
            h265::SPS => {
                let sps = h265::Sps::parse(nal).ok_or_else(|| damaged("sequence parameter set"))?;
                let id = sps.id;
                self.newest = Some(sps.clone());
                replace(&mut self.sps, sps, |sps| sps.id);
                Role::ParameterSet { kind, id }
            }
            h265::PPS => {
                let pps = h265::Pps::parse(nal).ok_or_else(|| damaged("picture parameter set"))?;
                replace(&mut self.pps, pps, |pps| pps.id);
                Role::ParameterSet { kind, id: pps.id }
            }
            h265::AUD => Role::Delimiter,
            h265::FILLER => Role::Ignored,
            h265::EOS | h265::EOB => {
                self.order.restart();
                Role::Suffix
            }
            _ if !h265::is_sendable(nal) => Role::Ignored,
            h265::PREFIX_SEI | 41..=44 => Role::Prefix,
            _ => Role::Suffix,
        })
    }

    fn slice(&mut self, nal: &[u8], offset: u64) -> Result<Role, MediaError> {
        let first = h265::is_first_slice(nal);
        if !first {
            return Ok(match self.decodable {
                true => Role::Slice {
                    first,
                    keyframe: h265::is_irap(nal),
                },
                false => Role::Orphan { first },
            });
        }
        let pps = h265::slice_pps_id(nal).and_then(|id| self.pps.iter().find(|pps| pps.id == id));
        let sets = pps.and_then(|pps| Some((pps, self.sps.iter().find(|sps| sps.id == pps.sps)?)));
        self.decodable = sets.is_some();
        let Some((pps, sps)) = sets else {
            return Ok(Role::Orphan { first });
        };
        match self.order.is_reordered(nal, pps, sps) {
            None => Err(damaged(offset, "H.265", "slice header")),
            Some(true) => Err(reordered(offset, "H.265", "libx265")),
            Some(false) => Ok(Role::Slice {
                first,
                keyframe: h265::is_irap(nal),
            }),
        }
    }
}

fn replace<T>(all: &mut Vec<T>, new: T, id: impl Fn(&T) -> u8) {
    match all.iter_mut().find(|old| id(old) == id(&new)) {
        Some(old) => *old = new,
        None => all.push(new),
    }
}

fn damaged(offset: u64, codec: &str, what: &str) -> MediaError {
    let reason = format!("a damaged {codec} {what}");
    MediaError::new(MediaErrorKind::Damaged, offset, reason)
}

fn reordered(offset: u64, codec: &str, encoder: &str) -> MediaError {
    let reason = format!(
        "{codec} with B-frames: this picture is shown before one that came earlier, but WebRTC receivers \
         show frames in the order they come in. Re-encode: ffmpeg -i INPUT -c:v {encoder} -bf 0 OUTPUT"
    );
    MediaError::new(MediaErrorKind::Reordered, offset, reason)
}
