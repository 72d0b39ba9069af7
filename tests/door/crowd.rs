//! Many misbehaving clients, beside a regular one.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use looprtc::server::door::{DoorConfig, raise_descriptors};
use tungstenite::Message;

use crate::app::{Answer, App, connect, connect_from};
use crate::web_socket::{HANDSHAKE, open};

/// Maximum waiting time of a regular client on a busy machine: it only has to get through.
const BOUND: Duration = Duration::from_secs(10);

/// `tests/door/crowd.py`.
struct Crowd {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// Returns how many were admitted, as they see it.
    connected: usize,
}

impl Crowd {
    fn gather(to: SocketAddr, count: usize, per_address: usize, kind: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/door/crowd.py");
        let numbers = [usize::from(to.port()), count, per_address].map(|n| n.to_string());
        let mut child = Command::new("python3")
            .arg(script)
            .args(numbers)
            .arg(kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is not installed: run tests/setup");
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let connected = number_after("ready ", &mut lines);
        Self {
            child,
            lines,
            connected,
        }
    }

    /// Stops it; returns how many were still connected.
    fn leave(mut self) -> usize {
        drop(self.child.stdin.take());
        let there = number_after("there ", &mut self.lines);
        self.child.wait().unwrap();
        there
    }
}

fn number_after(word: &str, lines: &mut impl BufRead) -> usize {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let number = line.trim_end().strip_prefix(word);
    number
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("{line:?}"))
}

/// Fetches a page on a new connection, as a new visitor does.
fn visit(to: SocketAddr) -> Duration {
    let start = Instant::now();
    let mut stream = connect(to);
    stream
        .write_all(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let answer = Answer::read(&mut stream, false);
    assert_eq!(answer.body, "GET /page ? 0 plain\n");
    start.elapsed()
}

/// The slowest of many visits, and the median.
fn visits(to: SocketAddr) -> (Duration, Duration) {
    let mut times: Vec<_> = (0..50).map(|_| visit(to)).collect();
    times.sort();
    assert!(times[49] < BOUND, "{times:?}");
    (times[25], times[49])
}

/// A running session: a WebSocket that sends continuously and receives an echo.
struct Session {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Duration)>,
}

impl Session {
    fn begin(app: &App) -> Self {
        let mut socket = open(app, "/ws").unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut count, mut worst) = (0, Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                let start = Instant::now();
                let text = Message::text(format!("{count}"));
                socket.send(text.clone()).unwrap();
                assert_eq!(socket.read().unwrap(), text);
                worst = worst.max(start.elapsed());
                count += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            (count, worst)
        });
        Self { stop, thread }
    }

    fn end(self) -> (usize, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let (count, worst) = self.thread.join().unwrap();
        assert!(count > 0 && worst < BOUND, "{count} {worst:?}");
        (count, worst)
    }
}

/// Resident memory of this process, in KiB.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok())
        .unwrap_or(0)
}

fn say(text: &str) {
    println!("{text}");
}

/// 10,000 connections that send nothing: with default limits, and with all of them admitted.
#[test]
fn ten_thousand_that_say_nothing() {
    let descriptors = raise_descriptors().map_or(usize::MAX, |n| usize::try_from(n).unwrap());
    let most = 10_000.min(descriptors / 2 - 1);
    if most < 9_999 {
        say(&format!(
            "NOTE: this process may have {descriptors} descriptors: {most} connections are let in instead of 10,000"
        ));
    }
    let lenient = DoorConfig::default()
        .max_connections(10_100)
        .strangers_percent(100)
        .head_time(Duration::from_secs(300))
        .idle_time(Duration::from_secs(300));
    let strict = DoorConfig::default();
    for (name, config, kind, let_in) in [
        (
            "limits as they come, silent",
            strict.clone(),
            "silent",
            None,
        ),
        ("limits as they come, answered once", strict, "known", None),
        ("all let in", lenient, "silent", Some(most - 100)),
    ] {
        let app = App::start(config);
        let session = Session::begin(&app);
        let before = visits(app.address);
        let memory_before = memory();
        let start = Instant::now();
        let crowd = Crowd::gather(app.address, 10_000, 250, kind);
        let gathered = start.elapsed();
        let during = visits(app.address);
        let stats = app.stats();
        let grown = memory().saturating_sub(memory_before);
        let (count, worst) = session.end();
        say(&format!(
            "{name}: {} came in {gathered:.1?}, {} connections now, {} evicted; page before {:.1?} (at most {:.1?}), \
             during {:.1?} (at most {:.1?}); session: {count} messages, at most {worst:.1?}; {grown} KiB more",
            crowd.connected,
            stats.connections,
            stats.evicted,
            before.0,
            before.1,
            during.0,
            during.1
        ));
        assert!(crowd.connected > 9_900, "{}", crowd.connected);
        match let_in {
            Some(most) => assert!(stats.connections >= most, "{stats:?}"),
            None => assert!(
                stats.connections <= 4096 && stats.evicted > 5_000,
                "{stats:?}"
            ),
        }
        crowd.leave();
        app.wait_for("all gone", |stats| stats.connections < 10);
    }
}

