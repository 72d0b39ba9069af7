//! Media sections: read from remote descriptions, and written into local ones.
//!
//! The core has one direction and one list of codecs per m-line; W3C distinguishes what is wanted from what is in
//! effect, and gives each transceiver its own choice. The core's descriptions are therefore rewritten on their way out,
//! and it learns the result from the remote answer.

use super::{Direction, MediaKind};
use crate::proto::media::Codec;
use crate::proto::sdp::{MediaLine, SdpError};

/// An audio or video section of a remote description, with the mid that the core knows.
#[derive(Debug, Clone)]
pub(in super::super) struct RemoteMedia {
    /// Line number of its m-line in the remote description.
    pub line: usize,
    pub mid: String,
    pub kind: MediaKind,
    pub rejected: bool,
    /// Direction as stated by the remote peer: `sendonly` is a track for us.
    pub direction: Direction,
    pub stream_ids: Vec<String>,
    pub track_id: Option<String>,
    /// Layers that the remote peer offers to send (RFC 8853).
    pub rids: Vec<String>,
    /// Payload types and encodings, as in `a=rtpmap`.
    pub codecs: Vec<(u8, String)>,
    /// Set if its streams can be identified: by their SSRCs, or by the MID in their headers.
    pub places_streams: bool,
}

impl RemoteMedia {
    pub fn payload_types(&self) -> impl Iterator<Item = u8> + '_ {
        self.codecs.iter().map(|(pt, _)| *pt)
    }

    /// Returns the names of the codecs, without auxiliary formats (`rtx` and the like).
    pub fn codec_names(&self) -> Vec<String> {
        const NOT_CODECS: [&str; 5] = ["rtx", "red", "ulpfec", "flexfec-03", "telephone-event"];
        let mut names: Vec<String> = Vec::new();
        for (_, encoding) in &self.codecs {
            let name = encoding.split('/').next().unwrap_or_default();
            let is_codec = !NOT_CODECS.iter().any(|n| n.eq_ignore_ascii_case(name));
            if is_codec && !names.iter().any(|n| n == name) {
                names.push(name.to_owned());
            }
        }
        names
    }
}

/// Returns the audio and video sections of a validated description.
pub(in super::super) fn remote_media(text: &str, lines: &[MediaLine]) -> Vec<RemoteMedia> {
    if !lines.iter().any(|l| kind_of(&l.kind).is_some()) {
        return Vec::new();
    }
    let (session, sections) = split(text);
    let default = direction_in(session).unwrap_or(Direction::SendRecv);
    let pairs = sections.into_iter().zip(lines);
    pairs
        .filter_map(|(section, line)| {
            Some(section_media(section, line, kind_of(&line.kind)?, default))
        })
        .collect()
}

/// URI of the MID header extension (RFC 9143 §15.2).
const MID_EXTENSION: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

fn section_media(
    section: &str,
    line: &MediaLine,
    kind: MediaKind,
    default: Direction,
) -> RemoteMedia {
    let mut media = RemoteMedia {
        line: line.line,
        mid: line.id.clone(),
        kind,
        rejected: line.is_rejected(),
        direction: direction_in(section).unwrap_or(default),
        stream_ids: Vec::new(),
        track_id: None,
        rids: Vec::new(),
        codecs: Vec::new(),
        places_streams: false,
    };
    let mut mapped = [false; 128];
    for text in section.lines() {
        if let Some(msid) = text.strip_prefix("a=msid:") {
            media.add_msid(msid);
        } else if let Some(rid) = text.strip_prefix("a=rid:") {
            let mut parts = rid.split_ascii_whitespace();
            if let (Some(id), Some("send")) = (parts.next(), parts.next()) {
                media.rids.push(id.to_owned());
            }
        } else if text.starts_with("a=ssrc:")
            || text.starts_with("a=extmap:") && text.contains(MID_EXTENSION)
        {
            media.places_streams = true;
        } else if let Some((pt, encoding)) = rtpmap(text) {
            mapped[usize::from(pt)] = true;
            media.codecs.push((pt, encoding.to_owned()));
        }
    }
    if media.stream_ids.is_empty() && media.track_id.is_none() {
        // Before `a=msid` there was `a=ssrc:1 msid:stream track`.
        let old = section.lines().find_map(|l| {
            let (_, attribute) = l.strip_prefix("a=ssrc:")?.split_once(' ')?;
            attribute.strip_prefix("msid:")
        });
        if let Some(msid) = old {
            media.add_msid(msid);
        }
    }
    // Static payload types need no rtpmap (RFC 3551 §6).
    let formats = section.lines().next().into_iter().flat_map(formats);
    for pt in formats.filter_map(|f| f.parse::<u8>().ok()) {
        let Some(codec) = Codec::of_static_payload_type(pt) else {
            continue;
        };
        if kind == MediaKind::Audio && !mapped[usize::from(pt)] {
            let encoding = format!("{codec}/{}", codec.clock_rate());
            media.codecs.push((pt, encoding));
        }
    }
    media
}

