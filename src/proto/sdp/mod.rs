//! Session descriptions (RFC 8866) as real clients write them.
//!
//! ```text
//!   their offer ──► Sdp (lines) ──► Reading (what a peer needs) ──► canonical text ──► the core
//!        │                                                                               │
//!        └──► fits ◄── our answer, line by line as they offered ◄── wire ◄── its answer ◄─┘
//! ```
//!
//! The reader takes what the core's own parser does not: unknown kinds of m-line, RTP profiles of all makes,
//! lines in any order, missing mids and directions, any token as a mid. A line that cannot be understood is passed
//! over; a description that cannot be used is an error that names the line. The core sees the canonical text only,
//! and the other side sees its own m-lines, kinds, profiles and mids again.

#![cfg_attr(
    not(feature = "server"),
    allow(dead_code, unused_imports, reason = "for signaling and the server")
)]

mod canonical;
mod fits;
mod line;
mod read;
mod rtp;
mod wire;

use std::fmt;

#[cfg_attr(not(test), allow(unused_imports, reason = "for WHIP and WHEP"))]
pub(crate) use self::fits::outcome;
pub(crate) use self::fits::{Strictness, check_answer};
pub(crate) use self::line::{Attribute, Media, Sdp, lines, tidied};
pub(crate) use self::read::{
    Fate, Fingerprint, MAX_REMOTE_UFRAG, MAX_USERNAME, MediaLine, Reading, Role, own_lines,
};
pub(crate) use self::rtp::direction;
pub(crate) use self::wire::{answer_as_offered, offer_as_negotiated};

/// The most lines of a description. A room of forty tracks has about 1,500.
pub(crate) const MAX_LINES: usize = 4096;

/// Why a description cannot be used, in our own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SdpError {
    /// The line at fault, from 1; `None` when it is something that is missing.
    pub line: Option<usize>,
    /// The problem, and what would be right.
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

/// Returns the ICE credentials of an offer that a peer would take: user fragment and password.
pub(crate) fn credentials(offer: &str) -> Option<(String, String)> {
    let read = Reading::of(&Sdp::parse(offer).ok()?, Role::Offer, &[]).ok()?;
    Some((read.ufrag, read.pwd))
}

/// A text of the other side's for an error message: short, and without control characters.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    let short: String = text.chars().take(LONGEST).collect();
    match short.len() < text.len() {
        true => format!("{short:?}…"),
        false => format!("{short:?}"),
    }
}

#[cfg(test)]
mod tests;
