//! STUN and TURN servers for the server itself and for the pages, including the embedded one.

#[cfg(feature = "turn-server")]
use std::net::IpAddr;
#[cfg(feature = "turn-server")]
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use super::{GatewayConfig, GatewayError};
use crate::driver::EventLoop;
use crate::proto::ice::IceServer;
use crate::server::http::Request;
use crate::server::ice_servers;

#[cfg(feature = "turn-server")]
use crate::server::quota::client_of;
#[cfg(feature = "turn-server")]
use crate::server::turn::{Transport, TurnServer, TurnStats, rest_password};

/// Lifetime of the credentials issued to pages, in seconds.
#[cfg(feature = "turn-server")]
const LIFETIME: u64 = 24 * 3600;

pub(super) struct Relay {
    #[cfg(feature = "turn-server")]
    server: Option<TurnServer>,
    #[cfg(feature = "turn-server")]
    secret: Vec<u8>,
    /// Time of the next lookup of this machine's addresses.
    #[cfg(feature = "turn-server")]
    look_at: Option<Instant>,
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
                look_at: None,
            });
        };
        let secret = turn.machine.credentials.secret.clone();
        let secret = secret.ok_or_else(|| {
            GatewayError::Turn("it needs a secret, to make credentials for the pages".into())
        })?;
        let server = TurnServer::new(turn.clone());
        let server = server.map_err(|e| GatewayError::Turn(e.to_string()))?;
        net.watch(&server)?;
        let server = Some(server);
        Ok(Self {
            server,
            secret,
            look_at: None,
        })
    }

    #[cfg(not(feature = "turn-server"))]
    pub fn turn(&mut self, _config: &GatewayConfig, _net: &EventLoop) {}

    /// Runs the embedded TURN server, and updates the addresses and the port at which its relays may reach our own
    /// peers.
    #[cfg(feature = "turn-server")]
    pub fn turn(&mut self, config: &GatewayConfig, net: &EventLoop) {
        let Some(server) = &mut self.server else {
            return;
        };
        let now = Instant::now();
        let is_due = self.look_at.is_none_or(|at| at <= now);
        if is_due {
            self.look_at = Some(now + LOOK_AGAIN);
        }
        let own = is_due.then(|| own_addresses(config));
        let port = net.shared_port();
        server.set_own(own, port.as_slice());
        if let Err(error) = server.run_once(Some(Duration::ZERO)) {
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

    /// Returns the servers for a page as `RTCIceServer` objects; the embedded one under the host name by which the page
    /// reached us.
    pub fn servers_for_page(&self, config: &GatewayConfig, request: &Request) -> Value {
        let given = config.ice_servers.iter().cloned();
        let all: Vec<_> = given.chain(self.embedded(request)).collect();
        ice_servers::for_pages(&all)
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

/// Interval of the lookup of this machine's addresses.
#[cfg(feature = "turn-server")]
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Returns the addresses of this machine, including those mapped to it by routers. Loopback is included only if the
/// server is for this machine alone: behind a proxy it serves remote clients, and a token implies such clients.
#[cfg(feature = "turn-server")]
fn own_addresses(config: &GatewayConfig) -> Vec<IpAddr> {
    let is_local = config.listen.ip().is_loopback() && config.token.is_none();
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let all = interfaces.iter().map(if_addrs::Interface::ip);
    let own = all.filter(|ip| is_local || !ip.is_loopback());
    own.chain(config.external.iter().copied()).collect()
}

/// Returns the TURN user name of a page. Its relays count against the address that it was issued to, wherever it is
/// used. It does not reveal the address.
#[cfg(feature = "turn-server")]
fn page_name(secret: &[u8], client: std::net::IpAddr) -> String {
    // Not a time-limited username by itself: it does not begin with a number.
    let proof = rest_password(secret, &format!("page of {}", client_of(client)));
    let letters = proof.chars().filter(char::is_ascii_alphanumeric).take(16);
    format!("page-{}", letters.collect::<String>())
}

/// Returns a `Host` header without its port; IPv6 addresses keep their brackets, as in ICE server URLs.
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
