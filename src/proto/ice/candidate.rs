//! ICE candidates in their signaled form (RFC 8839 §5.1).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::proto::signal::IceCandidateInit;

/// Maximum length of a candidate line, in bytes. Real ones stay under 250.
pub const MAX_CANDIDATE_LINE: usize = 1024;

/// Type of a candidate (RFC 8445 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CandidateType {
    /// An address of a local interface.
    Host,
    /// The address that a STUN server sees.
    ServerReflexive,
    /// The address that the remote peer sees.
    PeerReflexive,
    /// An address allocated on a TURN server.
    Relay,
}

impl fmt::Display for CandidateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relay => "relay",
        })
    }
}

/// Address part of a candidate: an IP address, or a host name that has to be resolved first (mDNS, RFC 8828 §3.1.2:
/// `<uuid>.local`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CandidateAddress {
    /// A literal address.
    Ip(IpAddr),
    /// A host name.
    Name(String),
}

impl fmt::Display for CandidateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A parsed ICE candidate. [`Display`](fmt::Display) formats the line without `a=`: `candidate:1 1 udp 2130706431
/// 192.0.2.2 41400 typ host`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct IceCandidate {
    /// Groups candidates of the same kind, base and server (RFC 8445 §5.1.1.3).
    pub foundation: String,
    /// Component id: 1 for RTP (and everything bundled with it), 2 for RTCP.
    pub component: u16,
    /// `udp` or `tcp`, lower case.
    pub protocol: String,
    /// Priority; pairs with a higher one are checked first (RFC 8445 §5.1.2).
    pub priority: u32,
    /// The address of the candidate: an IP address or a name.
    pub address: CandidateAddress,
    /// The port.
    pub port: u16,
    /// The candidate's type.
    pub typ: CandidateType,
    /// The base of a reflexive or relayed candidate, as signaled; for diagnostics only.
    pub related_address: Option<SocketAddr>,
    /// TCP type: `active`, `passive` or `so` (RFC 6544 §4.5). `None` for UDP.
    pub tcp_type: Option<String>,
    /// The username fragment of the ICE generation that the candidate belongs to.
    pub username_fragment: Option<String>,
    /// The `a=mid` of the media section that the candidate is signaled with. Set on local candidates only.
    pub sdp_mid: Option<String>,
    /// The URL of the STUN or TURN server that the candidate was obtained from. Set on local candidates only.
    pub url: Option<String>,
}

/// Reason why a candidate line was refused: the field and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CandidateError {
    /// The line is longer than 1,024 bytes; its length in bytes.
    TooLong(usize),
    /// The line does not begin with `candidate:`.
    NoPrefix,
    /// The line ends before this field.
    Missing(&'static str),
    /// This field has an invalid value.
    Bad {
        /// The field's name in RFC 8839.
        field: &'static str,
        /// The value found, shortened if it is long.
        value: String,
    },
}

impl fmt::Display for CandidateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(len) => write!(
                f,
                "candidate line of {len} bytes is over the limit of {MAX_CANDIDATE_LINE}"
            ),
            Self::NoPrefix => f.write_str("a candidate line begins with \"candidate:\""),
            Self::Missing(field) => write!(f, "candidate line ends before its {field}"),
            Self::Bad { field, value } => write!(f, "candidate {field} {value:?} is not valid"),
        }
    }
}

impl std::error::Error for CandidateError {}

impl IceCandidate {
    /// Parses a candidate line, with or without a leading `a=`.
    ///
    /// Unknown extension attributes are ignored (RFC 8839 §5.1).
    pub fn parse(line: &str) -> Result<Self, CandidateError> {
        if line.len() > MAX_CANDIDATE_LINE {
            return Err(CandidateError::TooLong(line.len()));
        }
        let line = line.trim();
        let line = line.strip_prefix("a=").unwrap_or(line);
        let rest = line
            .strip_prefix("candidate:")
            .ok_or(CandidateError::NoPrefix)?;
        let mut fields = rest.split_ascii_whitespace();
        let mut next = |field| fields.next().ok_or(CandidateError::Missing(field));

        let foundation = token(next("foundation")?, "foundation", 32)?;
        let component = number(next("component-id")?, "component-id")?;
        let protocol = next("transport")?.to_ascii_lowercase();
        if protocol != "udp" && protocol != "tcp" {
            return Err(bad("transport", &protocol));
        }
        let priority = number(next("priority")?, "priority")?;
        let address = parse_address(next("connection-address")?)?;
        let port = number(next("port")?, "port")?;
        if next("typ")? != "typ" {
            return Err(CandidateError::Missing("typ"));
        }
        let typ = match next("cand-type")? {
            "host" => CandidateType::Host,
            "srflx" => CandidateType::ServerReflexive,
            "prflx" => CandidateType::PeerReflexive,
            "relay" => CandidateType::Relay,
            other => return Err(bad("cand-type", other)),
        };

        let mut candidate = IceCandidate {
            foundation,
            component,
            protocol,
            priority,
            address,
            port,
            typ,
            related_address: None,
            tcp_type: None,
            username_fragment: None,
            sdp_mid: None,
            url: None,
        };
        candidate.parse_extensions(fields)?;
        Ok(candidate)
    }

