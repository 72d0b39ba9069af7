//! Depacketizers: RTP packets of a camera in, whole access units out.
//!
//! ```text
//!   packets, in order ─► Unpacker ─► Sequence: gaps, repetitions, restarts
//!                                       └─► one depacketizer for each payload format ─► Unit
//! ```
//!
//! Cameras are tolerated, not believed: marker bits, fragment headers and parameter sets are checked against what the data
//! itself says, and each tolerance is counted in [`UnpackStats`]. A unit with missing packets is never given out. After a
//! loss, video goes on with the next keyframe, whose [`discontinuity`](Unit::discontinuity) is set, because what refers to a
//! damaged picture is damaged as well.
//!
//! Work is linear in the input and memory is bounded by [`UnpackLimits`]. Packets that can be reordered on their way (UDP)
//! have to be put in order before.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::format::MediaFormat;
use super::packet::Packet;

mod aac;
mod jpeg;
mod jpeg_tables;
mod latm;
mod nal;
mod nal_codec;
mod nal_payload;
mod plain;
mod sequence;
mod sets;
#[cfg(test)]
mod tests;

use sequence::{Sequence, Step};

pub use nal_codec::VideoInfo;

/// Maximum number of units that are not polled; beyond it the oldest are dropped. A packet ends at most two video frames,
/// and carries at most 256 audio frames.
const MAX_UNPOLLED: usize = 512;

/// Limits of an [`Unpacker`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnpackLimits {
    /// Maximum size of a unit, in bytes; larger ones are dropped. Default: 8 MiB.
    pub max_unit: usize,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self { max_unit: 8 << 20 }
    }
}

impl UnpackLimits {
    /// Sets [`max_unit`](Self::max_unit).
    #[must_use]
    pub fn max_unit(mut self, bytes: usize) -> Self {
        self.max_unit = bytes;
        self
    }
}

/// An access unit: a picture, or a frame of audio.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unit {
    /// The data. H.264 and H.265: Annex B with start codes, without delimiters and filler, with parameter sets before each
    /// keyframe. AAC: a raw access unit, without ADTS header. MJPEG: a whole JPEG file. L16: samples, high byte first. Others:
    /// the payload.
    pub data: Arc<[u8]>,
    /// RTP timestamp. Differs from that of the packet for later AAC units of the same packet.
    pub rtp_timestamp: u32,
    /// Arrival of the first packet.
    pub arrived: Instant,
    /// Set if decoding can start here; always for audio and MJPEG.
    pub is_key: bool,
    /// Set if something is missing before this unit: packets were lost or could not be used, or the sender has restarted.
    pub discontinuity: bool,
    /// Set if this picture is displayed before one that came earlier (B-frames).
    pub is_reordered: bool,
    /// Set for a keyframe whose parameter sets differ from those of the one before.
    pub sets_changed: bool,
}

/// Counters of an [`Unpacker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UnpackStats {
    /// Packets accepted.
    pub packets: u64,
    /// Payload bytes of accepted packets.
    pub bytes: u64,
    /// Size of the largest payload, in bytes.
    pub largest_payload: u64,
    /// Packets missing, by sequence numbers.
    pub lost: u64,
    /// Packets dropped because they came twice, or too late.
    pub late: u64,
    /// Restarts of the stream: another SSRC, or a jump of sequence numbers.
    pub restarts: u64,
    /// Packets whose payload could not be used.
    pub malformed: u64,
    /// Units given out.
    pub units: u64,
    /// Keyframes given out.
    pub keyframes: u64,
    /// Units dropped because part of them was missing.
    pub damaged: u64,
    /// Units dropped because they refer to what was lost, or because no keyframe has come yet.
    pub waiting: u64,
    /// Units dropped because nobody polled.
    pub overflowed: u64,
    /// Units dropped because they exceeded [`UnpackLimits::max_unit`].
    pub oversized: u64,
    /// Markers within a picture or before its slices, and pictures that ended without one.
    pub marker_lies: u64,
    /// Payloads or NAL units with start codes inside.
    pub annex_b: u64,
    /// Fragments whose headers contradict each other.
    pub fragment_faults: u64,
    /// Keyframes that came without parameter sets.
    pub bare_keyframes: u64,
    /// Keyframes dropped because parameter sets had never come.
    pub undecodable: u64,
    /// Parameter sets in band that replaced different ones in band.
    pub set_changes: u64,
    /// Parameter sets in band that contradicted the description.
    pub set_contradictions: u64,
    /// Pictures with the same timestamp as the one before.
    pub equal_timestamps: u64,
    /// Pictures that neither a marker nor a timestamp ended, only the next one.
    pub endless: u64,
    /// Pictures displayed before one that came earlier (B-frames).
    pub reordered: u64,
    /// AAC that was packed in another way than described (ADTS).
    pub other_framing: u64,
}

