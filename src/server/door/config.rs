//! Configuration and counters of a door.

use std::time::Duration;

use crate::server::proxies::TrustedProxies;
use crate::server::tls::TlsIdentity;
use crate::setters::setters;

/// Configuration of a [`Door`](super::Door): its limits and its certificate.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DoorConfig {
    /// TLS certificate. If set, only TLS is accepted. Default: none.
    pub tls: Option<TlsIdentity>,
    /// Reverse proxies whose information about clients is trusted. Limits per address then apply to these clients.
    /// Default: none.
    pub proxies: TrustedProxies,
    /// Maximum number of connections, at most half of the process's descriptors. For a further one, the connection that
    /// has been idle for longest is closed; if none is idle, the new one is refused with 503. Default: 4096.
    pub max_connections: usize,
    /// Maximum number of connections from one IPv4 address or IPv6 /64 network. For a further one, its own oldest idle
    /// connection is closed; if none is idle, the new one is refused with 429. Default: 256.
    pub max_connections_per_address: usize,
    /// Share of [`max_connections`](Self::max_connections), in percent, for clients that have not sent a complete
    /// request yet. Default: 75.
    pub strangers_percent: usize,
    /// Maximum number of WebSockets; further ones are refused with 503. Default: 1024.
    pub max_web_sockets: usize,
    /// Maximum number of requests waiting for the application; further ones are refused with 503. Default: 256.
    pub max_requests: usize,
    /// Maximum size of request line and header lines together, in bytes; larger ones are refused with 431. At most 64
    /// lines are accepted. Default: 16 KiB.
    pub max_head: usize,
    /// Maximum size of a request body, in bytes; larger ones are refused with 413. Default: 256 KiB.
    pub max_body: usize,
    /// Maximum memory (by capacity) for unfinished requests and WebSocket messages and for unread responses, over all
    /// connections, in bytes. Beyond it, connections of the address with the most memory are closed, the slowest
    /// readers of a response first; an unfinished request of that address is refused with 503. Default: 64 MiB.
    pub max_buffered: usize,
    /// Maximum size of a WebSocket message, in bytes; a larger one closes the WebSocket (1009). Default: 256 KiB.
    pub max_message: usize,
    /// Maximum number of bytes queued for a WebSocket's client; beyond it the WebSocket is closed. Default: 1 MiB.
    pub max_queue: usize,
    /// Time limit of the TLS handshake. Default: 10 s.
    pub handshake_time: Duration,
    /// Time limit of a request head, from its first byte, or from the start of a new connection; then 408 is sent.
    /// Default: 10 s.
    pub head_time: Duration,
    /// Time limit of a request body; then 408 is sent. Default: 30 s.
    pub body_time: Duration,
    /// Time for which an idle connection is kept for the next request. Default: 60 s.
    pub idle_time: Duration,
    /// Time limit for the application's response; then 504 is sent. Default: 30 s.
    pub answer_time: Duration,
    /// Time limit for the client to read each 64 KiB of a response, or of a WebSocket's data; then the connection is
    /// closed. Default: 60 s.
    pub write_time: Duration,
    /// Silence of a WebSocket's client after which it is sent a ping. Default: 20 s.
    pub ping_after: Duration,
    /// Silence of a WebSocket's client, including pongs, after which it is closed. Default: 45 s.
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

/// Current state of a [`Door`](super::Door), and its counters since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DoorStats {
    /// Current number of connections.
    pub connections: usize,
    /// Connections without a request in progress.
    pub idle: usize,
    /// Connections whose client has not sent a complete request yet.
    pub strangers: usize,
    /// Current number of WebSockets.
    pub web_sockets: usize,
    /// Requests currently waiting for the application.
    pub waiting: usize,
    /// Bytes currently held: see [`DoorConfig::max_buffered`].
    pub held: usize,
    /// Connections admitted.
    pub accepted: u64,
    /// Connections refused because of the total limit.
    pub refused_full: u64,
    /// Connections refused because of the limit per address.
    pub refused_address: u64,
    /// Idle connections closed to make room.
    pub evicted: u64,
    /// Failures to accept a connection, for example because no descriptors were left.
    pub accept_failed: u64,
    /// Complete requests.
    pub requests: u64,
    /// Requests refused by the door itself with a 4xx or 5xx status, except those below.
    pub refused_requests: u64,
    /// Heads and bodies that exceeded their time limit: 408.
    pub timed_out: u64,
    /// Heads that exceeded their size limit: 431.
    pub heads_too_large: u64,
    /// Bodies that exceeded their size limit: 413.
    pub bodies_too_large: u64,
    /// Requests refused because of overload: 503.
    pub overloaded: u64,
    /// Requests that the application did not answer in time: 504.
    pub unanswered: u64,
    /// Responses that the client did not read in time.
    pub unread: u64,
    /// Connections closed after their idle time.
    pub idle_closed: u64,
    /// TLS handshakes that failed or took too long.
    pub tls_failed: u64,
    /// WebSockets opened.
    pub web_sockets_opened: u64,
    /// WebSocket messages received.
    pub messages_in: u64,
    /// WebSocket messages sent.
    pub messages_out: u64,
    /// WebSockets closed because the client did not read, or was silent.
    pub web_sockets_dead: u64,
    /// WebSockets closed because of invalid data from the client.
    pub web_sockets_wrong: u64,
}
