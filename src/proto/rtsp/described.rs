//! Session descriptions of cameras, which rarely are what RFC 8866 says.
//!
//! The reader takes from the text what it can use and never looks at the rest: origin, times and connections may be
//! missing, doubled or broken. An m-line that cannot be used is left out by name; the others remain. What had to be
//! tolerated is reported as [`quirks`](Described::quirks).
//!
//! `sdp-types` is not used here: it refuses a second `o=`, `s=` or `c=` and damaged m-lines, which cameras send, so all
//! its input would have to be repaired first, and only m-, a- and b-lines are needed.

use std::fmt;

use super::quirk::{Quirk, Quirks};
use super::secret::redacted;
use crate::proto::peer::MediaKind;
use crate::proto::rtp::MediaFormat;
use crate::proto::sdp;

mod format;
mod names;
#[cfg(test)]
mod tests;

/// Maximum size of a description, in bytes; real ones have about one thousand.
pub const MAX_DESCRIPTION: usize = 64 * 1024;

/// Maximum number of lines that are read; real descriptions have fewer than one hundred.
const MAX_LINES: usize = 2048;

/// Maximum number of m-lines; further ones are left out.
const MAX_STREAMS: usize = 32;

/// Maximum number of payload types of one m-line that are considered.
const MAX_FORMATS: usize = 32;

/// Maximum length of a text that is kept for people, in characters.
const MAX_TEXT: usize = 200;

/// Description of a camera's streams, the body of its response to DESCRIBE. `Debug` hides passwords in URLs.
#[derive(Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Described {
    /// Session name (`s=`), shortened to 200 characters; `None` if it is missing or says nothing.
    pub name: Option<String>,
    /// Software that wrote the description (`a=tool`), shortened to 200 characters.
    pub tool: Option<String>,
    /// Control URL of the session as written, usually `*`; `None` if it is missing.
    pub control: Option<String>,
    /// Usable streams, in the order of their m-lines; at most 32.
    pub streams: Vec<DescribedStream>,
    /// M-lines that are not used, each with the reason, for example `audio: G.726, which browsers do not decode`.
    pub left_out: Vec<String>,
    /// Tolerances that were needed.
    pub quirks: Quirks,
}

/// One usable stream of a camera. `Debug` hides passwords in its control URL.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct DescribedStream {
    /// Kind of media.
    pub kind: MediaKind,
    /// Direction of the media.
    pub direction: StreamDirection,
    /// RTP payload type of [`format`](Self::format): 0 to 127.
    pub payload_type: u8,
    /// RTP clock rate, in Hz.
    pub clock_rate: u32,
    /// Payload format: the first of the m-line that can be used.
    pub format: MediaFormat,
    /// Other usable formats of the m-line with their payload types. A backchannel offers a choice; a camera sends
    /// `format` only.
    pub others: Vec<(u8, MediaFormat)>,
    /// Control URL as written, relative or absolute; empty if it is missing.
    pub control: String,
    /// Frame rate that the description states, in frames per second.
    pub frame_rate: Option<f64>,
}

impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &Option<String>| text.as_deref().map(redacted);
        let left_out: Vec<String> = self.left_out.iter().map(|text| redacted(text)).collect();
        f.debug_struct("Described")
            .field("name", &shown(&self.name))
            .field("tool", &shown(&self.tool))
            .field("control", &shown(&self.control))
            .field("streams", &self.streams)
            .field("left_out", &left_out)
            .field("quirks", &self.quirks)
            .finish()
    }
}

impl fmt::Debug for DescribedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DescribedStream")
            .field("kind", &self.kind)
            .field("direction", &self.direction)
            .field("payload_type", &self.payload_type)
            .field("clock_rate", &self.clock_rate)
            .field("format", &self.format)
            .field("others", &self.others)
            .field("control", &redacted(&self.control))
            .field("frame_rate", &self.frame_rate)
            .finish()
    }
}

/// Direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamDirection {
    /// The camera sends.
    FromCamera,
    /// The camera plays what it receives: an ONVIF backchannel.
    Backchannel,
}

/// Reason why a text is not a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DescribedError {
    /// It is longer than 64 KiB.
    TooLong,
    /// It has no m-line.
    NoMedia,
}

impl fmt::Display for DescribedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the camera's description is longer than 64 KiB",
            Self::NoMedia => "the camera's description names no streams (no m-line)",
        })
    }
}

impl std::error::Error for DescribedError {}

/// An m-line and what follows it.
#[derive(Debug, Default)]
struct Section<'a> {
    kind: &'a str,
    proto: &'a str,
    /// Payload types, or other formats.
    formats: Vec<&'a str>,
    /// Bandwidth in kbit/s (`b=AS`).
    bandwidth: Option<u32>,
    attributes: Vec<(&'a str, &'a str)>,
}

/// A description split into its sections.
#[derive(Debug, Default)]
struct Lines<'a> {
    /// Lines of the session: their types, in order.
    types: Vec<&'a str>,
    name: Option<&'a str>,
    attributes: Vec<(&'a str, &'a str)>,
    sections: Vec<Section<'a>>,
    quirks: Quirks,
}

impl Described {
    /// Parses a description. Takes linear time; text that is not UTF-8 is read as far as possible.
    ///
    /// # Errors
    ///
    /// Returns [`DescribedError`] if the text is longer than 64 KiB or has no m-line. A description whose m-lines are all
    /// unusable is no error: its [`streams`](Self::streams) are empty.
    pub fn parse(text: &[u8]) -> Result<Self, DescribedError> {
        if text.len() > MAX_DESCRIPTION {
            return Err(DescribedError::TooLong);
        }
        let text = String::from_utf8_lossy(text);
        let lines = Lines::read(&text);
        if lines.sections.is_empty() {
            return Err(DescribedError::NoMedia);
        }
        let mut described = Self {
            name: lines.name.and_then(kept),
            tool: lines.session_value("tool").and_then(kept),
            control: value_of(&lines.attributes, "control").map(str::to_owned),
            quirks: lines.quirks.clone(),
            ..Self::default()
        };
        let mut is_sendonly = Vec::new();
        for section in &lines.sections {
            match format::stream_of(section, &lines, &mut described.quirks) {
                _ if described.streams.len() == MAX_STREAMS => described.left_out(
                    section,
                    &format!("there are more than {MAX_STREAMS} streams"),
                ),
                Ok(stream) => {
                    is_sendonly.push(section.has("sendonly"));
                    described.streams.push(stream);
                }
                Err(reason) => described.left_out(section, &reason),
            }
        }
        described.find_backchannels(&is_sendonly);
        Ok(described)
    }

    /// Returns the streams that the camera sends, with their positions in [`streams`](Self::streams).
    pub fn from_camera(&self) -> impl Iterator<Item = (usize, &DescribedStream)> {
        let is_sent = |stream: &DescribedStream| stream.direction == StreamDirection::FromCamera;
        let all = self.streams.iter().enumerate();
        all.filter(move |(_, stream)| is_sent(stream))
    }

    /// `sendonly` is said from the client's point of view (ONVIF Streaming Specification §5.3.1), but by some cameras of
    /// everything they send. It means a backchannel only if another stream says otherwise.
    fn find_backchannels(&mut self, is_sendonly: &[bool]) {
        let all = is_sendonly.iter().all(|sendonly| *sendonly);
        for (stream, sendonly) in self.streams.iter_mut().zip(is_sendonly) {
            if *sendonly && (all || stream.kind == MediaKind::Video) {
                self.quirks.count(Quirk::AllSendonly);
            } else if *sendonly {
                stream.direction = StreamDirection::Backchannel;
            }
        }
    }

    fn left_out(&mut self, section: &Section<'_>, reason: &str) {
        if self.left_out.len() < MAX_STREAMS {
            let kind = match section.kind {
                "" => "m-line",
                kind => kind,
            };
            self.left_out.push(format!("{}: {reason}", short(kind)));
        }
    }
}

