//! Raw sockets against a real server.

use super::*;
use crate::proto::signal::{IceCandidateInit, SdpType};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const LINE: &str = "candidate:2070692838 1 udp 2130706431 192.0.2.2 41400 typ host";
const LONG: Duration = Duration::from_secs(20);

fn server(config: &HttpConfig) -> HttpServer {
    HttpServer::bind(&"127.0.0.1:0".parse().unwrap(), config, Box::new(|| {})).unwrap()
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// Sends bytes and returns the response: its status and the complete text.
fn raw(to: SocketAddr, request: &[u8]) -> (u16, String) {
    let mut stream = connect(to);
    stream.write_all(request).unwrap();
    response(&mut stream)
}

fn response(stream: &mut TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("no status in {text:?}"));
    (status.parse().unwrap(), text)
}

fn request(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn post(to: SocketAddr, path: &str, body: &str) -> (u16, String) {
    raw(to, &request(path, body))
}

/// Runs `client` in a thread while the application gives its verdict on each request.
fn serve<T: Send + 'static>(
    server: &HttpServer,
    client: impl FnOnce() -> T + Send + 'static,
    mut verdict: impl FnMut(SignalRequest),
) -> T {
    let client = thread::spawn(client);
    while !client.is_finished() {
        if let Some(request) = server.wait_for_request(Duration::from_millis(5)) {
            verdict(request);
        }
    }
    client.join().unwrap()
}

#[test]
fn carries_messages_and_verdicts() {
    let server = server(&HttpConfig::default());
    let to = server.local_addr();
    let offer = SessionDescription::offer("v=0\r\n".repeat(8000));
    assert!(
        offer.to_json().len() > 50_000,
        "longer than what tiny_http reads at once"
    );

    let (body, sent) = (offer.to_json(), offer.clone());
    let (status, text) = serve(
        &server,
        move || post(to, "/sdp", &body),
        move |request| {
            assert_eq!(request.message(), &SignalMessage::Description(sent.clone()));
            assert!(request.client().ip().is_loopback());
            request.accept();
        },
    );
    assert_eq!(status, 200, "{text}");
    assert!(
        text.contains("\r\nConnection: close\r\n") && text.contains("\r\nContent-Length: 0\r\n")
    );
    assert!(text.ends_with("\r\n\r\n"), "an empty body: {text}");

    let (status, text) = serve(
        &server,
        move || post(to, "/candidate?x=1", LINE),
        |request| {
            let expected = SignalMessage::Candidate(IceCandidateInit::new(LINE));
            assert_eq!(request.message(), &expected);
            request.reject(Status::Conflict, "no session stands");
        },
    );
    assert_eq!(status, 409);
    assert!(text.ends_with("\r\n\r\nno session stands\n"), "{text}");

    let body = offer.to_json();
    let answer = SessionDescription::answer("v=0\r\na=answer\r\n");
    let sent = answer.clone();
    let (status, text) = serve(
        &server,
        move || post(to, "/sdp", &body),
        move |request| request.answer(&sent),
    );
    assert_eq!(status, 200);
    assert!(
        text.contains("Content-Type: application/json; charset=utf-8\r\n"),
        "{text}"
    );
    let body = text.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(
        SignalMessage::parse_description(body.as_bytes()),
        Ok(answer)
    );

    let (status, text) = serve(&server, move || post(to, "/candidate", LINE), drop);
    assert_eq!(status, 500);
    assert!(text.contains("no verdict"), "{text}");
}

#[test]
fn wakes_the_loop_for_each_request() {
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let wake = Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let address = "127.0.0.1:0".parse().unwrap();
    let server = HttpServer::bind(&address, &HttpConfig::default(), wake).unwrap();
    let to = server.local_addr();
    assert!(server.next_request().is_none());
    let client = thread::spawn(move || post(to, "/candidate", LINE).0);
    while woken.load(Ordering::SeqCst) == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    server
        .next_request()
        .expect("a request waits once the loop is woken")
        .accept();
    assert_eq!(client.join().unwrap(), 200);
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    assert_eq!(post(to, "/candidate", "nonsense").0, 400);
    assert_eq!(
        woken.load(Ordering::SeqCst),
        1,
        "not woken for what does not reach it"
    );
}

