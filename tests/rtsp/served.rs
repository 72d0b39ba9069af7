//! Cameras of several makes through `looprtc serve`, watched by Chromium: frames, freezes, audio, time to the first picture.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cameras::RealCamera;
use super::chromium::{BUSY, load, measured, say};

/// Frames per second, and frames between two keyframes, of all cameras.
const RATE: f64 = 15.0;
const KEYFRAMES: f64 = 30.0;

/// Video needs the processor: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct Case {
    name: &'static str,
    /// `None`: the camera is not GStreamer's and does not count.
    options: Option<&'static str>,
    /// Behind the URL.
    flags: &'static str,
    /// MIME type of the audio that a browser has to play, if any.
    audio: Option<&'static str>,
}

const CASES: &[Case] = &[
    Case {
        name: "digest",
        options: Some("--auth digest --audio pcma"),
        flags: "",
        audio: Some("audio/PCMA"),
    },
    Case {
        name: "udp",
        options: Some("--transports udp --audio opus --auth basic"),
        flags: "#transport=udp",
        audio: Some("audio/opus"),
    },
    Case {
        name: "out-of-band",
        options: Some("--sets out-of-band --audio pcmu"),
        flags: "",
        audio: Some("audio/PCMU"),
    },
    Case {
        name: "tls",
        options: Some("--tls CERTIFICATE --audio g722"),
        flags: "#fingerprint=FINGERPRINT",
        audio: Some("audio/G722"),
    },
    Case {
        name: "large",
        options: Some("--mtu 9000 --kbps 2000 --size 640x360"),
        flags: "",
        audio: None,
    },
    Case {
        name: "aggregated",
        options: Some("--aggregate --audio aac"),
        flags: "",
        audio: Some("audio/G722"),
    },
    Case {
        name: "latm",
        options: Some("--audio latm --rate 8000"),
        flags: "",
        audio: Some("audio/G722"),
    },
    Case {
        name: "l16",
        options: Some("--audio l16"),
        flags: "",
        audio: Some("audio/G722"),
    },
    // Its second stream, as small players ask for it.
    Case {
        name: "sub",
        options: Some("--audio pcma"),
        flags: "#sub=CAMERA",
        audio: Some("audio/PCMA"),
    },
    Case {
        name: "vlc",
        options: None,
        flags: "",
        audio: Some("audio/G722"),
    },
    Case {
        name: "perl",
        options: None,
        flags: "",
        audio: Some("audio/PCMA"),
    },
];

/// `looprtc serve`, ended when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(space: Option<&str>, listen: &str, streams: &[String]) -> Self {
        let program = env!("CARGO_BIN_EXE_looprtc");
        let mut command = match space {
            Some(space) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", space, program]);
                command
            }
            None => Command::new(program),
        };
        let mut child = command
            .args(["serve", "--listen", listen])
            .args(streams)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("looprtc");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut lines = stdout.lines().map_while(Result::ok);
        let url = lines.find_map(|line| {
            let rest = line.strip_prefix("Open ")?;
            Some(rest.split(' ').next()?.trim_end_matches('/').to_owned() + "/")
        });
        // Whatever it says later is not read; it must not stop for that.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            url: url.expect("it says where it is"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the faults in what a browser received of a camera; `None` if there are none.