/// Turns the packets of one stream into units.
#[derive(Debug)]
pub struct Unpacker {
    sequence: Sequence,
    machine: Machine,
    out: Out,
}

#[derive(Debug)]
enum Machine {
    Nal(Box<nal::NalUnpacker>),
    Jpeg(Box<jpeg::JpegUnpacker>),
    Aac(Box<aac::AacUnpacker>),
    Latm(Box<latm::LatmUnpacker>),
    Plain(plain::PlainUnpacker),
}

/// Finished units, and the counters.
#[derive(Debug)]
struct Out {
    units: VecDeque<Unit>,
    stats: UnpackStats,
    limits: UnpackLimits,
    /// Set if something is missing before the next unit.
    is_interrupted: bool,
}

/// Context of a payload.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    timestamp: u32,
    marker: bool,
    at: Instant,
}

impl Unpacker {
    /// Creates an unpacker for streams of this format.
    pub fn new(format: &MediaFormat, clock_rate: u32, limits: UnpackLimits) -> Self {
        let machine = match format {
            MediaFormat::H264 { sets } => Machine::Nal(Box::new(nal::NalUnpacker::h264(sets))),
            MediaFormat::H265 {
                sets,
                has_order_numbers,
            } => Machine::Nal(Box::new(nal::NalUnpacker::h265(sets, *has_order_numbers))),
            MediaFormat::Jpeg { dimensions } => {
                Machine::Jpeg(Box::new(jpeg::JpegUnpacker::new(*dimensions)))
            }
            MediaFormat::Aac(format) => {
                Machine::Aac(Box::new(aac::AacUnpacker::new(format.clone(), clock_rate)))
            }
            MediaFormat::Latm { config, in_band } => Machine::Latm(Box::new(
                latm::LatmUnpacker::new(config.as_deref(), *in_band, clock_rate),
            )),
            MediaFormat::L16 {
                little_endian: true,
                ..
            } => Machine::Plain(plain::PlainUnpacker::Swapped),
            MediaFormat::Pcmu { .. }
            | MediaFormat::Pcma { .. }
            | MediaFormat::G722
            | MediaFormat::Opus
            | MediaFormat::L16 { .. } => Machine::Plain(plain::PlainUnpacker::AsIs),
        };
        Self {
            sequence: Sequence::default(),
            machine,
            out: Out {
                units: VecDeque::new(),
                stats: UnpackStats::default(),
                limits,
                is_interrupted: false,
            },
        }
    }

    /// Takes the next packet. Repeated and late ones are dropped. Call [`poll`](Self::poll) afterwards.
    pub fn push(&mut self, packet: &Packet<'_>, arrived: Instant) {
        match self.sequence.take(packet.ssrc, packet.sequence_number) {
            Step::Next => {}
            Step::Drop => {
                self.out.stats.late += 1;
                return;
            }
            Step::Gap(lost) => {
                self.out.stats.lost += u64::from(lost);
                self.lose();
            }
            Step::Restart => {
                self.out.stats.restarts += 1;
                self.lose();
            }
        }
        let stats = &mut self.out.stats;
        stats.packets += 1;
        stats.bytes += packet.payload.len() as u64;
        stats.largest_payload = stats.largest_payload.max(packet.payload.len() as u64);
        let arrival = Arrival {
            timestamp: packet.timestamp,
            marker: packet.marker,
            at: arrived,
        };
        match &mut self.machine {
            Machine::Nal(machine) => machine.push(packet.payload, arrival, &mut self.out),
            Machine::Jpeg(machine) => {
                let extension = packet.extension;
                machine.push(packet.payload, extension, arrival, &mut self.out);
            }
            Machine::Aac(machine) => machine.push(packet.payload, arrival, &mut self.out),
            Machine::Latm(machine) => machine.push(packet.payload, arrival, &mut self.out),
            Machine::Plain(machine) => machine.push(packet.payload, arrival, &mut self.out),
        }
    }