#[test]
fn bad_input_is_refused_with_the_reason_and_never_reaches_the_application() {
    let server = server(&HttpConfig::default());
    let to = server.local_addr();
    let cases: &[(&str, &str, u16, &str)] = &[
        (
            "/sdp",
            "hello",
            400,
            "POST /sdp: not JSON: expected value (line 1, column 1)",
        ),
        ("/sdp", "", 400, "not JSON"),
        ("/sdp", "[]", 400, "expected a JSON object, found an array"),
        (
            "/sdp",
            r#"{"type":"offer"}"#,
            400,
            r#"member "sdp" is missing"#,
        ),
        (
            "/sdp",
            r#"{"type":1,"sdp":"v=0"}"#,
            422,
            r#"member "type" must be a string"#,
        ),
        (
            "/sdp",
            r#"{"type":"offr","sdp":"v=0"}"#,
            422,
            r#"the type "offr" is unknown"#,
        ),
        (
            "/candidate",
            "{}",
            400,
            r#"POST /candidate: the member "candidate" is missing"#,
        ),
        (
            "/candidate",
            "candidate:1 1 udp",
            400,
            "not a candidate line: the priority is \"\"",
        ),
        (
            "/candidate",
            "v=0",
            400,
            "not a candidate line: the beginning is \"v=0\"",
        ),
        ("/other", "{}", 404, "no such path"),
        ("/sdp/", "{}", 404, "no such path"),
    ];
    for (path, body, expected, reason) in cases {
        let (status, text) = post(to, path, body);
        assert_eq!(status, *expected, "{path} {body}: {text}");
        assert!(text.contains(reason), "{path} {body}: {text}");
    }

    for (request, expected, reason) in [
        ("GET /sdp HTTP/1.1\r\nHost: a\r\n\r\n", 405, "Allow: POST"),
        (
            "DELETE /candidate HTTP/1.1\r\nHost: a\r\n\r\n",
            405,
            "only POST",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            200,
            "POST /sdp and POST /candidate",
        ),
        (
            "POST /sdp HTTP/1.1\r\nHost: a\r\n\r\n",
            411,
            "Content-Length is missing",
        ),
        (
            "POST /sdp HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            411,
            "not taken",
        ),
        (
            "POST /sdp HTTP/1.1\r\nContent-Length: 65537\r\n\r\n",
            413,
            "limit of 65536 bytes",
        ),
        (
            "POST /sdp HTTP/1.1\r\nContent-Length: 1099511627776\r\n\r\n",
            413,
            "limit of 65536",
        ),
        (
            "POST /sdp HTTP/1.1\r\nOrigin: http://b\r\nContent-Length: 2\r\n\r\n{}",
            403,
            "web pages",
        ),
        ("\x16\x03\x01\x02\r\n\r\n", 400, "request line"),
        ("GET / HTTP/3.0\r\n\r\n", 505, "HTTP/1.1"),
    ] {
        let (status, text) = raw(to, request.as_bytes());
        assert_eq!(status, expected, "{request:?}: {text}");
        assert!(text.contains(reason), "{request:?}: {text}");
    }
    assert!(server.next_request().is_none());
}

#[test]
fn a_body_over_the_limit_is_refused_even_while_it_is_being_sent() {
    let server = server(&HttpConfig::default());
    let (status, text) = post(server.local_addr(), "/sdp", &"x".repeat(300_000));
    assert_eq!(status, 413, "{text}");
    let endless = [b"GET / HTTP/1.1\r\nA: ".as_slice(), &[b'a'; 20_000]].concat();
    assert_eq!(raw(server.local_addr(), &endless).0, 431);
    // A body of exactly the limit passes the gate; the JSON parser refuses it then.
    let (status, text) = post(server.local_addr(), "/sdp", &"x".repeat(MAX_BODY));
    assert!(status == 400 && text.contains("not JSON"), "{text}");
}

