//! What a peer has counted.

use std::net::SocketAddr;

use super::candidates::CandidateCounts;
use super::{DtlsVersion, Peer};
use crate::proto::ice::ServerTransport;
use crate::proto::net::Protocol;

/// Counters of one peer since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PeerStats {
    /// Datagrams taken in, whatever became of them.
    pub datagrams_received: u64,
    /// Their bytes (UDP payload).
    pub bytes_received: u64,
    /// Datagrams given out.
    pub datagrams_sent: u64,
    /// Their bytes (UDP payload).
    pub bytes_sent: u64,
    /// Messages received over all data channels.
    pub messages_received: u64,
    /// Dropped: not STUN, and from an address that has not proved itself.
    pub unvalidated_dropped: u64,
    /// Dropped: STUN without the right integrity.
    pub stun_rejected: u64,
    /// Dropped: could not be parsed.
    pub malformed_dropped: u64,
    /// Datagrams that the core (mostly DTLS) did not like.
    pub core_errors: u64,
    /// The pending-candidate queue.
    pub candidates: CandidateCounts,
    /// Local and remote address of the path that data takes. Where we have opened a TCP connection, the local one
    /// is that of the active candidate, with port 9.
    pub path: Option<(SocketAddr, SocketAddr)>,
    /// What data takes over it: [`Protocol::Udp`] also through a relay, however the relay is reached.
    pub path_protocol: Option<Protocol>,
    /// By what the relay is reached, if the path begins at one of ours (W3C `relayProtocol`).
    pub relay_protocol: Option<ServerTransport>,
    /// There and back over that path, by reports on media; needs
    /// [`PeerConfig::stats_interval`](super::PeerConfig::stats_interval).
    pub round_trip_time: Option<std::time::Duration>,
    /// The last [estimate](super::PeerEvent::BandwidthEstimate), in bits a second (W3C
    /// `availableOutgoingBitrate`).
    pub available_outgoing_bitrate: Option<u64>,
    /// What was negotiated, once it was.
    pub dtls_version: Option<DtlsVersion>,
    /// Data channels that are not closed.
    pub channels: usize,
    /// Bytes accepted for sending and not yet acknowledged.
    pub buffered_amount: usize,
}

impl Peer {
    /// What has been counted so far.
    pub fn stats(&self) -> PeerStats {
        let relay = self
            .stats
            .path
            .and_then(|(l, _)| self.gatherer.relay_transport(l));
        PeerStats {
            candidates: self.pending.counts,
            relay_protocol: relay,
            channels: self.channels.len(),
            buffered_amount: self.channels.buffered(),
            ..self.stats.clone()
        }
    }
}
