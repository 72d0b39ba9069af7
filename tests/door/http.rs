//! HTTP, by curl and by hand.

use std::io::Write;
use std::process::Command;

use crate::app::{Answer, App, has_ended};
use looprtc::server::door::DoorConfig;

/// Runs curl; what it wrote.
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
    // Over 1 MiB it waits for `100 Continue`; here it is told to, and is not kept waiting for its whole second.
    let waits = ["-H", "Expect: 100-continue", "--expect100-timeout", "15"];
    let args = [&waits[..], &["-w", " %{time_total}", "-d", "hello", &echo]].concat();
    let said = curl(&args);
    let time: f64 = said.strip_prefix("hello ").unwrap().parse().unwrap();
    assert!(time < 10.0, "{said}");
    let chunked = ["-H", "Transfer-Encoding: chunked", "-d", "hello", &echo];
    assert_eq!(curl(&chunked), "hello");
    // `curl -T -` does not know how much it will be.
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
