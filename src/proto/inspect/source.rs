//! Explanations of media sources: SSRCs, tracks, simulcast layers.

use super::Explained;
use super::outline::Section;

pub(super) fn ssrc(value: &str, section: &Section<'_>) -> Explained {
    let Some((ssrc, rest)) = value.split_once(' ') else {
        return Explained::new("RFC 5576 §4.1", "A sender of RTP").error("expected SSRC ATTRIBUTE");
    };
    let (name, value) = rest.split_once(':').unwrap_or((rest, ""));
    let role = role(ssrc, section);
    let meaning = match name {
        "cname" => format!(
            "The sender {ssrc}{role} has the name (CNAME) {value:?} in RTCP: streams of the same name are in step"
        ),
        "msid" => format!("The sender {ssrc}{role} belongs to the stream and track {value:?}"),
        "mslabel" | "label" => {
            format!("The sender {ssrc}{role}: stream or track, as it was written before a=msid")
        }
        "fmtp" => format!("The sender {ssrc}{role}: parameters of its codec"),
        "previous-ssrc" => format!("The sender {ssrc}{role} had another SSRC before: {value}"),
        other => format!("The sender {ssrc}{role}: {other}"),
    };
    let reference = match name {
        "cname" => "RFC 5576 §6.1",
        "previous-ssrc" => "RFC 5576 §6.2",
        "fmtp" => "RFC 5576 §6.3",
        _ => "RFC 5576 §4.1",
    };
    let explained = Explained::new(reference, meaning);
    match ssrc.parse::<u32>() {
        Ok(_) => explained,
        Err(_) => explained.error(format!("the SSRC {ssrc:?} is not a number below 2^32")),
    }
}

/// Explains the role of this SSRC in its group.
fn role(ssrc: &str, section: &Section<'_>) -> String {
    for group in section.all("ssrc-group") {
        let mut fields = group.split_ascii_whitespace();
        let semantics = fields.next().unwrap_or_default();
        let at = fields.position(|member| member == ssrc);
        match (semantics, at) {
            ("FID", Some(1)) => return " (retransmissions)".into(),
            ("FEC" | "FEC-FR", Some(1)) => return " (repair)".into(),
            ("SIM", Some(layer)) => return format!(" (layer {})", layer + 1),
            _ => {}
        }
    }
    String::new()
}

pub(super) fn ssrc_group(value: &str, section: &Section<'_>) -> Explained {
    let mut fields = value.split_ascii_whitespace();
    let semantics = fields.next().unwrap_or_default();
    let members: Vec<_> = fields.collect();
    let list = members.join(", ");
    let first = members.first().copied().unwrap_or_default();
    let rest = members.get(1..).unwrap_or_default().join(", ");
    let (reference, meaning, exactly) = match semantics {
        "FID" => (
            "RFC 5576 §4.2",
            format!("{rest} sends again what is lost of {first} (FID)"),
            2,
        ),
        "FEC" => ("RFC 5576 §4.2", format!("{rest} repairs {first} (FEC)"), 0),
        "FEC-FR" => (
            "RFC 5956 §4.3",
            format!("{rest} repairs {first} (FEC-FR)"),
            0,
        ),
        "SIM" => (
            "draft-alvestrand-mmusic-simulcast-ssrc",
            format!("The same picture in several sizes: {list} (SIM)"),
            0,
        ),
        other => (
            "RFC 5576 §4.2",
            format!("A group {other} of the senders {list}"),
            0,
        ),
    };
    let mut explained = Explained::new(reference, meaning);
    if members.len() < 2 || exactly != 0 && members.len() != exactly {
        explained = explained.warning(format!(
            "a group {semantics} has {} SSRCs",
            if exactly == 0 { "two or more" } else { "two" }
        ));
    }
    let is_named = |ssrc: &str| {
        section
            .all("ssrc")
            .any(|line| line.split(' ').next() == Some(ssrc))
    };
    for member in members.iter().filter(|member| !is_named(member)) {
        explained = explained.note(format!("no a=ssrc line tells about {member}"));
    }
    explained
}

pub(super) fn msid(value: &str) -> Explained {
    let mut fields = value.split_ascii_whitespace();
    let (stream, track) = (fields.next().unwrap_or_default(), fields.next());
    let meaning = match (stream, track) {
        ("-", Some(track)) => format!("The track {track}, in no stream"),
        (stream, Some(track)) => format!(
            "The track {track} of the stream {stream}: tracks of one stream are played in step"
        ),
        (stream, None) => format!("A track of the stream {stream}"),
    };
    let explained = Explained::new("RFC 8830 §2", meaning);
    match stream {
        "" => explained.error("the stream is missing"),
        _ => explained,
    }
}

/// Explains `ID send|recv [pt=…;max-width=…]`.
pub(super) fn rid(value: &str, section: &Section<'_>) -> Explained {
    let mut fields = value.splitn(3, ' ');
    let (id, direction) = (
        fields.next().unwrap_or_default(),
        fields.next().unwrap_or_default(),
    );
    let what = match direction {
        "send" => "is sent",
        "recv" => "is wanted",
        _ => "exists",
    };
    let mut explained = Explained::new(
        "RFC 8851 §4",
        format!("A layer of simulcast, {id:?}, {what}"),
    );
    if !matches!(direction, "send" | "recv") {
        explained = explained.error("after the name comes send or recv");
    }
    for restriction in fields
        .next()
        .unwrap_or_default()
        .split(';')
        .filter(|r| !r.trim().is_empty())
    {
        explained = explained.detail(format!("restriction {}", restriction.trim()));
    }
    let in_simulcast = section
        .all("simulcast")
        .any(|value| layers(value).any(|layer| layer == id));
    match in_simulcast {
        true => explained,
        false => explained.warning("a=simulcast does not mention it"),
    }
}

/// Returns the rids of a simulcast line, in order.
fn layers(value: &str) -> impl Iterator<Item = &str> {
    let words = value.split_ascii_whitespace();
    let lists = words.filter(|word| !matches!(*word, "send" | "recv"));
    lists
        .flat_map(|list| list.split([';', ',']))
        .map(|layer| layer.trim_start_matches('~'))
}

pub(super) fn simulcast(value: &str, section: &Section<'_>) -> Explained {
    let mut explained = Explained::new(
        "RFC 8853 §5.1",
        "The same picture in several sizes or rates (simulcast)",
    );
    let mut words = value.split_ascii_whitespace();
    while let (Some(direction), Some(list)) = (words.next(), words.next()) {
        let what = match direction {
            "send" => "can be sent",
            "recv" => "can be received",
            _ => {
                explained = explained.error(format!("{direction:?}: expected send or recv"));
                continue;
            }
        };
        let list: Vec<_> = list
            .split(';')
            .map(|layer| layer.replace(',', " or "))
            .collect();
        let paused = list.iter().filter(|layer| layer.starts_with('~')).count();
        explained = explained.detail(format!(
            "{what}: {} layers, {}",
            list.len(),
            list.join(", ")
        ));
        if paused > 0 {
            explained = explained.detail(format!("~ means paused at the beginning: {paused}"));
        }
    }
    let declared = |rid: &str| {
        section
            .all("rid")
            .any(|line| line.split(' ').next() == Some(rid))
    };
    for layer in layers(value).filter(|layer| !declared(layer)) {
        explained = explained.error(format!("no a=rid line tells about {layer:?}"));
    }
    explained
}
