//! The settings of `looprtc serve`, each declared once: key, option, range, explanation, and where the value is stored.
//! The options, the parser of the configuration file, `--print-config` and `contrib/looprtc.toml` are generated from
//! this table; the defaults are those of [`settings::Settings`] and of the `GatewayConfig` in it.

use std::net::IpAddr;

use looprtc::server::turn::Cidr;

use super::setting::{CliOption, Heading, Kind, ListError, Setting};
use super::settings;

/// Settings that belong together: one of them on the command line replaces all of those in the file.
pub const TOGETHER: [&[&str]; 5] = [
    &["certificate", "key", "self-signed"],
    &["token", "token-file"],
    &["publish-token", "publish-token-file"],
    &["stats-token", "stats-token-file"],
    &["admin-token", "admin-token-file"],
];

const fn key(
    key: &'static str,
    about: &'static [&'static str],
    option: Option<CliOption>,
    kind: Kind,
) -> Setting {
    Setting {
        section: "",
        key,
        about,
        example: "",
        option,
        kind,
    }
}

impl Setting {
    const fn example(mut self, text: &'static str) -> Self {
        self.example = text;
        self
    }

    const fn of_turn(mut self) -> Self {
        self.section = "turn";
        self
    }
}

const fn option(
    heading: Heading,
    name: &'static str,
    value: &'static str,
    help: &'static str,
) -> Option<CliOption> {
    Some(CliOption {
        name,
        value,
        help,
        heading,
    })
}

/// Access to a number of the gateway's configuration.
macro_rules! number {
    ($field:ident, $range:expr) => {
        Kind::Number {
            range: $range,
            get: |s| s.gateway.$field as i64,
            set: |s, value| s.gateway.$field = value as _,
        }
    };
}

/// Access to a list whose elements are parsed one by one.
macro_rules! list {
    ($($field:ident).+, $parse:expr) => {
        Kind::List {
            get: |s| s.$($field).+.iter().map(ToString::to_string).collect(),
            set: |s, texts| {
                s.$($field).+ = parsed(texts, $parse)?;
                Ok(())
            },
        }
    };
}

