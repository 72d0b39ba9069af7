//! Requests and responses as the services of this module see them: pure values, no sockets.
//!
//! The door makes a [`Request`] of what a client has sent, completely and within limits; a service
//! answers it with a [`Response`], at once or later, by its [`RequestId`].

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

/// Names a request that waits for its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(crate) u64);

/// Names an open WebSocket. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WebSocketId(pub(crate) u64);

/// What a service wants of a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketOutput {
    /// Send this text message.
    Send(WebSocketId, String),
    /// Close it, with a status code (RFC 6455, section 7.4) and a reason of at most 123 bytes.
    Close(WebSocketId, u16, String),
}

/// A request, complete and checked (RFC 9110).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// `GET`, `POST`, …, as it was sent: methods are case-sensitive.
    pub method: String,
    /// The path of the target, percent-decoded, beginning with `/`; without `.` and `..` segments.
    pub path: String,
    /// What follows the `?`, not decoded; empty when there is none.
    pub query: String,
    /// Names in lower case and values without the white space around them, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body, of at most the door's limit.
    pub body: Vec<u8>,
    /// Who asks.
    pub client: SocketAddr,
    /// `true` if the request came over TLS, to us or to a trusted proxy.
    pub secure: bool,
    /// The prefix of the client's URLs before [`path`](Self::path), for example `/cam` behind a proxy that serves us there;
    /// empty where that is nothing.
    pub prefix: String,
}

impl Request {
    /// A request without headers and body.
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

    /// The first value of this name in the query, decoded (`application/x-www-form-urlencoded`). What is no
    /// UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<String> {
        let mut pairs = self
            .query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs
            .find(|(key, _)| decoded(key) == name)
            .map(|(_, value)| decoded(value))
    }

    /// The first header of this name, which is given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The media type of the body, in lower case, without its parameters (RFC 9110, section 8.3).
    #[must_use]
    pub fn content_type(&self) -> Option<String> {
        let value = self.header("content-type")?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        Some(essence.to_ascii_lowercase())
    }

    /// Whether it came from a page of this server itself: its `Origin` names the same host and port as its `Host`
    /// (RFC 6454). `false` where there is no `Origin`, as from clients that are no browsers; `true` says nothing about
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
            // Behind somebody else's TLS the door does not see it; but where it does, plain pages are others.
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

    /// The token of `Authorization: Bearer …` (RFC 6750, section 2.1). A secret: not for logs.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim_matches(' '))
    }
}

/// `%20` and `+` are spaces; a `%` that begins nothing stands for itself.
fn decoded(text: &str) -> String {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, digit(tail.first()), digit(tail.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            (b'+', _, _) => bytes.push(b' '),
            _ => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A response. `Content-Length`, `Date` and `Connection` are the door's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers, in the order they are sent.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A response without a body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Adds a header. Control characters in the value become spaces, so that what a client has sent
    /// cannot end the line.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let clean = value.as_ref().replace(|c: char| c.is_ascii_control(), " ");
        self.headers.push((name.to_owned(), clean));
        self
    }

    /// Gives it a body of this media type.
    #[must_use]
    pub fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut response = self.header("Content-Type", content_type);
        response.body = body.into();
        response
    }

    /// A JSON body.
    #[must_use]
    pub fn json(status: u16, value: &Value) -> Self {
        Self::new(status).body("application/json", value.to_string())
    }

    /// Adds members to a JSON object that is the body; those that are there stay (RFC 9457, section 3.2).
    #[must_use]
    pub(crate) fn with_members(mut self, members: &Value) -> Self {
        let mut body = members.clone();
        let own = serde_json::from_slice::<Value>(&self.body);
        if let (Some(body), Ok(Value::Object(own))) = (body.as_object_mut(), own) {
            body.extend(own);
            self.body = json!(body).to_string().into_bytes();
        }
        self
    }

    /// Problem details (RFC 9457): what is wrong in a few words, and for this request.
    #[must_use]
    pub fn problem(status: u16, title: &str, detail: impl AsRef<str>) -> Self {
        let problem = json!({ "status": status, "title": title, "detail": detail.as_ref() });
        Self::new(status).body("application/problem+json", problem.to_string())
    }
}

/// `localhost`, names below it (RFC 6761, section 6.3), and loopback addresses; with or without a port:
/// what a `Host` header or a URL's authority says of this machine.
#[must_use]
pub fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.to_ascii_lowercase();
    let is_address = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    is_address || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut request = Request::new("GET", "/", ([127, 0, 0, 1], 1).into());
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        request.headers = headers.iter().map(owned).collect();
        request
    }

    #[test]
    fn headers_of_a_request() {
        let request = request(&[
            ("content-type", "Application/SDP; charset=utf-8"),
            ("authorization", "bearer  secret"),
        ]);
        assert_eq!(request.content_type().as_deref(), Some("application/sdp"));
        assert_eq!(request.bearer(), Some("secret"));
        assert_eq!(request.header("origin"), None);
    }

    #[test]
    fn values_of_a_query() {
        let mut request = request(&[]);
        request.query = "a=1&name=Zo%c3%ab+B%&flag&a=2".into();
        assert_eq!(request.query_value("name").as_deref(), Some("Zo\u{eb} B%"));
        assert_eq!(request.query_value("a").as_deref(), Some("1"));
        assert_eq!(request.query_value("flag").as_deref(), Some(""));
        assert_eq!(request.query_value("b"), None);
    }

    #[test]
    fn another_scheme_is_no_bearer_token() {
        assert_eq!(request(&[("authorization", "Basic abc")]).bearer(), None);
        assert_eq!(request(&[("authorization", "Bearer")]).bearer(), None);
    }

    #[test]
    fn a_value_cannot_end_its_line() {
        let response = Response::new(201).header("Location", "/whip/a\r\nSet-Cookie: b");
        assert_eq!(response.headers[0].1, "/whip/a  Set-Cookie: b");
    }

    #[test]
    fn problems_say_what_is_wrong() {
        let response = Response::problem(404, "No such stream", "there is no stream \"a\"");
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(body["detail"], "there is no stream \"a\"");
        assert_eq!(response.headers[0].1, "application/problem+json");
    }
}
