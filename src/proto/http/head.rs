//! The head of a request: request line and headers.

use super::field::is_name;
use super::{Refusal, field};

/// Maximum number of header lines.
const MAX_HEADERS: usize = 64;

/// Limits of the requests that a [`RequestReader`](super::RequestReader) reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadLimits {
    /// Maximum length of request line and header lines together, in bytes; beyond it: 431.
    pub head: usize,
    /// Maximum length of a body, in bytes; beyond it: 413.
    pub body: usize,
    /// `true`: a request that may have a body must have a `Content-Length`; otherwise: 411.
    pub needs_length: bool,
}

/// The head of a request, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestHead {
    /// The method as it was sent: methods are case-sensitive.
    pub method: String,
    /// The request target as it was sent (RFC 9112, section 3.2).
    pub target: String,
    pub version: Version,
    /// Names in lower case, and values without the white space around them, in the order they came.
    pub headers: Vec<(String, String)>,
    pub framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// The version of HTTP that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

/// Delimitation of the body (RFC 9112, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Neither length nor coding is given: there is no body.
    None,
    /// `Content-Length`, in bytes.
    Length(usize),
    Chunked,
}

impl RequestHead {
    /// Parses a complete head, its empty line included.
    pub fn parse(head: &[u8], limits: &ReadLimits) -> Result<Self, Refusal> {
        if !head.is_ascii() {
            return Err(Refusal::bad("the head has bytes that are not ASCII"));
        }
        let text = std::str::from_utf8(head).map_err(|_| Refusal::bad("the head is not ASCII"))?;
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let (method, target, version) = request_line(lines.next().unwrap_or_default())?;
        let mut headers = Vec::new();
        for line in lines {
            if headers.len() == MAX_HEADERS {
                let message = format!("more than {MAX_HEADERS} header lines");
                return Err(Refusal::new(431, message));
            }
            let (name, value) = field(line)?;
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let (framing, expects_continue) = framing(&headers, version, limits)?;
        if limits.needs_length {
            check_length(method, framing)?;
        }
        Ok(Self {
            method: method.to_owned(),
            target: target.to_owned(),
            version,
            headers,
            framing,
            expects_continue,
        })
    }

    /// Returns the memory in use, in bytes, by capacity.
    pub fn held(&self) -> usize {
        let pair = size_of::<(String, String)>();
        let headers = self.headers.iter();
        let texts = headers.map(|(name, value)| name.capacity() + value.capacity());
        let line = self.method.capacity() + self.target.capacity();
        line + self.headers.capacity() * pair + texts.sum::<usize>()
    }

    /// Returns all values of a header, whose name is given in lower case.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let all = self.headers.iter();
        all.filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the value of a header that is there exactly once.
    pub fn only(&self, name: &str) -> Option<&str> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Returns `true` if a header that is a list of tokens contains this one.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(','))
            .any(|listed| listed.trim().eq_ignore_ascii_case(token))
    }

    /// Returns `true` if the connection stays open after the response (RFC 9112, section 9.3).
    pub fn keeps_alive(&self) -> bool {
        match self.version {
            Version::Http10 => self.has_token("connection", "keep-alive"),
            Version::Http11 => !self.has_token("connection", "close"),
        }
    }
}

/// Checks that a request that may have a body has a `Content-Length`: see [`ReadLimits::needs_length`].
fn check_length(method: &str, framing: Framing) -> Result<(), Refusal> {
    let message = match framing {
        Framing::None if matches!(method, "POST" | "PUT" | "PATCH") => {
            "the Content-Length is missing"
        }
        Framing::Chunked => "Transfer-Encoding is not taken: send the body with a Content-Length",
        Framing::None | Framing::Length(_) => return Ok(()),
    };
    Err(Refusal::new(411, message))
}

/// Returns how the body is delimited, and whether the client waits before it sends it. Headers that could be understood
/// in two ways are refused (RFC 9112, section 6.3; section 11.2 says why).
fn framing(
    headers: &[(String, String)],
    version: Version,
    limits: &ReadLimits,
) -> Result<(Framing, bool), Refusal> {
    let (mut framing, mut expects_continue) = (Framing::None, false);
    for (name, value) in headers {
        match name.as_str() {
            "content-length" | "transfer-encoding" if framing != Framing::None => {
                return Err(Refusal::bad("the length of the body is given twice"));
            }
            "content-length" => framing = Framing::Length(length(value, limits.body)?),
            "transfer-encoding" if version == Version::Http10 => {
                return Err(Refusal::bad("HTTP/1.0 has no Transfer-Encoding"));
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => {
                framing = Framing::Chunked;
            }
            "transfer-encoding" => {
                let message = "the only Transfer-Encoding known is \"chunked\"";
                return Err(Refusal::new(501, message));
            }
            "expect" if value.eq_ignore_ascii_case("100-continue") => {
                // A client of HTTP/1.0 does not wait (RFC 9110, section 10.1.1).
                expects_continue = version == Version::Http11;
            }
            "expect" => {
                let message = "only \"Expect: 100-continue\" is known";
                return Err(Refusal::new(417, message));
            }
            _ => {}
        }
    }
    Ok((framing, expects_continue))
}

/// Returns method, target and version.
fn request_line(line: &str) -> Result<(&str, &str, Version), Refusal> {
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        let message = "the request line is not \"METHOD /path HTTP/1.1\"";
        return Err(Refusal::bad(message));
    };
    if !is_name(method) {
        return Err(Refusal::bad("the method is not a word"));
    }
    if target.is_empty() || target.bytes().any(|byte| byte.is_ascii_control()) {
        let message = "the path is missing or has control characters";
        return Err(Refusal::bad(message));
    }
    match version {
        "HTTP/1.1" => Ok((method, target, Version::Http11)),
        "HTTP/1.0" => Ok((method, target, Version::Http10)),
        _ if version.bytes().any(|byte| byte.is_ascii_control()) => {
            Err(Refusal::bad("the request line has control characters"))
        }
        _ => {
            let message = "only HTTP/1.0 and HTTP/1.1 are spoken here";
            Err(Refusal::new(505, message))
        }
    }
}

fn length(value: &str, max_body: usize) -> Result<usize, Refusal> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::bad("the Content-Length is not a number"));
    }
    match value.parse() {
        Ok(length) if length <= max_body => Ok(length),
        // A number of more digits than `usize` has is too long as well.
        _ => Err(too_large(max_body)),
    }
}

/// Creates the refusal of a body over the limit.
pub(super) fn too_large(max_body: usize) -> Refusal {
    let message = format!("the body is over the limit of {max_body} bytes");
    Refusal::new(413, message)
}
