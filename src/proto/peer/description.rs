//! What a session description says that the peer has to know before the core sees it.
//!
//! A description that the core would refuse halfway is found out here, so that a bad one changes
//! nothing (RFC 8829 §5.7). Candidates are taken out: they go through the pending-candidate queue, with
//! its limits.

use std::borrow::Cow;

use sdp_types::{Attribute, Media, Session};

use super::config::Limits;
use super::error::PeerError;
use crate::proto::ice::IceCandidate;

/// What a peer takes when the other side names no limit (RFC 8841 §6.1).
const DEFAULT_MAX_MESSAGE_SIZE: usize = 64 * 1024;

/// One m-line, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MediaLine {
    pub kind: String,
    pub mid: String,
    pub rejected: bool,
}

/// A remote description that has been found sound.
#[derive(Debug, Clone)]
pub(super) struct Description {
    /// The text for the core: without candidates, with the group that a single m-line may leave out.
    pub text: String,
    pub ufrag: String,
    pub pwd: String,
    pub fingerprint: String,
    pub lines: Vec<MediaLine>,
    pub candidates: Vec<IceCandidate>,
    pub candidates_unreadable: usize,
    /// Bytes of the largest message the other side takes; `None` without an application m-line.
    pub max_message_size: Option<usize>,
    pub ice_lite: bool,
}

impl Description {
    /// Parses and checks a remote description.
    pub fn parse(sdp: &str, limits: &Limits) -> Result<Self, PeerError> {
        if sdp.len() > limits.max_sdp_size {
            return Err(PeerError::LimitReached {
                limit: "max_sdp_size",
                value: limits.max_sdp_size,
            });
        }
        let session = Session::parse(sdp.as_bytes()).map_err(|e| bad(&format!("{e}")))?;
        if session.medias.is_empty() {
            return Err(bad("no m-line: there is nothing to connect"));
        }
        if session.medias.len() > limits.max_m_lines {
            return Err(PeerError::LimitReached {
                limit: "max_m_lines",
                value: limits.max_m_lines,
            });
        }
        let lines = media_lines(&session)?;
        let ufrag = required(&session, "ice-ufrag")?;
        let pwd = required(&session, "ice-pwd")?;
        check_credentials(&ufrag, &pwd)?;
        let fingerprint = required(&session, "fingerprint")?;
        check_fingerprint(&fingerprint)?;
        let bundle = bundle(&session, &lines)?;
        check_application(&lines)?;
        let (candidates, candidates_unreadable) = candidates(&session, &ufrag);
        let application = session
            .medias
            .iter()
            .find(|m| m.media == "application" && m.port != 0);
        Ok(Self {
            text: normalise(sdp, &lines, &bundle),
            ice_lite: session.attributes.iter().any(|a| a.attribute == "ice-lite"),
            max_message_size: application.map(max_message_size),
            ufrag,
            pwd,
            fingerprint,
            lines,
            candidates,
            candidates_unreadable,
        })
    }

    /// Whether an application m-line (data channels) is there and not rejected.
    pub fn has_application(&self) -> bool {
        self.max_message_size.is_some()
    }

    /// Whether there is an application m-line, and it is refused (RFC 3264 §6).
    pub fn rejects_application(&self) -> bool {
        self.lines
            .iter()
            .any(|l| l.kind == "application" && l.rejected)
    }

    /// An answer repeats the m-lines of its offer, in their order (RFC 3264 §6).
    pub fn check_answers(&self, offer: &[MediaLine]) -> Result<(), PeerError> {
        if self.lines.len() != offer.len() {
            return Err(bad(&format!(
                "the answer has {} m-lines, its offer {}",
                self.lines.len(),
                offer.len()
            )));
        }
        for (index, (answered, offered)) in self.lines.iter().zip(offer).enumerate() {
            if answered.kind != offered.kind || answered.mid != offered.mid {
                return Err(bad(&format!(
                    "m-line {index} of the answer is {} (mid {:?}), of its offer {} (mid {:?})",
                    answered.kind, answered.mid, offered.kind, offered.mid
                )));
            }
        }
        Ok(())
    }

