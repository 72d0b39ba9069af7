//! Where the server listens, and from where it relays.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::config::TurnMachineConfig;
use crate::server::tls::TlsIdentity;
use crate::setters::setters;

/// The port of STUN and TURN (RFC 8656 §3.1).
const PORT: u16 = 3478;

/// How clients reach a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `turn:HOST`, and `stun:HOST`.
    Udp,
    /// `turn:HOST?transport=tcp`.
    Tcp,
    /// `turns:HOST`.
    Tls,
}

/// A listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// What is spoken there.
    pub transport: Transport,
    /// Where; with the port that the system chose, if it was asked to.
    pub address: SocketAddr,
}

/// How a [`TurnServer`](super::TurnServer) is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TurnServerConfig {
    /// Who may use it, for what, and how much.
    pub machine: TurnMachineConfig,
    /// Where it listens for datagrams. Default: port 3478 of every IPv4 and IPv6 address.
    pub udp: Vec<SocketAddr>,
    /// Where it listens for TCP. Default: as for UDP.
    pub tcp: Vec<SocketAddr>,
    /// Where it listens for TLS; needs [`identity`](Self::identity). Default: nowhere. Port 5349 is the usual one;
    /// 443 passes most firewalls.
    pub tls: Vec<SocketAddr>,
    /// The certificate for TLS.
    pub identity: Option<TlsIdentity>,
    /// The addresses that relays are bound to, one a family. Without one of a family: the address that the
    /// client reached the server at; if that is of the other family, one that an interface has.
    pub relay: Vec<IpAddr>,
    /// The addresses that clients are told instead, one a family: where a router maps its address to ours, port
    /// by port.
    pub external: Vec<IpAddr>,
    /// The ports of relays. `None`, the default: the system chooses.
    pub ports: Option<RangeInclusive<u16>>,
    /// Streams at once; more are closed as they come. Default: 1,024.
    pub streams: usize,
    /// Streams from one client address, or one IPv6 network of 64 bits. Default: 64.
    pub streams_per_address: usize,
    /// How long a stream without an allocation may be silent. Default: 30 s.
    pub stream_idle: Duration,
    /// What the system is asked to buffer for each socket and direction, in bytes. Default: 1 MiB.
    pub socket_buffer: usize,
    /// Datagrams that wait on one socket; what comes on top is dropped. Default: 1,024.
    pub socket_queue: usize,
    /// Datagrams read from one socket in one turn. Default: 256.
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

/// What a server cannot do.
#[derive(Debug)]
#[non_exhaustive]
pub enum TurnServerError {
    /// A listening socket could not be opened.
    Bind(Transport, SocketAddr, std::io::Error),
    /// The configuration contradicts itself.
    Config(&'static str),
    /// The system refuses something that the server cannot do without.
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
