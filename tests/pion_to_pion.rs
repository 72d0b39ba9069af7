//! pion-to-pion with a real pion as the remote peer: our offerer with pion's answerer, pion's offerer with our
//! answerer, started in either order.
//!
//! Needs Go and pion as Debian packages them (`golang`, `golang-github-pion-webrtc.v3-dev`); without
//! them these tests fail. Each combination runs `LOOPRTC_PION_RUNS` times (default 2), up to
//! `LOOPRTC_PION_PARALLEL` (default 8) at once; one run takes the five seconds after which pion sends
//! its first text.
#![cfg(feature = "cli")]

use std::collections::HashSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// More time than a run needs, even on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// A program whose lines of output are collected.
struct Program {
    name: &'static str,
    child: Child,
    lines: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Program {
    fn start(name: &'static str, path: &Path, args: &[String]) -> Self {
        let mut child = Command::new(path)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", path.display()));
        let lines = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        collect(child.stdout.take().unwrap(), &lines);
        collect(child.stderr.take().unwrap(), &lines);
        Self { name, child, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.0.lock().unwrap().clone()
    }

    /// Waits for a line with this prefix, and returns the rest.
    fn wait_for(&mut self, beginning: &str, patience: Duration) -> Result<String, String> {
        let until = Instant::now() + patience;
        loop {
            let lines = self.lines.0.lock().unwrap();
            let found = lines.iter().find_map(|line| line.strip_prefix(beginning));
            if let Some(rest) = found {
                return Ok(rest.to_owned());
            }
            if Instant::now() > until {
                return Err(format!("{} never said {beginning:?}", self.name));
            }
            drop(
                self.lines
                    .1
                    .wait_timeout(lines, Duration::from_millis(50))
                    .unwrap(),
            );
            if let Ok(Some(status)) = self.child.try_wait() {
                // Its last output may still be in the pipe.
                thread::sleep(Duration::from_millis(50));
                let lines = self.lines();
                if let Some(rest) = lines.iter().find_map(|line| line.strip_prefix(beginning)) {
                    return Ok(rest.to_owned());
                }
                return Err(format!(
                    "{} ended ({status}) and never said {beginning:?}",
                    self.name
                ));
            }
        }
    }

    fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Returns `true` if it exited because nobody listened; `false` if it got through or is still trying.
    fn was_refused(&mut self, patience: Duration, got_through: impl Fn() -> bool) -> bool {
        let until = Instant::now() + patience;
        while self.wait(Duration::from_millis(20)).is_none() {
            if got_through() || Instant::now() > until {
                return false;
            }
        }
        self.wait_for("panic: Post ", Duration::from_secs(5))
            .is_ok_and(|why| why.contains("connection refused"))
    }

    /// Returns the texts in lines with this prefix.
    fn quoted(&self, beginning: &str) -> HashSet<String> {
        let lines = self.lines();
        let texts = lines
            .iter()
            .filter_map(|line| line.strip_prefix(beginning)?.strip_suffix('\''));
        texts.map(str::to_owned).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(
    output: impl std::io::Read + Send + 'static,
    lines: &Arc<(Mutex<Vec<String>>, Condvar)>,
) {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        use std::io::BufRead;
        for line in std::io::BufReader::new(output)
            .lines()
            .map_while(Result::ok)
        {
            lines.0.lock().unwrap().push(line);
            lines.1.notify_all();
        }
    });
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Ours,
    Pions,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum First {
    Offerer,
    Answerer,
}

struct Run {
    offerer: End,
    answerer: End,
    offer_address: String,
    answer_address: String,
}

impl Run {
    fn new(offerer: End, answerer: End) -> Self {
        Self {
            offerer,
            answerer,
            offer_address: format!("127.0.0.1:{}", free_port()),
            answer_address: format!("127.0.0.1:{}", free_port()),
        }
    }

    fn args(&self, end: End, more: &[&str]) -> Vec<String> {
        let mut args = vec![
            format!("-offer-address={}", self.offer_address),
            format!("-answer-address={}", self.answer_address),
        ];
        if end == End::Ours {
            args.extend(["--interval", "0.2"].map(str::to_owned));
            args.extend(more.iter().map(|arg| (*arg).to_owned()));
        }
        args
    }

    fn start_offerer(&self, more: &[&str]) -> Program {
        match self.offerer {
            End::Ours => {
                let args = self.args(End::Ours, more);
                Program::start("our offerer", &example("pion_to_pion_offer"), &args)
            }
            End::Pions => {
                Program::start("pion's offerer", pion("offer"), &self.args(End::Pions, &[]))
            }
        }
    }

    fn start_answerer(&self, more: &[&str]) -> Program {
        match self.answerer {
            End::Ours => {
                let args = self.args(End::Ours, more);
                Program::start("our answerer", &example("pion_to_pion_answer"), &args)
            }
            End::Pions => Program::start(
                "pion's answerer",
                pion("answer"),
                &self.args(End::Pions, &[]),
            ),
        }
    }

    /// Starts both, this one first.
    fn start(&self, first: First) -> (Program, Program) {
        match (first, self.offerer) {
            (First::Answerer, _) => {
                let answerer = self.start_answerer(&[]);
                // pion's offerer posts once, and panics if nobody listens.
                if self.offerer == End::Pions {
                    wait_until_listening(&self.answer_address);
                }
                (self.start_offerer(&[]), answerer)
            }
            (First::Offerer, End::Ours) => {
                let offerer = self.start_offerer(&[]);
                thread::sleep(Duration::from_millis(300));
                (offerer, self.start_answerer(&[]))
            }
            (First::Offerer, End::Pions) => {
                // It panics at once, because nobody listens yet, and is restarted until somebody does, as by a
                // supervisor.
                let mut offerer = self.start_offerer(&[]);
                assert!(offerer.was_refused(LONG, || false));
                let answerer = self.start_answerer(&[]);
                while offerer.was_refused(LONG, || !answerer.lines().is_empty()) {
                    offerer = self.start_offerer(&[]);
                }
                (offerer, answerer)
            }
        }
    }
}

/// Both open the channel and receive the other one's messages.
fn talk(offerer: &mut Program, answerer: &mut Program) -> Result<(), String> {
    for program in [&mut *offerer, &mut *answerer] {
        program.wait_for("Peer Connection State has changed: connected", LONG)?;
        let rest = program.wait_for("Data channel 'data'-'", LONG)?;
        let sentence =
            "' open. Random messages will now be sent to any connected DataChannels every";
        if !rest.contains(sentence) {
            return Err(format!("{} words it otherwise: {rest}", program.name));
        }
    }
    answerer.wait_for("New DataChannel data ", LONG)?;
    for program in [&mut *offerer, &mut *answerer] {
        program.wait_for("Message from DataChannel 'data': '", LONG)?;
    }
    for (from, to) in [(&*offerer, &*answerer), (&*answerer, &*offerer)] {
        let heard = to.quoted("Message from DataChannel 'data': '");
        // Earlier output may still be in the pipe.
        let until = Instant::now() + Duration::from_secs(2);
        while !heard.is_subset(&from.quoted("Sending '")) && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        let said = from.quoted("Sending '");
        if !heard
            .iter()
            .all(|text| text.len() == 15 && said.contains(text))
        {
            return Err(format!("{} heard {heard:?} of {said:?}", to.name));
        }
    }
    Ok(())
}

fn run_all(offerer: End, answerer: End, first: First) {
    let runs = number("LOOPRTC_PION_RUNS", 2);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..number("LOOPRTC_PION_PARALLEL", 8).min(runs) {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < runs {
                    let run = Run::new(offerer, answerer);
                    let (mut a, mut b) = run.start(first);
                    if let Err(why) = talk(&mut a, &mut b) {
                        let (a_said, b_said) = (a.lines().join("\n  "), b.lines().join("\n  "));
                        let story = format!(
                            "{why}\n {} said:\n  {a_said}\n {} said:\n  {b_said}",
                            a.name, b.name
                        );
                        failures.lock().unwrap().push(story);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {runs} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    println!("{offerer:?} offers, {answerer:?} answers, {first:?} first: {runs} of {runs}");
}

#[test]
fn our_offerer_pions_answerer_offerer_first() {
    run_all(End::Ours, End::Pions, First::Offerer);
}

#[test]
fn our_offerer_pions_answerer_answerer_first() {
    run_all(End::Ours, End::Pions, First::Answerer);
}

#[test]
fn pions_offerer_our_answerer_offerer_first() {
    run_all(End::Pions, End::Ours, First::Offerer);
}

#[test]
fn pions_offerer_our_answerer_answerer_first() {
    run_all(End::Pions, End::Ours, First::Answerer);
}

#[test]
fn ours_with_ours_in_every_form() {
    for (offerer, answerer) in [
        (&[] as &[&str], &[] as &[&str]),
        (&["--flow", "response"], &["--flow", "response"]),
        (&["--flow", "one-exchange"], &[]),
    ] {
        for first in [First::Offerer, First::Answerer] {
            let run = Run::new(End::Ours, End::Ours);
            let (mut a, mut b) = match first {
                First::Offerer => {
                    let a = run.start_offerer(offerer);
                    thread::sleep(Duration::from_millis(100));
                    (a, run.start_answerer(answerer))
                }
                First::Answerer => {
                    let b = run.start_answerer(answerer);
                    thread::sleep(Duration::from_millis(100));
                    (run.start_offerer(offerer), b)
                }
            };
            if let Err(why) = talk(&mut a, &mut b) {
                panic!(
                    "{offerer:?} {first:?}: {why}\n{:#?}\n{:#?}",
                    a.lines(),
                    b.lines()
                );
            }
        }
    }
}

#[test]
fn junk_thrown_at_our_answerer_leaves_the_session_with_pion_standing() {
    let run = Run::new(End::Pions, End::Ours);
    let (mut a, mut b) = run.start(First::Answerer);
    b.wait_for("Data channel 'data'-'", LONG).unwrap();
    for (path, body, status) in [
        ("/sdp", "junk", "400"),
        ("/sdp", r#"{"type":"offer","sdp":"junk"}"#, "409"),
        ("/candidate", "junk", "400"),
        (
            "/candidate",
            "candidate:1 1 udp 1 192.0.2.99 9 typ host",
            "200",
        ),
        ("/elsewhere", "", "404"),
    ] {
        let (length, host) = (body.len(), &run.answer_address);
        let request = format!("POST {path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}");
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        let mut response = String::new();
        use std::io::{Read, Write};
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut response).unwrap();
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path} {body}: {response}"
        );
    }
    if let Err(why) = talk(&mut a, &mut b) {
        panic!("{why}\n{:#?}\n{:#?}", a.lines(), b.lines());
    }
}

/// pion's answerer is killed: disconnected after 5 s, failed after 30 s, and the program exits.
#[test]
fn our_offerer_ends_with_an_error_when_pion_vanishes() {
    let run = Run::new(End::Ours, End::Pions);
    let (mut a, mut b) = run.start(First::Answerer);
    a.wait_for("Data channel 'data'-'", LONG).unwrap();
    b.child.kill().unwrap();
    let said = a.wait_for("Peer Connection has gone to failed exiting", LONG);
    said.unwrap_or_else(|why| panic!("{why}\n{:#?}", a.lines()));
    let status = a.wait(LONG).expect("it says that it exits");
    assert!(!status.success());
    let lines = a.lines();
    for state in ["disconnected", "failed"] {
        let line = format!("Peer Connection State has changed: {state}");
        assert!(lines.contains(&line), "{state} is missing in {lines:#?}");
    }
}

#[test]
fn both_ends_in_one_process() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_looprtc"));
    let mut args = vec!["pion-to-pion".to_owned()];
    // Their default ports are in the range of outgoing connections, so they may be in use.
    args.extend(Run::new(End::Ours, End::Ours).args(End::Ours, &["--texts", "3"]));
    let mut both = Program::start("looprtc pion-to-pion", &program, &args);
    let status = both.wait(LONG);
    let lines = both.lines();
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?} {lines:#?}"
    );
    for wanted in [
        "Data channel 'data'-'",
        "Message from DataChannel 'data': '",
    ] {
        let count = lines.iter().filter(|line| line.contains(wanted)).count();
        assert!(count >= 2, "{wanted} {count} times in {lines:#?}");
    }
}

/// pion's example, built once.
fn pion(name: &'static str) -> &'static Path {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pion-to-pion");
        for name in ["offer", "answer"] {
            let output = Command::new("go")
                .env("GO111MODULE", "off")
                .env("GOPATH", "/usr/share/gocode")
                .args(["build", "-o"])
                .arg(directory.join(name))
                .arg(format!(
                    "github.com/pion/webrtc/examples/pion-to-pion/{name}"
                ))
                .output()
                .map_err(|error| format!("go cannot be run: {error}"))?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
        }
        Ok(directory)
    });
    match built {
        Ok(directory) => {
            static PATHS: OnceLock<[PathBuf; 2]> = OnceLock::new();
            let paths = PATHS.get_or_init(|| [directory.join("offer"), directory.join("answer")]);
            if name == "offer" {
                &paths[0]
            } else {
                &paths[1]
            }
        }
        Err(why) => panic!(
            "pion is missing, and this test is nothing without it: {why}\nOn Debian: apt-get install \
             golang golang-github-pion-webrtc.v3-dev golang-github-gorilla-websocket-dev"
        ),
    }
}

/// One of our examples, which `cargo test` builds beside this test.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples")
        .join(name);
    assert!(
        path.exists(),
        "{} is not built: cargo build --examples",
        path.display()
    );
    path
}

/// Returns a port below those that the system uses for outgoing connections.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 100) as u16 * 100;
    loop {
        let port = 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn wait_until_listening(address: &str) {
    let until = Instant::now() + LONG;
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < until, "nobody listens at {address}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn number(variable: &str, default: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
        Err(_) => default,
    }
}
