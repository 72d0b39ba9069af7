//! SDP fragments (RFC 8840, section 9): ICE credentials and candidates, as the body of a PATCH
//! (`application/trickle-ice-sdpfrag`).
//!
//! ```text
//! a=ice-options:trickle
//! m=audio 9 UDP/TLS/RTP/SAVPF 0          stands for the first m-line of the bundle
//! a=mid:0
//! a=ice-ufrag:EsAw
//! a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
//! a=candidate:1 1 udp 2130706431 192.0.2.1 61764 typ host
//! a=end-of-candidates
//! ```
//!
//! All media is bundled (RFC 9725, section 4.4.1), so a fragment concerns one transport.

use std::fmt;

use crate::proto::ice::IceCandidate;
use crate::proto::ice::candidate::CandidateError;
use crate::proto::sdp::{self, Attribute, MAX_REMOTE_UFRAG, Sdp};

/// Media type of a fragment.
pub const MEDIA_TYPE: &str = "application/trickle-ice-sdpfrag";

/// Maximum length of a fragment, in bytes. Thirty candidates are about 4 KiB.
pub const MAX_FRAGMENT: usize = 32 * 1024;

/// Maximum number of candidates in a fragment.
pub const MAX_CANDIDATES: usize = 64;

/// ICE credentials and candidates of one side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SdpFragment {
    /// Ufrag of the ICE generation that the candidates belong to. Present if and only if [`pwd`](Self::pwd) is.
    pub ufrag: Option<String>,
    /// ICE password of the generation.
    pub pwd: Option<String>,
    /// The first m-line of the bundle: media type (`audio`, `video` or `application`) and mid.
    pub media: Option<(String, String)>,
    /// The candidates, each with the mid and, unless it has its own, the ufrag.
    pub candidates: Vec<IceCandidate>,
    /// Set if no further candidates follow in this generation (RFC 8840, section 8.2).
    pub end_of_candidates: bool,
    /// Set if this side is ICE-lite: it only answers checks (RFC 8445, section 2.5).
    pub ice_lite: bool,
    /// The value of `a=ice-options`.
    pub ice_options: Option<String>,
    /// Number of candidates left out because their transport, type or address is not supported.
    pub unknown_candidates: usize,
}

impl SdpFragment {
    /// Parses the body of a PATCH.
    ///
    /// # Errors
    ///
    /// Returns [`FragmentError`], with the line number if there is one. A well-formed candidate that is not supported
    /// is not an error: it is left out and counted.
    pub fn parse(body: &[u8]) -> Result<Self, FragmentError> {
        if body.len() > MAX_FRAGMENT {
            return Err(FragmentError::TooLong(body.len()));
        }
        let text =
            std::str::from_utf8(body).map_err(|e| FragmentError::NotUtf8(e.valid_up_to()))?;
        if text.trim().is_empty() {
            return Err(FragmentError::Empty);
        }
        let sdp = Sdp::fragment(text).map_err(|e| FragmentError::NotSdp(e.to_string()))?;
        Self::of_sdp(&sdp)
    }

    /// Extracts the ICE attributes of a session description.
    ///
    /// # Errors
    ///
    /// The same as [`parse`](Self::parse).
    pub fn of_description(sdp: &str) -> Result<Self, FragmentError> {
        let sdp = Sdp::parse(sdp).map_err(|e| FragmentError::NotSdp(e.to_string()))?;
        Self::of_sdp(&sdp)
    }

    fn of_sdp(sdp: &Sdp<'_>) -> Result<Self, FragmentError> {
        let mut fragment = Self::default();
        fragment.take(&sdp.session)?;
        for media in sdp.media.iter().filter(|m| !m.is_rejected()) {
            if fragment.media.is_none()
                && let Some(mid) = media.value("mid")
            {
                fragment.media = Some((media.kind.to_owned(), mid.to_owned()));
            }
            fragment.take(&media.attributes)?;
        }
        if fragment.ufrag.is_some() != fragment.pwd.is_some() {
            return Err(FragmentError::HalfCredentials);
        }
        let mid = fragment.media.as_ref().map(|(_, mid)| mid.clone());
        for candidate in &mut fragment.candidates {
            candidate.sdp_mid.clone_from(&mid);
            if candidate.username_fragment.is_none() {
                candidate.username_fragment.clone_from(&fragment.ufrag);
            }
        }
        // A candidate with ufrag and one without may be the same.
        let mut distinct: Vec<IceCandidate> = Vec::with_capacity(fragment.candidates.len());
        for candidate in fragment.candidates.drain(..) {
            if !distinct.contains(&candidate) {
                distinct.push(candidate);
            }
        }
        fragment.candidates = distinct;
        Ok(fragment)
    }

