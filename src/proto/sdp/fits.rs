//! Checks that an answer fits its offer (RFC 3264 §6, RFC 8829 §5.3, RFC 9143 §7.3).

use super::SdpError;
use super::line::{Attribute, Media, Sdp};
use super::rtp::{self, NamedCodec};

/// Strictness of the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// For our own answers: everything must be right.
    Ours,
    /// For remote answers: only what would break the session. Protocols may be spelled differently, formats may exceed
    /// the offer, and a missing attribute is taken as fitting.
    Theirs,
}

impl Strictness {
    /// The line that an error names: the one in the remote description, offer or answer.
    fn line(self, answered: usize, offered: usize) -> usize {
        match self {
            Self::Ours => offered,
            Self::Theirs => answered,
        }
    }
}

/// Checks that `answer` fits `offer`. The error names a line of the remote description.
pub(crate) fn check_answer(
    offer: &Sdp<'_>,
    answer: &Sdp<'_>,
    strictness: Strictness,
) -> Result<(), SdpError> {
    if answer.media.len() != offer.media.len() {
        return Err(SdpError::whole(format!(
            "the answer has {} m-lines, its offer {} (RFC 3264 §6)",
            answer.media.len(),
            offer.media.len()
        )));
    }
    for (answered, offered) in answer.media.iter().zip(&offer.media) {
        check_line(answered, offered, strictness)?;
        if !answered.is_rejected() {
            check_direction(offer, (answered, offered), strictness)?;
            check_setup(offer, answer, (answered, offered), strictness)?;
        }
    }
    check_groups(offer, answer, strictness)
}

fn check_line(
    answered: &Media<'_>,
    offered: &Media<'_>,
    strictness: Strictness,
) -> Result<(), SdpError> {
    let line = strictness.line(answered.line, offered.line);
    let bad = |text: String| Err(SdpError::at(line, text));
    if answered.kind != offered.kind {
        return bad(format!(
            "the answer has {} where its offer has {}",
            answered.name(),
            offered.name()
        ));
    }
    let is_ours = strictness == Strictness::Ours;
    match (answered.value("mid"), offered.value("mid")) {
        (Some(answered), Some(offered)) if answered == offered => {}
        (None, None) => {}
        (None, Some(_)) if !is_ours => {}
        (answered, offered) => {
            let name = |mid: Option<&str>| mid.map_or("none".to_owned(), super::quoted);
            return bad(format!(
                "the mid of the answer is {}, of its offer {}",
                name(answered),
                name(offered)
            ));
        }
    }
    let is_same_proto = match is_ours {
        true => answered.proto == offered.proto,
        false => answered.is_rtp() == offered.is_rtp() && answered.is_sctp() == offered.is_sctp(),
    };
    if !is_same_proto {
        return bad(format!(
            "the answer has the protocol {}, its offer {}",
            super::quoted(answered.proto),
            super::quoted(offered.proto)
        ));
    }
    if answered.is_rejected() {
        return Ok(());
    }
    if offered.is_rejected() {
        return bad("the answer accepts an m-line that its offer has with port 0".into());
    }
    let is_offered = |f: &&str| offered.formats.contains(f);
    if is_ours && (answered.formats.is_empty() || !answered.formats.iter().all(is_offered)) {
        return bad("the answer has a format that its offer has not".into());
    }
    let muxes = |m: &Media<'_>| m.has("rtcp-mux") || m.has("rtcp-mux-only");
    if is_ours && muxes(answered) && !muxes(offered) {
        return bad("the answer has a=rtcp-mux, its offer has not (RFC 5761 §5.1.1)".into());
    }
    Ok(())
}

/// Checks directions: an answer must not send what the offerer does not receive (RFC 3264 §6.1). A missing direction
/// fits.
fn check_direction(
    offer: &Sdp<'_>,
    (answered, offered): (&Media<'_>, &Media<'_>),
    strictness: Strictness,
) -> Result<(), SdpError> {
    if !answered.is_rtp() {
        return Ok(());
    }
    let Some(said) = rtp::own_direction(&answered.attributes)? else {
        return Ok(());
    };
    let asked = rtp::direction(offer, offered)?.unwrap_or("sendrecv");
    let ((sends, receives), (offers, takes)) = (rtp::ways(said), rtp::ways(asked));
    if (sends && !takes) || (receives && !offers) {
        let line = answered.first(said).map_or(answered.line, |a| a.line);
        return Err(SdpError::at(
            strictness.line(line, offered.line),
            format!("a={said} does not answer a={asked} (RFC 3264 §6.1)"),
        ));
    }
    Ok(())
}

