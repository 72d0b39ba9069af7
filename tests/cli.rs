//! The `looprtc` program as a user sees it: help, completions, manual, configuration, `inspect`, `stats`.
#![cfg(feature = "cli")]

#[cfg(unix)]
#[path = "cli/camera.rs"]
mod camera;
#[path = "cli/discover.rs"]
mod discover;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The commands listed by `looprtc --help`.
const COMMANDS: &[&str] = &[
    "serve",
    "publish",
    "play",
    "record",
    "stats",
    "pion-to-pion",
    "turn",
    "discover",
    "inspect",
    "import",
    "probe",
    "completions",
    "man",
];

fn looprtc(args: &[&str]) -> Output {
    command(args).output().expect("looprtc runs")
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_looprtc"));
    command
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// Returns the output of a successful run.
fn stdout(args: &[&str]) -> String {
    let output = looprtc(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Returns the error message for an invalid command line.
fn refused(args: &[&str]) -> String {
    let output = looprtc(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn with_input(args: &[&str], input: &str) -> Output {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("looprtc runs");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A temporary directory, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("looprtc-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("text").to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn help_explains_every_command_with_examples() {
    let all = stdout(&["--help"]);
    assert_eq!(all, stdout(&["-h"]));
    for name in COMMANDS {
        assert!(
            all.contains(&format!("\n  {name} ")),
            "{name} is not in:\n{all}"
        );
        let help = stdout(&[name, "--help"]);
        for phrase in ["Usage: looprtc ", "Examples:\n", "Exit status:\n  0  "] {
            assert!(
                help.contains(phrase),
                "{name}: {phrase:?} is not in:\n{help}"
            );
        }
        assert!(help.contains(&format!("looprtc {name}")), "{help}");
        assert_eq!(help, stdout(&[name, "-h"]));
        let widest = help.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{name}: {widest:?} columns");
    }
    let listed = all.split("Commands:\n").nth(1).expect("a list");
    let listed = listed.lines().take_while(|line| !line.is_empty()).count();
    assert_eq!(
        listed,
        COMMANDS.len(),
        "a command is not in COMMANDS:\n{all}"
    );
    assert!(stdout(&["--version"]).starts_with("looprtc 0."));
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    for (args, phrase) in [
        (&["trun"][..], "'turn'"),
        (&["turn"], "--user NAME:PASSWORD"),
        (&["turn", "--usr", "a:b"], "'--user'"),
        (
            &["turn", "--stun-only", "--listen", "here"],
            "192.0.2.7:3478",
        ),
        (&["pion-to-pion", "--role", "third"], "both, offer, answer"),
        (&["completions", "tcsh"], "bash, zsh, fish"),
        (&["serve", "--listen", "0.0.0.0"], "--token-file"),
        (&["--listen", "[::]:8080"], "--open"),
        (&["serve", "film"], "NAME=URL"),
        (
            &["serve", "cam=rtmp://192.0.2.9/1"],
            "ffmpeg -i rtmp://192.0.2.9/1 -an -c copy -f rtp -sdp_file cam.sdp",
        ),
        (
            &["record", "http://localhost:1/whep/a", "a.mp4"],
            "MP4 is not written",
        ),
        (&["serve", "--max-peers", "0"], "at least 1"),
        (&["a=whip:", "a=testcard:"], "two streams called a"),
        (&["film=http://example.org/film"], "whep:"),
        (&["serve", "--certificate", "x.pem"], "--key"),
        (
            &["serve", "--config", "/nowhere/looprtc.toml"],
            "/nowhere/looprtc.toml",
        ),
        (&["serve", "--ice-server", "turn:a.example"], "username"),
    ] {
        let text = refused(args);
        assert!(
            text.contains(phrase),
            "{args:?}: {phrase:?} is not in:\n{text}"
        );
        assert!(text.contains("--help"), "{args:?}:\n{text}");
    }
}

#[test]
fn a_password_in_a_wrong_argument_is_not_repeated() {
    for (args, shown) in [
        (
            &["serve", "yard=rtsp://ann:geheim@cam/1#transport=x"][..],
            "'yard=rtsp:…'",
        ),
        (&["serve", "yard=rstp://ann:geheim@cam/1"], "'yard=rstp:…'"),
        (
            &["serve", "yard=whep:https://cam/1#tokn=geheim"],
            "'yard=whep:…'",
        ),
        (&["serve", "rtsp://ann:geheim@cam/1"], "'rtsp:…'"),
        (&["serve", "rtsp://ann:geheim@cam/1?a=b"], "'rtsp:…'"),
        (&["serve", "ann:geheim@cam=rtsp://cam/1"], "'ann:…'"),
        (
            &["serve", "yard=rtmp://ann:geheim@cam/1"],
            "rtmp://USER:PASSWORD@cam/1",
        ),
    ] {
        let text = refused(args);
        assert!(!text.contains("geheim"), "{args:?}:\n{text}");
        assert!(text.contains(shown), "{args:?}:\n{text}");
    }
}

#[test]
fn flags_as_go_writes_them_are_taken() {
    let two = stdout(&["serve", "--udp-port", "5000", "--print-config"]);
    assert_eq!(
        two,
        stdout(&["serve", "-udp-port", "5000", "-print-config"])
    );
    assert_eq!(
        two,
        stdout(&["-udp-port=5000", "-print-config"]),
        "without the command"
    );
    assert!(two.contains("udp-port = 5000"));
}

#[test]
fn a_real_bash_completes() {
    let directory = Directory::new("bash");
    let script = directory.file("looprtc.bash", &stdout(&["completions", "bash"]));
    let complete = |words: &str, index: usize| {
        // As called by readline.
        let text = format!(
            "source {script}; COMP_WORDS=({words}); COMP_CWORD={index}; _looprtc looprtc \"${{COMP_WORDS[{index}]}}\" \
             \"${{COMP_WORDS[{}]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            index - 1
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &text])
            .output()
            .expect("bash runs");
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(complete("looprtc tu", 1), "turn\n");
    assert_eq!(complete("looprtc turn --allow", 2), "--allow-peer\n");
    assert_eq!(complete("looprtc completions z", 2), "zsh\n");
    let all = complete("looprtc ''", 1);
    for name in COMMANDS {
        assert!(
            all.lines().any(|line| line == *name),
            "{name} is not in {all}"
        );
    }
    assert!(stdout(&["completions", "zsh"]).starts_with("#compdef looprtc"));
    assert!(stdout(&["completions", "fish"]).contains("complete -c looprtc"));
}

#[test]
fn the_manual_is_rendered_without_a_warning() {
    let pages = COMMANDS.iter().map(|name| vec!["man", name]);
    for args in pages.chain([vec!["man"]]) {
        let page = stdout(&args);
        let mut groff = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-P-c"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("groff is installed by tests/setup");
        let mut stdin = groff.stdin.take().expect("piped");
        stdin.write_all(page.as_bytes()).expect("it reads");
        drop(stdin);
        let output = groff.wait_with_output().expect("it ends");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{args:?}: {output:?}"
        );
        // Without the overstrikes for bold and underlined text.
        let mut text = String::from_utf8(output.stdout).expect("text");
        while let Some(at) = text.find('\u{8}') {
            let before = text[..at].chars().next_back().map_or(0, char::len_utf8);
            text.replace_range(at - before..=at, "");
        }
        for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "EXIT STATUS"] {
            assert!(
                text.lines().any(|line| line.trim() == section),
                "{args:?}: {section}\n{text}"
            );
        }
    }
}

#[test]
fn the_example_configuration_says_the_defaults() {
    let example = root("contrib/looprtc.toml");
    let example = example.to_str().expect("text");
    let defaults = stdout(&["serve", "--print-config"]);
    assert_eq!(
        stdout(&["serve", "--config", example, "--print-config"]),
        defaults
    );
    assert!(
        defaults.contains("listen = \"127.0.0.1:8080\""),
        "{defaults}"
    );
}

#[test]
fn the_command_line_wins_over_the_file() {
    let directory = Directory::new("wins");
    let file = directory.file(
        "looprtc.toml",
        "listen = '127.0.0.1:1000'\nudp-port = 7\ntoken = 'wonderland'\nrooms = true\n[sources]\na = 'a.mp4'\nb = 'b.mp4'\n",
    );
    let text = stdout(&[
        "serve",
        "--config",
        &file,
        "--listen",
        "127.0.0.1:2000",
        "--no-rooms",
        "a=whip:",
        "--print-config",
    ]);
    for phrase in [
        "127.0.0.1:2000",
        "udp-port = 7",
        "rooms = false",
        "\"a\" = \"whip:\"",
        "\"b\" = \"b.mp4\"",
    ] {
        assert!(text.contains(phrase), "{phrase}\n{text}");
    }
    assert!(!text.contains("wonderland"), "{text}");
}

#[test]
fn mistakes_in_the_configuration_are_named() {
    let directory = Directory::new("mistakes");
    for (text, phrases) in [
        (
            "\nlisen = 'x'\n",
            &["looprtc.toml:2:", "\"lisen\"", "did you mean listen?"][..],
        ),
        ("open = 1\n", &["looprtc.toml:1:", "true or false"]),
        (
            "[turn]\nport = '1-2'\n",
            &["looprtc.toml:2:", "did you mean ports?"],
        ),
        (
            "[sources]\nx = 'rtmp://camera'\n",
            &["looprtc.toml:2:", "ffmpeg"],
        ),
        ("udp-port = \n", &["looprtc.toml:1:", "not TOML"]),
        ("listen = '0.0.0.0:8080'\n", &["--token"]),
        ("token-file = '/nowhere/token'\n", &["/nowhere/token"]),
        ("token = 'two words'\n", &["token"]),
        (&"# \n".repeat(400_000), &["1,048,576 bytes"]),
    ] {
        let file = directory.file("looprtc.toml", text);
        let said = refused(&["serve", "--config", &file]);
        for phrase in phrases {
            assert!(
                said.contains(phrase),
                "{:.80}: {phrase:?} is not in:\n{said}",
                text
            );
        }
        assert!(!said.contains("two words"), "{said}");
    }
}

#[test]
fn real_offers_are_explained() {
    let inspect = |name: &str| {
        let path = root("tests/sdp").join(name);
        stdout(&["inspect", path.to_str().expect("text")])
    };
    let chromium = inspect("chromium-offer-H264.sdp");
    for phrase in [
        "an offer (by its a=setup:actpass) of ",
        "a=fmtp:",
        "Constrained Baseline profile, level 3.1",
        "[RFC 8866 §6.6]",
        "DTLS",
    ] {
        assert!(chromium.contains(phrase), "{phrase}\n{chromium}");
    }
    assert!(!chromium.contains('\u{1b}'), "colours, and no terminal");
    let aiortc = inspect("offer-aiortc.sdp");
    assert!(
        aiortc.contains("type preference 126 × 2^24 + local preference 65535"),
        "{aiortc}"
    );
    assert!(inspect("firefox-offer-VP8.sdp").contains("Made by Firefox"));
}

#[test]
fn inspect_takes_what_people_paste() {
    let sdp = std::fs::read_to_string(root("tests/sdp/chromium-offer-VP8.sdp")).expect("an offer");
    let json = serde_json::json!({"type": "offer", "sdp": sdp}).to_string();
    for args in [&["inspect", "--json"][..], &["inspect", "--json", "-"]] {
        let output = with_input(args, &json);
        assert!(output.status.success(), "{output:?}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["type"], "offer");
        assert_eq!(
            report["lines"].as_array().map(Vec::len),
            Some(sdp.lines().count())
        );
    }
    let candidate = "candidate:1 1 udp 2122260223 6e4f0a2b.local 50000 typ host";
    let text = stdout(&["inspect", candidate]);
    assert!(
        text.contains("multicast DNS") && text.contains("note: "),
        "{text}"
    );
    let text = stdout(&["inspect", "turns:turn.example.org"]);
    assert!(text.contains("port 5349"), "{text}");

    // Invalid ones are reported by the exit status.
    let broken = sdp.replace("a=fingerprint", "a=finger");
    let output = with_input(&["inspect", "--problems"], &broken);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text.contains("has no a=fingerprint"), "{text}");
    for nothing in ["/nowhere/offer.sdp", "hello"] {
        let output = looprtc(&["inspect", nothing]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(nothing),
            "{output:?}"
        );
    }
}

/// A server, stopped at the end of the test.
struct Server {
    child: Child,
    url: String,
    lines: Vec<String>,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut child = command(&["serve", "--listen", "127.0.0.1:0"])
            .args(args)
            .env("RUST_LOG", "debug")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("looprtc runs");
        let stdout = BufReader::new(child.stdout.as_mut().expect("piped"));
        let mut lines = Vec::new();
        for line in stdout.lines() {
            lines.push(line.expect("text"));
            if lines.last().is_some_and(|line| line.starts_with("Open ")) {
                break;
            }
        }
        let last = lines.last().cloned().unwrap_or_default();
        let url = last.split(' ').nth(1).unwrap_or_default().to_owned();
        assert!(url.starts_with("http://localhost:"), "{lines:?}");
        Self { child, url, lines }
    }

    /// Stops it as systemd does; returns its log.
    fn end(mut self) -> String {
        let id = self.child.id().to_string();
        let killed = Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .expect("kill runs");
        assert!(killed.success());
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{status:?}");
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        stderr.read_to_string(&mut log).expect("text");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Usually stopped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serve_serves_and_stats_shows_it() {
    let server = Server::start(&["door=whip:"]);
    let whip = format!(
        "stream door: waits for a publisher at {}/whip/door",
        server.url
    );
    assert!(server.lines.contains(&whip), "{:?}", server.lines);
    let text = stdout(&["stats", &server.url, "--once"]);
    for phrase in ["looprtc 0.", "STREAM", "testcard", "door", "waiting"] {
        assert!(text.contains(phrase), "{phrase}\n{text}");
    }
    let json = stdout(&["stats", &server.url, "--once", "--json"]);
    let figures: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        figures["streams"].as_array().map(Vec::len),
        Some(2),
        "{figures}"
    );
    server.end();
}

#[test]
fn record_writes_what_serve_shows() {
    let directory = Directory::new("record");
    let server = Server::start(&[]);
    let url = format!("{}/whep/testcard", server.url);
    let to = directory.0.join("card.ivf");
    // Long enough to connect on a busy machine; normally it takes a fraction of a second.
    stdout(&["record", &url, to.to_str().expect("text"), "--seconds", "8"]);
    let files = std::fs::read_dir(&directory.0).expect("a directory");
    let mut sizes: Vec<(String, u64)> = files
        .map(|file| file.expect("a file"))
        .map(|file| {
            (
                file.file_name().to_string_lossy().into_owned(),
                file.metadata().map_or(0, |m| m.len()),
            )
        })
        .collect();
    sizes.sort();
    assert!(
        sizes.len() == 2
            && sizes
                .iter()
                .all(|(name, size)| name.starts_with("card.") && *size > 1000),
        "{sizes:?}"
    );
    server.end();
}

#[test]
fn secrets_are_asked_for_and_not_logged() {
    let directory = Directory::new("secrets");
    let token = directory.file("token", "wonderland\n");
    let secret = directory.file("turn.secret", "lookingglass\n");
    let server = Server::start(&[
        "--token-file",
        &token,
        "--turn",
        "--turn-listen",
        "127.0.0.1:0",
        "--turn-secret-file",
        &secret,
        "--ice-server",
        "turn:127.0.0.1:9,alice,humptydumpty",
    ]);
    let output = looprtc(&["stats", &server.url, "--once"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("--token-file"),
        "{output:?}"
    );
    let text = stdout(&["stats", &server.url, "--once", "--token-file", &token]);
    assert!(
        text.contains("testcard") && text.contains("TURN: 0 relays"),
        "{text}"
    );
    let lines = server.lines.join("\n");
    let log = server.end();
    for secret in ["wonderland", "lookingglass", "humptydumpty"] {
        assert!(
            !log.contains(secret) && !lines.contains(secret),
            "{secret} is in:\n{lines}\n{log}"
        );
    }
}

#[test]
fn https_where_http_is_spoken_is_said() {
    let server = Server::start(&[]);
    let url = server.url.replace("http://", "https://");
    let whep = format!("{url}/whep/testcard");
    for args in [
        &["stats", &url, "--once"][..],
        &["play", &whep, "--retry", "0"],
    ] {
        let output = looprtc(args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("write http:// instead of https://"),
            "{output:?}"
        );
    }
    server.end();
}

/// Listens on all addresses: those that other machines can use are printed.
#[test]
fn the_addresses_for_other_machines_are_said() {
    let interfaces = if_addrs_of_this_machine();
    let server = Server::start(&["--listen", "0.0.0.0:0", "--open"]);
    let port = server.url.rsplit(':').next().unwrap_or_default();
    for address in interfaces {
        let line = format!("From other machines: http://{address}:{port}");
        assert!(server.lines.contains(&line), "{line}: {:?}", server.lines);
    }
    server.end();
}

/// Returns the IPv4 addresses listed by the kernel's tools; empty without them.
fn if_addrs_of_this_machine() -> Vec<String> {
    let Ok(output) = Command::new("hostname").arg("-I").output() else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let addresses = text.split_whitespace().filter(|a| a.contains('.'));
    addresses.take(2).map(str::to_owned).collect()
}

#[test]
fn stats_says_when_nobody_is_there() {
    // Nobody listens on a port that was just released.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let output = looprtc(&["stats", &url, "--once"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("is the server running"),
        "{output:?}"
    );
}

#[test]
fn the_systemd_unit_is_sound() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        let text = "NOT RUN: systemd-analyze is not installed; tests/setup does it";
        assert!(std::env::var_os("CI").is_none(), "{text}");
        println!("{text}");
        return;
    }
    let directory = Directory::new("unit");
    let text = std::fs::read_to_string(root("contrib/looprtc.service")).expect("the unit");
    assert!(text.contains("ExecStart=/usr/local/bin/looprtc serve "));
    // Of an installed program.
    let text = text.replace("/usr/local/bin/looprtc", env!("CARGO_BIN_EXE_looprtc"));
    let unit = directory.file("looprtc.service", &text);
    let output = Command::new("systemd-analyze")
        .args(["verify", &unit])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = said
        .lines()
        .filter(|line| line.contains("looprtc"))
        .collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
    // 100 times the exposure that it measures; 10 is the worst.
    let checked = ["security", "--offline=true", "--threshold=20", &unit];
    let output = Command::new("systemd-analyze")
        .args(checked)
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// B-frames are detected before anything is requested.
#[cfg(feature = "movies")]
#[test]
fn publish_refuses_what_nobody_could_watch() {
    let url = "http://127.0.0.1:1/whip/film";
    for (file, phrase) in [
        ("tests/data/media/bframes.mp4", "-bf 0"),
        ("tests/data/cases/media/44b-neg-cts.mp4", "-bf 0"),
        (
            "tests/data/cases/media/43a-intra-refresh-no-idr.h264",
            "IDR",
        ),
        ("Cargo.toml", "Matroska"),
    ] {
        let output = looprtc(&["publish", root(file).to_str().expect("text"), url]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{file}: {said}");
        assert!(said.contains(phrase), "{file}: {said}");
    }
}

/// A setting that is valid but rarely intended causes one warning at startup, and does not prevent it.
#[test]
#[cfg(unix)]
fn a_start_that_is_worth_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let dir = std::env::temp_dir().join(format!("looprtc-warned-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let token = dir.join("token");
    std::fs::write(&token, "8b7df143d91c716ecfa5fc1730022f6b\n").unwrap();
    let start = |mode: u32| {
        std::fs::set_permissions(&token, PermissionsExt::from_mode(mode)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_looprtc"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--publish-token",
                "abc",
                "--token-file",
            ])
            .arg(&token)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let open = lines.find(|line| line.as_ref().is_ok_and(|l| l.starts_with("Open ")));
        assert!(open.is_some(), "it starts");
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let warned = start(0o644);
    assert_eq!(
        warned.matches("can be read by every user").count(),
        1,
        "{warned}"
    );
    assert_eq!(
        warned.matches("the publish token has 3 characters").count(),
        1,
        "{warned}"
    );
    assert!(
        !warned.contains("8b7d") && !warned.contains("abc"),
        "{warned}"
    );
    assert!(!start(0o640).contains("every user"));
    std::fs::remove_dir_all(&dir).unwrap();
}