    fn take(&mut self, attributes: &[Attribute<'_>]) -> Result<(), FragmentError> {
        for attribute in attributes {
            let value = attribute.value;
            match attribute.name {
                "ice-ufrag" => {
                    keep(&mut self.ufrag, value, "ice-ufrag", (4, MAX_REMOTE_UFRAG))?;
                }
                "ice-pwd" => keep(&mut self.pwd, value, "ice-pwd", (22, 256))?,
                "ice-lite" => self.ice_lite = true,
                "ice-options" => self.ice_options = Some(value.to_owned()),
                "end-of-candidates" => self.end_of_candidates = true,
                "candidate" => self.take_candidate(value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn take_candidate(&mut self, value: &str) -> Result<(), FragmentError> {
        if self.candidates.len() + self.unknown_candidates >= MAX_CANDIDATES {
            return Err(FragmentError::TooManyCandidates);
        }
        match IceCandidate::parse(&format!("candidate:{value}")) {
            // The sections of a bundle may repeat candidates.
            Ok(candidate) if self.candidates.contains(&candidate) => {}
            Ok(candidate) => self.candidates.push(candidate),
            Err(CandidateError::Bad {
                field: "transport" | "cand-type" | "connection-address",
                ..
            }) => self.unknown_candidates += 1,
            Err(error) => return Err(FragmentError::BadCandidate(error)),
        }
        Ok(())
    }

    /// Formats the fragment, with lines ended by CRLF.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut head = Vec::new();
        if self.ice_lite {
            head.push("a=ice-lite".to_owned());
        }
        if let Some(options) = &self.ice_options {
            head.push(format!("a=ice-options:{options}"));
        }
        let mut body = Vec::new();
        for (name, value) in [("ice-ufrag", &self.ufrag), ("ice-pwd", &self.pwd)] {
            body.extend(value.as_ref().map(|value| format!("a={name}:{value}")));
        }
        for candidate in &self.candidates {
            // The ufrag is written if it differs.
            let line = match candidate.username_fragment == self.ufrag {
                true => candidate.to_sdp_line(),
                false => candidate.to_string(),
            };
            body.push(format!("a={line}"));
        }
        if self.end_of_candidates {
            body.push("a=end-of-candidates".to_owned());
        }
        if let Some((kind, mid)) = &self.media {
            head.push(placeholder(kind));
            head.push(format!("a=mid:{mid}"));
        }
        let lines = head.into_iter().chain(body);
        lines.map(|line| line + "\r\n").collect()
    }

    /// Returns an earlier session description with this fragment's credentials and without candidates. Everything else
    /// stays as negotiated (RFC 9725, section 4.3.3).
    #[must_use]
    pub fn applied_to(&self, sdp: &str) -> String {
        let mut out = String::with_capacity(sdp.len());
        for (_, line) in sdp::lines(sdp) {
            match (line.split_once(':'), &self.ufrag, &self.pwd) {
                (Some(("a=candidate", _)), ..) => continue,
                (Some(("a=ice-ufrag", _)), Some(ufrag), _) => {
                    out += &format!("a=ice-ufrag:{ufrag}")
                }
                (Some(("a=ice-pwd", _)), _, Some(pwd)) => out += &format!("a=ice-pwd:{pwd}"),
                _ if line == "a=end-of-candidates" => continue,
                _ => out += line,
            }
            out += "\r\n";
        }
        out
    }
}

/// Stores a credential, which must be the same in all sections because they are bundled.
fn keep(
    slot: &mut Option<String>,
    value: &str,
    name: &'static str,
    (shortest, longest): (usize, usize),
) -> Result<(), FragmentError> {
    // RFC 8839, section 5.4. Characters outside its alphabet are harmless, white space is not.
    let is_good =
        (shortest..=longest).contains(&value.len()) && value.bytes().all(|c| c.is_ascii_graphic());
    if !is_good {
        return Err(FragmentError::BadCredential {
            name,
            shortest,
            longest,
        });
    }
    match slot {
        Some(before) if before != value => Err(FragmentError::NotBundled(name)),
        _ => {
            *slot = Some(value.to_owned());
            Ok(())
        }
    }
}

/// Returns the m-line of a fragment, in which only the media type counts (RFC 8840 §9).
fn placeholder(kind: &str) -> String {
    match kind {
        "application" => format!("m={kind} 9 UDP/DTLS/SCTP webrtc-datachannel"),
        _ => format!("m={kind} 9 UDP/TLS/RTP/SAVPF 0"),
    }
}

/// Reason why a fragment was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FragmentError {
    /// Longer than [`MAX_FRAGMENT`]; its length in bytes.
    TooLong(usize),
    /// Not UTF-8; the offset of the first invalid byte.
    NotUtf8(usize),
    /// The fragment is empty.
    Empty,
    /// Not SDP lines; the parser's message.
    NotSdp(String),
    /// `ice-ufrag` without `ice-pwd`, or the other way round.
    HalfCredentials,
    /// A credential is too short, too long, or contains white space.
    BadCredential {
        /// The attribute's name.
        name: &'static str,
        /// Minimum length, in characters.
        shortest: usize,
        /// Maximum length, in characters.
        longest: usize,
    },
    /// This attribute differs between m-sections, so they are not bundled.
    NotBundled(&'static str),
    /// More candidates than [`MAX_CANDIDATES`].
    TooManyCandidates,
    /// A malformed candidate.
    BadCandidate(CandidateError),
}

impl fmt::Display for FragmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(length) => write!(
                f,
                "the SDP fragment is {length} bytes long, the limit is {MAX_FRAGMENT}"
            ),
            Self::NotUtf8(offset) => write!(f, "not UTF-8: wrong byte at offset {offset}"),
            Self::Empty => f.write_str("the SDP fragment is empty"),
            Self::NotSdp(why) => write!(f, "not an SDP fragment: {why}"),
            Self::HalfCredentials => {
                f.write_str("a=ice-ufrag and a=ice-pwd go together; one of them is missing")
            }
            Self::BadCredential {
                name,
                shortest,
                longest,
            } => write!(
                f,
                "a={name} must have {shortest} to {longest} characters and no white space"
            ),
            Self::NotBundled(name) => write!(
                f,
                "a={name} differs between m-sections; only bundled media is supported"
            ),
            Self::TooManyCandidates => {
                write!(f, "more than {MAX_CANDIDATES} candidates in one fragment")
            }
            Self::BadCandidate(error) => write!(f, "a=candidate: {error}"),
        }
    }
}

impl std::error::Error for FragmentError {}

#[cfg(test)]
mod tests {
    use super::*;

