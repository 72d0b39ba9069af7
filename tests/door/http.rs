//! HTTP, by curl and by hand.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::Command;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig};
use looprtc::server::door::{Door, DoorConfig, DoorEvent};
use looprtc::server::http::Response;

use crate::app::{Answer, App, connect, has_ended};

/// Runs curl; returns its output.
pub fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20"])
        .args(arguments)
        .output()
        .expect("curl is not installed: run tests/setup");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_gets_a_page() {
    let app = App::start(DoorConfig::default());
    assert_eq!(
        curl(&[&app.url("/a/../b%20c?d=1")]),
        "GET /b c ?d=1 0 plain\n"
    );
    let old = curl(&["--http1.0", "-i", &app.url("/")]);
    assert!(old.contains("Connection: close\r\n"), "{old}");
    assert!(old.ends_with("GET / ? 0 plain\n"), "{old}");
    let head = curl(&["-I", &app.url("/large?100000")]);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Length: 100000\r\n"), "{head}");
    assert!(head.contains("Date: "), "{head}");
    assert!(head.contains("Keep-Alive: timeout=2\r\n"), "{head}");
}

#[test]
fn curl_keeps_its_connection() {
    let app = App::start(DoorConfig::default());
    let urls = vec![app.url("/"); 5];
    let mut arguments = vec!["-w", "%{num_connects}"];
    arguments.extend(urls.iter().map(String::as_str));
    let said = curl(&arguments);
    assert_eq!(
        said,
        "GET / ? 0 plain\n1".to_owned() + &"GET / ? 0 plain\n0".repeat(4)
    );
    let stats = app.stats();
    assert_eq!((stats.accepted, stats.requests), (1, 5), "{stats:?}");
}

#[test]
fn curl_sends_bodies() {
    let app = App::start(DoorConfig::default());
    let echo = app.url("/echo");
    assert_eq!(curl(&["-d", "hello", &echo]), "hello");
    // Over 1 MiB it waits for `100 Continue`, which arrives at once, not after its timeout of one second.
    let waits = ["-H", "Expect: 100-continue", "--expect100-timeout", "15"];
    let args = [&waits[..], &["-w", " %{time_total}", "-d", "hello", &echo]].concat();
    let said = curl(&args);
    let time: f64 = said.strip_prefix("hello ").unwrap().parse().unwrap();
    assert!(time < 10.0, "{said}");
    let chunked = ["-H", "Transfer-Encoding: chunked", "-d", "hello", &echo];
    assert_eq!(curl(&chunked), "hello");
    // `curl -T -` does not know the size.
    let said = curl(&[
        "-T",
        "/etc/hostname",
        "-H",
        "Transfer-Encoding: chunked",
        &echo,
    ]);
    assert_eq!(said, std::fs::read_to_string("/etc/hostname").unwrap());
}

