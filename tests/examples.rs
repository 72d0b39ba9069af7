//! Runs the examples and checks that they do their work: those with a page in a real Chromium, and in Firefox.
//!
//! `cargo test` builds the examples as well; `cargo test --test examples` alone runs those built last.
//!
//! Without Chromium, Node or playwright-core (`tests/setup` installs them) the pages are not tested. That
//! is said loudly, and fails when the environment variable `CI` is set.
#![cfg(all(feature = "server", any(feature = "aws-lc", feature = "rust-crypto")))]

#[path = "support/chromium.rs"]
mod chromium;
#[path = "support/watching.rs"]
mod watching;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

/// The executable of an example. `cargo test` builds all of them, beside the directory of this test.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples").join(name);
    let is_there = program.is_file();
    assert!(
        is_there,
        "{} is not built; run `cargo build --examples`",
        program.display()
    );
    program
}

/// Tests that measure frames in real time need the processor: they run alone, all others together.
static PROCESSOR: RwLock<()> = RwLock::new(());

fn shared() -> impl Drop {
    PROCESSOR.read().unwrap_or_else(PoisonError::into_inner)
}

fn alone() -> impl Drop {
    PROCESSOR.write().unwrap_or_else(PoisonError::into_inner)
}

/// A running example, killed when it is dropped.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(name: &str, args: &[&str]) -> Self {
        let mut child = Command::new(example(name))
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Returns the rest of the first line with this prefix.
    fn line(&mut self, begin: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let length = self.output.read_line(&mut line).unwrap();
            assert!(length > 0, "it ended without a line {begin:?}:\n{seen}");
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.trim_end().to_owned();
            }
            seen += &line;
        }
    }

    fn wait(&mut self, limit: Duration) -> ExitStatus {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn data_channels_flow_control() {
    let _guard = shared();
    let mut example = Running::start("data_channels_flow_control", &["--seconds", "2"]);
    for _ in 0..2 {
        let line = example.line("Throughput: ");
        let rate: f64 = line.split(' ').next().unwrap().parse().unwrap();
        assert!(rate > 0.5, "{line}");
    }
    assert!(example.wait(Duration::from_secs(10)).success());
}

/// Every example that sends a video from a file: the first keyframe may be lost, and the file has no other.
#[test]
fn a_page_that_asks_for_a_keyframe_gets_one() {
    let _guard = shared();
    let film = Path::new(env!("CARGO_TARGET_TMPDIR")).join("one-keyframe.ivf");
    let film = film.to_str().unwrap();
    let made = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=160x120:rate=30:duration=20",
        ])
        .args([
            "-c:v",
            "libvpx",
            "-g",
            "9999",
            "-b:v",
            "100k",
            "-cpu-used",
            "8",
        ])
        .args(["-deadline", "realtime", "-auto-alt-ref", "0", film])
        .status();
    if !made.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "NOT TESTED: there is no ffmpeg"
        );
        return println!("NOT TESTED: there is no ffmpeg");
    }
    let http = ["--http", "127.0.0.1:0"];
    let examples: [(&str, &[&str]); 3] = [
        ("play_from_disk", &["--video", film]),
        ("insertable_streams", &["--video", film]),
        ("bandwidth_estimation_from_disk", &[film]),
    ];
    for (name, args) in examples {
        let mut example = Running::start(name, &[&http[..], args].concat());
        let url = example.line("Open ").replace(" in a browser", "");
        let mut page = watching::Watching::begin(&url);
        page.frames(10);
        let took = page.keyframe();
        println!("{name}: a keyframe {took:?} after it was asked for");
        assert!(took < Duration::from_secs(1), "{name}: {took:?}");
        // And the video continues after it.
        page.frames(30);
    }
}

#[test]
fn embed_in_own_loop() {
    let _guard = shared();
    let mut example = Running::start("embed_in_own_loop", &["--listen", "127.0.0.1:0"]);
    let address: SocketAddr = example.line("Listening at ").parse().unwrap();
    example.line("Channel open");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    for text in ["hello\n", "again\n"] {
        socket.send_to(text.as_bytes(), address).unwrap();
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], text.as_bytes());
        assert_eq!(example.line(text.trim_end()), "");
    }
    // Its own timer continues beside it.
    example.line("2 relayed; ");
}

fn in_chromium(scenario: &str, name: &str) {
    chromium::in_chromium(scenario, example(name));
}

fn in_real_time(scenario: &str, name: &str) {
    chromium::in_real_time(scenario, example(name));
}

