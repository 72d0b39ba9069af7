//! A real peer in a process of its own, controlled by lines of JSON (tests/interop/README.md).

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Maximum lifetime of a peer, whatever happens to the test.
const LIFETIME_SECONDS: u64 = 150;

/// Time for a peer to exit after its stdin was closed. A browser needs a while.
const LEAVE: Duration = Duration::from_secs(5);

/// The exit code of `tests/interop/peer` for "not installed".
const NOT_INSTALLED: i32 = 77;

pub struct RealPeer {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    reports: Receiver<Value>,
}

/// Returns the reason if the peer is not installed. Reports it, because a skipped test looks like one that has passed.
pub fn installed(name: &str) -> Result<(), String> {
    let check = Command::new(script())
        .args([name, "--check"])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{}: {e}", script().display()))?;
    if check.status.code() != Some(NOT_INSTALLED) && !check.status.success() {
        return Err(format!("peer {name} --check: {}", check.status));
    }
    if check.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&check.stderr).trim().to_owned())
}

fn script() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "interop", "peer"]
        .iter()
        .collect()
}

/// Returns the reason if peers cannot be put behind a bad link.
pub fn bad_link_check() -> Result<(), String> {
    let check = Command::new(behind_bad_link())
        .arg("--check")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{}: {e}", behind_bad_link().display()))?;
    match check.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&check.stderr).trim().to_owned()),
    }
}

fn behind_bad_link() -> PathBuf {
    let path = ["tests", "interop", "netlab", "behind_bad_link"];
    [&[env!("CARGO_MANIFEST_DIR")], &path[..]]
        .concat()
        .iter()
        .collect()
}

impl RealPeer {
    pub fn start(name: &str, role: &str, args: &[&str]) -> Self {
        Self::start_by(&[], name, role, args)
    }

    /// Starts it in a namespace of its own behind a bad link, described in the format of `behind_bad_link`.
    pub fn start_behind(link: &[String], name: &str, role: &str, args: &[&str]) -> Self {
        let command = behind_bad_link().display().to_string();
        let by = [&[command], link].concat();
        Self::start_by(&by, name, role, args)
    }

    /// Starts it by this command; its arguments follow it.
    pub fn start_by(by: &[String], name: &str, role: &str, args: &[&str]) -> Self {
        let mut child = Command::new("timeout")
            .args(["-k", "5", &LIFETIME_SECONDS.to_string()])
            .args(by)
            .arg(script())
            .args([name, "--role", role])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // In a process group, so that all of it can be killed together.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("starting the peer {name}: {e}"));
        let (sender, reports) = channel();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        read_lines(stdout, sender.clone(), |line| {
            serde_json::from_str(line).unwrap_or_else(
                |e| json!({"type": "error", "message": format!("not JSON ({e}): {line}")}),
            )
        });
        read_lines(
            stderr,
            sender,
            |line| json!({"type": "log", "message": line}),
        );
        Self {
            name: name.to_owned(),
            child,
            stdin,
            reports,
        }
    }

    /// Returns the next report, if there is one. `Err` once the process has closed its output.
    pub fn report(&mut self) -> Result<Option<Value>, String> {
        match self.reports.try_recv() {
            Ok(report) => Ok(Some(report)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                let how = match self.child.try_wait() {
                    Ok(Some(status)) => status.to_string(),
                    _ => "its outputs are closed".to_owned(),
                };
                Err(format!("the peer {} has left: {how}", self.name))
            }
        }
    }

    pub fn say(&mut self, message: &Value) {
        let Some(stdin) = &mut self.stdin else {
            panic!("the peer {} has been ended", self.name);
        };
        let line = format!("{message}\n");
        if let Err(e) = stdin
            .write_all(line.as_bytes())
            .and_then(|()| stdin.flush())
        {
            panic!("telling the peer {} {message}: {e}", self.name);
        }
    }

    /// Closes its stdin, waits for it to exit, and kills it if it does not.
    fn end(&mut self) -> Option<ExitStatus> {
        drop(self.stdin.take());
        let end = Instant::now() + LEAVE;
        while Instant::now() < end {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for RealPeer {
    fn drop(&mut self) {
        if self.end().is_some() {
            return;
        }
        eprintln!("the peer {} does not leave; killing it", self.name);
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

fn read_lines(
    from: impl Read + Send + 'static,
    to: Sender<Value>,
    parse: impl Fn(&str) -> Value + Send + 'static,
) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { break };
            if to.send(parse(&line)).is_err() {
                break;
            }
        }
    });
}