#[test]
fn requests_ahead_are_answered_in_order() {
    let app = App::start(DoorConfig::default());
    let mut stream = app.connect();
    let ahead = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none\
                 POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n\
                 GET /three HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n\
                 GET /never HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(ahead.as_bytes()).unwrap();
    for body in ["one", "two", "GET /three ? 0 plain\n"] {
        assert_eq!(Answer::read(&mut stream, false).body, body);
    }
    assert!(has_ended(&mut stream));
    assert!(
        !app.saw("GET /never"),
        "behind `Connection: close` there is nothing"
    );
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn limits_are_told_and_counted() {
    let config = DoorConfig::default().max_head(1000).max_body(1000);
    let app = App::start(config.answer_time(Duration::from_secs(3)));
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(5000));
    assert_eq!(app.raw(&head).status, 431);
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\n";
    let body = format!("{post}Content-Length: 1001\r\n\r\n{}", "x".repeat(1001));
    assert_eq!(app.raw(&body).status, 413);
    // It is refused before it has sent more than allowed.
    let mut stream = app.connect();
    let endless = format!("{post}Transfer-Encoding: chunked\r\n\r\n");
    stream.write_all(endless.as_bytes()).unwrap();
    for _ in 0..11 {
        let _ = stream.write_all(format!("64\r\n{}\r\n", "x".repeat(100)).as_bytes());
    }
    let answer = Answer::read(&mut stream, false);
    assert_eq!((answer.status, has_ended(&mut stream)), (413, true));
    assert!(answer.body.contains("limit of 1000 bytes"), "{answer:?}");
    assert_eq!(
        app.raw("GET /never HTTP/1.1\r\nHost: a\r\n\r\n").status,
        504
    );
    assert_eq!(app.raw("nonsense\r\n\r\n").status, 400);
    let stats = app.stats();
    assert_eq!(
        (
            stats.heads_too_large,
            stats.bodies_too_large,
            stats.unanswered,
            stats.refused_requests
        ),
        (1, 2, 1, 1),
        "{stats:?}"
    );
    assert!(
        app.saw("gone"),
        "the application is told that it is too late"
    );
    assert!(!app.saw("POST /echo"));
    assert_eq!(app.raw(GET).status, 200);
}

#[test]
fn what_is_smuggled_is_not_served() {
    let app = App::start(DoorConfig::default());
    for headers in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Content-Length: 4\r\nContent-Length: 50",
        "Transfer-Encoding : chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
    ] {
        let body = "1\r\nZ\r\nQ\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        let all = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n{body}");
        let mut stream = app.connect();
        stream.write_all(all.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let refused = answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 501 ");
        assert!(
            refused && answer.matches("HTTP/1.1").count() == 1,
            "{headers:?}: {answer}"
        );
    }
    let good = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(app.raw(good).body, "GET /good ? 0 plain\n");
    assert_eq!(*app.seen.lock().unwrap(), ["GET /good"]);
}

#[test]
fn statuses_without_a_body() {
    let app = App::start(DoorConfig::default());
    let mut stream = app.connect();
    for status in [204, 304, 200, 404] {
        let get = format!("GET /status?{status} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(get.as_bytes()).unwrap();
        let answer = Answer::read(&mut stream, matches!(status, 204 | 304));
        assert_eq!((answer.status, answer.body.as_str()), (status, ""));
    }
    let head = "HEAD /large?100 HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    assert!(
        Answer::read(&mut stream, true)
            .head
            .contains("Content-Length: 100\r\n")
    );
    stream.write_all(GET.as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut stream, false).status, 200, "in step");
}

#[test]
fn who_leaves_is_reported_and_who_only_ends_its_side_is_served() {
    let app = App::start(DoorConfig::default());
    let mut stream = app.connect();
    stream
        .write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    app.wait_for("asked", |stats| stats.waiting == 1);
    assert!(!app.saw("gone"));
    drop(stream);
    app.wait_for("gone", |stats| stats.waiting == 0 && stats.connections == 0);
    assert!(app.saw("gone"));
    let mut stream = app.connect();
    stream.write_all(GET.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(Answer::read(&mut stream, false).status, 200);
    assert!(has_ended(&mut stream));
    for part in [
        "GET / HT",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123",
    ] {
        let mut stream = app.connect();
        stream.write_all(part.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(Answer::read(&mut stream, false).status, 400, "{part:?}");
    }
}

#[test]
fn too_many_requests_at_once_are_told_to_come_again() {
    let app = App::start(DoorConfig::default().max_requests(3));
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = app.connect();
            stream
                .write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    app.wait_for("three", |stats| stats.waiting == 3);
    let mut stream = app.connect();
    stream.write_all(GET.as_bytes()).unwrap();
    let answer = Answer::read(&mut stream, false);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.head.contains("Retry-After: 2\r\n"), "{answer:?}");
    drop(waiting);
    app.wait_for("place", |stats| stats.waiting == 0);
    stream.write_all(GET.as_bytes()).unwrap();
    assert_eq!(
        Answer::read(&mut stream, false).status,
        200,
        "on the same connection"
    );
}

/// Requests that the application takes its time with do not keep others waiting.
#[test]
fn slow_answers_hold_nobody_up() {
    let app = App::start(DoorConfig::default());
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = app.connect();
            let never = "GET /never HTTP/1.1\r\nHost: a\r\n\r\n";
            stream.write_all(never.as_bytes()).unwrap();
            stream
        })
        .collect();
    app.wait_for("asked", |stats| stats.waiting == 20);
    for _ in 0..10 {
        assert_eq!(app.raw(GET).status, 200);
    }
    assert_eq!(app.stats().waiting, 20);
    drop(waiting);
    app.wait_for("gone", |stats| stats.waiting == 0);
}

