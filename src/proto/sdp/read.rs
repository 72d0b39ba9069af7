//! A description as a peer needs it: the fate of each m-line, and the shared transport.

use super::canonical;
use super::line::{Attribute, Media, Sdp};
use super::media_line::{Fate, MediaLine};
use super::transport::{Fingerprint, Place, Transport};
use super::{Role, SdpError, quoted};
use crate::proto::ice::IceCandidate;

/// Maximum message size assumed when the remote description has no `a=max-message-size`: 64 KiB (RFC 8841 §6.1).
const DEFAULT_MAX_MESSAGE_SIZE: usize = 64 * 1024;

/// A usable description.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// All m-lines, in order.
    pub lines: Vec<MediaLine>,
    /// The text for the core, with the ids of `lines` as mids and without candidates.
    pub canonical: String,
    pub ufrag: String,
    pub pwd: String,
    pub fingerprints: Vec<Fingerprint>,
    pub ice_lite: bool,
    pub candidates: Vec<IceCandidate>,
    pub candidates_unreadable: usize,
    /// Maximum message size that the remote peer accepts, in bytes; `None` without a usable application m-line.
    pub max_message_size: Option<usize>,
}

impl Reading {
    /// Reads a remote description. `before` holds the m-lines negotiated so far, or those of the offer that this one
    /// answers: they keep their ids.
    pub fn of(sdp: &Sdp<'_>, role: Role, before: &[MediaLine]) -> Result<Self, SdpError> {
        if sdp.media.is_empty() {
            return Err(SdpError::whole("no m-line: there is nothing to connect"));
        }
        let mut lines = lines(sdp, role, before)?;
        let bundle = bundle(sdp, role, &mut lines)?;
        let tagged = bundle.first().map(|at| &sdp.media[*at]);
        let place = Place {
            sdp,
            tagged,
            bundle: &bundle,
        };
        let (ufrag, pwd) = place.credentials()?;
        let fingerprints = place.fingerprints()?;
        let setup = place.setup(role)?;
        let (candidates, candidates_unreadable) = place.candidates(&ufrag);
        let ice_lite = sdp.session.iter().any(|a| a.name == "ice-lite");
        let application = bundle.iter().find(|at| sdp.media[**at].is_sctp());
        let transport = Transport {
            ufrag: &ufrag,
            pwd: &pwd,
            fingerprints: &fingerprints,
            setup,
            ice_lite,
        };
        Ok(Self {
            canonical: canonical::write(sdp, &lines, &transport)?,
            max_message_size: application.map(|at| max_message_size(&sdp.media[*at])),
            lines,
            ufrag,
            pwd,
            fingerprints,
            ice_lite,
            candidates,
            candidates_unreadable,
        })
    }
}

/// Reads the m-lines, assigns ids, and decides the fate of each on its own.
fn lines(sdp: &Sdp<'_>, role: Role, before: &[MediaLine]) -> Result<Vec<MediaLine>, SdpError> {
    let mut mids: Vec<(&str, usize)> = Vec::with_capacity(sdp.media.len());
    for mid in sdp.media.iter().filter_map(|m| m.first("mid")) {
        check_mid(mid)?;
        if let Some((_, line)) = mids.iter().find(|(known, _)| *known == mid.value) {
            return Err(SdpError::at(
                mid.line,
                format!("a=mid:{} is that of line {line}, too", mid.value),
            ));
        }
        mids.push((mid.value, mid.line));
    }
    let mut lines: Vec<MediaLine> = Vec::with_capacity(sdp.media.len());
    for (index, media) in sdp.media.iter().enumerate() {
        let offered = before.get(index);
        // An answer's m-lines are matched by position (RFC 8829 §5.10).
        let mid = media.value("mid").map(str::to_owned);
        let mid = match role {
            Role::Answer => mid.or_else(|| offered.and_then(|l| l.mid.clone())),
            Role::Offer => mid,
        };
        // An m-line without a mid carries the generated one in our offers.
        let is_it =
            |l: &&MediaLine| l.mid == mid || l.mid.is_none() && mid.as_deref() == Some(&l.id);
        let id = match offered.filter(is_it) {
            Some(same) => same.id.clone(),
            None => new_id(index, mid.as_deref(), &mids, before, &lines),
        };
        let mut of_data = lines.iter().filter(|l| l.kind == "application");
        let has_data = of_data.any(|l| l.fate == Fate::Used);
        let fate = fate(sdp, media, role, has_data)?;
        if let (Fate::Unusable(why), Role::Answer) = (&fate, role) {
            return Err(SdpError::at(media.line, why.clone()));
        }
        lines.push(MediaLine {
            line: media.line,
            kind: media.kind.to_owned(),
            mid,
            id,
            proto: media.proto.to_owned(),
            formats: media.formats.iter().map(|f| (*f).to_owned()).collect(),
            fate,
            muxes: media.has("rtcp-mux") || media.has("rtcp-mux-only"),
            feedback: media.all("rtcp-fb").map(|a| a.value.to_owned()).collect(),
            profiles: super::rtp::profiles(media),
        });
    }
    Ok(lines)
}