    /// An offer keeps the m-lines that were negotiated before in their places (RFC 8829 §5.2.2).
    pub fn check_follows(&self, before: &[MediaLine]) -> Result<(), PeerError> {
        if self.lines.len() < before.len() {
            return Err(bad(&format!(
                "the offer has {} m-lines, {} were negotiated before",
                self.lines.len(),
                before.len()
            )));
        }
        for (index, (new, old)) in self.lines.iter().zip(before).enumerate() {
            let is_same = new.mid == old.mid && new.kind == old.kind;
            if !is_same && !old.rejected {
                return Err(bad(&format!(
                    "m-line {index} was {} (mid {:?}) and is now {} (mid {:?})",
                    old.kind, old.mid, new.kind, new.mid
                )));
            }
        }
        Ok(())
    }

    /// The other side is who it was. A new fingerprint would mean a new DTLS association (RFC 8842 §4),
    /// which the core does not know; it would go on with the old one, and say nothing.
    pub fn check_fingerprint(&self, before: &Option<String>) -> Result<(), PeerError> {
        match before {
            Some(before) if !before.eq_ignore_ascii_case(&self.fingerprint) => Err(bad(
                "a=fingerprint has changed: this is another peer. Use a new peer connection for it",
            )),
            _ => Ok(()),
        }
    }
}

/// Whether a peer with the usual limits would take this from the other side.
pub(crate) fn check(sdp: &str) -> Result<(), PeerError> {
    Description::parse(sdp, &Limits::default()).map(|_| ())
}

/// The m-lines of a description of our own, which is known to be sound.
pub(super) fn own_media_lines(sdp: &str) -> Vec<MediaLine> {
    Session::parse(sdp.as_bytes())
        .ok()
        .and_then(|s| media_lines(&s).ok())
        .unwrap_or_default()
}

/// The value of the first attribute of this name, anywhere in one of our own descriptions.
pub(super) fn own_attribute(sdp: &str, name: &str) -> Option<String> {
    sdp.lines().find_map(|line| {
        let value = line.strip_prefix("a=")?.strip_prefix(name)?;
        Some(value.strip_prefix(':')?.to_owned())
    })
}

/// One of our own descriptions with the candidates gathered so far in its first m-section that is not
/// rejected (all the others are bundled with it, RFC 8843 §7.3.1).
pub(super) fn with_candidates(sdp: &str, candidates: &[IceCandidate], complete: bool) -> String {
    let mut out = String::with_capacity(sdp.len() + candidates.len() * 80);
    // Candidates stand at the end of the section, so they are written when the next one begins.
    let mut is_due = false;
    let mut done = false;
    let add = |out: &mut String| {
        for c in candidates {
            *out += &format!("a={}\r\n", c.to_sdp_line());
        }
        if complete {
            *out += "a=end-of-candidates\r\n";
        }
    };
    for line in sdp.lines().filter(|l| !is_candidate_line(l)) {
        if line.starts_with("m=") {
            if is_due {
                add(&mut out);
                done = true;
            }
            is_due = !done && line.split_ascii_whitespace().nth(1) != Some("0");
        }
        out += line;
        out += "\r\n";
    }
    if is_due {
        add(&mut out);
    }
    out
}

/// A local description is set as it was created, but for the candidates in it.
pub(super) fn check_own(created: &str, given: &str) -> Result<(), PeerError> {
    if with_candidates(created, &[], false) == with_candidates(given, &[], false) {
        return Ok(());
    }
    Err(PeerError::BadDescription(
        "not the description that was created; changing it by hand is not supported".into(),
    ))
}

fn is_candidate_line(line: &str) -> bool {
    line.starts_with("a=candidate:") || line.starts_with("a=end-of-candidates")
}

fn bad(why: &str) -> PeerError {
    PeerError::BadDescription(why.to_owned())
}

