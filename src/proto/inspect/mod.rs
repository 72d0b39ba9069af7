//! Explains signaling data: a session description, a candidate or the URL of an ICE server. Each line gets a plain
//! explanation, the section of the standard that defines it, and its problems.
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
//! No network access is needed, and malformed input is explained as far as possible: a line that is not understood is
//! marked as such, and the next one is explained.

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

/// Maximum length of the input, in bytes. Descriptions of a dozen tracks are about 20 KiB.
pub const MAX_INPUT: usize = 64 * 1024;

/// Maximum number of lines that are explained.
pub const MAX_LINES: usize = 2048;

/// Explanation of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The kind of input.
    pub kind: Kind,
    /// The explained lines, in order.
    pub lines: Vec<Line>,
    /// One-line summary: the type of description and the number of its sections.
    pub summary: String,
    /// Problems that concern the input as a whole.
    pub findings: Vec<Problem>,
}

impl Report {
    /// Iterates over all problems. `None` in place of a line number means that the problem concerns the whole input.
    pub fn problems(&self) -> impl Iterator<Item = (Option<usize>, &Problem)> {
        let of_lines = self.lines.iter();
        let of_lines =
            of_lines.flat_map(|line| line.problems.iter().map(|p| (Some(line.number), p)));
        of_lines.chain(self.findings.iter().map(|p| (None, p)))
    }
}

/// Kind of an inspected input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A session description (RFC 8866), as `{"type":…,"sdp":…}` or bare. The type of a bare one is guessed; `None` if
    /// it cannot be.
    Description(Option<SdpType>),
    /// A candidate (RFC 8839 §5.1).
    Candidate,
    /// The URL of an ICE server (RFC 7064, RFC 7065).
    IceServer,
}

/// An explained line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// The line number, from 1.
    pub number: usize,
    /// The line as given, without its line end.
    pub text: String,
    /// The meaning of the line.
    pub meaning: String,
    /// The defining section, such as `RFC 8866 §5.1`; empty if it is unknown.
    pub reference: &'static str,
    /// Explanations of the line's parts.
    pub details: Vec<String>,
    /// Problems of this line.
    pub problems: Vec<Problem>,
}

/// A mistake, or something that may surprise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// How serious the problem is.
    pub severity: Severity,
    /// The problem, and what to do about it.
    pub text: String,
}

/// Severity of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing breaks.
    Note,
    /// May not work, or not with every implementation.
    Warning,
    /// Does not work.
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

/// Explains a session description (SDP, also with escaped line ends; the JSON of W3C's `RTCSessionDescription`; base64
/// of that JSON), a candidate (the line, or the JSON of `RTCIceCandidate`), or the URL of an ICE server.
///
/// # Errors
///
/// Returns an error if the input is none of these, or exceeds [`MAX_INPUT`] or [`MAX_LINES`].
pub fn inspect(input: &[u8]) -> Result<Report, InspectError> {
    match input::read(input)? {
        Input::Description(kind, sdp) => Ok(description::explain(kind, &sdp)),
        Input::Candidate(line) => {
            // A candidate in JSON may contain line breaks; it is shown as one line.
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

/// The explanation of a line that has no number yet.
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

/// Formats a count, such as `1 line`, `2 lines`.
fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests;
