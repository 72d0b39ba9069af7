//! Session descriptions (RFC 8866) as real clients write them.
//!
//! ```text
//!   remote offer ──► Sdp (lines) ──► Reading (what a peer needs) ──► canonical text ──► the core
//!        │                                                                                │
//!        └──► fits ◄── our answer, in the offer's order ◄── wire ◄── the core's answer ◄──┘
//! ```
//!
//! The reader accepts what the core's parser does not: unknown types of m-line, any RTP profile, lines in any order,
//! missing mids and directions, any token as a mid. A line that is not understood is ignored; a description that cannot
//! be used is an error that names the line. The core sees the canonical text only, and the remote peer gets back its
//! own m-lines, types, profiles and mids.

#![cfg_attr(
    not(feature = "server"),
    allow(dead_code, unused_imports, reason = "for signaling and the server")
)]

mod canonical;
mod fits;
mod line;
mod media_line;
mod read;
mod rtp;
mod transport;
mod wire;

use std::fmt;

pub(crate) use self::fits::{LineOutcome, Strictness, check_answer, outcome};
pub(crate) use self::line::{Attribute, Media, Sdp, lines, tidied};
pub(crate) use self::media_line::{Fate, MediaLine};
pub(crate) use self::read::{Reading, own_lines};
pub(crate) use self::rtp::direction;
pub(crate) use self::transport::{Fingerprint, MAX_REMOTE_UFRAG, MAX_USERNAME};
pub(crate) use self::wire::{answer_as_offered, offer_as_negotiated};

/// Role of a description in the offer/answer exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Offer,
    Answer,
}

/// Maximum number of lines in a description. A room of forty tracks has about 1,500.
pub(crate) const MAX_LINES: usize = 4096;

/// Reason why a description cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SdpError {
    /// The line with the error, from 1; `None` if something is missing.
    pub line: Option<usize>,
    /// The problem, and how to fix it.
    pub text: String,
}

impl SdpError {
    pub(crate) fn at(line: usize, text: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            text: text.into(),
        }
    }

    pub(crate) fn whole(text: impl Into<String>) -> Self {
        Self {
            line: None,
            text: text.into(),
        }
    }
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Returns the ICE credentials of an offer that a peer would accept: ufrag and password.
pub(crate) fn credentials(offer: &str) -> Option<(String, String)> {
    let read = Reading::of(&Sdp::parse(offer).ok()?, Role::Offer, &[]).ok()?;
    Some((read.ufrag, read.pwd))
}

/// Quotes remote text for an error message: shortened, with control characters escaped.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    let short: String = text.chars().take(LONGEST).collect();
    match short.len() < text.len() {
        true => format!("{short:?}…"),
        false => format!("{short:?}"),
    }
}

/// Collapses white space to single blanks, as the core's grammar requires.
pub(super) fn spaced(text: &str) -> String {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests;
