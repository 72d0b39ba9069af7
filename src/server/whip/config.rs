//! What a [`WhipServer`](super::WhipServer) can be told before it begins.

use std::time::Duration;

use crate::proto::peer::PeerConfig;
use crate::server::http::Request;
use crate::server::token::Token;
use crate::setters::setters;

/// Configuration of a [`WhipServer`](super::WhipServer).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WhipConfig {
    /// Where publishers post: `POST {publish_path}/NAME`. `/whip` by default.
    pub publish_path: String,
    /// Where viewers post. `/whep` by default.
    pub view_path: String,
    /// What publishers have to show, as `Authorization: Bearer TOKEN`. `None`, the default: anybody may publish.
    pub publish_token: Option<Token>,
    /// What viewers have to show. `None`, the default: anybody may watch.
    pub view_token: Option<Token>,
    /// Which web pages may use this from a browser. Programs that are no browsers say no origin, and are not
    /// hindered. [`Origins::Same`] by default.
    pub origins: Origins,
    /// What peers are made of: ICE servers, which clients are told of by `Link` headers as well
    /// ([`offer_ice_servers`](Self::offer_ice_servers)), addresses, limits. Whether media comes in frames or
    /// packets is not chosen here, and restarts are the client's to ask for.
    pub peer: PeerConfig,
    /// Whether clients are told of the [`peer`](Self::peer)'s ICE servers, with their credentials. On by default.
    pub offer_ice_servers: bool,
    /// Sessions at once, those included whose connection is still being closed. 1,000; above it: 503 with
    /// `Retry-After`.
    pub max_sessions: usize,
    /// Sessions of one client address (of one network of 64 bits, for IPv6). 100; above it: 429 with
    /// `Retry-After`. Behind a proxy that is not trusted all clients have its address.
    pub max_per_client: usize,
    /// Offers and ICE restarts of one client address in a second, after a burst of [`Self::offer_burst`]. Each 8 KiB
    /// of it counts as one more. 10; above it: 429 with `Retry-After`.
    pub offers_per_second: u32,
    /// Offers and ICE restarts of one client address at once. 100.
    pub offer_burst: u32,
    /// Bytes of an offer. 64 KiB; above it: 413.
    pub max_offer: usize,
    /// Bytes of a stream's name. 128; above it: 404.
    pub max_name: usize,
    /// How long an answer waits for candidates from STUN and TURN servers; later ones are lost, since WHIP has
    /// no way to send them. 1 s.
    pub gather_deadline: Duration,
    /// A session that has not connected by then is removed. 30 s.
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

/// Which web pages may use a service (Fetch, section 3.2; the `Origin` header is RFC 6454, section 7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origins {
    /// Those that were loaded from the host and port that they ask.
    #[default]
    Same,
    /// Those, and the ones of these origins, as `https://example.net` or `http://localhost:3000`.
    Listed(Vec<String>),
    /// All. Whoever can make a browser in this network open a page can then publish and watch with it.
    Any,
}

impl Origins {
    /// Whether the page that this request comes from may ask. It has an `Origin`.
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
