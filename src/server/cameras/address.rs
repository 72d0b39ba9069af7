//! Addresses of cameras: which kinds may be added while the server runs, and how they are shown.

use std::fmt;

use super::fields::{Invalid, MAX_URL};
use crate::proto::rtsp::RtspUrl;

/// Kind of an address. Kinds that read local files, pipes or the standard input are not among them: who may add
/// cameras need not be allowed to read files of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// A camera: `rtsp:` and `rtsps:`.
    Rtsp,
    /// A stream of another server: `whep:`.
    Whep,
    /// Plain RTP, received at an address: `rtp://`.
    Rtp,
    /// A place for a publisher: `whip:`.
    Whip,
}

/// An address without user name, password and flags. May still have a password in its path or query, which neither
/// `Debug` nor [`shown`](Self::shown) contain.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub scheme: Scheme,
    pub text: String,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// User name and password of an address; a bearer token has no user name.
pub(super) type Credentials = (String, String);

impl Address {
    /// Reads the address in this field, and the credentials in it. An address that is given as `old` is shown is `old`.
    pub fn read(
        field: &'static str,
        text: &str,
        old: Option<&Self>,
    ) -> Result<(Self, Option<Credentials>), Invalid> {
        let text = text.trim();
        if let Some(old) = old.filter(|old| old.shown() == text) {
            return Ok((old.clone(), None));
        }
        let wrong = |why: &str| Err(Invalid::new(field, why));
        if text.is_empty() {
            return wrong("is missing; for example rtsp://192.168.1.20/stream1");
        }
        if text.len() > MAX_URL || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return wrong("has white space or control characters; write %20 for a space");
        }
        let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
        match scheme.to_ascii_lowercase().as_str() {
            "rtsp" | "rtsps" => Self::rtsp(field, text),
            "whep" => Self::whep(field, rest),
            "rtp" => match text.split(',').all(|part| part.starts_with("rtp://")) {
                true => Ok((Self::new(Scheme::Rtp, text), None)),
                false => wrong(
                    "write rtp://ADDRESS:PORT?codec=CODEC; files can be named in the configuration only",
                ),
            },
            // As the configuration has it: in capitals it would be the name of a file.
            "whip" if rest.is_empty() => Ok((Self::new(Scheme::Whip, "whip:"), None)),
            "whip" => wrong("write whip: with nothing behind it"),
            "http" | "https" => {
                wrong("is not fetched; for a stream of another server write whep: before it")
            }
            _ => wrong(
                "begin it with rtsp://, rtsps://, whep:https://, rtp:// or whip:; files, pipes and the standard input can \
                 be named in the configuration only",
            ),
        }
    }

    fn new(scheme: Scheme, text: &str) -> Self {
        let text = text.to_owned();
        Self { scheme, text }
    }

    fn rtsp(field: &'static str, text: &str) -> Result<(Self, Option<Credentials>), Invalid> {
        let wrong = |why: String| Invalid::new(field, why);
        let url = RtspUrl::parse(text).map_err(|error| wrong(error.to_string()))?;
        if url.fragment().is_some() {
            let why =
                "has a #: what stands behind it in the configuration has fields of its own here";
            return Err(wrong(why.into()));
        }
        let credentials = url.credentials();
        let credentials = credentials.map(|c| (c.user.clone(), c.password.expose().to_owned()));
        // Read again, it must be the same address: a second @ would make a user name of a part of it.
        let text = url.request_uri();
        let again = RtspUrl::parse(&text).map_err(|error| wrong(error.to_string()))?;
        if again.credentials().is_some() || again.request_uri() != text {
            return Err(wrong("has an @ too many: write %40 for one within".into()));
        }
        Ok((Self::new(Scheme::Rtsp, &text), credentials))
    }

    fn whep(field: &'static str, rest: &str) -> Result<(Self, Option<Credentials>), Invalid> {
        let wrong = |why: &str| Err(Invalid::new(field, why));
        let place = ["http://", "https://"]
            .iter()
            .find_map(|s| rest.strip_prefix(s));
        let Some(place) = place else {
            return wrong("write whep:https://HOST/PATH, or whep:http://…");
        };
        let authority = place.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return wrong(
                "has a user name: give the server's bearer token in the field for the password",
            );
        }
        if !is_authority(authority) {
            return wrong("has no valid host and port");
        }
        let (url, token) = match rest.split_once('#') {
            None => (rest, None),
            Some((url, flags)) => match flags.strip_prefix("token=") {
                Some(token) if !token.is_empty() => (url, Some(token)),
                _ => return wrong("behind its # stands token=SECRET"),
            },
        };
        let credentials = token.map(|token| (String::new(), token.to_owned()));
        Ok((Self::new(Scheme::Whep, &format!("whep:{url}")), credentials))
    }

    /// Returns the address as it is shown to people: passwords in path and query are replaced.
    pub fn shown(&self) -> String {
        match (self.scheme, self.text.split_once('?')) {
            (Scheme::Rtsp, _) => RtspUrl::parse(&self.text)
                .map_or_else(|_| String::new(), |url| url.without_credentials()),
            (Scheme::Whep, Some((path, query))) if query.contains('=') => format!("{path}?***"),
            _ => self.text.clone(),
        }
    }

    /// Returns the host, in lower case.
    pub fn host(&self) -> String {
        let url = RtspUrl::parse(&self.text);
        url.map_or_else(|_| self.origin(), |url| url.host().to_ascii_lowercase())
    }

    /// Returns what a password is sent to: scheme, host and port.
    pub fn origin(&self) -> String {
        let (scheme, rest) = self.text.split_once("://").unwrap_or((&self.text, ""));
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        format!("{scheme}://{authority}").to_ascii_lowercase()
    }
}

