//! Errors of candidate gathering.

use std::fmt;
use std::net::SocketAddr;

/// Failure of one source of candidates (W3C WebRTC §4.8.3 `RTCPeerConnectionIceErrorEvent`). Gathering continues
/// without it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IceCandidateError {
    /// URL of the server. `None` if the error concerns this machine's own addresses.
    pub url: Option<String>,
    /// The local address that the request was sent from, if the error concerns one.
    pub local: Option<SocketAddr>,
    /// STUN or TURN error code (RFC 8489 §14.8, RFC 8656 §19), such as 401; 701 if the server is unreachable; 0 for
    /// local failures.
    pub code: u16,
    /// Description of the failure.
    pub text: String,
}

impl IceCandidateError {
    /// Error code for a server that does not answer.
    pub const UNREACHABLE: u16 = 701;

    /// Creates an error about local candidates.
    pub(super) fn local(text: String) -> Self {
        Self {
            url: None,
            local: None,
            code: 0,
            text,
        }
    }

    /// Creates an error for a server that cannot be used with this configuration.
    pub(super) fn useless(url: String, why: &str) -> Self {
        Self {
            url: Some(url),
            local: None,
            code: 0,
            text: format!("not asked: {why}"),
        }
    }

    pub(super) fn unreachable(url: String, why: &str) -> Self {
        Self {
            url: Some(url),
            local: None,
            code: Self::UNREACHABLE,
            text: why.to_owned(),
        }
    }

    /// Returns advice for a person on where to look, if the code has a usual cause.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self.code {
            Self::UNREACHABLE if self.text.contains("certificate") => {
                "check the name in the server's certificate, the clock, and whose authority is trusted \
                 (LoopConfig::tls_authorities)"
            }
            300 => "the server sends elsewhere, and that did not help: check its configuration",
            400 | 420 => {
                "the server does not understand us: is it a STUN or TURN server, and of our time?"
            }
            401 => "check username and credential; a time-limited credential may have run out",
            403 => "the server's rules forbid it: check which peer addresses it relays to",
            437 => {
                "the server still knows an older allocation from this address; it goes by itself"
            }
            438 => "the server changes its nonce with every answer",
            440 => "the server has no relay address of this family",
            441 => "the allocation belongs to another user",
            442 => "the server does not relay this transport",
            486 => "the user has as many allocations as allowed; old ones go when they time out",
            500..=599 => "the server is full or broken; try later, or another one",
            Self::UNREACHABLE => "check name and port, and that a firewall lets it through",
            _ => return None,
        })
    }
}

impl fmt::Display for IceCandidateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(url) = &self.url {
            write!(f, "{url}: ")?;
        }
        if self.code != 0 && self.code != Self::UNREACHABLE {
            write!(f, "error {}: ", self.code)?;
        }
        f.write_str(&self.text)?;
        if let Some(local) = self.local {
            write!(f, " (asked from {local})")?;
        }
        match self.hint() {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for IceCandidateError {}
