//! The request that services see.

use std::net::SocketAddr;

use super::target::{decode_form, decode_path, is_authority, origin_form};
use super::{RawRequest, Refusal, Version};

/// A complete and checked HTTP request (RFC 9110).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The method as it was sent, for example `GET`: methods are case-sensitive.
    pub method: String,
    /// The path of the target, percent-decoded. It begins with `/` and has no `.` and `..` segments.
    pub path: String,
    /// The query without its `?`, not decoded; empty if there is none.
    pub query: String,
    /// Names in lower case, and values without the white space around them, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body, decoded, of at most [`DoorConfig::max_body`](crate::server::door::DoorConfig::max_body) bytes.
    pub body: Vec<u8>,
    /// Address of the client, which a trusted proxy may have named.
    pub client: SocketAddr,
    /// Set if the request came over TLS, to this server or to a trusted proxy.
    pub secure: bool,
    /// The prefix of the client's URLs before [`path`](Self::path), for example `/cam` behind a proxy that serves us there;
    /// usually empty.
    pub prefix: String,
}

impl Request {
    /// Creates a request without headers and body.
    #[must_use]
    pub fn new(method: &str, path: &str, client: SocketAddr) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: String::new(),
            headers: Vec::new(),
            body: Vec::new(),
            client,
            secure: false,
            prefix: String::new(),
        }
    }

    /// Returns the first value of this name in the query, decoded (`application/x-www-form-urlencoded`). Bytes that are
    /// not UTF-8 become U+FFFD.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<String> {
        form_values(&self.query, name).next()
    }

    /// Returns all values of this name in the query, decoded as by [`query_value`](Self::query_value).
    pub(crate) fn query_values(&self, name: &str) -> impl Iterator<Item = String> {
        form_values(&self.query, name)
    }

    /// Returns the first value of this name in a body that is a form (`application/x-www-form-urlencoded`), decoded. A body
    /// of another media type or not in UTF-8 has no values.
    pub(crate) fn form_value(&self, name: &str) -> Option<String> {
        let is_form = self.content_type().as_deref() == Some("application/x-www-form-urlencoded");
        let text = std::str::from_utf8(&self.body).ok().filter(|_| is_form)?;
        form_values(text, name).next()
    }

    /// Returns the first value of a header, whose name is given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the media type of the body, in lower case, without its parameters (RFC 9110, section 8.3).
    #[must_use]
    pub fn content_type(&self) -> Option<String> {
        let value = self.header("content-type")?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        Some(essence.to_ascii_lowercase())
    }

    /// Returns `true` if the request came from a page of this server: its `Origin` names the same host and port as its
    /// `Host` (RFC 6454). `false` without an `Origin`, as from clients that are not browsers; `true` says nothing about
    /// who the user is.
    #[must_use]
    pub fn is_same_origin(&self) -> bool {
        let (Some(origin), Some(host)) = (self.header("origin"), self.header("host")) else {
            return false;
        };
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        let default = match scheme {
            "https" => ":443",
            // Behind a proxy's TLS the door does not see it; where it does, pages without TLS are another origin.
            "http" if !self.secure => ":80",
            _ => return false,
        };
        let plain = |authority: &str| {
            let authority = authority.to_ascii_lowercase();
            let stripped = authority.strip_suffix(default).map(str::to_owned);
            stripped.unwrap_or(authority)
        };
        plain(authority) == plain(host)
    }

    /// Returns the token of `Authorization: Bearer …` (RFC 6750, section 2.1). It is a secret: keep it out of logs.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim_matches(' '))
    }
}

/// Returns the values of a name in a form, decoded.
fn form_values(form: &str, name: &str) -> impl Iterator<Item = String> {
    let pairs = form
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .filter(move |(key, _)| decode_form(key) == name)
        .map(|(_, value)| decode_form(value))
}

impl RawRequest {
    /// Checks `Host` and target, and returns the request as services see it.
    pub fn into_request(self, client: SocketAddr, secure: bool) -> Result<Request, Refusal> {
        let Self { head, body } = self;
        let host = head.only("host");
        if host.is_none() && head.values("host").next().is_some() {
            return Err(Refusal::bad("there is more than one Host"));
        }
        if host.is_none() && head.version == Version::Http11 {
            return Err(Refusal::bad("the Host is missing"));
        }
        if host.is_some_and(|host| !is_authority(host)) {
            return Err(Refusal::bad("the Host is not \"name\" or \"name:port\""));
        }
        let target = origin_form(&head.target, host)?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Request {
            path: decode_path(path)?,
            query: query.to_owned(),
            method: head.method,
            headers: head.headers,
            body,
            client,
            secure,
            prefix: String::new(),
        })
    }
}
