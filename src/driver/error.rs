//! Errors of an event loop.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::proto::peer::{CryptoError, PeerError};

/// An error of an [`EventLoop`](super::EventLoop).
#[derive(Debug)]
#[non_exhaustive]
pub enum LoopError {
    /// A system call failed; the text says what was attempted.
    Io(&'static str, io::Error),
    /// A socket could not be bound to this address.
    Bind(SocketAddr, io::Error),
    /// The peer does not exist, or has closed.
    NoSuchPeer,
    /// The socket does not exist, or was closed.
    NoSuchSocket,
    /// A configured limit was reached.
    LimitReached {
        /// The limit's name in [`LoopConfig`](super::LoopConfig).
        limit: &'static str,
        /// The limit's value.
        value: usize,
    },
    /// The peer's configuration is invalid.
    Peer(PeerError),
    /// The crypto backend is missing or failed to start.
    Crypto(CryptoError),
}

impl fmt::Display for LoopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, e) => write!(f, "{what}: {e}"),
            Self::Bind(address, e) => write!(f, "opening a UDP socket at {address}: {e}"),
            Self::NoSuchSocket => f.write_str("no such socket, or it was closed"),
            Self::NoSuchPeer => f.write_str("no such peer, or it has closed"),
            Self::LimitReached { limit, value } => write!(f, "{limit} of {value} reached"),
            Self::Peer(e) => e.fmt(f),
            Self::Crypto(e) => write!(f, "crypto: {e}"),
        }
    }
}

impl std::error::Error for LoopError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, e) | Self::Bind(_, e) => Some(e),
            Self::Peer(e) => Some(e),
            Self::Crypto(e) => Some(e),
            Self::NoSuchPeer | Self::NoSuchSocket | Self::LimitReached { .. } => None,
        }
    }
}

impl From<PeerError> for LoopError {
    fn from(e: PeerError) -> Self {
        Self::Peer(e)
    }
}

impl From<CryptoError> for LoopError {
    fn from(e: CryptoError) -> Self {
        Self::Crypto(e)
    }
}
