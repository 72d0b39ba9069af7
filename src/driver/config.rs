//! What a loop can be told before it begins.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::proto::peer::{Certificate, CryptoBackend};

/// Configuration of an [`EventLoop`](super::EventLoop).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoopConfig {
    /// Local addresses to bind. The wildcards of both families by default: one socket each, which
    /// serves all interfaces. A family that the system does not have is left out.
    pub bind: Vec<IpAddr>,
    /// The UDP port shared by peers with [`PortPolicy::Shared`](crate::proto::net::PortPolicy). 0, the
    /// default, lets the system choose one.
    pub port: u16,
    /// The TCP port on which ICE-TCP is listened for, by all peers that want it
    /// ([`GatherConfig::tcp`](crate::proto::ice::GatherConfig)); opened when the first of them comes. 0, the default,
    /// lets the system choose one. It may be the same as [`port`](Self::port).
    pub tcp_port: u16,
    /// ICE-TCP streams that one peer may have: one for each pair of addresses that can reach each other. 16; further
    /// ones are refused.
    pub max_tcp_streams: usize,
    /// ICE-TCP streams that have not shown a correct STUN request yet, of all addresses together. 256; further ones
    /// are refused, and each is closed after [`tcp_patience`](Self::tcp_patience). Of one address there may be an
    /// eighth of it.
    pub max_tcp_strangers: usize,
    /// How long a stream has for its first correct STUN request. 5 s.
    pub tcp_patience: Duration,
    /// Who does the cryptography for peers that do not say. `None` takes the default of this build.
    pub crypto: Option<CryptoBackend>,
    /// The identity of peers that have none of their own. `None`: one is made with the loop.
    pub certificate: Option<Certificate>,
    /// Peers at once. 10,000; above it: [`LoopError::LimitReached`](super::LoopError).
    pub max_peers: usize,
    /// Datagrams read from one socket in one turn; what is left waits for the next. 512.
    pub read_budget: usize,
    /// Datagrams waiting in one socket for the system to take them. 4,096; more are dropped and counted,
    /// as a full network queue would.
    pub max_send_queue: usize,
    /// Jobs waiting in a [`LoopHandle`](super::LoopHandle). 1,024; above it the poster is told.
    pub max_posted: usize,
    /// Sockets that the application may open with [`add_udp`](super::EventLoop::add_udp). 1,024; above it:
    /// [`LoopError::LimitReached`](super::LoopError).
    pub max_udp_sockets: usize,
    /// Bytes of datagrams for the application that wait to be taken, with some for each. 8 MiB; more are
    /// dropped and counted.
    pub max_unread: usize,
    /// Buffer requested from the system for each socket and direction, in bytes. 4 MiB; where the
    /// system gives less, a line of the log says so.
    pub socket_buffer: usize,
    /// ICE checks without an answer, of all peers together. 2,048, filled again at 128 a second; to one IP address an
    /// eighth of it. Further ones are not sent, and counted; the core tries again. Whoever may hand over a description
    /// names the addresses that are checked, so this bounds what a loop can be made to send to others.
    pub max_unanswered_checks: u32,
    /// How long a remote address belongs to the peer that last heard from it, when another peer claims
    /// it. 5 s.
    pub address_hold: Duration,
    /// Whom to trust when a TURN server is reached by TLS (`turns:`): certificates in PEM. `None`, the
    /// default, takes the system's authorities. Only with the feature `tls`.
    pub tls_authorities: Option<Vec<u8>>,
    /// How changes of the machine's networks are noticed. [`NetworkWatching::Auto`] by default.
    pub network: NetworkWatching,
}

/// How a loop notices that interfaces, addresses or the default route have changed. Peers then gather
/// candidates anew, and restart ICE if they have to
/// ([`PeerConfig::restart_on_network_change`](crate::proto::peer::PeerConfig)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum NetworkWatching {
    /// The system says so (netlink, on Linux); where it does not, or may not, interfaces are looked at every 2 s.
    #[default]
    Auto,
    /// Interfaces are looked at so often.
    Polling(Duration),
    /// Not at all, nor whether the machine has slept.
    Off,
}

impl Default for LoopConfig {
    fn default() -> Self {
        Self {
            bind: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            port: 0,
            tcp_port: 0,
            max_tcp_streams: 16,
            max_tcp_strangers: 256,
            tcp_patience: Duration::from_secs(5),
            crypto: None,
            certificate: None,
            max_peers: 10_000,
            read_budget: 512,
            max_send_queue: 4096,
            max_posted: 1024,
            max_udp_sockets: 1024,
            max_unread: 8 << 20,
            socket_buffer: 4 * 1024 * 1024,
            max_unanswered_checks: 2048,
            address_hold: Duration::from_secs(5),
            tls_authorities: None,
            network: NetworkWatching::Auto,
        }
    }
}

impl LoopConfig {
    /// Sets [`port`](Self::port).
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets [`tcp_port`](Self::tcp_port).
    #[must_use]
    pub fn tcp_port(mut self, port: u16) -> Self {
        self.tcp_port = port;
        self
    }

    /// Sets [`bind`](Self::bind).
    #[must_use]
    pub fn bind(mut self, addresses: impl Into<Vec<IpAddr>>) -> Self {
        self.bind = addresses.into();
        self
    }

    /// Sets [`crypto`](Self::crypto).
    #[must_use]
    pub fn crypto(mut self, backend: Option<CryptoBackend>) -> Self {
        self.crypto = backend;
        self
    }

    /// Sets [`certificate`](Self::certificate).
    #[must_use]
    pub fn certificate(mut self, certificate: Option<Certificate>) -> Self {
        self.certificate = certificate;
        self
    }

    /// Sets [`max_peers`](Self::max_peers).
    #[must_use]
    pub fn max_peers(mut self, peers: usize) -> Self {
        self.max_peers = peers;
        self
    }

    /// Sets [`network`](Self::network).
    #[must_use]
    pub fn network(mut self, watching: NetworkWatching) -> Self {
        self.network = watching;
        self
    }

    /// Sets [`tls_authorities`](Self::tls_authorities).
    #[must_use]
    pub fn tls_authorities(mut self, pem: Option<Vec<u8>>) -> Self {
        self.tls_authorities = pem;
        self
    }
}
