use std::time::Duration;

use super::super::format::{AacFormat, AuHeader};
use super::*;
use crate::proto::media::{AacConfig, annexb};
use crate::proto::rtp::base64;

mod any;
mod audio;
mod h264;
mod h265;
mod jpeg;
mod streams;

/// Sends packets to an unpacker.
struct Sender {
    unpacker: Unpacker,
    sequence: u16,
    now: Instant,
}

impl Sender {
    fn new(format: &MediaFormat) -> Self {
        Self::with(format, UnpackLimits::default())
    }

    fn with(format: &MediaFormat, limits: UnpackLimits) -> Self {
        Self {
            unpacker: Unpacker::new(format, format.clock_rate(), limits),
            sequence: 65_530,
            now: Instant::now(),
        }
    }

    fn send(&mut self, payload: &[u8], timestamp: u32, marker: bool) {
        let mut packet = Packet::new(96, self.sequence, timestamp, 7, payload);
        packet.marker = marker;
        self.sequence = self.sequence.wrapping_add(1);
        self.now += Duration::from_millis(1);
        self.unpacker.push(&packet, self.now);
    }

    /// Leaves out packets.
    fn skip(&mut self, count: u16) {
        self.sequence = self.sequence.wrapping_add(count);
    }

    fn units(&mut self) -> Vec<Unit> {
        std::iter::from_fn(|| self.unpacker.poll()).collect()
    }

    /// Returns the units, the last one included.
    fn flushed(&mut self) -> Vec<Unit> {
        self.unpacker.flush();
        self.units()
    }

    fn stats(&self) -> UnpackStats {
        self.unpacker.stats()
    }
}

/// Returns the NAL units of a unit.
fn nals(unit: &Unit) -> Vec<&[u8]> {
    annexb::units(&unit.data).map(|(_, nal)| nal).collect()
}

/// Returns the first bytes of a unit's NAL units.
fn kinds(unit: &Unit) -> Vec<u8> {
    nals(unit).iter().map(|nal| nal[0]).collect()
}
