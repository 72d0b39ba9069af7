//! `looprtc stats`.

use std::error::Error;
use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::Value;

use super::page::Page;
use super::{Entry, Outcome, flag, option, value};

pub const ENTRY: Entry = Entry {
    name: "stats",
    options,
    page: &Page {
        about: "Shows the statistics of a running server: streams, viewers and how well they receive, rooms and \
                connections; updated every second.",
        notes: &[
            "Round trip, loss and jitter are reported by the viewer; the bitrate is the average since the viewer \
             connected.",
        ],
        examples: &[
            ("looprtc stats", "the server on this machine"),
            (
                "looprtc stats https://media.example.org --token-file token",
                "another server",
            ),
            ("looprtc stats --json --once | jq .streams", "for programs"),
        ],
        exit: &[
            ("0", "stopped by a signal, or printed once"),
            ("1", "the server cannot be reached, or refuses the token"),
            ("2", "the options are wrong"),
        ],
    },
    run,
};

/// Time limit of a request.
const DEADLINE: Duration = Duration::from_secs(5);

/// Maximum size of a response, in bytes.
const MAX_ANSWER: u64 = 4 << 20;

/// Maximum number of viewers shown; the others are counted.
const MAX_VIEWERS: usize = 30;

fn options(command: Command) -> Command {
    command
        .about("Show the statistics of a running server")
        .arg(
            Arg::new("url")
                .value_name("URL")
                .help("The server")
                .default_value("http://localhost:8080"),
        )
        .arg(option(
            "token-file",
            "FILE",
            "File with the token of the server",
        ))
        .arg(
            option(
                "token",
                "TEXT",
                "Same as text; visible in the process list, prefer a file",
            )
            .conflicts_with("token-file"),
        )
        .arg(flag("once", "Print the statistics once, and exit"))
        .arg(flag("json", "Print JSON, one line per update"))
        .arg(
            option("interval", "SECONDS", "Time between updates")
                .value_parser(value_parser!(f64))
                .default_value("1"),
        )
        .arg(flag(
            "insecure",
            "Do not verify the certificate of https, for one that is self-signed",
        ))
}

fn run(options: &ArgMatches) -> Outcome {
    let url: String = value(options, "url").unwrap_or_default();
    let server = Server::new(&url, options)?;
    let (once, json) = (options.get_flag("once"), options.get_flag("json"));
    let seconds = value(options, "interval").unwrap_or(1.0);
    let interval = Duration::try_from_secs_f64(seconds)
        .map_err(|error| crate::Usage(format!("--interval {seconds}: {error}")))?
        .max(Duration::from_millis(100));
    let is_screen = std::io::stdout().is_terminal() && !once && !json;
    let stop = super::stop_on_signals()?;
    while !stop.load(Ordering::Relaxed) {
        let figures = server.figures()?;
        // Cursor to the home position, and clear the screen.
        let clear = if is_screen { "\x1b[H\x1b[2J" } else { "" };
        match json {
            true => say!("{figures}"),
            false => say!("{clear}{}", screen(&url, &figures)),
        }
        if once {
            return Ok(());
        }
        wait(interval, &stop);
    }
    Ok(())
}

