//! Errors of publishing and playing.

use std::fmt;
use std::io;

use super::url::UrlError;
use crate::driver::LoopError;
use crate::proto::peer::PeerError;

/// Error of a [`WhipClient`](super::WhipClient).
#[derive(Debug)]
#[non_exhaustive]
pub enum WhipError {
    /// The configured URL is invalid.
    Url(UrlError),
    /// The HTTP thread or its TLS could not be set up.
    Start(io::Error),
    /// The peer returned an error.
    Peer(PeerError),
    /// The peer does not exist any more.
    Loop(LoopError),
    /// The server does not answer, or the exchange was interrupted.
    Unreachable {
        /// The URL.
        url: String,
        /// Description of the failure.
        why: String,
        /// Set if the request certainly did not reach the server, so that it can be repeated.
        is_temporary: bool,
    },
    /// The server refused the request.
    Refused {
        /// The URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The response's text, shortened.
        reason: String,
    },
    /// The server's response violates WHIP.
    BadReply {
        /// The URL.
        url: String,
        /// Description of the violation.
        why: String,
    },
    /// The server redirects to an origin that is not allowed.
    OtherOrigin {
        /// The origin of the URL.
        own: String,
        /// The origin of the redirection.
        origin: String,
    },
    /// There were too many redirections.
    Redirects {
        /// The last URL.
        url: String,
        /// The limit.
        limit: u32,
    },
    /// The server returned no session URL, so the session can neither be changed nor ended.
    NoSession,
    /// The connection was lost, and the session with it.
    ConnectionLost,
    /// The queue of requests is full: the server is slow.
    Busy,
}

impl WhipError {
    /// Returns `true` if a later attempt may succeed: the server is down or at its limit, has nothing to play yet, or
    /// the connection was lost.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { is_temporary, .. } => *is_temporary,
            // 409: nobody publishes yet (WHEP, section 4.2), or another publisher still does.
            Self::Refused { status, .. } => {
                matches!(status, 408 | 409 | 425 | 429 | 502 | 503 | 504)
            }
            Self::ConnectionLost => true,
            _ => false,
        }
    }

    /// Returns `true` if the server no longer knows the session.
    #[must_use]
    pub fn is_session_gone(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 404 | 410,
                ..
            }
        )
    }
}

/// Returns advice if an error of rustls means that the server does not speak TLS.
fn tls_mismatch(error: &str) -> Option<&'static str> {
    error
        .contains("InvalidContentType")
        .then_some("the server speaks plain HTTP at this port: write http:// instead of https://")
}

impl fmt::Display for WhipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Start(error) => write!(f, "HTTP cannot be set up: {error}"),
            Self::Peer(error) => error.fmt(f),
            Self::Loop(error) => error.fmt(f),
            Self::Unreachable { url, why, .. } => {
                write!(f, "{url} cannot be reached: {why}")?;
                match tls_mismatch(why) {
                    Some(what_to_do) => write!(f, " ({what_to_do})"),
                    None => Ok(()),
                }
            }
            Self::Refused {
                url,
                status,
                reason,
            } => {
                write!(f, "{url} refuses with status {status}")?;
                if !reason.is_empty() {
                    write!(f, ": {reason}")?;
                }
                let what_to_do = match status {
                    401 => " (is the token right?)",
                    403 if reason.is_empty() => " (the token does not permit this)",
                    404 => " (is the name in the URL right?)",
                    405 => " (is this the URL of a WHIP or WHEP endpoint?)",
                    _ => "",
                };
                f.write_str(what_to_do)
            }
            Self::BadReply { url, why } => {
                write!(f, "{url} does not answer as WHIP and WHEP do: {why}")
            }
            Self::OtherOrigin { own, origin } => write!(
                f,
                "{own} sends us on to {origin}; allow that origin if this is meant"
            ),
            Self::Redirects { url, limit } => {
                write!(f, "sent on more than {limit} times, at last to {url}")
            }
            Self::NoSession => f.write_str("the server has named no session (Location)"),
            Self::ConnectionLost => f.write_str("the connection is lost"),
            Self::Busy => f.write_str("too many requests wait for the server; it is slow"),
        }
    }
}

impl std::error::Error for WhipError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Url(error) => Some(error),
            Self::Start(error) => Some(error),
            Self::Peer(error) => Some(error),
            Self::Loop(error) => Some(error),
            _ => None,
        }
    }
}

impl From<PeerError> for WhipError {
    fn from(error: PeerError) -> Self {
        Self::Peer(error)
    }
}

impl From<LoopError> for WhipError {
    fn from(error: LoopError) -> Self {
        Self::Loop(error)
    }
}