impl RemoteMedia {
    /// Parses `stream track`, where the stream may be `-` for none (RFC 8830 §2).
    fn add_msid(&mut self, msid: &str) {
        let mut parts = msid.split_ascii_whitespace();
        let stream = parts.next().unwrap_or_default();
        if !stream.is_empty() && stream != "-" && !self.stream_ids.iter().any(|s| s == stream) {
            self.stream_ids.push(stream.to_owned());
        }
        if let Some(track) = parts.next() {
            self.track_id.get_or_insert_with(|| track.to_owned());
        }
    }
}

/// Checks that the formats of a first description are consistent.
pub(in super::super) fn check_media(text: &str, lines: &[MediaLine]) -> Result<(), SdpError> {
    let media = remote_media(text, lines);
    PayloadTypes::default().with(text, &media).map(drop)
}

/// Meaning of each payload type in the whole session: it must not change (RFC 3264 §8.3.2), nor be ambiguous within a
/// bundle (RFC 8843 §9.1). The core relies on both.
#[derive(Debug, Default, Clone)]
pub(in super::super) struct PayloadTypes(Vec<(u8, String)>);

impl PayloadTypes {
    /// Returns the known payload types with those of this description.
    pub fn with(&self, text: &str, media: &[RemoteMedia]) -> Result<Self, SdpError> {
        let mut all = self.clone();
        for section in media.iter().filter(|m| !m.rejected) {
            for (pt, encoding) in &section.codecs {
                all.add(*pt, encoding.to_ascii_lowercase())
                    .map_err(|why| SdpError::at(section.line, why))?;
            }
        }
        let (_, sections) = split(text);
        let mut known = Vec::new();
        let mut profiles = Vec::new();
        for section in sections {
            let of_mid = |m: &&RemoteMedia| m.mid == mid_of(section) && !m.rejected;
            let Some(used) = media.iter().find(of_mid) else {
                continue;
            };
            all.check_apt(section, &mut known)
                .and_then(|()| check_profiles(section, used, &mut profiles))
                .map_err(|why| SdpError::at(used.line, why))?;
        }
        Ok(all)
    }

    fn add(&mut self, pt: u8, meaning: String) -> Result<(), String> {
        match self.0.iter().find(|(p, _)| *p == pt) {
            None => {
                self.0.push((pt, meaning));
                Ok(())
            }
            Some((_, known)) if *known == meaning => Ok(()),
            Some((_, known)) => Err(format!(
                "payload type {pt} is {meaning} here and {known} elsewhere in this session"
            )),
        }
    }

