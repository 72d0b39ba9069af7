//! Validation of a session description before the core sees it.
//!
//! A description that the core would refuse halfway is refused here, so that an invalid one changes nothing (RFC 8829
//! §5.7). Candidates are removed: they go through the pending-candidate queue with its limits. The parsing itself is in
//! [`sdp`](crate::proto::sdp).

use super::super::values::{Limits, PeerError};
use crate::proto::ice::IceCandidate;
use crate::proto::sdp::{self, Fingerprint, MAX_USERNAME, MediaLine, Reading, Role, Sdp, SdpError};

/// A validated remote description.
#[derive(Debug, Clone)]
pub(in super::super) struct Description {
    /// The text for the core, with the ids of `lines` as mids.
    pub text: String,
    pub ufrag: String,
    pub pwd: String,
    pub fingerprints: Vec<Fingerprint>,
    pub lines: Vec<MediaLine>,
    pub candidates: Vec<IceCandidate>,
    pub candidates_unreadable: usize,
    /// Maximum message size that the remote peer accepts, in bytes; `None` without an application m-line.
    pub max_message_size: Option<usize>,
    pub ice_lite: bool,
}

impl Description {
    /// Parses and validates a remote description. `before` holds the m-lines negotiated so far, or those of the offer
    /// that it answers.
    pub fn parse(
        text: &str,
        role: Role,
        before: &[MediaLine],
        limits: &Limits,
    ) -> Result<Self, PeerError> {
        let sdp = parse_within(text, limits)?;
        let read = Reading::of(&sdp, role, before)?;
        Ok(Self {
            text: read.canonical,
            ufrag: read.ufrag,
            pwd: read.pwd,
            fingerprints: read.fingerprints,
            lines: read.lines,
            candidates: read.candidates,
            candidates_unreadable: read.candidates_unreadable,
            max_message_size: read.max_message_size,
            ice_lite: read.ice_lite,
        })
    }

    /// Returns `true` if there is an application m-line (data channels) that is not rejected.
    pub fn has_application(&self) -> bool {
        self.max_message_size.is_some()
    }

    /// Returns `true` if there is an application m-line, and it is rejected (RFC 3264 §6).
    pub fn rejects_application(&self) -> bool {
        self.lines
            .iter()
            .any(|l| l.kind == "application" && l.is_rejected())
    }

    /// Checks that an offer keeps the negotiated m-lines in their places (RFC 8829 §5.2.2).
    pub fn check_follows(&self, before: &[MediaLine]) -> Result<(), PeerError> {
        if self.lines.len() < before.len() {
            return Err(bad(&format!(
                "the offer has {} m-lines, {} were negotiated before",
                self.lines.len(),
                before.len()
            )));
        }
        for (new, old) in self.lines.iter().zip(before) {
            let is_same = new.wire_mid() == old.wire_mid() && new.kind == old.kind;
            if !is_same && !old.is_rejected() {
                return Err(bad(&format!(
                    "line {}: this m-line was {} (mid {:?}) and is now {} (mid {:?})",
                    new.line,
                    old.kind,
                    old.wire_mid(),
                    new.kind,
                    new.wire_mid()
                )));
            }
        }
        Ok(())
    }

    /// Checks that the remote peer is still the same. A new fingerprint would mean a new DTLS association (RFC 8842
    /// §4), which the core does not support; it would silently continue with the old one.
    pub fn check_fingerprint(&self, before: &[Fingerprint]) -> Result<(), PeerError> {
        let is_known = |f: &Fingerprint| before.contains(f);
        if before.is_empty() || self.fingerprints.iter().any(is_known) {
            return Ok(());
        }
        Err(bad(
            "a=fingerprint has changed: this is another peer. Use a new peer connection for it",
        ))
    }

    /// Checks that the core can write the USERNAME `theirs:ours` of a check; it panics if it is too long.
    pub fn check_username(&self, ours: &str) -> Result<(), PeerError> {
        if self.ufrag.len() + 1 + ours.len() <= MAX_USERNAME {
            return Ok(());
        }
        Err(bad(&format!(
            "a=ice-ufrag of {} characters is too long beside ours of {}: together they have at most {}",
            self.ufrag.len(),
            ours.len(),
            MAX_USERNAME - 1
        )))
    }
}

