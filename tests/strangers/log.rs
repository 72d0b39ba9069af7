//! The log of the program: lines that unauthenticated clients can cause, its contents, and blocking on it.

use std::io::Read;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::server::{Server, attribute, udp_address};
use tungstenite::client::IntoClientRequest;

/// A Binding request with the right ufrag and no integrity, full of attributes that dependencies warn about.
pub fn noisy(answer: &str, offer: &str) -> Vec<u8> {
    let username = format!(
        "{}:{}",
        attribute(answer, "ice-ufrag"),
        attribute(offer, "ice-ufrag")
    );
    let mut attributes = Vec::new();
    let mut add = |kind: u16, value: &[u8]| {
        attributes.extend(kind.to_be_bytes());
        attributes.extend((value.len() as u16).to_be_bytes());
        attributes.extend(value);
        attributes.extend(vec![0; value.len().next_multiple_of(4) - value.len()]);
    };
    add(0x0006, username.as_bytes());
    for _ in 0..320 {
        add(0x8023, &[]);
    }
    let mut message = vec![0, 1];
    message.extend((attributes.len() as u16).to_be_bytes());
    message.extend([0x21, 0x12, 0xA4, 0x42]);
    message.extend([7; 12]);
    message.extend(attributes);
    message
}

/// Sends megabytes of data that dependencies warn about; returns the number of bytes.
fn flood(server: &Server) -> usize {
    let (offer, answer) = server.watch("");
    let (to, message) = (udp_address(&answer), noisy(&answer, &offer));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for n in 0..2000 {
        socket.send_to(&message, to).expect("sent");
        if n % 50 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    // Invalid descriptions and requests.
    let sdp = "Content-Type: application/sdp\r\n";
    let bad = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rid:1 send pt=96;max-width=1\r\n";
    for _ in 0..50 {
        server.ask("POST /whep/testcard", sdp, bad);
    }
    2000 * message.len()
}

#[test]
fn strangers_write_no_log() {
    let server = Server::start(&[], None, true);
    let sent = flood(&server);
    let log = server.end();
    assert!(sent > 2_000_000);
    assert!(log.is_empty(), "{} bytes of log:\n{log:.2000}", log.len());
}

#[test]
fn strangers_write_little_even_where_everything_is_logged() {
    let server = Server::start(&[], Some("info"), true);
    let sent = flood(&server);
    let log = server.end();
    // Each place in a dependency may write 20 lines per minute; ours report sessions and requests, each once.
    assert!(log.len() < 50_000, "{} for {sent}:\n{log:.3000}", log.len());
    assert!(log.contains("AlternateServer"), "asked for, it is there");
}

/// Uses everything that has a secret, with all log levels enabled.
#[test]
fn no_secret_is_in_the_log_at_any_level() {
    let token = "open-sesame-4711";
    let args = ["--token", token, "--turn", "--turn-listen", "127.0.0.1:0"];
    let server = Server::start(&args, Some("trace"), true);
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let mut secrets = vec![("the token", token.to_owned())];

    // A page signs in; programs send the token.
    let login = server.ask("POST /api/login", &bearer, "");
    let cookie = header(&login, "set-cookie");
    let cookie = cookie.split([';', '=']).nth(1).expect("a value").to_owned();
    secrets.push(("the cookie", cookie.clone()));
    let config = server.ask("GET /api/config", &bearer, "");
    secrets.push((
        "the TURN password",
        between(&config, "\"credential\":\"", "\""),
    ));

    // A session whose checks have the right password, and a wrong one.
    let (offer, answer) = server.watch(&bearer);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let message = noisy(&answer, &offer);
    socket
        .send_to(&message, udp_address(&answer))
        .expect("sent");
    secrets.push(("the server's ICE password", attribute(&answer, "ice-pwd")));
    secrets.push(("our ICE password", attribute(&offer, "ice-pwd")));

    // A call and a room, whose keys and descriptions are sent over WebSockets.
    let address = server.address;
    let open = |path: &str| {
        let mut request = format!("ws://localhost:{}{path}", address.port())
            .into_client_request()
            .expect("a request");
        let value = format!("looprtc={cookie}").parse().expect("a value");
        request.headers_mut().insert("Cookie", value);
        let stream = std::net::TcpStream::connect(address).expect("a connection");
        let patience = Some(Duration::from_secs(10));
        stream.set_read_timeout(patience).expect("a timeout");
        tungstenite::client(request, stream).expect("a WebSocket").0
    };
    let mut call = open("/call/ws?userId=alice");
    let signed_in = call.read().expect("signed in").to_string();
    let key = between(&signed_in, "\"resume\":\"", "\"");
    let _again = open(&format!("/call/ws?userId=alice&resume={key}"));
    secrets.push(("the key of a call", key));
    let mut room = open("/room/den/ws");
    let room_says: Vec<String> = (0..2)
        .map(|_| room.read().expect("a message").to_string())
        .collect();
    let room_says = room_says.join("\n");
    if room_says.contains("ice-pwd") {
        let password = between(&room_says, "a=ice-pwd:", "\\");
        secrets.push(("the ICE password of a room", password));
    }

    // Our own client, too, with all levels.
    let url = format!("http://localhost:{}/whep/testcard", address.port());
    let directory = std::env::temp_dir().join(format!("looprtc-log-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let client = Command::new(env!("CARGO_BIN_EXE_looprtc"))
        .args(["record", &url, "card", "--token", token, "--seconds", "2"])
        .current_dir(&directory)
        .env("RUST_LOG", "trace")
        .output()
        .expect("looprtc runs");
    let _ = std::fs::remove_dir_all(&directory);
    assert!(client.status.success(), "{client:?}");
    let client = String::from_utf8_lossy(&client.stderr).into_owned();

    let log = server.end();
    assert!(log.len() > 1000, "it logs: {log}");
    assert!(client.len() > 100, "the client logs: {client}");
    for (name, secret) in &secrets {
        assert!(secret.len() > 8, "{name}: {secret:?}");
        for (whose, log) in [("server", &log), ("client", &client)] {
            let line = log.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "{name} in the log of the {whose}");
        }
    }
    for (whose, log) in [("server", &log), ("client", &client)] {
        for word in ["ice-pwd", "pass:", "Bearer ", "looprtc="] {
            let line = log.lines().find(|line| line.contains(word));
            assert_eq!(line, None, "the {whose} logs {word:?}");
        }
    }
}

fn header(response: &str, name: &str) -> String {
    let mut lines = response.lines();
    let line = lines.find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then(|| value.to_owned())
    });
    line.unwrap_or_else(|| panic!("no {name} in {response}"))
}