    /// Checks that an RTX payload type belongs to one media payload type (RFC 4588 §8.6).
    fn check_apt(&self, section: &str, known: &mut Vec<(u8, u8)>) -> Result<(), String> {
        for line in section.lines() {
            let Some(rest) = line.strip_prefix("a=fmtp:") else {
                continue;
            };
            let Some((pt, parameters)) = rest.split_once(' ') else {
                continue;
            };
            let apt = parameters
                .split(';')
                .find_map(|p| p.trim().strip_prefix("apt="));
            let (Ok(pt), Some(Ok(apt))) = (pt.parse::<u8>(), apt.map(str::parse::<u8>)) else {
                continue;
            };
            let is_rtx = |(p, e): &(u8, String)| *p == pt && e.starts_with("rtx/");
            let clashes = known.iter().any(|(p, a)| *p == pt && *a != apt);
            if clashes || apt == pt || (!self.0.is_empty() && !self.0.iter().any(is_rtx)) {
                return Err(format!(
                    "a=fmtp:{pt} apt={apt}: {pt} is not rtx, or is one for another payload type"
                ));
            }
            known.push((pt, apt));
        }
        Ok(())
    }
}

/// A codec of the core's that is not offered, and the parameters that distinguish its profiles, with their defaults (RFC
/// 9328 §7.2). Those of our codecs are in their descriptions.
const OTHER_PROFILE: (&str, &[(&str, &str)]) = ("H266", &[("profile-id", "1"), ("tier-flag", "0")]);

