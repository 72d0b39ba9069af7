//! ICE servers in `Link` headers (RFC 8288; RFC 9725, section 4.6).
//!
//! ```text
//! Link: <stun:stun.example.net>; rel="ice-server"
//! Link: <turn:turn.example.net?transport=udp>; rel="ice-server"; username="user"; credential="secret";
//!       credential-type="password"
//! ```

use crate::proto::ice::{IceServer, ServerUrl};

/// Maximum length of one `Link` header that is read, in bytes.
pub const MAX_HEADER: usize = 8 * 1024;

/// Maximum number of links read in total; one header can hold several.
pub const MAX_LINKS: usize = 32;

/// A link of a `Link` header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// The target, between `<` and `>`.
    pub target: String,
    /// The parameters in order: names in lower case, values without quotes. A parameter without a value has an empty
    /// one.
    pub parameters: Vec<(String, String)>,
}

impl Link {
    /// Returns the first parameter with this name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns `true` if this is one of the link's relation types, which are compared ignoring case (RFC 8288, section
    /// 3.3).
    #[must_use]
    pub fn is(&self, relation: &str) -> bool {
        let rel = self.parameter("rel").unwrap_or_default();
        rel.split_ascii_whitespace()
            .any(|r| r.eq_ignore_ascii_case(relation))
    }
}

/// Parses the links of one header. Parsing ends at the first malformed link; those before it are returned.
#[must_use]
pub fn parse(header: &str) -> Vec<Link> {
    let mut links = Vec::new();
    let mut rest = match header.is_char_boundary(MAX_HEADER.min(header.len())) {
        true => &header[..MAX_HEADER.min(header.len())],
        false => return links,
    };
    while links.len() < MAX_LINKS {
        // Lists may have empty elements (RFC 9110, section 5.6.1).
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let Some((target, after)) = rest.strip_prefix('<').and_then(|r| r.split_once('>')) else {
            break;
        };
        let (parameters, after) = parameters(after);
        links.push(Link {
            target: target.to_owned(),
            parameters,
        });
        rest = match after.strip_prefix(',') {
            Some(after) => after,
            None => break,
        };
    }
    links
}

/// Parses the parameters up to the next comma; returns the rest.
fn parameters(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let Some(after) = rest.strip_prefix(';') else {
            return (found, rest);
        };
        rest = after.trim_start_matches([' ', '\t']);
        let end = rest.find(['=', ';', ',', ' ', '\t']).unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start_matches([' ', '\t']);
        let mut value = String::new();
        if let Some(after) = rest.strip_prefix('=') {
            (value, rest) = parameter_value(after.trim_start_matches([' ', '\t']));
        }
        if !name.is_empty() {
            found.push((name, value));
        }
    }
}

/// Parses a token or a quoted string (RFC 9110, section 5.6.4).
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    // The string has no end, so nothing follows.
    (value, "")
}

/// Returns the usable ICE servers in the `Link` headers of a response.
#[must_use]
pub fn ice_servers<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<IceServer> {
    let mut servers = Vec::new();
    for link in headers.into_iter().flat_map(parse).take(MAX_LINKS) {
        if !link.is("ice-server") {
            continue;
        }
        if let Err(error) = link.target.parse::<ServerUrl>() {
            log::info!("an ICE server that the other end names is of no use here: {error}");
            continue;
        }
        let of = |name| link.parameter(name).unwrap_or_default();
        let server = match (of("username"), of("credential")) {
            ("", _) => IceServer::stun(&link.target),
            (username, credential) => IceServer::turn(&link.target, username, credential),
        };
        if server.username.is_empty() && !link.target.starts_with("stun") {
            log::info!(
                "{}: a TURN server without credentials is of no use",
                link.target
            );
            continue;
        }
        servers.push(server);
    }
    servers
}

/// Returns `Link` header values for these servers, one per URL. A server with characters that cannot be in a header
/// (control characters, non-ASCII letters) is left out.
#[must_use]
pub fn of_ice_servers(servers: &[IceServer]) -> Vec<String> {
    let mut links = Vec::new();
    for (server, url) in servers
        .iter()
        .flat_map(|s| s.urls.iter().map(move |u| (s, u)))
    {
        let parts = [url, &server.username, &server.credential];
        let is_plain = |text: &&String| text.bytes().all(|c| (b' '..=b'~').contains(&c));
        if !parts.iter().all(is_plain) || url.contains(['<', '>', ' ']) {
            log::warn!("ICE server {url:?}: cannot stand in a Link header; it is left out");
            continue;
        }
        let mut link = format!("<{url}>; rel=\"ice-server\"");
        if !server.username.is_empty() {
            link += &format!(
                "; username={}; credential={}; credential-type=\"password\"",
                quoted(&server.username),
                quoted(&server.credential)
            );
        }
        links.push(link);
    }
    links
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_in_one_header() {
        let header = "<stun:stun.example.net>; rel=\"ice-server\", \
            <turn:turn.example.net?transport=udp>; rel=\"ice-server\"; username=\"user\"; \
            credential=\"my, \\\"word\\\"\"; credential-type=\"password\"";
        let servers = ice_servers([header]);
        assert_eq!(servers[0], IceServer::stun("stun:stun.example.net"));
        let turn = IceServer::turn(
            "turn:turn.example.net?transport=udp",
            "user",
            "my, \"word\"",
        );
        assert_eq!(servers[1], turn);
        assert_eq!(servers.len(), 2);
    }

    #[test]
    fn what_is_written_is_read_the_same() {
        let servers = [
            IceServer::stun("stun:[2001:db8::1]:3478"),
            IceServer::turn("turns:t.example:443", "17:a;b", "x\"y\\z,<>"),
        ];
        let links = of_ice_servers(&servers);
        assert_eq!(ice_servers(links.iter().map(String::as_str)), servers);
    }

    #[test]
    fn other_relations_and_other_schemes_are_passed_over() {
        let headers = [
            "<https://example.net/sse>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"",
            "<http://example.net/>; rel=ice-server",
            "<turn:t.example>; rel=\"ice-server\"",
            "<stun:s.example>; rel=\"other ICE-SERVER\"",
        ];
        let urls: Vec<_> = ice_servers(headers)
            .into_iter()
            .flat_map(|s| s.urls)
            .collect();
        assert_eq!(urls, ["stun:s.example"]);
    }

    #[test]
    fn odd_headers() {
        for (header, count) in [
            ("", 0),
            ("<", 0),
            ("no link", 0),
            (",, <a>,", 1),
            ("<a>;;rel, <b>; rel = \"x", 2),
            ("<a>; rel=\"\\", 1),
            ("<a> junk, <b>", 1),
        ] {
            assert_eq!(parse(header).len(), count, "{header:?}");
        }
        assert_eq!(parse("<b>; rel = \"x y\"")[0].parameter("rel"), Some("x y"));
        assert_eq!(parse(&"<a>,".repeat(100)).len(), MAX_LINKS);
        let secret = IceServer::turn("turn:a", "u\n", "p");
        assert!(of_ice_servers(&[secret]).is_empty());
    }
}
