//! Why publishing or watching does not work.

use std::fmt;
use std::io;

use super::url::UrlError;
use crate::driver::LoopError;
use crate::proto::peer::PeerError;

/// Why a [`WhipClient`](super::WhipClient) cannot go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum WhipError {
    /// The URL that was given.
    Url(UrlError),
    /// The thread for HTTP, or its TLS, could not be set up.
    Start(io::Error),
    /// The peer refuses.
    Peer(PeerError),
    /// The peer is gone.
    Loop(LoopError),
    /// Nobody answers, or the exchange broke off.
    Unreachable {
        /// The URL.
        url: String,
        /// What happened.
        why: String,
        /// Whether the request certainly did not reach the server, so that it can be repeated.
        is_temporary: bool,
    },
    /// The server refuses.
    Refused {
        /// The URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it says, shortened.
        reason: String,
    },
    /// The server's response is not one of WHIP.
    BadReply {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server sends us somewhere that was not allowed.
    OtherOrigin {
        /// That of the URL.
        own: String,
        /// Where it sends us.
        origin: String,
    },
    /// Too many redirections.
    Redirects {
        /// The last URL.
        url: String,
        /// How many were followed.
        limit: u32,
    },
    /// The server has named no session, so it can neither be changed nor ended.
    NoSession,
    /// The connection is lost, and so is the session.
    ConnectionLost,
    /// The queue of requests is full: the server is slow.
    Busy,
}

impl WhipError {
    /// Whether the same may well work later: nobody is there, the server has no room or nothing to show, the
    /// connection was lost.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { is_temporary, .. } => *is_temporary,
            // 409: nobody publishes yet (WHEP, section 4.2), or somebody else still does.
            Self::Refused { status, .. } => {
                matches!(status, 408 | 409 | 425 | 429 | 502 | 503 | 504)
            }
            Self::ConnectionLost => true,
            _ => false,
        }
    }

    /// Whether the server knows the session no more.
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

/// Returns what to do where an error of rustls means that the other side does not speak TLS.
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
