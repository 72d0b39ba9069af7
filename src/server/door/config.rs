//! What a door is told, and what it counts.

use std::time::Duration;

use crate::server::proxies::TrustedProxies;
use crate::server::tls::TlsIdentity;
use crate::setters::setters;

/// The limits of a [`Door`](super::Door), and its certificate.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DoorConfig {
    /// Speaks TLS, and only that, with this certificate. Default: none.
    pub tls: Option<TlsIdentity>,
    /// Reverse proxies that are believed when they say whose a request is. Limits by address then are for these clients.
    /// Default: none.
    pub proxies: TrustedProxies,
    /// Connections at a time; at most half of the descriptors that the process may have, whatever is said here. For
    /// one more, the one that has been idle for the longest has to go; if none is idle, the new one is refused with
    /// 503. Default: 4096.
    pub max_connections: usize,
    /// Connections at a time from one IPv4 address or one IPv6 network of 64 bits. For one more, its own oldest idle
    /// one has to go; if none is idle, the new one is refused with 429. Default: 256.
    pub max_connections_per_address: usize,
    /// The share of [`max_connections`](Self::max_connections) that clients may have which have not yet sent a whole
    /// request, in per cent. Default: 75.
    pub strangers_percent: usize,
    /// WebSockets at a time; more are refused with 503. Default: 1024.
    pub max_web_sockets: usize,
    /// Requests that wait for the application at a time; more are refused with 503. Default: 256.
    pub max_requests: usize,
    /// Request line and header lines together, in bytes; more: 431. There are 64 lines at most. Default: 16 KiB.
    pub max_head: usize,
    /// The body of a request, in bytes; more: 413. Default: 256 KiB.
    pub max_body: usize,
    /// Memory for unfinished requests and WebSocket messages, by capacity, and for what clients have not yet read, of all
    /// connections together, in bytes. Beyond it connections of the address for which most is held are closed, those first
    /// that have taken the longest to read a response; an unfinished request of that address is refused with 503.
    /// Default: 64 MiB.
    pub max_buffered: usize,
    /// One message of a WebSocket, in bytes; with a larger one it is closed (1009). Default: 256 KiB.
    pub max_message: usize,
    /// Bytes that wait for one WebSocket's client to read them; with more it is closed. Default: 1 MiB.
    pub max_queue: usize,
    /// How long the handshake of TLS may take. Default: 10 s.
    pub handshake_time: Duration,
    /// How long a head may take, from its first byte; on a new connection, from its beginning. Then: 408. Default: 10 s.
    pub head_time: Duration,
    /// How long a body may take. Then: 408. Default: 30 s.
    pub body_time: Duration,
    /// How long a connection is kept for the next request. Default: 60 s.
    pub idle_time: Duration,
    /// How long the application may take to answer. Then: 504. Default: 30 s.
    pub answer_time: Duration,
    /// How long the client may take to read each 64 KiB of a response, and what a WebSocket sends it. Then it is
    /// closed. Default: 60 s.
    pub write_time: Duration,
    /// A WebSocket whose client has said nothing for so long is sent a ping. Default: 20 s.
    pub ping_after: Duration,
    /// A WebSocket whose client has said nothing for so long, not even to a ping, is closed. Default: 45 s.
    pub silence: Duration,
}

impl Default for DoorConfig {
    fn default() -> Self {
        Self {
            tls: None,
            proxies: TrustedProxies::default(),
            max_connections: 4096,
            max_connections_per_address: 256,
            strangers_percent: 75,
            max_web_sockets: 1024,
            max_requests: 256,
            max_head: 16 * 1024,
            max_body: 256 * 1024,
            max_buffered: 64 * 1024 * 1024,
            max_message: 256 * 1024,
            max_queue: 1024 * 1024,
            handshake_time: Duration::from_secs(10),
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(60),
            answer_time: Duration::from_secs(30),
            write_time: Duration::from_secs(60),
            ping_after: Duration::from_secs(20),
            silence: Duration::from_secs(45),
        }
    }
}

impl DoorConfig {
    setters! {
        tls: Option<TlsIdentity>,
        proxies: TrustedProxies,
        max_connections: usize,
        max_connections_per_address: usize,
        strangers_percent: usize,
        max_web_sockets: usize,
        max_requests: usize,
        max_head: usize,
        max_body: usize,
        max_buffered: usize,
        max_message: usize,
        max_queue: usize,
        handshake_time: Duration,
        head_time: Duration,
        body_time: Duration,
        idle_time: Duration,
        answer_time: Duration,
        write_time: Duration,
        ping_after: Duration,
        silence: Duration,
    }
}

/// What a [`Door`](super::Door) has now, and has counted since it opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DoorStats {
    /// Connections now.
    pub connections: usize,
    /// Of these, those without a request under way.
    pub idle: usize,
    /// Of these, those whose client has not yet sent a whole request.
    pub strangers: usize,
    /// WebSockets now.
    pub web_sockets: usize,
    /// Requests that wait for the application now.
    pub waiting: usize,
    /// Bytes held now: see [`DoorConfig::max_buffered`].
    pub held: usize,
    /// Connections admitted.
    pub accepted: u64,
    /// Connections refused because there were too many in all.
    pub refused_full: u64,
    /// Connections refused because there were too many of their address.
    pub refused_address: u64,
    /// Idle connections closed to make place for others.
    pub evicted: u64,
    /// Failures to accept a connection, as when there are no descriptors left.
    pub accept_failed: u64,
    /// Whole requests.
    pub requests: u64,
    /// Requests refused for what they were: any status 4xx or 5xx of the door's own, but for those below.
    pub refused_requests: u64,
    /// Heads and bodies that took too long: 408.
    pub timed_out: u64,
    /// Heads over their limit: 431.
    pub heads_too_large: u64,
    /// Bodies over their limit: 413.
    pub bodies_too_large: u64,
    /// Requests refused because too much waits: 503.
    pub overloaded: u64,
    /// Requests that the application did not answer in time: 504.
    pub unanswered: u64,
    /// Responses that the client did not read in time.
    pub unread: u64,
    /// Connections closed after having been idle for too long.
    pub idle_closed: u64,
    /// TLS handshakes that failed or took too long.
    pub tls_failed: u64,
    /// WebSockets opened.
    pub web_sockets_opened: u64,
    /// Messages of WebSockets received.
    pub messages_in: u64,
    /// Messages of WebSockets sent.
    pub messages_out: u64,
    /// WebSockets closed because the client did not read, or was silent.
    pub web_sockets_dead: u64,
    /// WebSockets closed because of what the client sent.
    pub web_sockets_wrong: u64,
}
