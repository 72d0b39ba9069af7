//! Access units of H.264 (RFC 6184) and H.265 (RFC 7798).
//!
//! An access unit ends with a marker behind a slice, with another timestamp, or before the first slice of another picture.
//! Markers are not believed at first: a camera that sets them in the middle of pictures shows it with the first of them, and
//! then timestamps and slices alone decide.

use std::sync::Arc;
use std::time::Instant;

use super::nal_codec::{NalCodec, PictureOrder, Role, VideoInfo};
use super::nal_payload::{self, Fragment, Piece};
use super::sets::{Change, ParameterSets};
use super::{Arrival, Out, Unit};
use crate::proto::media::annexb;

const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Number of pictures that must have ended with a marker before markers are believed.
const TRUSTED_AFTER: u8 = 3;

/// Capacity that the buffer keeps between units, in bytes.
const KEPT_CAPACITY: usize = 1 << 20;

/// Depacketizer of H.264 and H.265.
#[derive(Debug)]
pub(super) struct NalUnpacker {
    codec: NalCodec,
    /// Set if H.265 units carry decoding order numbers, which are skipped.
    has_order_numbers: bool,
    sets: ParameterSets,
    order: PictureOrder,
    unit: Assembly,
    markers: Markers,
    /// Set until a keyframe comes: at the beginning, and after a loss.
    is_waiting: bool,
    /// Set if leading pictures cannot be decoded: decoding has begun at the keyframe that they precede on the display.
    skips_leading: bool,
    /// Parameter sets have changed since the last keyframe.
    sets_changed: bool,
    /// Packets were lost since the last NAL unit began.
    has_lost: bool,
    /// Timestamp of the last picture.
    last: Option<u32>,
}

/// How reliable markers are as the end of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Markers {
    /// This many pictures have ended with one.
    Seen(u8),
    Trusted,
    Lying,
}

/// The access unit in progress, in Annex B form.
#[derive(Debug, Default)]
struct Assembly {
    data: Vec<u8>,
    /// Start of the NAL unit in progress, behind its start code.
    open: Option<usize>,
    /// Timestamp and arrival of the first packet.
    begun: Option<(u32, Instant)>,
    has_slice: bool,
    is_key: bool,
    is_reordered: bool,
    /// Consists of leading pictures that refer to what precedes the keyframe (RASL).
    is_leading: bool,
    /// The keyframe may have leading pictures (CRA, BLA).
    has_leading: bool,
    is_damaged: bool,
    is_oversized: bool,
    /// The last packet had a marker.
    is_marked: bool,
    /// Kinds of parameter sets inside, as bits: the kind modulo 32.
    kinds: u32,
}

impl NalUnpacker {
    pub fn h264(sets: &[Vec<u8>]) -> Self {
        Self::new(NalCodec::H264, sets, false)
    }

    pub fn h265(sets: &[Vec<u8>], has_order_numbers: bool) -> Self {
        Self::new(NalCodec::H265, sets, has_order_numbers)
    }

    fn new(codec: NalCodec, described: &[Vec<u8>], has_order_numbers: bool) -> Self {
        let mut sets = ParameterSets::default();
        sets.describe(codec, described);
        let mut order = PictureOrder::new(codec);
        described.iter().for_each(|set| order.take_set(set));
        Self {
            codec,
            has_order_numbers,
            sets,
            order,
            unit: Assembly::default(),
            markers: Markers::Seen(0),
            is_waiting: true,
            skips_leading: false,
            sets_changed: false,
            has_lost: false,
            last: None,
        }
    }

    pub fn video(&self) -> Option<VideoInfo> {
        self.order.info()
    }

    pub fn parameter_sets(&self) -> Vec<&[u8]> {
        self.sets.iter().collect()
    }

    /// Packets are missing: what is in progress is damaged, and what follows refers to something that is lost.
    pub fn lose(&mut self) {
        self.is_waiting = true;
        self.has_lost = true;
        let unit = &mut self.unit;
        let open = unit.open.take().and_then(|start| unit.data.get(start..));
        let is_slice = open.is_some_and(|nal| matches!(self.codec.role(nal), Role::Slice { .. }));
        if unit.has_slice || is_slice || unit.is_damaged {
            unit.is_damaged = true;
        } else {
            // The picture has not begun, and its parameter sets are kept elsewhere.
            unit.data.clear();
            unit.kinds = 0;
            unit.begun = None;
        }
    }

    pub fn flush(&mut self, out: &mut Out) {
        // Whether a fragment without end is whole, nobody knows.
        if self.unit.open.is_some() {
            self.lose();
        }
        if self.unit.has_slice || self.unit.is_damaged {
            self.finish(out);
        }
    }