fn judge(case: &Case, seen: &Value, camera: &mut RealCamera) -> Option<String> {
    let number = |name: &str| seen[name].as_f64();
    let Some(cold) = number("cold") else {
        return Some("no picture".to_owned());
    };
    let (from, to) = (number("from")?, number("to")?);
    let sent = match case.options {
        Some(_) => camera.frames_between(from, to) as f64,
        None => (to - from) / 1000.0 * RATE,
    };
    let decoded = number("decoded").unwrap_or_default();
    let mut wrong = Vec::new();
    // The frame at each edge may be on its way.
    if decoded < sent * 0.98 - 1.0 {
        wrong.push(format!("{decoded} frames of {sent}"));
    }
    // A browser counts what lasts 150 ms longer than usual: at this rate, from 217 ms.
    if number("freezes") != Some(0.0) {
        wrong.push("it froze".to_owned());
    }
    if number("warm").is_none_or(|ms| ms > 1000.0) {
        wrong.push("the second viewer's first picture took more than 1 s".to_owned());
    }
    let most = KEYFRAMES / RATE * 1000.0 + 500.0;
    if cold > most {
        wrong.push(format!("the first picture took {cold} ms of {most}"));
    }
    if let Some(mime) = case.audio {
        let seconds = (to - from) / 1000.0;
        // Chromium counts samples as they are decoded.
        let rate = match seen["codec"].as_str() {
            Some("audio/PCMA" | "audio/PCMU") => 8_000.0,
            Some("audio/G722") => 16_000.0,
            _ => 48_000.0,
        };
        let heard = number("samples").unwrap_or_default() / rate;
        let is_right = seen["codec"]
            .as_str()
            .is_some_and(|codec| codec.starts_with(mime));
        if !is_right || heard < seconds * 0.9 || number("energy") <= Some(0.0) {
            wrong.push(format!("{heard} s of audio in {seconds} s, {mime}"));
        }
    }
    (!wrong.is_empty()).then(|| format!("{}: {}: {seen}", case.name, wrong.join("; ")))
}

#[test]
fn cameras_of_all_makes_are_watched() {
    let _guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut running: Vec<(&Case, RealCamera)> = Vec::new();
    for case in CASES {
        let camera = match (case.options, case.name) {
            (Some(options), _) => RealCamera::gst(options, None),
            (None, "vlc") => RealCamera::vlc(),
            (None, _) => RealCamera::perl(),
        };
        running.extend(camera.map(|camera| (case, camera)));
    }
    let mut left: Vec<_> = (0..running.len()).collect();
    // On a busy machine frames come late; what failed is then measured once more.
    for round in 0..3 {
        let streams: Vec<_> = left
            .iter()
            .map(|at| {
                let (case, camera) = &running[*at];
                let mut flags = case.flags.to_owned();
                if flags.contains("FINGERPRINT") {
                    flags = flags.replace("FINGERPRINT", &camera.fingerprint());
                }
                let flags = flags.replace("CAMERA", &camera.url());
                format!("{}={}{flags}", case.name, camera.url())
            })
            .collect();
        let server = Server::start(None, "127.0.0.1:0", &streams);
        let wanted = left.iter().map(|at| {
            let case = running[*at].0;
            let quality = if case.name == "sub" { "sub" } else { "auto" };
            json!({"name": case.name, "quality": quality, "video": true, "audio": case.audio.is_some()})
        });
        let wanted = Value::Array(wanted.collect()).to_string();
        let load = load();
        let Some(lines) = measured("cameras", &server.url, &wanted, None) else {
            return;
        };
        let mut failed = Vec::new();
        left.retain(|at| {
            let (case, camera) = &mut running[*at];
            let seen = lines
                .iter()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut seen = seen.filter(|seen| seen["name"] == case.name);
            let why = match seen.next() {
                Some(seen) => judge(case, &seen, camera),
                None => Some(format!("{}: not watched", case.name)),
            };
            let is_bad = why.is_some();
            failed.extend(why);
            is_bad
        });
        if failed.is_empty() {
            return;
        }
        let why = failed.join("\n");
        assert!(load > BUSY && round < 2, "{why}");
        say(&format!("cameras, once more, at a load of {load}: {why}"));
    }
}

/// The page says why a browser cannot show a camera.
#[test]
fn a_page_says_why_there_is_no_picture() {
    let _guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cases = [
        (
            "h265",
            "--video h265",
            "",
            "cannot play this stream.*H\\.265",
        ),
        ("b-frames", "--b-frames 2", "", "B-frames"),
        // In the state: nothing else is to come.
        ("jpeg", "--video jpeg", "", "^Unavailable.*sends only MJPEG"),
        (
            "password",
            "--auth digest",
            ":wrong@",
            "refused the password",
        ),
        ("nameless", "--auth digest", "", "wants a user name"),
        ("unknown", "--tls CERTIFICATE", "", "encrypted connection"),
    ];
    let cameras = cases.map(|case| RealCamera::gst(case.1, None));
    let mut streams = Vec::new();
    for ((name, _, password, _), camera) in cases.iter().zip(&cameras) {
        let Some(camera) = camera else { return };
        let url = match (*name, *password) {
            ("nameless", _) => camera.url().replace("cam:secret@", ""),
            (_, "") => camera.url(),
            (_, wrong) => camera.url().replace(":secret@", wrong),
        };
        streams.push(format!("{name}={url}"));
    }
    // A port that is free: nobody is there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    streams.push(format!("away=rtsp://{}/cam", nobody.expect("a free port")));
    let server = Server::start(None, "127.0.0.1:0", &streams);
    let shown = cases.map(|(name, _, _, pattern)| (name, pattern));
    for (name, pattern) in shown.into_iter().chain([("away", "nothing listens")]) {
        let input = json!({"name": name, "pattern": pattern}).to_string();
        if measured("cameras_state", &server.url, &input, None).is_none() {
            return;
        }
    }
}