/// Reads the m-lines of one of our own descriptions.
pub(crate) fn own_lines(sdp: &Sdp<'_>, before: &[MediaLine]) -> Result<Vec<MediaLine>, SdpError> {
    lines(sdp, Role::Offer, before)
}

/// Checks that a mid is a token (RFC 8866 §9). Anything else would be ambiguous.
fn check_mid(mid: Attribute<'_>) -> Result<(), SdpError> {
    let is_token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&c);
    if mid.value.is_empty() || !mid.value.bytes().all(is_token) {
        return Err(SdpError::at(
            mid.line,
            format!("the mid {} is not a token (RFC 8866 §9)", quoted(mid.value)),
        ));
    }
    Ok(())
}

/// Returns the mid itself if the core can represent it (up to 16 letters, digits and underscores; it alters others), or
/// else a generated id.
fn new_id(
    index: usize,
    mid: Option<&str>,
    mids: &[(&str, usize)],
    before: &[MediaLine],
    lines: &[MediaLine],
) -> String {
    let is_id = |id: &str| before.iter().chain(lines).any(|l| l.id == id);
    let is_fine =
        |mid: &&str| mid.len() <= 16 && mid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if let Some(mid) = mid.filter(is_fine).filter(|mid| !is_id(mid)) {
        return mid.to_owned();
    }
    let is_taken = |id: &String| is_id(id) || mids.iter().any(|(mid, _)| mid == id);
    let mut id = format!("m{index}x");
    let mut more = 0;
    while is_taken(&id) {
        id = format!("m{index}x{more}");
        more += 1;
    }
    id
}

fn fate(sdp: &Sdp<'_>, media: &Media<'_>, role: Role, has_data: bool) -> Result<Fate, SdpError> {
    if media.is_rejected() {
        return Ok(Fate::Rejected);
    }
    let unusable = |why: String| Ok(Fate::Unusable(why));
    if media.formats.is_empty() {
        return unusable(format!("{} names no format", media.name()));
    }
    let proto = quoted(media.proto);
    match media.kind {
        "audio" | "video" if !media.is_rtp() => {
            unusable(format!("{} over {proto} is not RTP", media.name()))
        }
        "audio" | "video" => {
            // An answer to our offer shares the port that we offered.
            if role == Role::Offer && !shares_port(sdp, media) {
                return unusable(format!(
                    "{} has no a=rtcp-mux: RTCP on a port of its own is not supported (RFC 8834 §4.5)",
                    media.name()
                ));
            }
            match super::rtp::has_formats(media)? {
                true => Ok(Fate::Used),
                false => unusable(format!(
                    "{} names no payload type with an a=rtpmap",
                    media.name()
                )),
            }
        }
        "application" if !media.is_sctp() => unusable(format!(
            "m=application over {proto} is no data channel (UDP/DTLS/SCTP)"
        )),
        "application" if has_data => {
            unusable("a second m=application: one SCTP association is all that is used".into())
        }
        "application" => Ok(Fate::Used),
        _ => unusable(format!(
            "{} is a kind of media that is not supported",
            media.name()
        )),
    }
}

