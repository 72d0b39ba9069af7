//! A STUN and TURN server (RFC 8489, RFC 8656).
//!
//! [`TurnMachine`] is the protocol, sans-IO. [`TurnServer`] runs it on sockets, on the calling thread: alone, or beside
//! an [`EventLoop`](crate::driver::EventLoop).
//!
//! Like the TURN client it is based on `turn-types`, and not on `turn-server-proto`, which searches all clients for
//! each packet, stores a nonce for every address that requests one, and offers no control over peer addresses,
//! bandwidth and rates.
//!
//! Not supported: relays over TCP (RFC 6062), mobility (RFC 8016), DTLS, and USERHASH; such requests are answered as
//! the RFCs prescribe.
// Protocol code is passed the time; `server.rs` and `stream.rs` read it.
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

mod addresses;
mod allocation;
mod answer;
mod auth;
mod config;
mod limit;
mod machine;
mod relay_sockets;
mod server;
mod server_config;
mod stream;

use std::net::SocketAddr;
use std::time::Instant;

pub use self::addresses::{Cidr, PeerPolicy};
pub use self::auth::rest_password;
pub use self::config::{Credentials, TurnLimits, TurnMachineConfig};
pub use self::machine::TurnMachine;
pub use self::server::TurnServer;
pub use self::server_config::{Listening, Transport, TurnServerConfig, TurnServerError};
pub use super::tls::TlsIdentity;

/// Connection of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// UDP, on this listening socket.
    Datagrams(u32),
    /// A stream, with or without TLS. Ids are never reused.
    Stream(u64),
}

/// A client, identified by both ends of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client {
    /// The socket or stream.
    pub link: Link,
    /// The local address: a concrete one.
    pub local: SocketAddr,
    /// The client's address.
    pub remote: SocketAddr,
}

/// Identifies a relay: the socket of an allocation for one address family. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RelayId {
    index: u32,
    generation: u32,
    v6: bool,
}

impl RelayId {
    /// Returns `true` for an IPv6 relay.
    pub fn is_ipv6(&self) -> bool {
        self.v6
    }
}

/// Input of [`TurnMachine::handle_input`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// A complete STUN or ChannelData message from a client; without padding if it came from a stream.
    Message(Client, &'a [u8]),
    /// A datagram received on a relay.
    Datagram {
        /// The relay.
        relay: RelayId,
        /// The peer's address.
        source: SocketAddr,
        /// The payload.
        contents: &'a [u8],
    },
    /// The reply to [`Output::OpenRelay`]: the address at which peers reach the relay, or an error message.
    RelayOpened(RelayId, Result<SocketAddr, String>),
    /// The client's stream was closed.
    Closed(Client),
    /// The time of [`Output::Timeout`] has come.
    Timeout,
}

/// Output of [`TurnMachine::poll_output`].
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Send this message to a client.
    Message(Client, Vec<u8>),
    /// Send this datagram to a peer.
    Datagram {
        /// The relay to send from.
        relay: RelayId,
        /// The peer's address.
        destination: SocketAddr,
        /// The payload.
        contents: Vec<u8>,
    },
    /// Open a relay and answer with [`Input::RelayOpened`].
    OpenRelay {
        /// Id of the new relay.
        relay: RelayId,
        /// The client of the allocation.
        client: Client,
        /// The requested port.
        port: RelayPort,
    },
    /// Close this relay.
    CloseRelay(RelayId),
    /// Release the port reserved with this token.
    DropReservation(u64),
    /// No more output until this time at the latest.
    Timeout(Option<Instant>),
}

/// Port of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayPort {
    /// Any port.
    Any,
    /// An even port.
    Even,
    /// An even port; reserve the next one under this token.
    EvenAndNext(u64),
    /// The port reserved under this token.
    Reserved(u64),
}

/// Counters of a TURN server since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TurnStats {
    /// Current number of allocations.
    pub allocations: usize,
    /// Allocations created.
    pub allocated: u64,
    /// Allocations that expired.
    pub expired: u64,
    /// Binding requests answered.
    pub bindings: u64,
    /// Datagrams relayed to peers.
    pub to_peers: u64,
    /// Bytes relayed to peers.
    pub bytes_to_peers: u64,
    /// Datagrams relayed to clients.
    pub to_clients: u64,
    /// Bytes relayed to clients.
    pub bytes_to_clients: u64,
    /// Requests without a valid credential or nonce, including the first one of each client.
    pub denied: u64,
    /// Authenticated requests that were refused.
    pub refused: u64,
    /// Peer addresses in refused requests that are not permitted.
    pub forbidden_peers: u64,
    /// Datagrams without a permission, channel or allocation.
    pub not_permitted: u64,
    /// Datagrams dropped because they exceeded the bandwidth of their allocation.
    pub over_bandwidth: u64,
    /// Datagrams dropped because a queue was full.
    pub over_queue: u64,
    /// Requests left unanswered to avoid flooding a possibly forged source.
    pub unanswered: u64,
    /// Invalid messages.
    pub malformed: u64,
}
