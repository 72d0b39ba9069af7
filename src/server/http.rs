//! Inputs and outputs of the services of this module, as values without sockets: requests, responses, and messages of
//! WebSockets.
//!
//! The door makes a [`Request`] of the bytes of a client, completely and within limits; a service answers it with a
//! [`Response`], at once or later, by its [`RequestId`].

pub use crate::proto::http::{Request, Response, is_loopback_name};

/// Identifies a request that waits for its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(crate) u64);

/// Identifies an open WebSocket. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WebSocketId(pub(crate) u64);

/// An action on a WebSocket that a service asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketOutput {
    /// Send this text message.
    Send(WebSocketId, String),
    /// Close it, with a status code (RFC 6455, section 7.4) and a reason of at most 123 bytes.
    Close(WebSocketId, u16, String),
}
