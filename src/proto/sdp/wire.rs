//! Rewrites the core's descriptions for the remote peer.

use super::line::Sdp;
use super::media_line::{Fate, MediaLine};

/// Returns the core's answer in the form of the offer: each m-line as it was offered, rejected if it cannot be used,
/// and nothing that was not offered.
pub(crate) fn answer_as_offered(core: &str, offer: &Sdp<'_>, lines: &[MediaLine]) -> String {
    let (session, sections) = split(core);
    let accepted: Vec<bool> = sections
        .iter()
        .zip(lines)
        .map(|(section, line)| line.fate == Fate::Used && !is_rejected(section))
        .collect();
    let mut out = String::with_capacity(core.len() + 64);
    let allows_mixed = offer.session.iter().any(|a| a.name == "extmap-allow-mixed");
    for text in session.lines() {
        if text.starts_with("a=group:") {
            if let Some(group) = answered_group(offer, lines, &accepted) {
                push(&mut out, &group);
            }
        } else if allows_mixed || text != "a=extmap-allow-mixed" {
            push(&mut out, text);
        }
    }
    for (at, section) in sections.iter().enumerate() {
        match lines.get(at) {
            Some(line) if accepted[at] => write_section(&mut out, section, line, Some(line)),
            Some(line) => {
                write_rejected(&mut out, line, line.mid.as_deref());
                if !accepted.contains(&true) {
                    write_transport(&mut out, section);
                }
            }
            None => out += section,
        }
    }
    out
}

/// Returns the core's offer with previously negotiated m-lines in their wire form.
pub(crate) fn offer_as_negotiated(core: &str, lines: &[MediaLine]) -> String {
    if lines.is_empty() {
        return core.to_owned();
    }
    let (session, sections) = split(core);
    let mut out = String::with_capacity(core.len() + 64);
    let wire = |id: &str| {
        let line = lines.iter().find(|l| l.id == id);
        line.map_or(id, MediaLine::wire_mid).to_owned()
    };
    for text in session.lines() {
        match text.strip_prefix("a=group:BUNDLE ") {
            Some(mids) => {
                let mids: Vec<String> = mids.split(' ').map(wire).collect();
                push(&mut out, &format!("a=group:BUNDLE {}", mids.join(" ")));
            }
            None => push(&mut out, text),
        }
    }
    let is_over = sections.iter().all(|section| is_rejected(section));
    for (at, section) in sections.iter().enumerate() {
        match lines.get(at) {
            Some(line) if is_rejected(section) => {
                write_rejected(&mut out, line, Some(line.wire_mid()));
                if is_over {
                    write_transport(&mut out, section);
                }
            }
            Some(line) => write_section(&mut out, section, line, None),
            None => out += section,
        }
    }
    out
}

/// Returns the BUNDLE group of the answer: the offered one without rejected m-lines (RFC 9143 §7.3.3).
fn answered_group(offer: &Sdp<'_>, lines: &[MediaLine], accepted: &[bool]) -> Option<String> {
    let is_accepted = |mid: &&str| {
        let mut all = lines.iter().zip(accepted);
        all.any(|(line, accepted)| *accepted && line.mid.as_deref() == Some(mid))
    };
    let mut groups = offer.groups("BUNDLE").map(|(_, mids)| {
        let mut kept: Vec<&str> = Vec::new();
        for mid in mids.into_iter().filter(is_accepted) {
            if !kept.contains(&mid) {
                kept.push(mid);
            }
        }
        kept
    });
    let kept = groups.find(|kept| !kept.is_empty())?;
    Some(format!("a=group:BUNDLE {}", kept.join(" ")))
}

/// Writes a rejected m-line (RFC 3264 §6).
fn write_rejected(out: &mut String, line: &MediaLine, mid: Option<&str>) {
    let formats = match line.formats.is_empty() {
        // A rejected m-line still needs a format.
        true => "0".to_owned(),
        false => line.formats.join(" "),
    };
    push(out, &format!("m={} 0 {} {formats}", line.kind, line.proto));
    push(out, "c=IN IP4 0.0.0.0");
    if let Some(mid) = mid {
        push(out, &format!("a=mid:{mid}"));
    }
    if line.proto.contains("RTP/") {
        push(out, "a=inactive");
    }
}

