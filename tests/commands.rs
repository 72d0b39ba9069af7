//! Every command in the README, in CONTRIBUTING, in the guides and in each `--help`, run as it stands there.
//!
//! The commands are read from the texts: a new one that has no [`Case`] fails, and so does a case whose command stands
//! nowhere any more. Each runs in a network namespace of its own, where port 8080 is free and nothing is reached but this
//! machine, beside a default server where it needs one. That takes Linux, root (or user namespaces) and the programs
//! that `tests/setup` installs; without them nothing is tested. That is said loudly, and fails with `CI` set.
#![cfg(all(feature = "cli", any(feature = "aws-lc", feature = "rust-crypto")))]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How a command is run, and the expected result.
#[derive(Clone, Copy)]
struct Case {
    command: &'static str,
    /// Run a default server, `looprtc`, beside it.
    beside_server: bool,
    /// Commands to run before it, in the same shell.
    before: &'static str,
    /// Replacements for words that this machine has no equivalent of: a camera, a system directory.
    instead: (&'static str, &'static str),
    /// Stop it with Ctrl-C once all of `says` was printed; otherwise it has to exit by itself.
    is_endless: bool,
    /// The expected exit status; `None` accepts any, for other programs stopped by a signal.
    status: Option<i32>,
    says: &'static [&'static str],
    /// Files that must exist at the end.
    makes: &'static [&'static str],
}

