//! Checks that the media of an offer is accepted as a whole.
//!
//! RFC 9725, section 4.4.3, has no partially successful answers: a publisher whose video is rejected in an answer with
//! status 201 believes that it is live. An m-line without a common codec is therefore an error that names the codecs of
//! both sides. The same applies to viewers, who would see a black picture.

use std::borrow::Borrow;

use crate::proto::media::Codec;
use crate::proto::peer::{Codecs, MediaKind};
use crate::proto::sdp::{LineOutcome, outcome};

#[cfg(test)]
mod tests;

/// Maximum number of codec names that an error repeats from an offer, and maximum length of each, in characters.
const MAX_NAMES: usize = 16;
const MAX_NAME: usize = 80;

/// Checks the answer to a publisher: every m-line that it sends on is accepted.
///
/// # Errors
///
/// Returns an error that names the m-line, the offered codecs and the supported ones.
pub(super) fn check_published(offer: &str, answer: &str, known: &Codecs) -> Result<(), String> {
    let lines = outcome(offer, answer).map_err(|error| error.to_string())?;
    for (index, line) in lines.iter().enumerate() {
        let Some(kind) = kind(line).filter(|_| line.sends) else {
            continue;
        };
        if !line.accepted {
            let ours = known.iter().filter(|c| MediaKind::of(*c) == kind);
            let ours: Vec<String> = ours.map(known_as).collect();
            return Err(format!(
                "m-line {} ({kind}): the offer has {}; this server takes {}",
                index + 1,
                offered(line),
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
    let lines = outcome(offer, answer).map_err(|error| error.to_string())?;
    let mut is_any = false;
    for wanted in [MediaKind::Video, MediaKind::Audio] {
        let of_kind = lines.iter().filter(|line| kind(line) == Some(wanted));
        let asking = of_kind.filter(|line| line.receives);
        let of_stream = stream.iter().filter(|c| MediaKind::of(**c) == wanted);
        let names: Vec<&str> = of_stream.map(|c| c.name()).collect();
        if asking.clone().next().is_none() || names.is_empty() {
            continue;
        }
        is_any = true;
        let sent = asking.clone().filter(|line| line.answerer_sends);
        let mut promised = sent.flat_map(|line| &line.common_codecs);
        if !promised.any(|codec| names.iter().any(|n| n.eq_ignore_ascii_case(codec))) {
            let offers: Vec<String> = asking.map(offered).collect();
            let advice = match names[..] {
                ["H265"] => {
                    ". Not every browser decodes H.265; set the camera to H.264, or give it a second stream in H.264"
                }
                _ => "",
            };
            return Err(format!(
                "the {wanted} of this stream is {}; the offer takes {}{advice}",
                list(&names),
                offers.join(", ")
            ));
        }
    }
    if !is_any {
        let has: Vec<&str> = stream.iter().map(|c| c.name()).collect();
        let asking = lines.iter().filter(|line| line.receives);
        let offers: Vec<String> = asking.map(offered).collect();
        return Err(format!(
            "this stream has only {}; the offer takes {}",
            list(&has),
            offers.join(", ")
        ));
    }
    Ok(())
}

/// Returns the codecs that an offer names, each once.
pub(super) fn offered_codecs(offer: &str) -> Vec<Codec> {
    let mut codecs = Vec::new();
    for line in offer.lines() {
        let map = line.strip_prefix("a=rtpmap:");
        let name = map.and_then(|map| map.split([' ', '/']).nth(1));
        if let Some(codec) = name.and_then(Codec::named)
            && !codecs.contains(&codec)
        {
            codecs.push(codec);
        }
    }
    codecs
}

fn kind(line: &LineOutcome) -> Option<MediaKind> {
    match line.kind.as_str() {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    }
}

/// Returns the names of the offered codecs of an m-line for an error.
fn offered(line: &LineOutcome) -> String {
    let mut names: Vec<String> = Vec::new();
    for codec in &line.offered_codecs {
        let text = match telling(&codec.parameters) {
            told if told.is_empty() => codec.name.clone(),
            told => format!("{} ({told})", codec.name),
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
