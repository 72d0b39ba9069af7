//! Outline of a description: attributes by section.

use crate::proto::media::Codec;

/// An `a=` line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    pub name: &'a str,
    /// The value; empty if the attribute has none.
    pub value: &'a str,
}

/// An `m=` line with the lines that follow it.
#[derive(Debug, Default)]
pub(super) struct Section<'a> {
    /// The line number of the `m=` line, from 1.
    pub line: usize,
    pub kind: &'a str,
    pub port: &'a str,
    pub proto: &'a str,
    pub formats: Vec<&'a str>,
    pub attributes: Vec<Attribute<'a>>,
    pub has_connection: bool,
}

/// The whole description.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    /// Attributes before the first `m=`.
    pub session: Vec<Attribute<'a>>,
    pub has_connection: bool,
    pub sections: Vec<Section<'a>>,
}

impl<'a> Outline<'a> {
    pub fn of(sdp: &'a str) -> Self {
        let mut outline = Self::default();
        for (number, line) in crate::proto::sdp::lines(sdp) {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            match key {
                "m" => outline.sections.push(section(number, value)),
                "a" => {
                    let (name, value) = value.split_once(':').unwrap_or((value, ""));
                    let attribute = Attribute {
                        name: name.trim(),
                        value: value.trim(),
                    };
                    match outline.sections.last_mut() {
                        Some(section) => section.attributes.push(attribute),
                        None => outline.session.push(attribute),
                    }
                }
                "c" => match outline.sections.last_mut() {
                    Some(section) => section.has_connection = true,
                    None => outline.has_connection = true,
                },
                _ => {}
            }
        }
        outline
    }

    /// Returns the value in effect for this section: its own, or else that of the session.
    pub fn in_force(&self, section: &Section<'a>, name: &str) -> Option<&'a str> {
        section.get(name).or_else(|| self.session_get(name))
    }

    pub fn session_get(&self, name: &str) -> Option<&'a str> {
        self.session
            .iter()
            .find(|a| a.name == name)
            .map(|a| a.value)
    }

    /// Returns the mids of the first BUNDLE group.
    pub fn bundle(&self) -> Option<Vec<&'a str>> {
        let groups = self.session.iter().filter(|a| a.name == "group");
        groups
            .filter_map(|group| group.value.strip_prefix("BUNDLE"))
            .map(|mids| mids.split_ascii_whitespace().collect())
            .next()
    }

    pub fn section_of_mid(&self, mid: &str) -> Option<usize> {
        self.sections.iter().position(|s| s.get("mid") == Some(mid))
    }
}

impl<'a> Section<'a> {
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let of_name = self.attributes.iter().filter(move |a| a.name == name);
        of_name.map(|a| a.value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns `true` for port 0 without bundle-only: the section is rejected or removed (RFC 3264 §6, §8.2).
    pub fn is_rejected(&self) -> bool {
        self.port == "0" && !self.has("bundle-only")
    }

    pub fn is_rtp(&self) -> bool {
        self.proto.contains("RTP/")
    }

    pub fn is_dtls(&self) -> bool {
        self.proto.contains("TLS/") || self.proto.starts_with("DTLS/")
    }

    /// Returns the rtpmap of a payload type, such as `VP8/90000`, if there is one.
    pub fn rtpmap(&self, payload_type: &str) -> Option<&'a str> {
        let mut maps = self.all("rtpmap").filter_map(|map| map.split_once(' '));
        maps.find(|(pt, _)| *pt == payload_type)
            .map(|(_, codec)| codec.trim())
    }

    /// Returns the codec's name, from the rtpmap or for a static payload type (RFC 3551 §6).
    pub fn codec(&self, payload_type: &str) -> Option<&'a str> {
        if let Some(map) = self.rtpmap(payload_type) {
            return map.split('/').next();
        }
        let known = payload_type.parse().ok();
        if let Some(codec) = known.and_then(Codec::of_static_payload_type) {
            return Some(codec.name());
        }
        Some(match payload_type {
            "3" => "GSM",
            "10" | "11" => "L16",
            "13" => "CN",
            "14" => "MPA",
            "26" => "JPEG",
            "31" => "H261",
            "32" => "MPV",
            "33" => "MP2T",
            "34" => "H263",
            _ => return None,
        })
    }

    /// Returns the codec's name with its payload type, for display.
    pub fn named(&self, payload_type: &str) -> String {
        match self.codec(payload_type) {
            Some(name) => format!("{name} ({payload_type})"),
            None => payload_type.to_owned(),
        }
    }
}

fn section(line: usize, value: &str) -> Section<'_> {
    let mut fields = value.split_ascii_whitespace();
    let mut next = || fields.next().unwrap_or_default();
    let (kind, port, proto) = (next(), next(), next());
    Section {
        line,
        kind,
        port: port.split('/').next().unwrap_or_default(),
        proto,
        formats: fields.collect(),
        ..Section::default()
    }
}