/// Exits by itself, with status 0.
const fn ends(command: &'static str, says: &'static [&'static str]) -> Case {
    Case {
        command,
        beside_server: false,
        before: "",
        instead: ("", ""),
        is_endless: false,
        status: Some(0),
        says,
        makes: &[],
    }
}

/// Runs until Ctrl-C, which stops it with status 0.
const fn runs(command: &'static str, says: &'static [&'static str]) -> Case {
    Case {
        is_endless: true,
        ..ends(command, says)
    }
}

impl Case {
    const fn beside_server(self) -> Self {
        Self {
            beside_server: true,
            ..self
        }
    }

    const fn before(self, before: &'static str) -> Self {
        Self { before, ..self }
    }

    const fn instead(self, there: &'static str, here: &'static str) -> Self {
        Self {
            instead: (there, here),
            ..self
        }
    }

    const fn status(self, status: Option<i32>) -> Self {
        Self { status, ..self }
    }

    const fn makes(self, makes: &'static [&'static str]) -> Self {
        Self { makes, ..self }
    }
}

const OPEN: &str = "Open http://localhost:8080 in a browser";

/// Starts GStreamer's RTSP server beside a command.
const CAMERA: &str = "setsid timeout 90 rtsp-camera 8554 >camera.log 2>&1 & more=$!
    echo secret >password
    until grep -q ready camera.log; do sleep 0.1; done";

/// Starts the same server, and a player that watches its stream.
const WATCHED_CAMERA: &str = "setsid timeout 90 rtsp-camera 8554 >camera.log 2>&1 & more=$!
    until grep -q ready camera.log; do sleep 0.1; done
    (until looprtc play http://localhost:8080/whep/yard --seconds 3 --dir tmp; do sleep 1; done) &";

const CASES: &[Case] = &[
    // README and looprtc --help
    runs("looprtc", &[OPEN, "/whip/live", "testcard"]),
    runs(
        "looprtc serve film=film.mp4 door=whip: hall=rtp:hall.sdp",
        &[OPEN, "stream film: film.mp4", "/whip/door", "hall"],
    ),
    runs(
        "rpicam-vid -t 0 --codec h264 --inline -o - | looprtc serve camera=-",
        &[OPEN, "stream camera"],
    ),
    runs(
        "looprtc serve --listen 0.0.0.0:8443 --self-signed --token-file token --turn",
        &["Open https://", "asks for the token"],
    ),
    runs("looprtc film=film.mp4 door=whip:", &[OPEN, "stream film"]),
    ends("looprtc inspect offer.sdp", &["an offer", "m=audio"]),
    runs(
        "looprtc turn --user alice:wonderland",
        &["listening at UDP", "iceServers", "alice"],
    ),
    ends("looprtc man turn | man -l -", &["EXIT STATUS", "--realm"]),
    // The guides
    ends("openssl rand -hex 16 > token", &[])
        .instead("> token", "> new")
        .makes(&["new"]),
    runs(
        "looprtc serve --listen 0.0.0.0:8443 --self-signed --token-file token --udp-port 5000",
        &["Open https://", "asks for the token"],
    ),
    // Against a real RTSP server: somebody watches.
    runs(
        "looprtc serve yard=rtsp://user:password@camera.local/stream",
        &[OPEN, "stream yard", "saved tmp/yard.h264"],
    )
    .before(WATCHED_CAMERA)
    .instead(
        "rtsp://user:password@camera.local/stream",
        "rtsp://127.0.0.1:8554/stream",
    )
    .makes(&["tmp/yard.h264"]),
    ends("chmod 600 token", &[]),
    ends(
        "echo \"https://$(hostname -I | cut -d' ' -f1):8443/watch/camera#token=$(cat token)\"",
        &[":8443/watch/camera#token=wonderland"],
    ),
    runs(
        "rpicam-vid -t 0 --codec h264 --inline --width 1280 --height 720 -o - | looprtc serve camera=- --listen 0.0.0.0:8443 --self-signed --token-file token --udp-port 5000",
        &["stream camera", "Open https://"],
    ),
    runs(
        "looprtc serve --listen 0.0.0.0:8443 --self-signed --token-file token --udp-port 5000 --turn --turn-ports 50000-50999",
        &["Open https://"],
    ),
    runs(
        "looprtc serve --listen 0.0.0.0:8443 --self-signed --token-file token --udp-port 5000 --external 198.51.100.7",
        &["Open https://"],
    ),
    runs(
        "looprtc serve --listen 127.0.0.1:8080 --token-file token --trusted-proxy 127.0.0.1 --trusted-proxy ::1",
        &["asks for the token"],
    ),
    runs("RUST_LOG=info looprtc", &[OPEN]),
    ends(
        "curl -s http://localhost:8080/api/streams",
        &["\"name\":\"testcard\""],
    )
    .beside_server(),
    ends(
        "curl -s http://localhost:8080/api/stats | jq '.streams[] | {name, state, viewers, bitrate}'",
        &["\"name\": \"testcard\""],
    )
    .beside_server(),
    runs(
        "looprtc serve --token show-me --allow-origin http://localhost:8000",
        &["asks for the token"],
    ),
    runs(
        "python3 -m http.server 8000 --directory docs/embed",
        &["Serving HTTP on"],
    )
    .before("export PYTHONUNBUFFERED=1")
    .instead("docs/embed", ".")
    .status(None),
    // serve
    runs(
        "looprtc serve film=film.mp4 door=whip:",
        &[OPEN, "stream film"],
    ),
    runs(
        "looprtc serve --listen 0.0.0.0:8443 --self-signed --token-file token",
        &["Open https://", "asks for the token"],
    ),
    ends(
        "looprtc serve --config contrib/looprtc.toml --print-config",
        &["listen = \"127.0.0.1:8080\"", "[sources]"],
    ),
    // probe
    ends(
        "looprtc probe rtsp://admin:secret@192.168.1.20/stream1",
        &["Video: H.264", "answered after", "video: all play it"],
    )
    .before(CAMERA)
    .instead(
        "rtsp://admin:secret@192.168.1.20/stream1",
        "rtsp://127.0.0.1:8554/stream",
    ),
    ends(
        "looprtc probe rtsp://192.168.1.20/stream1 --user admin --password-file password --verbose",
        &["> DESCRIBE rtsp://", "< RTSP/1.0 200", "Video: H.264"],
    )
    .before(CAMERA)
    .instead("rtsp://192.168.1.20/stream1", "rtsp://127.0.0.1:8554/stream"),
    ends(
        "looprtc probe rtsp://192.168.1.20/stream1 --transport udp --json",
        &["\"transport\": \"UDP\"", "\"plays\": \"yes\""],
    )
    .before(CAMERA)
    .instead("rtsp://192.168.1.20/stream1", "rtsp://127.0.0.1:8554/stream"),
    // publish
    ends(
        "looprtc publish film.mp4 http://localhost:8080/whip/live",
        &["connected"],
    )
    .beside_server(),
    // There is no such server here.
    ends(
        "looprtc publish --loop video.ivf,audio.ogg https://example.net/whip/tv --token-file token",
        &["https://example.net/whip/tv cannot be reached"],
    )
    .status(Some(1)),
    ends(
        "ffmpeg -v error -f v4l2 -i /dev/video0 -c:v libvpx -deadline realtime -f ivf - | looprtc publish - http://localhost:8080/whip/live",
        &["connected"],
    )
    .instead(
        "-f v4l2 -i /dev/video0",
        "-re -f lavfi -t 4 -i testsrc=s=320x180:r=15",
    )
    .beside_server(),
    // play
    runs(
        "looprtc play http://localhost:8080/whep/testcard",
        &["connected"],
    )
    .beside_server()
    .makes(&["testcard.ivf", "testcard.ogg"]),
    ends(
        "looprtc play http://localhost:8080/whep/testcard --seconds 10 --dir /tmp",
        &["connected"],
    )
    .instead("/tmp", "tmp")
    .beside_server()
    .makes(&["tmp/testcard.ivf", "tmp/testcard.ogg"]),
    runs(
        "looprtc play http://localhost:8080/whep/testcard --rtp 127.0.0.1:5004",
        &["connected", "described in testcard.sdp"],
    )
    .beside_server()
    .makes(&["testcard.sdp"]),
    runs(
        "ffplay -protocol_whitelist file,udp,rtp -i testcard.sdp",
        &["Video: "],
    )
    .beside_server()
    .before(
        "export SDL_VIDEODRIVER=dummy SDL_AUDIODRIVER=dummy; \
         setsid timeout 90 looprtc play http://localhost:8080/whep/testcard --rtp 127.0.0.1:5004 & more=\"$more $!\"; \
         until [ -e testcard.sdp ]; do sleep 0.1; done; sleep 1",
    )
    .status(None),
    // record
    runs(
        "looprtc record http://localhost:8080/whep/testcard card",
        &["connected"],
    )
    .beside_server()
    .makes(&["card.ivf", "card.ogg"]),
    runs(
        "looprtc record http://localhost:8080/whep/testcard /tmp/card --seconds 60",
        &["connected"],
    )
    .instead("/tmp/", "tmp/")
    .beside_server()
    .makes(&["tmp/card.ivf", "tmp/card.ogg"]),
    // stats
    runs("looprtc stats", &["STREAM", "testcard", "live"]).beside_server(),
    ends(
        "looprtc stats https://media.example.org --token-file token",
        &["media.example.org", "is the server running"],
    )
    .status(Some(1)),
    ends(
        "looprtc stats --json --once | jq .streams",
        &["\"name\": \"testcard\""],
    )
    .beside_server(),
    // discover: never on a network that is not this machine's own
    ends("looprtc discover", &[""])
        .instead("discover", "discover --interface 127.0.0.1 --seconds 0.1"),
    ends(
        "looprtc discover --user admin --password-file camera.password",
        &[""],
    )
    .instead("discover", "discover --interface 127.0.0.1 --seconds 0.1")
    .before("echo secret > camera.password"),
    ends(
        "looprtc discover 192.168.1.64 --json | jq '.devices[].streams[].uri'",
        &[""],
    )
    .instead("192.168.1.64", "127.0.0.1:1"),
    // pion-to-pion
    runs(
        "looprtc pion-to-pion --interval 1",
        &["Message from DataChannel"],
    )
    .status(None),
    runs("looprtc pion-to-pion --role answer", &[""]).status(None),
    runs(
        "looprtc pion-to-pion --role offer --answer-address 192.0.2.7:60000",
        &[""],
    )
    .status(None),
    // turn
    runs(
        "looprtc turn --secret-file /etc/turn.secret --external 198.51.100.7 --ports 50000-50999",
        &["turn:198.51.100.7:3478"],
    )
    .instead("/etc/turn.secret", "turn.secret"),
    runs(
        "looprtc turn --user a:b --tls 0.0.0.0:443 --certificate chain.pem --key key.pem",
        &["listening at TLS 0.0.0.0:443"],
    ),
    runs(
        "looprtc turn --user a:b --listen 127.0.0.1 --allow-peer 127.0.0.0/8",
        &["turn:127.0.0.1:3478"],
    ),
    // inspect
    ends("wl-paste | looprtc inspect --problems", &["note"])
        .instead("wl-paste", "cat offer.sdp"),
    ends(
        "looprtc inspect 'candidate:1 1 udp 2130706431 192.168.1.2 41400 typ host'",
        &["192.168.1.2"],
    ),
    ends(
        "looprtc inspect 'turn:turn.example.org?transport=tcp'",
        &["turn.example.org"],
    ),
    // import
    ends(
        "looprtc import config.json",
        &["looprtc.toml: written", "rtsp_port"],
    )
    .before(CONFIG_JSON)
    .makes(&["looprtc.toml"]),
    ends(
        "looprtc import config.json --print",
        &["rtsp://192.0.2.7/1#always", "deepch = true"],
    )
    .before(CONFIG_JSON),
    runs("looprtc serve --config looprtc.toml", &["Open http://", "stream hall"])
        .before(CONFIG_TOML),
    runs("looprtc serve --config config.json", &["Open http://", "stream hall"])
        .before(CONFIG_JSON),
    runs(
        "looprtc serve --deepch --token-file token --admin-token-file admin --listen 0.0.0.0:8083",
        &["Open http"],
    )
    .before("echo the-administrators-own-secret >admin"),
    runs(
        "looprtc serve --go2rtc 0.0.0.0:1984 --token-file token --admin-token-file admin",
        &["Open http"],
    )
    .before("echo the-administrators-own-secret >admin"),
    // Cameras by the API
    ends(
        r#"curl -s http://localhost:8080/api/streams --json '{"name": "yard", "url": "rtsp://192.168.1.20/stream1", "user": "viewer", "password": "wonderland"}'"#,
        &["\"yard\"", "\"user\":\"viewer\""],
    )
    .beside_server(),
    ends("curl -s http://localhost:8080/api/streams/yard | jq .camera", &["rtsp://192.168.1.20/stream1"])
        .before(YARD)
        .beside_server(),
    ends(
        "curl -s http://localhost:8080/api/streams/yard | jq -c '.quirks[] | [.name, .count]'",
        &[],
    )
    .before(YARD)
    .beside_server(),
    ends(
        r#"curl -s http://localhost:8080/api/streams/yard --json '{"url": "rtsp://192.168.1.20/stream2"}' -X PUT"#,
        &["stream2"],
    )
    .before(YARD)
    .beside_server(),
    ends("curl -s http://localhost:8080/api/streams/yard -X DELETE", &[])
        .before(YARD)
        .beside_server(),
    ends(
        r#"curl -s http://localhost:8080/api/discover --json '{"seconds": 2, "user": "admin", "password": "wonderland"}'"#,
        &["{"],
    )
    .beside_server(),
    // completions and man
    ends(
        "looprtc completions bash > ~/.local/share/bash-completion/completions/looprtc",
        &[],
    )
    .makes(&["home/.local/share/bash-completion/completions/looprtc"]),
    ends("looprtc completions zsh > ~/.zfunc/_looprtc", &[]).makes(&["home/.zfunc/_looprtc"]),
    ends(
        "looprtc completions fish > ~/.config/fish/completions/looprtc.fish",
        &[],
    )
    .makes(&["home/.config/fish/completions/looprtc.fish"]),
    ends("looprtc man | man -l -", &["EXIT STATUS", "looprtc-turn(1)"]),
    ends(
        "looprtc man turn > /usr/local/share/man/man1/looprtc-turn.1",
        &[],
    )
    .instead("/usr/local/share/man/man1/", "man1/")
    .makes(&["man1/looprtc-turn.1"]),
];

/// Makes a configuration of RTSPtoWeb.
const CONFIG_JSON: &str = r#"rm -f looprtc.toml; echo '{"server": {"rtsp_port": ":5541"},
    "streams": {"hall": {"channels": {"0": {"url": "rtsp://u:s3cret@192.0.2.7/1", "audio": true}}}}}' > config.json"#;

/// Adds a camera by the API.
const YARD: &str = r#"curl -s http://localhost:8080/api/streams --json '{"name": "yard", "url": "rtsp://192.168.1.20/stream1"}' >/dev/null"#;

/// Converts it to TOML.
const CONFIG_TOML: &str = r#"echo '{"streams": {"hall": {"channels": {"0": {"url": "rtsp://u:s3cret@127.0.0.1:1/1"}}}}}' > config.json
    rm -f looprtc.toml; looprtc import config.json"#;

/// Commands of the repository that cannot be run within a test, because they run the tests. They must exist.
const SCRIPTS: &[&str] = &["tests/run", "tests/coverage"];

/// Commands that change the system, build for a long time or go on for ever: their grammar is checked.
const SYSTEM: &[&str] = &[
    "rpicam-hello --list-cameras",
    "sudo install -m 600 token /etc/looprtc.token",
    "sudo install -m 600 contrib/looprtc.toml /etc/looprtc.toml",
    "sudo install -m 644 contrib/looprtc.service /etc/systemd/system/",
    "sudo systemctl edit looprtc",
    "sudo systemctl daemon-reload",
    "sudo systemctl enable --now looprtc",
    "journalctl -u looprtc -n 20",
    "sudo ufw allow 8443/tcp",
    "sudo ufw allow 5000/udp",
    "sudo ufw allow 3478",
    "sudo ufw allow 50000:50999/udp",
    "cargo new remote",
    "cd remote",
    "cargo run",
    "sudo apt-get install build-essential git curl",
    "cargo build --release",
    "sudo install -m 755 target/release/looprtc /usr/local/bin/",
    "cargo build --release --no-default-features --features cli,rust-crypto,movies",
];

/// The texts whose commands are run.
const TEXTS: [&str; 12] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/api.md",
    "docs/firewalls.md",
    "docs/guide.md",
    "docs/ip-camera.md",
    "docs/library.md",
    "docs/obs.md",
    "docs/proxies.md",
    "docs/raspberry-pi.md",
    "docs/replace-rtsptoweb.md",
    "docs/troubleshooting.md",
];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Returns the commands in a Markdown text: in code blocks without a language, or with that of a shell.
fn of_markdown(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut block = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), block) {
            (Some(language), None) => {
                block = Some(["", "sh", "bash", "console"].contains(&language))
            }
            (Some(_), Some(_)) => block = None,
            (None, Some(true)) => {
                let command = line.split(" #").next().unwrap_or_default().trim();
                if !command.is_empty() && !command.starts_with('#') {
                    push(&mut commands, command);
                }
            }
            _ => {}
        }
    }
    commands
}

