//! Explains what peers say to each other before media flows: a session description, a candidate, the URL of an
//! ICE server. Line by line in plain words, with where it is defined, and with what is wrong or may surprise.
//!
//! ```
//! use looprtc::proto::inspect::{Kind, Severity, inspect};
//! let report = inspect(b"candidate:1 1 udp 2130706431 192.168.1.2 41400 typ host")?;
//! assert_eq!(report.kind, Kind::Candidate);
//! let line = &report.lines[0];
//! assert!(line.meaning.contains("192.168.1.2"));
//! assert!(line.details.iter().any(|d| d.contains("type preference 126")));
//! assert!(report.problems().all(|(_, problem)| problem.severity < Severity::Error));
//! # Ok::<(), looprtc::proto::inspect::InspectError>(())
//! ```
//!
//! Nothing is asked of the network, and nothing is too broken to be looked at: a line that is not understood is
//! said to be so, and the next one is explained.

mod attribute;
mod candidate;
mod codec;
mod description;
mod findings;
mod header_extension;
mod input;
mod outline;
mod source;
mod transport;

use std::fmt;

pub use self::input::InspectError;

use self::input::Input;
use crate::proto::signal::SdpType;

/// The longest input, in bytes. Descriptions of a dozen tracks are about 20 KiB.
pub const MAX_INPUT: usize = 64 * 1024;

/// The most lines that are explained.
pub const MAX_LINES: usize = 2048;

/// What was looked at, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What it is.
    pub kind: Kind,
    /// Its lines, in their order.
    pub lines: Vec<Line>,
    /// In short: what kind of description, of how many sections.
    pub summary: String,
    /// What concerns the whole of it.
    pub findings: Vec<Problem>,
}

impl Report {
    /// Everything that was found, with the number of the line that it is about.
    pub fn problems(&self) -> impl Iterator<Item = (Option<usize>, &Problem)> {
        let of_lines = self.lines.iter();
        let of_lines =
            of_lines.flat_map(|line| line.problems.iter().map(|p| (Some(line.number), p)));
        of_lines.chain(self.findings.iter().map(|p| (None, p)))
    }
}

/// What can be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A session description (RFC 8866), as `{"type":…,"sdp":…}` or bare; then its type is a guess, or not known.
    Description(Option<SdpType>),
    /// A candidate (RFC 8839 §5.1).
    Candidate,
    /// The URL of an ICE server (RFC 7064, RFC 7065).
    IceServer,
}

/// One line, explained.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// From 1.
    pub number: usize,
    /// As it was given, without its line end.
    pub text: String,
    /// What it says.
    pub meaning: String,
    /// Where that is defined, as `RFC 8866 §5.1`; empty when it is known to nobody here.
    pub reference: &'static str,
    /// Its parts.
    pub details: Vec<String>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// Something that is wrong, or may surprise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, and what to do.
    pub text: String,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It may not work, or not everywhere.
    Warning,
    /// It does not work.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Explains a description (SDP, also with its line ends escaped; the JSON of W3C's `RTCSessionDescription`; the
/// base64 of that), a candidate (the line, or the JSON of `RTCIceCandidate`), or the URL of an ICE server.
///
/// # Errors
///
/// When it is none of these, or longer than [`MAX_INPUT`] or [`MAX_LINES`].
pub fn inspect(input: &[u8]) -> Result<Report, InspectError> {
    match input::read(input)? {
        Input::Description(kind, sdp) => Ok(description::explain(kind, &sdp)),
        Input::Candidate(line) => {
            // In JSON it can have line breaks in it; it is shown as one line.
            let line: String = line
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            let explained = candidate::explain(&line, None);
            Ok(Report {
                kind: Kind::Candidate,
                summary: "an ICE candidate: an address at which a peer may be reached".into(),
                lines: vec![explained.into_line(1, &line)],
                findings: Vec::new(),
            })
        }
        Input::EndOfCandidates => Ok(Report {
            kind: Kind::Candidate,
            summary: "the end of candidates: no more will come in this ICE generation".into(),
            lines: Vec::new(),
            findings: Vec::new(),
        }),
        Input::IceServer(url) => Ok(Report {
            kind: Kind::IceServer,
            summary: "the URL of an ICE server, as in RTCPeerConnection's iceServers".into(),
            lines: vec![transport::server(url).into_line(1, url)],
            findings: Vec::new(),
        }),
    }
}

/// What is said about a line, before it has its number.
#[derive(Debug, Default)]
struct Explained {
    meaning: String,
    reference: &'static str,
    details: Vec<String>,
    problems: Vec<Problem>,
}

impl Explained {
    fn new(reference: &'static str, meaning: impl Into<String>) -> Self {
        Self {
            meaning: meaning.into(),
            reference,
            ..Self::default()
        }
    }

    fn detail(mut self, text: impl Into<String>) -> Self {
        self.details.push(text.into());
        self
    }

    fn note(self, text: impl Into<String>) -> Self {
        self.problem(Severity::Note, text)
    }

    fn warning(self, text: impl Into<String>) -> Self {
        self.problem(Severity::Warning, text)
    }

    fn error(self, text: impl Into<String>) -> Self {
        self.problem(Severity::Error, text)
    }

    fn problem(mut self, severity: Severity, text: impl Into<String>) -> Self {
        self.problems.push(problem(severity, text));
        self
    }

    fn into_line(self, number: usize, text: &str) -> Line {
        Line {
            number,
            text: text.to_owned(),
            meaning: self.meaning,
            reference: self.reference,
            details: self.details,
            problems: self.problems,
        }
    }
}

fn problem(severity: Severity, text: impl Into<String>) -> Problem {
    Problem {
        severity,
        text: text.into(),
    }
}

/// `1 line`, `2 lines`.
fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests;
