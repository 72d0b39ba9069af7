//! Responses as bytes (RFC 9112, section 4).

use std::fmt::Write;
use std::time::SystemTime;

use super::request::Reply;
use crate::server::http::Response;
use crate::signaling::http::head::Refusal;

/// A response, whole.
pub(super) fn bytes(response: &Response, reply: Reply) -> Vec<u8> {
    let Response {
        status,
        headers,
        body,
    } = response;
    let reason = reason(*status);
    // HTTP/1.0 gets the version that the server has (RFC 9110, section 2.5).
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    for (name, value) in headers {
        if !is_ours(name) {
            line(&mut head, name, value);
        }
    }
    line(
        &mut head,
        "Date",
        &httpdate::fmt_http_date(SystemTime::now()),
    );
    let has_body = !matches!(status, 100..=199 | 204 | 304);
    if has_body {
        line(&mut head, "Content-Length", &body.len().to_string());
    }
    for (name, value) in connection(reply) {
        line(&mut head, name, value);
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if has_body && !reply.is_head {
        bytes.extend_from_slice(body);
    }
    bytes
}

/// A response that tiny_http has written, which knows nothing of the client's connection.
pub(super) fn with_connection(mut bytes: Vec<u8>, reply: Reply) -> Vec<u8> {
    let end = bytes.windows(2).position(|two| two == b"\r\n");
    if let Some(end) = end {
        let mut lines = String::new();
        for (name, value) in connection(reply) {
            let _ = write!(lines, "\r\n{name}: {value}");
        }
        bytes.splice(end..end, lines.into_bytes());
    }
    bytes
}

/// Seconds after which a browser shall not use an idle connection again. The door keeps it longer; but after a change of
/// the network it may be dead, and a request on it waits for minutes (Firefox).
const REUSED_WITHIN: &str = "timeout=2";

/// The headers that say whether the connection stays (RFC 9112, section 9.3; `Keep-Alive`: RFC 2068, section 19.7.1.1).
fn connection(reply: Reply) -> &'static [(&'static str, &'static str)] {
    match (reply.keep_alive, reply.is_http_1_0) {
        (true, true) => &[("Connection", "keep-alive"), ("Keep-Alive", REUSED_WITHIN)],
        (true, false) => &[("Keep-Alive", REUSED_WITHIN)],
        (false, _) => &[("Connection", "close")],
    }
}

/// The answer to the handshake of a WebSocket (RFC 6455, section 4.2.2).
pub(super) fn switching(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
        reason(101)
    )
}

/// What the client is told whose request was refused.
pub(super) fn refusal(refusal: &Refusal) -> Response {
    let text = format!("{}\n", refusal.message);
    let response = Response::new(refusal.status)
        .body("text/plain; charset=utf-8", text)
        // It says nothing of the application's, and a page of another origin has to be able to see what is wrong.
        .header("Access-Control-Allow-Origin", "*")
        .header("Access-Control-Expose-Headers", "Retry-After");
    match refusal.status {
        429 | 503 => response.header("Retry-After", "2"),
        426 => response
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13"),
        _ => response,
    }
}

fn line(head: &mut String, name: &str, value: &str) {
    // A `String` takes everything.
    let _ = write!(head, "{name}: {value}\r\n");
}

/// Headers that the application does not set.
fn is_ours(name: &str) -> bool {
    [
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "transfer-encoding",
    ]
    .iter()
    .any(|ours| name.eq_ignore_ascii_case(ours))
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Other",
    }
}
