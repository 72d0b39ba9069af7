//! Parsing, refusing and writing HTTP messages.

use super::*;

const LIMITS: ReadLimits = ReadLimits {
    head: 2048,
    body: 1000,
    needs_length: false,
};

/// Returns all results of the bytes, as text.
fn read(pieces: &[&[u8]]) -> Vec<String> {
    let mut reader = RequestReader::new(LIMITS);
    let mut all = Vec::new();
    for piece in pieces {
        reader.push(piece);
        loop {
            match reader.step() {
                Step::More => break,
                // Depends on the pieces; not asking is allowed.
                Step::Continue => {}
                Step::Request(raw) => match into_request(*raw) {
                    Ok(request) => all.push(format!("{request:?}")),
                    Err(refusal) => {
                        all.push(refusal.status.to_string());
                        return all;
                    }
                },
                Step::Refused(refusal) => {
                    all.push(refusal.status.to_string());
                    return all;
                }
            }
        }
    }
    all.extend(reader.ended().map(|refusal| refusal.message));
    all
}

fn into_request(raw: RawRequest) -> Result<Request, Refusal> {
    raw.into_request(([127, 0, 0, 1], 1).into(), false)
}

/// Returns the refusal of these bytes: the last result.
fn refused(bytes: &str) -> String {
    read(&[bytes.as_bytes()]).pop().unwrap_or_default()
}

const WHOLE: &[&str] = &[
    "GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\n\r\nGET / HTTP/1.0\r\n\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    "PATCH / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0A\r\n0123456789\r\n\
     0\r\nTrailer: x\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x01\x02",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel",
    "GET / HT",
];

#[test]
fn split_anywhere_it_is_the_same() {
    for whole in WHOLE {
        let bytes = whole.as_bytes();
        let expected = read(&[bytes]);
        assert!(!expected.is_empty(), "{whole:?}");
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), expected, "{whole:?}, byte by byte");
        for at in 0..bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(read(&[head, tail]), expected, "{whole:?}, split at {at}");
        }
        for size in 2..20 {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(read(&pieces), expected, "{whole:?}, in pieces of {size}");
        }
    }
}

/// Two parsers of the same bytes must not see different requests. Each of these has led to that somewhere.
#[test]
fn what_could_be_smuggled_is_refused() {
    let post = |headers: &str, body: &str| {
        refused(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n{body}"
        ))
    };
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for headers in [
        // Two lengths.
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        // Invalid lengths.
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 5_",
        "Content-Length: \u{0b}5",
        // Disguised headers.
        "Content-Length : 5",
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\r\n\tTransfer-Encoding: chunked",
        "Transfer\u{0}-Encoding: chunked",
        "Transfer-Encoding: \u{0}chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding\r\n: chunked",
        "Transfer-Encoding: chunked\u{e9}",
        ": x",
        "no colon",
        "Host: b",
        "Host: a",
    ] {
        assert_eq!(post(headers, smuggled), "400", "{headers:?}");
    }
    for headers in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked;x",
    ] {
        assert_eq!(post(headers, smuggled), "501", "{headers:?}");
    }
    for line in [
        "GET /\r\n",
        "GET / HTTP/1.1 \r\n",
        " GET / HTTP/1.1\r\n",
        "GET  / HTTP/1.1\r\n",
        "GET\t/ HTTP/1.1\r\n",
        "GET /a b HTTP/1.1\r\n",
        "GET / HTTP/1.1\rX: y\r\n",
        "GET /\u{0} HTTP/1.1\r\n",
        "GET /#a HTTP/1.1\r\n",
        "GET http://b/ HTTP/1.1\r\n",
        "GET a HTTP/1.1\r\n",
        "CONNECT a:1 HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
    ] {
        let text = format!("{line}Host: a\r\n\r\n");
        assert_eq!(refused(&text), "400", "{line:?}");
    }
    assert_eq!(refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), "505");
    assert_eq!(refused("GET / http/1.1\r\nHost: a\r\n\r\n"), "505");
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(refused(old), "400");
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), "400", "no Host");
}

#[test]
fn chunks_are_taken_exactly() {
    let chunked = |body: &str| {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        refused(&format!("{head}{body}"))
    };
    assert!(chunked("0\r\n\r\n").starts_with("Request {"));
    assert!(chunked("3;a=b\r\nabc\r\n00\r\nX: y\r\n\r\n").contains("[97, 98, 99]"));
    for body in [
        "\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "-1\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc\r0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3;\rb\r\nabc\r\n0\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\nX: y\n\r\n",
    ] {
        assert_eq!(chunked(body), "400", "{body:?}");
    }
    assert_eq!(chunked(&format!("3;{}\r\n", "x".repeat(300))), "400");
    assert_eq!(chunked("3e9\r\n"), "413");
    assert_eq!(
        chunked(&"f".repeat(60)),
        "the connection ended within the body"
    );
    assert_eq!(chunked(&format!("{}\r\n", "f".repeat(60))), "413");
    let twice = format!("1f4\r\n{0}\r\n1f5\r\n", "x".repeat(500));
    assert_eq!(chunked(&twice), "413");
    assert_eq!(
        chunked(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(17))),
        "431"
    );
}

