//! Counters of a peer.

use std::net::SocketAddr;

use super::session::CandidateCounts;
use super::{DtlsVersion, Peer};
use crate::proto::ice::ServerTransport;
use crate::proto::net::Protocol;

/// Counters of a peer since its creation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PeerStats {
    /// Datagrams received, whether accepted or not.
    pub datagrams_received: u64,
    /// Bytes received (UDP payload).
    pub bytes_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Bytes sent (UDP payload).
    pub bytes_sent: u64,
    /// Messages received over all data channels.
    pub messages_received: u64,
    /// Datagrams dropped: not STUN, and from an address that is not validated.
    pub unvalidated_dropped: u64,
    /// STUN messages dropped because of missing or invalid integrity.
    pub stun_rejected: u64,
    /// Datagrams dropped because they could not be parsed.
    pub malformed_dropped: u64,
    /// Datagrams for which the core (usually DTLS) returned an error.
    pub core_errors: u64,
    /// Counters of the pending-candidate queue.
    pub candidates: CandidateCounts,
    /// Local and remote address of the path that carries data. For an outgoing TCP connection, the local one is that of
    /// the active candidate, with port 9.
    pub path: Option<(SocketAddr, SocketAddr)>,
    /// Protocol of that path: [`Protocol::Udp`] also through a relay, whatever the transport to the relay is.
    pub path_protocol: Option<Protocol>,
    /// Transport to the relay, if the path starts at one of ours (W3C `relayProtocol`).
    pub relay_protocol: Option<ServerTransport>,
    /// Round-trip time of that path, from reports on media; requires
    /// [`PeerConfig::stats_interval`](super::PeerConfig::stats_interval).
    pub round_trip_time: Option<std::time::Duration>,
    /// The last [estimate](super::PeerEvent::BandwidthEstimate), in bits per second (W3C `availableOutgoingBitrate`).
    pub available_outgoing_bitrate: Option<u64>,
    /// The negotiated DTLS version; `None` before the handshake.
    pub dtls_version: Option<DtlsVersion>,
    /// Number of data channels that are not closed.
    pub channels: usize,
    /// Number of bytes accepted for sending and not yet acknowledged.
    pub buffered_amount: usize,
}

impl Peer {
    /// Returns the counters accumulated since the peer was created.
    pub fn stats(&self) -> PeerStats {
        let refused = self.core.counts();
        let traffic = *self.path.traffic();
        let path = self.path.in_use();
        PeerStats {
            datagrams_received: traffic.datagrams_received,
            bytes_received: traffic.bytes_received,
            datagrams_sent: traffic.datagrams_sent,
            bytes_sent: traffic.bytes_sent,
            unvalidated_dropped: traffic.unvalidated_dropped,
            stun_rejected: traffic.stun_rejected,
            malformed_dropped: traffic.malformed_dropped + refused.malformed,
            core_errors: refused.errors,
            candidates: self.session.candidate_counts(),
            path: path.map(|ends| (ends.local, ends.remote)),
            path_protocol: path.map(|ends| ends.protocol),
            relay_protocol: self.path.relay_in_use(),
            channels: self.channels.len(),
            buffered_amount: self.channels.buffered(),
            ..self.stats.clone()
        }
    }
}
