//! Values exchanged between a protocol machine and its driver: datagrams, sockets, network changes.

#[cfg(feature = "driver")]
use std::net::Ipv6Addr;
use std::net::{IpAddr, SocketAddr};

/// Returns the address that represents a client in limits: an IPv4 address itself, also when it is mapped into IPv6
/// (`::ffff:192.0.2.1`); for IPv6 the /64 network, the smallest that a customer is assigned.
#[cfg(feature = "driver")]
pub(crate) fn client_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
    }
}

/// Transport of a datagram or of a piece of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// One UDP datagram, one message.
    Udp,
    /// A piece of a TCP stream, cut at any position; the decrypted content if the socket uses TLS.
    Tcp,
    /// One message of an ICE-TCP stream (RFC 6544). The driver adds and removes the length prefixes (RFC 4571,
    /// [`framing`](super::ice::framing)).
    IceTcp,
}

/// An incoming datagram.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The transport it arrived by.
    pub protocol: Protocol,
    /// The sender's address.
    pub source: SocketAddr,
    /// The local address it arrived at: a concrete address, never the wildcard.
    pub destination: SocketAddr,
    /// The payload.
    pub contents: &'a [u8],
}

/// An outgoing datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The transport to use.
    pub protocol: Protocol,
    /// The local address to send from: one that was reported to the machine. If the IP address is the wildcard, the
    /// port selects the socket and the system chooses the address.
    pub source: SocketAddr,
    /// The destination address.
    pub destination: SocketAddr,
    /// The payload.
    pub contents: Vec<u8>,
}

/// Identifies a socket from its request until it is closed. Unique within one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// A machine's request for a socket. The driver answers with a [`SocketReply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketRequest {
    /// Id used in the reply and in all later calls about this socket.
    pub id: SocketId,
    /// The kind of socket.
    pub kind: SocketKind,
}

/// Kind of a requested socket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketKind {
    /// UDP on all local addresses.
    Datagrams(PortPolicy),
    /// UDP on a port of its own, connected to this remote address.
    DatagramsTo(SocketAddr),
    /// A TCP connection.
    Stream {
        /// The address to connect to.
        remote: SocketAddr,
        /// Use TLS; the server's certificate must be valid for this name. `None` for plain TCP.
        tls: Option<ServerName>,
    },
    /// The local addresses for ICE-TCP (RFC 6544).
    IceTcp {
        /// Accept connections: the reply then has the listening port. All peers of a loop share it; an incoming stream
        /// is assigned to its peer by the ufrag in the STUN request that must come first.
        listen: bool,
    },
    /// An outgoing TCP connection of ICE-TCP.
    IceStream {
        /// The local address, with any port.
        local: IpAddr,
        /// The address to connect to.
        remote: SocketAddr,
    },
    /// A TCP connection from the ICE-TCP listening port to a STUN server ([`Bindings`](super::ice::Bindings)).
    BindingStream {
        /// The local address: one of those in the reply to [`IceTcp`](Self::IceTcp).
        local: SocketAddr,
        /// The address to connect to.
        remote: SocketAddr,
        /// As in [`Stream`](Self::Stream).
        tls: Option<ServerName>,
    },
}

/// A name that a TLS certificate must be valid for: a host name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerName(pub String);

/// Policy for a peer's UDP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PortPolicy {
    /// One port for all peers of a loop: one port to open in a firewall, one socket to poll. Datagrams are assigned to
    /// peers by their remote address, so two peers with the *same* remote address need [`Own`](Self::Own).
    #[default]
    Shared,
    /// A port of its own, chosen by the operating system.
    Own,
}

/// The driver's answer to a [`SocketRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketReply {
    /// The socket is open and reachable at these local addresses (one per usable interface address). A stream is
    /// connected, from this one address.
    Opened(Vec<InterfaceAddress>),
    /// The socket could not be opened, or a stream was closed later; the text is the reason.
    Failed(String),
}

/// A local address of an open socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface name given by the operating system, such as `eth0`.
    pub interface: String,
    /// The address and the port that the socket is bound to.
    pub address: SocketAddr,
}

/// A change of this machine's networks, detected by the driver. It is reported to every machine, affected or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkChange<'a> {
    /// The current addresses of the socket for host candidates; empty if it is not open.
    pub addresses: &'a [InterfaceAddress],
    /// Addresses for ICE-TCP: those listened on, or any port without a listener. Empty if no such socket was requested.
    pub tcp_addresses: &'a [InterfaceAddress],
    /// Addresses that this machine no longer has.
    pub gone: &'a [IpAddr],
    /// The default route for IPv4 changed: packets leave from another address than before.
    pub rerouted_ipv4: bool,
    /// The default route for IPv6 changed.
    pub rerouted_ipv6: bool,
    /// The machine was suspended: NAT mappings and server state may have expired.
    pub slept: bool,
}

impl NetworkChange<'_> {
    /// Returns `true` if traffic from this local address may be affected: the address is gone, the route has changed or
    /// the machine was suspended.
    pub fn affects(&self, local: IpAddr) -> bool {
        self.slept || self.gone.contains(&local) || self.reroutes(local)
    }

    /// Returns `true` if the default route of this address's family changed.
    pub fn reroutes(&self, address: IpAddr) -> bool {
        match address {
            _ if address.is_loopback() => false,
            IpAddr::V4(_) => self.rerouted_ipv4,
            IpAddr::V6(_) => self.rerouted_ipv6,
        }
    }
}
