//! Explanation of a session description, line by line.

use std::net::IpAddr;

use super::outline::{Outline, Section};
use super::{
    Explained, Kind, Line, Problem, Report, Severity, attribute, count, findings, problem,
};
use crate::proto::peer::check_description;
use crate::proto::sdp::{Fate, Role};
use crate::proto::signal::SdpType;

/// Maximum number of codecs named in the explanation of an m-line.
const MAX_NAMED: usize = 12;

pub(super) fn explain(kind: Option<SdpType>, sdp: &str) -> Report {
    let outline = Outline::of(sdp);
    let mut lines = Vec::new();
    // Number of media sections seen so far.
    let mut begun = 0;
    for (number, text) in crate::proto::sdp::lines(sdp) {
        begun += usize::from(text.starts_with("m="));
        let section = begun.checked_sub(1).and_then(|at| outline.sections.get(at));
        let explained = line(text, &outline, section, begun);
        lines.push(explained.into_line(number, text));
    }
    let mut findings = findings::find(kind, &outline, sdp);
    if !findings::is_plain_rtp(&outline) {
        judge(
            kind.or(findings::role(&outline)),
            sdp,
            &mut lines,
            &mut findings,
        );
    }
    Report {
        kind: Kind::Description(kind),
        summary: summary(kind, &outline),
        lines,
        findings,
    }
}

/// Checks a description with the same code that connecting peers use. A refusal becomes an error on the line it names;
/// m-lines that our answer would reject become warnings.
fn judge(kind: Option<SdpType>, sdp: &str, lines: &mut [Line], findings: &mut Vec<Problem>) {
    let role = match kind {
        Some(SdpType::Answer | SdpType::PrAnswer) => Role::Answer,
        _ => Role::Offer,
    };
    match check_description(sdp, role) {
        Ok(read) => {
            // A deviation that this library tolerates may break other implementations.
            let of_lines = lines.iter_mut().flat_map(|line| &mut line.problems);
            for problem in of_lines.chain(&mut *findings) {
                problem.severity = problem.severity.min(Severity::Warning);
            }
            for line in read {
                if let Fate::Unusable(why) = line.fate {
                    let text = format!("looprtc would reject this section in its answer: {why}");
                    add(
                        lines,
                        findings,
                        Some(line.line),
                        problem(Severity::Warning, text),
                    );
                }
            }
        }
        Err(error) => {
            let text = format!("looprtc refuses it: {}", error.text);
            add(lines, findings, error.line, problem(Severity::Error, text));
        }
    }
}

fn add(lines: &mut [Line], findings: &mut Vec<Problem>, number: Option<usize>, problem: Problem) {
    let at = number.and_then(|number| number.checked_sub(1));
    match at.and_then(|at| lines.get_mut(at)) {
        Some(line) => line.problems.push(problem),
        None => findings.push(problem),
    }
}

fn summary(kind: Option<SdpType>, outline: &Outline<'_>) -> String {
    let what = match (kind, findings::role(outline)) {
        (Some(SdpType::Offer), _) => "an offer",
        (Some(SdpType::Answer), _) => "an answer",
        (Some(SdpType::PrAnswer), _) => "a provisional answer",
        (_, Some(SdpType::Offer)) => "an offer (by its a=setup:actpass)",
        (_, Some(_)) => "an answer (by its a=setup)",
        _ => "a session description",
    };
    let kinds: Vec<_> = outline.sections.iter().map(|s| s.kind).collect();
    let sections = count(kinds.len(), "media section");
    let candidates = outline
        .sections
        .iter()
        .map(|s| s.all("candidate").count())
        .sum();
    format!(
        "{what} of {sections} ({}), with {}",
        kinds.join(", "),
        count(candidates, "candidate")
    )
}

