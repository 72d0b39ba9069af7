//! ICE servers (W3C `RTCIceServer`) and their URLs (RFC 7064, RFC 7065).
//!
//! ```
//! use looprtc::proto::ice::{IceServer, ServerKind, ServerUrl};
//! let server = IceServer::turn("turn:turn.example.org?transport=tcp", "user", "secret");
//! let url: ServerUrl = server.urls[0].parse()?;
//! assert_eq!((url.kind, url.port), (ServerKind::Turn, 3478));
//! # Ok::<(), looprtc::proto::ice::ServerUrlError>(())
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::bindings::BindingTransport;
use crate::proto::net::ServerName;

/// Maximum length of a server URL, in bytes: a host name has at most 253.
pub const MAX_SERVER_URL: usize = 320;

/// Maximum length of username and credential, in bytes each (a username of RFC 8489 §14.3 is below 509).
pub const MAX_CREDENTIAL: usize = 508;

/// STUN and TURN servers that share a credential (W3C WebRTC §4.2.4 `RTCIceServer`).
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct IceServer {
    /// URLs: `stun:host`, `stun:host:port`, `turn:host?transport=udp`, `turns:[2001:db8::1]:443?transport=tcp`, …
    ///
    /// With ICE-TCP a server at `stun:` is asked over UDP and TCP, one at `stuns:` over TLS. RFC 7064 defines no
    /// `?transport` for them, and browsers refuse it; here `stun:host?transport=tcp` is accepted and means TCP only.
    pub urls: Vec<String>,
    /// TURN username. With time-limited (REST) credentials it is `expiry:name`, as issued by the service.
    pub username: String,
    /// TURN password.
    pub credential: String,
}

/// Omits the credential, so that logs contain no secrets.
impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl IceServer {
    /// Creates a STUN server.
    pub fn stun(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            ..Self::default()
        }
    }

    /// Creates a TURN server with its long-term credential (RFC 8489 §9.2).
    pub fn turn(
        url: impl Into<String>,
        username: impl Into<String>,
        credential: impl Into<String>,
    ) -> Self {
        Self {
            urls: vec![url.into()],
            username: username.into(),
            credential: credential.into(),
        }
    }

    /// Checks that there is a credential that TURN can use.
    pub(super) fn check_credential(&self) -> Result<(), &'static str> {
        let (name, word) = (self.username.len(), self.credential.len());
        if name == 0 || word == 0 {
            return Err("a TURN server needs username and credential");
        }
        if name > MAX_CREDENTIAL || word > MAX_CREDENTIAL {
            return Err("username and credential have at most 508 bytes");
        }
        Ok(())
    }

    /// Adds a URL that uses the same credential.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// Returns `true` if one of the URLs names this machine: a loopback address, or `localhost` (RFC 6761 §6.3).
    pub(crate) fn is_on_loopback(&self) -> bool {
        let mut urls = self
            .urls
            .iter()
            .filter_map(|url| url.parse::<ServerUrl>().ok());
        urls.any(|url| match url.host {
            ServerHost::Ip(ip) => ip.to_canonical().is_loopback(),
            ServerHost::Name(name) => name.eq_ignore_ascii_case("localhost"),
        })
    }
}

/// Selects the candidates that may be used (W3C WebRTC §4.2.5 `RTCIceTransportPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IceTransportPolicy {
    /// All candidates.
    #[default]
    All,
    /// Relayed candidates only: the remote peer does not learn our addresses.
    Relay,
}

/// Role of an ICE server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerKind {
    /// STUN: reports the source address of our datagrams.
    Stun,
    /// TURN: relays traffic.
    Turn,
}

/// Transport between this machine and an ICE server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerTransport {
    /// Over UDP.
    Udp,
    /// TCP. STUN servers are asked over TCP for ICE-TCP, from the listening port (RFC 6544 §5.2), so
    /// [`GatherConfig::tcp`](super::GatherConfig::tcp) must include passive.
    Tcp,
    /// TLS over TCP. For STUN servers (`stuns:`) see [`Tcp`](Self::Tcp).
    Tls,
}

/// Host of a server: an IP address, or a name that has to be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerHost {
    /// A literal address.
    Ip(IpAddr),
    /// A host name, lower case.
    Name(String),
}

impl fmt::Display for ServerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A parsed URL of an [`IceServer`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ServerUrl {
    /// STUN or TURN.
    pub kind: ServerKind,
    /// The host.
    pub host: ServerHost,
    /// The port: 3478 by default, 5349 over TLS.
    pub port: u16,
    /// The transport: UDP by default, TLS for `stuns` and `turns`.
    pub transport: ServerTransport,
}

/// Reason why a server URL was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerUrlError {
    /// The URL, truncated to 320 bytes.
    pub url: String,
    /// Description of the error.
    pub why: &'static str,
}

impl fmt::Display for ServerUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ICE server URL {:?}: {}", self.url, self.why)
    }
}