/// Many requests, all at the same time, of all sizes.
#[test]
fn many_at_once_get_what_is_theirs() {
    let app = App::start(DoorConfig::default());
    let clients: Vec<_> = (0..40)
        .map(|client: usize| {
            let mut stream = app.connect();
            std::thread::spawn(move || {
                for number in 0..20 {
                    let body = format!("{client}-{number} ").repeat(1 + client * number * 10);
                    let length = body.len();
                    let head = format!(
                        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
                    );
                    stream.write_all(head.as_bytes()).unwrap();
                    stream.write_all(body.as_bytes()).unwrap();
                    assert_eq!(Answer::read(&mut stream, false).body, body);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let stats = app.stats();
    assert_eq!((stats.requests, stats.waiting), (800, 0), "{stats:?}");
}

/// On the thread of an event loop, as in programs.
#[test]
fn beside_peers() {
    let mut door = Door::listen("127.0.0.1:0".parse().unwrap(), DoorConfig::default()).unwrap();
    let to = door.local_addr();
    let mut net = EventLoop::new(LoopConfig::default()).unwrap();
    net.watch(&door).unwrap();
    let client = std::thread::spawn(move || {
        let mut stream = connect(to);
        let start = Instant::now();
        for _ in 0..200 {
            stream.write_all(GET.as_bytes()).unwrap();
            assert_eq!(Answer::read(&mut stream, false).body, "here");
        }
        start.elapsed()
    });
    let start = Instant::now();
    let (mut turns, mut longest) = (0, Duration::ZERO);
    while !client.is_finished() && start.elapsed() < Duration::from_secs(20) {
        let now = Instant::now();
        let until = door.next_deadline();
        let wait = until.map_or(Duration::from_secs(1), |at| {
            at.saturating_duration_since(now)
        });
        net.next_event(Some(wait.min(Duration::from_secs(1))))
            .unwrap();
        turns += 1;
        longest = longest.max(wait);
        door.turn(Instant::now());
        while let Some(event) = door.poll_event() {
            if let DoorEvent::Request(id, _) = event {
                door.respond(id, Response::new(200).body("text/plain", "here"));
            }
        }
    }
    let took = client.join().unwrap();
    println!("200 requests beside an event loop: {took:.1?}, {turns} turns");
    assert!(turns < 20_000, "it turns in a circle: {turns}");
    assert!(
        longest > Duration::from_millis(500),
        "it never waits: {longest:?}"
    );
}

/// No idle connection is kept forever: neither one that has never sent a request nor one that has.
#[test]
fn idle_connections_end() {
    let short = Duration::from_millis(700);
    // The first request has a time limit of its own.
    let app = App::start(DoorConfig::default().idle_time(short).head_time(short));
    let mut silent = app.connect();
    let mut asked = app.connect();
    asked
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    assert_eq!(Answer::read(&mut asked, false).status, 200);
    let from = Instant::now();
    assert!(has_ended(&mut asked) && has_ended(&mut silent));
    assert!(from.elapsed() > Duration::from_millis(300));
    app.wait_for("nobody", |stats| stats.connections == 0);
}