/// Sleeps in short steps, because a signal does not interrupt a sleep.
fn wait(interval: Duration, stop: &std::sync::atomic::AtomicBool) {
    let until = Instant::now() + interval;
    while !stop.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

struct Server {
    agent: ureq::Agent,
    url: String,
    token: Option<String>,
}

impl Server {
    fn new(url: &str, options: &ArgMatches) -> Result<Self, Box<dyn Error>> {
        let secure = url.starts_with("https://");
        if !secure && !url.starts_with("http://") {
            return Err(crate::Usage(format!(
                "{url}: expected a URL, for example http://localhost:8080"
            ))
            .into());
        }
        let token = match value::<String>(options, "token-file") {
            Some(path) => {
                let text =
                    std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
                Some(text.trim().to_owned())
            }
            None => value(options, "token"),
        };
        let builder = ureq::Agent::config_builder()
            .timeout_global(Some(DEADLINE))
            .http_status_as_error(false)
            // The token must go to this server only.
            .max_redirects(0)
            .proxy(None);
        #[cfg(feature = "tls")]
        let builder = match secure {
            true => builder.tls_config(tls(options.get_flag("insecure"))),
            false => builder,
        };
        #[cfg(not(feature = "tls"))]
        if secure {
            return Err("https is not in this build; it needs the feature tls".into());
        }
        Ok(Self {
            agent: builder.build().into(),
            url: format!("{}/api/stats", url.trim_end_matches('/')),
            token,
        })
    }

    fn figures(&self) -> Result<Value, Box<dyn Error>> {
        let mut request = self.agent.get(&self.url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().map_err(|error| {
            let error = error.to_string();
            let what_to_do = match error.contains("InvalidContentType") {
                // rustls: the response is not TLS.
                true => {
                    "the server speaks plain HTTP at this port: write http:// instead of https://"
                }
                false => "is the server running, and is this its URL?",
            };
            format!("{}: {error}; {what_to_do}", self.url)
        })?;
        let status = response.status().as_u16();
        if status == 401 {
            return Err(format!(
                "{}: the server asks for its token (--token-file FILE)",
                self.url
            )
            .into());
        }
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_string();
        let body = body.map_err(|error| format!("{}: {error}", self.url))?;
        if status != 200 {
            return Err(
                format!("{}: the server says {status}: {}", self.url, problem(&body)).into(),
            );
        }
        let figures = serde_json::from_str(&body);
        Ok(figures
            .map_err(|error| format!("{}: this is not a looprtc server: {error}", self.url))?)
    }
}

/// Returns the text of an error (RFC 9457), without control characters.
fn problem(body: &str) -> String {
    let value: Option<Value> = serde_json::from_str(body).ok();
    let detail = value.as_ref().and_then(|v| v["detail"].as_str());
    clean(detail.unwrap_or(body), 200)
}

#[cfg(feature = "tls")]
fn tls(insecure: bool) -> ureq::tls::TlsConfig {
    use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
    let roots: Vec<_> = rustls_native_certs::load_native_certs()
        .certs
        .iter()
        .map(|der| Certificate::from_der(der).to_owned())
        .collect();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::new_with_certs(&roots))
        .disable_verification(insecure)
        .unversioned_rustls_crypto_provider(provider.into())
        .build()
}

/// Minimum terminal width that fits every table, in columns.
const WIDTH: usize = 60;

/// Formats all figures as text.
fn screen(url: &str, figures: &Value) -> String {
    let mut text = format!(
        "looprtc {} at {url}, up {}\n",
        shown(&figures["version"]),
        duration(figures["uptime"].as_u64().unwrap_or_default())
    );
    let door = &figures["door"];
    let _ = writeln!(
        text,
        "connections {}, WebSockets {}, publishers {}\nrequests {}, refused {}",
        shown(&door["connections"]),
        shown(&door["webSockets"]),
        shown(&figures["publishers"]),
        shown(&door["requests"]),
        shown(&door["refused"]),
    );
    streams(figures, &mut text);
    viewers(figures, &mut text);
    failures(figures, &mut text);
    rooms(figures, &mut text);
    if let Some(turn) = figures.get("turn") {
        let bytes = |key: &str| turn[key].as_u64().unwrap_or_default();
        let _ = writeln!(
            text,
            "\nTURN: {} relays, {} to peers, {} to clients",
            shown(&turn["allocations"]),
            size(bytes("bytesToPeers")),
            size(bytes("bytesToClients"))
        );
    }
    text.pop();
    text
}

fn list<'v>(figures: &'v Value, key: &str) -> &'v [Value] {
    figures[key].as_array().map_or(&[], Vec::as_slice)
}

