//! Candidates of an offer that nobody answers: where the server sends, and how much.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::server::{Server, offer};

/// Sessions that a client makes, each with as many candidates.
const SESSIONS: usize = 40;
const CANDIDATES: usize = 60;

/// An address of a victim, with all its ports. Bytes and datagrams that came in so many seconds.
struct Victim(Vec<UdpSocket>);

impl Victim {
    fn at(ip: &str) -> Self {
        let bind = |_| {
            let socket = UdpSocket::bind((ip, 0)).expect("a socket");
            socket.set_nonblocking(true).expect("not waiting");
            socket
        };
        Self((0..CANDIDATES).map(bind).collect())
    }

    fn candidates(&self) -> String {
        let mut lines = String::new();
        for (n, socket) in self.0.iter().enumerate() {
            let at = socket.local_addr().expect("bound");
            lines += &format!(
                "a=candidate:{n} 1 udp {} {} {} typ host\r\n",
                2_000_000_000 - n,
                at.ip(),
                at.port()
            );
        }
        lines
    }

    fn receive(&self, time: Duration) -> (usize, usize) {
        let (mut datagrams, mut bytes) = (0, 0);
        let end = Instant::now() + time;
        while Instant::now() < end {
            for socket in &self.0 {
                while let Ok(length) = socket.recv(&mut [0; 2048]) {
                    datagrams += 1;
                    bytes += length;
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        (datagrams, bytes)
    }
}

/// An offer whose every section has these candidates.
fn offer_with(candidates: &str) -> String {
    let offer = offer();
    let at = offer.find("a=mid:").expect("a section");
    let (head, tail) = offer.split_at(at);
    format!("{head}{candidates}{tail}")
}

#[test]
fn nobody_is_sent_more_than_was_sent() {
    let server = Server::start(&[], None, true);
    let victim = Victim::at("127.0.0.2");
    let mut sent = 0;
    for _ in 0..SESSIONS {
        let offer = offer_with(&victim.candidates());
        sent += offer.len();
        let sdp = "Content-Type: application/sdp\r\n";
        let response = server.ask("POST /whep/testcard", sdp, &offer);
        assert!(response.starts_with("HTTP/1.1 201"), "{response}");
    }
    let (datagrams, bytes) = victim.receive(Duration::from_secs(6));
    println!("{sent} bytes in, {datagrams} datagrams, {bytes} bytes out");
    assert!(datagrams > 10, "it looks for a path: {datagrams}");
    // A share of 256 for one address, and 16 a second.
    assert!(datagrams < 256 + 16 * 10, "{datagrams}");
    assert!(bytes < sent, "{bytes} for {sent}");
    // Whoever answers is served as ever.
    let directory = std::env::temp_dir().join(format!("looprtc-victim-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let url = format!("http://localhost:{}/whep/testcard", server.address.port());
    let recorded = std::process::Command::new(env!("CARGO_BIN_EXE_looprtc"))
        .args(["record", &url, "card", "--seconds", "2"])
        .current_dir(&directory)
        .output()
        .expect("looprtc runs");
    let _ = std::fs::remove_dir_all(&directory);
    assert!(recorded.status.success(), "{recorded:?}");
}

/// A server with a token stands behind a proxy: its own machine is not for its clients to reach.
#[test]
fn behind_a_proxy_loopback_is_not_checked() {
    let server = Server::start(&["--token", "open-sesame-4711"], None, true);
    let victim = Victim::at("127.0.0.1");
    let headers = "Content-Type: application/sdp\r\nAuthorization: Bearer open-sesame-4711\r\n";
    let offer = offer_with(&victim.candidates());
    let response = server.ask("POST /whep/testcard", headers, &offer);
    assert!(response.starts_with("HTTP/1.1 201"), "{response}");
    assert_eq!(victim.receive(Duration::from_secs(2)), (0, 0));
}
