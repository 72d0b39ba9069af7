//! Formats and direction of an RTP m-section.

use super::line::{Attribute, Media, Sdp};
use super::{SdpError, quoted, spaced};
use crate::proto::media::Codec;

/// URI of the MID header extension (RFC 9143 §15.2).
pub(super) const MID_EXTENSION: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

/// Maximum number of `a=fmtp` lines read per payload type.
const MAX_PARAMETERS: usize = 4;

/// Feedback messages that the core supports (RFC 4585 §4.2).
const FEEDBACK: [&str; 5] = ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"];

/// Direction attributes (RFC 8866 §6.7).
const DIRECTIONS: [&str; 4] = ["sendrecv", "sendonly", "recvonly", "inactive"];

/// A payload type of a section and its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format {
    pub payload_type: u8,
    /// The encoding, as in `a=rtpmap`; `None` for a static payload type without one (RFC 3551 §6).
    pub encoding: Option<String>,
    pub parameters: Vec<String>,
    pub feedback: Vec<&'static str>,
}

/// Returns the formats with a numeric payload type, in order. Others are left out.
pub(super) fn formats(media: &Media<'_>) -> Result<Vec<Format>, SdpError> {
    let mut formats: Vec<Format> = Vec::new();
    // Position of each payload type in the list.
    let mut places = [None; 128];
    let maps = encodings(media)?;
    for payload_type in media.formats.iter().filter_map(|f| number(f)) {
        let at = usize::from(payload_type);
        let encoding = maps[at].map(|a| plain_encoding(a.value));
        let is_static = matches!(payload_type, 0 | 8 | 9);
        let is_known = is_static || encoding.as_ref().is_some_and(Option::is_some);
        if places[at].is_none() && is_known {
            places[at] = Some(formats.len());
            formats.push(Format {
                payload_type,
                encoding: encoding.flatten(),
                parameters: Vec::new(),
                feedback: Vec::new(),
            });
        }
    }
    for attribute in media.all("fmtp") {
        let Some((payload_type, parameters)) = about(attribute) else {
            continue;
        };
        let place = number(payload_type).and_then(|pt| places[usize::from(pt)]);
        if let Some(format) = place.and_then(|at: usize| formats.get_mut(at))
            && format.parameters.len() < MAX_PARAMETERS
            && let Some(parameters) = plain_parameters(parameters)
        {
            format.parameters.push(plain_profile(parameters));
        }
    }
    for attribute in media.all("rtcp-fb") {
        let Some((payload_type, feedback)) = about(attribute) else {
            continue;
        };
        let feedback = spaced(feedback);
        let Some(feedback) = FEEDBACK.iter().find(|f| **f == feedback) else {
            continue;
        };
        let one = number(payload_type).and_then(|pt| places[usize::from(pt)]);
        for (at, format) in formats.iter_mut().enumerate() {
            let is_about = payload_type == "*" || one == Some(at);
            if is_about && !format.feedback.contains(feedback) {
                format.feedback.push(feedback);
            }
        }
    }
    Ok(formats)
}

/// Returns `true` if a section has at least one format that is known or described by an rtpmap.
pub(super) fn has_formats(media: &Media<'_>) -> Result<bool, SdpError> {
    Ok(!formats(media)?.is_empty())
}

fn number(format: &str) -> Option<u8> {
    format.parse().ok().filter(|pt| *pt < 128)
}

/// Splits an attribute into its payload type and the rest.
fn about<'a>(attribute: Attribute<'a>) -> Option<(&'a str, &'a str)> {
    let (payload_type, rest) = attribute
        .value
        .split_once(|c: char| c.is_ascii_whitespace())?;
    Some((payload_type, rest.trim()))
}

