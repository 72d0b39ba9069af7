//! What is known of how media gets through (W3C `RTCRtpStreamStats`).

use std::time::Duration;

use str0m::stats::{MediaEgressStats, MediaIngressStats};

use super::super::Peer;
use super::{MAX_LAYERS, Transceiver, TransceiverId};
use crate::proto::media::jitter::JitterStats;

/// How the media of a transceiver gets through. The parts are empty before the first
/// [interval](super::super::PeerConfig::stats_interval) has passed, one for each layer then.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct TrackStats {
    /// What is sent.
    pub sent: Vec<SentStats>,
    /// What is received.
    pub received: Vec<ReceivedStats>,
    /// How long it takes at present until a lost packet that we receive is repaired; `None` while nothing gets lost, and in
    /// [`MediaMode::Frames`](super::MediaMode::Frames). Of the peer: all its tracks have the same path.
    pub repair_delay: Option<Duration>,
}

/// One layer that is sent, since it began (W3C `RTCOutboundRtpStreamStats`).
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct SentStats {
    /// Which layer, for simulcast.
    pub rid: Option<String>,
    /// Packets sent, with those sent again.
    pub packets: u64,
    /// Their bytes, with headers.
    pub bytes: u64,
    /// Times that the other side asked for lost packets (RFC 4585 §6.2.1).
    pub nacks: u64,
    /// Keyframes asked for as lost pictures (RFC 4585 §6.3.1).
    pub plis: u64,
    /// Keyframes asked for outright (RFC 5104 §4.3.1).
    pub firs: u64,
    /// There and back, by the other side's reports.
    pub round_trip_time: Option<Duration>,
    /// The share of packets lost lately by what the other side reports, 0 to 1.
    pub fraction_lost: Option<f32>,
    /// Packets lost in all, by what the other side reports.
    pub remote_packets_lost: Option<u64>,
    /// Interarrival jitter, by what the other side reports (RFC 3550 §6.4.1).
    pub remote_jitter: Option<Duration>,
}

/// One layer that is received, since it began (W3C `RTCInboundRtpStreamStats`).
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ReceivedStats {
    /// Which layer, for simulcast.
    pub rid: Option<String>,
    /// Packets received.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Times that lost packets were asked for.
    pub nacks: u64,
    /// Keyframes asked for as lost pictures.
    pub plis: u64,
    /// Keyframes asked for outright.
    pub firs: u64,
    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// There and back, where the other side lets that be known (RFC 3611 §4.5).
    pub round_trip_time: Option<Duration>,
    /// The share of packets lost lately, 0 to 1.
    pub fraction_lost: Option<f32>,
    /// The delay and the losses of the jitter buffer, if there is one.
    pub jitter_buffer: Option<JitterStats>,
}

impl TrackStats {
    pub(super) fn on_sent(&mut self, core: &MediaEgressStats, rate: u32) {
        let stats = SentStats {
            rid: core.rid.map(|r| r.to_string()),
            packets: core.packets,
            bytes: core.bytes,
            nacks: core.nacks,
            plis: core.plis,
            firs: core.firs,
            round_trip_time: core.rtt,
            fraction_lost: core.loss,
            remote_packets_lost: core.remote.as_ref().map(|r| r.packets_lost),
            remote_jitter: core.remote.as_ref().map(|r| of_ticks(r.jitter, rate)),
        };
        put(&mut self.sent, stats, |a, b| a.rid == b.rid);
    }

    pub(super) fn on_received(&mut self, core: &MediaIngressStats, rate: u32) {
        let stats = ReceivedStats {
            rid: core.rid.map(|r| r.to_string()),
            packets: core.packets,
            bytes: core.bytes,
            nacks: core.nacks,
            plis: core.plis,
            firs: core.firs,
            jitter: of_ticks(core.jitter, rate),
            round_trip_time: core.rtt,
            fraction_lost: core.loss,
            jitter_buffer: None,
        };
        put(&mut self.received, stats, |a, b| a.rid == b.rid);
    }
}

fn put<T>(list: &mut Vec<T>, new: T, is_same: impl Fn(&T, &T) -> bool) {
    match list.iter().position(|old| is_same(old, &new)) {
        Some(index) => list[index] = new,
        None if list.len() < MAX_LAYERS => list.push(new),
        None => {}
    }
}

fn of_ticks(ticks: u32, rate: u32) -> Duration {
    Duration::from_secs(ticks.into()) / rate.max(1)
}

impl Transceiver {
    /// By the last receiver report of what is sent.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.stats.sent.iter().find_map(|s| s.round_trip_time)
    }

    fn clock_rate(&self) -> u32 {
        self.codecs.first().map_or(1, |c| c.clock_rate)
    }
}

impl Peer {
    /// How the media of a transceiver got through by the last
    /// [interval](super::super::PeerConfig::stats_interval); the jitter buffer's part is of now. `None` when
    /// there is no such transceiver.
    pub fn track_stats(&self, id: TransceiverId) -> Option<TrackStats> {
        let found = self.tracks.list.iter().find(|t| t.id == id)?;
        let mut stats = found.stats.clone();
        stats.repair_delay = self.repair_delay();
        for received in &mut stats.received {
            received.jitter_buffer = found.jitter_stats(received.rid.as_deref());
        }
        Some(stats)
    }

    pub(in super::super) fn on_sent_stats(&mut self, core: &MediaEgressStats) {
        let now = self.now;
        if let Some(t) = self.tracks.by_core_mid(core.mid) {
            let rate = t.clock_rate();
            t.stats.on_sent(core, rate);
            let nacks = t.stats.sent.iter().map(|s| s.nacks).sum();
            let round_trip = t.round_trip();
            let share = t.stats.sent.iter().find_map(|s| s.fraction_lost);
            t.hold.learn(nacks, share, round_trip, now);
        }
    }

    pub(in super::super) fn on_received_stats(&mut self, core: &MediaIngressStats) {
        if let Some(t) = self.tracks.by_core_mid(core.mid) {
            let rate = t.clock_rate();
            t.stats.on_received(core, rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_beyond_the_limit_are_not_looked_after() {
        let mut list = Vec::new();
        for n in 0..2 * MAX_LAYERS {
            put(&mut list, (n, 1), |a, b| a.0 == b.0);
        }
        assert_eq!(list.len(), MAX_LAYERS);
        // Those that were there are.
        put(&mut list, (3, 2), |a, b| a.0 == b.0);
        assert_eq!((list.len(), list[3]), (MAX_LAYERS, (3, 2)));
    }
}
