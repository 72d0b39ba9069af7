//! `looprtc publish` and `looprtc play`, against our server.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::server::{PATIENCE, Server, Setup};

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_looprtc"));
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    program(args).output().unwrap()
}

fn media(file: &str) -> String {
    format!("{}/tests/data/media/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// A temporary directory, removed at the end of the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("looprtc-whip-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The running program, killed when it is dropped.
struct Working {
    child: Child,
    output: BufReader<Box<dyn Read + Send>>,
}

impl Working {
    fn start(args: &[&str]) -> Self {
        let mut child = program(args).stderr(Stdio::piped()).spawn().unwrap();
        let output: Box<dyn Read + Send> = Box::new(child.stderr.take().unwrap());
        Self {
            child,
            output: BufReader::new(output),
        }
    }

    /// Waits for a line that contains this.
    fn says(&mut self, text: &str) {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let length = self.output.read_line(&mut line).unwrap();
            assert!(length > 0, "it ended without {text:?}:\n{seen}");
            if line.contains(text) {
                return;
            }
            seen += &line;
        }
    }

    fn interrupt(mut self) -> bool {
        let pid = self.child.id();
        let killed = Command::new("kill")
            .args(["-INT", &pid.to_string()])
            .status();
        assert!(killed.unwrap().success());
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the number of frames that a player finds in a file.
fn frames(dir: &Path, file: &str) -> u64 {
    let path = dir.join(file);
    let run = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-count_frames",
            "-show_entries",
            "stream=nb_read_frames",
        ])
        .args(["-of", "csv=p=0"])
        .arg(&path)
        .output()
        .expect("ffprobe (tests/setup installs ffmpeg)");
    let text = String::from_utf8_lossy(&run.stdout).trim().to_owned();
    text.parse()
        .unwrap_or_else(|_| panic!("{}: {text:?}", path.display()))
}

#[test]
fn a_file_is_published_and_saved() {
    let server = Server::start(Setup::default());
    let (dir, film) = (Dir::new("film"), media("movie.mp4"));
    let mut publisher = Working::start(&["publish", "--loop", &film, &server.url("/whip/cam")]);
    publisher.says("connected");
    let url = server.url("/whep/cam");
    let played = run(&["play", &url, "--seconds", "2", "--dir", dir.path()]);
    assert!(
        played.status.success(),
        "{}",
        String::from_utf8_lossy(&played.stderr)
    );
    assert!(publisher.interrupt(), "Ctrl-C is a good end");
    server.until("no sessions", |s| (s.publishers, s.viewers) == (0, 0));
    let pictures = frames(&dir.0, "cam.h264");
    let sound = frames(&dir.0, "cam.ogg");
    assert!(
        pictures >= 10 && sound >= 40,
        "{pictures} pictures, {sound} frames of sound"
    );
    // Played once: the program exits by itself, successfully.
    let once = run(&["publish", &film, &server.url("/whip/cam")]);
    assert!(
        once.status.success(),
        "{}",
        String::from_utf8_lossy(&once.stderr)
    );
}

#[test]
fn viewers_come_back_when_the_server_does() {
    let server = Server::start(Setup::default());
    let (dir, address) = (Dir::new("back"), server.address);
    let url = server.url("/whep/card");
    let mut player = Working::start(&["play", &url, "--dir", dir.path()]);
    player.says("connected");
    std::thread::sleep(Duration::from_millis(500));
    drop(server);
    // Its peers are silent from now on, which is noticed after a while.
    player.says("silent");
    let server = Server::start(Setup {
        address: Some(address),
        ..Setup::default()
    });
    player.says("connected");
    server.until("the viewer", |s| s.viewers == 1);
    std::thread::sleep(Duration::from_secs(1));
    assert!(player.interrupt());
    server.until("no sessions", |s| s.viewers == 0);
    assert!(frames(&dir.0, "card.ivf") >= 5 && frames(&dir.0, "card-2.ivf") >= 5);
}

#[test]
fn passed_on_as_rtp() {
    let server = Server::start(Setup::default());
    let dir = Dir::new("rtp");
    let sdp = dir.0.join("card.sdp");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = socket.local_addr().unwrap().to_string();
    let url = server.url("/whep/card");
    let sdp_text = sdp.to_str().unwrap();
    let player = Working::start(&[
        "play", &url, "--rtp", &to, "--sdp", sdp_text, "--codec", "vp8",
    ]);
    let mut packet = [0; 2048];
    for _ in 0..20 {
        let length = socket.recv(&mut packet).unwrap();
        assert!(length > 12 && packet[0] >> 6 == 2 && packet[1] & 0x7F == 96);
    }
    let text = std::fs::read_to_string(&sdp).unwrap();
    assert!(text.contains("VP8/90000"), "{text}");
    assert!(player.interrupt());
}

#[test]
fn what_does_not_work_is_said() {
    let server = Server::start(Setup::default());
    let film = media("movie.mp4");
    for (args, status, says) in [
        (
            vec!["play", &server.url("/whep/other")],
            1,
            "is the name in the URL right?",
        ),
        (
            vec!["publish", "/nothing.mp4", &server.url("/whip/cam")],
            1,
            "/nothing.mp4",
        ),
        (
            vec!["publish", &film, &server.url("/whip/card")],
            1,
            "source of its own",
        ),
        (vec!["publish", &film], 2, "URL"),
        (vec!["play", "cam"], 2, "http://"),
        (
            vec!["play", "http://127.0.0.1:9/whep/x", "--retry", "0"],
            1,
            "cannot be reached",
        ),
        (vec!["play", "http://u:secret@127.0.0.1/"], 2, "token"),
        (
            vec!["play", "http://a/", "--no-video", "--no-audio"],
            2,
            "leave nothing to receive",
        ),
    ] {
        // Without waiting for a retry.
        let more: &[&str] = match args.contains(&"--retry") || status == 2 {
            true => &[],
            false => &["--retry", "0"],
        };
        let args: Vec<&str> = args.iter().copied().chain(more.iter().copied()).collect();
        let run = run(&args);
        let text = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(status), "{args:?}: {text}");
        assert!(
            text.contains(says) && !text.contains("secret"),
            "{args:?}: {text}"
        );
    }
}

