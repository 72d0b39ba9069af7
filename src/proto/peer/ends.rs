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
    /// Returns the ends of a received datagram.
    pub fn of(received: &Received<'_>) -> Self {
        Self {
            protocol: received.protocol,
            local: received.destination,
            remote: received.source,
        }
    }

    /// Returns the ends of an ICE-TCP stream.
    pub fn of_stream(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            protocol: Protocol::IceTcp,
            local,
            remote,
        }
    }
}
