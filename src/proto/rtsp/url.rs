//! Addresses of cameras: `rtsp://user:password@host:port/path?query`.

use std::fmt;
use std::net::Ipv6Addr;

use super::secret::{Secret, redacted};

/// Maximum length of an address, in bytes.
pub const MAX_URL: usize = 4096;

/// Maximum length of a host name, in bytes (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

/// User name and password for a camera. `Debug` hides both.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub user: String,
    /// The password; may be empty.
    pub password: Secret,
}

impl Credentials {
    /// Creates credentials from plain text, without percent-encoding.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            password: Secret::new(password),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

/// Address of a camera's stream.
///
/// `Display` and `Debug` show neither the credentials nor passwords in the path or the query, which some cameras expect there.
#[derive(Clone, PartialEq, Eq)]
pub struct RtspUrl {
    is_tls: bool,
    host: String,
    port: Option<u16>,
    path: String,
    fragment: Option<String>,
    credentials: Option<Credentials>,
}

/// Reason why a text is not the address of a camera. Contains nothing of the text but the scheme and the port.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// The scheme is missing or not `rtsp` or `rtsps`.
    Scheme,
    /// The host is missing or contains characters that no host name has.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
    /// The address contains white space or control characters.
    Character,
    /// The address is longer than [`MAX_URL`].
    TooLong,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "the address does not begin with rtsp:// or rtsps://",
            Self::Host => {
                "the address has no valid host name; write rtsp://user:password@host/path"
            }
            Self::Port => "the port in the address is not a number from 1 to 65535",
            Self::Character => {
                "the address contains white space or control characters; write %20 for a blank"
            }
            Self::TooLong => "the address is longer than 4096 bytes",
        })
    }
}

impl std::error::Error for UrlError {}

impl RtspUrl {
    /// Parses an address.
    ///
    /// Passwords are accepted as people write them, with unescaped `@ : / ? #`: the credentials end at the last `@` before
    /// the first `/` that follows a host. Valid percent-encodings in credentials are decoded. Path and query remain as they
    /// are written. What follows the first `#` of path and query is the [`fragment`](Self::fragment) and never sent.
    ///
    /// # Errors
    ///
    /// Returns an error if the scheme is not `rtsp` or `rtsps`, if there is no valid host, or if the address is longer
    /// than [`MAX_URL`] or contains white space or control characters. White space at both ends is ignored.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        if text.len() > MAX_URL {
            return Err(UrlError::TooLong);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(UrlError::Character);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let is_tls = match scheme {
            s if s.eq_ignore_ascii_case("rtsp") => false,
            s if s.eq_ignore_ascii_case("rtsps") => true,
            _ => return Err(UrlError::Scheme),
        };
        let (userinfo, (host, port), after) = split(rest)?;
        let (path, fragment) = match after.split_once('#') {
            Some((path, fragment)) => (path, Some(fragment.to_owned())),
            None => (after, None),
        };
        Ok(Self {
            is_tls,
            host,
            port,
            path: path.to_owned(),
            fragment,
            credentials: userinfo.map(credentials),
        })
    }

    /// Returns `true` for `rtsps`: RTSP over TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Returns the host name or address; IPv6 addresses without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port: the given one, else 554 for `rtsp` and 322 for `rtsps`.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.is_tls { 322 } else { 554 })
    }

    /// Returns the credentials, if there are any.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Replaces the credentials, for example by those of a file.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Option<Credentials>) -> Self {
        self.credentials = credentials;
        self
    }

    /// Returns the text behind `#`, if there is any. It is never sent to the camera.
    pub fn fragment(&self) -> Option<&str> {
        self.fragment.as_deref()
    }

    /// Returns the address as it may be shown to anyone: without credentials and fragment, and with `***` for passwords
    /// in path and query. `Display` writes the same.
    pub fn without_credentials(&self) -> String {
        redacted(&self.request_uri())
    }

    /// Returns the address for the request line, without credentials and fragment. **May contain a password** in path or
    /// query: never show it.
    pub fn request_uri(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }

    /// Returns scheme, host and port: `rtsp://192.0.2.1:8554`.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.is_tls { "rtsps" } else { "rtsp" };
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    }

    /// Resolves the `Location` of a redirect. Our credentials are kept for the same host only, and not if the redirect
    /// leaves TLS; credentials in the location itself are used.
    ///
    /// # Errors
    ///
    /// Returns an error if the location is neither an address of a camera nor an absolute path.
    pub(crate) fn redirected(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.trim();
        let mut target = if location.starts_with('/') {
            Self::parse(&format!("{}{location}", self.origin()))?
        } else {
            Self::parse(location)?
        };
        let is_same_host = target.host.eq_ignore_ascii_case(&self.host);
        let leaves_tls = self.is_tls && !target.is_tls;
        if target.credentials.is_none() && is_same_host && !leaves_tls {
            target.credentials.clone_from(&self.credentials);
        }
        target.fragment = None;
        Ok(target)
    }
}

