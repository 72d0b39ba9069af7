//! The head of an HTTP request, checked before tiny_http sees it (RFC 9112).
//!
//! Pure: bytes in, a verdict out.

/// The longest head taken: request line and headers, in bytes.
pub(super) const MAX_HEAD: usize = 8 * 1024;

/// The most header lines taken.
const MAX_HEADERS: usize = 64;

/// A head that may pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The head as it goes on: without what concerns only this connection, and with the length of
    /// the body said once.
    pub forward: Vec<u8>,
    /// The length of the body, in bytes.
    pub content_length: usize,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// A request refused: the HTTP status and what was wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
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

/// Checks a complete head, its empty line included. A body may have `max_body` bytes.
pub(super) fn check(head: &[u8], max_body: usize) -> Result<Head, Refusal> {
    let bad = |message: &str| Refusal::new(400, message);
    if !head.is_ascii() {
        return Err(bad("the head has bytes that are not ASCII"));
    }
    let text = std::str::from_utf8(head).map_err(|_| bad("the head is not ASCII"))?;
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let request_line = lines.next().unwrap_or_default();
    let method = check_request_line(request_line)?;

    let mut forward = format!("{request_line}\r\n");
    let mut content_length: Option<usize> = None;
    let mut expects_continue = false;
    for (count, line) in lines.enumerate() {
        if count == MAX_HEADERS {
            return Err(Refusal::new(
                431,
                format!("more than {MAX_HEADERS} header lines"),
            ));
        }
        let (name, value) = line
            .split_once(':')
            .filter(|(name, _)| !name.is_empty() && name.bytes().all(is_token))
            .ok_or_else(|| bad("a header line is not \"name: value\""))?;
        let value = value.trim_matches([' ', '\t']);
        if value
            .bytes()
            .any(|byte| byte.is_ascii_control() && byte != b'\t')
        {
            return Err(bad("a header has a control character"));
        }
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let length = length(value, max_body)?;
                if content_length
                    .replace(length)
                    .is_some_and(|other| other != length)
                {
                    return Err(bad("Content-Length is given twice, and differs"));
                }
            }
            "transfer-encoding" => {
                return Err(Refusal::new(
                    411,
                    "Transfer-Encoding is not taken: send the body with a Content-Length",
                ));
            }
            "expect" if value.eq_ignore_ascii_case("100-continue") => expects_continue = true,
            "expect" => return Err(Refusal::new(417, "only \"Expect: 100-continue\" is known")),
            // These concern the connection to the gate alone.
            "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "upgrade" => {}
            _ => forward.push_str(&format!("{name}: {value}\r\n")),
        }
    }
    if content_length.is_none() && matches!(method, "POST" | "PUT" | "PATCH") {
        return Err(Refusal::new(411, "the Content-Length is missing"));
    }
    let content_length = content_length.unwrap_or(0);
    forward.push_str(&format!(
        "Content-Length: {content_length}\r\nConnection: close\r\n\r\n"
    ));
    Ok(Head {
        forward: forward.into_bytes(),
        content_length,
        expects_continue,
    })
}

/// Returns the method.
fn check_request_line(line: &str) -> Result<&str, Refusal> {
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::new(
            400,
            "the request line is not \"METHOD /path HTTP/1.1\"",
        ));
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(Refusal::new(400, "the method is no word"));
    }
    if target.is_empty() || target.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Refusal::new(
            400,
            "the path is missing or has control characters",
        ));
    }
    match version {
        "HTTP/1.1" | "HTTP/1.0" => Ok(method),
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
              content-length:  12\r\nContent-Length: 12\r\nExpect: 100-Continue\r\nX-A:\tb c \r\n\r\n",
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
        let twice = "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(status(twice), 400);
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
