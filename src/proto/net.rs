//! What passes between a protocol machine and whoever drives it.

#[cfg(feature = "driver")]
use std::net::Ipv6Addr;
use std::net::{IpAddr, SocketAddr};

/// Returns the address that stands for a client in limits: an IPv4 address itself, also where it is mapped into IPv6
/// (`::ffff:192.0.2.1`); of an IPv6 address its network of 64 bits, which every customer has at least.
#[cfg(feature = "driver")]
pub(crate) fn client_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
    }
}

/// The transport a datagram came by or goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// One UDP datagram, one message.
    Udp,
    /// A piece of a TCP stream, cut anywhere; what TLS carries, if the socket was opened with it.
    Tcp,
    /// One message of an ICE-TCP stream (RFC 6544). Whoever drives the machine puts lengths before them and
    /// takes them away (RFC 4571, [`framing`](super::ice::framing)).
    IceTcp,
}

/// A datagram that arrived.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The transport it came by.
    pub protocol: Protocol,
    /// Who sent it.
    pub source: SocketAddr,
    /// The local address it was sent to: a concrete address, never the wildcard.
    pub destination: SocketAddr,
    /// The payload.
    pub contents: &'a [u8],
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The transport to send it by.
    pub protocol: Protocol,
    /// The local address to send it from: one that was announced to the machine. With the wildcard in
    /// place of the IP address the system chooses it, and the port tells the socket.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
    /// The payload.
    pub contents: Vec<u8>,
}

/// Names a socket from the request for it to its closing. Unique within one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// A machine's wish for a socket. The driver answers with [`SocketReply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketRequest {
    /// The name under which the answer comes back.
    pub id: SocketId,
    /// What kind of socket.
    pub kind: SocketKind,
}

/// A kind of socket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketKind {
    /// UDP, on all local addresses.
    Datagrams(PortPolicy),
    /// UDP, on a port of its own, for this remote address only.
    DatagramsTo(SocketAddr),
    /// A TCP connection.
    Stream {
        /// Where to.
        remote: SocketAddr,
        /// TLS is spoken on it, and the other side has to be this host.
        tls: Option<ServerName>,
    },
    /// The addresses for ICE-TCP (RFC 6544).
    IceTcp {
        /// Whether others may connect there: the answer then has the port that is listened on. All peers of a
        /// loop share it; a stream finds its peer by the ufrag of the STUN request that has to come first.
        listen: bool,
    },
    /// A TCP connection of ICE-TCP.
    IceStream {
        /// From where, with any port.
        local: IpAddr,
        /// Where to.
        remote: SocketAddr,
    },
    /// A TCP connection from the port that ICE-TCP is listened on, to a STUN server
    /// ([`Bindings`](super::ice::Bindings)).
    BindingStream {
        /// From where: one of the addresses that were told as the answer to [`IceTcp`](Self::IceTcp).
        local: SocketAddr,
        /// Where to.
        remote: SocketAddr,
        /// As with [`Stream`](Self::Stream).
        tls: Option<ServerName>,
    },
}

/// The name that a TLS certificate has to be for: a host name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerName(pub String);

/// Whose UDP port a peer uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PortPolicy {
    /// One port for all peers of a loop: one hole in a firewall, one socket to poll. A datagram finds
    /// its peer by its remote address, so two peers with the *same* remote address need [`Own`](Self::Own).
    #[default]
    Shared,
    /// A port of its own, chosen by the system.
    Own,
}

/// The driver's answer to a [`SocketRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketReply {
    /// Open, and reachable at these local addresses (one for each usable interface address). For a
    /// stream: connected, from this one address.
    Opened(Vec<InterfaceAddress>),
    /// It could not be opened; the text says why. For a stream also later: the connection is gone.
    Failed(String),
}

/// A local address at which an open socket can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface's name as the system gives it, as `eth0`.
    pub interface: String,
    /// The address and the bound port.
    pub address: SocketAddr,
}

/// How the networks of this machine have changed. Whoever drives machines finds it out; what cannot have
/// changed for a machine is told to it all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkChange<'a> {
    /// Where the socket of host candidates can be reached now; none if it is not open.
    pub addresses: &'a [InterfaceAddress],
    /// The same for ICE-TCP: where it is listened, or any port where it is not. None if nobody has asked for it.
    pub tcp_addresses: &'a [InterfaceAddress],
    /// Addresses that this machine does not have any more.
    pub gone: &'a [IpAddr],
    /// The default route for IPv4 is another one: what is sent leaves by another address than before.
    pub rerouted_ipv4: bool,
    /// The same for IPv6.
    pub rerouted_ipv6: bool,
    /// The machine was asleep. NATs and servers have forgotten it.
    pub slept: bool,
}

impl NetworkChange<'_> {
    /// Whether what was sent from this address before may not arrive any more, or arrive from another one.
    pub fn affects(&self, local: IpAddr) -> bool {
        self.slept || self.gone.contains(&local) || self.reroutes(local)
    }

    /// Whether the default route of this address's family is another one.
    pub fn reroutes(&self, address: IpAddr) -> bool {
        match address {
            _ if address.is_loopback() => false,
            IpAddr::V4(_) => self.rerouted_ipv4,
            IpAddr::V6(_) => self.rerouted_ipv6,
        }
    }
}
