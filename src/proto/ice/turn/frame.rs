//! TURN data messages, encoded by hand because every relayed packet is one, and framing over TCP.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use turn_types::stun::message::TransactionId;

use crate::proto::ice::stun;

/// First channel number (RFC 8656 §12).
pub(crate) const FIRST_CHANNEL: u16 = 0x4000;

/// Maximum size of a message over TCP: a 16-bit length field plus headers and padding.
const MAX_MESSAGE: usize = 65_535 + 20;

const SEND_INDICATION: u16 = 0x0016;
const DATA_INDICATION: u16 = 0x0017;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const DATA: u16 = 0x0013;
const COOKIE: u32 = 0x2112_A442;

/// Builds a Send indication (RFC 8656 §11.1).
pub(crate) fn send_indication(id: TransactionId, to: SocketAddr, contents: &[u8]) -> Vec<u8> {
    indication(SEND_INDICATION, id, to, contents)
}

/// Builds a Data indication (RFC 8656 §11.5), as sent by a server.
#[cfg(feature = "turn-server")]
pub(crate) fn data_indication(id: TransactionId, from: SocketAddr, contents: &[u8]) -> Vec<u8> {
    indication(DATA_INDICATION, id, from, contents)
}

fn indication(kind: u16, id: TransactionId, to: SocketAddr, contents: &[u8]) -> Vec<u8> {
    let address = if to.is_ipv4() { 8 } else { 20 };
    let padded = contents.len().next_multiple_of(4);
    let length = 4 + address + 4 + padded;
    let id = u128::from(id).to_be_bytes();
    let mut m = Vec::with_capacity(20 + length);
    put(&mut m, kind);
    put(&mut m, length as u16);
    m.extend(COOKIE.to_be_bytes());
    m.extend(&id[4..]);
    put(&mut m, XOR_PEER_ADDRESS);
    put(&mut m, address as u16);
    put(&mut m, if to.is_ipv4() { 1 } else { 2 });
    put(&mut m, to.port() ^ (COOKIE >> 16) as u16);
    match to.ip() {
        IpAddr::V4(ip) => m.extend((u32::from(ip) ^ COOKIE).to_be_bytes()),
        IpAddr::V6(ip) => m.extend((u128::from(ip) ^ mask(&m)).to_be_bytes()),
    }
    put(&mut m, DATA);
    put(&mut m, contents.len() as u16);
    m.extend(contents);
    m.resize(20 + length, 0);
    m
}

/// Builds a ChannelData message (RFC 8656 §12.4), padded if it is sent over TCP.
pub(crate) fn channel_data(number: u16, contents: &[u8], stream: bool) -> Vec<u8> {
    let mut m = Vec::with_capacity(4 + contents.len() + 3);
    put(&mut m, number);
    put(&mut m, contents.len() as u16);
    m.extend(contents);
    if stream {
        m.resize(m.len().next_multiple_of(4), 0);
    }
    m
}

/// Maximum payload that fits both forms, in bytes.
pub(crate) const MAX_CONTENTS: usize = 65_507 - 60;

/// A classified incoming message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// ChannelData: the channel number and the position of the payload.
    Channel(u16, Range<usize>),
    /// A Data or Send indication: the peer's address and the position of the payload.
    Data(SocketAddr, Range<usize>),
    /// Any other STUN message.
    Message,
    /// Neither STUN nor TURN.
    Junk,
}

/// Classifies a message from the server.
pub(crate) fn classify(m: &[u8]) -> Incoming {
    classify_as(DATA_INDICATION, m)
}

/// Classifies a message from a client.
#[cfg(feature = "turn-server")]
pub(crate) fn classify_from_client(m: &[u8]) -> Incoming {
    match m {
        // Channel numbers of RFC 5766, still used by older clients.
        [0x50..=0x7F, ..] => parse_channel_data(m),
        _ => classify_as(SEND_INDICATION, m),
    }
}

fn classify_as(indication: u16, m: &[u8]) -> Incoming {
    match m {
        [0x40..=0x4F, ..] => parse_channel_data(m),
        _ => match stun::message_type(m) {
            Some(kind) if kind == indication => parse_indication(m),
            Some(_) => Incoming::Message,
            None => Incoming::Junk,
        },
    }
}

fn parse_channel_data(m: &[u8]) -> Incoming {
    let [n0, n1, l0, l1, rest @ ..] = m else {
        return Incoming::Junk;
    };
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    if length > rest.len() {
        return Incoming::Junk;
    }
    Incoming::Channel(u16::from_be_bytes([*n0, *n1]), 4..4 + length)
}

