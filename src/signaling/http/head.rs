//! The head of an HTTP request, checked strictly (RFC 9112): what two readers could understand differently is refused.
//!
//! Pure: bytes in, a verdict out. The signaling server's gate and the [door](crate::server::door) both read by it.

/// The longest head that the gate takes: request line and headers, in bytes.
pub(super) const MAX_HEAD: usize = 8 * 1024;

/// The most header lines taken.
pub(crate) const MAX_HEADERS: usize = 64;

/// A head as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub method: &'a str,
    pub target: &'a str,
    /// HTTP/1.0, not 1.1.
    pub is_http_1_0: bool,
    /// Names as they came, and values without the white space around them.
    pub headers: Vec<(&'a str, &'a str)>,
    pub framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// How the body is delimited (RFC 9112, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Nothing is said of a body: there is none.
    None,
    /// So many bytes.
    Length(usize),
    Chunked,
}

impl Head<'_> {
    /// All values of the header of this name, which is given in lower case.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let all = self.headers.iter();
        all.filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// Whether a header that is a list of tokens has this one.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(','))
            .any(|listed| listed.trim().eq_ignore_ascii_case(token))
    }
}

/// A head that may pass the gate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// The head as it goes on: without what concerns only this connection, and with the length of
    /// the body said once.
    pub forward: Vec<u8>,
    /// The length of the body, in bytes.
    pub content_length: usize,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// A request refused: the HTTP status and what was wrong.
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
}

/// Where the head ends in `bytes`, behind its empty line, once it is complete.
pub(super) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// Checks a complete head, its empty line included, for the gate. A body may have `max_body` bytes.
pub(super) fn check(head: &[u8], max_body: usize) -> Result<Passed, Refusal> {
    let head = parse(head, max_body)?;
    let content_length = match head.framing {
        Framing::Length(length) => length,
        Framing::None if matches!(head.method, "POST" | "PUT" | "PATCH") => {
            return Err(Refusal::new(411, "the Content-Length is missing"));
        }
        Framing::None => 0,
        Framing::Chunked => {
            return Err(Refusal::new(
                411,
                "Transfer-Encoding is not taken: send the body with a Content-Length",
            ));
        }
    };
    Ok(Passed {
        forward: forward(&head, content_length),
        content_length,
        expects_continue: head.expects_continue,
    })
}

