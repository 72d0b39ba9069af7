//! STUN and TURN servers for us and for the pages; the embedded one among them.

use std::time::Instant;

use serde_json::Value;

use super::{GatewayConfig, GatewayError};
use crate::driver::EventLoop;
use crate::proto::ice::IceServer;
use crate::server::http::Request;
use crate::server::rooms::ice_servers;

#[cfg(feature = "turn-server")]
use crate::server::quota::client_of;
#[cfg(feature = "turn-server")]
use crate::server::turn::{
    Cidr, Transport, TurnServer, TurnServerConfig, TurnStats, rest_password,
};

/// How long the credentials that a page is given are good for.
#[cfg(feature = "turn-server")]
const LIFETIME: u64 = 24 * 3600;

pub(super) struct Relay {
    #[cfg(feature = "turn-server")]
    server: Option<TurnServer>,
    #[cfg(feature = "turn-server")]
    secret: Vec<u8>,
}

impl Relay {
    #[cfg(not(feature = "turn-server"))]
    pub fn start(_config: &GatewayConfig, _net: &mut EventLoop) -> Result<Self, GatewayError> {
        Ok(Self {})
    }

    #[cfg(feature = "turn-server")]
    pub fn start(config: &GatewayConfig, net: &mut EventLoop) -> Result<Self, GatewayError> {
        let Some(turn) = &config.turn else {
            let secret = Vec::new();
            return Ok(Self {
                server: None,
                secret,
            });
        };
        let secret = turn.machine.credentials.secret.clone();
        let secret = secret.ok_or_else(|| {
            GatewayError::Turn("it needs a secret, to make credentials for the pages".into())
        })?;
        let server = TurnServer::new(with_own_addresses(
            turn.clone(),
            config.listen.ip().is_loopback(),
        ))
        .map_err(|e| GatewayError::Turn(e.to_string()))?;
        net.watch(&server)?;
        let server = Some(server);
        Ok(Self { server, secret })
    }

    pub fn turn(&mut self) {
        #[cfg(feature = "turn-server")]
        if let Some(server) = &mut self.server
            && let Err(error) = server.turn(Some(std::time::Duration::ZERO))
        {
            log::error!("the TURN server: {error}");
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        #[cfg(feature = "turn-server")]
        return self.server.as_ref().and_then(TurnServer::next_deadline);
        #[cfg(not(feature = "turn-server"))]
        None
    }

    #[cfg(feature = "turn-server")]
    pub fn stats(&self) -> Option<TurnStats> {
        self.server.as_ref().map(TurnServer::stats)
    }

    /// Those that a page is told of, as `RTCIceServer`s; the embedded one by the name under which the page knows us.
    pub fn servers_for_page(&self, config: &GatewayConfig, request: &Request) -> Value {
        let given = config.ice_servers.iter().cloned();
        let all: Vec<_> = given.chain(self.embedded(request)).collect();
        ice_servers(&all)
    }

    #[cfg(not(feature = "turn-server"))]
    fn embedded(&self, _request: &Request) -> Option<IceServer> {
        None
    }

    #[cfg(feature = "turn-server")]
    fn embedded(&self, request: &Request) -> Option<IceServer> {
        let server = self.server.as_ref()?;
        let host = host_name(request.header("host")?);
        let urls = server.listening().iter().map(|listening| {
            let port = listening.address.port();
            match listening.transport {
                Transport::Udp => format!("turn:{host}:{port}"),
                Transport::Tcp => format!("turn:{host}:{port}?transport=tcp"),
                Transport::Tls => format!("turns:{host}:{port}?transport=tcp"),
            }
        });
        let mut urls: Vec<_> = urls.collect();
        urls.sort();
        urls.dedup();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let until = now.map_or(0, |now| now.as_secs()) + LIFETIME;
        let username = format!("{until}:{}", page_name(&self.secret, request.client.ip()));
        let credential = rest_password(&self.secret, &username);
        Some(IceServer {
            urls,
            username,
            credential,
        })
    }
}

/// Whom it relays to is our own peers first, whose addresses are this machine's, and often private. With them comes what
/// else listens for UDP on these addresses; who has credentials could reach that without the relay, too.
#[cfg(feature = "turn-server")]
fn with_own_addresses(mut turn: TurnServerConfig, with_loopback: bool) -> TurnServerConfig {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let own = interfaces
        .iter()
        .filter(|i| with_loopback || !i.is_loopback());
    for interface in own {
        let ip = interface.ip();
        if let Ok(range) = Cidr::new(ip, if ip.is_ipv4() { 32 } else { 128 }) {
            turn.machine.peers = turn.machine.peers.allow(range);
        }
    }
    turn
}

/// The name that a page has at the TURN server, so that its relays count for the address it was given to, wherever it
/// uses it from. It does not give the address away.
#[cfg(feature = "turn-server")]
fn page_name(secret: &[u8], client: std::net::IpAddr) -> String {
    // No username that could be signed in with: it begins with no number.
    let proof = rest_password(secret, &format!("page of {}", client_of(client)));
    let letters = proof.chars().filter(char::is_ascii_alphanumeric).take(16);
    format!("page-{}", letters.collect::<String>())
}

/// A `Host` header without its port; IPv6 addresses keep their brackets, as ICE server URLs want them.
#[cfg(feature = "turn-server")]
fn host_name(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

#[cfg(all(test, feature = "turn-server"))]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_a_name_of_its_own() {
        let of = |ip: &str| page_name(b"secret", ip.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_ne!(of("192.0.2.1"), page_name(b"other", [192, 0, 2, 1].into()));
        assert!(!of("192.0.2.1").contains("192"));
    }

    #[test]
    fn hosts_without_ports() {
        assert_eq!(host_name("example.net:8080"), "example.net");
        assert_eq!(host_name("example.net"), "example.net");
        assert_eq!(host_name("[2001:db8::1]:8080"), "[2001:db8::1]");
        assert_eq!(host_name("[2001:db8::1]"), "[2001:db8::1]");
    }
}