fn line(
    text: &str,
    outline: &Outline<'_>,
    section: Option<&Section<'_>>,
    begun: usize,
) -> Explained {
    if text.is_empty() {
        return Explained::new("", "An empty line").warning("many parsers refuse empty lines");
    }
    let Some((key, value)) = text.split_once('=') else {
        return Explained::new(
            "RFC 8866 §5",
            "No line of SDP: these are a letter, =, and a value",
        )
        .error("parsers refuse it; it may be the rest of a line that was broken in copying");
    };
    match key {
        "v" => version(value),
        "o" => origin(value),
        "s" => Explained::new("RFC 8866 §5.3", name("The session has the name", value)),
        "i" => Explained::new("RFC 8866 §5.4", format!("A title for people: {value}")),
        "u" => Explained::new("RFC 8866 §5.5", "Where more is said about the session"),
        "e" => Explained::new("RFC 8866 §5.6", "The e-mail address of who is responsible"),
        "p" => Explained::new(
            "RFC 8866 §5.6",
            "The telephone number of who is responsible",
        ),
        "c" => connection(value),
        "b" => bandwidth(value),
        "t" => time(value),
        "r" => Explained::new("RFC 8866 §5.10", "When the session is repeated"),
        "z" => Explained::new("RFC 8866 §5.11", "Changes of time zone"),
        "k" => Explained::new("RFC 8866 §5.12", "An encryption key")
            .warning("k= is not used any more: who reads the description reads the key"),
        "m" => media(value, outline, section, begun.saturating_sub(1)),
        "a" => attribute::explain(value, text, outline, section),
        _ => Explained::new("RFC 8866 §5", "A line of a kind that SDP does not have")
            .warning("it is passed over"),
    }
}

fn version(value: &str) -> Explained {
    let explained = Explained::new("RFC 8866 §5.1", format!("SDP, version {value}"));
    match value {
        "0" => explained,
        _ => explained.error("there is version 0 only"),
    }
}

fn name(what: &str, value: &str) -> String {
    match value.trim() {
        "" | "-" => format!("{what} \"-\": none"),
        value => format!("{what} {value:?}"),
    }
}

fn origin(value: &str) -> Explained {
    let fields: Vec<_> = value.split_ascii_whitespace().collect();
    let [user, id, version, _, _, address] = fields[..] else {
        return Explained::new("RFC 8866 §5.2", "Who made this description")
            .error("it has six fields: name, session id, version, IN, IP4 or IP6, address");
    };
    Explained::new("RFC 8866 §5.2", format!("Made by {}, session {id}, version {version}", made_by(user)))
        .detail("the version goes up by one with each offer and answer that changes something (RFC 3264 §8)")
        .detail(format!("{address} is not used; WebRTC puts a made-up address here, not to tell where it is"))
}

fn made_by(user: &str) -> String {
    match user {
        "-" => "somebody without a name".into(),
        user if user.starts_with("mozilla") => format!("Firefox ({user})"),
        user => user.to_owned(),
    }
}

fn connection(value: &str) -> Explained {
    let explained = Explained::new(
        "RFC 8866 §5.7",
        format!("Where media goes without ICE: {value}"),
    );
    let address = value.split_ascii_whitespace().nth(2).unwrap_or_default();
    let address = address.split('/').next().unwrap_or_default();
    match address.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => {
            explained.detail("no address yet: ICE finds one among the candidates (RFC 8829 §5.2.1)")
        }
        Ok(ip) if ip.is_multicast() => explained.detail("a multicast group"),
        Ok(_) => explained.detail("of the candidate that was best when this was written"),
        Err(_) => explained.warning("the third field is an IP address as a rule"),
    }
}

fn bandwidth(value: &str) -> Explained {
    let (kind, amount) = value.split_once(':').unwrap_or((value, ""));
    let number = amount.trim().parse::<u64>();
    let (reference, meaning) = match kind {
        "AS" => (
            "RFC 8866 §5.8",
            format!("At most {amount} kbit/s, headers included"),
        ),
        "CT" => (
            "RFC 8866 §5.8",
            format!("At most {amount} kbit/s for all together"),
        ),
        "TIAS" => (
            "RFC 3890 §6.2",
            format!("At most {amount} bit/s, without the headers of lower layers"),
        ),
        "RS" => ("RFC 3556 §2", format!("{amount} bit/s of RTCP for senders")),
        "RR" => (
            "RFC 3556 §2",
            format!("{amount} bit/s of RTCP for receivers"),
        ),
        _ => (
            "RFC 8866 §5.8",
            format!("A limit of the kind {kind}: {amount}"),
        ),
    };
    let explained = Explained::new(reference, meaning);
    match number {
        Ok(_) => explained,
        Err(_) => explained.error("the amount is a whole number"),
    }
}

