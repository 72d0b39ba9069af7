//! Starts RTSP servers that other people wrote (`tests/interop/cameras/README.md`), and stops them.
//!
//! A server that is not installed is reported, and fails the test if `CI` is set. Ports are free ones. The server's output
//! is kept until it is stopped, and shown if the test has failed by then.
// Each test binary uses some of it.
#![allow(dead_code)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::chromium::not_tested;

/// Time that a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running camera, stopped when dropped.
pub struct RealCamera {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    port: u16,
    credentials: &'static str,
    scheme: &'static str,
    directory: PathBuf,
}

/// Counters of a GStreamer camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Frames of video.
    pub video: u64,
    /// Keyframes among them.
    pub keys: u64,
    /// Buffers of audio.
    pub audio: u64,
    /// Buffers of two-way audio received.
    pub talk: u64,
    /// Open connections.
    pub clients: u64,
    /// Connections ever made.
    pub connections: u64,
}

impl RealCamera {
    /// GStreamer's server with options of `gst_camera.py`; in a network namespace, if one is given.
    pub fn gst(options: &str, space: Option<&str>) -> Option<Self> {
        let directory = directory();
        let script = interop("gst_camera.py");
        let mut command = match space {
            Some(space) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", space, "/usr/bin/python3"]);
                command
            }
            None => Command::new("/usr/bin/python3"),
        };
        command.arg(script).args(options.split_ascii_whitespace());
        let is_tls = options.contains("--tls");
        if is_tls {
            let certificate = certificate(&directory);
            command = {
                let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
                let mut with = Command::new(command.get_program());
                with.args(args.iter().map(|arg| match arg.to_str() {
                    Some("CERTIFICATE") => certificate.as_os_str().to_owned(),
                    _ => arg.clone(),
                }));
                with
            };
        }
        let mut camera = Self::spawn(command, directory)?;
        if options.contains("--auth") {
            camera.credentials = "cam:secret@";
        }
        if is_tls {
            camera.scheme = "rtsps";
        }
        let Some(ready) = camera.line(PATIENCE) else {
            let log = camera.log();
            let missing = ["No module named", "not available"];
            assert!(missing.iter().any(|text| log.contains(text)), "{log}");
            not_tested(&format!("GStreamer's RTSP server: {log}"));
            return None;
        };
        camera.port = number(&ready, "ready") as u16;
        Some(camera)
    }

    /// VLC with a film that loops; where it begins again VLC pauses, so it is longer than a test.
    pub fn vlc() -> Option<Self> {
        if !is_installed("cvlc") {
            not_tested("VLC is not installed (tests/setup does it)");
            return None;
        }
        let directory = directory();
        let film = directory.join("film.mp4");
        let made = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i"])
            .arg("testsrc2=size=320x180:rate=15:duration=120")
            .args(["-f", "lavfi", "-i", "sine=440:duration=120"])
            .args([
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-tune",
                "zerolatency",
                "-g",
                "30",
            ])
            .args([
                "-pix_fmt", "yuv420p", "-b:v", "300k", "-c:a", "aac", "-ar", "16000", "-ac", "1",
            ])
            .arg(&film)
            .status();
        assert!(
            made.is_ok_and(|s| s.success()),
            "ffmpeg (tests/setup installs it)"
        );
        let port = free_port();
        let mut command = Command::new(interop("vlc"));
        command.arg(&film).arg(port.to_string());
        let mut camera = Self::spawn(command, directory)?;
        camera.port = port;
        camera.wait_for_description();
        Some(camera)
    }

    /// rtsp-server-perl, fed by ffmpeg.
    pub fn perl() -> Option<Self> {
        if !is_installed("rtsp-server-perl") {
            not_tested("rtsp-server-perl is not installed (tests/setup does it)");
            return None;
        }
        let (port, source) = (free_port(), free_port());
        let mut command = Command::new(interop("perl"));
        let rtp = free_udp_ports(16);
        command.args([port, source, rtp].map(|port| port.to_string()));
        let mut camera = Self::spawn(command, directory())?;
        camera.port = port;
        camera.wait_for_description();
        Some(camera)
    }

    fn spawn(mut command: Command, directory: PathBuf) -> Option<Self> {
        let log = File::create(directory.join("log")).expect("a log");
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(why) => {
                not_tested(&format!("{command:?}: {why}"));
                return None;
            }
        };
        let (said, lines) = channel();
        let stdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines();
            for line in lines.map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        Some(Self {
            stdin: child.stdin.take().expect("piped"),
            child,
            lines,
            port: 0,
            credentials: "",
            scheme: "rtsp",
            directory,
        })
    }

    /// Returns the URL, with the credentials.
    pub fn url(&self) -> String {
        self.url_at("127.0.0.1")
    }

    /// Returns the URL for this host.
    pub fn url_at(&self, host: &str) -> String {
        format!(
            "{}://{}{host}:{}/cam",
            self.scheme, self.credentials, self.port
        )
    }

    /// Returns the SHA-256 of its certificate; only of a camera with one.
    pub fn fingerprint(&self) -> String {
        let run = Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(self.directory.join("certificate.pem"))
            .output();
        let said = String::from_utf8(run.expect("openssl").stdout).expect("ASCII");
        let digits = said.trim().split_once('=').expect("a fingerprint").1;
        digits.to_owned()
    }

    /// Returns what has been sent so far; GStreamer's server only.
    pub fn counts(&mut self) -> Counts {
        let line = self.ask("count");
        let field = |name| number(&line, name);
        Counts {
            video: field("video"),
            keys: field("keys"),
            audio: field("audio"),
            talk: field("talk"),
            clients: field("clients"),
            connections: field("connections"),
        }
    }

    /// Returns the number of frames of video encoded between two times, in ms since 1970; GStreamer's server only.
    pub fn frames_between(&mut self, from: f64, to: f64) -> u64 {
        let line = self.ask(&format!("between {from} {to}"));
        number(&line, "video")
    }

    /// Closes all connections; GStreamer's server only.
    pub fn drop_clients(&mut self) {
        self.ask("drop");
    }

    fn ask(&mut self, what: &str) -> String {
        writeln!(self.stdin, "{what}").expect("the camera reads");
        self.line(PATIENCE).expect("an answer")
    }

    fn line(&self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    /// Returns its standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn wait_for_description(&mut self) {
        let end = Instant::now() + PATIENCE;
        while !describes(self.port) {
            let ended = self.child.try_wait().ok().flatten();
            assert!(ended.is_none() && Instant::now() < end, "{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for RealCamera {
    fn drop(&mut self) {
        // A process group: scripts start others.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the camera said: {}", self.log());
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Returns `true` if a camera describes `/cam`.
fn describes(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let request = format!(
            "DESCRIBE rtsp://127.0.0.1:{port}/cam RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: test\r\n\
             Accept: application/sdp\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(answer == *b"RTSP/1.0 200")
    };
    ask().unwrap_or(false)
}

/// Returns the number behind a name in a flat JSON object.
fn number(json: &str, name: &str) -> u64 {
    let at = json.split(&format!("\"{name}\": ")).nth(1);
    let digits = at.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let found = digits.flatten().and_then(|digits| digits.parse().ok());
    found.unwrap_or_else(|| panic!("{name} in {json}"))
}

fn interop(name: &str) -> PathBuf {
    let cameras = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/cameras");
    cameras.join(name)
}

fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|path| path.join(program).is_file())
}

/// A new directory that others may read: VLC runs as nobody.
fn directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("looprtc-camera-{}-{number}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).expect("a directory");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&directory, mode).expect("its mode");
    directory
}

/// A certificate and its key in one file.
fn certificate(directory: &Path) -> PathBuf {
    let [key, certificate, both] =
        ["key.pem", "certificate.pem", "both.pem"].map(|n| directory.join(n));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "3650", "-subj", "/CN=camera", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    assert!(
        made.is_ok_and(|run| run.status.success()),
        "openssl (tests/setup installs it)"
    );
    let parts = [key, certificate].map(|path| std::fs::read(path).expect("it was written"));
    std::fs::write(&both, parts.concat()).expect("a file");
    both
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// The first, even, of so many free UDP ports in a row.
fn free_udp_ports(count: u16) -> u16 {
    let starts =
        (0..1000).map(|n| 23_000 + 32 * ((std::process::id() as u16).wrapping_add(n) % 300));
    let mut free = starts.filter(|start| {
        let sockets = (0..count).map(|n| UdpSocket::bind(("127.0.0.1", start + n)));
        sockets.collect::<Result<Vec<_>, _>>().is_ok()
    });
    free.next().expect("free ports")
}
