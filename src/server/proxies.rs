//! Trusted reverse proxies and the client information in their headers.
//!
//! Behind nginx, Caddy or a load balancer every connection comes from the proxy. Its statements about the client are
//! used only if its address is trusted ([`TrustedProxies`]): anyone else could forge these headers to appear as any
//! address, and evade all limits per client.
//!
//! | header | information |
//! |---|---|
//! | `X-Forwarded-For`, `Forwarded` (RFC 7239) | the client: the right-most address that is not a trusted proxy's |
//! | `X-Forwarded-Proto`, `Forwarded` | whether the client uses TLS |
//! | `X-Forwarded-Host`, `X-Forwarded-Port`, `Forwarded` | the host that the client requested |
//! | `X-Forwarded-Prefix` | the prefix of the client's paths that the proxy has removed |
//! | the PROXY protocol, versions 1 and 2 | the client of the connection |
//!
//! A proxy sets one of `X-Forwarded-For` and `Forwarded`, and passes the other one through unchanged from the client.
//! If both are present and name different clients, neither is used: the request counts as the proxy's.

mod header;

use std::net::{IpAddr, SocketAddr};

pub(crate) use self::header::{Header, HeaderReader};
pub use super::cidr::Cidr;
use crate::server::http::Request;
use crate::setters::setters;

/// Maximum number of entries of an address list that are read, from the right.
const MOST_ENTRIES: usize = 32;

/// Maximum length of a host or a prefix, in bytes.
const MOST_TEXT: usize = 255;

/// Configuration of trusted proxies. Default: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrustedProxies {
    /// Address ranges of the proxies. Default: none.
    pub ranges: Vec<Cidr>,
    /// Require the PROXY protocol (version 1 or 2) at the start of each connection from a trusted proxy. Default:
    /// `false`.
    pub proxy_protocol: bool,
}

impl TrustedProxies {
    setters! {
        ranges: Vec<Cidr>,
        proxy_protocol: bool,
    }

    /// Returns `true` if an address is a trusted proxy's.
    #[must_use]
    pub fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.ranges.iter().any(|range| range.contains(ip))
    }

    /// Replaces the request's connection data with that of the client, as stated by the outermost trusted proxy. Does
    /// nothing for requests from other addresses. Idempotent.
    pub(crate) fn apply(&self, request: &mut Request) {
        if !self.trusts(request.client.ip()) {
            return;
        }
        let listed = values(request, "x-forwarded-for");
        let listed: Vec<&str> = listed.flat_map(|value| value.split(',')).collect();
        let forwarded = Element::all(request);
        let by_list = (!listed.is_empty()).then(|| self.client(&listed, request.client));
        let nodes: Vec<&str> = forwarded.iter().map(|e| e.node.as_str()).collect();
        let by_element = (!nodes.is_empty()).then(|| self.client(&nodes, request.client));
        let (client, steps) = match (by_list, by_element) {
            (Some(a), Some(b)) if a.0.ip() != b.0.ip() => (request.client, 0),
            (Some(found), _) | (None, Some(found)) => found,
            (None, None) => (request.client, 0),
        };
        // The host as stated by the same proxy, counted from the right like the addresses.
        let element = steps
            .checked_sub(1)
            .and_then(|n| forwarded.iter().nth_back(n));
        let nth = |name: &str| {
            let values = values(request, name);
            let all: Vec<&str> = values.flat_map(|v| v.split(',')).map(str::trim).collect();
            let at = all.len().saturating_sub(steps.max(1));
            all.get(at).map(|value| (*value).to_owned())
        };
        let of_element = |of: fn(&Element) -> &str| {
            let text = element.map(of).filter(|text| !text.is_empty());
            text.map(str::to_owned)
        };
        let proto = nth("x-forwarded-proto").or_else(|| of_element(|e| &e.proto));
        let host = nth("x-forwarded-host")
            .or_else(|| of_element(|e| &e.host))
            .filter(|host| is_host(host));
        let port = nth("x-forwarded-port").filter(|port| port.parse::<u16>().is_ok());
        let prefix = nth("x-forwarded-prefix").and_then(|prefix| checked_prefix(&prefix).ok());
        request.client = client;
        match proto.as_deref() {
            Some("https" | "wss") => request.secure = true,
            Some("http" | "ws") => request.secure = false,
            _ => {}
        }
        if let Some(host) = host {
            let host = match port {
                Some(port) if !has_port(&host) => format!("{host}:{port}"),
                _ => host,
            };
            request.headers.retain(|(name, _)| name != "host");
            request.headers.push(("host".into(), host));
        }
        if let Some(prefix) = prefix {
            request.prefix = prefix;
        }
    }

    /// Returns the right-most address of a list that is not a trusted proxy's, and the number of entries up to it. An
    /// invalid entry ends the search: the request then counts as the proxy's that wrote it.
    fn client(&self, entries: &[&str], proxy: SocketAddr) -> (SocketAddr, usize) {
        let mut client = proxy;
        let mut steps = 0;
        for entry in entries.iter().rev().take(MOST_ENTRIES) {
            let Some(address) = address(entry) else {
                break;
            };
            client = address;
            steps += 1;
            if !self.trusts(client.ip()) {
                break;
            }
        }
        (client, steps)
    }
}