fn time(value: &str) -> Explained {
    match value.trim() {
        "0 0" => Explained::new("RFC 8866 §5.9", "The session has no fixed times"),
        value => Explained::new(
            "RFC 8866 §5.9",
            format!("The session lasts from and to (seconds since 1900): {value}"),
        ),
    }
}

fn media(
    value: &str,
    outline: &Outline<'_>,
    section: Option<&Section<'_>>,
    index: usize,
) -> Explained {
    let Some(section) = section.filter(|s| !s.proto.is_empty() && !s.formats.is_empty()) else {
        return Explained::new(
            "RFC 8866 §5.14",
            format!("Media section {index}, with fields missing: {value}"),
        )
        .error("an m-line has a kind, a port, a protocol and formats");
    };
    let meaning = format!(
        "Media section {index}: {}, {}",
        what(section.kind),
        over(section.proto)
    );
    let mut explained = Explained::new("RFC 8866 §5.14", meaning).detail(port(section));
    if section.is_rtp() {
        let named: Vec<_> = section
            .formats
            .iter()
            .take(MAX_NAMED)
            .map(|pt| section.named(pt))
            .collect();
        let more = match section.formats.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        explained = explained.detail(format!(
            "codecs (payload type), the preferred one first: {}{more}",
            named.join(", ")
        ));
    }
    if section.port.parse::<u16>().is_err() {
        explained = explained.error(format!(
            "the port {:?} is not a number up to 65535",
            section.port
        ));
    }
    if section.is_rejected() {
        explained = explained.note("port 0: this section is refused, or was taken away; it keeps its place (RFC 3264 §6, §8.2)");
    }
    let bundled = outline.bundle().unwrap_or_default();
    if section.has("bundle-only")
        && section
            .get("mid")
            .is_some_and(|mid| !bundled.contains(&mid))
    {
        explained =
            explained.error("bundle-only, but not in the BUNDLE group: there is no way to it");
    }
    explained
}

fn what(kind: &str) -> String {
    match kind {
        "audio" => "sound (audio)".into(),
        "video" => "pictures (video)".into(),
        "application" => "data channels (application)".into(),
        other => other.to_owned(),
    }
}

fn over(proto: &str) -> String {
    match proto {
        "UDP/TLS/RTP/SAVPF" => "encrypted with keys from DTLS (SRTP), with feedback".into(),
        "UDP/TLS/RTP/SAVP" => "encrypted with keys from DTLS (SRTP), without feedback".into(),
        "TCP/DTLS/RTP/SAVPF" | "TCP/TLS/RTP/SAVPF" => {
            "encrypted with keys from DTLS, over TCP".into()
        }
        "RTP/SAVPF" | "RTP/SAVP" => "encrypted (SRTP); the keys come some other way".into(),
        "RTP/AVP" | "RTP/AVPF" => "plain RTP, not encrypted".into(),
        "UDP/DTLS/SCTP" => "SCTP over DTLS (RFC 8841)".into(),
        "DTLS/SCTP" => "SCTP over DTLS, written as before RFC 8841".into(),
        "TCP/DTLS/SCTP" => "SCTP over DTLS over TCP (RFC 8841)".into(),
        other => format!("over {other}"),
    }
}

fn port(section: &Section<'_>) -> String {
    match section.port {
        "9" => {
            "port 9 (discard) stands for \"not known yet\": ICE finds the port (RFC 8829 §5.2.1)"
                .into()
        }
        "0" if section.has("bundle-only") => "port 0: there only if bundled (RFC 9143 §6)".into(),
        "0" => "port 0: not in use".into(),
        port => format!("port {port}: of the candidate that was best when this was written"),
    }
}
