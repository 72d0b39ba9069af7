//! Statistics of tracks (W3C `RTCRtpStreamStats`).

use std::time::Duration;

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
