//! Settings of `looprtc serve` from the command line and the configuration file, before they become a `GatewayConfig`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use looprtc::proto::ice::{IceServer, ServerKind, ServerUrl};
use looprtc::server::gateway::{DoorTls, GatewayConfig};
use looprtc::server::proxies::{TrustedProxies, checked_prefix};
use looprtc::server::streams::SourceConfig;
use looprtc::server::token::Token;
use looprtc::server::turn::{Cidr, Credentials, PeerPolicy, TurnMachineConfig, TurnServerConfig};
use looprtc::server::whip::Origins;
use turn_types::stun::message::TransactionId;

/// The values of all settings. `None` and empty values are explained in `contrib/looprtc.toml`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Settings that the gateway takes in this form.
    pub gateway: GatewayConfig,
    pub certificate: Option<String>,
    pub key: Option<String>,
    pub self_signed: bool,
    pub token: Option<Secret>,
    pub token_file: Option<String>,
    pub publish_token: Option<Secret>,
    pub publish_token_file: Option<String>,
    pub stats_token: Option<Secret>,
    pub stats_token_file: Option<String>,
    pub admin_token: Option<Secret>,
    pub admin_token_file: Option<String>,
    pub cameras_file: Option<String>,
    pub allow_origins: Vec<String>,
    pub trusted_proxies: Vec<Cidr>,
    pub proxy_protocol: bool,
    pub sources: BTreeMap<String, String>,
    pub turn: Turn,
}

/// The TURN server in the same process.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub enabled: bool,
    pub listen: Vec<SocketAddr>,
    pub secret_file: Option<String>,
    pub ports: Option<RangeInclusive<u16>>,
    pub allow_peers: Vec<Cidr>,
}

/// A text that is not printed.
#[derive(Clone, PartialEq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gateway: GatewayConfig::default(),
            certificate: None,
            key: None,
            self_signed: false,
            token: None,
            token_file: None,
            publish_token: None,
            publish_token_file: None,
            stats_token: None,
            stats_token_file: None,
            admin_token: None,
            admin_token_file: None,
            cameras_file: None,
            allow_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            sources: BTreeMap::new(),
            turn: Turn {
                enabled: false,
                listen: TurnServerConfig::default().udp,
                secret_file: None,
                ports: None,
                allow_peers: Vec::new(),
            },
        }
    }
}

impl Settings {
    /// Reads the named files, and checks the settings for consistency.
    pub fn gateway(&self) -> Result<GatewayConfig, String> {
        let token = secret("token", &self.token, &self.token_file)?;
        let publish_token = secret(
            "publish-token",
            &self.publish_token,
            &self.publish_token_file,
        )?;
        let stats_token = secret("stats-token", &self.stats_token, &self.stats_token_file)?;
        let admin_token = secret("admin-token", &self.admin_token, &self.admin_token_file)?;
        let config = self
            .gateway
            .clone()
            .tls(self.tls()?)
            .token(token.map(Token::new))
            .publish_token(publish_token.map(Token::new))
            .stats_token(stats_token.map(Token::new))
            .admin_token(admin_token.map(Token::new))
            .cameras_file(self.cameras_file.as_ref().map(PathBuf::from))
            .origins(origins(&self.allow_origins))
            .turn(self.turn()?)
            .sources(self.sources.clone().into_iter().collect())
            .proxies(self.proxies()?);
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    /// Returns warnings about files that contain secrets.
    pub fn warnings(&self) -> Vec<String> {
        let files = [
            &self.token_file,
            &self.publish_token_file,
            &self.stats_token_file,
            &self.admin_token_file,
            &self.cameras_file,
            &self.turn.secret_file,
            &self.key,
        ];
        let files = files.into_iter().flatten();
        let warn = |path: &String| {
            format!("{path} can be read by every user of this machine: chmod o-r {path}")
        };
        files.filter(|path| is_public(path)).map(warn).collect()
    }

    fn proxies(&self) -> Result<TrustedProxies, String> {
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            return Err(
                "proxy-protocol needs trusted-proxies: the addresses of those that speak it".into(),
            );
        }
        Ok(TrustedProxies::default()
            .ranges(self.trusted_proxies.clone())
            .proxy_protocol(self.proxy_protocol))
    }

    fn tls(&self) -> Result<DoorTls, String> {
        match (&self.certificate, &self.key, self.self_signed) {
            (None, None, false) => Ok(DoorTls::Off),
            (None, None, true) => Ok(DoorTls::SelfSigned),
            (Some(certificate), Some(key), false) => Ok(DoorTls::Given {
                certificate: read(certificate)?,
                key: read(key)?,
            }),
            (Some(_), Some(_), true) => Err("a certificate is given, and a self-signed one asked for: leave out one".into()),
            _ => Err("a certificate and its key go together: give both (--certificate and --key), or none".into()),
        }
    }

    fn turn(&self) -> Result<Option<TurnServerConfig>, String> {
        if !self.turn.enabled {
            return Ok(None);
        }
        let secret = match &self.turn.secret_file {
            Some(path) => {
                let secret = read(path)?.trim_ascii().to_vec();
                if secret.is_empty() {
                    return Err(format!(
                        "{path}: the secret is empty: anybody could make credentials"
                    ));
                }
                secret
            }
            // 192 random bits from the system; nobody else has to know it.
            None => [TransactionId::generate(), TransactionId::generate()]
                .map(|id| format!("{:024x}", u128::from(id)))
                .concat()
                .into_bytes(),
        };
        let mut peers = PeerPolicy::default();
        for range in &self.turn.allow_peers {
            peers = peers.allow(*range);
        }
        let machine = TurnMachineConfig::default()
            .credentials(Credentials::default().secret(secret))
            .peers(peers);
        Ok(Some(
            TurnServerConfig::default()
                .machine(machine)
                .udp(self.turn.listen.clone())
                .tcp(self.turn.listen.clone())
                .external(self.gateway.external.clone())
                .ports(self.turn.ports.clone()),
        ))
    }
}

