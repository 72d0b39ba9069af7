//! The little of STUN (RFC 8489) that tells whose message it is, read without parsing the rest.

use std::net::SocketAddr;
use std::ops::Range;

/// What a STUN message says about who it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StunPeek<'a> {
    /// A binding request: the part of its USERNAME before the colon is the ufrag of the peer that it
    /// is meant for (RFC 8445 §7.2.2).
    Request {
        /// The receiver's ufrag.
        local_ufrag: &'a str,
    },
    /// A binding response, success or error: it belongs to whoever sent the request.
    Response {
        /// The transaction id of the request.
        transaction: [u8; 12],
        /// Whether the class is "success".
        success: bool,
    },
    /// Anything else: an indication, another method.
    Other,
}

/// The transaction id of a binding request, if this is one.
pub fn request_transaction(packet: &[u8]) -> Option<[u8; 12]> {
    match message_type(packet)? {
        BINDING_REQUEST => transaction_id(packet),
        _ => None,
    }
}

/// The transaction id of a response to a binding request, success or error, if this is one.
pub fn response_transaction(packet: &[u8]) -> Option<u128> {
    match message_type(packet)? {
        BINDING_SUCCESS | BINDING_ERROR => {
            let mut id = [0; 16];
            id[4..].copy_from_slice(&transaction_id(packet)?);
            Some(u128::from_be_bytes(id))
        }
        _ => None,
    }
}

/// The MAPPED-ADDRESS of servers that do not know XOR-MAPPED-ADDRESS (RFC 8489 §14.1).
pub fn mapped_address(packet: &[u8]) -> Option<SocketAddr> {
    match attribute(packet, MAPPED_ADDRESS)? {
        [_, 1, p0, p1, ip @ ..] => {
            let ip: [u8; 4] = ip.try_into().ok()?;
            Some((ip, u16::from_be_bytes([*p0, *p1])).into())
        }
        [_, 2, p0, p1, ip @ ..] => {
            let ip: [u8; 16] = ip.try_into().ok()?;
            Some((ip, u16::from_be_bytes([*p0, *p1])).into())
        }
        _ => None,
    }
}

/// Whether the first byte says STUN (RFC 7983 §7).
pub fn is_stun(packet: &[u8]) -> bool {
    matches!(packet.first(), Some(0..=3))
}

/// Whether MESSAGE-INTEGRITY is the first attribute. No check or answer is like that: those have a USERNAME, an address
/// or an error code to be protected (RFC 8445 §7.2.2, RFC 8489 §14.5). The core's parser takes such a message for one
/// without a signature and then panics when the signature is verified (docs/upstream.md).
pub(crate) fn begins_with_integrity(packet: &[u8]) -> bool {
    packet.get(HEADER..HEADER + 2) == Some(&MESSAGE_INTEGRITY.to_be_bytes())
}

/// Looks at a STUN message. `None` when it is not one, or lies about its length.
///
/// ```
/// use looprtc::proto::ice::stun::peek;
/// assert_eq!(peek(b"GET / HTTP/1.1\r\n\r\n"), None);
/// ```
pub fn peek(packet: &[u8]) -> Option<StunPeek<'_>> {
    let kind = message_type(packet)?;
    match kind {
        BINDING_REQUEST => {
            let name = attribute(packet, USERNAME)?;
            let name = std::str::from_utf8(name).ok()?;
            let (local_ufrag, _) = name.split_once(':')?;
            Some(StunPeek::Request { local_ufrag })
        }
        BINDING_SUCCESS | BINDING_ERROR => Some(StunPeek::Response {
            transaction: transaction_id(packet)?,
            success: kind == BINDING_SUCCESS,
        }),
        _ => Some(StunPeek::Other),
    }
}

const HEADER: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const MAPPED_ADDRESS: u16 = 0x0001;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;

/// The message type, once cookie and length have been found to be right.
pub(super) fn message_type(packet: &[u8]) -> Option<u16> {
    if packet.len() < HEADER || !is_stun(packet) || packet[4..8] != MAGIC_COOKIE {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    if length % 4 != 0 || HEADER + length != packet.len() {
        return None;
    }
    Some(u16::from_be_bytes([packet[0], packet[1]]))
}

fn transaction_id(packet: &[u8]) -> Option<[u8; 12]> {
    packet.get(8..20)?.try_into().ok()
}

/// The value of the first attribute of this type (RFC 8489 §14).
fn attribute(packet: &[u8], wanted: u16) -> Option<&[u8]> {
    packet.get(attribute_range(packet, wanted)?)
}

/// Where it stands.
pub(super) fn attribute_range(packet: &[u8], wanted: u16) -> Option<Range<usize>> {
    let mut at = HEADER;
    while let Some([t0, t1, l0, l1]) = packet.get(at..at + 4) {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let value = at + 4..at + 4 + length;
        if value.end > packet.len() {
            return None;
        }
        if u16::from_be_bytes([*t0, *t1]) == wanted {
            return Some(value);
        }
        at = value.end.next_multiple_of(4);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (t, v) in attributes {
            body.extend(t.to_be_bytes());
            body.extend((v.len() as u16).to_be_bytes());
            body.extend(*v);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut m = kind.to_be_bytes().to_vec();
        m.extend((body.len() as u16).to_be_bytes());
        m.extend(MAGIC_COOKIE);
        m.extend([7; 12]);
        m.extend(body);
        m
    }

    #[test]
    fn finds_the_ufrag_behind_other_attributes() {
        let m = message(1, &[(0x8022, b"agent"), (USERNAME, b"local:remote")]);
        assert_eq!(
            peek(&m),
            Some(StunPeek::Request {
                local_ufrag: "local"
            })
        );
        assert_eq!(request_transaction(&m), Some([7; 12]));
    }

    #[test]
    fn a_request_without_a_username_is_nobodys() {
        assert_eq!(peek(&message(1, &[])), None);
        assert_eq!(peek(&message(1, &[(USERNAME, b"nocolon")])), None);
        assert_eq!(peek(&message(1, &[(USERNAME, b"\xff:x")])), None);
    }

    #[test]
    fn responses_carry_their_transaction() {
        for (kind, success) in [(0x0101, true), (0x0111, false)] {
            let expected = StunPeek::Response {
                transaction: [7; 12],
                success,
            };
            assert_eq!(peek(&message(kind, &[])), Some(expected));
        }
        assert_eq!(peek(&message(0x0011, &[])), Some(StunPeek::Other));
    }

    #[test]
    fn what_begins_like_dtls_is_not_stun() {
        assert_eq!(peek(&message(0x0411, &[])), None);
        assert_eq!(peek(&message(0x1601, &[])), None);
    }

    #[test]
    fn lies_about_length_are_refused() {
        let good = message(1, &[(USERNAME, b"a:b")]);
        for cut in 0..good.len() {
            assert_eq!(peek(&good[..cut]), None);
        }
        let mut longer = good.clone();
        longer[3] = longer[3].wrapping_add(4);
        assert_eq!(peek(&longer), None);
        let mut inner = good;
        inner[23] = 200;
        assert_eq!(peek(&inner), None);
    }
}
