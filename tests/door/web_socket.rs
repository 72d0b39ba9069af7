//! WebSockets: a well-behaved client, and others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use looprtc::server::door::DoorConfig;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use crate::app::{Answer, App, LONG, connect};

pub fn open(app: &App, path: &str) -> Result<WebSocket<TcpStream>, String> {
    open_at(app.address, path)
}

pub fn open_at(to: SocketAddr, path: &str) -> Result<WebSocket<TcpStream>, String> {
    let url = format!("ws://{to}{path}");
    let opened = tungstenite::client(url, connect(to));
    opened.map(|(socket, _)| socket).map_err(|e| e.to_string())
}

pub const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A WebSocket client written by hand.
fn by_hand(app: &App) -> TcpStream {
    let mut stream = app.connect();
    stream.write_all(HANDSHAKE.as_bytes()).unwrap();
    let answer = Answer::read(&mut stream, false);
    assert_eq!(answer.status, 101);
    assert!(answer.head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    stream
}

/// Returns a frame, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![
        first,
        0x80 | u8::try_from(payload.len()).unwrap(),
        0,
        0,
        0,
        0,
    ];
    frame.extend_from_slice(payload);
    frame
}

/// Reads a close frame; returns its code.
fn close_code(stream: &mut TcpStream) -> u16 {
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x88, "{head:?}");
    u16::from_be_bytes([head[2], head[3]])
}

#[test]
fn echoes() {
    let app = App::start(DoorConfig::default());
    let mut socket = open(&app, "/ws").unwrap();
    for length in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
        let text = Message::text("x".repeat(length));
        socket.send(text.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), text);
    }
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    let stats = app.wait_for("closed", |stats| stats.web_sockets == 0);
    assert!(app.saw("closed"));
    assert_eq!((stats.messages_in, stats.messages_out), (7, 7));
    let refused = open(&app, "/elsewhere").unwrap_err();
    assert!(refused.contains("404"), "{refused}");
}

#[test]
fn is_closed_with_code_and_reason() {
    let app = App::start(DoorConfig::default());
    let mut socket = open(&app, "/ws").unwrap();
    socket.send(Message::text("close")).unwrap();
    let Message::Close(Some(CloseFrame { code, reason })) = socket.read().unwrap() else {
        panic!()
    };
    assert_eq!((u16::from(code), reason.as_str()), (4000, "as you wish"));
    while socket.read().is_ok() {}
    app.wait_for("closed", |stats| stats.connections == 0);
    // One that does not confirm the close.
    let mut stream = by_hand(&app);
    stream.write_all(&frame(0x81, b"close")).unwrap();
    assert_eq!(close_code(&mut stream), 4000);
    app.wait_for("closed", |stats| stats.connections == 0);
}

#[test]
fn what_comes_in_pieces_and_what_comes_at_once() {
    let app = App::start(DoorConfig::default());
    let mut stream = app.connect();
    let mut all = HANDSHAKE.as_bytes().to_vec();
    // A text in three frames with a ping between them, sent right after the handshake.
    all.extend(frame(0x01, b"on"));
    all.extend(frame(0x89, b"ping"));
    all.extend(frame(0x00, b"e "));
    all.extend(frame(0x80, b"two"));
    for byte in all {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(Answer::read(&mut stream, false).status, 101);
    let mut got = [0; 6 + 9];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"\x8a\x04ping\x81\x07one two");
}

#[test]
fn what_is_wrong_is_closed_with_the_right_code() {
    let app = App::start(DoorConfig::default().max_message(1000));
    let long = [&[0x81, 0xfe, 0x03, 0xe9, 0, 0, 0, 0][..], &[b'x'; 1001]].concat();
    let huge = [
        0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    ];
    let cases: &[(&str, Vec<u8>, u16)] = &[
        ("not masked", vec![0x81, 0x01, b'a'], 1002),
        ("a reserved bit", frame(0xc1, b"a"), 1002),
        ("an unknown kind", frame(0x83, b"a"), 1002),
        ("an unknown control frame", frame(0x8b, b"a"), 1002),
        ("a control frame in pieces", frame(0x09, b"a"), 1002),
        ("a continuation of nothing", frame(0x80, b"a"), 1002),
        ("binary", frame(0x82, b"a"), 1003),
        ("not UTF-8", frame(0x81, b"\xff"), 1007),
        ("too long", long, 1009),
        ("much too long", huge.to_vec(), 1009),
    ];
    for (name, bytes, code) in cases {
        let mut stream = by_hand(&app);
        stream.write_all(bytes).unwrap();
        assert_eq!(close_code(&mut stream), *code, "{name}");
        let mut reason = Vec::new();
        stream.read_to_end(&mut reason).unwrap();
        assert!(!reason.is_empty() && reason.is_ascii(), "{name}");
    }
    let wrong = cases.len() as u64;
    let stats = app.wait_for("over", |stats| stats.web_sockets == 0);
    assert_eq!((stats.web_sockets_wrong, stats.messages_in), (wrong, 0));
}