/// An element of `Forwarded` (RFC 7239, section 4).
#[derive(Debug, Default, PartialEq)]
struct Element {
    node: String,
    host: String,
    proto: String,
}

impl Element {
    /// Parses all elements of a request, in order. An invalid element has an empty node, which is not an address.
    fn all(request: &Request) -> Vec<Self> {
        let values: Vec<&str> = values(request, "forwarded").collect();
        let values = values.join(",");
        split(&values, ',').map(Self::read).collect()
    }

    fn read(text: &str) -> Self {
        let mut element = Self::default();
        for pair in split(text, ';') {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let value = value.trim();
            let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            let value = quoted.map_or_else(|| value.to_owned(), |v| v.replace('\\', ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => element.node = value,
                "host" => element.host = value,
                "proto" => element.proto = value.to_ascii_lowercase(),
                _ => {}
            }
        }
        element
    }
}

fn values<'a>(request: &'a Request, name: &'a str) -> impl Iterator<Item = &'a str> {
    let headers = request.headers.iter().filter(move |(n, _)| n == name);
    headers.map(|(_, value)| value.as_str())
}

/// Splits at a character outside of quotes. Empty parts are left out.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    let parts = text.split(move |c: char| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match c {
            '"' if !was_escaped => is_quoted = !is_quoted,
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            _ => {}
        }
        c == at && !is_quoted
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

/// Parses an address as used in these headers: with or without a port, IPv6 with or without brackets.
fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let text = text
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(text);
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let ip = bare.unwrap_or(text).parse::<IpAddr>();
    let with_port = || text.parse::<SocketAddr>().ok();
    let address = ip.map_or_else(|_| with_port(), |ip| Some(SocketAddr::new(ip, 0)))?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

fn is_host(host: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    (1..=MOST_TEXT).contains(&host.len()) && host.bytes().all(fits)
}

fn has_port(host: &str) -> bool {
    host.rfind(':')
        .is_some_and(|colon| !host[colon..].contains(']'))
}