    const TRICKLE: &str = "a=group:BUNDLE 0 1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
        a=mid:0\r\n\
        a=ice-ufrag:EsAw\r\n\
        a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n\
        a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0\r\n\
        a=end-of-candidates\r\n";

    #[test]
    fn reads_what_a_browser_page_sends() {
        let fragment = SdpFragment::parse(TRICKLE.as_bytes()).unwrap();
        assert_eq!(fragment.ufrag.as_deref(), Some("EsAw"));
        assert_eq!(fragment.media, Some(("audio".into(), "0".into())));
        assert!(fragment.end_of_candidates && !fragment.ice_lite);
        let [udp, tcp] = &fragment.candidates[..] else {
            panic!("{:?}", fragment.candidates)
        };
        assert_eq!((udp.port, tcp.port), (61764, 9));
        assert_eq!(tcp.username_fragment.as_deref(), Some("EsAw"));
        assert_eq!(udp.sdp_mid.as_deref(), Some("0"));
        // Any line end is accepted, and credentials may precede all m-lines (the RFC's own example).
        let bare = "a=ice-ufrag:ysXw\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k";
        let fragment = SdpFragment::parse(bare.as_bytes()).unwrap();
        assert_eq!(fragment.pwd.as_deref(), Some("vw5LmwG4y/e6dPP/zAP9Gp5k"));
        assert_eq!(fragment.media, None);
    }