impl std::error::Error for ServerUrlError {}

impl ServerUrl {
    /// Returns the name that the server's certificate must be valid for.
    pub(super) fn server_name(&self) -> ServerName {
        ServerName(match &self.host {
            ServerHost::Ip(ip) => ip.to_string(),
            ServerHost::Name(name) => name.clone(),
        })
    }

    /// Returns the transport for a STUN binding.
    pub(super) fn binding_transport(&self) -> BindingTransport {
        match self.transport {
            ServerTransport::Udp => BindingTransport::Udp,
            ServerTransport::Tcp => BindingTransport::Tcp,
            ServerTransport::Tls => BindingTransport::Tls(self.server_name()),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secure = self.transport == ServerTransport::Tls;
        let (scheme, default) = match (self.kind, secure) {
            (ServerKind::Stun, false) => ("stun", PORT),
            (ServerKind::Stun, true) => ("stuns", PORT_TLS),
            (ServerKind::Turn, false) => ("turn", PORT),
            (ServerKind::Turn, true) => ("turns", PORT_TLS),
        };
        write!(f, "{scheme}:{}", self.host)?;
        if self.port != default {
            write!(f, ":{}", self.port)?;
        }
        match self.transport {
            ServerTransport::Tcp => f.write_str("?transport=tcp"),
            ServerTransport::Udp | ServerTransport::Tls => Ok(()),
        }
    }
}

const PORT: u16 = 3478;
const PORT_TLS: u16 = 5349;

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    fn from_str(url: &str) -> Result<Self, ServerUrlError> {
        parse(url).map_err(|why| ServerUrlError {
            url: url.chars().take(MAX_SERVER_URL).collect(),
            why,
        })
    }
}

fn parse(url: &str) -> Result<ServerUrl, &'static str> {
    if url.len() > MAX_SERVER_URL {
        return Err("it is too long");
    }
    let (scheme, rest) = url
        .split_once(':')
        .ok_or("it begins with stun:, stuns:, turn: or turns:")?;
    let (kind, secure) = match scheme.to_ascii_lowercase().as_str() {
        "stun" => (ServerKind::Stun, false),
        "stuns" => (ServerKind::Stun, true),
        "turn" => (ServerKind::Turn, false),
        "turns" => (ServerKind::Turn, true),
        _ => return Err("it begins with stun:, stuns:, turn: or turns:"),
    };
    if rest.starts_with("//") {
        return Err("no // after the scheme (RFC 7064 §3.1)");
    }
    let (authority, query) = match rest.split_once('?') {
        Some((authority, query)) => (authority, Some(query)),
        None => (rest, None),
    };
    if authority.contains('@') {
        return Err("the credential goes into username and credential, not into the URL");
    }
    let (host, port) = split_port(authority)?;
    let transport = transport(secure, query)?;
    let default = if secure { PORT_TLS } else { PORT };
    Ok(ServerUrl {
        kind,
        host: parse_host(host)?,
        port: port.unwrap_or(default),
        transport,
    })
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("the IPv6 address has no ]")?;
            match after {
                "" => (host, None),
                after => (
                    host,
                    Some(after.strip_prefix(':').ok_or("after ] comes :port")?),
                ),
            }
        }
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address stands in brackets");
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err("the port is a number from 1 to 65535"),
            Ok(port) => Some(port),
        },
        None => None,
    };
    Ok((host, port))
}

fn transport(secure: bool, query: Option<&str>) -> Result<ServerTransport, &'static str> {
    let Some(query) = query else {
        return Ok(if secure {
            ServerTransport::Tls
        } else {
            ServerTransport::Udp
        });
    };
    match (query.to_ascii_lowercase().as_str(), secure) {
        ("transport=udp", false) => Ok(ServerTransport::Udp),
        ("transport=tcp", false) => Ok(ServerTransport::Tcp),
        ("transport=tcp", true) => Ok(ServerTransport::Tls),
        ("transport=udp", true) => Err("DTLS to servers is not supported; use ?transport=tcp"),
        _ => Err("after ? comes transport=udp or transport=tcp"),
    }
}

