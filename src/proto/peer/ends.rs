//! The two ends of a path.

use std::net::SocketAddr;

use crate::proto::net::{Protocol, Received};

/// An address pair as the core knows it, and the transport between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub protocol: Protocol,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

impl Ends {
    /// Returns the ends of a datagram that has come.
    pub fn of(received: &Received<'_>) -> Self {
        Self {
            protocol: received.protocol,
            local: received.destination,
            remote: received.source,
        }
    }

    /// Returns the ends of a stream of ICE-TCP.
    pub fn of_stream(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            protocol: Protocol::IceTcp,
            local,
            remote,
        }
    }
}