/// Returns the `a=rtpmap` of each payload type.
fn encodings<'a>(media: &Media<'a>) -> Result<[Option<Attribute<'a>>; 128], SdpError> {
    let mut maps: [Option<Attribute<'a>>; 128] = [None; 128];
    for attribute in media.all("rtpmap") {
        let Some((payload_type, encoding)) = about(attribute) else {
            continue;
        };
        let Some(slot) = number(payload_type).map(|pt| &mut maps[usize::from(pt)]) else {
            continue;
        };
        let value = Attribute {
            value: encoding,
            ..attribute
        };
        match slot {
            Some(before) if !before.value.eq_ignore_ascii_case(encoding) => {
                return Err(twice(attribute, before.value));
            }
            Some(_) => {}
            None => *slot = Some(value),
        }
    }
    Ok(maps)
}

/// Returns the error for an attribute that occurs twice with different values.
fn twice(attribute: Attribute<'_>, before: &str) -> SdpError {
    SdpError::at(
        attribute.line,
        format!(
            "a={} says {} here and {} before",
            attribute.name,
            quoted(attribute.value),
            quoted(before)
        ),
    )
}

/// Normalizes `VP8/90000`, `opus/48000/2`; `None` if it is malformed. The core treats `PCMU/8000/1` as another codec
/// than `PCMU/8000`, although one channel is the default (RFC 8866 §6.6).
fn plain_encoding(encoding: &str) -> Option<String> {
    let mut parts = encoding.split('/').map(str::trim);
    let (name, clock) = (parts.next()?, parts.next()?);
    let clock: u32 = clock.parse().ok().filter(|clock| *clock > 0)?;
    let is_name = !name.is_empty() && name.bytes().all(|c| c.is_ascii_graphic());
    let channels = match parts.next() {
        Some(channels) => Some(channels.parse::<u8>().ok()?),
        None => None,
    };
    let is_g711 = name.eq_ignore_ascii_case("PCMU") || name.eq_ignore_ascii_case("PCMA");
    is_name.then(|| match channels {
        Some(channels) if !(is_g711 && channels == 1) => format!("{name}/{clock}/{channels}"),
        _ => format!("{name}/{clock}"),
    })
}

/// Normalizes parameters for the core's comparison: it treats AV1 of another level as another codec, although the level
/// describes what its side can decode, and the answer has its own (RTP payload for AV1 §7.2).
fn plain_parameters(parameters: &str) -> Option<String> {
    let parameters = spaced(parameters);
    if parameters.is_empty() {
        return None;
    }
    if !parameters.contains("level-idx=") {
        return Some(parameters);
    }
    let is_level = |p: &&str| {
        let p = p.trim_start();
        p.starts_with("level-idx=") || p.starts_with("tier=")
    };
    let rest: Vec<&str> = parameters.split(';').filter(|p| !is_level(p)).collect();
    (!rest.is_empty()).then(|| rest.join(";"))
}

/// Name of H.264's parameter for profile and level.
const PROFILE: &str = "profile-level-id=";

/// Rewrites the H.264 profile for the core. `constraint_set4_flag` and `constraint_set5_flag` (H.264 §7.4.2.1.1)
/// promise that there are no fields and no B slices: Constrained High is High without these. The core ignores neither
/// flag in Main, and treats Constrained High as a profile of its own, which it does not offer.
fn plain_profile(parameters: String) -> String {
    match profile(&parameters) {
        Some((value, plain)) if plain != value => parameters.replacen(value, &plain, 1),
        _ => parameters,
    }
}

/// Returns the `profile-level-id` among these parameters, and the value for the core.
fn profile(parameters: &str) -> Option<(&str, String)> {
    let mut all = parameters.split(';').map(str::trim);
    let value = all.find_map(|p| p.strip_prefix(PROFILE))?;
    if value.len() != 6 || !value.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(value, 16).ok()?;
    let plain = match number >> 16 {
        0x4d | 0x64 => number & !0x0c00,
        _ => number,
    };
    if plain == number {
        return None;
    }
    Some((value, format!("{plain:06x}")))
}

/// Returns the payload types whose `profile-level-id` was rewritten for the core, with the offered value: the answer
/// has to repeat it (RFC 6184 §8.2.2).
pub(super) fn profiles(media: &Media<'_>) -> Vec<(String, String)> {
    let mut profiles: Vec<(String, String)> = Vec::new();
    for (payload_type, parameters) in media.all("fmtp").filter_map(about) {
        let is_known = profiles.iter().any(|(known, _)| known == payload_type);
        if let Some((value, _)) = profile(parameters)
            && !is_known
            && number(payload_type).is_some()
        {
            profiles.push((payload_type.to_owned(), value.to_owned()));
        }
    }
    profiles
}

/// Returns our parameters with the offered profile.
pub(super) fn with_profile(parameters: &str, offered: &str) -> String {
    let parts = parameters
        .split(';')
        .map(|part| match part.trim().strip_prefix(PROFILE) {
            Some(_) => format!("{PROFILE}{offered}"),
            None => part.to_owned(),
        });
    parts.collect::<Vec<_>>().join(";")
}

/// Returns the direction of a section, or of the session for it; `None` if neither has one, which means sendrecv (RFC 8866 §6.7).
pub(crate) fn direction(
    sdp: &Sdp<'_>,
    media: &Media<'_>,
) -> Result<Option<&'static str>, SdpError> {
    match own_direction(&media.attributes)? {
        Some(own) => Ok(Some(own)),
        None => own_direction(&sdp.session),
    }
}