#[test]
fn sizes_have_limits() {
    let head = |length: usize| {
        let rest = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        refused(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(length - rest)
        ))
    };
    assert!(head(LIMITS.head).starts_with("Request {"));
    assert_eq!(head(LIMITS.head + 1), "431");
    let body = |length: usize| {
        let text = "x".repeat(length);
        refused(&format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{text}"
        ))
    };
    assert!(body(LIMITS.body).starts_with("Request {"));
    assert_eq!(body(LIMITS.body + 1), "413");
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(64));
    assert_eq!(refused(&many), "431");
}

#[test]
fn what_is_idle_holds_nothing() {
    let mut reader = RequestReader::new(LIMITS);
    for _ in 0..3 {
        reader.push(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
        assert_eq!(reader.step(), Step::More);
        assert!(reader.is_in_body() && !reader.is_idle());
        reader.push(b"abc");
        assert!(matches!(reader.step(), Step::Request(_)));
        assert!(reader.is_idle());
        assert_eq!((reader.held(), reader.into_rest().capacity()), (0, 0));
        reader = RequestReader::new(LIMITS);
    }
}

#[test]
fn empty_lines_before_a_request_are_few() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let behind = |lines: usize| format!("{}{request}", "\r\n".repeat(lines));
    // The count restarts after each request.
    let twice = behind(8).repeat(2);
    for size in [1, 3, twice.len()] {
        let pieces: Vec<&[u8]> = twice.as_bytes().chunks(size).collect();
        assert_eq!(read(&pieces).len(), 2, "in pieces of {size}");
    }
    assert_eq!(refused(&behind(9)), "400");
    // Without a request as well, and what follows is not kept.
    let mut reader = RequestReader::new(LIMITS);
    reader.push(&b"\r\n".repeat(100_000));
    assert!(matches!(reader.step(), Step::Refused(r) if r.status == 400));
    assert_eq!(reader.held(), 0);
}

