//! Requests with what the door has to know to answer them, and the handshake of a WebSocket (RFC 6455, section 4.2).

use std::net::SocketAddr;

use tungstenite::handshake::derive_accept_key;

use crate::proto::http::{RawRequest, Refusal, Reply, Request, RequestHead, Version};
use crate::proto::rtp::base64;

/// A request, and what the door needs to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub request: Request,
    pub reply: Reply,
    /// The value of `Sec-WebSocket-Accept`, if the client asks for a WebSocket.
    pub web_socket: Option<String>,
}

/// Checks the rest of a request: its host, its target, and the handshake of a WebSocket.
pub(crate) fn parse(raw: RawRequest, client: SocketAddr, secure: bool) -> Result<Parsed, Refusal> {
    let reply = Reply::to(&raw.head);
    let web_socket = match wants_web_socket(&raw.head) {
        true if !raw.body.is_empty() => {
            return Err(Refusal::bad("a handshake of WebSocket has no body"));
        }
        true => Some(accept_key(&raw.head)),
        false => None,
    };
    let request = raw.into_request(client, secure)?;
    Ok(Parsed {
        request,
        reply,
        web_socket: web_socket.transpose()?,
    })
}

/// Returns the response to a handshake (RFC 6455, section 4.2.2).
pub(super) fn switching(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Returns `true` if the client asks for a WebSocket (RFC 6455, section 4.2.1, items 3 and 4). An `Upgrade` to something
/// else is ignored.
fn wants_web_socket(head: &RequestHead) -> bool {
    head.has_token("upgrade", "websocket") && head.has_token("connection", "upgrade")
}

/// Checks the rest of the handshake (RFC 6455, section 4.2.1). Returns the proof that it was understood (4.2.2).
fn accept_key(head: &RequestHead) -> Result<String, Refusal> {
    if head.method != "GET" || head.version == Version::Http10 {
        let message = "a handshake of WebSocket is a GET of HTTP/1.1";
        return Err(Refusal::bad(message));
    }
    if head.only("sec-websocket-version") != Some("13") {
        let message = "the Sec-WebSocket-Version has to be 13";
        return Err(Refusal::new(426, message));
    }
    let missing = || Refusal::bad("the Sec-WebSocket-Key is missing");
    let key = head.only("sec-websocket-key").ok_or_else(missing)?;
    let is_key = key.len() == 24 && base64::decode(key).is_some_and(|bytes| bytes.len() == 16);
    if !is_key {
        let message = "the Sec-WebSocket-Key is not 16 bytes in base64";
        return Err(Refusal::bad(message));
    }
    Ok(derive_accept_key(key.as_bytes()))
}