#[test]
fn handshakes_that_are_none() {
    let app = App::start(DoorConfig::default().max_web_sockets(1));
    let old = app.raw(HANDSHAKE.replace("13", "8"));
    assert_eq!(old.status, 426);
    assert!(old.head.contains("Sec-WebSocket-Version: 13\r\n"));
    assert_eq!(app.raw(HANDSHAKE.replace("dGhl", "")).status, 400);
    assert_eq!(app.raw(HANDSHAKE.replace("GET", "PUT")).status, 400);
    let _one = open(&app, "/ws").unwrap();
    assert!(open(&app, "/ws").unwrap_err().contains("503"));
    assert_eq!(app.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
}

/// More messages at once than events are queued: none is lost, and none waits for later ones.
#[test]
fn many_at_once() {
    let app = App::start(DoorConfig::default());
    let mut stream = by_hand(&app);
    let all: Vec<u8> = (0..5000)
        .flat_map(|number| frame(0x81, format!("{number:04}").as_bytes()))
        .collect();
    stream.write_all(&all).unwrap();
    let mut echoed = vec![0; 5000 * 6];
    stream.read_exact(&mut echoed).unwrap();
    for (number, frame) in echoed.chunks(6).enumerate() {
        assert_eq!(frame[..2], [0x81, 4]);
        assert_eq!(&frame[2..], format!("{number:04}").as_bytes());
    }
}

/// A dead connection is detected, and a silent one that is alive is not closed.
#[test]
fn the_dead_are_noticed() {
    let config = DoorConfig::default()
        .ping_after(Duration::from_millis(300))
        .silence(Duration::from_secs(6));
    let app = App::start(config);
    let mut quiet = open(&app, "/ws").unwrap();
    let mut dead = by_hand(&app);
    let start = Instant::now();
    // It answers the pings as it reads.
    while app.stats().web_sockets_dead == 0 {
        assert!(start.elapsed() < LONG, "the dead one is not noticed");
        let soon = Some(Duration::from_millis(100));
        quiet.get_ref().set_read_timeout(soon).unwrap();
        let _ = quiet.read();
    }
    assert!(start.elapsed() > Duration::from_secs(5));
    assert_eq!(app.stats().web_sockets, 1);
    quiet.get_ref().set_read_timeout(Some(LONG)).unwrap();
    quiet.send(Message::text("here")).unwrap();
    while quiet.read().unwrap() != Message::text("here") {}
    let mut got = Vec::new();
    dead.read_to_end(&mut got).unwrap();
    assert_eq!(got, [0x89, 0], "a ping, then the end");
}

/// A client that sends requests and never reads.
#[test]
fn who_does_not_read_is_closed() {
    let app = App::start(DoorConfig::default().max_queue(200_000));
    let mut stream = by_hand(&app);
    stream.write_all(&frame(0x81, b"flood")).unwrap();
    let stats = app.wait_for("closed", |stats| stats.web_sockets == 0);
    assert_eq!(stats.web_sockets_dead, 1, "{stats:?}");
    assert!(app.saw("flooded"));
    // Pongs for a client that only sends pings.
    let mut stream = by_hand(&app);
    let pings: Vec<u8> = (0..1000).flat_map(|_| frame(0x89, &[b'x'; 125])).collect();
    stream
        .set_write_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    while stream.write_all(&pings).is_ok() {}
    app.wait_for("closed", |stats| stats.web_sockets == 0);
}
