//! ffprobe and ffmpeg, if they are installed.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns `true` if FFmpeg is installed. If not, reports it, and fails in CI.
pub fn is_here() -> bool {
    let works = |name| {
        Command::new(name)
            .arg("-version")
            .output()
            .is_ok_and(|out| out.status.success())
    };
    let here = works("ffmpeg") && works("ffprobe");
    if !here {
        let why = "ffmpeg and ffprobe are not installed (Debian: apt-get install ffmpeg)";
        eprintln!("NOT TESTED: {why}");
        assert!(std::env::var_os("CI").is_none(), "NOT TESTED: {why}");
    }
    here
}

/// Runs a program and returns its output. Anything on its standard error fails the test: the callers ask for errors
/// only.
pub fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success() && errors.is_empty(),
        "{program} {args:?}: {errors}"
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A packet as ffprobe reports it.
#[derive(Debug)]
pub struct Packet {
    /// Seconds; `None` for byte streams.
    pub time: Option<f64>,
    pub size: usize,
    pub keyframe: bool,
}

pub fn packets(file: &Path) -> Vec<Packet> {
    stream_packets(file, 0)
}

/// Returns the packets of one of several streams.
pub fn stream_packets(file: &Path, stream: usize) -> Vec<Packet> {
    let entries = "packet=pts_time,size,flags";
    let stream = stream.to_string();
    let args = [
        "-v",
        "error",
        "-select_streams",
        &stream,
        "-show_entries",
        entries,
    ];
    let args = [&args[..], &["-of", "csv=p=0", file.to_str().unwrap()]].concat();
    let text = run("ffprobe", &args);
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let fields: Vec<_> = line.split(',').collect();
            Packet {
                time: fields[0].parse().ok(),
                size: fields[1].parse().unwrap(),
                keyframe: fields[2].contains('K'),
            }
        })
        .collect()
}

/// Returns the duration that ffprobe reports, in seconds.
pub fn duration(file: &Path) -> f64 {
    let entries = "format=duration";
    let args = [
        "-v",
        "error",
        "-show_entries",
        entries,
        "-of",
        "csv=p=0",
        file.to_str().unwrap(),
    ];
    run("ffprobe", &args).trim().parse().unwrap()
}

/// Decodes from the first to the last frame; any error fails the test. Returns a checksum per frame.
pub fn decode(file: &Path) -> Vec<String> {
    // One thread: with more, ffmpeg 5.1 decodes H.265 pictures of several slices differently each time.
    let options = ["-nostdin", "-v", "error", "-xerror", "-threads", "1", "-i"];
    let path = file.to_str().unwrap();
    let text = run(
        "ffmpeg",
        &[&options[..], &[path, "-f", "framemd5", "-"]].concat(),
    );
    let frames = text.lines().filter(|line| !line.starts_with('#'));
    frames
        .map(|line| line.rsplit(',').next().unwrap().trim().to_string())
        .collect()
}

/// Decodes data from a pipe; any error fails the test.
pub fn decode_pipe(file: &Path) {
    let out = Command::new("ffmpeg")
        // Not `-xerror`: at the end of a pipe, ffmpeg's WAV reader also reports errors for files of its own writer.
        .args(["-v", "error", "-i", "-", "-f", "null", "-"])
        .stdin(std::process::Stdio::from(
            std::fs::File::open(file).unwrap(),
        ))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success() && errors.is_empty(),
        "{}: {errors}",
        file.display()
    );
}

/// A temporary file of this test, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str, contents: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("looprtc-{}-{name}", std::process::id()));
        std::fs::write(&path, contents).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