/// Parses all texts; the error has the position of the invalid one.
fn parsed<T>(
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, ListError> {
    let each = texts.iter().enumerate();
    each.map(|(at, text)| parse(text).map_err(|why| (at, why)))
        .collect()
}

/// Maximum value of a limit.
const MANY: i64 = 1_000_000;

use Heading::{Door, Features, Peers, Turn};

/// All settings in the order of `contrib/looprtc.toml`, except `[sources]`, whose keys are chosen by users.
pub const SETTINGS: &[Setting] = &[
    key(
        "listen",
        &["Address to listen at. On an address that other machines can reach, a token or `open` is required."],
        option(
            Door,
            "listen",
            "ADDRESS[:PORT]",
            "Address of pages, HTTP and WebSockets",
        ),
        Kind::Parsed {
            get: |s| Some(s.gateway.listen.to_string()),
            set: |s, text| {
                s.gateway.listen = settings::listen(text)?;
                Ok(())
            },
        },
    ),
    key(
        "certificate",
        &[
            "TLS: a certificate chain, the server's first, and its private key, both PEM. Browsers give cameras and",
            "microphones to HTTPS and to localhost only. Default: none, plain HTTP.",
        ],
        option(
            Door,
            "certificate",
            "FILE",
            "Certificate chain for TLS, PEM, the server's certificate first",
        ),
        Kind::Text(|s| &mut s.certificate),
    )
    .example("/etc/looprtc/chain.pem"),
    key(
        "key",
        &[],
        option(Door, "key", "FILE", "Private key of the certificate, PEM"),
        Kind::Text(|s| &mut s.key),
    )
    .example("/etc/looprtc/key.pem"),
    key(
        "self-signed",
        &["TLS with a certificate created at startup. Browsers warn about it once."],
        option(
            Door,
            "self-signed",
            "",
            "TLS with a certificate created at startup; browsers warn about it once",
        ),
        Kind::Flag(|s| &mut s.self_signed),
    ),
    key(
        "token-file",
        &[
            "Token that clients need to watch, join rooms and call; create one with `openssl rand -hex 16`. A token file contains",
            "nothing else. Default: none.",
        ],
        option(Door, "token-file", "FILE", "File with the token that clients need to watch, join rooms and call"),
        Kind::Text(|s| &mut s.token_file),
    )
    .example("/etc/looprtc/token"),
    key(
        "token",
        &[],
        option(
            Door,
            "token",
            "TEXT",
            "Same as text; visible in the process list, prefer a file",
        ),
        Kind::Secret(|s| &mut s.token),
    )
    .example("8b7df143d91c716ecfa5fc1730022f6b"),
    key(
        "publish-token-file",
        &["Token that clients need to publish by WHIP. Default: the same."],
        option(Door, "publish-token-file", "FILE", "File with the token that clients need to publish by WHIP [default: the token above]"),
        Kind::Text(|s| &mut s.publish_token_file),
    )
    .example("/etc/looprtc/publish-token"),
    key(
        "publish-token",
        &[],
        option(
            Door,
            "publish-token",
            "TEXT",
            "Same as text; visible in the process list, prefer a file",
        ),
        Kind::Secret(|s| &mut s.publish_token),
    )
    .example("d5c3a9a4a5e64b8c8f0b6e1f6a1c2d3e"),
    key(
        "stats-token-file",
        &[
            "Token that shows other people in the statistics (/api/stats, looprtc stats): addresses of viewers, names of rooms, full",
            "paths of files. Default: the publish token, if it differs from the token; without any token everybody on this machine,",
            "and nobody if the server is open.",
        ],
        option(Door, "stats-token-file", "FILE", "File with the token that shows other people's addresses and rooms in the statistics [default: the publish token]"),
        Kind::Text(|s| &mut s.stats_token_file),
    )
    .example("/etc/looprtc/stats-token"),
    key(
        "stats-token",
        &[],
        option(
            Door,
            "stats-token",
            "TEXT",
            "Same as text; visible in the process list, prefer a file",
        ),
        Kind::Secret(|s| &mut s.stats_token),
    )
    .example("0a4f6d1f5f4c4b7c9a2e6b8d3c1e5f70"),
    key(
        "admin-token-file",
        &[
            "Token to add, edit and remove cameras while the server runs, on the page /admin and by the API; it may do all the rest,",
            "too. Default: none; then only the user of this machine may, if there is no other token, no proxy, and `listen` is local.",
        ],
        option(Door, "admin-token-file", "FILE", "File with the token that adds, edits and removes cameras [default: none, only the user of this machine may]"),
        Kind::Text(|s| &mut s.admin_token_file),
    )
    .example("/etc/looprtc/admin-token"),
    key(
        "admin-token",
        &[],
        option(
            Door,
            "admin-token",
            "TEXT",
            "Same as text; visible in the process list, prefer a file",
        ),
        Kind::Secret(|s| &mut s.admin_token),
    )
    .example("5e1b9c7d2f3a48d6b0c4e8f1a7d9b2c6"),
    key(
        "cameras-file",
        &[
            "File that keeps the cameras that were added while the server ran, with their passwords. Default: cameras.jsonl in",
            "$STATE_DIRECTORY (systemd sets it), else this file's name with .cameras.jsonl for .toml; without either, none is kept.",
        ],
        option(
            Door,
            "cameras-file",
            "FILE",
            "File that keeps the cameras added on the page /admin or by the API \
             [default: beside the configuration file, or in $STATE_DIRECTORY]",
        ),
        Kind::Text(|s| &mut s.cameras_file),
    )
    .example("/var/lib/looprtc/cameras.jsonl"),
    key(
        "open",
        &["Serve anybody, on any address, without a token."],
        option(
            Door,
            "open",
            "",
            "Serve anybody, on any address, without a token",
        ),
        Kind::Flag(|s| &mut s.gateway.open),
    ),
    key(
        "allow-origins",
        &[
            "Web pages of other origins, for example [\"https://www.example.org\"], that may use this server as its own pages do (API,",
            "WHIP, WHEP, WebSockets) and show its player in an iframe; [\"*\"] for any. It is no substitute for a token: a page of any",
            "origin may use the API, WHIP and WHEP with the token in its requests. See docs/api.md.",
        ],
        option(
            Door,
            "allow-origin",
            "ORIGIN",
            "Web pages that may use this server as its own pages do, and embed its player, for example https://www.example.org; \
             * for any",
        ),
        list!(allow_origins, settings::origin),
    ),
    key(
        "trusted-proxies",
        &[
            "Addresses of proxies whose headers are trusted (X-Forwarded-For, -Proto, -Host and -Prefix, or Forwarded). Without it,",
            "everybody behind a proxy is one client to the limits below. Default: none.",
        ],
        option(
            Door,
            "trusted-proxy",
            "RANGE",
            "Reverse proxy whose X-Forwarded-For is trusted, for example 127.0.0.1 or 10.0.0.0/8",
        ),
        list!(trusted_proxies, str::parse::<Cidr>),
    ),
    key(
        "proxy-protocol",
        &["Connections of these proxies begin with the PROXY protocol, version 1 or 2."],
        option(
            Door,
            "proxy-protocol",
            "",
            "Connections of trusted proxies begin with the PROXY protocol, version 1 or 2",
        ),
        Kind::Flag(|s| &mut s.proxy_protocol),
    ),
    key(
        "base-path",
        &["Path of the pages at the proxy, for example \"/cam\", whether or not the proxy removes it from requests."],
        option(
            Door,
            "base-path",
            "PATH",
            "Path of the pages at the reverse proxy, for example /cam",
        ),
        Kind::Parsed {
            get: |s| Some(format!("{}/", s.gateway.base_path)),
            set: |s, text| {
                s.gateway.base_path = settings::base_path(text)?;
                Ok(())
            },
        },
    ),
    key(
        "udp-port",
        &["UDP port shared by all peers, to be opened in the firewall; 0: a free one."],
        option(
            Peers,
            "udp-port",
            "PORT",
            "UDP port shared by all peers [default: a free one]",
        ),
        number!(udp_port, 0..=65535),
    ),
    key(
        "external",
        &["Public addresses that a router or cloud maps to this machine (1:1 NAT): at most one of IPv4 and one of IPv6."],
        option(
            Peers,
            "external",
            "ADDRESS",
            "Public address that a router or cloud maps to this machine (1:1 NAT)",
        ),
        list!(gateway.external, |text: &str| {
            let ip = text.parse::<IpAddr>();
            ip.map_err(|error| error.to_string())
        }),
    ),
    key(
        "max-peers",
        &["Maximum number of simultaneous peers. Streams use three quarters of them at most, and so do rooms."],
        option(
            Peers,
            "max-peers",
            "N",
            "Maximum number of simultaneous peers",
        ),
        number!(max_peers, 1..=MANY),
    ),
    key(
        "max-per-client",
        &[
            "Limits for one client, which is one IPv4 address or one IPv6 network of 64 bits: viewers and publishers together (and as",
            "many participants of rooms, and users of calls); connections; offers, restarts and joins per second.",
        ],
        option(
            Peers,
            "max-per-client",
            "N",
            "Maximum number of viewers and publishers of one address, and as many in rooms",
        ),
        number!(max_per_client, 1..=MANY),
    ),
    key(
        "max-connections-per-client",
        &[],
        None,
        number!(max_connections_per_client, 1..=MANY),
    ),
    key(
        "offers-per-second",
        &[],
        None,
        number!(offers_per_second, 1..=MANY),
    ),
    key(
        "testcard",
        &["The built-in test card."],
        option(Features, "no-testcard", "", "Do not serve the test card"),
        Kind::On(|s| &mut s.gateway.testcard),
    ),
    key(
        "rooms",
        &["Rooms: conferences."],
        option(Features, "no-rooms", "", "Do not serve rooms"),
        Kind::On(|s| &mut s.gateway.rooms),
    ),
    key(
        "calls",
        &["Calls: one to one."],
        option(Features, "no-calls", "", "Do not serve calls"),
        Kind::On(|s| &mut s.gateway.calls),
    ),
    key(
        "deepch",
        &[
            "The HTTP interfaces of RTSPtoWebRTC and RTSPtoWeb (by deepch) at their paths, /stream and /streams, for programs that",
            "use them. Watching needs the token, as password of any user or ?token=; changes need the admin token. See docs/replace-rtsptoweb.md.",
        ],
        option(Features, "deepch", "", "Serve the HTTP interfaces of RTSPtoWebRTC and RTSPtoWeb at /stream and /streams"),
        Kind::Flag(|s| &mut s.gateway.deepch),
    ),
    key(
        "go2rtc",
        &["Address for the WebRTC part of go2rtc's HTTP interface, which Home Assistant speaks. Default: none."],
        option(
            Features,
            "go2rtc",
            "ADDRESS[:PORT]",
            "Serve the WebRTC part of go2rtc's HTTP interface at this address, for Home Assistant",
        ),
        Kind::Parsed {
            get: |s| s.gateway.go2rtc.map(|address| address.to_string()),
            set: |s, text| {
                s.gateway.go2rtc = Some(settings::go2rtc(text)?);
                Ok(())
            },
        },
    )
    .example("127.0.0.1:1984"),
    key(
        "ice-servers",
        &[],
        option(
            Peers,
            "ice-server",
            "URL[,USER,PASSWORD]",
            "STUN or TURN server, for this server and for the pages",
        ),
        Kind::IceServers,
    ),
    key(
        "enabled",
        &[],
        option(Turn, "turn", "", "Run a TURN server; the pages use it"),
        Kind::Flag(|s| &mut s.turn.enabled),
    )
    .of_turn(),
    key(
        "listen",
        &["Addresses to listen at, for UDP and TCP."],
        option(
            Turn,
            "turn-listen",
            "ADDRESS[:PORT]",
            "Address of the TURN server, UDP and TCP",
        ),
        list!(turn.listen, settings::turn_listen),
    )
    .of_turn(),
    key(
        "secret-file",
        &["Secret for time-limited credentials. Default: a new one at each start."],
        option(
            Turn,
            "turn-secret-file",
            "FILE",
            "File with the secret for time-limited credentials [default: a new secret at each start]",
        ),
        Kind::Text(|s| &mut s.turn.secret_file),
    )
    .example("/etc/looprtc/turn.secret")
    .of_turn(),
    key(
        "ports",
        &["Ports of the relays, to be opened in the firewall for UDP. Default: any free port."],
        option(
            Turn,
            "turn-ports",
            "FIRST-LAST",
            "Ports of its relays [default: any free port]",
        ),
        Kind::Parsed {
            get: |s| {
                let ports = s.turn.ports.as_ref();
                ports.map(|ports| format!("{}-{}", ports.start(), ports.end()))
            },
            set: |s, text| {
                s.turn.ports = Some(settings::ports(text)?);
                Ok(())
            },
        },
    )
    .example("50000-50999")
    .of_turn(),
    key(
        "allow-peers",
        &["Ranges to relay to, besides public addresses."],
        option(
            Turn,
            "turn-allow-peer",
            "RANGE",
            "Relay to this range too, for example 10.0.0.0/8 [default: public addresses only]",
        ),
        list!(turn.allow_peers, str::parse::<Cidr>),
    )
    .of_turn(),
];

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::super::setting::quoted;
    use super::super::settings::Settings;
    use super::*;

    /// The first lines of `contrib/looprtc.toml`.
    const BEGINNING: &str = "\
# The configuration of `looprtc serve`, read by `looprtc serve --config FILE`.
#
# It has every key. Values that are set are the defaults; lines that begin with # show keys that are not set.
# Options override this file; `looprtc serve --config FILE --print-config` shows the result.
# Unknown keys are errors. Paths are relative to the directory in which looprtc is started.
";

    const ICE_SERVERS: &str = "\
#[[ice-servers]]
#urls = [\"stun:stun.example.org\", \"turn:turn.example.org?transport=tcp\"]
#username = \"alice\"
#credential = \"wonderland\"
";

    /// Headings of `contrib/looprtc.toml`, each with the first key below it.
    const HEADINGS: [(&str, &str); 6] = [
        ("listen", "Pages, HTTP and WebSocket: one port"),
        (
            "trusted-proxies",
            "Reverse proxies, for example nginx and Caddy: see docs/proxies.md",
        ),
        ("udp-port", "Peers"),
        ("testcard", "Features"),
        (
            "ice-servers",
            "STUN and TURN servers, for this server and for the pages; one section for each. Default: none",
        ),
        (
            "enabled",
            "TURN server in the same process, for viewers behind strict firewalls",
        ),
    ];

    /// Returns `contrib/looprtc.toml` up to its `[sources]`.
    fn documented() -> String {
        let mut text = BEGINNING.to_owned();
        let defaults = Settings::default();
        let mut section = "";
        for setting in SETTINGS {
            let heading = HEADINGS.iter().find(|(key, _)| *key == setting.key);
            let is_first =
                heading.filter(|_| setting.key != "listen" || setting.section.is_empty());
            if let Some((_, heading)) = is_first {
                let _ = writeln!(text, "\n# ---- {heading} ----");
            }
            if setting.section != section {
                section = setting.section;
                let _ = writeln!(text, "\n[{section}]");
            }
            if !setting.about.is_empty() {
                text.push('\n');
            }
            for line in setting.about {
                let _ = writeln!(text, "# {line}");
            }
            let _ = match (&setting.kind, setting.to_toml(&defaults)) {
                (Kind::IceServers, _) => writeln!(text, "\n{}", ICE_SERVERS.trim_end()),
                (_, Some(value)) => writeln!(text, "{} = {value}", setting.key),
                (_, None) => writeln!(text, "#{} = {}", setting.key, quoted(setting.example)),
            };
        }
        text
    }

    /// To rewrite the file: `LOOPRTC_WRITE=1 cargo test --bin looprtc contrib`.
    #[test]
    fn contrib_looprtc_toml_is_made_of_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/looprtc.toml");
        let file = std::fs::read_to_string(path).unwrap();
        let sources = file.find("\n# ---- Streams").expect("[sources] at the end");
        if std::env::var_os("LOOPRTC_WRITE").is_some() {
            let all = documented() + &file[sources..];
            std::fs::write(path, all).unwrap();
            return;
        }
        let advice = "LOOPRTC_WRITE=1 cargo test --bin looprtc contrib writes it anew";
        let made = documented();
        for (line, made) in file[..sources].lines().zip(made.lines()) {
            assert_eq!(line, made, "{advice}");
        }
        assert_eq!(file[..sources].len(), made.len(), "{advice}");
    }

    #[test]
    fn keys_and_options_are_there_once() {
        let mut keys: Vec<_> = SETTINGS.iter().map(|s| (s.section, s.key)).collect();
        let options = SETTINGS
            .iter()
            .filter_map(|s| Some(s.option.as_ref()?.name));
        let mut options: Vec<_> = options.collect();
        for count in [keys.len(), options.len()] {
            assert!(count > 20, "{count}");
        }
        let (all_keys, all_options) = (keys.len(), options.len());
        keys.sort_unstable();
        keys.dedup();
        options.sort_unstable();
        options.dedup();
        assert_eq!((keys.len(), options.len()), (all_keys, all_options));
        // The number in the help text, and the range in both places.
        let peers = SETTINGS.iter().find(|s| s.key == "max-peers").unwrap();
        let help = peers.help(peers.option.as_ref().unwrap());
        assert!(help.ends_with("[default: 1024]"), "{help}");
        assert!(peers.check("0").unwrap_err().contains("at least 1"));
        assert!(peers.check("1000001").is_err() && peers.check("1000000").is_ok());
    }
}
