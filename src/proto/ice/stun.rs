//! Minimal STUN (RFC 8489) reader: finds the recipient of a message without parsing all of it.

use std::net::SocketAddr;
use std::ops::Range;

/// Information in a STUN message that identifies its recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StunPeek<'a> {
    /// A binding request. The part of its USERNAME before the colon is the ufrag of the receiving peer (RFC 8445
    /// §7.2.2).
    Request {
        /// The receiver's ufrag.
        local_ufrag: &'a str,
    },
    /// A binding response, success or error. It belongs to the peer that sent the request.
    Response {
        /// The transaction id of the request.
        transaction: [u8; 12],
        /// `true` for a success response.
        success: bool,
    },
    /// Anything else: an indication, or another method.
    Other,
}

/// Returns the transaction id if `packet` is a binding request.
pub fn request_transaction(packet: &[u8]) -> Option<[u8; 12]> {
    match message_type(packet)? {
        BINDING_REQUEST => transaction_id(packet),
        _ => None,
    }
}

/// Returns the transaction id if `packet` is a response to a binding request, success or error.
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

/// Returns MAPPED-ADDRESS, sent by servers that do not support XOR-MAPPED-ADDRESS (RFC 8489 §14.1).
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

/// Returns `true` if the first byte is in the range of STUN (RFC 7983 §7).
pub fn is_stun(packet: &[u8]) -> bool {
    matches!(packet.first(), Some(0..=3))
}

/// Returns `true` if MESSAGE-INTEGRITY is the first attribute. No valid connectivity check or response is like that:
/// they carry a USERNAME, an address or an error code before it (RFC 8445 §7.2.2, RFC 8489 §14.5). The core's parser
/// takes such a message for an unsigned one and then panics when it verifies the signature (docs/upstream.md).
pub(crate) fn begins_with_integrity(packet: &[u8]) -> bool {
    packet.get(HEADER..HEADER + 2) == Some(&MESSAGE_INTEGRITY.to_be_bytes())
}

/// Classifies a STUN message. Returns `None` if it is not STUN or its length field is wrong.
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
const ERROR_CODE: u16 = 0x0009;
pub(crate) const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
pub(crate) const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;

/// Comprehension-required attributes (below 0x8000) of RFC 8489 and RFC 8445 that are understood in a binding request.
const UNDERSTOOD: &[u16] = &[
    MAPPED_ADDRESS,
    USERNAME,
    MESSAGE_INTEGRITY,
    ERROR_CODE,
    UNKNOWN_ATTRIBUTES,
    // REALM, NONCE.
    0x0014,
    0x0015,
    MESSAGE_INTEGRITY_SHA256,
    // PASSWORD-ALGORITHM, USERHASH, XOR-MAPPED-ADDRESS.
    0x001D,
    0x001E,
    0x0020,
    PRIORITY,
    USE_CANDIDATE,
];

/// Maximum number of unknown attributes listed in an error response, so that it does not grow with the request.
const MAX_UNKNOWN: usize = 8;

/// Returns the message type if the cookie and the length are valid.
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

/// Returns the value of the first attribute of this type (RFC 8489 §14).
fn attribute(packet: &[u8], wanted: u16) -> Option<&[u8]> {
    packet.get(attribute_range(packet, wanted)?)
}

/// Returns the position of the value of the first attribute of this type.
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

/// Iterates over the attributes before MESSAGE-INTEGRITY, by type and position; later ones are not covered by it (RFC
/// 8489 §14.5).
fn signed_attributes(packet: &[u8]) -> impl Iterator<Item = (u16, Range<usize>)> + '_ {
    let mut at = HEADER;
    std::iter::from_fn(move || {
        let [t0, t1, l0, l1] = *packet.get(at..at + 4)?.first_chunk()?;
        let kind = u16::from_be_bytes([t0, t1]);
        let value = at + 4..at + 4 + usize::from(u16::from_be_bytes([l0, l1]));
        at = value.end.next_multiple_of(4);
        let is_covered = kind != MESSAGE_INTEGRITY && kind != MESSAGE_INTEGRITY_SHA256;
        (is_covered && value.end <= packet.len()).then_some((kind, value))
    })
}