    fn parse_extensions<'a>(
        &mut self,
        mut fields: impl Iterator<Item = &'a str>,
    ) -> Result<(), CandidateError> {
        let mut related_ip = None;
        while let Some(name) = fields.next() {
            // Extensions are name-value pairs; some implementations omit the value of the last one.
            let Some(value) = fields.next() else { break };
            match name {
                "raddr" => related_ip = value.parse::<IpAddr>().ok(),
                "rport" => {
                    let port = number(value, "rport")?;
                    self.related_address = related_ip.map(|ip| SocketAddr::new(ip, port));
                }
                // Some implementations send it for UDP as well, where it has no meaning (RFC 6544 §4.5).
                "tcptype" if self.protocol == "tcp" => {
                    let value = token(value, "tcptype", 32)?;
                    self.tcp_type = Some(value.to_ascii_lowercase());
                }
                "ufrag" => self.username_fragment = Some(token(value, "ufrag", 256)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the address and port, or `None` if the address is a name that has to be resolved first.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.address {
            CandidateAddress::Ip(ip) => Some(SocketAddr::new(*ip, self.port)),
            CandidateAddress::Name(_) => None,
        }
    }

    /// Returns the candidate as W3C signaling sends it (`RTCIceCandidate.toJSON`). With BUNDLE there is one transport,
    /// that of the first media section, so the media line index is always 0.
    pub fn to_init(&self) -> IceCandidateInit {
        IceCandidateInit {
            candidate: self.to_sdp_line(),
            sdp_mid: self.sdp_mid.clone(),
            sdp_m_line_index: Some(0),
            username_fragment: self.username_fragment.clone(),
        }
    }

    /// Returns the line without its `ufrag` extension, as it is written in a description.
    pub fn to_sdp_line(&self) -> String {
        let mut line = format!(
            "candidate:{} {} {} {} {} {} typ {}",
            self.foundation,
            self.component,
            self.protocol,
            self.priority,
            self.address,
            self.port,
            self.typ
        );
        if let Some(related) = self.related_address {
            line += &format!(" raddr {} rport {}", related.ip(), related.port());
        }
        if let Some(tcp_type) = &self.tcp_type {
            line += &format!(" tcptype {tcp_type}");
        }
        line
    }
}

impl fmt::Display for IceCandidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_sdp_line())?;
        match &self.username_fragment {
            Some(ufrag) => write!(f, " ufrag {ufrag}"),
            None => Ok(()),
        }
    }
}

fn bad(field: &'static str, value: &str) -> CandidateError {
    CandidateError::Bad {
        field,
        value: value.chars().take(64).collect(),
    }
}

fn number<T: std::str::FromStr>(value: &str, field: &'static str) -> Result<T, CandidateError> {
    value.parse().map_err(|_| bad(field, value))
}

/// Checks an `ice-char` token (RFC 8839 §5.1) of bounded length. Some implementations use a wider alphabet than the RFC
/// allows, so only characters that could break a line are refused.
fn token(value: &str, field: &'static str, max: usize) -> Result<String, CandidateError> {
    if value.len() > max || !value.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(bad(field, value));
    }
    Ok(value.to_owned())
}

fn parse_address(value: &str) -> Result<CandidateAddress, CandidateError> {
    if let Ok(ip) = value.parse() {
        return Ok(CandidateAddress::Ip(ip));
    }
    let is_name = value.len() <= 253
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if is_name {
        Ok(CandidateAddress::Name(value.to_ascii_lowercase()))
    } else {
        Err(bad("connection-address", value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_what_peers_send() {
        for line in [
            "candidate:2070692838 1 udp 2130706431 192.0.2.2 41400 typ host",
            "candidate:1 1 udp 1677729535 203.0.113.9 60000 typ srflx raddr 10.0.0.1 rport 5000",
            "candidate:4 1 tcp 1518280447 192.0.2.2 9 typ host tcptype active",
            "candidate:7 1 udp 2122260223 fd00::2 50000 typ host ufrag abcd",
        ] {
            assert_eq!(IceCandidate::parse(line).unwrap().to_string(), line);
            assert_eq!(
                IceCandidate::parse(&format!("a={line}\r\n"))
                    .unwrap()
                    .to_string(),
                line
            );
        }
    }

    #[test]
    fn passes_over_unknown_extensions() {
        let c = IceCandidate::parse(
            "candidate:842163049 1 udp 1677729535 192.0.2.7 38311 typ srflx raddr 0.0.0.0 rport 0 \
             generation 0 ufrag E1FW network-cost 999",
        )
        .unwrap();
        assert_eq!(c.username_fragment.as_deref(), Some("E1FW"));
        assert_eq!(c.related_address, Some("0.0.0.0:0".parse().unwrap()));
    }

    #[test]
    fn keeps_names_for_the_resolver() {
        let c = IceCandidate::parse(
            "candidate:1 1 UDP 2122260223 6E4F0A2B-93c1-4d2e.local 50000 typ host",
        )
        .unwrap();
        assert_eq!(c.socket_addr(), None);
        assert_eq!(
            c.address,
            CandidateAddress::Name("6e4f0a2b-93c1-4d2e.local".into())
        );
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        let bad = |line: &str| IceCandidate::parse(line).unwrap_err().to_string();
        assert!(bad("hello").contains("candidate:"));
        assert!(bad("candidate:1 1 udp").contains("ends before its priority"));
        assert!(bad("candidate:1 x udp 1 192.0.2.1 1 typ host").contains("component-id \"x\""));
        assert!(bad("candidate:1 1 sctp 1 192.0.2.1 1 typ host").contains("transport \"sctp\""));
        assert!(bad("candidate:1 1 udp 1 192.0.2.1 70000 typ host").contains("port \"70000\""));
        assert!(bad("candidate:1 1 udp 1 192.0.2.1 7 typ magic").contains("cand-type \"magic\""));
        assert!(bad("candidate:1 1 udp 1 a/b 7 typ host").contains("connection-address"));
        assert!(bad(&"x".repeat(2000)).contains("2000 bytes"));
    }
}
