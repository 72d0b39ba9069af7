//! Findings about a description as a whole: missing attributes and contradictions.

use std::collections::HashSet;

use super::outline::{Outline, Section};
use super::{Problem, Severity, problem};
use crate::proto::ice::IceCandidate;
use crate::proto::ice::candidate::CandidateAddress;
use crate::proto::signal::SdpType;

/// Guesses the type of a description from `a=setup`: offers say `actpass` and leave the DTLS role to the answer (RFC
/// 8842 §5.2).
pub(super) fn role(outline: &Outline<'_>) -> Option<SdpType> {
    let used = outline.sections.iter().filter(|s| !s.is_rejected());
    let mut setups = used.filter_map(|s| outline.in_force(s, "setup"));
    match setups.next()? {
        "actpass" => Some(SdpType::Offer),
        "active" | "passive" => Some(SdpType::Answer),
        _ => None,
    }
}

/// Returns `true` for plain RTP, as described by cameras and RTSP servers.
pub(super) fn is_plain_rtp(outline: &Outline<'_>) -> bool {
    let mut used = outline
        .sections
        .iter()
        .filter(|s| !s.is_rejected())
        .peekable();
    let is_plain = |s: &Section<'_>| !s.is_dtls() && outline.in_force(s, "ice-ufrag").is_none();
    used.peek().is_some() && used.all(is_plain)
}

pub(super) fn find(kind: Option<SdpType>, outline: &Outline<'_>, sdp: &str) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    let used: Vec<_> = outline
        .sections
        .iter()
        .filter(|s| !s.is_rejected())
        .collect();
    if !outline.sections.is_empty() && used.is_empty() {
        found.warning("every section is refused: nothing will be sent".to_owned());
    }
    if is_plain_rtp(outline) {
        found.warning(
            "this describes plain RTP, as used by cameras and RTSP servers, not WebRTC: there is neither ICE nor DTLS"
                .to_owned(),
        );
        return found.0;
    }
    for section in &used {
        found.section(outline, section, kind.or(role(outline)));
    }
    found.bundle(outline, &used);
    found.candidates(outline, &used);
    if !sdp.contains("\r\n") && !sdp.is_empty() {
        found.note(
            "lines end in LF alone; RFC 8866 §5 has CRLF, and some parsers insist on it".to_owned(),
        );
    }
    found.0
}

struct Found(Vec<Problem>);

impl Found {
    fn error(&mut self, text: String) {
        self.0.push(problem(Severity::Error, text));
    }

    fn warning(&mut self, text: String) {
        self.0.push(problem(Severity::Warning, text));
    }

    fn note(&mut self, text: String) {
        self.0.push(problem(Severity::Note, text));
    }

    fn section(&mut self, outline: &Outline<'_>, section: &Section<'_>, kind: Option<SdpType>) {
        let place = format!("the section of line {} ({})", section.line, section.kind);
        // The first mid of the bundle is the tagged one (RFC 9143 §7.1.3).
        let speaks = outline
            .bundle()
            .and_then(|mids| outline.section_of_mid(mids.first()?));
        let tagged = speaks
            .and_then(|index| outline.sections.get(index))
            .unwrap_or(section);
        let has = |name: &str| {
            outline.in_force(section, name).is_some() || outline.in_force(tagged, name).is_some()
        };
        if !has("fingerprint") && section.is_dtls() {
            self.error(format!(
                "{place} has no a=fingerprint: DTLS cannot know whom it talks to (RFC 8827 §6.5)"
            ));
        }
        for (name, why) in [
            ("ice-ufrag", "ICE checks have no name"),
            ("ice-pwd", "ICE checks cannot be signed"),
        ] {
            if !has(name) {
                self.error(format!("{place} has no a={name}: {why} (RFC 8839 §5.4)"));
            }
        }
        match (kind, outline.in_force(section, "setup").or(outline.in_force(tagged, "setup"))) {
            (Some(SdpType::Offer), Some(setup @ ("active" | "passive"))) => self.warning(format!(
                "{place} is of an offer, which leaves the DTLS role to the answer with a=setup:actpass; this says \
                 {setup} (RFC 8842 §5.2)"
            )),
            (Some(SdpType::Answer | SdpType::PrAnswer), Some("actpass")) => self.error(format!(
                "{place} is of an answer, which has to choose: a=setup:active or passive, not actpass (RFC 8842 §5.3)"
            )),
            (_, None) if section.is_dtls() => self.warning(format!(
                "{place} has no a=setup: who begins DTLS is left to guessing (RFC 8842 §5)"
            )),
            _ => {}
        }
        if !section.has("mid") {
            self.warning(format!(
                "{place} has no a=mid: it cannot be bundled, nor told apart (RFC 8829 §5.2.1)"
            ));
        }
        if section.is_rtp() && !section.has("rtcp-mux") {
            self.warning(format!(
                "{place} has no a=rtcp-mux, which WebRTC peers ask for (RFC 8834 §4.5)"
            ));
        }
        self.payload_types(section, &place);
        if section.proto.ends_with("/SCTP") && !section.has("sctp-port") && !section.has("sctpmap")
        {
            self.error(format!("{place} has no a=sctp-port (RFC 8841 §5)"));
        }
        if !section.has_connection && !outline.has_connection {
            self.note(format!(
                "{place} has no c= line, which SDP asks for (RFC 8866 §5.7)"
            ));
        }
    }