pub(in super::super) fn parse_within<'a>(
    text: &'a str,
    limits: &Limits,
) -> Result<Sdp<'a>, PeerError> {
    if text.len() > limits.max_sdp_size {
        return Err(PeerError::LimitReached {
            limit: "max_sdp_size",
            value: limits.max_sdp_size,
        });
    }
    let sdp = Sdp::parse(text)?;
    if sdp.media.len() > limits.max_m_lines {
        return Err(PeerError::LimitReached {
            limit: "max_m_lines",
            value: limits.max_m_lines,
        });
    }
    Ok(sdp)
}

impl From<SdpError> for PeerError {
    fn from(error: SdpError) -> Self {
        Self::BadDescription(error.to_string())
    }
}

/// Returns the m-lines of a local description, which is known to be valid.
pub(in super::super) fn own_media_lines(text: &str, before: &[MediaLine]) -> Vec<MediaLine> {
    let sdp = Sdp::parse(text);
    let lines = sdp.and_then(|sdp| sdp::own_lines(&sdp, before));
    lines.unwrap_or_default()
}

/// Returns the value of the first attribute with this name, anywhere in a local description.
pub(in super::super) fn own_attribute(sdp: &str, name: &str) -> Option<String> {
    sdp.lines().find_map(|line| {
        let value = line.strip_prefix("a=")?.strip_prefix(name)?;
        Some(value.strip_prefix(':')?.to_owned())
    })
}

/// Returns the index of the tagged m-line (RFC 9143 §7.1.3) in a local description: the first of the group, or the
/// first that is not rejected.
fn tagged(sdp: &str) -> Option<usize> {
    let sdp = Sdp::parse(sdp).ok()?;
    let is_it = |mids: Vec<&str>| {
        let mid = mids.first().copied()?;
        sdp.media.iter().position(|m| m.value("mid") == Some(mid))
    };
    let of_group = sdp.groups("BUNDLE").find_map(|(_, mids)| is_it(mids));
    of_group.or_else(|| sdp.media.iter().position(|m| !m.is_rejected()))
}

/// Returns the mid of the tagged m-line in a local description.
pub(super) fn tagged_mid(sdp: &str) -> Option<String> {
    let at = tagged(sdp)?;
    let sdp = Sdp::parse(sdp).ok()?;
    sdp.media.get(at)?.value("mid").map(str::to_owned)
}

/// Returns a local description with the candidates gathered so far, in the tagged m-section.
pub(in super::super) fn with_candidates(
    sdp: &str,
    candidates: &[IceCandidate],
    complete: bool,
) -> String {
    let tagged = tagged(sdp);
    let mut out = String::with_capacity(sdp.len() + candidates.len() * 80);
    // Candidates come last in a section, so they are written when the next one begins.
    let mut begun = 0;
    let add = |out: &mut String, begun: usize| {
        if begun.checked_sub(1) != tagged || tagged.is_none() {
            return;
        }
        for c in candidates {
            *out += &format!("a={}\r\n", c.to_sdp_line());
        }
        if complete {
            *out += "a=end-of-candidates\r\n";
        }
    };
    for line in sdp.lines().filter(|l| !is_candidate_line(l)) {
        if line.starts_with("m=") {
            add(&mut out, begun);
            begun += 1;
        }
        out += line;
        out += "\r\n";
    }
    add(&mut out, begun);
    out
}

/// Checks that a local description is set as it was created, apart from its candidates.
pub(in super::super) fn check_own(created: &str, given: &str) -> Result<(), PeerError> {
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
        Description::parse(sdp, Role::Offer, &[], &Limits::default())
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
        for name in ["ice-ufrag", "ice-pwd", "fingerprint"] {
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
            Description::parse(DATA, Role::Offer, &[], &limits),
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
            Description::parse(DATA, Role::Offer, &[], &limits),
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
    fn offers_must_keep_their_m_lines() {
        let d = parse(DATA).unwrap();
        assert!(d.check_follows(&d.lines).is_ok());
        assert!(d.check_follows(&[]).is_ok());
        let mut other = d.lines.clone();
        other[0].mid = Some("x".into());
        let error = d.check_follows(&other).unwrap_err().to_string();
        assert!(error.contains("line 6"), "{error}");
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