/// Adds a line: the shell continues a command after a `|` at the end of a line.
fn push(commands: &mut Vec<String>, line: &str) {
    match commands.last_mut() {
        Some(last) if last.ends_with('|') => *last = format!("{last} {line}"),
        _ => commands.push(line.to_owned()),
    }
}

/// Returns the commands of a help text's examples; comments beside them are separated by four spaces.
fn of_help(text: &str) -> Vec<String> {
    let examples = text.split("Examples:\n").nth(1).unwrap_or_default();
    let lines = examples.lines().take_while(|line| !line.is_empty());
    let mut commands = Vec::new();
    for line in lines.map(str::trim).filter(|line| !line.starts_with("# ")) {
        push(&mut commands, line.split("    ").next().unwrap_or_default());
    }
    commands
}

/// Converts it to a call of an installed program.
fn installed(command: &str) -> String {
    let with_arguments = command.replace("cargo run --release -- ", "looprtc ");
    with_arguments.replace("cargo run --release", "looprtc")
}

fn help(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_looprtc"))
        .args(args)
        .output()
        .expect("looprtc runs");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Returns every command that users are told about.
fn commands() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for file in TEXTS {
        let text = std::fs::read_to_string(root(file)).expect(file);
        all.extend(of_markdown(&text).iter().map(|command| installed(command)));
    }
    let overview = help(&["--help"]);
    let listed = overview.split("Commands:\n").nth(1).expect("a list");
    let listed = listed.lines().take_while(|line| !line.is_empty());
    let names: Vec<&str> = listed
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.contains(&"serve"), "{overview}");
    all.extend(of_help(&overview));
    for name in names {
        let examples = of_help(&help(&[name, "--help"]));
        assert!(!examples.is_empty(), "{name}");
        all.extend(examples);
    }
    all
}

