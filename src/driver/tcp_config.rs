//! Configuration, identity and errors of the application's TCP connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Identifies a TCP connection of the application. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TcpId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// How the certificate of a TLS server is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsMode {
    /// By the system's certificate authorities, or those of
    /// [`LoopConfig::tls_authorities`](super::LoopConfig::tls_authorities). The certificate must be valid now, and for the
    /// host.
    SystemRoots,
    /// By its SHA-256 fingerprint alone, as browsers and `openssl x509 -fingerprint -sha256` show it. Self-signed and
    /// expired certificates can be pinned, too.
    Fingerprint([u8; 32]),
    /// Not at all. The connection is encrypted, but whoever is in between can read and change everything.
    Unverified,
}

impl TlsMode {
    /// Returns the mode that accepts the certificate with this SHA-256 fingerprint only: 64 hexadecimal digits, with or
    /// without colons. `None` if it is no fingerprint.
    pub fn pinned(fingerprint: &str) -> Option<Self> {
        let digits = fingerprint.chars().filter(|c| *c != ':');
        let digits: Vec<u8> = digits
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()?;
        let pairs = digits.chunks(2).map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        });
        let bytes: Vec<u8> = pairs.collect::<Option<_>>()?;
        bytes.try_into().ok().map(Self::Fingerprint)
    }
}

/// Configuration of a TCP connection, used with [`EventLoop::add_tcp`](super::EventLoop::add_tcp).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpConfig {
    /// Host to connect to: a name, or an IP address (IPv6 with or without brackets). Names ending in `.local` are
    /// resolved by multicast DNS, others by the system, without blocking the loop. If there are several addresses, they
    /// are tried in order.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// TLS; `None`, the default, sends in the clear. Needs the feature `tls`.
    pub tls: Option<TlsMode>,
    /// Time limit for the connection: name resolution, all addresses, and the TLS handshake. Default: 10 s.
    pub connect_timeout: Duration,
    /// Time without a byte in either direction after which the connection is closed. While the application leaves
    /// received bytes untaken, it does not count. Default: `None`, no limit.
    pub idle_timeout: Option<Duration>,
    /// Keeps the connection open for sending after the remote side has ended its direction
    /// ([`TcpEventKind::Finished`](super::TcpEventKind)). Default: `false`, the connection is closed then.
    pub half_open: bool,
    /// Maximum number of bytes queued for sending. Default: 1 MiB; beyond it
    /// [`send_tcp`](super::EventLoop::send_tcp) takes nothing.
    pub max_queue: usize,
    /// Maximum number of received bytes that the application has not taken, give or take a TLS record of 16 KiB.
    /// Default: 1 MiB; the connection is not read meanwhile, so that the remote side has to wait.
    pub max_unread: usize,
}

impl TcpConfig {
    /// Creates a configuration for a connection to this host and port, without TLS.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            tls: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: None,
            half_open: false,
            max_queue: 1 << 20,
            max_unread: 1 << 20,
        }
    }

    /// Sets [`tls`](Self::tls).
    #[must_use]
    pub fn tls(mut self, mode: impl Into<Option<TlsMode>>) -> Self {
        self.tls = mode.into();
        self
    }

    /// Sets [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Sets [`idle_timeout`](Self::idle_timeout).
    #[must_use]
    pub fn idle_timeout(mut self, limit: Option<Duration>) -> Self {
        self.idle_timeout = limit;
        self
    }

    /// Sets [`half_open`](Self::half_open).
    #[must_use]
    pub fn half_open(mut self, half_open: bool) -> Self {
        self.half_open = half_open;
        self
    }

    /// Sets [`max_queue`](Self::max_queue).
    #[must_use]
    pub fn max_queue(mut self, bytes: usize) -> Self {
        self.max_queue = bytes;
        self
    }

    /// Sets [`max_unread`](Self::max_unread).
    #[must_use]
    pub fn max_unread(mut self, bytes: usize) -> Self {
        self.max_unread = bytes;
        self
    }
}

/// Reason why a TCP connection could not be made, or has ended. Its text is meant for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcpError {
    /// The host has no address.
    Resolve {
        /// The host.
        host: String,
        /// Message of the resolver.
        why: String,
    },
    /// The connection was not established within
    /// [`TcpConfig::connect_timeout`](TcpConfig::connect_timeout); the text says how far it came.
    ConnectTimeout(Duration, &'static str),
    /// The connection was refused, or the address cannot be reached.
    Connect {
        /// The address.
        address: SocketAddr,
        /// The kind of error, such as [`ConnectionRefused`](io::ErrorKind::ConnectionRefused).
        kind: io::ErrorKind,
        /// Message of the system.
        why: String,
    },
    /// The certificate of the server was not accepted; the text has its fingerprint.
    Certificate(String),
    /// TLS failed otherwise.
    Tls(String),
    /// Nothing was sent or received for [`TcpConfig::idle_timeout`](TcpConfig::idle_timeout).
    Idle(Duration),
    /// The remote side has closed the connection in order.
    ClosedByRemote,
    /// The remote side has closed the connection without `close_notify`: what it sent may have been cut off.
    Truncated,
    /// The system reports an error, such as a reset by the remote side.
    Io(String),
}

impl TcpError {
    pub(super) fn connect(address: SocketAddr, e: &io::Error) -> Self {
        Self::Connect {
            address,
            kind: e.kind(),
            why: e.to_string(),
        }
    }
}

impl fmt::Display for TcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, why } => write!(f, "no address found for {host}: {why}"),
            Self::ConnectTimeout(limit, stage) => {
                write!(f, "no connection within {} s: {stage}", limit.as_secs_f32())
            }
            Self::Connect { address, why, .. } => write!(f, "connecting to {address}: {why}"),
            Self::Certificate(why) => write!(f, "TLS: the certificate was not accepted: {why}"),
            Self::Tls(why) if why.starts_with("TLS") => f.write_str(why),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Idle(limit) => write!(f, "nothing came for {} s", limit.as_secs_f32()),
            Self::ClosedByRemote => f.write_str("the other side has closed the connection"),
            Self::Truncated => f.write_str(
                "the other side has closed the connection without ending TLS; something may be missing",
            ),
            Self::Io(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for TcpError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_have_64_digits_and_colons() {
        let digits = "00fF".repeat(16);
        let mut bytes = [0; 32];
        bytes
            .iter_mut()
            .skip(1)
            .step_by(2)
            .for_each(|byte| *byte = 255);
        let pinned = Some(TlsMode::Fingerprint(bytes));
        assert_eq!(TlsMode::pinned(&digits), pinned);
        assert_eq!(TlsMode::pinned(&"00:FF:".repeat(16)), pinned);
        for wrong in [
            "",
            "00:FF",
            &format!("{digits}0"),
            &format!("{digits}00"),
            &digits.replace("00", "+0"),
        ] {
            assert_eq!(TlsMode::pinned(wrong), None, "{wrong}");
        }
        assert_eq!(TlsMode::pinned(&digits.replace('F', "g")), None);
    }
}