/// Returns `true` for a host with or without a port.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let fits = |c: char| c.is_alphanumeric() || ".-_".contains(c);
            !host.is_empty() && host.len() <= 253 && host.chars().all(fits)
        }
    };
    is_host && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Address, Option<Credentials>), String> {
        Address::read("url", text, None).map_err(|invalid| invalid.why)
    }

    #[test]
    fn credentials_leave_the_address() {
        let both = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        for (text, place, credentials) in [
            ("rtsp://cam/x", "rtsp://cam/x", None),
            (" RTSP://cam:554/x?y=z ", "rtsp://cam:554/x?y=z", None),
            ("rtsp://u:p@cam/x", "rtsp://cam/x", both("u", "p")),
            ("rtsp://u:p@ss:w@cam", "rtsp://cam", both("u", "p@ss:w")),
            (
                "rtsps://u%40h:p%2Fq%@[::1]:322/",
                "rtsps://[::1]:322/",
                both("u@h", "p/q%"),
            ),
            ("rtsp://u:p/w@cam/x", "rtsp://cam/x", both("u", "p/w")),
            ("rtsp://u@cam/a@b", "rtsp://cam/a@b", both("u", "")),
            (
                "whep:https://h/a#token=abc",
                "whep:https://h/a",
                both("", "abc"),
            ),
            (
                "rtp://0.0.0.0:5004?codec=h264",
                "rtp://0.0.0.0:5004?codec=h264",
                None,
            ),
            ("whip:", "whip:", None),
            ("Whip:", "whip:", None),
        ] {
            let (address, found) = read(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(
                (address.text.as_str(), found),
                (place, credentials),
                "{text}"
            );
        }
    }

    #[test]
    fn what_reads_this_machine_is_refused() {
        for (text, word) in [
            ("", "missing"),
            ("-", "configuration"),
            ("film.mp4", "configuration"),
            ("/etc/passwd", "configuration"),
            ("file:/etc/passwd", "configuration"),
            ("pipe:/run/x", "configuration"),
            ("testcard:", "configuration"),
            ("rtp:camera.sdp", "configuration"),
            ("rtp://0.0.0.0:5004?codec=h264,/etc/passwd", "configuration"),
            ("http://10.0.0.1/x", "whep:"),
            ("whep:file:///etc/passwd", "whep:https://"),
            ("whep:http://u:p@h/x", "user name"),
            ("rtsp:cam", "rtsp://"),
            ("rtsp:///x", "host"),
            ("rtsp://cam:0/x", "port"),
            ("rtsp://cam/x#audio=off", "fields"),
            ("rtsp://cam/a b", "white space"),
            ("whip:x", "nothing behind"),
        ] {
            let why = read(text).expect_err(text);
            assert!(why.contains(word), "{text}: {why}");
        }
    }

    #[test]
    fn passwords_in_the_address_are_not_shown_and_come_back_unchanged() {
        for text in [
            "rtsp://cam/x?user=a&password=geheim",
            "rtsp://cam/user=admin&password=geheim&channel=1",
            "whep:https://cam/x?geheim=1",
        ] {
            let (address, _) = read(text).unwrap();
            let shown = format!("{} {address:?}", address.shown());
            assert!(!shown.contains("geheim"), "{shown}");
            let again = Address::read("url", &address.shown(), Some(&address)).unwrap();
            assert_eq!(again, (address, None));
        }
    }
}