fn media_lines(session: &Session) -> Result<Vec<MediaLine>, PeerError> {
    let mut lines: Vec<MediaLine> = Vec::with_capacity(session.medias.len());
    for (index, media) in session.medias.iter().enumerate() {
        let mid = attribute(media, "mid")
            .ok_or_else(|| bad(&format!("m-line {index} ({}) has no a=mid", media.media)))?;
        // RFC 5888 §4: a token; what else it may look like, the core and we would not agree upon.
        let is_token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&c);
        if mid.is_empty() || !mid.bytes().all(is_token) {
            return Err(bad(&format!(
                "mid {mid:?} of m-line {index} is not a token"
            )));
        }
        if lines.iter().any(|l| l.mid == mid) {
            return Err(bad(&format!("two m-lines have mid {mid:?}")));
        }
        lines.push(MediaLine {
            kind: media.media.clone(),
            mid: mid.to_owned(),
            rejected: media.port == 0 && attribute(media, "bundle-only").is_none(),
        });
    }
    Ok(lines)
}

fn attribute<'a>(media: &'a Media, name: &str) -> Option<&'a str> {
    media
        .attributes
        .iter()
        .find(|a| a.attribute == name)
        .map(|a| a.value.as_deref().unwrap_or(""))
}

/// All attributes, those of the session first.
fn everywhere(session: &Session) -> impl Iterator<Item = &Attribute> {
    session
        .attributes
        .iter()
        .chain(session.medias.iter().flat_map(|m| &m.attributes))
}

fn required(session: &Session, name: &str) -> Result<String, PeerError> {
    everywhere(session)
        .find(|a| a.attribute == name)
        .and_then(|a| a.value.clone())
        .ok_or_else(|| bad(&format!("a={name} is missing")))
}

/// Lengths of RFC 8839 §5.4.
fn check_credentials(ufrag: &str, pwd: &str) -> Result<(), PeerError> {
    if !(4..=256).contains(&ufrag.len()) {
        return Err(bad("a=ice-ufrag must have 4 to 256 characters"));
    }
    if !(22..=256).contains(&pwd.len()) {
        return Err(bad("a=ice-pwd must have 22 to 256 characters"));
    }
    Ok(())
}

/// The BUNDLE group (RFC 9143), which the core needs, in the order of the m-lines; it would find out late
/// when it is not so. A single m-line has nothing to be bundled with, so some leave the group out.
fn bundle(session: &Session, lines: &[MediaLine]) -> Result<Vec<String>, PeerError> {
    let groups = session.attributes.iter().filter(|a| a.attribute == "group");
    let mids: Option<Vec<&str>> = groups
        .filter_map(|a| a.value.as_deref()?.strip_prefix("BUNDLE "))
        .map(|mids| mids.split_ascii_whitespace().collect())
        .next();
    let mids = match mids {
        Some(mids) if !mids.is_empty() => mids,
        _ if lines.iter().all(|l| l.rejected) => Vec::new(),
        _ if lines.len() == 1 => vec![lines[0].mid.as_str()],
        _ => {
            return Err(bad(
                "a=group:BUNDLE is missing; m-lines that are not bundled are not supported",
            ));
        }
    };
    // A rejected m-line is in no group (RFC 8843 §7.3.3).
    let grouped = lines.iter().filter(|l| mids.contains(&l.mid.as_str()));
    let found: Vec<&str> = grouped.map(|l| l.mid.as_str()).collect();
    if found != mids {
        return Err(bad(&format!(
            "a=group:BUNDLE names {mids:?} where the m-lines have {found:?}"
        )));
    }
    Ok(mids.into_iter().map(str::to_owned).collect())
}

/// One SCTP association is all that the core knows.
fn check_application(lines: &[MediaLine]) -> Result<(), PeerError> {
    if lines.iter().filter(|l| l.kind == "application").count() > 1 {
        return Err(bad("more than one m=application"));
    }
    Ok(())
}

/// `sha-256 AA:BB:…` (RFC 8122 §5). The core compares SHA-256 only.
fn check_fingerprint(value: &str) -> Result<(), PeerError> {
    let mut parts = value.split_ascii_whitespace();
    let hash = parts.next().unwrap_or_default();
    if !hash.eq_ignore_ascii_case("sha-256") {
        return Err(bad(&format!(
            "a=fingerprint uses {hash:?}; only sha-256 is understood"
        )));
    }
    let bytes: Vec<&str> = parts.next().unwrap_or_default().split(':').collect();
    let is_byte = |b: &&str| b.len() == 2 && b.bytes().all(|c| c.is_ascii_hexdigit());
    if bytes.len() != 32 || !bytes.iter().all(is_byte) {
        return Err(bad("a=fingerprint is not 32 hexadecimal bytes"));
    }
    Ok(())
}

