//! What comes to the door.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::Bytes;
use crate::proto::http::{
    RawRequest, ReadLimits, Request, RequestReader, Step, decode_path, encode_path,
};
use crate::server::door::handshake::parse;
use crate::server::door::web_socket::{Incoming, Socket};
use crate::server::gateway::access::{Access, AccessConfig, Right};
use crate::server::http::WebSocketId;
use crate::server::proxies::{Cidr, HeaderReader, TrustedProxies, checked_prefix};
use crate::server::token::Token;

const LIMITS: ReadLimits = ReadLimits {
    head: 4096,
    body: 1000,
    needs_length: false,
};

/// Requests, whole and in pieces (the first byte chooses): what is understood does not depend on the pieces, is within
/// the limits, and has no way out of its path.
pub fn http_head(data: &[u8]) {
    let (size, data) = data.split_first().unwrap_or((&0, &[]));
    let whole = requests(&mut std::iter::once(data));
    let pieces = requests(&mut data.chunks(usize::from(*size) + 1));
    assert_eq!(whole, pieces);
    proxy_protocol(data);
}

/// Parses the requests in these bytes; returns them and the status of the error at the end.
fn requests(pieces: &mut dyn Iterator<Item = &[u8]>) -> (Vec<RawRequest>, u16) {
    let mut reader = RequestReader::new(LIMITS);
    let mut all = Vec::new();
    for piece in pieces {
        reader.push(piece);
        loop {
            match reader.step() {
                Step::More => break,
                Step::Continue => {}
                Step::Refused(refusal) => return (all, refusal.status),
                Step::Request(raw) => {
                    check(&raw);
                    all.push(*raw);
                }
            }
        }
    }
    (all, reader.ended().map_or(0, |refusal| refusal.status))
}

thread_local! {
    /// One for all inputs: computing the cookie takes thousands of hashes.
    static ACCESS: RefCell<Access> = RefCell::new(Access::new(AccessConfig {
        view: Some(Token::new("open-sesame")),
        ..AccessConfig::default()
    }));
}

/// Returns the cookie of the token, with its name.
pub(super) fn pair() -> String {
    let mut page = Request::new("GET", "/", ([127, 0, 0, 1], 1).into());
    let bearer = ("authorization".into(), "Bearer open-sesame".into());
    page.headers.push(bearer);
    let cookie = ACCESS.with_borrow(|access| access.cookie(&page));
    let cookie = cookie.unwrap_or_default();
    cookie.split(';').next().unwrap_or_default().to_owned()
}

fn check(raw: &RawRequest) {
    let headers = raw.head.headers.iter();
    let length: usize = headers
        .map(|(name, value)| name.len() + value.len() + ":\r\n".len())
        .sum();
    assert!(length + raw.head.target.len() <= LIMITS.head && raw.body.len() <= LIMITS.body);
    assert!(raw.head.held() <= 8 * LIMITS.head, "{}", raw.head.held());
    let Ok(parsed) = parse(raw.clone(), ([127, 0, 0, 1], 1).into(), false) else {
        return;
    };
    let request = parsed.request;
    assert!(request.path.starts_with('/'), "{:?}", request.path);
    assert!(!request.path.split('/').any(|part| part == ".."));
    assert!(!request.path.contains(char::is_control));
    assert!(
        request
            .headers
            .iter()
            .all(|(_, value)| !value.contains(['\r', '\n', '\0']))
    );
    // Only the token, or the cookie derived from it, grants access.
    let may = ACCESS.with_borrow_mut(|a| a.check(Right::View, &request, Instant::now()));
    if may.is_ok() {
        let shown = |name, what: &str| {
            let mut headers = request.headers.iter().filter(|(n, _)| n == name);
            headers.any(|(_, value)| value.contains(what))
        };
        assert!(shown("authorization", "open-sesame") || shown("cookie", &pair()));
    }
    forwarded(&request);
    // A redirection leads to the same path.
    let encoded = encode_path(&request.path);
    assert_eq!(decode_path(&encoded).as_ref(), Ok(&request.path));
}

/// Checks that the headers of a trusted proxy yield a prefix and a host that end no line and no page, and that those of
/// others change nothing.
fn forwarded(request: &Request) {
    let all = Cidr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let trusting = TrustedProxies::default().ranges(all.into_iter().collect());
    let mut placed = request.clone();
    trusting.apply(&mut placed);
    assert_eq!(
        checked_prefix(&placed.prefix).as_deref(),
        Ok(&*placed.prefix)
    );
    let host = placed.header("host").unwrap_or_default();
    assert!(!host.contains(char::is_control) && !host.contains(['"', '<', ' ']));
    let mut same = request.clone();
    TrustedProxies::default().apply(&mut same);
    assert_eq!(&same, request);
}

/// Checks that a header of the PROXY protocol is read the same in one piece and byte by byte, and no data behind it.
fn proxy_protocol(data: &[u8]) {
    let whole = HeaderReader::default().push(data);
    let mut reader = HeaderReader::default();
    for (at, byte) in data.iter().enumerate() {
        match reader.push(&[*byte]) {
            Ok(None) => {}
            Ok(Some((header, rest))) => {
                assert!(rest.is_empty());
                assert_eq!(whole, Ok(Some((header, data[at + 1..].to_vec()))));
                return;
            }
            Err(why) => {
                assert_eq!(whole, Err(why));
                return;
            }
        }
    }
    assert!(data.is_empty() || whole == Ok(None));
}

/// Reads WebSocket frames in pieces: messages are within the limit, and nothing follows the end.
pub fn web_socket(data: &[u8]) {
    const MOST: usize = 300;
    let now = Instant::now();
    let mut socket = Socket::new(WebSocketId(1), Vec::new(), MOST, now);
    let mut bytes = Bytes(data);
    let mut is_over = false;
    while !bytes.is_empty() {
        let length = usize::from(bytes.byte());
        socket.push(bytes.take(length), now);
        while let Some(incoming) = socket.next() {
            assert!(!is_over, "{incoming:?} after the end");
            match incoming {
                Incoming::Text(text) => assert!(text.len() <= MOST),
                Incoming::End { .. } => is_over = true,
            }
        }
        if length == 0 {
            match bytes.byte() % 4 {
                0 => socket.send("text"),
                1 => socket.ping(),
                2 => socket.close(1000, "\u{e4}".repeat(100).as_str(), now),
                _ => {}
            }
        }
        // No longer than the input it answers: pongs, a close frame, messages sent.
        assert!(socket.take_output().len() <= 2 * length + 300);
    }
}
