//! Configuration of a gateway.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::proto::ice::IceServer;
use crate::server::proxies::TrustedProxies;
use crate::server::token::Token;
#[cfg(feature = "turn-server")]
use crate::server::turn::TurnServerConfig;
use crate::server::whip::Origins;
use crate::setters::setters;

/// Minimum length of a token, in characters, below which it can be guessed.
const MIN_TOKEN: usize = 16;

/// Configuration of a gateway.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GatewayConfig {
    /// Listening address for HTTP and WebSockets. Default: 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// TLS of the HTTP server. Browsers allow camera access on secure origins only: HTTPS, or localhost. Default: none.
    pub tls: DoorTls,
    /// Token required to watch, join rooms and call. Default: none.
    pub token: Option<Token>,
    /// Token required to publish by WHIP. Default: the [`token`](Self::token).
    pub publish_token: Option<Token>,
    /// Token for data about other people: their addresses, the names of their rooms, full paths of files. Default: the
    /// [`publish_token`](Self::publish_token) if it differs from the [`token`](Self::token); without any token
    /// everybody has access, unless the server is [`open`](Self::open).
    pub stats_token: Option<Token>,
    /// Token required to add, edit and remove cameras; it grants all other rights, too. Default: none. Without any token,
    /// users of this machine may do so if the server [listens](Self::listen) on loopback, is not [`open`](Self::open) and
    /// has no proxy; otherwise nobody.
    pub admin_token: Option<Token>,
    /// Serve everybody on any address without a token. Default: `false`.
    pub open: bool,
    /// Web pages of other origins that may use this server as its own pages do (the API, WHIP, WHEP, WebSockets) and show
    /// `/embed/NAME` in an iframe. A page of any origin may use the API, WHIP and WHEP with a bearer token. Default:
    /// [`Origins::Same`], none.
    pub origins: Origins,
    /// UDP port shared by all peers; 0 lets the system choose. Default: 0.
    pub udp_port: u16,
    /// Public addresses that a router or a cloud maps to this machine (1:1 NAT). Default: none.
    pub external: Vec<IpAddr>,
    /// STUN and TURN servers for the server itself and for the pages. Default: none.
    pub ice_servers: Vec<IceServer>,
    /// Embedded STUN and TURN server. Default: none.
    #[cfg(feature = "turn-server")]
    pub turn: Option<TurnServerConfig>,
    /// Streams as pairs of name and URL. Default: none.
    pub sources: Vec<(String, String)>,
    /// File that keeps the cameras that are added while the server runs. It is read at the start, if it exists, and
    /// replaced at each change, with access for its owner only, because it contains their passwords. Default: `None`,
    /// such cameras are gone when the server ends.
    pub cameras_file: Option<PathBuf>,
    /// Offer the built-in test card. Default: `true`.
    pub testcard: bool,
    /// Offer rooms. Default: `true`.
    pub rooms: bool,
    /// Offer calls. Default: `true`.
    pub calls: bool,
    /// Serve the HTTP interfaces of RTSPtoWebRTC and RTSPtoWeb (by deepch) at their paths: `/stream…`, `/streams…`,
    /// `/static…`. Default: `false`.
    pub deepch: bool,
    /// Listening address for the WebRTC part of go2rtc's HTTP interface, which Home Assistant speaks. Default: none.
    pub go2rtc: Option<SocketAddr>,
    /// Maximum number of peers. WHIP and WHEP may use three quarters of them, and so may rooms, so that neither can
    /// exhaust all. Default: 1,024.
    pub max_peers: usize,
    /// Maximum number of WHIP and WHEP sessions per client address (per /64 network for IPv6), and likewise of
    /// participants in rooms and of users in calls. Default: 100.
    pub max_per_client: usize,
    /// Maximum number of connections per client address. Default: 256.
    pub max_connections_per_client: usize,
    /// Maximum rate per client address of offers and ICE restarts, and likewise of joining rooms, per second after a
    /// burst of [`max_per_client`](Self::max_per_client). Default: 10.
    pub offers_per_second: u32,
    /// Reverse proxies whose information about clients is trusted. Default: none.
    pub proxies: TrustedProxies,
    /// Path prefix under which clients reach the server through a proxy, for example `/cam`: see
    /// [`checked_prefix`](crate::server::proxies::checked_prefix). Requests may arrive with the prefix or, if the proxy
    /// removes it, without. Default: empty.
    pub base_path: String,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8080).into(),
            tls: DoorTls::Off,
            token: None,
            publish_token: None,
            stats_token: None,
            admin_token: None,
            open: false,
            origins: Origins::Same,
            udp_port: 0,
            external: Vec::new(),
            ice_servers: Vec::new(),
            #[cfg(feature = "turn-server")]
            turn: None,
            sources: Vec::new(),
            cameras_file: None,
            testcard: true,
            rooms: true,
            calls: true,
            deepch: false,
            go2rtc: None,
            max_peers: 1024,
            max_per_client: 100,
            max_connections_per_client: 256,
            offers_per_second: 10,
            proxies: TrustedProxies::default(),
            base_path: String::new(),
        }
    }
}

/// TLS of the HTTP server.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DoorTls {
    /// Plain HTTP.
    #[default]
    Off,
    /// A certificate chain and its key, in PEM.
    Given {
        /// The chain, with the server's certificate first.
        certificate: Vec<u8>,
        /// The private key.
        key: Vec<u8>,
    },
    /// A self-signed certificate created at startup. Browsers warn about it once.
    SelfSigned,
}

