//! `looprtc serve`.

mod file;
pub(super) mod settings;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};
use looprtc::proto::ice::IceServer;
use looprtc::server::gateway::{Gateway, GatewayConfig};
use looprtc::server::streams::StreamState;
use looprtc::server::turn::Cidr;

use self::settings::{Secret, Settings};
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
            "The configuration file is TOML; contrib/looprtc.toml explains every key. Options override it.",
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
        .next_help_heading("Pages, WHIP and WHEP")
        .args(door())
        .next_help_heading("Peers")
        .args(peers())
        .next_help_heading("TURN server in the same process, for viewers behind strict firewalls")
        .args(turn())
        .next_help_heading("Features")
        .args([
            flag("no-testcard", "Do not serve the test card"),
            flag("no-rooms", "Do not serve rooms"),
            flag("no-calls", "Do not serve calls"),
        ])
}

fn door() -> [Arg; 15] {
    [
        option(
            "listen",
            "ADDRESS[:PORT]",
            "Address of pages, HTTP and WebSockets [default: 127.0.0.1:8080]",
        )
        .value_parser(settings::listen),
        option(
            "certificate",
            "FILE",
            "Certificate chain for TLS, PEM, the server's certificate first",
        ),
        option("key", "FILE", "Private key of the certificate, PEM"),
        flag(
            "self-signed",
            "TLS with a certificate created at startup; browsers warn about it once",
        ),
        option(
            "token-file",
            "FILE",
            "File with the token that clients need to watch, join rooms and call",
        ),
        option(
            "token",
            "TEXT",
            "Same as text; visible in the process list, prefer a file",
        ),
        option(
            "publish-token-file",
            "FILE",
            "File with the token that clients need to publish by WHIP [default: the token above]",
        ),
        option(
            "publish-token",
            "TEXT",
            "Same as text; visible in the process list, prefer a file",
        ),
        option(
            "stats-token-file",
            "FILE",
            "File with the token that shows other people's addresses and rooms in the statistics [default: the publish token]",
        ),
        option(
            "stats-token",
            "TEXT",
            "Same as text; visible in the process list, prefer a file",
        ),
        flag("open", "Serve anybody, on any address, without a token"),
        list(
            "allow-origin",
            "ORIGIN",
            "Web pages that may use this server as its own pages do, and embed its player, for example \
             https://www.example.org; * for any",
        )
        .value_parser(settings::origin),
        list(
            "trusted-proxy",
            "RANGE",
            "Reverse proxy whose X-Forwarded-For is trusted, for example 127.0.0.1 or 10.0.0.0/8",
        )
        .value_parser(value_parser!(Cidr)),
        flag(
            "proxy-protocol",
            "Connections of trusted proxies begin with the PROXY protocol, version 1 or 2",
        ),
        option(
            "base-path",
            "PATH",
            "Path of the pages at the reverse proxy, for example /cam [default: /]",
        )
        .value_parser(settings::base_path),
    ]
}

fn peers() -> [Arg; 5] {
    [
        option(
            "udp-port",
            "PORT",
            "UDP port shared by all peers [default: a free one]",
        )
        .value_parser(value_parser!(u16)),
        list(
            "external",
            "ADDRESS",
            "Public address that a router or cloud maps to this machine (1:1 NAT)",
        )
        .value_parser(value_parser!(IpAddr)),
        list(
            "ice-server",
            "URL[,USER,PASSWORD]",
            "STUN or TURN server, for this server and for the pages",
        )
        // Parsed later: an error must not show it with its password.
        .value_parser(value_parser!(String)),
        option(
            "max-peers",
            "N",
            "Maximum number of simultaneous peers [default: 1024]",
        )
        .value_parser(settings::count),
        option(
            "max-per-client",
            "N",
            "Maximum number of viewers and publishers of one address, and as many in rooms [default: 100]",
        )
        .value_parser(settings::count),
    ]
}

