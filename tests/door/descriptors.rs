//! A process without free descriptors.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use looprtc::server::door::DoorConfig;

use crate::app::{Answer, App, connect};
use crate::web_socket::open_at;

/// Tells the process that it is the server of this test, which needs one of its own.
const SERVER: &str = "LOOPRTC_DESCRIPTORS_TEST";

fn server() {
    let app = App::start(DoorConfig::default().max_connections(10_000));
    let mut hoard = Vec::new();
    println!("\nlistening {}", app.address.port());
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            // Uses up all descriptors except for a few.
            "hoard" => {
                while let Ok(file) = File::open("/dev/null") {
                    hoard.push(file);
                }
                hoard.truncate(hoard.len() - 4);
                println!("hoarded {}", hoard.len());
            }
            "free" => {
                hoard.clear();
                println!("freed 0");
            }
            "stats" => {
                let stats = app.stats();
                println!("failed {}", stats.accept_failed);
                println!("evicted {}", stats.evicted);
                println!("refused {}", stats.refused_full);
                println!("ticks {}", ticks());
            }
            other => panic!("{other}"),
        }
    }
}

/// Processor time of this process, in ms.
fn ticks() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

struct Server {
    child: Child,
    input: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Server {
    fn start() -> (Self, u16) {
        let me = std::env::current_exe().unwrap();
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -n 100; exec \"$0\" \"$@\""])
            .arg(me)
            .args(["--exact", "descriptors::without_descriptors", "--nocapture"])
            .env(SERVER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self {
            child,
            input,
            lines,
        };
        let port = server.number("listening");
        (server, u16::try_from(port).unwrap())
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.input, "{what}").unwrap();
    }

    /// Returns the number after this word, in its next line of output.
    fn number(&mut self, word: &str) -> u64 {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended");
            if let Some(number) = line.trim().strip_prefix(word) {
                return number.trim().parse().unwrap();
            }
        }
    }

    fn stats(&mut self) -> [u64; 4] {
        self.tell("stats");
        ["failed", "evicted", "refused", "ticks"].map(|word| self.number(word))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn without_descriptors() {
    if std::env::var_os(SERVER).is_some() {
        return server();
    }
    let (mut server, port) = Server::start();
    let to = ([127, 0, 0, 1], port).into();
    let visit = || {
        let mut stream = connect(to);
        stream
            .write_all(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        (Answer::read(&mut stream, false).status, stream)
    };
    assert_eq!(visit().0, 200);
    server.tell("hoard");
    assert!(server.number("hoarded") > 20);

    // Idle connections make room: each is answered, though there are more of them than descriptors.
    let kept: Vec<_> = (0..12).map(|_| visit()).collect();
    assert!(kept.iter().all(|(status, _)| *status == 200));
    let [failed, evicted, ..] = server.stats();
    assert!(failed > 0 && evicted > 0, "{failed} {evicted}");
    drop(kept);

    // Connections in use do not, and that is logged.
    let mut sockets = Vec::new();
    let told = loop {
        match open_at(to, "/ws") {
            Ok(socket) => sockets.push(socket),
            Err(why) => break why,
        }
        assert!(sockets.len() < 20, "there should be no descriptors left");
    };
    assert!(told.contains("503"), "{told}");
    let [_, _, refused, ticks] = server.stats();
    assert!(refused > 0 && !sockets.is_empty());

    // While nobody can be admitted, nothing loops.
    let waiting: Vec<_> = (0..3).map(|_| connect(to)).collect();
    std::thread::sleep(Duration::from_secs(2));
    let [.., after] = server.stats();
    println!(
        "{} ms of processor time in 2 s without descriptors",
        after - ticks
    );
    assert!(after - ticks < 1000, "{} ms in 2 s", after - ticks);
    drop(waiting);

    // Clients that arrive once there are descriptors again are served.
    server.tell("free");
    server.number("freed");
    let start = Instant::now();
    loop {
        let served = std::panic::catch_unwind(|| visit().0);
        if matches!(served, Ok(200)) {
            break;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "it never recovers"
        );
    }
    for socket in &mut sockets {
        socket.send(tungstenite::Message::text("a")).unwrap();
        assert_eq!(socket.read().unwrap(), tungstenite::Message::text("a"));
    }
}