/// Slow heads, slow bodies and responses that are never read.
#[test]
fn slow_clients_hold_nobody_up() {
    let config = DoorConfig::default()
        .head_time(Duration::from_secs(3))
        .body_time(Duration::from_secs(3))
        .write_time(Duration::from_secs(3));
    let app = App::start(config);
    let session = Session::begin(&app);
    let before = visits(app.address);
    let crowds: Vec<_> = ["head", "body", "unread"]
        .map(|kind| {
            Crowd::gather(
                app.address,
                if kind == "unread" { 20 } else { 300 },
                100,
                kind,
            )
        })
        .into();
    let during = visits(app.address);
    // All are closed in the end, though each of them was active all the time.
    let stats = app.wait_for("all over", |stats| {
        stats.timed_out >= 600 && stats.unread + stats.evicted >= 20 && stats.connections < 60
    });
    assert!(!app.saw("GET /slow") && !app.saw("POST /echo"));
    for crowd in crowds {
        assert!(crowd.connected >= 20);
        crowd.leave();
    }
    let (count, worst) = session.end();
    say(&format!(
        "slow clients: page before {:.1?} (at most {:.1?}), during {:.1?} (at most {:.1?}); session: {count} messages, \
         at most {worst:.1?}; {stats:?}",
        before.0, before.1, during.0, during.1
    ));
}

/// Responses that clients request and do not read use bounded memory, and clients that read get them all the same.
#[test]
fn what_is_not_read_is_limited() {
    let app = App::start(DoorConfig::default().max_buffered(20_000_000));
    let crowd = Crowd::gather(app.address, 20, 100, "unread");
    let mut stream = connect(app.address);
    stream
        .write_all(b"GET /large?3000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    assert_eq!(Answer::read(&mut stream, false).body.len(), 3_000_000);
    let stats = app.wait_for("evicted", |stats| stats.evicted >= 8);
    assert!(stats.held <= 20_000_000, "{stats:?}");
    visits(app.address);
    crowd.leave();
}

/// Memory for endless messages and bodies is counted, and those of one address never close another address's
/// connection.
#[test]
fn what_is_not_finished_is_limited() {
    const MOST: usize = 8_000_000;
    let app = App::start(DoorConfig::default().max_buffered(MOST));
    let mut socket = open(&app, "/ws").unwrap();
    let mut body = connect(app.address);
    body.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n")
        .unwrap();
    body.write_all(&[b'x'; 100_000]).unwrap();
    let attackers: Vec<_> = (0..100)
        .map(|index| {
            let mut stream = connect_from([127, 0, 0, 77], app.address);
            let head = match index % 2 {
                0 => HANDSHAKE.to_owned(),
                _ => "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n".to_owned(),
            };
            stream.write_all(head.as_bytes()).unwrap();
            // A fragment of 200,000 bytes, except for its end.
            let fragment = [0x01, 0xff, 0, 0, 0, 0, 0, 3, 0x0d, 0x40, 0, 0, 0, 0];
            let _ = stream.write_all(&fragment[..if index % 2 == 0 { 14 } else { 0 }]);
            let _ = stream.write_all(&[b'x'; 199_000]);
            stream
        })
        .collect();
    let stats = app.wait_for("closed", |s| {
        s.web_sockets_dead + s.evicted + s.overloaded > 50
    });
    assert!(stats.held <= MOST, "{stats:?}");
    body.write_all(&[b'x'; 100_000]).unwrap();
    assert_eq!(Answer::read(&mut body, false).status, 200);
    socket.send(Message::text("still there")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("still there"));
    drop(attackers);
}

/// One address has its limit, and others are not affected.
#[test]
fn one_address_has_a_limit() {
    let app = App::start(DoorConfig::default().max_connections_per_address(20));
    let other = Crowd::gather(app.address, 10, 100, "known");
    let sockets: Vec<_> = (0..18).map(|_| open(&app, "/ws").unwrap()).collect();
    // Idle connections make room for new ones of the same address.
    for _ in 0..10 {
        visit(app.address);
    }
    let _more: Vec<_> = (0..2).map(|_| open(&app, "/ws").unwrap()).collect();
    // Connections in use do not.
    let mut stream = connect(app.address);
    let answer = Answer::read(&mut stream, false);
    assert_eq!(answer.status, 429, "{answer:?}");
    assert!(answer.head.contains("Retry-After: "), "{answer:?}");
    let stats = app.stats();
    assert!(stats.refused_address >= 1, "{stats:?}");
    assert_eq!(other.leave(), 10);
    drop(sockets);
    app.wait_for("place", |stats| stats.web_sockets <= 2);
    visit(app.address);
}

/// Connections in use are not closed; new clients are told to retry.
#[test]
fn a_full_house_says_so() {
    let app = App::start(DoorConfig::default().max_connections(4));
    let mut sockets: Vec<_> = (0..3).map(|_| open(&app, "/ws").unwrap()).collect();
    visit(app.address);
    sockets.push(open(&app, "/ws").unwrap());
    let answer = Answer::read(&mut connect(app.address), false);
    assert_eq!(answer.status, 503, "{answer:?}");
    for socket in &mut sockets {
        socket.send(Message::text("still there")).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text("still there"));
    }
    drop(sockets);
    app.wait_for("place", |stats| stats.web_sockets == 0);
    visit(app.address);
    assert!(app.stats().refused_full >= 1);
}