fn parse_host(host: &str) -> Result<ServerHost, &'static str> {
    if host.contains(':') {
        let ip: Ipv6Addr = host.parse().map_err(|_| "the IPv6 address is not valid")?;
        return Ok(ServerHost::Ip(ip.into()));
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(ServerHost::Ip(ip));
    }
    let is_name = !host.is_empty()
        && host.len() <= 253
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if !is_name {
        return Err("the host is neither an address nor a name");
    }
    Ok(ServerHost::Name(host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> ServerUrl {
        url.parse().unwrap()
    }

    #[test]
    fn servers_on_this_machine_are_known() {
        for (url, is_here) in [
            ("stun:127.0.0.1", true),
            ("turn:127.8.0.1:3479?transport=tcp", true),
            ("turns:[::1]:443", true),
            ("stun:[::ffff:127.0.0.1]", true),
            ("turn:LocalHost", true),
            ("turn:localhost.example", false),
            ("stun:192.0.2.1", false),
            ("nothing", false),
        ] {
            let server = IceServer::stun("stun:192.0.2.7").url(url);
            assert_eq!(server.is_on_loopback(), is_here, "{url}");
        }
    }

    #[test]
    fn urls_of_the_rfcs() {
        // RFC 7064 appendix A, RFC 7065 appendix A.
        for (url, port, transport) in [
            ("stun:example.org", 3478, ServerTransport::Udp),
            ("stuns:example.org", 5349, ServerTransport::Tls),
            ("stun:example.org:8000", 8000, ServerTransport::Udp),
            ("turn:example.org", 3478, ServerTransport::Udp),
            ("turns:example.org", 5349, ServerTransport::Tls),
            ("turn:example.org:8000", 8000, ServerTransport::Udp),
            ("turn:example.org?transport=udp", 3478, ServerTransport::Udp),
            ("turn:example.org?transport=tcp", 3478, ServerTransport::Tcp),
            (
                "turns:example.org?transport=tcp",
                5349,
                ServerTransport::Tls,
            ),
            (
                "TURNS:Example.ORG:443?Transport=TCP",
                443,
                ServerTransport::Tls,
            ),
        ] {
            let u = parsed(url);
            assert_eq!((u.port, u.transport), (port, transport), "{url}");
            assert_eq!(u.host, ServerHost::Name("example.org".into()));
            assert_eq!(parsed(&u.to_string()), u, "{u}");
        }
    }

    /// Not in RFC 7064, but common in practice.
    #[test]
    fn a_stun_url_may_name_its_transport() {
        for (url, port, transport, plain) in [
            ("stun:a?transport=udp", 3478, ServerTransport::Udp, "stun:a"),
            (
                "stun:a?transport=tcp",
                3478,
                ServerTransport::Tcp,
                "stun:a?transport=tcp",
            ),
            (
                "stuns:a?transport=tcp",
                5349,
                ServerTransport::Tls,
                "stuns:a",
            ),
        ] {
            let u = parsed(url);
            let is = (u.kind, u.port, u.transport);
            assert_eq!(is, (ServerKind::Stun, port, transport), "{url}");
            assert_eq!(u.to_string(), plain);
            assert_eq!(parsed(plain), u);
        }
    }

    #[test]
    fn addresses_of_both_families() {
        let u = parsed("turn:[2001:db8::1]:99?transport=tcp");
        assert_eq!(u.to_string(), "turn:[2001:db8::1]:99?transport=tcp");
        assert_eq!(u.host, ServerHost::Ip("2001:db8::1".parse().unwrap()));
        assert_eq!(parsed("stun:[::1]").port, 3478);
        let u = parsed("stun:192.0.2.1");
        assert_eq!(u.host, ServerHost::Ip("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn says_what_is_wrong() {
        for (url, why) in [
            ("example.org", "begins with"),
            ("http:example.org", "begins with"),
            ("stun://example.org", "no //"),
            ("stun:", "neither"),
            ("stun:a b", "neither"),
            ("stun:example.org:0", "port"),
            ("stun:example.org:x", "port"),
            ("stun:2001:db8::1", "brackets"),
            ("stun:[2001:db8::1", "no ]"),
            ("stun:[x:y]", "not valid"),
            ("stun:[::1]99", "after ]"),
            ("stun:example.org?transport=sctp", "after ?"),
            ("stuns:example.org?transport=udp", "DTLS"),
            ("turn:example.org?transport=sctp", "after ?"),
            ("turns:example.org?transport=udp", "DTLS"),
            ("turn:user:pass@example.org", "credential"),
        ] {
            let e = url.parse::<ServerUrl>().unwrap_err();
            assert!(e.why.contains(why), "{url}: {e}");
        }
        let e = "x".repeat(4000).parse::<ServerUrl>().unwrap_err();
        assert!(e.to_string().len() < 400);
    }

    #[test]
    fn a_credential_has_a_length() {
        let of = |name: usize, word: usize| {
            let (name, word) = ("n".repeat(name), "w".repeat(word));
            IceServer::turn("turn:a", name, word).check_credential()
        };
        assert_eq!(of(MAX_CREDENTIAL, MAX_CREDENTIAL), Ok(()));
        for (name, word) in [(MAX_CREDENTIAL + 1, 1), (1, MAX_CREDENTIAL + 1)] {
            assert!(of(name, word).unwrap_err().contains("at most 508 bytes"));
        }
        for (name, word) in [(0, 1), (1, 0)] {
            assert!(of(name, word).unwrap_err().contains("needs username"));
        }
    }

    #[test]
    fn a_credential_is_not_logged() {
        let server = IceServer::turn("turn:a", "me", "secret");
        assert!(!format!("{server:?}").contains("secret"));
    }
}