fn candidates(session: &Session, ufrag: &str) -> (Vec<IceCandidate>, usize) {
    let mut found: Vec<IceCandidate> = Vec::new();
    let mut unreadable = 0;
    for a in everywhere(session).filter(|a| a.attribute == "candidate") {
        let value = a.value.as_deref().unwrap_or("");
        match IceCandidate::parse(&format!("candidate:{value}")) {
            Ok(mut c) => {
                c.username_fragment.get_or_insert_with(|| ufrag.to_owned());
                if !found.contains(&c) {
                    found.push(c);
                }
            }
            Err(_) => unreadable += 1,
        }
    }
    (found, unreadable)
}

fn max_message_size(application: &Media) -> usize {
    match attribute(application, "max-message-size").and_then(|v| v.trim().parse().ok()) {
        Some(0) => usize::MAX,
        Some(size) => size,
        None => DEFAULT_MAX_MESSAGE_SIZE,
    }
}

fn normalise(sdp: &str, lines: &[MediaLine], bundle: &[String]) -> String {
    let mut out = String::with_capacity(sdp.len());
    let mut in_media = false;
    // The core wants the first group, of whatever kind, to name the m-lines from the first on; that of a
    // description with rejected m-lines does not. So it gets one that does, and means nothing to it.
    let leader = match bundle.len() == lines.len() {
        true => String::new(),
        false => format!("a=group:LS {}\r\n", lines[0].mid),
    };
    for line in sdp.lines().filter(|l| !is_candidate_line(l)) {
        if line.starts_with("a=group:") && !in_media {
            continue;
        }
        if line.starts_with("m=") && !in_media {
            in_media = true;
            out += &leader;
            if !bundle.is_empty() {
                out += &format!("a=group:BUNDLE {}\r\n", bundle.join(" "));
            }
        }
        if let Some(line) = plain_format(line) {
            out += &line;
            out += "\r\n";
        }
    }
    out
}

