//! Lines of a description and the m-lines they belong to.

use super::{MAX_LINES, SdpError, quoted};

/// An `a=` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attribute<'a> {
    /// The line number, from 1.
    pub line: usize,
    pub name: &'a str,
    /// The value; empty if the attribute has none.
    pub value: &'a str,
}

/// An m-line with the attributes that follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Media<'a> {
    /// The line number of the m-line, from 1.
    pub line: usize,
    pub kind: &'a str,
    pub port: u16,
    pub proto: &'a str,
    pub formats: Vec<&'a str>,
    pub attributes: Vec<Attribute<'a>>,
}

/// A description split into its lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sdp<'a> {
    /// Attributes before the first m-line.
    pub session: Vec<Attribute<'a>>,
    pub media: Vec<Media<'a>>,
}

impl<'a> Sdp<'a> {
    /// Splits a description into lines. Lines end in CRLF, LF or CR; white space around them, empty lines, a byte order
    /// mark and lines of unknown types are ignored. Takes linear time.
    pub fn parse(text: &'a str) -> Result<Self, SdpError> {
        Self::read(text, true)
    }

    /// Splits a fragment (RFC 8840 §9), which has attributes and m-lines only.
    pub fn fragment(text: &'a str) -> Result<Self, SdpError> {
        Self::read(text, false)
    }

    fn read(text: &'a str, is_whole: bool) -> Result<Self, SdpError> {
        let mut sdp = Self::default();
        let mut has_version = !is_whole;
        for (line, text) in lines(text).filter(|(_, text)| !text.is_empty()) {
            if line > MAX_LINES {
                return Err(SdpError::at(
                    line,
                    format!("a description has at most {MAX_LINES} lines"),
                ));
            }
            let Some((key, value)) = text.split_once('=') else {
                // FFmpeg prints this title above a description.
                if !has_version && text != "SDP:" {
                    return Err(no_version(line, text));
                }
                if !is_whole {
                    return Err(SdpError::at(
                        line,
                        format!("{} is not a line of SDP", quoted(text)),
                    ));
                }
                continue;
            };
            let (key, value) = (key.trim_end(), value.trim_start());
            match key {
                "v" if value != "0" => {
                    return Err(SdpError::at(line, "there is version 0 of SDP only (v=0)"));
                }
                "v" => has_version = true,
                _ if !has_version => return Err(no_version(line, text)),
                "m" => sdp.media.push(media(line, value)?),
                "a" => {
                    let attribute = attribute(line, value);
                    match sdp.media.last_mut() {
                        Some(media) => media.attributes.push(attribute),
                        None => sdp.session.push(attribute),
                    }
                }
                _ => {}
            }
        }
        match has_version {
            true => Ok(sdp),
            false => Err(SdpError::whole(
                "there is nothing in it: a session description begins with v=0",
            )),
        }
    }

    /// Returns the groups of one semantics (RFC 5888), each with its line number and its mids.
    pub fn groups(&self, semantics: &str) -> impl Iterator<Item = (usize, Vec<&'a str>)> {
        let groups = self.session.iter().filter(|a| a.name == "group");
        groups.filter_map(move |group| {
            let mut words = group.value.split_ascii_whitespace();
            let is_it = words.next()?.eq_ignore_ascii_case(semantics);
            is_it.then(|| (group.line, words.collect()))
        })
    }
}

impl<'a> Media<'a> {
    pub fn first(&self, name: &str) -> Option<Attribute<'a>> {
        first(&self.attributes, name)
    }

    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.first(name).map(|a| a.value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = Attribute<'a>> {
        let of_name = self.attributes.iter().filter(move |a| a.name == name);
        of_name.copied()
    }

    /// Returns `true` if the m-line is rejected or removed: port 0 (RFC 3264 §6, §8.2), unless bundle-only says that it
    /// shares the transport of its bundle (RFC 9143 §6).
    pub fn is_rejected(&self) -> bool {
        self.port == 0 && !self.has("bundle-only")
    }

    /// Returns `true` for RTP with any profile over any transport.
    pub fn is_rtp(&self) -> bool {
        let mut parts = self.proto.rsplit('/');
        let profile = parts.next().unwrap_or_default().to_ascii_uppercase();
        let is_profile = matches!(profile.as_str(), "AVP" | "AVPF" | "SAVP" | "SAVPF");
        is_profile && parts.next().is_some_and(|p| p.eq_ignore_ascii_case("RTP"))
    }

    /// Returns `true` for SCTP over DTLS (RFC 8841 §4), including the older spelling `DTLS/SCTP`.
    pub fn is_sctp(&self) -> bool {
        let proto = self.proto.to_ascii_uppercase();
        matches!(
            proto.as_str(),
            "DTLS/SCTP" | "UDP/DTLS/SCTP" | "TCP/DTLS/SCTP"
        )
    }

    /// Returns the m-line's name for an error, such as `m=audio`.
    pub fn name(&self) -> String {
        let kind: String = self.kind.chars().take(20).collect();
        format!("m={}", kind.escape_debug())
    }
}

fn first<'a>(attributes: &[Attribute<'a>], name: &str) -> Option<Attribute<'a>> {
    attributes.iter().find(|a| a.name == name).copied()
}

/// Returns the lines with their numbers, trimmed.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = Some(text);
    let mut number = 0;
    std::iter::from_fn(move || {
        let text = rest?;
        number += 1;
        let Some(end) = text.find(['\r', '\n']) else {
            rest = None;
            // Nothing follows the last line end.
            return (!text.is_empty()).then(|| (number, text.trim()));
        };
        let (line, after) = text.split_at(end);
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some((number, line.trim()))
    })
}

/// Returns a description in the form that strict parsers require: without a byte order mark, a title or white space
/// around lines, and with an origin of six fields. Line numbers are preserved.
pub(crate) fn tidied(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 32);
    for (number, line) in lines(text) {
        let is_cut = |line: &str| line.split_ascii_whitespace().count() < 6;
        match line {
            "SDP:" if number == 1 => {}
            origin if origin.starts_with("o=") && is_cut(origin) => {
                out += "o=- 0 0 IN IP4 0.0.0.0";
            }
            line => out += line,
        }
        out += "\r\n";
    }
    out
}

fn no_version(line: usize, text: &str) -> SdpError {
    SdpError::at(
        line,
        format!(
            "a session description begins with v=0, this one with {}",
            quoted(text)
        ),
    )
}

fn attribute(line: usize, value: &str) -> Attribute<'_> {
    let (name, value) = value.split_once(':').unwrap_or((value, ""));
    Attribute {
        line,
        name: name.trim(),
        value: value.trim(),
    }
}

fn media(line: usize, value: &str) -> Result<Media<'_>, SdpError> {
    let mut fields = value.split_ascii_whitespace();
    let (Some(kind), Some(port), Some(proto)) = (fields.next(), fields.next(), fields.next())
    else {
        return Err(SdpError::at(
            line,
            "an m-line has a kind, a port, a protocol and formats (m=audio 9 UDP/TLS/RTP/SAVPF 111)",
        ));
    };
    // `49170/2`: two port pairs (RFC 8866 §5.14).
    let number = port.split('/').next().unwrap_or_default();
    let Ok(port) = number.parse() else {
        return Err(SdpError::at(
            line,
            format!("{} is not a port (0 to 65535)", quoted(port)),
        ));
    };
    Ok(Media {
        line,
        kind,
        port,
        proto,
        formats: fields.collect(),
        attributes: Vec::new(),
    })
}
