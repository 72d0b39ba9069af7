//! Candidates in an offer of a client that never connects: destinations and amount of the server's checks.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::server::{Server, offer};

/// Number of sessions that a client creates, each with as many candidates.
const SESSIONS: usize = 40;
const CANDIDATES: usize = 60;

/// A victim's address, with all its ports. Returns the bytes and datagrams received in this many seconds.
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

/// Returns an offer with these candidates in every section.
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
    // One address has a budget of 256 checks, and 16 more per second.
    assert!(datagrams < 256 + 16 * 10, "{datagrams}");
    assert!(bytes < sent, "{bytes} for {sent}");
    // Clients that answer are served as usual.
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

/// A server with a token is behind a proxy: its own machine must not be reachable by its clients.
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
