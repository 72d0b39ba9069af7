//! Requests out of bytes, strictly: what a camera would stumble over is an error.

/// One thing that a client has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    Request(Request),
    /// A response to one of the camera's requests: status and CSeq.
    Response(u16, String),
    /// An interleaved frame.
    Frame(u8, Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub url: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// Returns a header by its name, whose case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns `true` if a header is written so.
    pub fn is_written(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n == name)
    }

    /// Returns the scheme of the URL.
    pub fn scheme(&self) -> &str {
        self.url.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// Returns the path and query of the URL.
    pub fn path(&self) -> &str {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        rest.find('/')
            .and_then(|at| rest.get(at..))
            .unwrap_or_default()
    }

    /// Returns `host:port` of the URL.
    pub fn authority(&self) -> &str {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }
}

/// Takes the next thing out of what has arrived. `None`: more is needed.
pub fn next(inbox: &mut Vec<u8>) -> Option<Result<Sent, String>> {
    if inbox.first() == Some(&b'$') {
        let length = usize::from(u16::from_be_bytes([*inbox.get(2)?, *inbox.get(3)?]));
        let channel = *inbox.get(1)?;
        let frame = inbox.get(4..4 + length)?.to_vec();
        inbox.drain(..4 + length);
        return Some(Ok(Sent::Frame(channel, frame)));
    }
    let end = inbox.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(inbox.get(..end)?).into_owned();
    let parsed = parse(&head);
    let body = match &parsed {
        Ok(Parsed::Request(request)) => request.header("content-length"),
        _ => None,
    };
    let body: usize = body.and_then(|n| n.parse().ok()).unwrap_or_default();
    if inbox.len() < end + 4 + body {
        return None;
    }
    inbox.drain(..end + 4 + body);
    Some(parsed.map(|parsed| match parsed {
        Parsed::Request(request) => Sent::Request(request),
        Parsed::Response(status, number) => Sent::Response(status, number),
    }))
}

enum Parsed {
    Request(Request),
    Response(u16, String),
}

fn parse(head: &str) -> Result<Parsed, String> {
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line
            .split_once(": ")
            .ok_or_else(|| format!("the header line {line:?}"))?;
        if name.contains(' ') || value.trim() != value {
            return Err(format!("blanks in the header line {line:?}"));
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    let words: Vec<_> = first.split(' ').collect();
    let number = headers
        .iter()
        .find(|(name, _)| name == "CSeq")
        .map(|(_, number)| number.clone());
    match words.as_slice() {
        ["RTSP/1.0", status, ..] => {
            let status = status.parse().map_err(|_| format!("the line {first:?}"))?;
            Ok(Parsed::Response(status, number.unwrap_or_default()))
        }
        [method, url, "RTSP/1.0"] => Ok(Parsed::Request(Request {
            method: (*method).to_owned(),
            url: (*url).to_owned(),
            headers,
        })),
        _ => Err(format!("the line {first:?}")),
    }
}

/// A response in the making.
#[derive(Debug)]
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    pub fn status(&self) -> u16 {
        self.status
    }

    /// Writes the response; `odd_case` and `junk` as in `Messages`.
    pub fn write(self, number: &str, odd_case: bool, junk: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            302 => "Moved Temporarily",
            400 => "Bad Request",
            401 => "Unauthorized",
            404 => "Not Found",
            451 => "Parameter Not Understood",
            453 => "Not Enough Bandwidth",
            454 => "Session Not Found",
            455 => "Method Not Valid in This State",
            461 => "Unsupported Transport",
            501 => "Not Implemented",
            551 => "Option not supported",
            _ => "Something Else",
        };
        let (sequence, length) = match odd_case {
            true => ("Cseq", "Content-length"),
            false => ("CSeq", "Content-Length"),
        };
        let mut text = format!("RTSP/1.0 {} {reason}\r\n", self.status);
        let blanks = if junk { "  " } else { "" };
        let mut line = |name: &str, value: &str| {
            text.push_str(&format!("{name}: {blanks}{value}{blanks}\r\n"));
        };
        line(sequence, number);
        for (name, value) in &self.headers {
            line(name, value);
        }
        if !self.body.is_empty() {
            line(length, &self.body.len().to_string());
        }
        if junk {
            text.push_str("X-Firmware\r\n");
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend(self.body);
        bytes
    }
}