#[test]
fn every_command_that_is_shown_has_its_case() {
    let mut shown = commands();
    for script in SCRIPTS {
        let runs_it = |command: &String| command.split(' ').next() == Some(script);
        assert!(shown.iter().any(runs_it), "{script} is shown nowhere");
        assert!(root(script).is_file(), "{script}");
        shown.retain(|command| !runs_it(command));
    }
    for command in SYSTEM {
        assert!(shown.remove(*command), "{command} is shown nowhere");
        let parsed = Command::new("bash").args(["-n", "-c", command]).status();
        assert!(parsed.expect("bash runs").success(), "{command}");
    }
    let tested: BTreeSet<String> = CASES.iter().map(|case| case.command.to_owned()).collect();
    let untested: Vec<_> = shown.difference(&tested).collect();
    assert!(untested.is_empty(), "without a case: {untested:#?}");
    let gone: Vec<_> = tested.difference(&shown).collect();
    assert!(gone.is_empty(), "shown nowhere: {gone:#?}");
}

#[test]
fn every_command_works_as_pasted() {
    if let Some(why) = missing() {
        assert!(std::env::var_os("CI").is_none(), "NOT TESTED: {why}");
        let text = format!("\n##### NOT TESTED: {why} #####\n\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
        return;
    }
    let place = Place::new();
    // Several at once: they mostly wait.
    let next = Mutex::new(CASES.iter().enumerate());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let case = next.lock().expect("no panic").next();
                    let Some((index, case)) = case else { return };
                    if let Err(why) = place.run(index, case) {
                        let why = format!("{}\n{why}\n", case.command);
                        failures.lock().expect("no panic").push(why);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The code of a document: the lines of its first block in Rust, without what rustdoc hides.
fn first_program(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim_end);
    let inside = lines
        .skip_while(|line| !matches!(*line, "```" | "```rust"))
        .skip(1);
    let code = inside.take_while(|line| *line != "```");
    code.filter(|line| *line != "#" && !line.starts_with("# "))
        .collect()
}

#[test]
fn the_first_program_of_the_readme_is_that_of_the_documentation() {
    let read = |file: &str| std::fs::read_to_string(root(file)).expect(file);
    let (readme, library) = (read("README.md"), read("src/lib.rs"));
    let documented: Vec<&str> = library
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let documented = documented.join("\n");
    let from = readme.find("```rust\n").expect("a program");
    let shown = first_program(&readme[from..]);
    assert!(shown.len() > 20, "{shown:?}");
    assert_eq!(shown, first_program(&documented));
}

#[test]
fn every_document_is_listed_and_every_feature_is_explained() {
    let read = |file: &str| std::fs::read_to_string(root(file)).expect(file);
    let index = read("docs/README.md");
    for entry in std::fs::read_dir(root("docs")).expect("a directory") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("text");
        let is_listed = index.contains(&format!("({name})"));
        assert!(
            is_listed || ["README.md", "embed"].contains(&name),
            "{name}"
        );
    }
    let (readme, manifest) = (read("README.md"), read("Cargo.toml"));
    let features = manifest.split("[features]\n").nth(1).expect("features");
    let names = features.lines().take_while(|line| !line.starts_with('['));
    let names = names.filter_map(|line| line.split_once(" = ").map(|(name, _)| name));
    for name in names.filter(|name| *name != "default" && !name.starts_with('#')) {
        assert!(readme.contains(&format!("| `{name}` |")), "{name}");
    }
}

/// Merges that keep both sides double the rows of tables and lists.
#[test]
fn no_row_of_a_document_stands_twice() {
    let docs = std::fs::read_dir(root("docs")).expect("a directory");
    let mut documents: Vec<PathBuf> = docs.map(|entry| entry.expect("an entry").path()).collect();
    documents.extend(
        [
            "README.md",
            "ARCHITECTURE.md",
            "CHANGELOG.md",
            "fuzz/README.md",
        ]
        .map(root),
    );
    documents.retain(|path| path.extension().is_some_and(|e| e == "md"));
    assert!(documents.len() > 15, "{documents:?}");
    for document in documents {
        let text = std::fs::read_to_string(&document).expect("a document");
        let mut rows = BTreeSet::new();
        for line in text.lines().filter(|line| line.len() > 60) {
            let is_row = line.starts_with("| ") || line.starts_with("- ");
            let is_new = !is_row || rows.insert(line);
            assert!(is_new, "twice in {}: {line}", document.display());
        }
    }
}

/// Returns the missing requirements of this machine, if any.
fn missing() -> Option<String> {
    let works = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        let command = command.args(args).stdout(Stdio::null());
        command
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    let namespace = ["--net", "ip", "link", "set", "lo", "up"];
    if !works("unshare", &namespace) {
        return Some("no network namespaces: they need root, and ip (tests/setup)".to_owned());
    }
    let programs = ["curl", "ffmpeg", "ffplay", "jq", "man", "openssl"];
    let has = |program: &&str| works("bash", &["-c", &format!("command -v {program}")]);
    let lacking: Vec<_> = programs.iter().filter(|program| !has(program)).collect();
    if !lacking.is_empty() {
        return Some(format!(
            "{lacking:?} are not installed (tests/setup does it)"
        ));
    }
    let rtsp = "import gi; gi.require_version('GstRtspServer', '1.0')";
    let has_rtsp = works("/usr/bin/python3", &["-c", rtsp]);
    (!has_rtsp).then(|| "there is no GStreamer RTSP server (tests/setup installs it)".to_owned())
}

/// Creates a directory with all files that the commands name.
struct Place {
    root: PathBuf,
    programs: PathBuf,
}

impl Place {
    fn new() -> Self {
        let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("commands");
        let _ = std::fs::remove_dir_all(&base);
        let place = Self {
            root: base.join("work"),
            programs: base.join("bin"),
        };
        for directory in [&place.root, &place.programs] {
            std::fs::create_dir_all(directory).expect("a directory");
        }
        let link = |to: &Path, name: PathBuf| std::os::unix::fs::symlink(to, name).expect("a link");
        link(
            Path::new(env!("CARGO_BIN_EXE_looprtc")),
            place.programs.join("looprtc"),
        );
        // A Raspberry Pi's camera, and its encoder.
        let camera = "#!/bin/sh\nexec ffmpeg -nostdin -v error -re -f lavfi -i testsrc=s=320x180:r=15 -c:v libx264 \
                      -preset ultrafast -tune zerolatency -profile:v baseline -pix_fmt yuv420p -g 15 -f h264 -\n";
        place.program("rpicam-vid", camera);
        place.program("rtsp-camera", include_str!("interop/peers/rtsp_camera.py"));
        let film = "ffmpeg -nostdin -v error -f lavfi -i testsrc=s=320x180:r=15:d=3 -c:v libx264 -preset ultrafast \
                    -profile:v baseline -pix_fmt yuv420p -g 15 film.mp4";
        let certificate = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
                           -subj /CN=localhost -keyout key.pem -out chain.pem";
        for command in [film, certificate] {
            let output = place.shell(command).output().expect("bash runs");
            assert!(output.status.success(), "{command}: {output:?}");
        }
        let media = |name: &str| root("tests/data/media").join(name);
        link(&media("vp8.ivf"), place.root.join("video.ivf"));
        link(&media("stereo2.5.ogg"), place.root.join("audio.ogg"));
        link(
            &root("tests/sdp/chromium-offer-VP8.sdp"),
            place.root.join("offer.sdp"),
        );
        link(&root("contrib"), place.root.join("contrib"));
        let hall = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=hall\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                    m=video 5004 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";
        for (name, text) in [
            ("hall.sdp", hall),
            ("token", "wonderland-of-many-letters\n"),
            ("turn.secret", "looking-glass-of-many-letters\n"),
        ] {
            std::fs::write(place.root.join(name), text).expect("a file");
        }
        place
    }

    fn program(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.programs.join(name);
        std::fs::write(&path, text).expect("a file");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("it is ours");
    }

    fn shell(&self, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("unshare");
        command
            .args(["--net", "bash", "-c", script])
            .current_dir(&self.root)
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command
    }

    /// Runs a case in a directory and a network of its own.
    fn run(&self, index: usize, case: &Case) -> Result<(), String> {
        let directory = format!("{index}");
        let (there, here) = case.instead;
        assert!(case.command.contains(there), "{}", case.command);
        let command = match there {
            "" => case.command.to_owned(),
            _ => case.command.replace(there, here),
        };
        let server = match case.beside_server {
            true => {
                "setsid timeout 90 looprtc >server.log 2>&1 </dev/null & more=$!; \
                 for i in $(seq 200); do grep -q ^Open server.log && break; sleep 0.1; done"
            }
            false => "",
        };
        let places = "tmp man1 home/.zfunc home/.config/fish/completions home/.local/share/bash-completion/completions";
        // Ctrl-C is for the command; processes beside it are in a group of their own, and stopped by the shell.
        let script = format!(
            "ip link set lo up; mkdir {directory}; cd {directory}; mkdir -p {places}; \
             for file in ../*.* ../token ../contrib; do ln -s $file .; done; export HOME=$PWD/home; more=\n\
             {server}\n{}\ntrap : INT\n{command}\nstatus=$?\n\
             [ -z \"$more\" ] || kill $more\nexit $status",
            case.before
        );
        let mut running = Running::start(self.shell(&script));
        let outcome = running.conclude(case);
        let said = running.said();
        outcome.map_err(|why| format!("{why}; it said:\n{said}"))?;
        for name in case.makes {
            let path = self.root.join(&directory).join(name);
            let size = std::fs::metadata(&path).map_or(0, |file| file.len());
            if size == 0 {
                return Err(format!("{name} is not there, or empty; it said:\n{said}"));
            }
        }
        Ok(())
    }
}

/// A command, and all its output.
struct Running {
    child: Child,
    said: std::sync::Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("unshare runs");
        let said = std::sync::Arc::new(Mutex::new(String::new()));
        let outputs: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("piped")),
            Box::new(child.stderr.take().expect("piped")),
        ];
        let readers = outputs.into_iter().map(|output| {
            let said = said.clone();
            std::thread::spawn(move || {
                let mut output = BufReader::new(output);
                let mut line = Vec::new();
                // Progress is overwritten, without a line end.
                while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                    let mut said = said.lock().expect("no panic");
                    said.push_str(&String::from_utf8_lossy(&line));
                    line.clear();
                }
            })
        });
        let readers = readers.collect();
        Self {
            child,
            said,
            readers,
        }
    }

    fn said(&self) -> String {
        self.said.lock().expect("no panic").clone()
    }

    fn says(&self, case: &Case) -> bool {
        let said = self.said();
        case.says.iter().all(|phrase| said.contains(phrase))
    }

    fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill")
            .args(["-s", name, "--", &group])
            .stderr(Stdio::null())
            .status();
    }

    fn conclude(&mut self, case: &Case) -> Result<(), String> {
        let limit = Instant::now() + Duration::from_secs(60);
        let mut is_interrupted = false;
        let status = loop {
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                break status;
            }
            if case.is_endless && !is_interrupted && self.says(case) {
                // It has a moment to print its output, or to fail.
                std::thread::sleep(Duration::from_secs(2));
                if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                    return Err("it ended by itself".to_owned());
                }
                self.signal("INT");
                is_interrupted = true;
            }
            if Instant::now() > limit {
                return Err("it went on for 60 s".to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if case.is_endless && !is_interrupted {
            return Err(format!("it ended by itself: {status}"));
        }
        if !self.says(case) {
            return Err(format!("{:?} is missing", case.says));
        }
        match case.status {
            Some(code) if status.code() != Some(code) => Err(format!("{status}, not {code}")),
            _ => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal("KILL");
        let _ = self.child.wait();
    }
}