impl<'a> Lines<'a> {
    fn read(text: &'a str) -> Self {
        let mut read = Self::default();
        for (_, line) in sdp::lines(text).take(MAX_LINES) {
            let Some((key, value)) = line.split_once('=') else {
                if !line.is_empty() {
                    read.quirks.count(Quirk::BrokenSdp);
                }
                continue;
            };
            read.take(key.trim(), value.trim());
        }
        let once = |key| read.types.iter().filter(|k| **k == key).count() == 1;
        if !(once("v") && once("o") && once("s") && text.ends_with('\n')) {
            read.quirks.count(Quirk::BrokenSdp);
        }
        read
    }

    fn take(&mut self, key: &'a str, value: &'a str) {
        if key == "m" {
            // One more than is used, so that what is left out is named.
            if self.sections.len() <= MAX_STREAMS {
                self.sections.push(Section::new(value));
            }
            return;
        }
        match (key, self.sections.last_mut()) {
            ("a", section) => {
                let (name, value) = value.split_once(':').unwrap_or((value, ""));
                let attributes = section.map_or(&mut self.attributes, |s| &mut s.attributes);
                attributes.push((name.trim(), value.trim()));
            }
            ("b", Some(section)) => {
                let number = value.strip_prefix("AS:").map(str::trim);
                section.bandwidth = number.and_then(|n| n.parse().ok());
            }
            ("s", section) => {
                if section.is_some() {
                    self.quirks.count(Quirk::BrokenSdp);
                }
                self.types.push(key);
                self.name.get_or_insert(value);
            }
            ("v" | "o", Some(_)) => {
                self.quirks.count(Quirk::BrokenSdp);
                self.types.push(key);
            }
            (key, None) => self.types.push(key),
            _ => {}
        }
    }

    /// Returns an attribute of the session, also if it stands behind an m-line.
    fn session_value(&self, name: &str) -> Option<&'a str> {
        let all = self.sections.iter().map(|section| &section.attributes);
        std::iter::once(&self.attributes)
            .chain(all)
            .find_map(|attributes| value_of(attributes, name))
    }
}

impl<'a> Section<'a> {
    fn new(m_line: &'a str) -> Self {
        let mut words = m_line.split_ascii_whitespace();
        Self {
            kind: words.next().unwrap_or_default(),
            proto: words.nth(1).unwrap_or_default(),
            formats: words.take(MAX_FORMATS).collect(),
            ..Self::default()
        }
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        value_of(&self.attributes, name)
    }

    fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Returns the value of `a=NAME:TYPE value` for a payload type.
    fn of_type(&self, name: &str, payload_type: u8) -> Option<&'a str> {
        self.typed(name)
            .find_map(|(number, value)| (number == payload_type).then_some(value))
    }

    /// Iterates over the attributes `a=NAME:TYPE value`.
    fn typed<'s>(&'s self, name: &'s str) -> impl Iterator<Item = (u8, &'a str)> + 's {
        let named = self.attributes.iter().filter(|(n, _)| is(n, name));
        named.filter_map(|(_, value)| {
            let (number, rest) = value
                .split_once(|c: char| c.is_ascii_whitespace())
                .unwrap_or((value, ""));
            Some((number.parse().ok()?, rest.trim()))
        })
    }
}

fn is(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

fn value_of<'a>(attributes: &[(&'a str, &'a str)], name: &str) -> Option<&'a str> {
    let mut named = attributes.iter().filter(|(n, _)| is(n, name));
    named.next().map(|(_, value)| *value)
}

/// Returns text for people: shortened, without control characters; `None` if it says nothing.
fn kept(text: &str) -> Option<String> {
    let text = short(text);
    (!matches!(text.as_str(), "" | "-")).then_some(text)
}

fn short(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(MAX_TEXT).collect()
}
