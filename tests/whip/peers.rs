//! Real peers as clients: one publishes and another one watches it, through our server.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::server::{PATIENCE, Server, Setup};

fn interop(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/interop")
        .join(file)
}

/// Returns `true` if this peer is installed. If not, that is reported, and fails in continuous integration.
fn is_there(peer: &str) -> bool {
    let check = Command::new(interop("peer"))
        .args([peer, "--check"])
        .output();
    let check = check.unwrap();
    if check.status.success() {
        return true;
    }
    let why = String::from_utf8_lossy(&check.stderr).trim().to_owned();
    let is_ci = std::env::var_os("CI").is_some();
    assert!(!is_ci, "NOT TESTED: WHIP with {peer}: {why}");
    let text = format!("\n##### NOT TESTED: WHIP with {peer}: {why} #####\n\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
    false
}

/// A peer that publishes, until it is dropped.
struct Publisher(Child);

impl Publisher {
    fn start(peer: &str, url: &str, media: &str, args: &[&str]) -> Self {
        let child = Command::new(interop("whip.py"))
            .args([peer, url, "--media", media])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut publisher = Self(child);
        let mut output = BufReader::new(publisher.0.stdout.take().unwrap());
        loop {
            let mut line = String::new();
            let length = output.read_line(&mut line).unwrap();
            assert!(length > 0, "{peer} ended before it was ready");
            if line.trim() == "ready" {
                std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
                return publisher;
            }
        }
    }

    fn leave(mut self) {
        drop(self.0.stdin.take());
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                assert!(status.success(), "the publisher left with {status}");
                return;
            }
            assert!(Instant::now() < end, "the publisher does not leave");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch(peer: &str, url: &str, media: &str, args: &[&str]) {
    let run = Command::new(interop("whip.py"))
        .args([peer, url, "--media", media, "--watch", "30"])
        .args(args)
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(
        run.status.success(),
        "{peer} watches: {}\n{out}\n{err}",
        run.status
    );
    println!("{peer} watches: {out}");
}

fn from_one_to_another(
    setup: Setup,
    (publisher, publish): (&str, &[&str]),
    (viewer, view): (&str, &[&str]),
) {
    const MEDIA: &str = "video:VP8,audio:opus";
    if !is_there(publisher) || !is_there(viewer) {
        return;
    }
    let server = Server::start(setup);
    let publishing = Publisher::start(publisher, &server.url("/whip/cam"), MEDIA, publish);
    watch(viewer, &server.url("/whep/cam"), MEDIA, view);
    publishing.leave();
    server.until("no sessions", |s| (s.publishers, s.viewers) == (0, 0));
    let restarts = [publish, view].map(|args| u64::from(args.contains(&"--restart")));
    assert_eq!(server.stats().restarts, restarts.iter().sum::<u64>());
}

#[test]
fn chromium_publishes_and_aiortc_watches() {
    from_one_to_another(
        Setup::default(),
        ("chromium", &["--restart"]),
        ("aiortc", &[]),
    );
}

#[test]
fn aiortc_publishes_and_chromium_watches() {
    from_one_to_another(
        Setup::default(),
        ("aiortc", &[]),
        ("chromium", &["--restart"]),
    );
}

/// webrtcbin has an RSA certificate, which only OpenSSL's DTLS supports.
#[cfg(feature = "openssl")]
#[test]
fn gstreamer_publishes_and_watches() {
    let setup = Setup {
        crypto: Some(looprtc::proto::peer::CryptoBackend::OpenSsl),
        ..Setup::default()
    };
    from_one_to_another(setup, ("gstreamer", &[]), ("gstreamer", &[]));
}
