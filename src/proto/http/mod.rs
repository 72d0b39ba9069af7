//! HTTP/1.1 messages (RFC 9110 and 9112), sans-IO: bytes become requests, responses become bytes.
//!
//! | file | |
//! |---|---|
//! | `reader` | splits the bytes of a connection into requests |
//! | `head`, `field` | request line and header lines, checked strictly |
//! | `chunked` | bodies in the chunked transfer coding |
//! | `target` | paths, percent-encoding, the forms of a request target |
//! | `request`, `response` | what services see: values without a connection |
//!
//! Users: the [door](crate::server::door) and the signaling server's gate.
//!
//! # Strictness
//!
//! A message that two readers could understand differently is refused, never repaired: two lengths, a folded line, a
//! line that ends with a lone LF, white space before a colon, bytes outside ASCII. The `httparse` crate, which is in the
//! dependency tree, accepts a lone LF as the end of a line and bytes above 0x7f in values, reads neither lengths nor
//! chunks, and knows no other protocol's version (RTSP). A strict pass before it would read every byte that it reads,
//! so the two functions that it could replace ([`field()`] and the request line) are here.

#![cfg_attr(
    not(feature = "server"),
    allow(
        dead_code,
        unused_imports,
        reason = "the signaling server uses a part of it"
    )
)]

mod chunked;
mod field;
mod head;
mod reader;
mod request;
mod response;
mod target;

pub(crate) use field::field;
pub(crate) use head::{ReadLimits, RequestHead, Version};
pub(crate) use reader::{RawRequest, RequestReader, Step};
pub use request::Request;
pub(crate) use response::Reply;
pub use response::Response;
#[cfg(any(test, feature = "testing"))]
pub(crate) use target::decode_path;
pub(crate) use target::encode_path;
pub use target::is_loopback_name;

/// A message that was refused: the HTTP status, and what was wrong in one sentence without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: u16,
    pub message: String,
}

impl Refusal {
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// Creates a refusal with 400, Bad Request.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// Returns the response that tells the client: its message as plain text, and what it needs to try again.
    pub fn response(&self) -> Response {
        let text = format!("{}\n", self.message);
        let response = Response::new(self.status).body("text/plain; charset=utf-8", text);
        match self.status {
            426 => response
                .header("Upgrade", "websocket")
                .header("Sec-WebSocket-Version", "13"),
            _ => response,
        }
    }
}

#[cfg(test)]
mod tests;
