//! A STUN and TURN server (RFC 8489, RFC 8656).
//!
//! [`TurnMachine`] is the protocol, sans-IO. [`TurnServer`] runs it on sockets, on the thread that calls it: alone,
//! or beside an [`EventLoop`](crate::driver::EventLoop).
//!
//! It is written over `turn-types`, as our TURN client is, and not over `turn-server-proto`, whose core looks
//! through all clients for each packet, remembers a nonce for every address that asks for one, and has no say in
//! who may be relayed to, how much and how often.
//!
//! What the server does not do: relays over TCP (RFC 6062), mobility (RFC 8016), DTLS, and USERHASH; requests for
//! these are answered as the RFCs say.
// Protocol code is told the time; `server.rs` and `stream.rs` tell it.
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

/// By what a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// Datagrams to this listening socket.
    Datagrams(u32),
    /// This stream, with or without TLS. Never used twice.
    Stream(u64),
}

/// A client: both ends of the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client {
    /// The socket or stream.
    pub link: Link,
    /// Our address on it: a concrete one.
    pub local: SocketAddr,
    /// The client's.
    pub remote: SocketAddr,
}

/// Names a relay: the socket of an allocation, of one address family. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RelayId {
    index: u32,
    generation: u32,
    v6: bool,
}

impl RelayId {
    /// Whether it is a relay for IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.v6
    }
}

/// What has happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A whole STUN or ChannelData message of a client; from a stream without its padding.
    Message(Client, &'a [u8]),
    /// A datagram came to a relay.
    Datagram {
        /// To which.
        relay: RelayId,
        /// From which peer.
        source: SocketAddr,
        /// The payload.
        contents: &'a [u8],
    },
    /// The answer to [`Output::OpenRelay`]: where peers reach it, or why there is none.
    RelayOpened(RelayId, Result<SocketAddr, String>),
    /// The stream of this client is gone.
    Closed(Client),
    /// The time of [`Output::Timeout`] has come.
    Timeout,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// To a client.
    Message(Client, Vec<u8>),
    /// To a peer.
    Datagram {
        /// From this relay.
        relay: RelayId,
        /// To this peer.
        destination: SocketAddr,
        /// The payload.
        contents: Vec<u8>,
    },
    /// Open a relay and answer with [`Input::RelayOpened`].
    OpenRelay {
        /// Its name.
        relay: RelayId,
        /// For whom.
        client: Client,
        /// Which port.
        port: RelayPort,
    },
    /// Close it.
    CloseRelay(RelayId),
    /// A port that was reserved is not held any longer.
    DropReservation(u64),
    /// There is nothing more to do, until this time at the latest.
    Timeout(Option<Instant>),
}

/// Which port a relay has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayPort {
    /// Any.
    Any,
    /// An even one.
    Even,
    /// An even one, and the next is held under this token.
    EvenAndNext(u64),
    /// The one that is held under this token.
    Reserved(u64),
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TurnStats {
    /// Allocations that there are now.
    pub allocations: usize,
    /// Allocations made.
    pub allocated: u64,
    /// Those of them that were not refreshed in time.
    pub expired: u64,
    /// Binding requests answered.
    pub bindings: u64,
    /// Datagrams relayed to peers.
    pub to_peers: u64,
    /// Their bytes.
    pub bytes_to_peers: u64,
    /// Datagrams relayed to clients.
    pub to_clients: u64,
    /// Their bytes.
    pub bytes_to_clients: u64,
    /// Requests without a valid credential or nonce: each client's first is among them.
    pub denied: u64,
    /// Signed requests that were refused.
    pub refused: u64,
    /// Peer addresses among them that are not relayed to.
    pub forbidden_peers: u64,
    /// Datagrams without a permission, channel or allocation.
    pub not_permitted: u64,
    /// Datagrams above the bandwidth of their allocation.
    pub over_bandwidth: u64,
    /// Datagrams dropped because a queue was full.
    pub over_queue: u64,
    /// Requests that were not answered, so as not to flood whoever they seem to come from.
    pub unanswered: u64,
    /// Messages that are none.
    pub malformed: u64,
}
