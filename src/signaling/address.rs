//! `host:port` addresses in the notation of Go's `net` package, which pion's command line flags use.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::str::FromStr;

/// A host and a port to listen on or to connect to.
///
/// | text | to listen on | to connect to |
/// |---|---|---|
/// | `:50000` | all interfaces, IPv4 and IPv6 | this machine |
/// | `0.0.0.0:50000`, `[::]:50000` | all interfaces | this machine |
/// | `127.0.0.1:60000`, `[::1]:60000` | that address | that address |
/// | `localhost:50000`, `camera.lan:80` | its first address, IPv4 before IPv6 | its addresses in turn |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The host; empty for all interfaces, IPv6 addresses without brackets.
    host: String,
    port: u16,
}

impl Address {
    /// Creates an address. `host` is a name, an IP address without brackets, or empty for all interfaces. It is not
    /// validated.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// Returns the host: a name or an IP address without brackets; empty for all interfaces.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port; 0 lets the system choose when listening.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Opens a listening socket.
    ///
    /// For `:port` this is one IPv6 socket that accepts IPv4 as well (if the system is configured to allow that, as is
    /// usual), or an IPv4 socket on a machine without IPv6.
    ///
    /// # Errors
    /// Returns an error if the name does not resolve, or if the system refuses all its addresses: the port is in use,
    /// or the address is not one of this machine. The text contains the address.
    pub fn listen(&self) -> io::Result<TcpListener> {
        let mut addresses = if self.host.is_empty() {
            vec![
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.port)),
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port)),
            ]
        } else {
            let mut addresses = self.resolve()?;
            addresses.sort_by_key(SocketAddr::is_ipv6);
            addresses
        };
        // A port that is in use must not be hidden by a fallback to the other family.
        if self.host.is_empty() {
            match TcpListener::bind(addresses[0]) {
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => drop(addresses.remove(0)),
                other => return other.map_err(|error| self.explain("cannot listen on", &error)),
            }
        }
        TcpListener::bind(addresses.as_slice())
            .map_err(|error| self.explain("cannot listen on", &error))
    }

    /// Returns the addresses to connect to, in the resolver's order. May block as long as the resolver does.
    ///
    /// # Errors
    /// Returns an error if the name does not resolve.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<_> = (self.callee(), self.port)
            .to_socket_addrs()
            .map_err(|error| self.explain("cannot resolve", &error))?
            .collect();
        if addresses.is_empty() {
            let error = io::Error::new(io::ErrorKind::NotFound, "no address found");
            return Err(self.explain("cannot resolve", &error));
        }
        Ok(addresses)
    }

    /// Returns `host:port` for a URL: a wildcard is replaced by this machine, IPv6 addresses get brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.callee();
        if host.contains(':') {
            format!("[{host}]:{}", self.port)
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// Returns the host to connect to: this machine in place of a wildcard.
    fn callee(&self) -> &str {
        let wildcard = match self.host.parse::<IpAddr>() {
            Ok(address) => address.is_unspecified(),
            Err(_) => self.host.is_empty(),
        };
        if wildcard { "127.0.0.1" } else { &self.host }
    }

    fn explain(&self, what: &str, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{what} {self}: {error}"))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |reason| AddressError {
            text: text.chars().take(80).collect(),
            reason,
        };
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| wrong("the port is missing"))?;
        let port = port
            .parse()
            .map_err(|_| wrong("the port is not a number up to 65535"))?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let host = rest
                    .strip_suffix(']')
                    .ok_or_else(|| wrong("the \"]\" is missing"))?;
                host.parse::<Ipv6Addr>()
                    .map_err(|_| wrong("what stands in brackets is not an IPv6 address"))?;
                host
            }
            None if host.contains(':') => return Err(wrong("an IPv6 address needs brackets")),
            None => host,
        };
        let usable = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if !host.chars().all(usable) {
            return Err(wrong("the host has a character that no host name has"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Error for text that is not `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not an address: {} (expected host:port, for example 127.0.0.1:60000, [::1]:60000 or :60000)",
            self.text, self.reason
        )
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn reads_what_go_reads() {
        for (text, host, port, authority) in [
            (":50000", "", 50000, "127.0.0.1:50000"),
            ("127.0.0.1:60000", "127.0.0.1", 60000, "127.0.0.1:60000"),
            ("localhost:50000", "localhost", 50000, "localhost:50000"),
            ("0.0.0.0:1", "0.0.0.0", 1, "127.0.0.1:1"),
            ("[::]:1", "::", 1, "127.0.0.1:1"),
            ("[2001:db8::1]:80", "2001:db8::1", 80, "[2001:db8::1]:80"),
            (":0", "", 0, "127.0.0.1:0"),
        ] {
            let parsed = address(text);
            assert_eq!((parsed.host(), parsed.port()), (host, port));
            assert_eq!(parsed.authority(), authority);
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for (text, reason) in [
            ("", "port is missing"),
            ("localhost", "port is missing"),
            ("localhost:", "not a number"),
            ("localhost:65536", "not a number"),
            ("::1:80", "needs brackets"),
            ("[::1:80", "\"]\" is missing"),
            ("[localhost]:80", "not an IPv6 address"),
            ("a/b:80", "no host name has"),
            ("a@b:80", "no host name has"),
            ("ex ample:80", "no host name has"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn all_interfaces_take_both_families() {
        let listener = address(":0").listen().unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if listener.local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn a_name_listens_on_ipv4_first() {
        let listener = address("localhost:0").listen().unwrap();
        assert!(listener.local_addr().unwrap().is_ipv4());
    }

    #[test]
    fn a_taken_port_is_named() {
        for host in ["", "127.0.0.1"] {
            let first = address(&format!("{host}:0")).listen().unwrap();
            let port = first.local_addr().unwrap().port();
            let error = address(&format!("{host}:{port}")).listen().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(
                error.to_string().contains(&format!("{host}:{port}")),
                "{error}"
            );
        }
    }
}