/// Formats as the core compares them. It takes `PCMU/8000/1` for another codec than `PCMU/8000`, although
/// one channel is the default (RFC 8866 §6.6), and an AV1 of another level for another AV1, although a
/// level says what its side can decode and the answer has its own (RTP payload for AV1 §7.2).
fn plain_format(line: &str) -> Option<Cow<'_, str>> {
    if line.starts_with("a=rtpmap:") {
        let lower = line.trim_end().to_ascii_lowercase();
        let is_g711 = lower.ends_with(" pcmu/8000/1") || lower.ends_with(" pcma/8000/1");
        return Some(Cow::Borrowed(match is_g711 {
            true => line.trim_end().strip_suffix("/1").unwrap_or(line),
            false => line,
        }));
    }
    if line.starts_with("a=fmtp:") && line.contains("level-idx=") {
        let (format, parameters) = line.split_once(' ')?;
        let is_level = |p: &&str| {
            let p = p.trim_start();
            p.starts_with("level-idx=") || p.starts_with("tier=")
        };
        let rest: Vec<&str> = parameters.split(';').filter(|p| !is_level(p)).collect();
        return (!rest.is_empty()).then(|| format!("{format} {}", rest.join(";")).into());
    }
    Some(Cow::Borrowed(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
        a=group:BUNDLE 0\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
        a=ice-ufrag:1lju\r\na=ice-pwd:H0NiFDxDu/sMUy62eiukzN8T\r\n\
        a=fingerprint:sha-256 DC:A6:5B:D2:14:94:74:24:CE:20:0B:30:0C:DE:30:EF:F4:31:FE:BA:50:9B:C3:56:AE:3A:5D:78:01:A5:02:7B\r\n\
        a=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n\
        a=candidate:1 1 udp 2130706431 192.0.2.2 41400 typ host\r\na=end-of-candidates\r\n";

    fn parse(sdp: &str) -> Result<Description, PeerError> {
        Description::parse(sdp, &Limits::default())
    }

    fn refused(sdp: &str) -> String {
        parse(sdp).unwrap_err().to_string()
    }

    #[test]
    fn reads_a_data_offer() {
        let d = parse(DATA).unwrap();
        assert_eq!(
            (d.ufrag.as_str(), d.max_message_size),
            ("1lju", Some(262_144))
        );
        assert_eq!(d.candidates[0].username_fragment.as_deref(), Some("1lju"));
        assert!(d.has_application());
        assert!(!d.text.contains("candidate"));
    }

    #[test]
    fn says_what_is_missing() {
        for name in ["ice-ufrag", "ice-pwd", "fingerprint", "mid"] {
            let without: String = DATA
                .lines()
                .filter(|l| !l.starts_with(&format!("a={name}")))
                .map(|l| format!("{l}\r\n"))
                .collect();
            let error = refused(&without);
            assert!(error.contains(name), "{name}: {error}");
        }
        assert!(refused("hello").starts_with("session description:"));
        assert!(refused("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n").contains("m-line"));
        assert!(refused(&DATA.replace("sha-256", "sha-1")).contains("sha-1"));
        assert!(refused(&DATA.replace("1lju", "1")).contains("ufrag"));
    }

    #[test]
    fn keeps_to_the_limits() {
        let limits = Limits {
            max_sdp_size: 100,
            ..Default::default()
        };
        assert!(matches!(
            Description::parse(DATA, &limits),
            Err(PeerError::LimitReached {
                limit: "max_sdp_size",
                ..
            })
        ));
        let limits = Limits {
            max_m_lines: 0,
            ..Default::default()
        };
        assert!(matches!(
            Description::parse(DATA, &limits),
            Err(PeerError::LimitReached {
                limit: "max_m_lines",
                ..
            })
        ));
    }

    #[test]
    fn gives_a_single_m_line_its_group() {
        let d = parse(&DATA.replace("a=group:BUNDLE 0\r\n", "")).unwrap();
        assert_eq!(d.text.matches("a=group:BUNDLE 0").count(), 1);
        assert!(d.text.find("a=group").unwrap() < d.text.find("m=").unwrap());
    }

    #[test]
    fn a_message_size_of_zero_means_any() {
        let size = |value: &str| {
            parse(&DATA.replace("a=max-message-size:262144\r\n", value))
                .unwrap()
                .max_message_size
        };
        assert_eq!(size("a=max-message-size:0\r\n"), Some(usize::MAX));
        assert_eq!(size(""), Some(65_536));
    }

    #[test]
    fn answers_must_repeat_their_offer() {
        let d = parse(DATA).unwrap();
        assert!(d.check_answers(&d.lines).is_ok());
        let mut other = d.lines.clone();
        other[0].mid = "x".into();
        assert!(
            d.check_answers(&other)
                .unwrap_err()
                .to_string()
                .contains("m-line 0")
        );
        assert!(d.check_answers(&[]).is_err());
        assert!(d.check_follows(&other).is_err());
        assert!(d.check_follows(&[]).is_ok());
    }

    #[test]
    fn own_descriptions_carry_their_candidates_once() {
        let c = IceCandidate::parse("candidate:9 1 udp 5 192.0.2.9 9 typ host ufrag 1lju").unwrap();
        let sdp = with_candidates(DATA, &[c], true);
        assert_eq!(sdp.matches("a=candidate:").count(), 1);
        assert!(sdp.contains("a=candidate:9 1 udp 5 192.0.2.9 9 typ host\r\n"));
        assert_eq!(sdp.matches("a=end-of-candidates").count(), 1);
        assert_eq!(own_attribute(&sdp, "ice-ufrag").as_deref(), Some("1lju"));
    }

    #[test]
    fn real_offers_are_read() {
        for dir in ["tests/sdp"] {
            let Ok(files) = std::fs::read_dir(dir) else {
                continue;
            };
            for file in files.flatten() {
                let sdp = std::fs::read_to_string(file.path()).unwrap();
                assert!(
                    parse(&sdp).is_ok(),
                    "{:?}: {:?}",
                    file.path(),
                    parse(&sdp).err()
                );
            }
        }
    }
}