/// The head as tiny_http is to see it.
fn forward(head: &Head<'_>, length: usize) -> Vec<u8> {
    let version = if head.is_http_1_0 {
        "HTTP/1.0"
    } else {
        "HTTP/1.1"
    };
    let mut text = format!("{} {} {version}\r\n", head.method, head.target);
    for (name, value) in &head.headers {
        if !concerns_connection(name) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text.push_str(&format!(
        "Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ));
    text.into_bytes()
}

/// Whether a header concerns only the connection it came by, or how the body comes there.
pub(crate) fn concerns_connection(name: &str) -> bool {
    [
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
    .iter()
    .any(|known| name.eq_ignore_ascii_case(known))
}

/// Reads a complete head, its empty line included. A body may have `max_body` bytes.
pub(crate) fn parse(head: &[u8], max_body: usize) -> Result<Head<'_>, Refusal> {
    let bad = |message: &str| Refusal::new(400, message);
    if !head.is_ascii() {
        return Err(bad("the head has bytes that are not ASCII"));
    }
    let text = std::str::from_utf8(head).map_err(|_| bad("the head is not ASCII"))?;
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let (method, target, is_http_1_0) = request_line(lines.next().unwrap_or_default())?;
    let mut headers = Vec::new();
    for line in lines {
        if headers.len() == MAX_HEADERS {
            return Err(Refusal::new(
                431,
                format!("more than {MAX_HEADERS} header lines"),
            ));
        }
        headers.push(field(line)?);
    }
    let (framing, expects_continue) = framing(&headers, is_http_1_0, max_body)?;
    Ok(Head {
        method,
        target,
        is_http_1_0,
        headers,
        framing,
        expects_continue,
    })
}

/// A line `name: value`, of a head or of a trailer (RFC 9112, section 5). One that begins with white space goes on
/// with the line before it (`obs-fold`), for some; here it is nothing.
pub(crate) fn field(line: &str) -> Result<(&str, &str), Refusal> {
    let (name, value) = line
        .split_once(':')
        .filter(|(name, _)| !name.is_empty() && name.bytes().all(is_token))
        .ok_or_else(|| Refusal::new(400, "a header line is not \"name: value\""))?;
    let value = value.trim_matches([' ', '\t']);
    if value
        .bytes()
        .any(|byte| byte.is_ascii_control() && byte != b'\t')
    {
        return Err(Refusal::new(400, "a header has a control character"));
    }
    Ok((name, value))
}

/// How long the body is, and whether the client waits before it sends it. What could be understood in two ways is
/// refused (RFC 9112, section 6.3, and section 11.2 for why).
fn framing(
    headers: &[(&str, &str)],
    is_http_1_0: bool,
    max_body: usize,
) -> Result<(Framing, bool), Refusal> {
    let bad = |message: &str| Refusal::new(400, message);
    let (mut framing, mut expects_continue) = (Framing::None, false);
    for (name, value) in headers {
        if name.eq_ignore_ascii_case("content-length") {
            if framing != Framing::None {
                return Err(bad("the length of the body is given twice"));
            }
            framing = Framing::Length(length(value, max_body)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if framing != Framing::None {
                return Err(bad("the length of the body is given twice"));
            }
            if is_http_1_0 {
                return Err(bad("HTTP/1.0 has no Transfer-Encoding"));
            }
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(Refusal::new(
                    501,
                    "the only Transfer-Encoding known is \"chunked\"",
                ));
            }
            framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("expect") {
            if !value.eq_ignore_ascii_case("100-continue") {
                return Err(Refusal::new(417, "only \"Expect: 100-continue\" is known"));
            }
            // One of HTTP/1.0 has to be ignored (RFC 9110, section 10.1.1).
            expects_continue = !is_http_1_0;
        }
    }
    Ok((framing, expects_continue))
}

/// Method, target, and whether it is HTTP/1.0.
fn request_line(line: &str) -> Result<(&str, &str, bool), Refusal> {
    let bad = |message: &str| Refusal::new(400, message);
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad("the request line is not \"METHOD /path HTTP/1.1\""));
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(bad("the method is not a word"));
    }
    if target.is_empty() || target.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(bad("the path is missing or has control characters"));
    }
    match version {
        "HTTP/1.1" => Ok((method, target, false)),
        "HTTP/1.0" => Ok((method, target, true)),
        _ if version.bytes().any(|byte| byte.is_ascii_control()) => {
            Err(bad("the request line has control characters"))
        }
        _ => Err(Refusal::new(
            505,
            "only HTTP/1.0 and HTTP/1.1 are spoken here",
        )),
    }
}

fn length(value: &str, max_body: usize) -> Result<usize, Refusal> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::new(400, "the Content-Length is not a number"));
    }
    match value.parse() {
        Ok(length) if length <= max_body => Ok(length),
        // Too many digits for a number is too long as well.
        _ => Err(Refusal::new(
            413,
            format!("the body is over the limit of {max_body} bytes"),
        )),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        check(head.as_bytes(), 1000).unwrap_err().status
    }

    #[test]
    fn passes_on_what_matters_and_says_the_length_once() {
        let head = check(
            b"POST /sdp HTTP/1.1\r\nHost: a:1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: x\r\n\
              content-length:  12\r\nExpect: 100-Continue\r\nX-A:\tb c \r\n\r\n",
            1000,
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(head.forward).unwrap(),
            "POST /sdp HTTP/1.1\r\nHost: a:1\r\nX-A: b c\r\nContent-Length: 12\r\n\
             Connection: close\r\n\r\n"
        );
        assert_eq!((head.content_length, head.expects_continue), (12, true));
    }

    #[test]
    fn refuses_with_the_right_status() {
        assert_eq!(status("POST /sdp HTTP/1.1\r\n\r\n"), 411);
        assert_eq!(
            status("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            411
        );
        assert_eq!(
            status("POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n"),
            413
        );
        let huge = format!(
            "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n",
            "9".repeat(99)
        );
        assert_eq!(status(&huge), 413);
        for value in ["", "-1", "+1", "1 1", "0x10", "1,1"] {
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {value}\r\n\r\n");
            assert_eq!(status(&head), 400, "{value:?}");
        }
        for twice in [
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ] {
            assert_eq!(status(&format!("POST / HTTP/1.1\r\n{twice}\r\n\r\n")), 400);
        }
        let gzip = "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
        assert_eq!(status(gzip), 501);
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(status(old), 400);
        assert_eq!(
            status("POST / HTTP/1.1\r\nExpect: more\r\nContent-Length: 1\r\n\r\n"),
            417
        );
        assert_eq!(status("GET / HTTP/2.0\r\n\r\n"), 505);
        assert_eq!(status("GET /\r\n\r\n"), 400);
        assert_eq!(status("GET  / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("G(T / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\n folded: x\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nno colon\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nname : x\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nname: a\nb\r\n\r\n"), 400);
        assert_eq!(status("GET /ä HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("\r\n\r\n"), 400);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        assert_eq!(status(&many), 431);
    }

    #[test]
    fn finds_the_end() {
        assert_eq!(end_of_head(b"GET / HTTP/1.1\r\n\r"), None);
        assert_eq!(end_of_head(b"GET / HTTP/1.1\r\n\r\nbody\r\n\r\n"), Some(18));
    }

    #[test]
    fn no_input_panics() {
        let seed =
            b"POST /sdp HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n";
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize
        };
        let mut passed = 0;
        for _ in 0..20_000 {
            let mut head = seed.to_vec();
            for _ in 0..next() % 4 {
                let at = next() % head.len();
                match next() % 3 {
                    0 => head[at] = next() as u8,
                    1 => head.insert(at, b":\r\n 09"[next() % 6]),
                    _ => head.truncate(at.max(1)),
                }
            }
            if let Ok(head) = check(&head, 100) {
                passed += 1;
                assert!(head.content_length <= 100);
                assert!(
                    check(&head.forward, 100).is_ok(),
                    "what passes must pass again"
                );
            }
        }
        assert!(passed > 1_000);
    }
}
