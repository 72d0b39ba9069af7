//! Configuration of an event loop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::proto::peer::{Certificate, CryptoBackend};

/// Configuration of an [`EventLoop`](super::EventLoop).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoopConfig {
    /// Local addresses to bind. Default: the wildcards of both families, one socket each, which serve all interfaces. A
    /// family that the system does not support is skipped.
    pub bind: Vec<IpAddr>,
    /// UDP port shared by peers with [`PortPolicy::Shared`](crate::proto::net::PortPolicy). 0, the default, lets the
    /// system choose one.
    pub port: u16,
    /// TCP port of the ICE-TCP listener, shared by all peers that use it
    /// ([`GatherConfig::tcp`](crate::proto::ice::GatherConfig)) and opened for the first of them. 0, the default, lets
    /// the system choose one. May equal [`port`](Self::port).
    pub tcp_port: u16,
    /// Maximum number of ICE-TCP streams per peer: one for each pair of addresses that can reach each other. Default:
    /// 16; further ones are refused.
    pub max_tcp_streams: usize,
    /// Maximum number of ICE-TCP streams that have not yet sent a valid STUN request, over all addresses. Default: 256;
    /// further ones are refused, and each is closed after [`tcp_patience`](Self::tcp_patience). One client may use an
    /// eighth of it.
    pub max_unvalidated_streams: usize,
    /// Time limit for the first valid STUN request on an ICE-TCP stream. Default: 5 s.
    pub tcp_patience: Duration,
    /// Crypto backend of peers that do not choose one. `None`, the default, uses the default of this build.
    pub crypto: Option<CryptoBackend>,
    /// DTLS certificate of peers without one of their own. `None`, the default, creates one with the loop.
    pub certificate: Option<Certificate>,
    /// Maximum number of peers. Default: 10,000; beyond it [`EventLoop::add_peer`](super::EventLoop::add_peer) returns
    /// [`LoopError::LimitReached`](super::LoopError).
    pub max_peers: usize,
    /// Maximum number of datagrams read from one socket per turn; the rest is read in the next one. Default: 512.
    pub read_budget: usize,
    /// Maximum number of datagrams queued per socket while the system accepts no more. Default: 4,096; further ones are
    /// dropped and counted, as in a full network queue.
    pub max_send_queue: usize,
    /// Maximum number of jobs queued in a [`LoopHandle`](super::LoopHandle). Default: 1,024; beyond it
    /// [`post`](super::LoopHandle::post) returns an error.
    pub max_posted: usize,
    /// Maximum number of sockets opened with [`add_udp`](super::EventLoop::add_udp). Default: 1,024; beyond it
    /// [`LoopError::LimitReached`](super::LoopError) is returned.
    pub max_udp_sockets: usize,
    /// Maximum number of connections opened with [`add_tcp`](super::EventLoop::add_tcp), including those that are being
    /// closed. Default: 1,024; beyond it [`LoopError::LimitReached`](super::LoopError) is returned.
    pub max_tcp_sockets: usize,
    /// Maximum number of bytes of received datagrams that the application has not taken, including overhead per
    /// datagram. Default: 8 MiB; further ones are dropped and counted.
    pub max_unread: usize,
    /// Socket buffer requested from the system per socket and direction, in bytes. Default: 4 MiB. If the system grants
    /// less, a log line says so.
    pub socket_buffer: usize,
    /// Maximum number of unanswered ICE checks, over all peers. Default: 2,048, refilled at 128 per second; an eighth
    /// of it per IP address. Further checks are not sent, but counted; the core retries. Remote descriptions choose the
    /// addresses that are checked, so this limits what a loop can be made to send to third parties.
    pub max_unanswered_checks: u32,
    /// Time for which a remote address stays with the peer that last received from it, when another peer claims it.
    /// Default: 5 s.
    pub address_claim_timeout: Duration,
    /// Trusted certificate authorities for TURN servers over TLS (`turns:`) and the application's connections, in PEM. `None`, the default, uses the
    /// system's. Has an effect only with the feature `tls`.
    pub tls_authorities: Option<Vec<u8>>,
    /// Detection of network changes. Default: [`NetworkWatching::Auto`].
    pub network: NetworkWatching,
}

/// How a loop detects changes of interfaces, addresses and the default route. Peers then gather candidates again, and
/// restart ICE if necessary ([`PeerConfig::restart_on_network_change`](crate::proto::peer::PeerConfig)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum NetworkWatching {
    /// By notifications of the system (netlink, on Linux); where there are none, interfaces are compared every 2 s.
    #[default]
    Auto,
    /// Interfaces are compared at this interval.
    Polling(Duration),
    /// No detection, neither of network changes nor of suspends.
    Off,
}

impl Default for LoopConfig {
    fn default() -> Self {
        Self {
            bind: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            port: 0,
            tcp_port: 0,
            max_tcp_streams: 16,
            max_unvalidated_streams: 256,
            tcp_patience: Duration::from_secs(5),
            crypto: None,
            certificate: None,
            max_peers: 10_000,
            read_budget: 512,
            max_send_queue: 4096,
            max_posted: 1024,
            max_udp_sockets: 1024,
            max_tcp_sockets: 1024,
            max_unread: 8 << 20,
            socket_buffer: 4 * 1024 * 1024,
            max_unanswered_checks: 2048,
            address_claim_timeout: Duration::from_secs(5),
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