fn parse_indication(m: &[u8]) -> Incoming {
    let data = stun::attribute_range(m, DATA);
    let peer = stun::attribute_range(m, XOR_PEER_ADDRESS);
    match (data, peer.and_then(|p| xor_address(m, p))) {
        (Some(data), Some(peer)) => Incoming::Data(peer, data),
        // Without DATA it reports an ICMP error (RFC 8656 §11.6).
        _ => Incoming::Junk,
    }
}

fn xor_address(m: &[u8], at: Range<usize>) -> Option<SocketAddr> {
    let value = m.get(at)?;
    let [_, family, p0, p1, ip @ ..] = value else {
        return None;
    };
    let port = u16::from_be_bytes([*p0, *p1]) ^ (COOKIE >> 16) as u16;
    let ip: IpAddr = match family {
        1 => IpAddr::from((u32::from_be_bytes(ip.try_into().ok()?) ^ COOKIE).to_be_bytes()),
        2 => IpAddr::from((u128::from_be_bytes(ip.try_into().ok()?) ^ mask(m)).to_be_bytes()),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Returns cookie and transaction id, the mask for XOR'ed addresses; 0 if the header is incomplete.
fn mask(m: &[u8]) -> u128 {
    m.get(4..20)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u128::from_be_bytes)
}

fn put(m: &mut Vec<u8>, value: u16) {
    m.extend(value.to_be_bytes());
}

/// Splits a TCP stream into messages (RFC 8656 §12.6: both forms carry their length).
#[derive(Debug, Default)]
pub(crate) struct Deframer {
    buffer: Vec<u8>,
    start: usize,
}

impl Deframer {
    /// Appends bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next complete message, or `None` if more bytes are needed. An error means that this is not TURN and
    /// the stream must be closed.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, &'static str> {
        let rest = &self.buffer[self.start..];
        let [first, _, l0, l1, ..] = rest else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let (whole, padded) = match first {
            0..=3 => (20 + length, 20 + length),
            0x40..=0x7F => (4 + length, 4 + length.next_multiple_of(4)),
            _ => return Err("the other side sends something else than TURN"),
        };
        debug_assert!(whole <= MAX_MESSAGE);
        if rest.len() < padded {
            return Ok(None);
        }
        let message = rest[..whole].to_vec();
        self.start += padded;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_data_comes_apart_again() {
        for contents in [&b""[..], b"a", b"abcd", b"abcde"] {
            let m = channel_data(FIRST_CHANNEL + 7, contents, false);
            assert_eq!(m.len(), 4 + contents.len());
            let Incoming::Channel(number, range) = classify(&m) else {
                panic!("{m:?}")
            };
            assert_eq!((number, &m[range]), (FIRST_CHANNEL + 7, contents));
        }
        assert_eq!(classify(&[0x40, 0, 0, 1]), Incoming::Junk);
        assert_eq!(classify(&[]), Incoming::Junk);
        assert_eq!(classify(&[0x50, 0, 0, 0]), Incoming::Junk);
    }

    #[test]
    fn indications_of_both_families_come_apart_again() {
        for to in ["192.0.2.1:4000", "[2001:db8::1]:4000"] {
            let to: SocketAddr = to.parse().unwrap();
            let mut m = send_indication(TransactionId::generate(), to, b"hello");
            assert_eq!(m.len() % 4, 0);
            // A Data indication from the server differs in its type only.
            m[1] = DATA_INDICATION as u8;
            let Incoming::Data(from, range) = classify(&m) else {
                panic!("{m:?}")
            };
            assert_eq!((from, &m[range]), (to, &b"hello"[..]));
            for cut in 0..m.len() {
                assert!(!matches!(classify(&m[..cut]), Incoming::Data(..)));
            }
        }
    }

    #[test]
    fn a_stream_comes_apart_wherever_it_is_cut() {
        let to = "192.0.2.1:4000".parse().unwrap();
        let messages = [
            send_indication(TransactionId::generate(), to, b"hello"),
            channel_data(FIRST_CHANNEL, b"abcde", false),
            channel_data(FIRST_CHANNEL, b"", false),
        ];
        let mut stream = messages[0].clone();
        stream.extend(channel_data(FIRST_CHANNEL, b"abcde", true));
        stream.extend(channel_data(FIRST_CHANNEL, b"", true));
        for size in 1..=stream.len() {
            let mut deframer = Deframer::default();
            let mut got = Vec::new();
            for chunk in stream.chunks(size) {
                deframer.push(chunk);
                while let Some(m) = deframer.next().unwrap() {
                    got.push(m);
                }
            }
            assert_eq!(got, messages);
        }
        let mut deframer = Deframer::default();
        // A TLS alert.
        deframer.push(&[0x15, 3, 3, 0, 2, 2, 40]);
        assert!(deframer.next().is_err());
    }
}