/// Validates a path prefix such as `/live/cams`, made of segments of letters, digits, `-`, `.`, `_` and `~`, and
/// returns it without a trailing slash. `/` alone is the empty prefix.
///
/// # Errors
///
/// Returns an error message if the prefix is invalid.
pub fn checked_prefix(text: &str) -> Result<String, String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() {
        return Ok(String::new());
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let is_segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.bytes().all(fits);
    let segments = text.strip_prefix('/').map(|rest| rest.split('/'));
    let is_good = segments.is_some_and(|mut all| all.all(is_segment));
    if !is_good || text.len() > MOST_TEXT {
        return Err("expected a path of letters, digits, -, ., _ and ~, for example /cam".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn trusted() -> TrustedProxies {
        let range = |text: &str| text.parse().unwrap();
        TrustedProxies::default().ranges(vec![range("10.0.0.0/8"), range("2001:db8:1::/48")])
    }

    fn request(client: &str, headers: &[(&str, &str)]) -> Request {
        let client = SocketAddr::new(client.parse().unwrap(), 4711);
        let mut request = Request::new("GET", "/", client);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        request.headers = headers.iter().map(owned).collect();
        request
    }

    fn client(peer: &str, headers: &[(&str, &str)]) -> String {
        let mut request = request(peer, headers);
        trusted().apply(&mut request);
        let once = request.clone();
        trusted().apply(&mut request);
        assert!(request == once || trusted().trusts(request.client.ip()));
        request.client.ip().to_string()
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_no_proxys() {
        for (list, wanted) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7:5000", "192.0.2.7"),
            ("203.0.113.9, 192.0.2.7", "192.0.2.7"),
            ("192.0.2.7, 10.1.1.1,10.2.2.2", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8::5", "2001:db8::5"),
            ("[2001:db8::5]", "2001:db8::5"),
            ("[2001:db8::5]:443", "2001:db8::5"),
            ("2001:db8::5, 2001:db8:1::1", "2001:db8::5"),
            // All are proxies: the request counts as the outermost one's.
            ("10.9.9.9, 10.1.1.1", "10.9.9.9"),
            // An invalid entry ends the search.
            ("192.0.2.7, unknown, 10.1.1.1", "10.1.1.1"),
            ("192.0.2.7, unknown", PROXY),
            ("", PROXY),
        ] {
            assert_eq!(
                client(PROXY, &[("x-forwarded-for", list)]),
                wanted,
                "{list}"
            );
        }
        // Header lines of the same name form one list.
        let lines = [
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-for", "10.1.1.1"),
        ];
        assert_eq!(client(PROXY, &lines), "192.0.2.7");
        assert_eq!(client("::ffff:10.0.0.1", &lines), "192.0.2.7");
    }

    #[test]
    fn forwarded_as_rfc_7239_has_it() {
        for (value, wanted) in [
            ("for=192.0.2.43", "192.0.2.43"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
            ("for=192.0.2.43, for=\"10.1.1.1:80\"", "192.0.2.43"),
            ("for=\"_gazonk\"", PROXY),
            ("for=unknown, for=10.1.1.1", "10.1.1.1"),
            ("for=\"a,b;c\\\"d\", for=192.0.2.1", "192.0.2.1"),
            ("proto=https", PROXY),
        ] {
            assert_eq!(client(PROXY, &[("forwarded", value)]), wanted, "{value}");
        }
    }

    #[test]
    fn headers_of_strangers_change_nothing() {
        let headers = [
            ("host", "media.example"),
            ("x-forwarded-for", "10.0.0.9"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/evil"),
            ("forwarded", "for=127.0.0.1;host=evil.example;proto=https"),
        ];
        for stranger in ["192.0.2.7", "11.0.0.1", "::1", "2001:db8:2::1"] {
            let before = request(stranger, &headers);
            let mut after = before.clone();
            trusted().apply(&mut after);
            assert_eq!(after, before);
            TrustedProxies::default().apply(&mut after);
            assert_eq!(after, before);
        }
    }

    /// A proxy passes the header through that it does not write itself.
    #[test]
    fn two_headers_that_disagree_are_not_believed() {
        let both =
            |list, element| client(PROXY, &[("x-forwarded-for", list), ("forwarded", element)]);
        assert_eq!(both("192.0.2.7", "for=203.0.113.1"), PROXY);
        assert_eq!(both("192.0.2.7", "for=unknown"), PROXY);
        assert_eq!(both("192.0.2.7", "for=192.0.2.7;proto=https"), "192.0.2.7");
    }

    #[test]
    fn host_scheme_and_prefix_are_the_clients() {
        let after = |headers: &[(&str, &str)]| {
            let mut request = request(PROXY, headers);
            trusted().apply(&mut request);
            let host = request.header("host").unwrap_or_default().to_owned();
            (request.secure, host, request.prefix)
        };
        let x = after(&[
            ("host", "127.0.0.1:8080"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "media.example"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-prefix", "/live/"),
        ]);
        assert_eq!(x, (true, "media.example:8443".into(), "/live".into()));
        let rfc = after(&[
            ("host", "127.0.0.1:8080"),
            (
                "forwarded",
                "for=192.0.2.7;host=\"media.example:444\";proto=https, for=10.1.1.1;proto=http",
            ),
        ]);
        assert_eq!(rfc, (true, "media.example:444".into(), String::new()));
        let chain = after(&[
            ("host", "inner"),
            ("x-forwarded-for", "192.0.2.7, 10.1.1.1"),
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "outer.example, middle"),
        ]);
        assert_eq!(chain, (true, "outer.example".into(), String::new()));
        let bad = after(&[
            ("host", "inner"),
            ("x-forwarded-host", "a b"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-prefix", "/a\"><script>"),
        ]);
        assert_eq!(bad, (false, "inner".into(), String::new()));
    }

    #[test]
    fn prefixes() {
        for (text, wanted) in [("", ""), ("/", ""), ("/cam", "/cam"), ("/a/b-c/", "/a/b-c")] {
            assert_eq!(checked_prefix(text).as_deref(), Ok(wanted));
        }
        for text in [
            "cam",
            "//evil.example",
            "/a//b",
            "/../x",
            "/a b",
            "/\u{e4}",
            "/a?b",
            "/a;b",
        ] {
            assert!(checked_prefix(text).is_err(), "{text}");
        }
    }
}