/// Returns the direction among these attributes.
pub(super) fn own_direction(
    attributes: &[Attribute<'_>],
) -> Result<Option<&'static str>, SdpError> {
    let mut found: Option<&'static str> = None;
    for attribute in attributes {
        let Some(direction) = DIRECTIONS.iter().find(|d| **d == attribute.name) else {
            continue;
        };
        match found {
            Some(before) if before != *direction => {
                return Err(SdpError::at(
                    attribute.line,
                    format!("a={direction} stands beside a={before} (RFC 8866 §6.7)"),
                ));
            }
            _ => found = Some(direction),
        }
    }
    Ok(found)
}

/// Returns `(sends, receives)` for a direction.
pub(super) fn ways(direction: &str) -> (bool, bool) {
    match direction {
        "sendonly" => (true, false),
        "recvonly" => (false, true),
        "inactive" => (false, false),
        _ => (true, true),
    }
}

/// A codec of a section, as its peer calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedCodec {
    /// The name of its encoding, such as `H264`.
    pub name: String,
    /// Its `a=fmtp` parameters as they stand there; empty if there are none.
    pub parameters: String,
}

/// Returns the codecs of a section, without auxiliary formats (`rtx` and the like).
pub(crate) fn codecs(media: &Media<'_>) -> Result<Vec<NamedCodec>, SdpError> {
    const NOT_CODECS: [&str; 6] = [
        "rtx",
        "red",
        "ulpfec",
        "flexfec-03",
        "telephone-event",
        "CN",
    ];
    let mut parameters = [""; 128];
    for (payload_type, text) in media.all("fmtp").filter_map(about) {
        if let Some(payload_type) = number(payload_type) {
            parameters[usize::from(payload_type)] = text;
        }
    }
    let codecs = formats(media)?.into_iter().filter_map(|format| {
        let name = match &format.encoding {
            Some(encoding) => encoding.split('/').next().unwrap_or_default(),
            None => Codec::of_static_payload_type(format.payload_type)?.name(),
        };
        Some(NamedCodec {
            name: name.to_owned(),
            parameters: parameters[usize::from(format.payload_type)].to_owned(),
        })
    });
    let is_codec = |codec: &NamedCodec| {
        !NOT_CODECS
            .iter()
            .any(|n| n.eq_ignore_ascii_case(&codec.name))
    };
    Ok(codecs.filter(is_codec).collect())
}
