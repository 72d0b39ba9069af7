//! One stream of a camera: from packets to units.

use std::time::{Duration, Instant};

use super::CameraTrack;
use crate::proto::media::jitter::{Arrival, JitterBuffer, JitterOutput};
use crate::proto::media::{JitterConfig, Release};
use crate::proto::rtp::{Packet, TimelineStats, UnpackLimits, UnpackStats, Unpacker};
use crate::proto::rtsp::quirk::Quirk;

/// Number of successive packets with one other payload type, and none with the described one, after which that is believed.
const ADOPTED_AFTER: u32 = 20;

/// Largest RTP packet that fits into a usual network's datagram, less IP, UDP and RTP headers.
const USUAL_PAYLOAD: u64 = 1460;

/// Meaning of a packet's payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    Accepted,
    /// The description names another type, which never comes.
    Adopted,
    Dropped,
}

#[derive(Debug)]
pub(super) struct Receiver {
    pub track: CameraTrack,
    /// The payload type, and whether a packet had it.
    payload_type: (u8, bool),
    /// Another payload type, and how many packets had it in a row.
    other: Option<(u8, u32)>,
    /// Index of the track in the timeline.
    pub clock: usize,
    pub unpacker: Unpacker,
    /// SSRC of the latest packet.
    pub ssrc: Option<u32>,
    /// Puts datagrams in order; `None` over TCP.
    reorder: Option<JitterBuffer<(Vec<u8>, Instant)>>,
    pub unknown_payload_types: u64,
    pub not_rtp: u64,
    pub foreign_reports: u64,
    /// Number of packets already counted as quirks.
    counted: Vec<(Quirk, u64)>,
}

impl Receiver {
    pub fn new(
        track: CameraTrack,
        payload_type: u8,
        clock: usize,
        limits: UnpackLimits,
        max_reordering: Option<Duration>,
    ) -> Self {
        let mut receiver = Self {
            unpacker: Unpacker::new(&track.format, track.clock_rate, limits),
            track,
            payload_type: (payload_type, false),
            other: None,
            clock,
            ssrc: None,
            reorder: None,
            unknown_payload_types: 0,
            not_rtp: 0,
            foreign_reports: 0,
            counted: Vec::new(),
        };
        receiver.reorder = max_reordering.map(|limit| receiver.buffer(limit));
        receiver
    }

    fn buffer(&self, max_reordering: Duration) -> JitterBuffer<(Vec<u8>, Instant)> {
        let config = JitterConfig::new(self.track.clock_rate)
            .release(Release::InOrder)
            .max_delay(max_reordering);
        JitterBuffer::new(config)
    }

    /// Packets of a new connection follow.
    pub fn restart(&mut self, max_reordering: Option<Duration>) {
        self.unpacker.restart();
        self.ssrc = None;
        self.reorder = max_reordering.map(|limit| self.buffer(limit));
    }

    pub fn judge(&mut self, payload_type: u8) -> Judgement {
        let (described, has_come) = &mut self.payload_type;
        if payload_type == *described {
            *has_come = true;
            return Judgement::Accepted;
        }
        self.unknown_payload_types += 1;
        let count = match self.other {
            Some((other, count)) if other == payload_type => count + 1,
            _ => 1,
        };
        self.other = Some((payload_type, count));
        if *has_come || count < ADOPTED_AFTER {
            return Judgement::Dropped;
        }
        self.payload_type = (payload_type, true);
        Judgement::Adopted
    }

    pub fn is_reordering(&self) -> bool {
        self.reorder.is_some()
    }

    /// Holds a packet until those before it have come.
    pub fn hold(
        &mut self,
        (ssrc, sequence, timestamp): (u32, u16, u32),
        contents: Vec<u8>,
        now: Instant,
    ) {
        if let Some(reorder) = &mut self.reorder {
            let arrival = Arrival {
                ssrc,
                sequence,
                packets: 1,
                timestamp,
                bytes: contents.len(),
                item: (contents, now),
            };
            reorder.insert(arrival, now);
        }
    }

    /// Unpacks a packet that need not wait any longer. If there is none: when there may be.
    pub fn release(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        let Some(reorder) = &mut self.reorder else {
            return Err(None);
        };
        match reorder.poll(now) {
            JitterOutput::Item(released) => {
                let (contents, arrived) = released.item;
                if let Ok(packet) = Packet::parse(&contents) {
                    self.unpacker.push(&packet, arrived);
                }
                Ok(())
            }
            JitterOutput::Timeout(at) => Err(at),
        }
    }

    /// Unpacks everything that is held.
    pub fn end(&mut self, now: Instant) {
        if let Some(reorder) = &mut self.reorder {
            reorder.flush(now);
        }
        while self.release(now).is_ok() {}
        self.unpacker.flush();
    }

    /// Returns the quirks that were met since the last call.
    pub fn new_quirks(&mut self, timeline: &TimelineStats, over_tcp: bool) -> Vec<(Quirk, u64)> {
        let met = quirks_of(&self.unpacker.stats(), timeline, over_tcp);
        if met == self.counted {
            return Vec::new();
        }
        let before = |quirk| {
            let mut counted = self.counted.iter();
            counted
                .find(|(other, _)| *other == quirk)
                .map_or(0, |(_, count)| *count)
        };
        let new = met
            .iter()
            .map(|(quirk, count)| (*quirk, count.saturating_sub(before(*quirk))));
        let new = new.filter(|(_, count)| *count > 0).collect();
        self.counted = met;
        new
    }
}

/// Returns the quirks that the counters show.
fn quirks_of(unpack: &UnpackStats, timeline: &TimelineStats, over_tcp: bool) -> Vec<(Quirk, u64)> {
    let is_large = unpack.largest_payload > USUAL_PAYLOAD;
    let timestamps = timeline.jumps
        + timeline.backward
        + timeline.equal.max(unpack.equal_timestamps)
        + u64::from(timeline.measured_rate.is_some());
    vec![
        (Quirk::BadParameterSets, unpack.set_contradictions),
        (Quirk::MarkerLies, unpack.marker_lies),
        (Quirk::AnnexBInRtp, unpack.annex_b),
        (Quirk::FragmentFaults, unpack.fragment_faults),
        (Quirk::KeyframeWithoutSets, unpack.bare_keyframes),
        (Quirk::SetsChange, unpack.set_changes),
        (Quirk::Timestamps, timestamps + timeline.implausible_reports),
        (Quirk::BFrames, unpack.reordered),
        (Quirk::LargePackets, u64::from(is_large)),
        (Quirk::GapOverTcp, if over_tcp { unpack.lost } else { 0 }),
        (Quirk::EndlessUnit, unpack.oversized + unpack.endless),
        (Quirk::AacFraming, unpack.other_framing),
    ]
}
