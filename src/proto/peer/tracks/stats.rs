//! Statistics of tracks (W3C `RTCRtpStreamStats`).

use std::time::Duration;

use super::{MAX_LAYERS, Tracks, TransceiverId};
use crate::proto::media::jitter::JitterStats;

/// Statistics of a transceiver. The lists are empty before the first
/// [interval](super::super::PeerConfig::stats_interval) has passed, and then have an entry for each layer.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct TrackStats {
    /// Sent layers.
    pub sent: Vec<SentStats>,
    /// Received layers.
    pub received: Vec<ReceivedStats>,
    /// Current time until a lost packet that we receive is repaired; `None` while nothing is lost, and in
    /// [`MediaMode::Frames`](super::MediaMode::Frames). A property of the peer: all its tracks share the path.
    pub repair_delay: Option<Duration>,
}

/// Statistics of a sent layer since its start (W3C `RTCOutboundRtpStreamStats`).
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct SentStats {
    /// The simulcast layer, if any.
    pub rid: Option<String>,
    /// Packets sent, including retransmissions.
    pub packets: u64,
    /// Bytes sent, including headers.
    pub bytes: u64,
    /// Number of requests for lost packets received (RFC 4585 §6.2.1).
    pub nacks: u64,
    /// Number of picture loss indications received (RFC 4585 §6.3.1).
    pub plis: u64,
    /// Number of full intra requests received (RFC 5104 §4.3.1).
    pub firs: u64,
    /// Round-trip time, from the remote peer's reports.
    pub round_trip_time: Option<Duration>,
    /// Recent fraction of packets lost, as reported by the remote peer, 0 to 1.
    pub fraction_lost: Option<f32>,
    /// Total number of packets lost, as reported by the remote peer.
    pub remote_packets_lost: Option<u64>,
    /// Interarrival jitter, as reported by the remote peer (RFC 3550 §6.4.1).
    pub remote_jitter: Option<Duration>,
}

/// Statistics of a received layer since its start (W3C `RTCInboundRtpStreamStats`).
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ReceivedStats {
    /// The simulcast layer, if any.
    pub rid: Option<String>,
    /// Packets received.
    pub packets: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Number of requests for lost packets sent.
    pub nacks: u64,
    /// Number of picture loss indications sent.
    pub plis: u64,
    /// Number of full intra requests sent.
    pub firs: u64,
    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// Round-trip time, if the remote peer provides it (RFC 3611 §4.5).
    pub round_trip_time: Option<Duration>,
    /// Recent fraction of packets lost, 0 to 1.
    pub fraction_lost: Option<f32>,
    /// Statistics of the jitter buffer, if there is one.
    pub jitter_buffer: Option<JitterStats>,
}

/// Replaces the statistics of a layer, or adds it.
pub(super) fn put<T>(list: &mut Vec<T>, new: T, is_same: impl Fn(&T, &T) -> bool) {
    match list.iter().position(|old| is_same(old, &new)) {
        Some(index) => list[index] = new,
        None if list.len() < MAX_LAYERS => list.push(new),
        None => {}
    }
}

impl Tracks {
    /// Returns the statistics of a transceiver, without [`repair_delay`](TrackStats::repair_delay).
    pub fn stats(&self, id: TransceiverId) -> Option<TrackStats> {
        let found = self.list.iter().find(|t| t.id() == id)?;
        let mut received = found.receiver.stats().to_vec();
        for layer in &mut received {
            layer.jitter_buffer = found.receiver.playout.stats(layer.rid.as_deref());
        }
        Some(TrackStats {
            sent: found.sender.stats().to_vec(),
            received,
            repair_delay: None,
        })
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
        // Existing entries are updated.
        put(&mut list, (3, 2), |a, b| a.0 == b.0);
        assert_eq!((list.len(), list[3]), (MAX_LAYERS, (3, 2)));
    }
}
