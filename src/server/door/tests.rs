//! WebSockets, without sockets.

use super::handshake::parse;
use crate::proto::http::{ReadLimits, RequestReader, Step};

/// Returns the request in these bytes, as text, or the status that it is refused with.
fn refused(bytes: &str) -> String {
    let mut reader = RequestReader::new(ReadLimits {
        head: 2048,
        body: 1000,
        needs_length: false,
    });
    reader.push(bytes.as_bytes());
    let parsed = match reader.step() {
        Step::Request(raw) => parse(*raw, ([127, 0, 0, 1], 1).into(), false),
        Step::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    };
    match parsed {
        Ok(parsed) => format!("{parsed:?}"),
        Err(refusal) => refusal.status.to_string(),
    }
}

/// Unfinished messages count as memory, including those inside `tungstenite`.
#[test]
fn unfinished_messages_are_counted() {
    use super::web_socket::{Incoming, Socket};
    use crate::server::http::WebSocketId;
    use std::time::Instant;

    let now = Instant::now();
    let mut socket = Socket::new(WebSocketId(1), Vec::new(), 256 * 1024, now);
    let idle = socket.held();
    assert!(idle < 4096);
    // A fragment of 100,000 bytes, half of which has arrived.
    let mut fragment = vec![0x01, 0xff, 0, 0, 0, 0, 0, 1, 0x86, 0xa0, 0, 0, 0, 0];
    fragment.resize(50_000, b'x');
    socket.push(&fragment, now);
    assert_eq!(socket.next(), None);
    assert!(socket.held() >= 100_000, "{}", socket.held());
    socket.push(&[b'x'; 50_014], now);
    assert_eq!(socket.next(), None);
    assert!(socket.held() >= 200_000, "{}", socket.held());
    // It ends, and a ping follows.
    socket.push(&[0x80, 0x80, 0, 0, 0, 0, 0x89, 0x80, 0, 0, 0, 0], now);
    let whole = Incoming::Text("x".repeat(100_000));
    assert_eq!(socket.next(), Some(whole));
    assert_eq!(socket.next(), None);
    assert_eq!(socket.take_output(), [0x8a, 0]);
    assert_eq!(socket.held(), idle);
    socket.push(&[0x81, 0x81, 0, 0, 0, 0, b'y'], now);
    assert_eq!(socket.next(), Some(Incoming::Text("y".into())));
}

#[test]
fn handshakes_of_web_socket() {
    let ask = |method: &str, headers: &str| {
        refused(&format!(
            "{method} / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n"
        ))
    };
    let good = "Upgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";
    // The example of RFC 6455, section 1.3.
    assert!(ask("GET", good).contains("Some(\"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\")"));
    assert_eq!(ask("POST", good), "400");
    assert_eq!(ask("GET", &good.replace("13", "8")), "426");
    assert_eq!(ask("GET", &good.replace("Version: 13", "X: 13")), "426");
    assert_eq!(ask("GET", &good.replace("ZQ==", "ZQ=")), "400");
    assert_eq!(ask("GET", &good.replace("dGhl", "####")), "400");
    assert_eq!(ask("GET", &good.replace("-Key", "-K")), "400");
    let twice = format!("{good}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(ask("GET", &twice), "400");
    // Not a handshake, but a request.
    for headers in [
        good.replace("WebSocket\r", "h2c\r"),
        good.replace("upgrade", "close"),
    ] {
        assert!(ask("GET", &headers).contains("web_socket: None"));
    }
}