/// Writes the transport attributes. If every m-line is rejected they are kept for the next offer.
fn write_transport(out: &mut String, section: &str) {
    const NAMES: [&str; 5] = [
        "ice-ufrag",
        "ice-pwd",
        "ice-options",
        "fingerprint",
        "setup",
    ];
    let is_it = |line: &&str| {
        let name = line.strip_prefix("a=").and_then(|l| l.split(':').next());
        name.is_some_and(|name| NAMES.contains(&name))
    };
    section
        .lines()
        .filter(is_it)
        .for_each(|line| push(out, line));
}

/// Writes one of the core's sections for a known m-line. `offered` is the m-line it answers, if any.
fn write_section(out: &mut String, section: &str, line: &MediaLine, offered: Option<&MediaLine>) {
    let is_data = line.kind == "application";
    // `DTLS/SCTP 5000`, the syntax before RFC 8841.
    let is_old = is_data
        && line
            .formats
            .first()
            .is_some_and(|f| f.parse::<u16>().is_ok());
    for text in section.lines() {
        if let Some(rest) = text.strip_prefix("m=") {
            let mut words = rest.split(' ').skip(1);
            let port = words.next().unwrap_or("9");
            let formats: Vec<&str> = match is_data {
                true => line.formats.iter().map(String::as_str).collect(),
                false => words.skip(1).collect(),
            };
            let formats = formats.join(" ");
            push(
                out,
                &format!("m={} {port} {} {formats}", line.kind, line.proto),
            );
        } else if text.starts_with("a=mid:") {
            let mid = match offered {
                Some(line) => line.mid.as_deref(),
                None => Some(line.wire_mid()),
            };
            if let Some(mid) = mid {
                push(out, &format!("a=mid:{mid}"));
            }
        } else if text == "a=rtcp-mux" {
            // An answer has it only if the offer has it (RFC 5761 §5.1.1).
            if offered.is_none_or(|line| line.muxes) {
                push(out, text);
            }
        } else if let Some((fmtp, profile)) = offered_profile(text, offered) {
            push(out, &super::rtp::with_profile(fmtp, profile));
        } else if let Some(feedback) = text.strip_prefix("a=rtcp-fb:") {
            if offered.is_none_or(|line| is_offered(feedback, line)) {
                push(out, text);
            }
        } else if is_old && text.starts_with("a=sctp-port:") {
            let port = line.formats.first().map_or("5000", String::as_str);
            push(out, &format!("a=sctpmap:{port} webrtc-datachannel 65535"));
        } else {
            push(out, text);
        }
    }
}

/// Returns payload type and profile of a parameter line if the offered profile has to be restored in it.
fn offered_profile<'a>(
    text: &'a str,
    offered: Option<&'a MediaLine>,
) -> Option<(&'a str, &'a str)> {
    let (payload_type, _) = text.strip_prefix("a=fmtp:")?.split_once(' ')?;
    let mut profiles = offered?.profiles.iter();
    let (_, profile) = profiles.find(|(known, _)| known == payload_type)?;
    Some((text, profile))
}

/// Returns `true` if a feedback message was offered for this payload type, or for all (RFC 4585 §4.2).
fn is_offered(feedback: &str, line: &MediaLine) -> bool {
    let words =
        |text: &str| -> Vec<String> { text.split_ascii_whitespace().map(str::to_owned).collect() };
    let wanted = words(feedback);
    line.feedback.iter().any(|offered| {
        let offered = words(offered);
        let is_about = offered
            .first()
            .is_some_and(|pt| pt == "*" || Some(pt) == wanted.first());
        is_about && offered.get(1..) == wanted.get(1..)
    })
}

fn push(out: &mut String, line: &str) {
    *out += line;
    *out += "\r\n";
}

fn is_rejected(section: &str) -> bool {
    let first = section.lines().next().unwrap_or_default();
    first.split_ascii_whitespace().nth(1) == Some("0")
}

/// Splits SDP into the session part and the m-sections.
fn split(sdp: &str) -> (&str, Vec<&str>) {
    let mut starts: Vec<usize> = sdp.match_indices("\nm=").map(|(at, _)| at + 1).collect();
    let session = &sdp[..starts.first().copied().unwrap_or(sdp.len())];
    starts.push(sdp.len());
    let sections = starts.windows(2).map(|w| &sdp[w[0]..w[1]]).collect();
    (session, sections)
}