/// Checks that a payload type has one profile in all m-lines of a description.
fn check_profiles<'a>(
    section: &'a str,
    used: &RemoteMedia,
    known: &mut Vec<(u8, &'static str, &'a str)>,
) -> Result<(), String> {
    for (pt, encoding) in &used.codecs {
        for (name, value) in profile(section, *pt, encoding) {
            let before = known.iter().find(|(p, n, _)| p == pt && *n == name);
            match before.map(|(.., value)| value) {
                None => known.push((*pt, name, value)),
                Some(other) if other.eq_ignore_ascii_case(value) => {}
                Some(other) => {
                    return Err(format!(
                        "payload type {pt} has {name}={value} here and {name}={other} in another m-line"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Returns the parameters in this section that define the profile of a format.
fn profile<'a>(
    section: &'a str,
    pt: u8,
    encoding: &str,
) -> impl Iterator<Item = (&'static str, &'a str)> {
    let name = encoding.split('/').next().unwrap_or_default();
    let parameters = match Codec::named(name) {
        Some(codec) => codec.description().profile,
        None if name.eq_ignore_ascii_case(OTHER_PROFILE.0) => OTHER_PROFILE.1,
        None => &[],
    };
    parameters.iter().map(move |(name, default)| {
        let value = parameter(section, pt, name).unwrap_or(default);
        match *name {
            // The rest is the level.
            "profile-level-id" => (*name, value.get(..4).unwrap_or(value)),
            _ => (*name, value),
        }
    })
}

/// Returns a parameter of a format (`a=fmtp`).
fn parameter<'a>(section: &'a str, pt: u8, name: &str) -> Option<&'a str> {
    let lists = section
        .lines()
        .filter_map(|l| l.strip_prefix("a=fmtp:")?.split_once(' '));
    let mut of_it = lists.filter(|(format, _)| format.parse() == Ok(pt));
    of_it.find_map(|(_, list)| {
        let mut list = list.split(';').filter_map(|p| p.trim().split_once('='));
        let found = list.find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    })
}

/// Returns the mid of a section; empty if it has none.
fn mid_of(section: &str) -> &str {
    let mid = section.lines().find_map(|l| l.strip_prefix("a=mid:"));
    mid.unwrap_or_default().trim_end()
}

/// Returns a description with only those section lines for which `keeps` returns `true` (called with the section's mid
/// and the line).
pub(super) fn filtered(sdp: &str, keeps: impl Fn(&str, &str) -> bool) -> String {
    let (session, sections) = split(sdp);
    let mut out = session.to_owned();
    for section in sections {
        let mid = mid_of(section);
        let lines = section.split_inclusive('\n');
        lines
            .filter(|line| keeps(mid, line))
            .for_each(|line| out += line);
    }
    out
}

/// Returns `true` if this line of an offer requests layers (RFC 8853), and nothing else.
pub(super) fn asks_for_layers(line: &str) -> bool {
    line.starts_with("a=simulcast:recv ") && !line.contains(" send ")
        || line.starts_with("a=rid:") && line.contains(" recv")
}

/// URI of the transport-wide sequence number extension.
const TRANSPORT_WIDE: &str = "draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// Returns `true` if this line negotiates transport-wide feedback, or its sequence numbers.
pub(super) fn is_transport_feedback(line: &str) -> bool {
    is_transport_numbers(line)
        || line.starts_with("a=rtcp-fb:") && line.trim_end().ends_with(" transport-cc")
}

fn is_transport_numbers(line: &str) -> bool {
    line.starts_with("a=extmap:") && line.contains(TRANSPORT_WIDE)
}

/// Returns the line that negotiates transport-wide sequence numbers.
pub(super) fn transport_numbers(sdp: &str) -> Option<&str> {
    sdp.lines().find(|l| is_transport_numbers(l))
}

/// Returns `true` if nothing else uses the id of this header extension.
pub(super) fn is_id_free(sdp: &str, extmap: &str) -> bool {
    let id = |line: &str| -> Option<u8> {
        let rest = line.strip_prefix("a=extmap:")?;
        rest.split([' ', '/']).next()?.parse().ok()
    };
    let mine = id(extmap);
    let mut others = sdp.lines().filter(|l| !is_transport_numbers(l));
    !others.any(|l| id(l).is_some() && id(l) == mine)
}

/// Content of a local media section.
pub(super) struct LocalMedia<'a> {
    pub mid: &'a str,
    pub direction: Direction,
    pub stream_id: &'a str,
    pub track_id: &'a str,
    /// The codecs, in order; empty for the core's.
    pub codecs: &'a [Codec],
    /// Opus in stereo.
    pub stereo: bool,
    /// Transport-wide feedback, and the line for it if the core has left it out.
    pub feedback: bool,
    pub feedback_line: Option<&'a str>,
}

/// Returns one of the core's descriptions with its media sections rewritten.
pub(super) fn write_media(sdp: &str, media: &[LocalMedia<'_>]) -> String {
    let (session, sections) = split(sdp);
    let mut out = String::with_capacity(sdp.len());
    for line in session.lines() {
        // The core lists remote streams here, too. Nobody reads it; W3C has `*`.
        match line.starts_with("a=msid-semantic:") {
            true => out += "a=msid-semantic:WMS *",
            false => out += line,
        }
        out += "\r\n";
    }
    for section in sections {
        match media.iter().find(|m| m.mid == mid_of(section)) {
            Some(media) if !is_rejected(section) => write_section(&mut out, section, media),
            _ if is_rejected(section) => write_rejected(&mut out, section),
            _ => out += section,
        }
    }
    out
}

fn write_section(out: &mut String, section: &str, media: &LocalMedia<'_>) {
    let is_sending = media.direction.is_sending();
    let kept = (!media.codecs.is_empty())
        .then(|| chosen_formats(section, media.codecs))
        .filter(|kept| !kept.is_empty());
    let mut lines = section.lines();
    if let Some(line) = lines.next() {
        match &kept {
            Some(kept) => {
                let head: Vec<&str> = line.splitn(4, ' ').take(3).collect();
                *out += &format!("{} {}\r\n", head.join(" "), kept.join(" "));
            }
            None => *out += &format!("{line}\r\n"),
        }
    }
    let missing = media
        .feedback_line
        .filter(|_| media.feedback && transport_numbers(section).is_none());
    for line in lines {
        if Direction::from_line(line).is_some() {
            if let Some(missing) = missing {
                *out += &format!("{missing}\r\n");
            }
            *out += &format!("a={}\r\n", media.direction);
        } else if !media.feedback && is_transport_feedback(line) {
            // Nobody would use the feedback.
        } else if line.starts_with("a=msid:") {
            if is_sending {
                *out += &format!("a=msid:{} {}\r\n", media.stream_id, media.track_id);
            }
        } else if line.starts_with("a=ssrc") {
            if is_sending {
                *out += &ssrc_line(line, media);
            }
        } else if kept
            .as_ref()
            .zip(format_of(line))
            .is_none_or(|(kept, format)| kept.contains(&format))
        {
            *out += line;
            if media.stereo && is_opus(section, line) {
                *out += ";stereo=1;sprop-stereo=1";
            }
            *out += "\r\n";
        }
    }
}

/// Returns `true` for parameters of Opus; the core always writes some.
fn is_opus(section: &str, line: &str) -> bool {
    line.starts_with("a=fmtp:")
        && format_of(line).is_some_and(|format| {
            let map = format!("a=rtpmap:{format} opus/");
            section.lines().any(|l| l.starts_with(&map))
        })
}

fn ssrc_line(line: &str, media: &LocalMedia<'_>) -> String {
    match line.split_once(" msid:") {
        Some((head, _)) => format!("{head} msid:{} {}\r\n", media.stream_id, media.track_id),
        None => format!("{line}\r\n"),
    }
}

/// Writes a rejected m-line, which needs a format as well (RFC 3264 §6); the core omits it if it knows none.
fn write_rejected(out: &mut String, section: &str) {
    let Some((first, rest)) = section.split_once("\r\n") else {
        *out += section;
        return;
    };
    let needs_format = formats(first).next().is_none();
    *out += first.trim_end();
    *out += if needs_format { " 0\r\n" } else { "\r\n" };
    *out += rest;
}

/// Returns the formats of these codecs in this order, each with its RTX format.
fn chosen_formats<'a>(section: &'a str, codecs: &[Codec]) -> Vec<&'a str> {
    let first = section.lines().next().unwrap_or_default();
    let codec_of = |format: &str| {
        let encoding = section.lines().find_map(|l| {
            let (pt, encoding) = l.strip_prefix("a=rtpmap:")?.split_once(' ')?;
            (pt == format).then_some(encoding)
        })?;
        Codec::named(encoding.split('/').next()?)
    };
    let mut kept = Vec::new();
    for codec in codecs {
        for format in formats(first).filter(|f| codec_of(f) == Some(*codec)) {
            kept.push(format);
            let rtx = |f: &&str| {
                let apt = f.parse().ok().and_then(|pt| parameter(section, pt, "apt"));
                apt == Some(format)
            };
            kept.extend(formats(first).filter(rtx));
        }
    }
    kept
}

/// Returns the format that an attribute refers to.
fn format_of(line: &str) -> Option<&str> {
    let rest = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"]
        .iter()
        .find_map(|name| line.strip_prefix(name))?;
    rest.split(' ').next().filter(|f| *f != "*")
}

fn formats(m_line: &str) -> impl Iterator<Item = &str> {
    m_line.split_ascii_whitespace().skip(3)
}

fn is_rejected(section: &str) -> bool {
    let first = section.lines().next().unwrap_or_default();
    first.split_ascii_whitespace().nth(1) == Some("0")
}

fn rtpmap(line: &str) -> Option<(u8, &str)> {
    let (pt, encoding) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
    Some((pt.parse().ok().filter(|pt| *pt < 128)?, encoding.trim()))
}

fn kind_of(m_line: &str) -> Option<MediaKind> {
    match m_line {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    }
}

fn direction_in(section: &str) -> Option<Direction> {
    section.lines().find_map(Direction::from_line)
}

/// Splits SDP into the session part and the m-sections.
fn split(sdp: &str) -> (&str, Vec<&str>) {
    let mut starts: Vec<usize> = sdp.match_indices("\nm=").map(|(at, _)| at + 1).collect();
    let session = &sdp[..starts.first().copied().unwrap_or(sdp.len())];
    starts.push(sdp.len());
    let sections = starts.windows(2).map(|w| &sdp[w[0]..w[1]]).collect();
    (session, sections)
}