    pub fn push(&mut self, payload: &[u8], arrival: Arrival, out: &mut Out) {
        let stripped = nal_payload::without_start_code(payload);
        out.stats.annex_b += u64::from(stripped.len() < payload.len());
        let (codec, numbers) = (self.codec, self.has_order_numbers);
        self.divide(nal_payload::head(codec, numbers, stripped), arrival, out);
        nal_payload::split(codec, numbers, stripped, |piece| match piece {
            Piece::Whole(header, data) => self.take_whole(header, data, out),
            Piece::Fragment(fragment) => self.take_fragment(&fragment, out),
            Piece::Unknown => out.stats.malformed += 1,
        });
        self.unit.is_marked = arrival.marker;
        if arrival.marker {
            self.on_marker(out);
        }
    }

    /// Ends the unit in progress if this packet belongs to the next one. `head` is the role of the NAL unit that begins in it, if
    /// one does.
    fn divide(&mut self, head: Option<Role>, arrival: Arrival, out: &mut Out) {
        let begins = head.is_some_and(Role::is_first_slice);
        let Some((timestamp, _)) = self.unit.begun else {
            if self.last == Some(arrival.timestamp) {
                if matches!(head, Some(Role::Slice { first: false, .. })) {
                    // A marker has ended a picture too early. The slices so far are out, the others refer to them.
                    self.distrust(out);
                    self.unit.is_damaged = true;
                }
                out.stats.equal_timestamps += u64::from(begins);
            }
            self.unit.begun = Some((arrival.timestamp, arrival.at));
            return;
        };
        let differs = timestamp != arrival.timestamp;
        if differs || head.is_some() {
            if self.unit.open.is_some() {
                out.stats.fragment_faults += 1;
            }
            self.close(out);
        }
        let can_end = self.unit.has_slice || self.unit.is_damaged;
        if can_end && (differs || begins) {
            out.stats.equal_timestamps += u64::from(!differs);
            out.stats.endless += u64::from(!differs && !self.unit.is_marked);
            self.judge_markers(out);
            self.finish(out);
        } else if !differs && self.unit.is_marked && (self.unit.has_slice || head.is_none()) {
            self.distrust(out);
        }
        // What precedes the slices of a picture may have another timestamp.
        let at = match self.unit.begun {
            Some((_, at)) if !self.unit.data.is_empty() => at,
            _ => arrival.at,
        };
        self.unit.begun = Some((arrival.timestamp, at));
    }

    /// Looks at how the unit in progress has ended.
    fn judge_markers(&mut self, out: &mut Out) {
        if self.unit.is_damaged {
            return;
        }
        self.markers = match (self.markers, self.unit.is_marked) {
            (Markers::Seen(count), true) if count + 1 >= TRUSTED_AFTER => Markers::Trusted,
            (Markers::Seen(count), true) => Markers::Seen(count + 1),
            (Markers::Seen(_) | Markers::Trusted, false) => {
                out.stats.marker_lies += 1;
                Markers::Seen(0)
            }
            (markers, _) => markers,
        };
    }

    /// A marker stood in the middle of a picture.
    fn distrust(&mut self, out: &mut Out) {
        out.stats.marker_lies += 1;
        if self.markers == Markers::Trusted {
            // A part of the picture was given out.
            self.is_waiting = true;
            out.is_interrupted = true;
        }
        self.markers = Markers::Lying;
    }

    fn on_marker(&mut self, out: &mut Out) {
        if self.markers == Markers::Trusted {
            self.close(out);
        }
        if self.unit.has_slice || self.unit.is_damaged {
            if self.markers == Markers::Trusted {
                self.finish(out);
            }
        } else if self.unit.open.is_none() && !self.unit.data.is_empty() {
            out.stats.marker_lies += 1;
        }
    }

    fn take_whole(&mut self, header: &[u8], data: &[u8], out: &mut Out) {
        self.begin();
        self.append(header, out);
        self.append(data, out);
        self.close(out);
    }

    fn take_fragment(&mut self, fragment: &Fragment<'_>, out: &mut Out) {
        out.stats.fragment_faults += u64::from(fragment.is_odd);
        if fragment.is_first {
            self.begin();
            self.append(fragment.header(), out);
        } else {
            let open = self.unit.open.and_then(|start| self.unit.data.get(start..));
            match open {
                Some(nal) => {
                    // The type of the first fragment counts.
                    let differs = !fragment.has_type_of(nal);
                    out.stats.fragment_faults += u64::from(differs);
                }
                None => {
                    out.stats.fragment_faults +=
                        u64::from(!self.has_lost && !self.unit.is_oversized);
                    self.unit.is_damaged = true;
                    return;
                }
            }
        }
        self.append(fragment.data, out);
        if fragment.is_last {
            self.close(out);
        }
    }

    fn begin(&mut self) {
        self.has_lost = false;
        if !self.unit.is_oversized {
            self.unit.data.extend(START_CODE);
            self.unit.open = Some(self.unit.data.len());
        }
    }

    fn append(&mut self, bytes: &[u8], out: &Out) {
        if self.unit.open.is_none() {
            return;
        }
        if self.unit.data.len() + bytes.len() > out.limits.max_unit {
            self.unit.is_oversized = true;
            // So that it ends as any other does.
            self.unit.has_slice = true;
            self.unit.open = None;
            self.unit.data.clear();
            return;
        }
        self.unit.data.extend(bytes);
    }

