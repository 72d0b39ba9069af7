//! `looprtc serve`.

mod cameras;
mod deepch;
mod file;
mod print;
mod setting;
pub(super) mod settings;
mod table;

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use looprtc::server::gateway::{Gateway, GatewayConfig};
use looprtc::server::streams::StreamState;

pub(super) use self::deepch::convert;
pub(super) use self::file::load;
use self::setting::{Heading, Kind, Setting};
use self::settings::Settings;
use self::table::SETTINGS;
use super::page::Page;
use super::{Entry, Outcome, flag, list, option, value, values};
use crate::Usage;

/// Maximum wait of one loop call: a signal that arrives at the wrong moment is noticed after it.
const LOOK_UP: Duration = Duration::from_secs(1);

/// Time limit for closing connections at shutdown.
const GOODBYE: Duration = Duration::from_secs(1);

pub const ENTRY: Entry = Entry {
    name: "serve",
    options,
    page: &Page {
        about: "Serves cameras, files, rooms and calls to browsers: pages, WHIP, WHEP and WebSockets on one port. \
                This is the default command.",
        notes: &[
            "A source is NAME=URL; viewers find it at /watch/NAME. URL is a file; two files joined by a comma, for \
             example film.ivf,film.ogg; whip: (a publisher sends to /whip/NAME); whep:https://… (a stream of another \
             server); rtp:FILE.sdp or rtp://ADDRESS:PORT?codec=… (plain RTP); - (the standard input); or pipe:PATH \
             (a named pipe).",
            "A pipe is live: it is read all the time, and each frame is sent when it arrives. With ?paced appended \
             (-?paced), it is read at the pace of its timestamps while somebody watches.",
            "On an address that other machines can reach, a token is required, unless --open lets anybody in. \
             Browsers give cameras and microphones to HTTPS and to localhost only.",
            "The configuration file is TOML; contrib/looprtc.toml explains every key. Options override it. The config.json \
             of RTSPtoWebRTC and RTSPtoWeb is read, too; looprtc import converts it.",
            "RUST_LOG=info logs viewers and publishers as they come and go. Ctrl-C stops the server.",
        ],
        examples: &[
            (
                "looprtc",
                "the test card, rooms and calls, at http://localhost:8080",
            ),
            (
                "looprtc serve film=film.mp4 door=whip:",
                "a film, and a stream for a camera that publishes to /whip/door",
            ),
            (
                "looprtc serve --listen 0.0.0.0:8443 --self-signed --token-file token",
                "for other machines, with TLS and a token",
            ),
            (
                "looprtc serve --config contrib/looprtc.toml --print-config",
                "show the settings that result from file and options",
            ),
        ],
        exit: &[
            ("0", "stopped by a signal"),
            ("1", "it could not run; the last line says why"),
            ("2", "the options or the configuration file are wrong"),
        ],
    },
    run,
};

fn options(command: Command) -> Command {
    command
        .about("Serve cameras, files, rooms and calls to browsers (the default command)")
        .arg(
            Arg::new("source")
                .value_name("NAME=URL")
                .help("Streams to serve, besides the test card")
                .num_args(0..)
                .value_parser(settings::source),
        )
        .arg(option(
            "config",
            "FILE",
            "Read this configuration file first",
        ))
        .arg(flag(
            "print-config",
            "Print the settings that result from file and options, and exit",
        ))
        .args(Heading::ALL.into_iter().flat_map(args))
}

/// Returns the options below a heading.
fn args(heading: Heading) -> impl Iterator<Item = Arg> {
    SETTINGS.iter().filter_map(move |setting| {
        let given = setting.option.as_ref()?;
        if given.heading != heading {
            return None;
        }
        let arg = match &setting.kind {
            Kind::Flag(_) | Kind::On(_) => flag(given.name, ""),
            Kind::List { .. } | Kind::IceServers => list(given.name, given.value, ""),
            _ => option(given.name, given.value, ""),
        };
        let arg = match given.value {
            "" => arg,
            _ => arg.value_parser(|text: &str| {
                setting.check(text)?;
                Ok::<_, String>(text.to_owned())
            }),
        };
        Some(arg.help(setting.help(given)).help_heading(heading.text()))
    })
}

fn run(options: &ArgMatches) -> Outcome {
    let mut settings = read(options)?;
    if options.get_flag("print-config") {
        say!("{}", settings.to_toml().trim_end());
        return Ok(());
    }
    if settings.cameras_file.is_none() {
        let config = value::<String>(options, "config");
        settings.cameras_file = cameras_file(std::env::var("STATE_DIRECTORY").ok(), config);
    }
    let config = settings.gateway().map_err(Usage)?;
    for warning in settings.warnings().into_iter().chain(config.warnings()) {
        eprintln!("looprtc: warning: {warning}");
    }
    serve(config)
}

