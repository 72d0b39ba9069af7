//! Reasons why a session with a camera ends, as sentences for people.

use std::fmt;
use std::time::Duration;

use super::described::DescribedError;
use super::url::UrlError;

/// Reason why the TCP connection to a camera could not be made, or ended. The driver reports it with
/// [`Input::Closed`](super::Input::Closed).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disconnected {
    /// The host name does not resolve.
    NoSuchHost,
    /// Nothing listens on the port.
    Refused,
    /// The connection was not established in time.
    TimedOut,
    /// TLS failed: the certificate is not trusted, or is not the pinned one, or the camera does not speak TLS. With the
    /// reason in words.
    Tls(String),
    /// The camera closed the connection in an orderly way.
    Closed,
    /// Any other failure, in words.
    Failed(String),
}

/// Reason why a session with a camera failed. `Display` writes a sentence without a full stop, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RtspError {
    /// The host name does not resolve.
    NoSuchHost {
        /// The name.
        host: String,
    },
    /// Nothing listens on the camera's port.
    Refused {
        /// The port.
        port: u16,
    },
    /// The connection was not established in time.
    ConnectTimedOut,
    /// The connection could not be made, or failed, for this reason.
    Connection(String),
    /// TLS failed, for this reason.
    Tls(String),
    /// The camera closed the connection.
    Disconnected,
    /// The camera ended the session with a TEARDOWN of its own.
    EndedByCamera,
    /// The camera wants a password, and there is none.
    PasswordNeeded,
    /// The camera refused user name and password.
    WrongPassword,
    /// The camera offers no kind of authentication that is supported (Basic; Digest with MD5, SHA-256, SHA-512-256). With
    /// what it offers.
    Authentication(String),
    /// 403: the user may not see this stream.
    Forbidden,
    /// 404: the camera has no stream at this path.
    NotFound,
    /// 453 or 503: the camera serves as many viewers as it can.
    Busy,
    /// 454: the camera has forgotten the session.
    SessionLost,
    /// 461: the camera refuses all transports that are allowed. With their names.
    TransportRefused(String),
    /// The camera has no two-way audio, or refuses it, and nothing else was wanted.
    NoBackchannel,
    /// Another error status.
    Status {
        /// Method of the refused request.
        method: &'static str,
        /// Status code, 300 to 999.
        code: u16,
        /// Reason phrase of the camera, shortened and without secrets.
        reason: String,
    },
    /// The session description has no stream of the wanted kinds. With what it has instead.
    NoMedia(String),
    /// The session description cannot be read.
    Description(DescribedError),
    /// The camera did not answer this request in time.
    NoAnswer {
        /// Method of the request.
        method: &'static str,
        /// Time that was waited.
        after: Duration,
    },
    /// No datagram arrived by UDP, and no other transport is allowed: often a firewall.
    NoDatagrams {
        /// Time that was waited.
        after: Duration,
    },
    /// UDP sockets could not be opened. With the reason.
    Udp(String),
    /// The camera keeps the connection open but sends no media.
    Silent {
        /// Time without media.
        after: Duration,
    },
    /// The camera mixes data of an earlier session into this one (live555 before 2017.06.04). Wait before the next try.
    StaleSession {
        /// Time until the camera has forgotten the earlier session.
        wait: Duration,
    },
    /// The camera redirects to an address that cannot be used.
    BadRedirect(UrlError),
    /// More redirects than the limit.
    TooManyRedirects(u32),
    /// The camera violates the protocol beyond what is tolerated.
    Protocol {
        /// Step of the session: `DESCRIBE`, `media`, ….
        at: &'static str,
        /// Description of the fault.
        what: String,
    },
}

impl fmt::Display for RtspError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |d: &Duration| d.as_secs_f32();
        match self {
            Self::NoSuchHost { host } => write!(f, "there is no host named {host}"),
            Self::Refused { port } => {
                write!(
                    f,
                    "the host is there, but nothing listens on its port {port}"
                )
            }
            Self::ConnectTimedOut => {
                f.write_str("the camera did not answer: it may be off, or the address wrong")
            }
            Self::Connection(why) => write!(f, "the connection to the camera failed: {why}"),
            Self::Tls(why) => write!(f, "the encrypted connection to the camera failed: {why}"),
            Self::Disconnected => f.write_str("the camera closed the connection"),
            Self::EndedByCamera => f.write_str("the camera ended the session"),
            Self::PasswordNeeded => f.write_str("the camera wants a user name and a password"),
            Self::WrongPassword => f.write_str("the camera refused the password"),
            Self::Authentication(offered) => {
                write!(
                    f,
                    "the camera wants a kind of authentication that is not supported: {offered}"
                )
            }
            Self::Forbidden => {
                f.write_str("the camera does not let this user see the stream (403)")
            }
            Self::NotFound => f.write_str("the camera has no stream at this path (404)"),
            Self::Busy => f.write_str(
                "the camera serves as many viewers as it can: end others, or wait a minute",
            ),
            Self::SessionLost => f.write_str("the camera has forgotten the session (454)"),
            Self::TransportRefused(tried) => {
                write!(
                    f,
                    "the camera refuses to send by {tried} (461): allow another transport"
                )
            }
            Self::NoBackchannel => f.write_str("the camera has no two-way audio"),
            Self::Status {
                method,
                code,
                reason,
            } if reason.is_empty() => {
                write!(f, "the camera refused {method} with status {code}")
            }
            Self::Status {
                method,
                code,
                reason,
            } => {
                write!(
                    f,
                    "the camera refused {method} with status {code}: {reason}"
                )
            }
            Self::NoMedia(has) => {
                write!(f, "the camera offers nothing that can be received: {has}")
            }
            Self::Description(error) => write!(
                f,
                "the camera's session description cannot be read: {error}"
            ),
            Self::NoAnswer { method, after } => {
                write!(
                    f,
                    "the camera did not answer {method} within {} s",
                    seconds(after)
                )
            }
            Self::NoDatagrams { after } => write!(
                f,
                "nothing arrived by UDP within {} s: a firewall may be in the way; allow TCP",
                seconds(after)
            ),
            Self::Udp(why) => write!(f, "no UDP sockets for the camera: {why}"),
            Self::Silent { after } => write!(f, "the camera sent nothing for {} s", seconds(after)),
            Self::StaleSession { wait } => write!(
                f,
                "the camera sends data of an earlier session; it forgets that within {} s",
                seconds(wait)
            ),
            Self::BadRedirect(error) => {
                write!(f, "the camera redirects to an unusable address: {error}")
            }
            Self::TooManyRedirects(limit) => {
                write!(f, "the camera redirected more than {limit} times")
            }
            Self::Protocol { at, what } => {
                write!(f, "the camera's messages make no sense ({at}): {what}")
            }
        }
    }
}

impl std::error::Error for RtspError {}

impl RtspError {
    /// Returns the time to wait before the next attempt at least, where the camera needs it.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::StaleSession { wait } => Some(*wait),
            // Cameras that count connections free them some seconds after their end.
            Self::Busy => Some(Duration::from_secs(5)),
            _ => None,
        }
    }

    /// Returns `true` if another attempt is pointless until somebody changes the address, the credentials or the camera's
    /// settings.
    ///
    /// Repeating a wrong password is worse than pointless: many cameras lock the account.
    pub fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Self::PasswordNeeded
                | Self::WrongPassword
                | Self::Authentication(_)
                | Self::Forbidden
                | Self::NotFound
                | Self::TransportRefused(_)
                | Self::NoBackchannel
                | Self::NoMedia(_)
        )
    }
}