/// Returns the body of a response.
fn get(server: &Server, path: &str, token: &str) -> String {
    let address = server
        .url
        .trim_start_matches("http://")
        .trim_end_matches('/');
    let port = address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    let mut stream = TcpStream::connect(("127.0.0.1", port.expect("a port"))).expect("it listens");
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{token}\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("it answers");
    let (head, body) = response.split_once("\r\n\r\n").expect("a response");
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    body.to_owned()
}

/// Faults of a camera are shown by name, to who may see details: by the API, for Prometheus, on the page of cameras.
#[test]
fn what_a_camera_does_wrong_is_shown() {
    const METRIC: &str = "looprtc_camera_quirks_total{stream=\"yard\",quirk=\"large-packets\"} ";
    let _guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let options = "--mtu 9000 --kbps 2000 --size 640x360";
    let Some(camera) = RealCamera::gst(options, None) else {
        return;
    };
    let yard = format!("yard={}#always", camera.url());
    let met = |server: &Server, token: &str| {
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            let text = get(server, "/api/streams/yard", token);
            let stream: Value = serde_json::from_str(&text).expect("JSON");
            let quirks = stream["quirks"].as_array().expect("details").clone();
            let large = quirks.iter().find(|q| q["name"] == "large-packets");
            if let Some(large) = large {
                return large.clone();
            }
            assert!(Instant::now() < limit, "{text}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let tokens = ["--token", "see", "--admin-token", "change"].map(str::to_owned);
    let args = [&tokens[..], std::slice::from_ref(&yard)].concat();
    let server = Server::start(None, "127.0.0.1:0", &args);
    let admin = "Authorization: Bearer change\r\n";
    let viewer = "Authorization: Bearer see\r\n";
    let large = met(&server, admin);
    assert_eq!(large["number"], 34);
    assert!(large["count"].as_u64() >= Some(1), "{large}");
    for path in ["/api/streams", "/api/stats"] {
        assert!(
            get(&server, path, admin).contains("large-packets"),
            "{path}"
        );
    }
    assert!(get(&server, "/metrics", admin).contains(METRIC));
    for path in [
        "/api/streams/yard",
        "/api/streams",
        "/api/stats",
        "/metrics",
    ] {
        let shown = get(&server, path, viewer);
        assert!(
            shown.contains("yard") && !shown.contains("quirk"),
            "{path}: {shown}"
        );
    }
    drop(server);
    let server = Server::start(None, "127.0.0.1:0", &[yard]);
    let input = json!({"name": "yard", "pattern": "34 large-packets: .*×"}).to_string();
    measured("cameras_quirks", &server.url, &input, None);
}

/// A browser's microphone is heard at a camera that has a loudspeaker, by one talker at a time; the other camera has none.
#[test]
fn a_browser_talks_to_a_camera() {
    let _guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let options = ["--backchannel --audio pcmu", "--audio pcmu"];
    let [Some(mut camera), Some(mute)] = options.map(|options| RealCamera::gst(options, None))
    else {
        return;
    };
    let streams = [
        format!("door={}", camera.url()),
        format!("mute={}", mute.url()),
    ];
    let server = Server::start(None, "127.0.0.1:0", &streams);
    let input = json!({"name": "door", "mute": "mute"}).to_string();
    if measured("camera_talk", &server.url, &input, None).is_none() {
        return;
    }
    // Packets of 20 ms, for three seconds and more.
    let talk = camera.counts().talk;
    assert!(talk > 100, "{talk} buffers were heard");
}
