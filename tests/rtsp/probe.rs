//! `looprtc probe` against GStreamer's RTSP server.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A running camera; it ends with its standard input.
struct Gst {
    child: Child,
    port: u64,
}

impl Drop for Gst {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a camera with these options; `None` if GStreamer's server is not installed.
fn camera(options: &str) -> Option<Gst> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/cameras/gst_camera.py");
    let mut child = Command::new("/usr/bin/python3")
        .arg(script)
        .args(options.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    let _ = BufReader::new(stdout).read_line(&mut line);
    let ready: Value = serde_json::from_str(&line).unwrap_or_default();
    match ready["ready"].as_u64() {
        Some(port) => Some(Gst { child, port }),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            assert!(
                std::env::var_os("CI").is_none(),
                "NOT TESTED: gst-rtsp-server is not installed"
            );
            let text =
                "\n##### NOT TESTED: gst-rtsp-server is not installed (tests/setup) #####\n\n";
            let _ = std::io::stderr().write_all(text.as_bytes());
            None
        }
    }
}

fn probe(camera: &Gst, credentials: &str, options: &[&str]) -> (Value, String) {
    let url = format!("rtsp://{credentials}127.0.0.1:{}/cam", camera.port);
    let output = Command::new(env!("CARGO_BIN_EXE_looprtc"))
        .args(["probe", &url, "--json", "--seconds", "6"])
        .args(options)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .expect("looprtc runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = text.find('{').map(|at| &text[at..]);
    let json = json.and_then(|json| serde_json::from_str(json).ok());
    (json.unwrap_or_default(), errors)
}

fn track<'a>(report: &'a Value, kind: &str) -> &'a Value {
    let tracks = report["tracks"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let found = tracks.iter().find(|track| track["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}: {report:#}"))
}

