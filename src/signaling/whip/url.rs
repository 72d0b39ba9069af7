//! URLs of WHIP endpoints and sessions (RFC 3986, the part that HTTP needs).

use std::fmt;
use std::str::FromStr;

/// Maximum length of a URL, in bytes.
const MAX_URL: usize = 2048;

/// An `http` or `https` URL without user, password and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    /// Host and port in lower case; the port is omitted if it is the scheme's default.
    authority: String,
    /// Path, beginning with `/`.
    path: String,
    /// Query including its `?`, or empty.
    query: String,
}

impl Url {
    /// Returns the origin (RFC 6454), such as `https://example.net:8443`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority)
    }

    /// Returns `true` for `https`.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns host and port.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Resolves a reference in a response from this URL (RFC 3986, section 5.2).
    ///
    /// # Errors
    ///
    /// Returns [`UrlError`] if the result is not a usable URL.
    pub fn join(&self, reference: &str) -> Result<Self, UrlError> {
        let reference = reference.split('#').next().unwrap_or_default().trim();
        if has_scheme(reference) {
            return reference.parse();
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return format!("{}://{rest}", self.scheme()).parse();
        }
        let (path, query) = split_query(reference);
        let path = match path {
            "" => self.path.clone(),
            absolute if absolute.starts_with('/') => absolute.to_owned(),
            relative => {
                let base = self.path.rfind('/').map_or("/", |end| &self.path[..=end]);
                format!("{base}{relative}")
            }
        };
        let origin = self.origin();
        format!("{origin}{}{query}", without_dots(&path)).parse()
    }

    fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.origin(), self.path, self.query)
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let bad = |why| {
            let text: String = text.chars().take(100).collect();
            UrlError { text, why }
        };
        if text.len() > MAX_URL {
            return Err(bad("it is longer than 2,048 bytes"));
        }
        if !text.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(bad(
                "white space, control characters and letters beyond ASCII have to be written as %XX",
            ));
        }
        let lower = text.get(..8.min(text.len())).unwrap_or_default();
        let lower = lower.to_ascii_lowercase();
        let (secure, rest) = match (
            lower.strip_prefix("https://"),
            lower.strip_prefix("http://"),
        ) {
            (Some(_), _) => (true, &text[8..]),
            (_, Some(_)) => (false, &text[7..]),
            _ => return Err(bad("it has to begin with http:// or https://")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if authority.contains('@') {
            // Not included in the error: it is a secret.
            return Err(UrlError {
                text: "the URL".into(),
                why: "user and password do not belong into it; there is a token for that",
            });
        }
        let authority = authority.to_ascii_lowercase();
        let own_port = if secure { ":443" } else { ":80" };
        check_authority(&authority).map_err(bad)?;
        let authority = authority.strip_suffix(own_port).unwrap_or(&authority);
        let (path, query) = split_query(rest);
        Ok(Self {
            secure,
            authority: authority.to_owned(),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            query: query.to_owned(),
        })
    }
}

fn check_authority(authority: &str) -> Result<(), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']').ok_or("the bracket is not closed")?;
            ip.parse::<std::net::Ipv6Addr>()
                .map_err(|_| "between the brackets is not an IPv6 address")?;
            (ip, port)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            authority.split_at(end)
        }
    };
    if host.is_empty() {
        return Err("it has no host");
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(port) if port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(()),
        _ => Err("the port is not a number from 1 to 65535"),
    }
}

fn has_scheme(reference: &str) -> bool {
    let end = reference.find([':', '/', '?']);
    end.is_some_and(|end| end > 0 && reference[end..].starts_with(':'))
}

fn split_query(text: &str) -> (&str, &str) {
    text.split_at(text.find('?').unwrap_or(text.len()))
}

/// Removes dot segments (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(out.pop()),
            segment => out.push(segment),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        out.push("");
    }
    format!("/{}", out.join("/"))
}

/// Reason why a URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlError {
    text: String,
    why: &'static str,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.text, self.why)
    }
}

impl std::error::Error for UrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn written_as_browsers_do() {
        for (text, expected) in [
            ("http://Example.net", "http://example.net/"),
            (
                "HTTPS://example.net:443/a?b=c#d",
                "https://example.net/a?b=c",
            ),
            (
                "http://[2001:DB8::1]:8080?x",
                "http://[2001:db8::1]:8080/?x",
            ),
        ] {
            assert_eq!(url(text).to_string(), expected);
        }
        assert_eq!(url("https://a:80/b").origin(), "https://a:80");
    }

    #[test]
    fn references() {
        let base = url("https://a.example/whip/cam?token=x");
        for (reference, expected) in [
            ("/session/1", "https://a.example/session/1"),
            ("session/1", "https://a.example/whip/session/1"),
            ("../s/./1?y=z", "https://a.example/s/1?y=z"),
            ("?q", "https://a.example/whip/cam?q"),
            ("//b.example/1", "https://b.example/1"),
            ("http://b.example/1:2#f", "http://b.example/1:2"),
            ("a/b:c", "https://a.example/whip/a/b:c"),
            ("/../../x/..", "https://a.example/"),
        ] {
            assert_eq!(
                base.join(reference).unwrap().to_string(),
                expected,
                "{reference}"
            );
        }
        assert!(base.join("file:///etc/passwd").is_err());
        assert!(base.join("javascript:x").is_err());
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let long = format!("http://a/{}", "x".repeat(MAX_URL));
        for (text, word) in [
            ("", "http://"),
            ("cam", "http://"),
            ("http://", "no host"),
            ("http://:80/", "no host"),
            ("http://a:b/", "65535"),
            ("http://a:0/", "65535"),
            ("http://a:80:80/", "65535"),
            ("http://[::1]:80:80/", "65535"),
            ("http://[::1/", "bracket"),
            ("http://[x]/", "IPv6"),
            ("http://a/ b", "%XX"),
            ("http://a/\u{e9}", "%XX"),
            ("http://user:secret@a/", "token"),
            (&long, "2,048"),
        ] {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(
                error.contains(word) && !error.contains("secret"),
                "{text}: {error}"
            );
        }
    }
}