#[test]
fn memory_is_counted_by_capacity() {
    let mut reader = RequestReader::new(ReadLimits {
        body: 100_000,
        ..LIMITS
    });
    reader.push(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    assert_eq!(reader.step(), Step::More);
    for _ in 0..70 {
        reader.push(&[b'x'; 1000]);
        assert_eq!(reader.step(), Step::More);
        assert!(reader.held() >= reader.unfinished());
        assert!(reader.held() <= 2 * reader.unfinished() + 4096);
    }
    // A large body leaves no memory for the small request after it.
    reader.push(&[b'x'; 30_000]);
    reader.push(b"GET / HT");
    assert!(matches!(reader.step(), Step::Request(_)));
    assert_eq!(reader.step(), Step::More);
    assert!(reader.held() < 100, "{}", reader.held());
}

#[test]
fn asks_for_the_body_once() {
    let mut reader = RequestReader::new(LIMITS);
    reader.push(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(reader.step(), Step::Continue);
    assert_eq!(reader.step(), Step::More);
    reader.push(b"abc");
    assert!(matches!(reader.step(), Step::Request(_)));
    let all = b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc";
    reader.push(all);
    assert!(
        matches!(reader.step(), Step::Request(_)),
        "it is there already"
    );
}

#[test]
fn paths_never_escape() {
    for (path, expected) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a//b/", "/a//b/"),
        ("/a%20b%C3%A4", "/a bä"),
        ("/a/./b/../c", "/a/c"),
        ("/..", "/"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/%2e%2e/%2E%2e/etc", "/etc"),
        ("/a/%2e%2e%2f..%2fb", "/b"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/...", "/..."),
        ("/a/.../b", "/a/.../b"),
    ] {
        assert_eq!(decode_path(path).as_deref(), Ok(expected), "{path}");
    }
    for path in [
        "/%",
        "/%4",
        "/%4x",
        "/%00",
        "/a%0d%0ab",
        "/%7f",
        "/%ff",
        "/%c3",
        "/%c3%28",
        "/%u0041",
        "/%+1",
    ] {
        assert_eq!(decode_path(path).unwrap_err().status, 400, "{path}");
    }
    assert_eq!(encode_path("/a bä/\u{1}"), "/a%20b%C3%A4/%01");
}

#[test]
fn a_path_decoded_twice_is_the_same_once_it_is_encoded() {
    for path in ["/a b", "/%25", "/ä/..x", "/a?b#c"] {
        assert_eq!(decode_path(&encode_path(path)).as_deref(), Ok(path));
    }
}

#[test]
fn origins() {
    let ask = |origin: &str, host: &str, secure: bool| {
        let mut request = Request::new("GET", "/", ([127, 0, 0, 1], 1).into());
        request.headers = vec![
            ("host".into(), host.into()),
            ("origin".into(), origin.into()),
        ];
        request.secure = secure;
        request.is_same_origin()
    };
    assert!(ask("http://localhost:8080", "localhost:8080", false));
    assert!(ask("http://Example.org", "example.org:80", false));
    assert!(ask("https://example.org:443", "example.org", true));
    assert!(ask("https://[::1]:8443", "[::1]:8443", true));
    // Behind another server's TLS.
    assert!(ask("https://example.org", "example.org", false));
    for origin in [
        "null",
        "http://localhost",
        "http://localhost:8081",
        "http://localhost:8080.evil.org",
        "http://evil.org/localhost:8080",
        "ftp://localhost:8080",
        "localhost:8080",
        "",
    ] {
        assert!(!ask(origin, "localhost:8080", false), "{origin}");
    }
    assert!(!ask("http://example.org:8443", "example.org:8443", true));
    assert!(!Request::new("GET", "/", ([127, 0, 0, 1], 1).into()).is_same_origin());
}

#[test]
fn refuses_with_the_right_status() {
    let limits = ReadLimits {
        needs_length: true,
        ..LIMITS
    };
    let status = |head: &str| {
        let head = RequestHead::parse(head.as_bytes(), &limits);
        head.unwrap_err().status
    };
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

fn request_with(headers: &[(&str, &str)]) -> Request {
    let mut request = Request::new("GET", "/", ([127, 0, 0, 1], 1).into());
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    request.headers = headers.iter().map(owned).collect();
    request
}

#[test]
fn headers_of_a_request() {
    let request = request_with(&[
        ("content-type", "Application/SDP; charset=utf-8"),
        ("authorization", "bearer  secret"),
    ]);
    assert_eq!(request.content_type().as_deref(), Some("application/sdp"));
    assert_eq!(request.bearer(), Some("secret"));
    assert_eq!(request.header("origin"), None);
}

#[test]
fn values_of_a_query() {
    let mut request = request_with(&[]);
    request.query = "a=1&name=Zo%c3%ab+B%&flag&a=2".into();
    assert_eq!(request.query_value("name").as_deref(), Some("Zo\u{eb} B%"));
    assert_eq!(request.query_value("a").as_deref(), Some("1"));
    assert_eq!(request.query_value("flag").as_deref(), Some(""));
    assert_eq!(request.query_value("b"), None);
}

#[test]
fn another_scheme_is_no_bearer_token() {
    assert_eq!(
        request_with(&[("authorization", "Basic abc")]).bearer(),
        None
    );
    assert_eq!(request_with(&[("authorization", "Bearer")]).bearer(), None);
}

#[test]
fn a_value_cannot_end_its_line() {
    let response = Response::new(201).header("Location", "/whip/a\r\nSet-Cookie: b");
    assert_eq!(response.headers[0].1, "/whip/a  Set-Cookie: b");
}

#[test]
fn problems_say_what_is_wrong() {
    let response = Response::problem(404, "No such stream", "there is no stream \"a\"");
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body["detail"], "there is no stream \"a\"");
    assert_eq!(response.headers[0].1, "application/problem+json");
}

#[test]
fn a_response_is_written_whole_and_only_valid_headers() {
    let mut response = Response::new(200).body("text/plain", "hello");
    response.headers.push(("X-A".into(), "b\r\nX-C: d".into()));
    response.headers.push(("X E".into(), "f".into()));
    response.headers.push(("Content-length".into(), "9".into()));
    let reply = Reply {
        keep_alive: true,
        ..Reply::LAST
    };
    let text = |reply, date| String::from_utf8(response.encode(reply, date)).unwrap();
    assert_eq!(
        text(reply, Some("now")),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: now\r\nContent-Length: 5\r\n\
         Keep-Alive: timeout=2\r\n\r\nhello"
    );
    let old = Reply {
        is_http_1_0: true,
        ..reply
    };
    assert!(text(old, None).contains("Connection: keep-alive\r\nKeep-Alive: timeout=2\r\n"));
    let head = Reply {
        is_head: true,
        ..Reply::LAST
    };
    assert!(text(head, None).ends_with("Content-Length: 5\r\nConnection: close\r\n\r\n"));
}

#[test]
fn a_status_without_a_body_has_no_length() {
    for status in [101, 204, 304] {
        let response = Response::new(status).body("text/plain", "hello");
        let bytes = response.encode(Reply::LAST, None);
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.contains("Content-Length"), "{text}");
        assert!(text.ends_with("\r\n\r\n"), "{text}");
    }
}