fn quirks(report: &Value) -> Vec<u64> {
    let quirks = report["quirks"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    quirks
        .iter()
        .filter_map(|quirk| quirk["number"].as_u64())
        .collect()
}

/// Nothing is lost or damaged, and the rate is that of the camera, as far as a busy machine encodes in time.
fn is_whole(track: &Value) {
    assert_eq!(track["packets_lost"], 0, "{track:#}");
    assert_eq!(track["discontinuities"], 0, "{track:#}");
    assert!(track["frames"].as_u64() > Some(20), "{track:#}");
}

#[test]
fn h264_and_aac_behind_a_password() {
    let Some(camera) = camera("--video h264 --fps 15 --keyframes 30 --audio aac --auth digest")
    else {
        return;
    };
    let (report, errors) = probe(&camera, "cam:secret@", &[]);
    let (video, audio) = (track(&report, "video"), track(&report, "audio"));
    is_whole(video);
    assert_eq!(
        (&video["codec"], &video["width"], &video["height"]),
        (&"H.264".into(), &320.into(), &180.into())
    );
    assert_eq!(video["plays"], "yes", "{report:#} {errors}");
    assert_eq!(video["keyframe_distance_frames"], 30, "{video:#}");
    assert_eq!(video["b_frames"], 0);
    let rate = video["frame_rate"].as_f64().expect("a rate");
    assert!((10.0..17.0).contains(&rate), "{rate}");
    assert_eq!(
        (&audio["codec"], &audio["plays"]),
        (&"AAC".into(), &"converted".into())
    );
    assert_eq!(audio["codec_string"], "mp4a.40.2");
    let text = format!("{report} {errors}");
    assert!(!text.contains("secret"), "{text}");
    // A wrong password is said.
    let (_, errors) = probe(&camera, "cam:wrong@", &[]);
    assert!(
        errors.contains("the camera refused the password"),
        "{errors}"
    );
    // The exchange has no password, and no answer to a challenge.
    let (_, _) = probe(&camera, "cam:secret@", &["--verbose"]);
    let url = format!("rtsp://cam:secret@127.0.0.1:{}/cam", camera.port);
    let output = Command::new(env!("CARGO_BIN_EXE_looprtc"))
        .args(["probe", &url, "--verbose", "--seconds", "1"])
        .output()
        .expect("looprtc runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("> DESCRIBE rtsp://127.0.0.1") && text.contains("< RTSP/1.0 401"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
    assert!(text.contains("Browsers\n  video: all play it\n"), "{text}");
}

#[test]
fn h265_and_opus_by_udp() {
    let Some(camera) = camera("--video h265 --fps 10 --keyframes 20 --audio opus") else {
        return;
    };
    let (report, errors) = probe(&camera, "", &["--transport", "udp"]);
    let video = track(&report, "video");
    is_whole(video);
    assert_eq!(
        (&report["transport"], &video["codec"]),
        (&"UDP".into(), &"H.265".into()),
        "{errors}"
    );
    assert_eq!(
        (&video["plays"], &video["width"]),
        (&"some".into(), &320.into())
    );
    assert!(
        report["advice"].to_string().contains("choose H.264"),
        "{report:#}"
    );
    assert_eq!(track(&report, "audio")["plays"], "yes");
}

#[test]
fn b_frames_and_sets_in_the_description_and_large_packets() {
    let options = "--video h264 --b-frames 2 --sets out-of-band --mtu 9000 --kbps 4000 --keyframes 100 --fps 15";
    let Some(camera) = camera(options) else {
        return;
    };
    let (report, errors) = probe(&camera, "", &[]);
    let video = track(&report, "video");
    is_whole(video);
    assert!(video["b_frames"].as_u64() > Some(10), "{report:#} {errors}");
    assert_eq!(video["plays"], "no");
    let quirks = quirks(&report);
    // B-frames, and large packets.
    assert!(
        [33, 34].iter().all(|number| quirks.contains(number)),
        "{quirks:?}"
    );
    let advice = report["advice"].to_string();
    assert!(
        advice.contains("B-frames off") && advice.contains("interval to 2 s"),
        "{advice}"
    );
}

#[test]
fn mjpeg_and_g711() {
    let Some(camera) = camera("--video jpeg --fps 10 --audio pcma") else {
        return;
    };
    let (report, errors) = probe(&camera, "", &[]);
    let (video, audio) = (track(&report, "video"), track(&report, "audio"));
    is_whole(video);
    assert_eq!(
        (&video["codec"], &video["width"], &video["plays"]),
        (&"MJPEG".into(), &320.into(), &"no".into()),
        "{errors}"
    );
    assert_eq!(
        (&audio["codec"], &audio["plays"]),
        (&"G.711 A-law".into(), &"yes".into())
    );
    assert!(report["advice"].to_string().contains("instead of MJPEG"));
}

#[test]
fn aggregates_latm_and_plain_samples() {
    for (options, codec, plays) in [
        ("--video h264 --aggregate --audio latm", "AAC", "converted"),
        (
            "--video h264 --audio l16",
            "uncompressed audio (L16)",
            "converted",
        ),
        ("--video h264 --audio g722", "G.722", "yes"),
    ] {
        let Some(camera) = camera(options) else {
            return;
        };
        let (report, errors) = probe(&camera, "", &[]);
        is_whole(track(&report, "video"));
        let audio = track(&report, "audio");
        assert_eq!(
            (&audio["codec"], &audio["plays"]),
            (&codec.into(), &plays.into()),
            "{report:#} {errors}"
        );
        is_whole(audio);
    }
}

#[test]
fn what_is_no_camera() {
    for (url, says) in [
        ("rtsp://127.0.0.1:9/cam", "nothing listens on its port 9"),
        (
            "rtsp://no-such-host.invalid/cam",
            "there is no host named no-such-host.invalid",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_looprtc"))
            .args(["probe", url])
            .output()
            .expect("looprtc runs");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains(says), "{errors}");
        assert_eq!(output.status.code(), Some(1));
    }
    let output = Command::new(env!("CARGO_BIN_EXE_looprtc"))
        .args(["probe", "http://127.0.0.1/cam"])
        .output()
        .expect("looprtc runs");
    assert_eq!(output.status.code(), Some(2));
}