/// Returns `true` if RTCP shares the port of RTP: stated by the m-line itself, or by another one of its transport.
fn shares_port(sdp: &Sdp<'_>, media: &Media<'_>) -> bool {
    let muxes = |m: &Media<'_>| m.has("rtcp-mux") || m.has("rtcp-mux-only");
    if muxes(media) || sdp.session.iter().any(|a| a.name == "rtcp-mux") {
        return true;
    }
    let Some(mid) = media.value("mid") else {
        return false;
    };
    let shares = |mids: &[&str]| {
        let others = sdp
            .media
            .iter()
            .filter(|m| m.value("mid").is_some_and(|mid| mids.contains(&mid)));
        media.has("bundle-only") && others.into_iter().any(|m| muxes(m) || m.is_sctp())
    };
    sdp.groups("BUNDLE")
        .any(|(_, mids)| mids.contains(&mid) && shares(&mids))
}

/// Returns the indexes of the m-lines in use, the tagged one first (RFC 9143 §7). M-lines of another transport become
/// unusable: only one transport is supported.
fn bundle(sdp: &Sdp<'_>, role: Role, lines: &mut [MediaLine]) -> Result<Vec<usize>, SdpError> {
    let used = |lines: &[MediaLine]| -> Vec<usize> {
        let all = lines.iter().enumerate();
        all.filter(|(_, l)| l.fate == Fate::Used)
            .map(|(at, _)| at)
            .collect()
    };
    let all = used(lines);
    let Some(first) = all.first() else {
        // A description may have no media left after everything was removed.
        let unusable = lines.iter().find_map(|l| match &l.fate {
            Fate::Unusable(why) => Some((l.line, why)),
            _ => None,
        });
        return match unusable {
            Some((line, why)) => Err(SdpError::at(line, format!("no m-line can be used: {why}"))),
            None => Ok(Vec::new()),
        };
    };
    if all.len() == 1 {
        return Ok(all);
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (_, mids) in sdp.groups("BUNDLE") {
        let at = |mid: &&str| {
            lines
                .iter()
                .position(|l| l.fate == Fate::Used && l.mid.as_deref() == Some(mid))
        };
        let mut group: Vec<usize> = Vec::new();
        // Unknown mids are ignored (RFC 5888 §5).
        for at in mids.iter().filter_map(at) {
            if !group.contains(&at) {
                group.push(at);
            }
        }
        groups.push(group);
    }
    let of_first = groups.iter().position(|g| g.contains(first));
    let chosen = of_first.or_else(|| groups.iter().position(|g| !g.is_empty()));
    let Some(chosen) = chosen.map(|at| groups.swap_remove(at)) else {
        return Err(SdpError::at(
            lines[all[1]].line,
            format!(
                "a=group:BUNDLE is missing: m={} would need a transport of its own, which is not supported",
                lines[all[1]].kind
            ),
        ));
    };
    for at in all.into_iter().filter(|at| !chosen.contains(at)) {
        let line = &mut lines[at];
        let why = format!(
            "m={} is not in the BUNDLE group that is used, and a second transport is not supported",
            line.kind
        );
        if role == Role::Answer {
            return Err(SdpError::at(line.line, why));
        }
        line.fate = Fate::Unusable(why);
    }
    Ok(chosen)
}

fn max_message_size(application: &Media<'_>) -> usize {
    match application
        .value("max-message-size")
        .and_then(|v| v.parse().ok())
    {
        Some(0) => usize::MAX,
        Some(size) => size,
        None => DEFAULT_MAX_MESSAGE_SIZE,
    }
}
