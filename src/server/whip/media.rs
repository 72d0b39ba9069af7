//! Checks that the media of an offer is accepted as a whole.
//!
//! RFC 9725, section 4.4.3, has no partially successful answers: a publisher whose video is rejected in an answer with
//! status 201 believes that it is live. An m-line without a common codec is therefore an error that names the codecs of
//! both sides. The same applies to viewers, who would see a black picture.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use crate::proto::media::Codec;
use crate::proto::peer::{Codecs, MediaKind};

#[cfg(test)]
mod tests;

/// Maximum number of codec names that an error repeats from an offer, and maximum length of each, in characters.
const MAX_NAMES: usize = 16;
const MAX_NAME: usize = 80;

/// The codecs of an m-section.
#[derive(Debug)]
struct Section<'a> {
    kind: Option<MediaKind>,
    is_rejected: bool,
    direction: &'a str,
    /// By payload type, of which there are 128.
    formats: BTreeMap<u8, Format<'a>>,
}

#[derive(Debug, Default)]
struct Format<'a> {
    /// The encoding name; empty if unknown.
    name: &'a str,
    parameters: &'a str,
}

/// Checks the answer to a publisher: every m-line that it sends on is accepted.
///
/// # Errors
///
/// Returns an error that names the m-line, the offered codecs and the supported ones.
pub(super) fn check_published(offer: &str, answer: &str, known: &Codecs) -> Result<(), String> {
    let answered = sections(answer);
    for (index, section) in sections(offer).iter().enumerate() {
        let Some(kind) = section.kind.filter(|_| section.sends()) else {
            continue;
        };
        if answered.get(index).is_none_or(|a| a.is_rejected) {
            let ours = known.iter().filter(|c| MediaKind::of(*c) == kind);
            let ours: Vec<String> = ours.map(known_as).collect();
            return Err(format!(
                "m-line {} ({kind}): the offer has {}; this server takes {}",
                index + 1,
                section.names(),
                list(&ours)
            ));
        }
    }
    Ok(())
}

/// Checks the answer to a viewer: for each kind of media that it wants and the stream has, it gets one of the stream's
/// codecs. `stream`: the codecs of the stream, as far as known.
///
/// # Errors
///
/// Returns an error that names the codecs of both sides.
pub(super) fn check_viewed(offer: &str, answer: &str, stream: &[Codec]) -> Result<(), String> {
    if stream.is_empty() {
        return Ok(());
    }
    let (offered, answered) = (sections(offer), sections(answer));
    let mut is_any = false;
    for kind in [MediaKind::Video, MediaKind::Audio] {
        let wanted = offered
            .iter()
            .filter(|s| s.kind == Some(kind) && s.receives());
        let of_stream = stream.iter().filter(|c| MediaKind::of(**c) == kind);
        let names: Vec<&str> = of_stream.map(|c| c.name()).collect();
        if wanted.clone().next().is_none() || names.is_empty() {
            continue;
        }
        is_any = true;
        let promised = answered
            .iter()
            .filter(|s| s.kind == Some(kind) && !s.is_rejected && s.sends());
        let mut promised = promised.flat_map(|s| s.formats.values());
        if !promised.any(|f| names.iter().any(|n| n.eq_ignore_ascii_case(f.name))) {
            let offered: Vec<String> = wanted.map(Section::names).collect();
            return Err(format!(
                "the {kind} of this stream is {}; the offer takes {}",
                list(&names),
                offered.join(", ")
            ));
        }
    }
    if !is_any {
        let has: Vec<&str> = stream.iter().map(|c| c.name()).collect();
        let wanted = offered.iter().filter(|s| s.receives());
        let wanted: Vec<String> = wanted.map(Section::names).collect();
        return Err(format!(
            "this stream has only {}; the offer takes {}",
            list(&has),
            wanted.join(", ")
        ));
    }
    Ok(())
}

impl<'a> Section<'a> {
    fn sends(&self) -> bool {
        !self.is_rejected && ["sendonly", "sendrecv"].contains(&self.direction)
    }

    fn receives(&self) -> bool {
        !self.is_rejected && ["recvonly", "sendrecv"].contains(&self.direction)
    }