/// A permanent failure ends with an error, and the server is told.
#[test]
fn the_session_ends_with_an_error_and_the_server_is_told() {
    let server = Server::start(Setup::default());
    let url = server.url("/whip/cam");
    // MPEG-TS: packets of 188 bytes.
    let packet = [&b"G@\0\x10"[..], &[0xff; 184]].concat();
    let mut child = program(&["publish", "-", &url])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &packet.repeat(100)).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("MPEG transport stream") && text.contains("-f h264"),
        "{text}"
    );
    server.until("no sessions", |s| s.publishers == 0);

    // The test card by its name, and a viewer without disk space for it: a file system of 64 KiB.
    let mut publisher = Working::start(&["publish", "testcard", &url]);
    publisher.says("connected");
    let dir = Dir::new("full");
    let mut command = Command::new("unshare");
    command.args([
        "-m",
        "sh",
        "-c",
        r#"mount -t tmpfs -o size=64k none "$0" && exec "$@""#,
    ]);
    command.args([dir.path(), env!("CARGO_BIN_EXE_looprtc"), "play"]);
    command.args([&server.url("/whep/cam"), "--dir", dir.path()]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("unshare failed") || text.contains("permission denied") {
        assert!(std::env::var_os("CI").is_none(), "NOT RUN: {text}");
        println!("NOT RUN: the full disk: {text}");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("No space left"), "{text}");
    // At once, not after the connection has been silent for long.
    assert_eq!(server.stats().viewers, 0, "{text}");
}

/// A stream that sends nothing yields no recording.
#[test]
fn nothing_received_is_an_error() {
    let server = Server::start(Setup::default());
    let dir = Dir::new("nothing");
    let args = [
        "play",
        &server.url("/whep/cam"),
        "--seconds",
        "1",
        "--dir",
        dir.path(),
    ];
    let output = run(&args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("sent no media"), "{text}");
}