/// Reads the configuration file, overridden by the command line.
fn read(options: &ArgMatches) -> Result<Settings, Usage> {
    let mut settings = Settings::default();
    if let Some(path) = value::<String>(options, "config") {
        let wrong = |what: String| Usage(format!("{path}: {what}"));
        let text = file::load(&path).map_err(|error| wrong(error.to_string()))?;
        if deepch::is_json(&text) {
            let converted = convert(&text, false).map_err(wrong)?;
            for note in &converted.notes {
                super::tell(&format!("looprtc: note: {path}: {note}"));
            }
            // Lines are those of the converted file, which nobody sees.
            file::read(&converted.toml, &mut settings).map_err(|error| wrong(error.what))?;
        } else {
            file::read(&text, &mut settings)
                .map_err(|error| Usage(format!("{path}:{}: {}", error.line, error.what)))?;
        }
    }
    over(&mut settings, options)?;
    Ok(settings)
}

/// Returns the default of `cameras-file`: in the directory that systemd has made for state, of which the first counts,
/// or beside the configuration file.
fn cameras_file(state: Option<String>, config: Option<String>) -> Option<String> {
    let state = state.as_deref().and_then(|all| all.split(':').next());
    let in_state = state.filter(|directory| !directory.is_empty());
    let in_state = in_state.map(|directory| Path::new(directory).join("cameras.jsonl"));
    let beside = config.map(|path| Path::new(&path).with_extension("cameras.jsonl"));
    Some(in_state.or(beside)?.to_string_lossy().into_owned())
}

/// Applies the command line, which takes precedence.
fn over(s: &mut Settings, options: &ArgMatches) -> Result<(), Usage> {
    let is_given = |setting: &Setting| {
        let option = setting.option.as_ref();
        option.is_some_and(|o| options.value_source(o.name) == Some(ValueSource::CommandLine))
    };
    for keys in table::TOGETHER {
        let together = || {
            SETTINGS
                .iter()
                .filter(|setting| keys.contains(&setting.key))
        };
        if together().any(is_given) {
            together().for_each(|setting| setting.clear(s));
        }
    }
    for setting in SETTINGS.iter().filter(|setting| is_given(setting)) {
        let Some(option) = &setting.option else {
            continue;
        };
        let texts = match option.value {
            "" => Vec::new(),
            _ => values::<String>(options, option.name),
        };
        let applied = setting.apply(s, &texts);
        applied.map_err(|error| Usage(format!("--{}: {error}", option.name)))?;
    }
    let mut given = HashSet::new();
    for (name, url) in values::<(String, String)>(options, "source") {
        if !given.insert(name.clone()) {
            return Err(Usage(format!(
                "there are two streams called {name}: give one another name"
            )));
        }
        s.sources.insert(name, url);
    }
    Ok(())
}

fn serve(config: GatewayConfig) -> Outcome {
    let stop = super::stop_on_signals()?;
    let needs_token = config.token.is_some();
    let has_admin_token = config.admin_token.is_some();
    // Connections use descriptors; systems start with a limit of 1,024 and allow more.
    looprtc::server::door::raise_descriptors();
    let mut gateway = Gateway::new(config)?;
    announce(&gateway, needs_token);
    if has_admin_token {
        let url = gateway.url();
        announce!("Cameras are added at {url}/admin (it asks for the admin token)");
    }
    while !stop.load(Ordering::Relaxed) {
        gateway.run_once(LOOK_UP)?;
    }
    Ok(gateway.shutdown(GOODBYE)?)
}

/// Prints the streams and the address.
fn announce(gateway: &Gateway, needs_token: bool) {
    let url = gateway.url();
    for stream in gateway.streams().list() {
        let name = &stream.name;
        match &stream.state {
            // Already logged.
            StreamState::Failed { .. } if log::log_enabled!(log::Level::Warn) => {}
            StreamState::Failed { why, .. } => {
                super::tell(&format!("looprtc: stream {name}: {why}"))
            }
            StreamState::Waiting => {
                announce!("stream {name}: waits for a publisher at {url}/whip/{name}")
            }
            _ => announce!("stream {name}: {}", stream.source),
        }
    }
    let ask = if needs_token {
        " (it asks for the token)"
    } else {
        ""
    };
    for host in addresses(gateway.local_addr().ip()) {
        let from_there = url.replacen("localhost", &host, 1);
        announce!("From other machines: {from_there}");
    }
    if let Some(address) = gateway.go2rtc_addr() {
        announce!("go2rtc's interface: http://{address}");
    }
    announce!("Open {url} in a browser{ask}");
}

/// Maximum number of addresses shown; machines with containers have many.
const MAX_ADDRESSES: usize = 4;

/// Returns the addresses of this machine, formatted for URLs, at which others may reach a listener on `ip`. Empty if
/// `ip` is not a wildcard.
fn addresses(ip: IpAddr) -> Vec<String> {
    if !ip.is_unspecified() {
        return Vec::new();
    }
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    let usable = all
        .iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local());
    // An IPv6 socket accepts IPv4 as well, and IPv4 addresses are easier to type.
    let mut found: Vec<IpAddr> = usable.map(|interface| interface.ip()).collect();
    found.retain(|other| other.is_ipv4() || ip.is_ipv6());
    found.sort_by_key(IpAddr::is_ipv6);
    found.truncate(MAX_ADDRESSES);
    let in_url = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    found.into_iter().map(in_url).collect()
}