    /// Reports that packets are missing before the next one, though its sequence number may not show it.
    pub fn lose(&mut self) {
        self.out.is_interrupted = true;
        match &mut self.machine {
            Machine::Nal(machine) => machine.lose(),
            Machine::Jpeg(machine) => machine.lose(),
            Machine::Aac(machine) => machine.lose(),
            Machine::Latm(machine) => machine.lose(),
            Machine::Plain(_) => {}
        }
    }

    /// Begins anew: packets of another connection follow, whose sequence numbers have nothing to do with those so far.
    pub fn restart(&mut self) {
        self.sequence = Sequence::default();
        self.lose();
    }

    /// Ends the unit in progress without waiting for what would end it: at the end of a stream, or when nothing has come for a
    /// while. Call [`poll`](Self::poll) afterwards.
    pub fn flush(&mut self) {
        if let Machine::Nal(machine) = &mut self.machine {
            machine.flush(&mut self.out);
        }
    }

    /// Returns the next unit.
    pub fn poll(&mut self) -> Option<Unit> {
        self.out.units.pop_front()
    }

    /// Returns the counters.
    pub fn stats(&self) -> UnpackStats {
        self.out.stats
    }

    /// Returns what the latest parameter sets, or the latest picture, say about the video; `None` for audio, and before they
    /// are known.
    pub fn video(&self) -> Option<VideoInfo> {
        match &self.machine {
            Machine::Nal(machine) => machine.video(),
            Machine::Jpeg(machine) => machine.video(),
            _ => None,
        }
    }

    /// Returns the latest configuration of an AAC stream; `None` for other formats, and if it has not come yet.
    pub fn aac_config(&self) -> Option<&crate::proto::media::AacConfig> {
        match &self.machine {
            Machine::Aac(machine) => Some(machine.config()),
            Machine::Latm(machine) => machine.config(),
            _ => None,
        }
    }

    /// Returns the latest parameter sets, as NAL units without start codes in the order in which they are sent; empty for other
    /// formats than H.264 and H.265.
    pub fn parameter_sets(&self) -> Vec<&[u8]> {
        match &self.machine {
            Machine::Nal(machine) => machine.parameter_sets(),
            _ => Vec::new(),
        }
    }
}

impl Out {
    /// Gives out a unit. Sets `discontinuity`.
    fn emit(&mut self, mut unit: Unit) {
        let is_interrupted = std::mem::take(&mut self.is_interrupted);
        unit.discontinuity = is_interrupted && self.stats.units > 0;
        self.stats.units += 1;
        self.stats.keyframes += u64::from(unit.is_key);
        self.stats.reordered += u64::from(unit.is_reordered);
        self.units.push_back(unit);
        if self.units.len() > MAX_UNPOLLED {
            self.units.pop_front();
            self.stats.overflowed += 1;
            if let Some(next) = self.units.front_mut() {
                next.discontinuity = true;
            }
        }
    }

    /// Gives out a frame of audio, or a picture that stands alone.
    fn emit_data(&mut self, data: impl Into<Arc<[u8]>>, timestamp: u32, arrived: Instant) {
        self.emit(Unit {
            data: data.into(),
            rtp_timestamp: timestamp,
            arrived,
            is_key: true,
            discontinuity: false,
            is_reordered: false,
            sets_changed: false,
        });
    }

    /// Counts a unit that cannot be given out.
    fn damage(&mut self) {
        self.stats.damaged += 1;
        self.is_interrupted = true;
    }

    fn malformed(&mut self) {
        self.stats.malformed += 1;
        self.is_interrupted = true;
    }
}