fn turn() -> [Arg; 5] {
    [
        flag("turn", "Run a TURN server; the pages use it"),
        list(
            "turn-listen",
            "ADDRESS[:PORT]",
            "Address of the TURN server, UDP and TCP [default: 0.0.0.0:3478 and [::]:3478]",
        )
        .value_parser(settings::turn_listen),
        option(
            "turn-secret-file",
            "FILE",
            "File with the secret for time-limited credentials [default: a new secret at each start]",
        ),
        option(
            "turn-ports",
            "FIRST-LAST",
            "Ports of its relays [default: any free port]",
        )
        .value_parser(settings::ports),
        list(
            "turn-allow-peer",
            "RANGE",
            "Relay to this range too, for example 10.0.0.0/8 [default: public addresses only]",
        )
        .value_parser(value_parser!(Cidr)),
    ]
}

fn run(options: &ArgMatches) -> Outcome {
    let settings = read(options)?;
    if options.get_flag("print-config") {
        say!("{}", settings.to_toml().trim_end());
        return Ok(());
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
        file::read(&text, &mut settings)
            .map_err(|error| Usage(format!("{path}:{}: {}", error.line, error.what)))?;
    }
    over(&mut settings, options)?;
    Ok(settings)
}

/// Applies the command line, which takes precedence.
fn over(s: &mut Settings, options: &ArgMatches) -> Result<(), Usage> {
    let text = |name| value::<String>(options, name);
    set(&mut s.listen, value::<SocketAddr>(options, "listen"));
    let self_signed = options.get_flag("self-signed");
    if self_signed || text("certificate").is_some() || text("key").is_some() {
        (s.certificate, s.key) = (text("certificate"), text("key"));
        s.self_signed = self_signed;
    }
    if text("token").is_some() || text("token-file").is_some() {
        (s.token, s.token_file) = (text("token").map(Secret), text("token-file"));
    }
    if text("publish-token").is_some() || text("publish-token-file").is_some() {
        s.publish_token = text("publish-token").map(Secret);
        s.publish_token_file = text("publish-token-file");
    }
    if text("stats-token").is_some() || text("stats-token-file").is_some() {
        s.stats_token = text("stats-token").map(Secret);
        s.stats_token_file = text("stats-token-file");
    }
    s.open |= options.get_flag("open");
    set_list(&mut s.allow_origins, values(options, "allow-origin"));
    set(&mut s.udp_port, value(options, "udp-port"));
    set(&mut s.max_peers, value(options, "max-peers"));
    set(&mut s.max_per_client, value(options, "max-per-client"));
    set_list(&mut s.trusted_proxies, values(options, "trusted-proxy"));
    s.proxy_protocol |= options.get_flag("proxy-protocol");
    set(&mut s.base_path, value(options, "base-path"));
    set_list(&mut s.external, values(options, "external"));
    let mut servers: Vec<IceServer> = Vec::new();
    for text in values::<String>(options, "ice-server") {
        let server = settings::ice_server(&text);
        servers.push(server.map_err(|error| Usage(format!("--ice-server: {error}")))?);
    }
    set_list(&mut s.ice_servers, servers);
    s.turn.enabled |= options.get_flag("turn");
    set_list(&mut s.turn.listen, values(options, "turn-listen"));
    s.turn.secret_file = text("turn-secret-file").or(s.turn.secret_file.take());
    s.turn.ports = value::<RangeInclusive<u16>>(options, "turn-ports").or(s.turn.ports.take());
    set_list(&mut s.turn.allow_peers, values(options, "turn-allow-peer"));
    s.testcard &= !options.get_flag("no-testcard");
    s.rooms &= !options.get_flag("no-rooms");
    s.calls &= !options.get_flag("no-calls");
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

fn set<T>(to: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *to = given;
    }
}

fn set_list<T>(to: &mut Vec<T>, given: Vec<T>) {
    if !given.is_empty() {
        *to = given;
    }
}

fn serve(config: GatewayConfig) -> Outcome {
    let stop = super::stop_on_signals()?;
    let needs_token = config.token.is_some();
    // Connections use descriptors; systems start with a limit of 1,024 and allow more.
    looprtc::server::door::raise_descriptors();
    let mut gateway = Gateway::new(config)?;
    announce(&gateway, needs_token);
    while !stop.load(Ordering::Relaxed) {
        gateway.turn(LOOK_UP)?;
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