/// Returns `true` for a binding request that is signed and has no PRIORITY.
pub(crate) fn lacks_priority(packet: &[u8]) -> bool {
    message_type(packet) == Some(BINDING_REQUEST)
        && attribute_range(packet, MESSAGE_INTEGRITY).is_some()
        && signed_attributes(packet).all(|(kind, _)| kind != PRIORITY)
}

/// Returns the comprehension-required attributes of a binding request that are not understood, at most 8 (RFC 8489
/// §6.3.1).
pub(crate) fn unknown_attributes(packet: &[u8]) -> Vec<u16> {
    if message_type(packet) != Some(BINDING_REQUEST) {
        return Vec::new();
    }
    let mut unknown: Vec<u16> = Vec::new();
    for (kind, _) in signed_attributes(packet) {
        let is_unknown = kind < 0x8000 && !UNDERSTOOD.contains(&kind);
        if is_unknown && !unknown.contains(&kind) && unknown.len() < MAX_UNKNOWN {
            unknown.push(kind);
        }
    }
    unknown
}

/// Returns `true` if MESSAGE-INTEGRITY is valid (RFC 8489 §14.5); `hmac` computes HMAC-SHA1 with the password as key.
pub(crate) fn is_signed(packet: &[u8], hmac: impl Fn(&[&[u8]]) -> [u8; 20]) -> bool {
    let Some(value) = attribute_range(packet, MESSAGE_INTEGRITY) else {
        return false;
    };
    let (Ok(length), Some(shown)) = (u16::try_from(value.end - HEADER), packet.get(value.clone()))
    else {
        return false;
    };
    let covered = &packet[4..value.start - 4];
    let right = hmac(&[&packet[..2], &length.to_be_bytes(), covered]);
    let differing = right.iter().zip(shown).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differing) == 0 && shown.len() == right.len()
}

/// A STUN message under construction.
#[derive(Debug)]
pub(crate) struct Builder(Vec<u8>);

impl Builder {
    /// Starts a message with the header and the signed attributes of this one.
    pub fn like(packet: &[u8]) -> Option<Self> {
        let last = signed_attributes(packet).last();
        let end = last.map_or(HEADER, |(_, value)| value.end.next_multiple_of(4));
        packet.get(..end).map(|signed| Self(signed.to_vec()))
    }

    /// Starts the error response to a binding request.
    pub fn error(request: &[u8], code: u16, reason: &str) -> Option<Self> {
        let mut message = BINDING_ERROR.to_be_bytes().to_vec();
        message.extend(request.get(2..HEADER)?);
        let mut builder = Self(message);
        let [class, number] = [code / 100, code % 100].map(|n| n.to_be_bytes()[1]);
        let value = [&[0, 0, class, number], reason.as_bytes()].concat();
        builder.attribute(ERROR_CODE, &value);
        Some(builder)
    }

    /// Adds an attribute. Values longer than 65 535 bytes are truncated.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        let value = &value[..usize::from(length)];
        self.0.extend(kind.to_be_bytes());
        self.0.extend(length.to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// Returns the message with MESSAGE-INTEGRITY and FINGERPRINT (RFC 8489 §14.5, §14.7).
    pub fn sign(mut self, hmac: impl Fn(&[&[u8]]) -> [u8; 20]) -> Vec<u8> {
        // The length field includes the attribute being computed, which has 24 or 8 bytes.
        self.set_length(24);
        let integrity = hmac(&[&self.0]);
        self.attribute(MESSAGE_INTEGRITY, &integrity);
        self.set_length(8);
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&self.0) ^ 0x5354_554E;
        self.attribute(FINGERPRINT, &crc.to_be_bytes());
        self.0
    }

    fn set_length(&mut self, more: usize) {
        let length = u16::try_from(self.0.len() - HEADER + more).unwrap_or(u16::MAX);
        self.0[2..4].copy_from_slice(&length.to_be_bytes());
    }
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