#[test]
fn data_channels() {
    let _guard = shared();
    in_chromium("data_channels", "data_channels");
    in_chromium("data_channels_paste", "data_channels");
}

#[test]
fn data_channels_create() {
    let _guard = shared();
    in_chromium("data_channels_create", "data_channels_create");
    in_chromium("data_channels_create_paste", "data_channels_create");
}

#[test]
fn ice_restart() {
    let _guard = shared();
    in_chromium("ice_restart", "ice_restart");
}

#[test]
fn trickle_ice() {
    let _guard = shared();
    in_chromium("trickle_ice", "trickle_ice");
}

#[test]
fn ice_single_port() {
    let _guard = shared();
    in_chromium("ice_single_port", "ice_single_port");
}

#[test]
fn ice_tcp() {
    let _guard = shared();
    in_chromium("ice_tcp", "ice_tcp");
}

#[test]
fn play_from_disk() {
    let _guard = alone();
    in_real_time("play_from_disk", "play_from_disk");
}

#[test]
fn reflect() {
    let _guard = alone();
    in_real_time("reflect", "reflect");
}

#[test]
fn rtp_to_webrtc() {
    let _guard = alone();
    for sender in ["vp8", "h264", "gstreamer"] {
        in_real_time(&format!("rtp_to_webrtc_{sender}"), "rtp_to_webrtc");
    }
}

#[test]
fn rtp_forwarder() {
    let _guard = alone();
    for codec in ["vp8", "h264"] {
        in_real_time(&format!("rtp_forwarder_{codec}"), "rtp_forwarder");
    }
}

#[test]
fn save_to_disk() {
    let _guard = alone();
    in_real_time("save_to_disk", "save_to_disk");
}

#[test]
fn broadcast() {
    let _guard = alone();
    in_real_time("broadcast", "broadcast");
}

#[test]
fn insertable_streams() {
    let _guard = alone();
    in_real_time("insertable_streams", "insertable_streams");
}

#[test]
fn play_from_disk_renegotiation() {
    let _guard = alone();
    in_chromium(
        "play_from_disk_renegotiation",
        "play_from_disk_renegotiation",
    );
}

#[test]
fn simulcast() {
    let _guard = alone();
    in_real_time("simulcast", "simulcast");
}

#[test]
fn swap_tracks() {
    let _guard = alone();
    in_real_time("swap_tracks", "swap_tracks");
}

#[test]
fn rtcp_processing() {
    let _guard = shared();
    in_chromium("rtcp_processing", "rtcp_processing");
}

#[test]
fn bandwidth_estimation_from_disk() {
    let _guard = alone();
    in_chromium(
        "bandwidth_estimation_from_disk",
        "bandwidth_estimation_from_disk",
    );
}

/// Runs the examples that differ most between browsers: data channels, trickled candidates, restarts, ICE-TCP, RTCP.
#[test]
fn firefox_connects() {
    let _guard = shared();
    for name in [
        "data_channels",
        "trickle_ice",
        "ice_restart",
        "ice_tcp",
        "rtcp_processing",
    ] {
        chromium::in_firefox(name, example(name));
    }
}

#[test]
fn firefox_shows_and_sends_video() {
    let _guard = alone();
    for name in ["simulcast", "insertable_streams"] {
        chromium::in_firefox(name, example(name));
    }
}

/// The others take four minutes: `cargo test --test examples firefox -- --ignored`.
#[test]
#[ignore = "four minutes; the two tests above are the part of it that is always run"]
fn firefox_runs_all_others() {
    let _guard = alone();
    for (scenario, name) in [
        ("data_channels_paste", "data_channels"),
        ("data_channels_create", "data_channels_create"),
        ("data_channels_create_paste", "data_channels_create"),
        ("ice_single_port", "ice_single_port"),
        ("play_from_disk", "play_from_disk"),
        (
            "play_from_disk_renegotiation",
            "play_from_disk_renegotiation",
        ),
        ("reflect", "reflect"),
        ("rtp_to_webrtc_vp8", "rtp_to_webrtc"),
        ("rtp_to_webrtc_gstreamer", "rtp_to_webrtc"),
        ("rtp_forwarder_vp8", "rtp_forwarder"),
        ("save_to_disk", "save_to_disk"),
        ("broadcast", "broadcast"),
        ("swap_tracks", "swap_tracks"),
        (
            "bandwidth_estimation_from_disk",
            "bandwidth_estimation_from_disk",
        ),
    ] {
        chromium::in_firefox(scenario, example(name));
    }
}