    /// Ends the NAL unit in progress, if there is one.
    fn close(&mut self, out: &mut Out) {
        let Some(start) = self.unit.open.take() else {
            return;
        };
        let mut data = std::mem::take(&mut self.unit.data);
        let nal = data.get(start..).unwrap_or_default();
        if annexb::units(nal).next().is_none() {
            if !self.keep(nal, out) {
                data.truncate(start - START_CODE.len());
            }
        } else {
            // Several NAL units with start codes were sent as one.
            out.stats.annex_b += 1;
            let whole = data.split_off(start - START_CODE.len());
            for (_, nal) in annexb::units(&whole) {
                if nal.len() > self.codec.header() && self.keep(nal, out) {
                    data.extend(START_CODE);
                    data.extend(nal);
                }
            }
        }
        self.unit.data = data;
    }

    /// Takes note of a whole NAL unit of the unit in progress. Returns `false` if it is not to be given out.
    fn keep(&mut self, nal: &[u8], out: &mut Out) -> bool {
        match self.codec.role(nal) {
            Role::Delimiter | Role::Ignored => return false,
            // Some payloaders repeat parameter sets before each slice of a keyframe, where decoders do not expect them.
            Role::Prefix => return !self.unit.has_slice,
            Role::Set(kind) => {
                self.take_set(kind, nal, out);
                return !self.unit.has_slice;
            }
            Role::Suffix => {}
            Role::Slice { first, key } => {
                if !self.unit.has_slice {
                    // The beginning of the picture is missing.
                    self.unit.is_damaged |= !first;
                    self.unit.is_reordered = self.order.is_reordered(nal);
                }
                self.unit.has_slice = true;
                self.unit.is_key |= key;
                self.unit.is_leading |= self.codec.is_leading(nal);
                self.unit.has_leading |= self.codec.may_have_leading(nal);
            }
        }
        true
    }

    fn take_set(&mut self, kind: u8, nal: &[u8], out: &mut Out) {
        if !self.unit.has_slice {
            self.unit.kinds |= 1 << (kind % 32);
        }
        let change = self.sets.take(self.codec, kind, nal);
        match change {
            Change::None | Change::Unusable => return,
            Change::New => {}
            Change::Changed => out.stats.set_changes += 1,
            Change::Contradicts => out.stats.set_contradictions += 1,
        }
        self.order.take_set(nal);
        self.sets_changed |= out.stats.keyframes > 0;
    }

    /// Gives out the unit in progress, if it can be decoded.
    fn finish(&mut self, out: &mut Out) {
        let mut unit = std::mem::take(&mut self.unit);
        if let Some((timestamp, arrived)) = unit.begun {
            self.last = Some(timestamp);
            self.give_out(&unit, timestamp, arrived, out);
        }
        // The buffer is used again.
        unit.data.clear();
        unit.data.shrink_to(KEPT_CAPACITY);
        self.unit.data = unit.data;
    }

    fn give_out(&mut self, unit: &Assembly, timestamp: u32, arrived: Instant, out: &mut Out) {
        if unit.is_damaged || unit.is_oversized {
            out.stats.oversized += u64::from(unit.is_oversized);
            self.is_waiting = true;
            return out.damage();
        }
        if !unit.is_key && (self.is_waiting || unit.is_leading && self.skips_leading) {
            out.stats.waiting += 1;
            out.is_interrupted |= self.is_waiting;
            return;
        }
        let mut data: Arc<[u8]> = Arc::from(unit.data.as_slice());
        if unit.is_key {
            let required = self.codec.required_sets();
            let is_inside = |kind: &u8| unit.kinds & 1 << (kind % 32) != 0;
            if !required.iter().all(is_inside) {
                out.stats.bare_keyframes += 1;
                if !self.sets.have_all(required) {
                    out.stats.undecodable += 1;
                    out.is_interrupted = true;
                    self.is_waiting = true;
                    return;
                }
                data = self.with_sets(&unit.data);
            }
            self.skips_leading = self.is_waiting && unit.has_leading;
            self.is_waiting = false;
        }
        out.emit(Unit {
            data,
            rtp_timestamp: timestamp,
            arrived,
            is_key: unit.is_key,
            discontinuity: false,
            is_reordered: unit.is_reordered,
            sets_changed: unit.is_key && std::mem::take(&mut self.sets_changed),
        });
    }

    /// Returns a keyframe with all known parameter sets before it.
    fn with_sets(&self, keyframe: &[u8]) -> Arc<[u8]> {
        let sets: usize = self
            .sets
            .iter()
            .map(|set| START_CODE.len() + set.len())
            .sum();
        let mut data = Vec::with_capacity(sets + keyframe.len());
        for set in self.sets.iter() {
            data.extend(START_CODE);
            data.extend(set);
        }
        data.extend(keyframe);
        data.into()
    }
}
