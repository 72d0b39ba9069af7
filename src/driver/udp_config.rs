//! Configuration and identity of the application's UDP sockets.

use std::net::{IpAddr, SocketAddr};

/// Identifies a UDP socket of the application. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UdpId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// Configuration of a UDP socket. Can be created from an address: `net.add_udp("127.0.0.1:5004".parse()?)`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpConfig {
    /// Address to bind; port 0 lets the system choose. A multicast group is joined, and the socket then receives
    /// datagrams to that group only; several programs may bind it at once.
    pub address: SocketAddr,
    /// Address of the interface for sending and receiving multicast. `None`, the default, lets the system choose by its
    /// routes.
    pub interface: Option<IpAddr>,
    /// TTL of multicast datagrams sent from this socket. `None`, the default, means 1: the local network only.
    pub multicast_ttl: Option<u8>,
    /// Disables receiving: incoming datagrams, such as RTCP reports of players, stay in the system's buffer and are
    /// dropped there. Default: `false`.
    pub send_only: bool,
}

impl From<SocketAddr> for UdpConfig {
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            interface: None,
            multicast_ttl: None,
            send_only: false,
        }
    }
}

impl UdpConfig {
    /// Creates a configuration for a socket bound to this address.
    pub fn new(address: SocketAddr) -> Self {
        address.into()
    }

    /// Sets [`interface`](Self::interface).
    #[must_use]
    pub fn interface(mut self, address: Option<IpAddr>) -> Self {
        self.interface = address;
        self
    }

    /// Sets [`multicast_ttl`](Self::multicast_ttl).
    #[must_use]
    pub fn multicast_ttl(mut self, routers: Option<u8>) -> Self {
        self.multicast_ttl = routers;
        self
    }

    /// Sets [`send_only`](Self::send_only).
    #[must_use]
    pub fn send_only(mut self, send_only: bool) -> Self {
        self.send_only = send_only;
        self
    }
}
