//! The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): a header that a load balancer sends before
//! the first byte of a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Signature of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Maximum length of a version 1 header, including its line end.
const MOST_LINE: usize = 107;

/// Maximum length of addresses and TLVs in version 2, in bytes: the addresses of Unix sockets, with room to spare.
const MOST_REST: usize = 1024;

/// A parsed PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// The connection belongs to this client.
    Client(SocketAddr),
    /// The connection is the proxy's own (a health check), or of a type without an address.
    Own,
}

/// Incremental parser of a PROXY header.
#[derive(Debug, Default)]
pub(crate) struct HeaderReader {
    bytes: Vec<u8>,
}

impl HeaderReader {
    /// Adds bytes. Returns `None` if more are needed, otherwise the header and the bytes after it.
    ///
    /// # Errors
    ///
    /// Returns an error if this is not a valid PROXY header.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<(Header, Vec<u8>)>, &'static str> {
        // At most one read beyond the longest header is held.
        self.bytes.extend_from_slice(bytes);
        let found = if starts_alike(&self.bytes, SIGNATURE) {
            version_2(&self.bytes)?
        } else if starts_alike(&self.bytes, b"PROXY ") {
            version_1(&self.bytes)?
        } else {
            return Err("it does not begin with the PROXY protocol");
        };
        Ok(found.map(|(header, used)| (header, self.bytes.split_off(used))))
    }
}

/// Returns `true` if one of the two is a prefix of the other.
fn starts_alike(bytes: &[u8], wanted: &[u8]) -> bool {
    let length = bytes.len().min(wanted.len());
    bytes[..length] == wanted[..length]
}

type Found = Result<Option<(Header, usize)>, &'static str>;

/// Parses version 1: `PROXY TCP4 192.0.2.7 192.0.2.1 56324 443`.
fn version_1(bytes: &[u8]) -> Found {
    let bad = "a line of the PROXY protocol that cannot be read";
    let most = &bytes[..bytes.len().min(MOST_LINE)];
    let Some(end) = most.windows(2).position(|two| two == b"\r\n") else {
        return match bytes.len() >= MOST_LINE {
            true => Err(bad),
            false => Ok(None),
        };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| bad)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(Some((Header::Own, end + 2)));
    }
    let rest: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = rest[..] else {
        return Err(bad);
    };
    let ip: IpAddr = source.parse().map_err(|_| bad)?;
    let to: IpAddr = destination.parse().map_err(|_| bad)?;
    let port: u16 = source_port.parse().map_err(|_| bad)?;
    let _: u16 = destination_port.parse().map_err(|_| bad)?;
    let is_v4 = match family {
        "TCP4" => true,
        "TCP6" => false,
        _ => return Err(bad),
    };
    if ip.is_ipv4() != is_v4 || to.is_ipv4() != is_v4 {
        return Err(bad);
    }
    let client = SocketAddr::new(ip.to_canonical(), port);
    Ok(Some((Header::Client(client), end + 2)))
}

fn version_2(bytes: &[u8]) -> Found {
    let Some(([version, family, high, low], rest)) = bytes
        .get(SIGNATURE.len()..)
        .and_then(|rest| rest.split_first_chunk::<4>())
    else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if version >> 4 != 2 || length > MOST_REST {
        return Err("a version of the PROXY protocol that is not known, or too long a header");
    }
    let Some(rest) = rest.get(..length) else {
        return Ok(None);
    };
    let used = SIGNATURE.len() + 4 + length;
    let port = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
    let header = match (version & 15, family >> 4) {
        // LOCAL
        (0, _) => Some(Header::Own),
        (1, 1) => rest.first_chunk::<4>().and_then(|ip| {
            let ip = Ipv4Addr::from(*ip).into();
            Some(Header::Client(SocketAddr::new(ip, port(8)?)))
        }),
        (1, 2) => rest.first_chunk::<16>().and_then(|ip| {
            let ip = IpAddr::from(Ipv6Addr::from(*ip)).to_canonical();
            Some(Header::Client(SocketAddr::new(ip, port(32)?)))
        }),
        // Unspecified, or a Unix socket.
        (1, 0 | 3) => Some(Header::Own),
        _ => None,
    };
    match header {
        Some(header) => Ok(Some((header, used))),
        None => Err("a header of the PROXY protocol that cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([version, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    /// Reads a header whole and byte by byte; the results must be equal.
    fn read(bytes: &[u8]) -> Result<Option<(Header, Vec<u8>)>, &'static str> {
        let whole = HeaderReader::default().push(bytes);
        let mut reader = HeaderReader::default();
        for (at, byte) in bytes.iter().enumerate() {
            match reader.push(&[*byte]) {
                Ok(None) => {}
                Ok(Some((header, rest))) => {
                    assert!(rest.is_empty());
                    let rest = bytes[at + 1..].to_vec();
                    assert_eq!(whole, Ok(Some((header, rest))));
                    break;
                }
                Err(why) => {
                    assert_eq!(whole, Err(why));
                    break;
                }
            }
        }
        whole
    }

    #[test]
    fn version_1_and_2_say_who_it_is() {
        let client = |text: &str| Header::Client(text.parse().unwrap());
        let mut v4 = vec![192, 0, 2, 7, 192, 0, 2, 1, 220, 4, 1, 187];
        let mut v6 = [[0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]; 2].concat();
        v6.extend([220, 4, 1, 187]);
        let long = [v4.clone(), vec![4, 0, 2, 9, 9]].concat();
        for (bytes, wanted) in [
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n".to_vec(),
                client("192.0.2.7:56324"),
            ),
            (
                b"PROXY TCP6 2001:db8::5 2001:db8::1 56324 443\r\n".to_vec(),
                client("[2001:db8::5]:56324"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Header::Own),
            (
                b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
                Header::Own,
            ),
            (v2(0x21, 0x11, &v4), client("192.0.2.7:56324")),
            (v2(0x21, 0x21, &v6), client("[2001:db8::5]:56324")),
            (v2(0x21, 0x11, &long), client("192.0.2.7:56324")),
            (v2(0x20, 0x00, &[]), Header::Own),
            (v2(0x21, 0x31, &[0; 216]), Header::Own),
        ] {
            let all = [bytes.as_slice(), b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(
                read(&all),
                Ok(Some((wanted, b"GET / HTTP/1.1\r\n".to_vec())))
            );
            assert_eq!(read(&bytes[..bytes.len() - 1]), Ok(None));
        }
        v4.truncate(9);
        for bad in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"\x16\x03\x01".to_vec(),
            b"PROXY TCP4 2001:db8::5 192.0.2.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1 70000\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7\r\n".to_vec(),
            [b"PROXY ".to_vec(), vec![b'x'; 200]].concat(),
            v2(0x11, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x21, 0x11, &v4),
            v2(0x21, 0x11, &[0; 2000]),
        ] {
            assert!(read(&bad).is_err(), "{bad:?}");
        }
    }
}
