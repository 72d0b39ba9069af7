//! The README's command for a Raspberry Pi, unchanged, with a camera program that exits if nobody reads its output.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Directory, looprtc, root};

/// The shell that runs the command, and everything started by it: a process group, killed at the end of the test.
struct Line(Child);

impl Drop for Line {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.0.wait();
    }
}

/// Returns the times of day shown in the frames of a recording.
fn clocks(recording: &[u8]) -> Vec<Duration> {
    const UUID: &[u8] = b"looprtc's clock.";
    let at = (0..recording.len()).filter(|at| recording[*at..].starts_with(UUID));
    let time = |at: usize| {
        let text = std::str::from_utf8(recording.get(at + 16..at + 32)?).ok()?;
        Some(Duration::from_micros(u64::from_str_radix(text, 16).ok()?))
    };
    at.filter_map(time).collect()
}

#[test]
fn the_line_for_a_raspberry_pi_works_and_shows_the_present() {
    let readme = std::fs::read_to_string(root("README.md")).expect("README.md");
    let line = readme.lines().find(|line| line.starts_with("rpicam-vid "));
    let line = line.expect("a line for the Raspberry Pi");
    let ours = format!(
        "'{}' serve --listen 127.0.0.1:0 ",
        env!("CARGO_BIN_EXE_looprtc")
    );
    let adapted = line.replace("cargo run --release -- serve ", &ours);
    assert_ne!(adapted, line);
    let path = format!(
        "{}:{}",
        root("tests/cli/bin").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let directory = Directory::new("camera");
    let log = std::fs::File::create(directory.0.join("log")).expect("a log");
    let child = Command::new("sh")
        .args(["-c", &adapted])
        .env("PATH", path)
        .env(
            "CAMERA_FILM",
            root("src/server/streams/assets/testcard.h264"),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .spawn();
    let mut line = Line(child.expect("sh runs"));
    let stdout = BufReader::new(line.0.stdout.take().expect("piped"));
    let mut urls = stdout.lines().map_while(Result::ok).filter_map(|text| {
        let url = text.strip_prefix("Open ")?.split(' ').next()?;
        Some(url.to_owned())
    });
    let url = urls.next().expect("it says where it is");
    // No viewers, for much longer than the camera's buffers last.
    std::thread::sleep(Duration::from_secs(6));
    let to = directory.0.join("seen");
    let whep = format!("{url}/whep/camera");
    let to = to.to_str().expect("text");
    let recorded = looprtc(&["record", &whep, to, "--seconds", "5"]);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let said = || std::fs::read_to_string(directory.0.join("log")).unwrap_or_default();
    assert!(recorded.status.success(), "{recorded:?}\n{}", said());
    let seen = std::fs::read(format!("{to}.h264")).unwrap_or_default();
    let clocks = clocks(&seen);
    assert!(clocks.len() > 30, "{} pictures\n{}", clocks.len(), said());
    let last = clocks.last().copied().unwrap_or_default();
    // Includes the program's own shutdown, which waits for the server's response.
    let late = now.saturating_sub(last);
    assert!(late < Duration::from_millis(1500), "{late:?} behind");
    assert!(!said().contains("no buffers available"), "{}", said());
}