#[test]
fn a_client_that_ends_early_is_told() {
    let server = server(&HttpConfig::default());
    for (sent, reason) in [
        ("POST /sdp HT", "ended within the head"),
        (
            "POST /sdp HTTP/1.1\r\nContent-Length: 10\r\n\r\n1234",
            "after 4 of 10 bytes",
        ),
    ] {
        let mut stream = connect(server.local_addr());
        stream.write_all(sent.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let (status, text) = response(&mut stream);
        assert!(status == 400 && text.contains(reason), "{text}");
    }
}

#[test]
fn waits_for_a_body_that_asks_to_be_let_in() {
    let server = server(&HttpConfig::default());
    let to = server.local_addr();
    let client = move || {
        let mut stream = connect(to);
        let length = LINE.len();
        let head = format!(
            "POST /candidate HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(LINE.as_bytes()).unwrap();
        response(&mut stream)
    };
    assert_eq!(serve(&server, client, SignalRequest::accept).0, 200);
}

#[test]
fn slow_clients_are_cut_off_and_hold_nobody_up() {
    let config = HttpConfig::default()
        .request_deadline(Duration::from_millis(800))
        .max_connections(8);
    let server = server(&config);
    let to = server.local_addr();
    // One byte every 100 ms would reset a timeout between bytes forever.
    let slow: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                let mut stream = connect(to);
                let start = Instant::now();
                for byte in request("/candidate", LINE) {
                    if stream.write_all(&[byte]).is_err() || start.elapsed() > LONG {
                        break;
                    }
                    thread::sleep(Duration::from_millis(100));
                    stream.set_nonblocking(true).unwrap();
                    let told = stream.peek(&mut [0]).is_ok();
                    stream.set_nonblocking(false).unwrap();
                    if told {
                        break;
                    }
                }
                (response(&mut stream).0, start.elapsed())
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    let (status, _) = serve(
        &server,
        move || post(to, "/candidate", LINE),
        SignalRequest::accept,
    );
    assert_eq!(status, 200);
    assert!(
        start.elapsed() < Duration::from_millis(600),
        "held up: {:?}",
        start.elapsed()
    );
    for client in slow {
        let (status, took) = client.join().unwrap();
        assert_eq!(status, 408);
        assert!(took < Duration::from_secs(5), "cut off only after {took:?}");
    }
    assert!(server.next_request().is_none());
}

#[test]
fn more_silent_clients_than_places_delay_others_only_until_the_deadline() {
    let config = HttpConfig::default()
        .request_deadline(Duration::from_millis(500))
        .max_connections(4);
    let server = server(&config);
    let to = server.local_addr();
    let _silent: Vec<_> = (0..8).map(|_| connect(to)).collect();
    thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    let (status, _) = serve(
        &server,
        move || post(to, "/candidate", LINE),
        SignalRequest::accept,
    );
    assert_eq!(status, 200);
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn many_clients_at_once() {
    let server = server(&HttpConfig::default().max_waiting(200));
    let to = server.local_addr();
    let clients = move || {
        let clients: Vec<_> = (0..100_u32)
            .map(|n| {
                thread::spawn(move || {
                    let line = LINE.replace("41400", &(1000 + n).to_string());
                    post(to, "/candidate", &line)
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect::<Vec<_>>()
    };
    let mut seen = std::collections::HashSet::new();
    let responses = serve(&server, clients, |request| {
        assert!(
            seen.insert(format!("{:?}", request.message())),
            "twice: {request:?}"
        );
        request.accept();
    });
    assert!(
        responses.iter().all(|(status, _)| *status == 200),
        "{responses:?}"
    );
    assert_eq!(seen.len(), 100);
}

#[test]
fn a_busy_application_refuses_and_a_silent_one_times_out() {
    let config = HttpConfig::default()
        .max_waiting(2)
        .verdict_deadline(Duration::from_millis(700));
    let server = server(&config);
    let to = server.local_addr();
    let waiting: Vec<_> = (0..2)
        .map(|_| thread::spawn(move || post(to, "/candidate", LINE)))
        .collect();
    thread::sleep(Duration::from_millis(200));
    let (status, text) = post(to, "/candidate", LINE);
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("Retry-After: 1\r\n"), "{text}");
    for client in waiting {
        let (status, text) = client.join().unwrap();
        assert_eq!(status, 504, "{text}");
        assert!(text.contains("no verdict within 0.7 s"), "{text}");
    }
    assert!(
        server.next_request().is_none(),
        "what was answered with 504 is not seen any more"
    );
    let (status, _) = serve(
        &server,
        move || post(to, "/candidate", LINE),
        SignalRequest::accept,
    );
    assert_eq!(status, 200, "and everything works again");
}

#[test]
fn clients_that_vanish_leave_it_working() {
    let server = server(&HttpConfig::default());
    let to = server.local_addr();
    for sent in [
        "",
        "POST",
        "POST /sdp HTTP/1.1\r\nContent-Length: 10\r\n\r\n12",
    ] {
        let mut stream = connect(to);
        stream.write_all(sent.as_bytes()).unwrap();
    }
    // The client disconnects while the application decides.
    let mut stream = connect(to);
    stream.write_all(&request("/candidate", LINE)).unwrap();
    let request = server.wait_for_request(LONG).unwrap();
    drop(stream);
    request.accept();
    // A verdict after its server was dropped is harmless, too.
    let client = thread::spawn(move || {
        let mut stream = connect(to);
        stream
            .write_all(&self::request("/candidate", LINE))
            .unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let request = server.wait_for_request(LONG).unwrap();
    drop(server);
    request.accept();
    client.join().unwrap();
}

#[test]
fn dropping_it_frees_the_port() {
    let first = server(&HttpConfig::default());
    let address = Address::from(first.local_addr());
    for _ in 0..3 {
        assert!(HttpServer::bind(&address, &HttpConfig::default(), Box::new(|| {})).is_err());
    }
    drop(first);
    let second = HttpServer::bind(&address, &HttpConfig::default(), Box::new(|| {})).unwrap();
    assert_eq!(
        second.local_addr(),
        "127.0.0.1:0"
            .parse::<SocketAddr>()
            .map(|mut any| {
                any.set_port(address.port());
                any
            })
            .unwrap()
    );
}

#[test]
fn a_process_that_goes_past_the_gate_gets_nothing() {
    let server = server(&HttpConfig::default());
    let to = server.gate.inner().address();
    for body in ["2\r\n\r\n{}", "1099511627776\r\n\r\n"] {
        let request = format!("POST /sdp HTTP/1.1\r\nHost: a\r\nContent-Length: {body}");
        let mut stream = connect(to);
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        assert!(!text.contains(" 200 "), "{text}");
    }
    assert!(server.next_request().is_none());
    let to = server.local_addr();
    assert_eq!(
        serve(
            &server,
            move || post(to, "/candidate", LINE),
            SignalRequest::accept
        )
        .0,
        200
    );
}

#[test]
fn types_of_description_pass() {
    let server = server(&HttpConfig::default());
    let to = server.local_addr();
    let body = r#"{"type":"rollback"}"#;
    let (status, _) = serve(
        &server,
        move || post(to, "/sdp", body),
        |request| {
            let SignalMessage::Description(description) = request.message() else {
                panic!()
            };
            assert_eq!(description.kind, SdpType::Rollback);
            request.accept();
        },
    );
    assert_eq!(status, 200);
}

#[test]
fn the_parser_is_started_anew_when_it_dies() {
    let server = server(&HttpConfig::default());
    let to = server.local_addr();
    for _ in 0..3 {
        server.gate.inner().break_down();
        let before = server.gate.inner().address();
        let (status, text) = serve(
            &server,
            move || post(to, "/candidate", LINE),
            SignalRequest::accept,
        );
        assert_eq!(status, 200, "{text}");
        assert_ne!(server.gate.inner().address(), before);
    }
}
