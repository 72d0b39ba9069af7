//! Configuration of the server's sockets: listening addresses and relays.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::config::TurnMachineConfig;
use crate::server::tls::TlsIdentity;
use crate::setters::setters;

/// The port of STUN and TURN (RFC 8656 §3.1).
const PORT: u16 = 3478;

/// Transport of a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `turn:HOST`, and `stun:HOST`.
    Udp,
    /// `turn:HOST?transport=tcp`.
    Tcp,
    /// `turns:HOST`.
    Tls,
}

/// An open listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// The transport.
    pub transport: Transport,
    /// The address, with the actual port.
    pub address: SocketAddr,
}

/// Configuration of a [`TurnServer`](super::TurnServer).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TurnServerConfig {
    /// Credentials, peer policy and limits.
    pub machine: TurnMachineConfig,
    /// Listening addresses for UDP. Default: port 3478 on all IPv4 and IPv6 addresses.
    pub udp: Vec<SocketAddr>,
    /// Listening addresses for TCP. Default: the same as for UDP.
    pub tcp: Vec<SocketAddr>,
    /// Listening addresses for TLS; requires [`identity`](Self::identity). Default: none. Port 5349 is the standard;
    /// 443 passes most firewalls.
    pub tls: Vec<SocketAddr>,
    /// The certificate for TLS.
    pub identity: Option<TlsIdentity>,
    /// Addresses that relays are bound to, at most one per family. Default: the local address at which the client
    /// reached the server or, if that is of the other family, an interface address.
    pub relay: Vec<IpAddr>,
    /// Addresses announced to clients instead, at most one per family: for a router that maps them 1:1, port by port.
    pub external: Vec<IpAddr>,
    /// Port range of relays. `None`, the default, lets the system choose.
    pub ports: Option<RangeInclusive<u16>>,
    /// Maximum number of streams; further ones are closed at once. Default: 1,024.
    pub streams: usize,
    /// Maximum number of streams per client address, or per IPv6 /64 network. Default: 64.
    pub streams_per_address: usize,
    /// Maximum silence of a stream without an allocation. Default: 30 s.
    pub stream_idle: Duration,
    /// Socket buffer requested from the system per socket and direction, in bytes. Default: 1 MiB.
    pub socket_buffer: usize,
    /// Maximum number of datagrams queued per socket; further ones are dropped. Default: 1,024.
    pub socket_queue: usize,
    /// Maximum number of datagrams read from one socket per turn. Default: 256.
    pub read_budget: usize,
}

impl Default for TurnServerConfig {
    fn default() -> Self {
        let any = vec![
            SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT),
            SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), PORT),
        ];
        Self {
            machine: TurnMachineConfig::default(),
            udp: any.clone(),
            tcp: any,
            tls: Vec::new(),
            identity: None,
            relay: Vec::new(),
            external: Vec::new(),
            ports: None,
            streams: 1024,
            streams_per_address: 64,
            stream_idle: Duration::from_secs(30),
            socket_buffer: 1 << 20,
            socket_queue: 1024,
            read_budget: 256,
        }
    }
}

impl TurnServerConfig {
    setters! {
        machine: TurnMachineConfig,
        udp: Vec<SocketAddr>,
        tcp: Vec<SocketAddr>,
        tls: Vec<SocketAddr>,
        identity: Option<TlsIdentity>,
        relay: Vec<IpAddr>,
        external: Vec<IpAddr>,
        ports: Option<RangeInclusive<u16>>,
        streams: usize,
        streams_per_address: usize,
        stream_idle: Duration,
        socket_buffer: usize,
        socket_queue: usize,
        read_budget: usize,
    }
}

/// Error of a [`TurnServer`](super::TurnServer).
#[derive(Debug)]
#[non_exhaustive]
pub enum TurnServerError {
    /// A listening socket could not be opened.
    Bind(Transport, SocketAddr, std::io::Error),
    /// The configuration contradicts itself.
    Config(&'static str),
    /// A required system call failed.
    Io(&'static str, std::io::Error),
}

impl std::fmt::Display for TurnServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bind(transport, address, e) => {
                let what = match transport {
                    Transport::Udp => "UDP",
                    Transport::Tcp => "TCP",
                    Transport::Tls => "TLS",
                };
                write!(f, "listening at {address} ({what}): {e}")?;
                match e.kind() {
                    std::io::ErrorKind::AddrInUse => {
                        write!(
                            f,
                            "; another program has this port: end it, or choose another"
                        )
                    }
                    std::io::ErrorKind::AddrNotAvailable => {
                        write!(f, "; no interface of this machine has this address")
                    }
                    std::io::ErrorKind::PermissionDenied => {
                        write!(f, "; ports below 1024 need the rights of root")
                    }
                    _ => Ok(()),
                }
            }
            Self::Config(why) => f.write_str(why),
            Self::Io(what, e) => write!(f, "{what}: {e}"),
        }
    }
}

impl std::error::Error for TurnServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind(_, _, e) | Self::Io(_, e) => Some(e),
            Self::Config(_) => None,
        }
    }
}