/// Returns a secret given directly, or in a file, whose text is trimmed because editors append a line end.
fn secret(
    what: &str,
    given: &Option<Secret>,
    file: &Option<String>,
) -> Result<Option<String>, String> {
    let (text, place) = match (given, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(format!(
                "{what} and {what}-file are both given: leave out one"
            ));
        }
        (Some(secret), None) => (secret.0.clone(), what.to_owned()),
        (None, Some(path)) => {
            let text = String::from_utf8(read(path)?)
                .map_err(|_| format!("{path}: the token is not text"))?;
            (text.trim().to_owned(), format!("{what}-file {path}"))
        }
    };
    // It is sent in a header (RFC 6750 §2.1), and a page asks a user for it.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "{place}: a token consists of letters, digits and signs, without spaces; create one with: openssl rand -hex 16"
        ));
    }
    Ok(Some(text))
}

/// Returns `true` if other users of this machine, who are neither owner nor in the group, can read a file.
fn is_public(path: &str) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let meta = std::fs::metadata(path);
        meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o004 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{path}: {error}"))
}

/// A listening address; the port is optional.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    address(text, 8080)
}

/// A listening address of the TURN server; the port is optional.
pub fn turn_listen(text: &str) -> Result<SocketAddr, String> {
    address(text, 3478)
}

/// A listening address of go2rtc's API; the port is optional.
pub fn go2rtc(text: &str) -> Result<SocketAddr, String> {
    address(text, 1984)
}

fn address(text: &str, port: u16) -> Result<SocketAddr, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let of_port = text.strip_prefix(':').and_then(|text| text.parse().ok());
    match (text.parse(), bare.parse::<IpAddr>(), of_port) {
        (Ok(address), _, _) => Ok(address),
        (_, Ok(ip), _) => Ok(SocketAddr::new(ip, port)),
        (_, _, Some(port)) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        _ if text == "localhost" => Ok((Ipv4Addr::LOCALHOST, port).into()),
        _ => Err(format!(
            "expected an address, for example 0.0.0.0:{port}, 192.0.2.7, [::]:{port}, or :{port} for this machine only"
        )),
    }
}

/// Parses an origin as browsers send it (RFC 6454 §6.2), `scheme://host[:port]`, or `*` for any.
pub fn origin(text: &str) -> Result<String, String> {
    let hosts = ["https://", "http://"].map(|scheme| text.strip_prefix(scheme));
    let host = hosts.into_iter().flatten().next().unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    match text == "*" || !host.is_empty() && host.chars().all(fits) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(
            "expected an origin without a path, for example https://www.example.org or http://localhost:3000, or * for any"
                .into(),
        ),
    }
}

fn origins(list: &[String]) -> Origins {
    match list {
        [] => Origins::Same,
        list if list.iter().any(|origin| origin == "*") => Origins::Any,
        list => Origins::Listed(list.to_vec()),
    }
}

/// Parses the path prefix under which clients reach the server.
pub fn base_path(text: &str) -> Result<String, String> {
    let prefix = checked_prefix(text)?;
    let first = prefix.split('/').nth(1).unwrap_or_default();
    let own = [
        "admin", "api", "assets", "call", "embed", "embed.js", "metrics", "publish", "room",
        "static", "stream", "streams", "watch", "whep", "whip",
    ];
    if own.contains(&first) {
        return Err(format!(
            "/{first} is a path of looprtc's own; take another, for example /cam"
        ));
    }
    Ok(prefix)
}

/// Parses `NAME=URL`.
pub fn source(text: &str) -> Result<(String, String), String> {
    // The = of a URL without a name stands in its query.
    let is_name = |(name, _): &(&str, &str)| !name.contains([':', '/', '@']);
    let Some((name, url)) = text.split_once('=').filter(is_name) else {
        let what = "expected NAME=URL, for example door=whip: or clip=clip.mp4; or a command, which looprtc --help lists";
        return Err(what.into());
    };
    check_source(name, url)?;
    Ok((name.to_owned(), url.to_owned()))
}

pub fn check_source(name: &str, url: &str) -> Result<(), String> {
    let parsed = SourceConfig::parse(&format!("{name}={url}"));
    parsed.map(|_| ()).map_err(|error| error.reason)
}

/// Parses `URL[,USER,PASSWORD]`. The error does not repeat the text, which may be a password.
pub fn ice_server(text: &str) -> Result<IceServer, String> {
    let parts: Vec<_> = text.splitn(3, ',').collect();
    let server = match parts[..] {
        [url] => IceServer::stun(url),
        [url, user, password] => IceServer::turn(url, user, password),
        _ => return Err("expected URL or URL,USER,PASSWORD".into()),
    };
    check_ice_server(&server)?;
    Ok(server)
}

pub fn check_ice_server(server: &IceServer) -> Result<(), String> {
    for url in &server.urls {
        let parsed: ServerUrl = url.parse().map_err(|error| format!("{error}"))?;
        if parsed.kind == ServerKind::Turn
            && (server.username.is_empty() || server.credential.is_empty())
        {
            return Err(format!(
                "{url}: a TURN server needs a username and a credential"
            ));
        }
    }
    Ok(())
}

/// Parses `FIRST-LAST`.
pub fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let range = text.split_once('-').and_then(|(first, last)| {
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        (first > 0 && first <= last).then_some(first..=last)
    });
    range.ok_or_else(|| "expected FIRST-LAST, for example 50000-50999".into())
}