/// Checks the DTLS role (RFC 8842 §5.3).
fn check_setup(
    offer: &Sdp<'_>,
    answer: &Sdp<'_>,
    (answered, offered): (&Media<'_>, &Media<'_>),
    strictness: Strictness,
) -> Result<(), SdpError> {
    let in_force = |sdp: &Sdp<'_>, media: &Media<'_>| -> Option<(usize, String)> {
        let of_session = || sdp.session.iter().find(|a| a.name == "setup").copied();
        let found: Attribute<'_> = media.first("setup").or_else(of_session)?;
        Some((found.line, found.value.to_ascii_lowercase()))
    };
    let Some((line, said)) = in_force(answer, answered) else {
        return match strictness {
            Strictness::Ours => Err(SdpError::at(offered.line, "the answer has no a=setup")),
            Strictness::Theirs => Ok(()),
        };
    };
    let asked = in_force(offer, offered).map(|(_, setup)| setup);
    let fits = match said.as_str() {
        "active" => asked.as_deref() != Some("active"),
        "passive" => asked.as_deref() != Some("passive"),
        "actpass" | "holdconn" => false,
        // An unknown value has no meaning.
        _ => strictness == Strictness::Theirs,
    };
    match fits {
        true => Ok(()),
        false => Err(SdpError::at(
            strictness.line(line, offered.line),
            format!(
                "a=setup:{said} does not answer a=setup:{} (RFC 8842 §5.3)",
                asked.as_deref().unwrap_or("(none)")
            ),
        )),
    }
}

/// Checks the groups. An answer's groups are subsets of those offered, without rejected m-lines (RFC 9143 §7.3), and
/// all accepted m-lines are in one group, because there is one transport.
fn check_groups(offer: &Sdp<'_>, answer: &Sdp<'_>, strictness: Strictness) -> Result<(), SdpError> {
    let offered: Vec<(usize, Vec<&str>)> = offer.groups("BUNDLE").collect();
    let accepted = |mid: &&str| {
        let mut lines = answer.media.iter().filter(|m| !m.is_rejected());
        lines.any(|m| m.value("mid") == Some(mid))
    };
    for (line, mids) in answer.groups("BUNDLE") {
        let is_part = |(_, group): &(usize, Vec<&str>)| mids.iter().all(|mid| group.contains(mid));
        let line = strictness.line(line, offered.first().map_or(0, |(line, _)| *line));
        if !mids.is_empty() && !offered.iter().any(is_part) {
            return Err(SdpError::at(
                line,
                "the answer bundles what its offer does not (RFC 9143 §7.3)",
            ));
        }
        if strictness == Strictness::Ours && !mids.iter().all(accepted) {
            return Err(SdpError::at(
                line,
                "the answer bundles what it rejects (RFC 9143 §7.3.3)",
            ));
        }
    }
    let used: Vec<_> = answer.media.iter().filter(|m| !m.is_rejected()).collect();
    let is_in_one = |(_, mids): (usize, Vec<&str>)| {
        used.iter()
            .all(|m| m.value("mid").is_some_and(|mid| mids.contains(&mid)))
    };
    if used.len() > 1 && strictness == Strictness::Ours && !answer.groups("BUNDLE").any(is_in_one) {
        return Err(SdpError::whole(
            "the answer accepts m-lines that are not in one BUNDLE group",
        ));
    }
    Ok(())
}

/// Result of one m-line of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineOutcome {
    /// The media type: `audio`, `video`, `application`, or any other that was offered.
    pub kind: String,
    /// Set if the offerer wants to send on it.
    pub sends: bool,
    /// Set if the offerer wants to receive on it.
    pub receives: bool,
    /// Set if the m-line was offered and the answer accepts it.
    pub accepted: bool,
    /// Set if the answerer will send on it.
    pub answerer_sends: bool,
    /// The offered codecs, without auxiliary formats such as `rtx`.
    pub offered_codecs: Vec<NamedCodec>,
    /// Names of the codecs in both descriptions; empty if the m-line is rejected.
    pub common_codecs: Vec<String>,
}

/// Returns the result of each m-line of an offer.
///
/// # Errors
///
/// Returns an error if one of the descriptions cannot be read, or the answer does not fit.
pub(crate) fn outcome(offer: &str, answer: &str) -> Result<Vec<LineOutcome>, SdpError> {
    let (offer, answer) = (Sdp::parse(offer)?, Sdp::parse(answer)?);
    check_answer(&offer, &answer, Strictness::Theirs)?;
    let lines = offer.media.iter().zip(&answer.media);
    let outcome = lines.map(|(offered, answered)| {
        let accepted = !answered.is_rejected();
        let codecs = |media: &Media<'_>| match media.is_rtp() {
            true => rtp::codecs(media),
            false => Ok(Vec::new()),
        };
        let ways = |sdp: &Sdp<'_>, media: &Media<'_>| {
            let direction = rtp::direction(sdp, media)?;
            Ok(rtp::ways(direction.unwrap_or("sendrecv")))
        };
        let is_offered = !offered.is_rejected();
        let (sends, receives) = ways(&offer, offered)?;
        let (answerer_sends, _) = ways(&answer, answered)?;
        let offered_codecs = codecs(offered)?;
        let answered_codecs = match accepted {
            true => codecs(answered)?,
            false => Vec::new(),
        };
        let mut common_codecs: Vec<String> = Vec::new();
        for codec in answered_codecs {
            let is_it = |name: &str| name.eq_ignore_ascii_case(&codec.name);
            let is_common = offered_codecs.iter().any(|o| is_it(&o.name));
            if is_common && !common_codecs.iter().any(|c| is_it(c)) {
                common_codecs.push(codec.name);
            }
        }
        Ok(LineOutcome {
            kind: offered.kind.to_owned(),
            sends: is_offered && sends,
            receives: is_offered && receives,
            accepted,
            answerer_sends: accepted && answerer_sends,
            offered_codecs,
            common_codecs,
        })
    });
    outcome.collect()
}