impl fmt::Debug for DoorTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::Given { .. } => "Given",
            Self::SelfSigned => "SelfSigned",
        })
    }
}

/// Reason why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The address is reachable by others, but neither a token nor [`open`](GatewayConfig::open) is set.
    Exposed(SocketAddr),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exposed(address) => write!(
                f,
                "{address} is reachable from other machines: give a token (--token TEXT, or --token-file FILE), or \
                 say that anybody may come (--open)"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

impl GatewayConfig {
    /// Checks that the server may start with this configuration.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Exposed`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let doors = [Some(self.listen), self.go2rtc];
        let exposed = doors.into_iter().flatten().find(|a| !a.ip().is_loopback());
        if let Some(address) = exposed.filter(|_| self.token.is_none() && !self.open) {
            return Err(ConfigError::Exposed(address));
        }
        Ok(())
    }

    /// Returns warnings for the owner, none of which prevents the start.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let is_remote = !self.listen.ip().is_loopback();
        #[cfg(feature = "turn-server")]
        if self.turn.is_some() && self.open && self.token.is_none() {
            warnings.push(
                "--open with --turn: anybody who finds this server can relay what they like through it, without a limit \
                 of bandwidth; give it a token, or leave --turn out"
                    .to_owned(),
            );
        }
        let tokens = [
            ("token", &self.token),
            ("publish token", &self.publish_token),
            ("stats token", &self.stats_token),
            ("admin token", &self.admin_token),
        ];
        if is_remote && self.tls == DoorTls::Off && tokens.iter().any(|(_, token)| token.is_some())
        {
            warnings.push(format!(
                "{} is plain HTTP: tokens and cookies can be read on the way; use --self-signed, --certificate and --key, \
                 or listen on 127.0.0.1 behind a proxy with TLS (docs/proxies.md)",
                self.listen
            ));
        }
        for (name, token) in tokens {
            let length = token
                .as_ref()
                .map_or(MIN_TOKEN, |token| token.expose().len());
            if length < MIN_TOKEN {
                warnings.push(format!(
                    "the {name} has {length} characters: it can be guessed; a better one is had by: openssl rand -hex 16"
                ));
            }
        }
        warnings
    }

    /// Returns the maximum number of peers for WHIP and WHEP, and for rooms.
    pub(super) fn share(&self) -> usize {
        self.max_peers - self.max_peers / 4
    }
}

impl GatewayConfig {
    setters! {
        listen: SocketAddr,
        tls: DoorTls,
        token: Option<Token>,
        publish_token: Option<Token>,
        stats_token: Option<Token>,
        admin_token: Option<Token>,
        open: bool,
        origins: Origins,
        udp_port: u16,
        external: Vec<IpAddr>,
        ice_servers: Vec<IceServer>,
        #[cfg(feature = "turn-server")]
        turn: Option<TurnServerConfig>,
        sources: Vec<(String, String)>,
        cameras_file: Option<PathBuf>,
        testcard: bool,
        rooms: bool,
        calls: bool,
        deepch: bool,
        go2rtc: Option<SocketAddr>,
        max_peers: usize,
        max_per_client: usize,
        max_connections_per_client: usize,
        offers_per_second: u32,
        proxies: TrustedProxies,
        base_path: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_need_a_token_or_an_open_door() {
        let config = GatewayConfig::default();
        assert_eq!(config.check(), Ok(()));
        let everywhere = config.listen(([0, 0, 0, 0], 8080).into());
        let error = everywhere.check().unwrap_err();
        assert!(error.to_string().contains("--token"), "{error}");
        assert_eq!(everywhere.clone().open(true).check(), Ok(()));
        assert_eq!(everywhere.token(Some(Token::new("abc"))).check(), Ok(()));
    }

    /// S23: settings that are allowed, but rarely intended.
    #[test]
    fn what_its_owner_should_know_is_said() {
        let warned = |config: GatewayConfig, word: &str| {
            let warnings = config.warnings();
            assert!(!warnings.iter().any(|w| w.contains("abc")), "{warnings:?}");
            warnings.iter().filter(|w| w.contains(word)).count()
        };
        let config = GatewayConfig::default;
        let long = || Some(Token::new("8b7df143d91c716ecfa5fc1730022f6b"));
        let everywhere = || config().listen(([0, 0, 0, 0], 8080).into());
        assert_eq!(config().token(long()).warnings(), [""; 0]);
        assert_eq!(everywhere().open(true).warnings(), [""; 0]);
        let short = config().token(Some(Token::new("abc")));
        assert_eq!(warned(short.publish_token(long()), "has 3 characters"), 1);
        assert_eq!(
            warned(config().stats_token(Some(Token::new("abc"))), "stats token"),
            1
        );
        assert_eq!(warned(everywhere().token(long()), "plain HTTP"), 1);
        let secure = everywhere().token(long()).tls(DoorTls::SelfSigned);
        assert_eq!(secure.warnings(), [""; 0]);
        #[cfg(feature = "turn-server")]
        {
            let turn = Some(TurnServerConfig::default());
            let relay = everywhere().open(true).turn(turn.clone());
            assert_eq!(warned(relay, "--open with --turn"), 1);
            assert_eq!(secure.turn(turn).warnings(), [""; 0]);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = GatewayConfig::default().token(Some(Token::new("wonderland")));
        assert!(!format!("{config:?}").contains("wonderland"));
    }
}