fn between(text: &str, before: &str, after: &str) -> String {
    let rest = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.1.split(after).next().unwrap_or_default().to_owned()
}

/// A pipe to a program that does not read its input holds a limited amount.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let server = Server::start(&[], Some("looprtc=trace"), false);
    let path = "x".repeat(4000);
    for _ in 0..200 {
        let response = server.ask(&format!("GET /{path}"), "", "");
        assert!(response.starts_with("HTTP/1.1 404"), "{response:.100}");
    }
    let start = Instant::now();
    let response = server.ask("GET /healthz", "", "");
    assert!(response.starts_with("HTTP/1.1 204"), "{response}");
    assert!(start.elapsed() < Duration::from_secs(2));
    server.end();
}

/// A server that cannot print its address fails, so that its supervisor notices.
#[test]
fn without_a_reader_of_its_output_a_server_ends_with_an_error() {
    for arguments in [
        &["serve", "--listen", "127.0.0.1:0"][..],
        &[
            "turn",
            "--listen",
            "127.0.0.1:0",
            "--user",
            "alice:wonderland",
        ],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_looprtc"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("looprtc runs");
        drop(child.stdout.take());
        let mut said = String::new();
        let mut stderr = child.stderr.take().expect("piped");
        stderr.read_to_string(&mut said).expect("text");
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("the standard output"), "{said}");
    }
}