    fn payload_types(&mut self, section: &Section<'_>, place: &str) {
        if !section.is_rtp() {
            return;
        }
        let mut seen = HashSet::new();
        for format in &section.formats {
            if !seen.insert(format) {
                self.warning(format!("{place} has the payload type {format} twice"));
            } else if section.codec(format).is_none() {
                self.error(format!("{place}: no a=rtpmap says which codec the payload type {format} is (RFC 8866 §6.6)"));
            }
        }
    }

    fn bundle(&mut self, outline: &Outline<'_>, used: &[&Section<'_>]) {
        let Some(bundled) = outline.bundle() else {
            if used.len() > 1 {
                self.warning(format!(
                    "{} sections and no a=group:BUNDLE: each needs a transport of its own; WebRTC peers often take the \
                     first only (RFC 9143 §5)",
                    used.len()
                ));
            }
            return;
        };
        let rejected = outline.sections.iter().filter(|s| s.is_rejected());
        for section in rejected.filter(|s| s.get("mid").is_some_and(|mid| bundled.contains(&mid))) {
            self.error(format!(
                "the section of line {} is refused, and yet in the BUNDLE group (RFC 9143 §7.3.3)",
                section.line
            ));
        }
    }

    fn candidates(&mut self, outline: &Outline<'_>, used: &[&Section<'_>]) {
        let lines: Vec<_> = used.iter().flat_map(|s| s.all("candidate")).collect();
        let candidates: Vec<_> = lines
            .iter()
            .filter_map(|value| IceCandidate::parse(&format!("candidate:{value}")).ok())
            .collect();
        let trickles = used.iter().any(|s| {
            outline
                .in_force(s, "ice-options")
                .is_some_and(|o| o.contains("trickle"))
        });
        let ends = used
            .iter()
            .any(|s| outline.in_force(s, "end-of-candidates").is_some());
        if lines.is_empty() {
            match (trickles, ends) {
                (_, true) => self.error("no candidates, and none will come: nobody can be reached".to_owned()),
                (true, _) => self.note("no candidates yet: they come by messages of their own (trickle)".to_owned()),
                (false, false) => self.warning(
                    "no candidates, and no a=ice-options:trickle: it was taken before they were gathered, or they have \
                     to come by other messages"
                        .to_owned(),
                ),
            }
            return;
        }
        let is_name = |c: &IceCandidate| matches!(c.address, CandidateAddress::Name(_));
        if !candidates.is_empty() && candidates.iter().all(is_name) {
            self.warning(
                "all candidates are .local names: only peers on the same network, where multicast passes, can reach \
                 this one; add a STUN or TURN server"
                    .to_owned(),
            );
        }
        if !candidates.is_empty() && candidates.iter().all(|c| c.protocol == "tcp") {
            self.warning(
                "all candidates are TCP: peers that do ICE over UDP only cannot connect".to_owned(),
            );
        }
        let loopback = |c: &IceCandidate| c.socket_addr().is_some_and(|a| a.ip().is_loopback());
        if !candidates.is_empty() && candidates.iter().all(loopback) {
            self.warning(
                "all candidates are loopback addresses: reached from the same machine only"
                    .to_owned(),
            );
        }
    }
}
