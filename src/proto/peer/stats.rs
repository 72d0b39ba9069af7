//! What a peer has counted.

use std::net::SocketAddr;

use super::candidates::CandidateCounts;
use super::{DtlsVersion, Peer};

/// Counters of one peer since it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Local and remote address of the path that data takes.
    pub path: Option<(SocketAddr, SocketAddr)>,
    /// What was negotiated, once it was.
    pub dtls_version: Option<DtlsVersion>,
    /// Data channels that are not closed.
    pub channels: usize,
    /// Bytes accepted for sending and not yet acknowledged.
    pub buffered_amount: usize,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub datagrams_received: u64,
    pub bytes_received: u64,
    pub datagrams_sent: u64,
    pub bytes_sent: u64,
    pub messages_received: u64,
    pub unvalidated_dropped: u64,
    pub stun_rejected: u64,
    pub malformed_dropped: u64,
    pub core_errors: u64,
    pub path: Option<(SocketAddr, SocketAddr)>,
    pub dtls_version: Option<DtlsVersion>,
}

impl Peer {
    /// What has been counted so far.
    pub fn stats(&self) -> PeerStats {
        let c = &self.stats;
        PeerStats {
            datagrams_received: c.datagrams_received,
            bytes_received: c.bytes_received,
            datagrams_sent: c.datagrams_sent,
            bytes_sent: c.bytes_sent,
            messages_received: c.messages_received,
            unvalidated_dropped: c.unvalidated_dropped,
            stun_rejected: c.stun_rejected,
            malformed_dropped: c.malformed_dropped,
            core_errors: c.core_errors,
            candidates: self.pending.counts,
            path: c.path,
            dtls_version: c.dtls_version,
            channels: self.channels.len(),
            buffered_amount: self.channels.buffered(),
        }
    }
}