    /// Returns the codec names for an error, without auxiliary formats.
    fn names(&self) -> String {
        const NOT_CODECS: [&str; 6] = [
            "rtx",
            "red",
            "ulpfec",
            "flexfec-03",
            "telephone-event",
            "cn",
        ];
        let is_codec = |name: &str| !NOT_CODECS.iter().any(|n| n.eq_ignore_ascii_case(name));
        let mut names: Vec<String> = Vec::new();
        let formats = self.formats.values().filter(|f| !f.name.is_empty());
        for format in formats.filter(|f| is_codec(f.name)) {
            let text = match telling(format.parameters) {
                told if told.is_empty() => format.name.to_owned(),
                told => format!("{} ({told})", format.name),
            };
            let text: String = text.chars().take(MAX_NAME).collect();
            if !names.contains(&text) && names.len() < MAX_NAMES {
                names.push(text);
            }
        }
        match names.is_empty() {
            true => "no codec".into(),
            false => names.join(", "),
        }
    }

    /// Parses `rtpmap:96 H264/90000` or `fmtp:96 …`; ignores other attributes.
    fn add(&mut self, attribute: &'a str) {
        let Some((name, value)) = attribute.split_once(':') else {
            return;
        };
        let Some((format, value)) = value.split_once(' ') else {
            return;
        };
        let Some(format) = format.parse::<u8>().ok().filter(|f| *f < 128) else {
            return;
        };
        match name {
            "rtpmap" => {
                let encoding = value.split('/').next().unwrap_or_default();
                self.formats.entry(format).or_default().name = encoding.trim();
            }
            "fmtp" => self.formats.entry(format).or_default().parameters = value,
            _ => {}
        }
    }
}

/// Returns the parameters that distinguish codecs with the same name.
fn telling(parameters: &str) -> String {
    const TELLING: [&str; 5] = [
        "profile-level-id=",
        "packetization-mode=",
        "profile-id=",
        "profile=",
        "mode=",
    ];
    let all = parameters.split(';').map(str::trim);
    let told = all.filter(|p| TELLING.iter().any(|name| p.starts_with(name)));
    told.collect::<Vec<_>>().join(", ")
}

fn known_as(codec: Codec) -> String {
    match codec.description().negotiated {
        "" => codec.name().to_owned(),
        which => format!("{codec} ({which})"),
    }
}

fn list<S: Borrow<str>>(names: &[S]) -> String {
    match names {
        [] => "nothing of the kind".into(),
        names => names.join(", "),
    }
}

fn sections(sdp: &str) -> Vec<Section<'_>> {
    let mut default = "sendrecv";
    let mut all: Vec<Section<'_>> = Vec::new();
    let mut is_bundled_only = false;
    for line in sdp.lines().map(str::trim_end) {
        if let Some(m_line) = line.strip_prefix("m=") {
            is_bundled_only = false;
            all.push(section(m_line, default));
            continue;
        }
        let Some(attribute) = line.strip_prefix("a=") else {
            continue;
        };
        let is_direction = ["sendrecv", "sendonly", "recvonly", "inactive"].contains(&attribute);
        match all.last_mut() {
            None if is_direction => default = attribute,
            None => {}
            Some(section) if is_direction => section.direction = attribute,
            Some(section) => {
                // Port 0 is not a rejection then (RFC 9143, section 6).
                is_bundled_only |= attribute == "bundle-only";
                section.is_rejected &= !is_bundled_only;
                section.add(attribute);
            }
        }
    }
    all
}

fn section<'a>(m_line: &'a str, direction: &'a str) -> Section<'a> {
    let mut parts = m_line.split_ascii_whitespace();
    let kind = match parts.next() {
        Some("audio") => Some(MediaKind::Audio),
        Some("video") => Some(MediaKind::Video),
        _ => None,
    };
    let is_rejected = parts.next() == Some("0");
    let mut section = Section {
        kind,
        is_rejected,
        direction,
        formats: BTreeMap::new(),
    };
    for format in parts.skip(1) {
        // Static payload types need no rtpmap (RFC 3551, section 6).
        let format = format.parse().ok();
        let format = format.filter(|_| kind == Some(MediaKind::Audio));
        let codec = format.and_then(Codec::of_static_payload_type);
        if let (Some(format), Some(codec)) = (format, codec) {
            section.formats.entry(format).or_default().name = codec.name();
        }
    }
    section
}
