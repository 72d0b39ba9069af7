//! A real server whose log is kept, and an offer for a session with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use looprtc::proto::peer::{Direction, MediaKind, Peer, PeerConfig, TransceiverConfig};

/// A running server, killed when it is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    log: Option<(Arc<Mutex<String>>, JoinHandle<()>)>,
}

impl Server {
    /// Starts a server with this RUST_LOG (`None`: the default). Without `reads`, its standard error is a pipe that
    /// nobody reads.
    pub fn start(args: &[&str], rust_log: Option<&str>, reads: bool) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_looprtc"));
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(args)
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(filter) = rust_log {
            command.env("RUST_LOG", filter);
        }
        let mut child = command.spawn().expect("looprtc runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let log = reads.then(|| {
            let text = Arc::new(Mutex::new(String::new()));
            let mut stderr = child.stderr.take().expect("piped");
            let to = text.clone();
            let reader = std::thread::spawn(move || {
                let mut some = [0; 65536];
                while let Ok(length @ 1..) = stderr.read(&mut some) {
                    let text = String::from_utf8_lossy(&some[..length]).into_owned();
                    to.lock().expect("the log").push_str(&text);
                }
            });
            (text, reader)
        });
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            let rest = line.strip_prefix("Open http://localhost:")?;
            rest.split(' ').next()?.parse().ok()
        });
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port.expect("it says where it is"))),
            log,
        }
    }

    /// Returns the response to a request with these header lines.
    pub fn ask(&self, line: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("a timeout");
        let request = format!(
            "{line} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            self.address.port(),
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        response
    }

    /// A session that watches the test card: our description and the server's.
    pub fn watch(&self, headers: &str) -> (String, String) {
        let offer = offer();
        let headers = format!("Content-Type: application/sdp\r\n{headers}");
        let response = self.ask("POST /whep/testcard", &headers, &offer);
        assert!(response.starts_with("HTTP/1.1 201"), "{response}");
        (offer, response)
    }

    /// Returns its processor time, in milliseconds.
    pub fn cpu_ms(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("it runs");
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        10 * ticks.map(|t| t.parse::<u64>().unwrap_or(0)).sum::<u64>()
    }

    /// Stops it as a service manager does; returns its log, if that was read.
    pub fn end(mut self) -> String {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status();
        assert!(killed.expect("kill runs").success());
        let limit = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().expect("a child").is_none() {
            assert!(Instant::now() < limit, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        let Some((text, reader)) = self.log.take() else {
            return String::new();
        };
        reader.join().expect("the reader");
        let text = text.lock().expect("the log");
        text.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An offer to receive audio and video, without candidates.
pub fn offer() -> String {
    let now = Instant::now();
    let mut peer = Peer::new(PeerConfig::default(), now).expect("a peer");
    for kind in [MediaKind::Audio, MediaKind::Video] {
        let receive = TransceiverConfig::default().direction(Direction::RecvOnly);
        peer.add_transceiver(kind, receive, now).expect("a track");
    }
    peer.create_offer(now).expect("an offer").sdp
}

/// Returns the first value of this attribute.
pub fn attribute(sdp: &str, name: &str) -> String {
    let start = format!("a={name}:");
    let mut lines = sdp.lines();
    let line = lines.find_map(|line| line.strip_prefix(start.as_str()));
    line.unwrap_or_else(|| panic!("no {name} in {sdp}"))
        .trim()
        .to_owned()
}

/// Returns the address of a session of the server.
pub fn udp_address(answer: &str) -> SocketAddr {
    let candidate = attribute(answer, "candidate");
    let fields: Vec<&str> = candidate.split(' ').collect();
    let ip = fields[4].parse().expect("an address");
    SocketAddr::new(ip, fields[5].parse().expect("a port"))
}
