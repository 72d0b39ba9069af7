//! The interfaces of RTSPtoWebRTC, RTSPtoWeb and go2rtc: by the clients of Home Assistant, by a page, and by hand.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::chromium::not_tested;
use super::http::Server;

const TOKEN: &str = "8b7df143d91c716ecfa5fc1730022f6b";
const ADMIN: &str = "5e1b9c7d2f3a48d6b0c4e8f1a7d9b2c6";

/// A port that is free now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A camera of GStreamer's RTSP server, killed when it is dropped.
struct Camera(Child);

impl Camera {
    /// `None` if there is no such server.
    fn start(port: u16) -> Option<Self> {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/cameras/gst_camera.py");
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .args([
                "--port",
                &port.to_string(),
                "--video",
                "h264",
                "--auth",
                "digest",
            ])
            // It ends with its input.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(child.stdout.take()?).lines();
        let is_ready = lines.next().is_some_and(|line| line.is_ok());
        std::thread::spawn(move || lines.for_each(drop));
        is_ready.then_some(Self(child))
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns `true` if this build has a source for RTSP cameras.
fn plays_rtsp() -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_looprtc"));
    command.args(["serve", "x=rtsp://192.0.2.1/x", "--print-config"]);
    command.output().is_ok_and(|out| out.status.success())
}

/// PyPI's `rtsp-to-webrtc` and `go2rtc-client`, unchanged; aiortc plays what they are answered.
#[test]
fn the_clients_of_home_assistant() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    let python = root.join(".venv-home-assistant/bin/python");
    if !python.exists() {
        return not_tested("Home Assistant's clients are not installed (tests/setup does it)");
    }
    let (go2rtc, rtsp) = (free_port(), free_port());
    let go2rtc = format!("127.0.0.1:{go2rtc}");
    let camera = plays_rtsp().then(|| Camera::start(rtsp)).flatten();
    let url = match camera {
        Some(_) => format!("rtsp://cam:secret@127.0.0.1:{rtsp}/cam"),
        None => {
            super::chromium::say(
                "Home Assistant's clients play the test card only: no RTSP source, or no camera",
            );
            "-".to_owned()
        }
    };
    let server = Server::start(&[
        "--deepch",
        "--go2rtc",
        &go2rtc,
        "--token",
        TOKEN,
        "--admin-token",
        ADMIN,
    ]);
    let run = Command::new(python)
        .arg(root.join("home_assistant.py"))
        .args([
            &format!("http://{}", server.address),
            &format!("http://{go2rtc}"),
            &url,
            ADMIN,
        ])
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{out}\n{err}");
    assert!(out.contains("go2rtc, WebSocket"), "{out}");
}

/// RTSPtoWebRTC's page asks for the codecs, offers before it has candidates, and posts forms; RTSPtoWeb's pings by a channel.
#[test]
fn pages_of_rtsp_to_webrtc_and_rtsp_to_web() {
    super::in_chromium("serve_deepch");
}

#[test]
fn who_may_do_what() {
    let server = Server::start(&["--deepch", "--token", TOKEN, "--admin-token", ADMIN]);
    let status = |line: &str, headers: &str| server.status(line, headers, "");
    let basic = |token: &str| {
        format!(
            "Authorization: Basic {}\r\n",
            base64(&format!("any:{token}"))
        )
    };
    assert_eq!(status("GET /static", ""), 301);
    assert_eq!(status("GET /streams", ""), 401);
    assert_eq!(status("GET /streams", &basic(TOKEN)), 200);
    assert_eq!(status(&format!("GET /streams?token={TOKEN}"), ""), 200);
    assert_eq!(status("GET /streams", &basic("guess")), 401);
    // To change something, the admin token is needed.
    assert_eq!(status("GET /stream/testcard/delete", &basic(TOKEN)), 401);
    assert_eq!(status("GET /stream/testcard/delete", &basic(ADMIN)), 500);
    // A browser adds a password to the requests of all pages, and says which they are.
    for foreign in [
        "Origin: https://elsewhere.example\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    ] {
        let headers = basic(ADMIN) + foreign;
        assert_eq!(
            status("GET /stream/testcard/delete", &headers),
            403,
            "{foreign}"
        );
    }
    // A token that the page knows is another matter, and then it may read the answer.
    let shown = format!("Origin: https://elsewhere.example\r\nAuthorization: Bearer {TOKEN}\r\n");
    let answer = server.ask("GET /streams", &shown, "");
    assert!(
        answer.contains("Access-Control-Allow-Origin: *") && !answer.contains("Allow-Credentials")
    );
    let refused = server.ask("GET /streams", "", "");
    assert!(refused.contains("WWW-Authenticate: Basic"), "{refused}");
    // Off unless asked for.
    let other = Server::start(&[]);
    assert_eq!(other.status("GET /streams", "", ""), 404);
}

/// Without any token, only the user of this machine may do everything: not pages that a browser here shows.
#[test]
fn without_a_token() {
    let server = Server::start(&["--deepch"]);
    assert_eq!(server.status("GET /streams", "", ""), 200);
    assert_eq!(
        server.status("GET /streams", "Sec-Fetch-Site: cross-site\r\n", ""),
        403
    );
    let rebound = "Host: evil.example\r\n";
    assert_eq!(server.status("GET /streams", rebound, ""), 403);
    let form = "Origin: http://evil.example\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let body = "url=rtsp://192.0.2.1/&sdp64=x";
    assert_eq!(server.status("POST /stream", form, body), 403);
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