impl fmt::Display for RtspUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_credentials())
    }
}

impl fmt::Debug for RtspUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RtspUrl({self})")
    }
}

impl std::str::FromStr for RtspUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

type HostAndPort = (String, Option<u16>);

/// Splits what follows the scheme into userinfo, host and port, and the rest, which begins with `/` or `?` or is empty.
fn split(rest: &str) -> Result<(Option<&str>, HostAndPort, &str), UrlError> {
    let end = rest.find('/').unwrap_or(rest.len());
    // The usual form: everything up to the first slash is the authority.
    let first = match rest[..end].rfind('@') {
        Some(at) => host_at(rest, at + 1).map(|(host, after)| (Some(&rest[..at]), host, after)),
        None => host_at(rest, 0).map(|(host, after)| (None, host, after)),
    };
    let error = match first {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    // A slash within the password: the first `@` behind it that a host follows.
    let later = rest.match_indices('@').filter(|(at, _)| *at >= end);
    for (at, _) in later {
        if let Ok((host, after)) = host_at(rest, at + 1) {
            return Ok((Some(&rest[..at]), host, after));
        }
    }
    Err(error)
}

/// Parses `host[:port]` at this place; returns it with what follows.
fn host_at(text: &str, from: usize) -> Result<(HostAndPort, &str), UrlError> {
    let text = text.get(from..).unwrap_or_default();
    // No longer than a host with its brackets, zone and port: so that many `@` cost no more than linear time.
    let end = text
        .bytes()
        .take(MAX_HOST + 16)
        .position(|c| matches!(c, b'/' | b'?' | b'#'))
        .unwrap_or(text.len());
    if end > MAX_HOST + 16 {
        return Err(UrlError::Host);
    }
    let (authority, after) = text.split_at(end);
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (host, port) = inner.split_once(']').ok_or(UrlError::Host)?;
            let address = host.split('%').next().unwrap_or_default();
            address.parse::<Ipv6Addr>().map_err(|_| UrlError::Host)?;
            let is_zone = |c: char| c.is_ascii_alphanumeric() || ":.%-_".contains(c);
            if !host.chars().all(is_zone) {
                return Err(UrlError::Host);
            }
            match port {
                "" => (host, None),
                port => (host, Some(port.strip_prefix(':').ok_or(UrlError::Port)?)),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if !authority.starts_with('[') {
        let is_name = |c: char| c.is_alphanumeric() || "-._".contains(c);
        if host.is_empty() || host.len() > MAX_HOST || !host.chars().all(is_name) {
            return Err(UrlError::Host);
        }
    }
    let port = match port {
        // `host:` without a number means the default (RFC 3986 §3.2.3).
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|c| c.is_ascii_digit()) => {
            let port: u16 = digits.parse().map_err(|_| UrlError::Port)?;
            Some(port)
                .filter(|port| *port > 0)
                .ok_or(UrlError::Port)
                .map(Some)?
        }
        Some(_) => return Err(UrlError::Port),
    };
    Ok(((host.to_owned(), port), after))
}

fn credentials(userinfo: &str) -> Credentials {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    Credentials::new(percent_decoded(user), percent_decoded(password))
}

/// Decodes valid `%XX`; everything else, and what would not be UTF-8, stays.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = |c: u8| char::from(c).to_digit(16);
        match (first, after) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                let value = hex(*high).unwrap_or_default() << 4 | hex(*low).unwrap_or_default();
                // Two hexadecimal digits are at most 255.
                bytes.push(value as u8);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, u16, String, String, String) {
        let url = RtspUrl::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let (user, password) = match url.credentials() {
            Some(c) => (c.user.clone(), c.password.expose().to_owned()),
            None => ("-".to_owned(), "-".to_owned()),
        };
        (
            url.host().to_owned(),
            url.port(),
            user,
            password,
            url.path.clone(),
        )
    }

    #[test]
    fn addresses_as_people_write_them() {
        for (text, host, port, user, password, path) in [
            ("rtsp://h", "h", 554, "-", "-", ""),
            ("RTSPS://h/", "h", 322, "-", "-", "/"),
            (
                " rtsp://192.0.2.1:8554/a/b?c=1&d=2 ",
                "192.0.2.1",
                8554,
                "-",
                "-",
                "/a/b?c=1&d=2",
            ),
            (
                "rtsp://[2001:db8::1]:55/x",
                "2001:db8::1",
                55,
                "-",
                "-",
                "/x",
            ),
            (
                "rtsp://[fe80::1%eth0]/x",
                "fe80::1%eth0",
                554,
                "-",
                "-",
                "/x",
            ),
            ("rtsp://admin:geheim@h/x", "h", 554, "admin", "geheim", "/x"),
            ("rtsp://admin@h/x", "h", 554, "admin", "", "/x"),
            ("rtsp://admin:@h/x", "h", 554, "admin", "", "/x"),
            ("rtsp://admin:a%40b%3a@h/x", "h", 554, "admin", "a@b:", "/x"),
            ("rtsp://admin:100%@h/x", "h", 554, "admin", "100%", "/x"),
            ("rtsp://admin:%ff@h/x", "h", 554, "admin", "%ff", "/x"),
            (
                "rtsp://admin:p@ss:w@rd@h:5/x",
                "h",
                5,
                "admin",
                "p@ss:w@rd",
                "/x",
            ),
            (
                "rtsp://admin:pa/ss@h/x@y",
                "h",
                554,
                "admin",
                "pa/ss",
                "/x@y",
            ),
            (
                "rtsp://admin:pa?ss#1@h:7/x",
                "h",
                7,
                "admin",
                "pa?ss#1",
                "/x",
            ),
            ("rtsp://admin:a/b/c?d@h", "h", 554, "admin", "a/b/c?d", ""),
            ("rtsp://h/stream@1", "h", 554, "-", "-", "/stream@1"),
            ("rtsp://h?stream=1", "h", 554, "-", "-", "?stream=1"),
            ("rtsp://h:/x", "h", 554, "-", "-", "/x"),
            ("rtsp://my_cam.local/x", "my_cam.local", 554, "-", "-", "/x"),
        ] {
            let expected = (host.into(), port, user.into(), password.into(), path.into());
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, error) in [
            ("", UrlError::Scheme),
            ("http://h/", UrlError::Scheme),
            ("rtsp:/h", UrlError::Scheme),
            ("rtsp://", UrlError::Host),
            ("rtsp:///x", UrlError::Host),
            ("rtsp://h:0/", UrlError::Port),
            ("rtsp://h:65536/", UrlError::Port),
            ("rtsp://h:x/", UrlError::Port),
            ("rtsp://::1/", UrlError::Host),
            ("rtsp://[::1/", UrlError::Host),
            ("rtsp://h/a b", UrlError::Character),
            ("rtsp://h/a\r\nTEARDOWN", UrlError::Character),
            ("rtsp://a b@h/", UrlError::Character),
        ] {
            assert_eq!(RtspUrl::parse(text), Err(error), "{text}");
        }
        let long = format!("rtsp://h/{}", "x".repeat(MAX_URL));
        assert_eq!(RtspUrl::parse(&long), Err(UrlError::TooLong));
        assert!(RtspUrl::parse(&format!("rtsp://{}/", "h".repeat(254))).is_err());
    }

    #[test]
    fn nothing_shows_a_secret() {
        let text = "rtsp://admin:geheim@h:8/user=x&password=geheim&y=1#opt=geheim";
        let url = RtspUrl::parse(text).unwrap();
        for shown in [
            url.to_string(),
            format!("{url:?}"),
            url.without_credentials(),
        ] {
            assert!(
                !shown.contains("geheim") && !shown.contains("admin"),
                "{shown}"
            );
        }
        assert_eq!(url.to_string(), "rtsp://h:8/user=x&password=***&y=1");
        assert_eq!(url.request_uri(), "rtsp://h:8/user=x&password=geheim&y=1");
        assert_eq!(url.fragment(), Some("opt=geheim"));
        let shown = format!("{:?}", url.credentials());
        assert!(
            !shown.contains("geheim") && !shown.contains("admin"),
            "{shown}"
        );
    }

    #[test]
    fn redirects_carry_credentials_to_the_same_host_only() {
        let url = RtspUrl::parse("rtsps://u:p@Cam/x").unwrap();
        for (location, host, keeps) in [
            ("rtsps://cam:99/y", "cam", true),
            ("/y", "Cam", true),
            ("rtsp://cam/y", "cam", false),
            ("rtsps://cam.evil/y", "cam.evil", false),
            ("rtsps://cam@evil/y", "evil", false),
        ] {
            let target = url.redirected(location).unwrap();
            assert_eq!(target.host(), host, "{location}");
            let kept = target.credentials() == url.credentials();
            assert_eq!(kept, keeps, "{location}");
        }
        let given = url.redirected("rtsp://a:b@other/y").unwrap();
        assert_eq!(given.credentials(), Some(&Credentials::new("a", "b")));
        assert!(url.redirected("http://cam/y").is_err());
        assert!(url.redirected("y").is_err());
    }

    #[test]
    fn many_at_signs_take_no_time() {
        let text = format!("rtsp://a:x/{}", "@".repeat(4000));
        assert!(RtspUrl::parse(&text).is_err());
    }
}
