//! Responses, and how they are written (RFC 9112, section 4).

use std::fmt::Write;

use serde_json::{Value, json};

use super::field::{is_name, is_value};
use super::{RequestHead, Version};

/// An HTTP response. `Content-Length`, `Date`, `Connection` and `Keep-Alive` are added by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers, in the order they are sent. Invalid header lines are left out.
    pub headers: Vec<(String, String)>,
    /// The body. It is not sent in the response to a `HEAD`, nor with a status that has none (1xx, 204, 304).
    pub body: Vec<u8>,
}

impl Response {
    /// Creates a response without a body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Adds a header. Control characters in the value become spaces, so that a value taken from a client cannot end its
    /// line.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let clean = value.as_ref().replace(|c: char| c.is_ascii_control(), " ");
        self.headers.push((name.to_owned(), clean));
        self
    }

    /// Sets the body and its media type.
    #[must_use]
    pub fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut response = self.header("Content-Type", content_type);
        response.body = body.into();
        response
    }

    /// Creates a response with a JSON body.
    #[must_use]
    pub fn json(status: u16, value: &Value) -> Self {
        Self::new(status).body("application/json", value.to_string())
    }

    /// Adds members to the JSON object that is the body. Existing members keep their values (RFC 9457, section 3.2).
    #[must_use]
    pub(crate) fn with_members(mut self, members: &Value) -> Self {
        let mut body = members.clone();
        let own = serde_json::from_slice::<Value>(&self.body);
        if let (Some(body), Ok(Value::Object(own))) = (body.as_object_mut(), own) {
            body.extend(own);
            self.body = json!(body).to_string().into_bytes();
        }
        self
    }

    /// Creates a response with problem details (RFC 9457): a title for this kind of problem, and what is wrong with this
    /// request.
    #[must_use]
    pub fn problem(status: u16, title: &str, detail: impl AsRef<str>) -> Self {
        let problem = json!({ "status": status, "title": title, "detail": detail.as_ref() });
        Self::new(status).body("application/problem+json", problem.to_string())
    }

    /// Returns the whole response as it is sent. `date` is the value of its `Date`, if it is to have one.
    pub(crate) fn encode(&self, reply: Reply, date: Option<&str>) -> Vec<u8> {
        let status = self.status;
        let has_body = !matches!(status, 100..=199 | 204 | 304);
        let sent = if has_body && !reply.is_head {
            &self.body[..]
        } else {
            &[]
        };
        let mut head = String::with_capacity(512 + sent.len());
        // A client of HTTP/1.0 gets the server's version (RFC 9110, section 2.5).
        let _ = write!(head, "HTTP/1.1 {status} {}\r\n", reason(status));
        for (name, value) in &self.headers {
            if is_name(name) && is_value(value) && !is_servers(name) {
                line(&mut head, name, value);
            }
        }
        if let Some(date) = date {
            line(&mut head, "Date", date);
        }
        if has_body {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        for (name, value) in reply.connection() {
            line(&mut head, name, value);
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(sent);
        bytes
    }
}

/// Properties of a request, other than the application's response, that determine how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The connection stays open for another request.
    pub keep_alive: bool,
    /// The client speaks HTTP/1.0.
    pub is_http_1_0: bool,
    /// The request is a `HEAD`: no body follows.
    pub is_head: bool,
}

/// Seconds after which a browser should not reuse an idle connection. The door keeps it longer; but after a network
/// change the connection may be dead, and Firefox then waits for minutes with a request on it.
const REUSED_WITHIN: &str = "timeout=2";

impl Reply {
    /// The response after which the connection ends.
    pub const LAST: Self = Self {
        keep_alive: false,
        is_http_1_0: false,
        is_head: false,
    };

    /// Returns how a request with this head is answered.
    pub fn to(head: &RequestHead) -> Self {
        Self {
            keep_alive: head.keeps_alive(),
            is_http_1_0: head.version == Version::Http10,
            is_head: head.method == "HEAD",
        }
    }

    /// Returns the headers that tell whether the connection stays open (RFC 9112, section 9.3; `Keep-Alive`: RFC 2068,
    /// section 19.7.1.1).
    fn connection(self) -> &'static [(&'static str, &'static str)] {
        match (self.keep_alive, self.is_http_1_0) {
            (true, true) => &[("Connection", "keep-alive"), ("Keep-Alive", REUSED_WITHIN)],
            (true, false) => &[("Keep-Alive", REUSED_WITHIN)],
            (false, _) => &[("Connection", "close")],
        }
    }
}

fn line(head: &mut String, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        head.push_str(part);
    }
}

/// Returns `true` for headers that the server sets itself.
fn is_servers(name: &str) -> bool {
    [
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "transfer-encoding",
    ]
    .iter()
    .any(|own| name.eq_ignore_ascii_case(own))
}

/// Returns the reason phrase of a status code.
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
