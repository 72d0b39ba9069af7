//! A head becomes a [`Request`].

use std::net::SocketAddr;

use tungstenite::handshake::derive_accept_key;

use super::inner::{MARK, Parts};
use super::read::Raw;
use crate::proto::rtp::base64;
use crate::server::http::Request;
use crate::signaling::http::head::{self, Head, Refusal};

/// A request, and what the door has to know to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub request: Request,
    pub reply: Reply,
    /// The value of `Sec-WebSocket-Accept`, where the client asks for a WebSocket.
    pub web_socket: Option<String>,
    /// Path and query, as they came.
    pub target: String,
}

/// How a response has to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The connection stays for another request.
    pub keep_alive: bool,
    /// To HTTP/1.0.
    pub is_http_1_0: bool,
    /// To HEAD: no body follows.
    pub is_head: bool,
}

impl Reply {
    /// After which the connection ends.
    pub const LAST: Self = Self {
        keep_alive: false,
        is_http_1_0: false,
        is_head: false,
    };
}

/// Makes a request of what has come.
pub(crate) fn parse(raw: Raw, client: SocketAddr, secure: bool) -> Result<Parsed, Refusal> {
    let body = raw.body;
    let head = head::parse(&raw.head, usize::MAX)?;
    let bad = |message: &str| Refusal::new(400, message);
    let mut hosts = head.values("host");
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("there is more than one Host"));
    }
    if host.is_none() && !head.is_http_1_0 {
        return Err(bad("the Host is missing"));
    }
    if host.is_some_and(|host| !is_authority(host)) {
        return Err(bad("the Host is not \"name\" or \"name:port\""));
    }
    let target = origin_form(head.target, host)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request::new(head.method, &decode_path(path)?, client);
    query.clone_into(&mut request.query);
    let lower = |(name, value): &(&str, &str)| (name.to_ascii_lowercase(), (*value).to_owned());
    request.headers = head.headers.iter().map(lower).collect();
    request.secure = secure;
    let reply = Reply {
        keep_alive: match head.is_http_1_0 {
            true => head.has_token("connection", "keep-alive"),
            false => !head.has_token("connection", "close"),
        },
        is_http_1_0: head.is_http_1_0,
        is_head: head.method == "HEAD",
    };
    let web_socket = match wants_web_socket(&head) {
        true if !body.is_empty() => return Err(bad("a handshake of WebSocket has no body")),
        true => Some(accept_key(&head)?),
        false => None,
    };
    request.body = body;
    let target = target.to_owned();
    Ok(Parsed {
        request,
        reply,
        web_socket,
        target,
    })
}

/// A checked request for tiny_http: as it came, but for what concerns only the connection it came by; with the length
/// of its body said once, and with its mark.
pub(super) fn forward(parsed: &Parsed, mark: u64) -> Vec<u8> {
    let request = &parsed.request;
    let mut text = format!("{} {} HTTP/1.1\r\n", request.method, parsed.target);
    for (name, value) in &request.headers {
        if !head::concerns_connection(name) && name != MARK {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    let length = request.body.len();
    text.push_str(&format!(
        "content-length: {length}\r\n{MARK}: {mark}\r\n\r\n"
    ));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(&request.body);
    bytes
}

/// The request as tiny_http has read it.
pub(super) fn arrived(parts: Parts, client: SocketAddr, secure: bool) -> Option<Request> {
    let (path, query) = parts.target.split_once('?').unwrap_or((&parts.target, ""));
    // It has been decoded once already.
    let mut request = Request::new(&parts.method, &decode_path(path).ok()?, client);
    query.clone_into(&mut request.query);
    request.headers = parts.headers;
    request.body = parts.body;
    request.secure = secure;
    Some(request)
}

/// The target as path and query (RFC 9112, section 3.2).
fn origin_form<'a>(target: &'a str, host: Option<&str>) -> Result<&'a str, Refusal> {
    let refuse = |message: &str| Err(Refusal::new(400, message));
    if target.starts_with('/') {
        return Ok(target);
    }
    // A proxy's form, which servers have to understand, too.
    let Some((scheme, rest)) = target.split_once("://") else {
        return refuse("the target is not a path");
    };
    if !["http", "https"]
        .iter()
        .any(|s| scheme.eq_ignore_ascii_case(s))
    {
        return refuse("the target is not a path");
    }
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    if host.is_none_or(|host| !host.eq_ignore_ascii_case(authority)) {
        return refuse("the target's host is not the Host");
    }
    if path.starts_with('?') {
        return refuse("the target has no path");
    }
    Ok(path)
}

/// Something like a host and a port; names are not checked further.
fn is_authority(host: &str) -> bool {
    !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~:[]%".contains(&b))
}

/// Decodes a path that begins with `/`, then removes its dot segments (RFC 3986, sections 2.1 and 5.2.4), in this
/// order: a dot or slash that was encoded counts as one.
pub(crate) fn decode_path(path: &str) -> Result<String, Refusal> {
    let bad = |message: &str| Refusal::new(400, message);
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'#' {
            return Err(bad("the path has a \"#\""));
        }
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(bad("the path has a \"%\" without two hexadecimal digits"));
        };
        // Two digits of four bits.
        bytes.push((high << 4 | low) as u8);
    }
    let text = String::from_utf8(bytes).map_err(|_| bad("the path is not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(bad("the path has control characters"));
    }
    let mut segments: Vec<&str> = Vec::new();
    let mut all = text.split('/').skip(1).peekable();
    while let Some(segment) = all.next() {
        let is_last = all.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                if is_last {
                    segments.push("");
                }
            }
            _ => segments.push(segment),
        }
    }
    Ok(format!("/{}", segments.join("/")))
}

/// A path as it stands in a URL.
pub(super) fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// RFC 6455, section 4.2.1, items 3 and 4. An `Upgrade` to something else is passed over.
fn wants_web_socket(head: &Head<'_>) -> bool {
    head.has_token("upgrade", "websocket") && head.has_token("connection", "upgrade")
}

/// Checks the rest of the handshake (RFC 6455, section 4.2.1), and gives the proof that it was understood (4.2.2).
fn accept_key(head: &Head<'_>) -> Result<String, Refusal> {
    let bad = |message: &str| Refusal::new(400, message);
    if head.method != "GET" || head.is_http_1_0 {
        return Err(bad("a handshake of WebSocket is a GET of HTTP/1.1"));
    }
    let only = |name: &str| {
        let mut values = head.values(name);
        values.next().filter(|_| values.next().is_none())
    };
    if only("sec-websocket-version") != Some("13") {
        let message = "the Sec-WebSocket-Version has to be 13";
        return Err(Refusal::new(426, message));
    }
    let key = only("sec-websocket-key").ok_or_else(|| bad("the Sec-WebSocket-Key is missing"))?;
    let is_key = key.len() == 24 && base64::decode(key).is_some_and(|bytes| bytes.len() == 16);
    if !is_key {
        return Err(bad("the Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    Ok(derive_accept_key(key.as_bytes()))
}
