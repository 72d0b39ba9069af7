//! Messages of RTSP 1.0 (RFC 2326) and interleaved frames in one stream of bytes, read as leniently as cameras need.

mod fields;
mod reader;
#[cfg(test)]
mod tests;

use std::fmt::Write;

pub(crate) use fields::{
    SessionField, TransportField, first_sequences, has_method, is_readable_rtp_info,
};
pub(crate) use reader::{Item, Reader};

/// Names of headers as they are written; cameras insist on some of them, such as `CSeq`.
const CANONICAL: [&str; 16] = [
    "Accept",
    "Authorization",
    "CSeq",
    "Content-Base",
    "Content-Length",
    "Content-Location",
    "Content-Type",
    "Location",
    "Public",
    "RTP-Info",
    "Range",
    "Require",
    "Session",
    "Transport",
    "User-Agent",
    "WWW-Authenticate",
];

/// Maximum number of headers of a message that are kept.
const MAX_FIELDS: usize = 128;

/// Headers of a message in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Returns the first value of a header. Names are compared without regard to case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Returns all values of a header.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let is_it = move |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.0.iter().filter(is_it).map(|(_, value)| value.as_str())
    }

    /// Returns the sequence number of the message, if it has a valid one.
    pub fn cseq(&self) -> Option<u32> {
        self.get("CSeq")?.parse().ok()
    }
}

/// First line of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// A response: status code and reason.
    Response(u16, String),
    /// A request: its method.
    Request(String),
}

/// A message of the camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub start: Start,
    pub fields: Fields,
    pub body: Vec<u8>,
}

impl Message {
    /// Writes the message for people. The caller removes secrets.
    pub fn to_text(&self) -> String {
        let mut text = match &self.start {
            Start::Response(code, reason) => format!("RTSP/1.0 {code} {reason}\n"),
            Start::Request(method) => format!("{method}\n"),
        };
        for (name, value) in &self.fields.0 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}: {value}");
        }
        if !self.body.is_empty() {
            let _ = write!(text, "\n{}", String::from_utf8_lossy(&self.body));
        }
        text
    }
}

/// Serializes a request without a body. Control characters in values, which would begin another line, are left out.
pub(crate) fn request(method: &str, uri: &str, cseq: u32, fields: &[(&str, String)]) -> Vec<u8> {
    let mut text = format!("{method} {uri} RTSP/1.0\r\nCSeq: {cseq}\r\n");
    append(&mut text, fields);
    text.into_bytes()
}

/// Serializes a response without a body to a request of the camera.
pub(crate) fn response(code: u16, reason: &str, fields: &[(&str, String)]) -> Vec<u8> {
    let mut text = format!("RTSP/1.0 {code} {reason}\r\n");
    append(&mut text, fields);
    text.into_bytes()
}

fn append(text: &mut String, fields: &[(&str, String)]) {
    for (name, value) in fields {
        text.push_str(name);
        text.push_str(": ");
        text.extend(value.chars().filter(|c| !c.is_control()));
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
}

/// Serializes an interleaved frame (RFC 2326 §10.12); `None` if the contents are longer than 65,535 bytes.
pub(crate) fn frame(channel: u8, contents: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(contents.len()).ok()?;
    let mut bytes = Vec::with_capacity(4 + contents.len());
    bytes.extend([b'$', channel]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(contents);
    Some(bytes)
}
