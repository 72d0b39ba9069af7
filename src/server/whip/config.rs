//! Configuration of a [`WhipServer`](super::WhipServer).

use std::time::Duration;

use crate::proto::peer::PeerConfig;
use crate::server::http::Request;
use crate::server::token::Token;
use crate::setters::setters;

/// Configuration of a [`WhipServer`](super::WhipServer).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WhipConfig {
    /// Path for publishers: `POST {publish_path}/NAME`. Default: `/whip`.
    pub publish_path: String,
    /// Path for viewers. Default: `/whep`.
    pub view_path: String,
    /// Token required from publishers, as `Authorization: Bearer TOKEN`. `None`, the default: anybody may publish.
    pub publish_token: Option<Token>,
    /// Token required from viewers. `None`, the default: anybody may watch.
    pub view_token: Option<Token>,
    /// Web pages that may use this server from a browser. Other programs send no `Origin` and are not restricted.
    /// Default: [`Origins::Same`].
    pub origins: Origins,
    /// Configuration of peers: ICE servers (also sent to clients in `Link` headers, see
    /// [`offer_ice_servers`](Self::offer_ice_servers)), addresses, limits. The media mode is not taken from here, and
    /// ICE restarts are up to the client.
    pub peer: PeerConfig,
    /// Send the [`peer`](Self::peer)'s ICE servers to clients, with their credentials. On by default.
    pub offer_ice_servers: bool,
    /// Maximum number of sessions, including those whose connection is still being closed. Default: 1,000; beyond it
    /// 503 with `Retry-After` is returned.
    pub max_sessions: usize,
    /// Maximum number of sessions per client address (per /64 network for IPv6). Default: 100; beyond it 429 with
    /// `Retry-After` is returned. Behind a proxy that is not trusted, all clients share its address.
    pub max_per_client: usize,
    /// Maximum number of offers and ICE restarts per client address and second, after a burst of [`Self::offer_burst`].
    /// Each 8 KiB of an offer count as one more. Default: 10; beyond it 429 with `Retry-After` is returned.
    pub offers_per_second: u32,
    /// Maximum burst of offers and ICE restarts per client address. Default: 100.
    pub offer_burst: u32,
    /// Maximum size of an offer, in bytes. Default: 64 KiB; beyond it 413 is returned.
    pub max_offer: usize,
    /// Maximum length of a stream's name, in bytes. Default: 128; beyond it 404 is returned.
    pub max_name: usize,
    /// Maximum time that an answer waits for candidates from STUN and TURN servers; later ones are lost, because WHIP
    /// cannot send them. Default: 1 s.
    pub gather_deadline: Duration,
    /// Time after which a session that has not connected is removed. Default: 30 s.
    pub connect_deadline: Duration,
}

impl Default for WhipConfig {
    fn default() -> Self {
        Self {
            publish_path: "/whip".into(),
            view_path: "/whep".into(),
            publish_token: None,
            view_token: None,
            origins: Origins::Same,
            peer: PeerConfig::default(),
            offer_ice_servers: true,
            max_sessions: 1000,
            max_per_client: 100,
            offers_per_second: 10,
            offer_burst: 100,
            max_offer: 64 * 1024,
            max_name: 128,
            gather_deadline: Duration::from_secs(1),
            connect_deadline: Duration::from_secs(30),
        }
    }
}

impl WhipConfig {
    setters! {
        publish_path: String,
        view_path: String,
        publish_token: Option<Token>,
        view_token: Option<Token>,
        origins: Origins,
        peer: PeerConfig,
        offer_ice_servers: bool,
        max_sessions: usize,
        max_per_client: usize,
        offers_per_second: u32,
        offer_burst: u32,
        max_offer: usize,
        max_name: usize,
        gather_deadline: Duration,
        connect_deadline: Duration,
    }
}

/// Web pages that may use a service (Fetch, section 3.2; the `Origin` header is RFC 6454, section 7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Origins {
    /// Pages loaded from the host and port of the request.
    #[default]
    Same,
    /// Those, and pages of these origins, such as `https://example.net` or `http://localhost:3000`.
    Listed(Vec<String>),
    /// All pages. Anyone who makes a browser in this network open a page can then publish and watch with it.
    Any,
}

impl Origins {
    /// Returns `true` if the page that this request comes from is allowed. The request has an `Origin`.
    #[must_use]
    pub fn permits(&self, request: &Request) -> bool {
        let is = |listed: &String| {
            let origin = request.header("origin");
            origin.is_some_and(|origin| listed.eq_ignore_ascii_case(origin))
        };
        match self {
            Self::Any => true,
            Self::Same => request.is_same_origin(),
            Self::Listed(list) => request.is_same_origin() || list.iter().any(is),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let permits = |origins: &Origins, origin: &str, host: Option<&str>| {
            let mut request = Request::new("POST", "/whip/a", ([192, 0, 2, 1], 1).into());
            request.headers = vec![("origin".into(), origin.into())];
            request
                .headers
                .extend(host.map(|host| ("host".into(), host.into())));
            origins.permits(&request)
        };
        let host = Some("example.net:8080");
        assert!(permits(&Origins::Same, "http://example.net:8080", host));
        assert!(!permits(&Origins::Same, "http://example.net", host));
        assert!(!permits(&Origins::Same, "null", host));
        assert!(!permits(&Origins::Same, "http://example.net:8080", None));
        let listed = Origins::Listed(vec!["https://page.example".into()]);
        assert!(permits(&listed, "https://PAGE.example", host));
        assert!(!permits(&listed, "http://page.example", host));
        assert!(permits(&Origins::Any, "null", None));
    }
}