fn streams(figures: &Value, text: &mut String) {
    let _ = writeln!(
        text,
        "\n{:16} {:8} {:>7} {:>11}  CODECS",
        "STREAM", "STATE", "VIEWERS", "BITRATE"
    );
    for stream in list(figures, "streams") {
        let _ = writeln!(
            text,
            "{:16} {:8} {:>7} {:>11}  {}",
            shown(&stream["name"]),
            shown(&stream["state"]),
            shown(&stream["viewers"]),
            bitrate(stream["bitrate"].as_f64()),
            names(&stream["codecs"]),
        );
        if let Some(why) = stream["why"].as_str() {
            for line in super::inspect::wrap(&clean(why, 200), WIDTH - 2) {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
}

/// Writes the last sessions that failed.
fn failures(figures: &Value, text: &mut String) {
    let all = list(figures, "failures");
    if all.is_empty() {
        return;
    }
    text.push_str("\nFAILED SESSIONS\n");
    for failure in all.iter().take(5) {
        let _ = writeln!(
            text,
            "{} of {}, {} ago",
            shown(&failure["role"]),
            shown(&failure["stream"]),
            duration(failure["secondsAgo"].as_u64().unwrap_or_default())
        );
        let why = clean(failure["why"].as_str().unwrap_or_default(), 400);
        for line in super::inspect::wrap(&why, WIDTH - 2) {
            let _ = writeln!(text, "  {line}");
        }
    }
}

fn viewers(figures: &Value, text: &mut String) {
    let all = list(figures, "viewers");
    if all.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\n{:20} {:14} {:>12} {:>11}",
        "VIEWER", "STREAM", "SINCE", "BITRATE"
    );
    for viewer in all.iter().take(MAX_VIEWERS) {
        let seconds = viewer["seconds"].as_f64().unwrap_or_default();
        let bits = viewer["bytes"]
            .as_f64()
            .map(|bytes| bytes * 8.0 / seconds.max(1.0));
        let unit = |key: &str, unit: &str| match viewer[key].as_f64() {
            Some(number) => format!("{number:.1} {unit}"),
            None => "-".into(),
        };
        let _ = writeln!(
            text,
            "{:20} {:14} {:>12} {:>11}\n  round trip {}, loss {}, jitter {}",
            shown(&viewer["client"]),
            shown(&viewer["stream"]),
            duration(seconds as u64),
            bitrate(bits),
            unit("roundTripMs", "ms"),
            unit("lossPercent", "%"),
            unit("jitterMs", "ms"),
        );
    }
    if all.len() > MAX_VIEWERS {
        let _ = writeln!(text, "and {} more", all.len() - MAX_VIEWERS);
    }
}

fn rooms(figures: &Value, text: &mut String) {
    let rooms = list(figures, "rooms");
    if rooms.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{:20} PARTICIPANTS", "ROOM");
    for room in rooms {
        let _ = writeln!(
            text,
            "{:20} {}",
            shown(&room["name"]),
            shown(&room["participants"])
        );
    }
}

/// Formats a value for a table.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => clean(text, 40),
        Value::Number(number) => number.to_string(),
        _ => "-".into(),
    }
}

fn names(value: &Value) -> String {
    let names = value.as_array().map_or(&[][..], Vec::as_slice);
    names.iter().map(shown).collect::<Vec<_>>().join(" ")
}

/// Removes control characters: remote text must not control the terminal.
fn clean(text: &str, most: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect()
}

fn bitrate(bits: Option<f64>) -> String {
    match bits {
        None => "-".into(),
        Some(bits) if bits >= 1e6 => format!("{:.2} Mbit/s", bits / 1e6),
        Some(bits) => format!("{:.0} kbit/s", bits / 1e3),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

fn duration(seconds: u64) -> String {
    match (
        seconds / 86400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    ) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s:02} s"),
        (0, h, m, _) => format!("{h} h {m:02} min"),
        (d, h, ..) => format!("{d} d {h:02} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_and_nothing_else_reaches_the_terminal() {
        let figures = serde_json::json!({
            "version": "0.1.0", "uptime": 3720, "publishers": 1,
            "door": {"connections": 4, "webSockets": 1, "requests": 99, "refused": 0},
            "streams": [
                {"name": "testcard", "state": "live", "viewers": 2, "bitrate": 1_234_567, "codecs": ["vp8", "opus"]},
                {"name": "cam", "state": "failed", "viewers": 0, "bitrate": 0, "codecs": [], "why": "gone\u{1b}[2J"},
            ],
            "viewers": [{"stream": "testcard", "client": "192.0.2.7", "seconds": 10, "bytes": 1_250_000,
                         "roundTripMs": 23.4, "lossPercent": 0.5, "jitterMs": null}],
            "rooms": [{"name": "lobby", "participants": 3}],
            "failures": [{"role": "publisher", "stream": "live", "secondsAgo": 61,
                          "why": "DTLS handshake: the certificate\u{1b}[2J is not on a curve"}],
        });
        let text = screen("http://x", &figures);
        for phrase in [
            "up 1 h 02 min",
            "1.23 Mbit/s",
            "vp8 opus",
            "1.00 Mbit/s",
            "23.4 ms",
            "0.5 %",
            "lobby",
            "gone[2J",
            "publisher of live, ",
            "certificate[2J is not on",
        ] {
            assert!(text.contains(phrase), "{phrase}\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
        // Lines fit a narrow terminal.
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(WIDTH), "{text}");
        // No field is required.
        assert!(screen("http://x", &Value::Null).contains("looprtc"));
    }
}