    /// The fragments of `tests/data/cases`, each with its documented result.
    #[test]
    fn each_case_has_its_outcome() {
        let table = std::fs::read_to_string("tests/data/cases/expected.txt").unwrap();
        let mut wrong = Vec::new();
        for row in table.lines().filter(|l| !l.starts_with('#')) {
            let (file, expected) = row.split_once(' ').unwrap();
            if !file.ends_with(".frag") {
                continue;
            }
            let body = std::fs::read(format!("tests/data/cases/{file}")).unwrap();
            let found = match SdpFragment::parse(&body) {
                Ok(f) => format!(
                    "{} {} {}{}",
                    f.ufrag.as_deref().unwrap_or("-"),
                    f.candidates.len(),
                    f.unknown_candidates,
                    if f.end_of_candidates { " end" } else { "" }
                ),
                Err(error) => format!("refused: {error}"),
            };
            if found != expected.trim() {
                wrong.push(format!("{file:39} {found}"));
            }
        }
        assert!(wrong.is_empty(), "found instead:\n{}", wrong.join("\n"));
    }

    #[test]
    fn what_is_written_is_read_the_same() {
        for text in [
            TRICKLE,
            "a=ice-lite\r\na=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n",
        ] {
            let fragment = SdpFragment::parse(text.as_bytes()).unwrap();
            let written = fragment.to_text();
            assert!(
                written
                    .lines()
                    .all(|l| l.starts_with("a=") || l.starts_with("m=")),
                "{written}"
            );
            assert_eq!(
                SdpFragment::parse(written.as_bytes()),
                Ok(fragment),
                "{written}"
            );
        }
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let error = |text: &str| SdpFragment::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error(" \r\n"), "the SDP fragment is empty");
        assert!(error("a=ice-ufrag:abcd\r\n").contains("one of them is missing"));
        assert!(error("a=ice-ufrag:abc\r\n").contains("4 to 111"));
        assert!(
            error("m=audio\r\n").contains("line 1"),
            "{}",
            error("m=audio\r\n")
        );
        assert!(error("hello").contains("not an SDP fragment"));
        let candidate = "a=candidate:1 1 udp x 192.0.2.1 5 typ host\r\n";
        assert!(
            error(candidate).contains("priority"),
            "{}",
            error(candidate)
        );
        let two = "m=audio 9 RTP/AVP 0\r\na=ice-ufrag:aaaa\r\nm=video 9 RTP/AVP 0\r\na=ice-ufrag:bbbb\r\n";
        assert!(error(two).contains("only bundled"));
        let line = |n: usize| format!("a=candidate:{n} 1 udp 1 192.0.2.1 5 typ host\r\n");
        assert!(error(&(0..65).map(line).collect::<String>()).contains("64 candidates"));
        assert!(error(&"a".repeat(MAX_FRAGMENT + 1)).contains("limit"));
    }

    #[test]
    fn candidates_of_no_use_are_left_out() {
        let text = "a=candidate:1 1 sctp 1 192.0.2.1 5 typ host\r\na=candidate:1 1 udp 1 192.0.2.1 5 typ new\r\n";
        let fragment = SdpFragment::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (fragment.candidates.len(), fragment.unknown_candidates),
            (0, 2)
        );
    }

    #[test]
    fn a_restart_changes_credentials_only() {
        let sdp = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
                   a=mid:a\r\na=ice-ufrag:aaaa\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa\r\n\
                   a=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\na=end-of-candidates\r\na=sendonly\r\n";
        let mut fragment = SdpFragment::of_description(sdp).unwrap();
        assert_eq!(fragment.media, Some(("audio".into(), "a".into())));
        assert_eq!(fragment.candidates.len(), 1);
        fragment.ufrag = Some("bbbb".into());
        fragment.pwd = Some("bbbbbbbbbbbbbbbbbbbbbb".into());
        let applied = fragment.applied_to(sdp);
        let expected = sdp
            .replace("aaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbb")
            .replace("aaaa", "bbbb")
            .replace(
                "a=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\na=end-of-candidates\r\n",
                "",
            );
        assert_eq!(applied, expected);
    }
}
