//! STUN messages created and signed on behalf of the fuzzer.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use turn_types::stun::attribute::{AttributeType, RawAttribute};
use turn_types::stun::message::{
    IntegrityAlgorithm, IntegrityKey, Message, MessageType, MessageWriteVec, TransactionId,
};
use turn_types::stun::prelude::{MessageWrite, MessageWriteExt};

use super::Bytes;

/// A message under construction.
pub(super) struct Invented {
    message: MessageWriteVec,
    id: TransactionId,
}

impl Invented {
    pub fn new(kind: u16, id: u128) -> Option<Self> {
        let kind = MessageType::from_bytes(&kind.to_be_bytes()).ok()?;
        let id = TransactionId::from(id);
        let message = Message::builder(kind, id, MessageWriteVec::new());
        Some(Self { message, id })
    }

    /// Adds an attribute; the library refuses some duplicates, and attributes after the signature. Signatures and the
    /// fingerprint are left to it.
    pub fn add(&mut self, kind: u16, value: &[u8]) {
        if matches!(kind, 0x0008 | 0x001C | 0x8028) {
            return;
        }
        let raw = RawAttribute::new(AttributeType::from(kind), value);
        let _ = self.message.add_attribute(&raw);
    }

    /// Adds an XORed address.
    pub fn add_address(&mut self, kind: u16, address: SocketAddr) {
        self.add(kind, &xored(address, u128::from(self.id)));
    }

    pub fn sign(&mut self, key: &IntegrityKey, algorithm: IntegrityAlgorithm) {
        let _ = self.message.add_message_integrity_with_key(key, algorithm);
    }

    /// Adds up to three attributes chosen by the fuzzer.
    pub fn add_some(&mut self, bytes: &mut Bytes<'_>) {
        for _ in 0..bytes.byte() % 4 {
            const KNOWN: [u16; 22] = [
                0x0001, 0x0006, 0x0009, 0x000A, 0x000C, 0x000D, 0x0012, 0x0013, 0x0014, 0x0015,
                0x0016, 0x0017, 0x0018, 0x0019, 0x001A, 0x001D, 0x0020, 0x0022, 0x0024, 0x0025,
                0x802A, 0x8023,
            ];
            let kind = match bytes.byte() {
                255 => bytes.word(),
                n => KNOWN[usize::from(n) % KNOWN.len()],
            };
            let control = bytes.byte();
            match control {
                // Addresses are hard to guess.
                0xE0.. => self.add_address(kind, any_address(bytes)),
                length => self.add(kind, bytes.take(usize::from(length))),
            }
        }
    }

    pub fn finish(mut self, fingerprint: bool) -> Vec<u8> {
        if fingerprint {
            let _ = self.message.add_fingerprint();
        }
        self.message.finish()
    }
}

fn xored(address: SocketAddr, id: u128) -> Vec<u8> {
    const COOKIE: u32 = 0x2112_A442;
    let mask = u128::from(COOKIE) << 96 | id;
    let port = address.port() ^ (COOKIE >> 16) as u16;
    let mut value = vec![0, if address.is_ipv4() { 1 } else { 2 }];
    value.extend(port.to_be_bytes());
    match address {
        SocketAddr::V4(a) => value.extend((u32::from(*a.ip()) ^ COOKIE).to_be_bytes()),
        SocketAddr::V6(a) => value.extend((u128::from(*a.ip()) ^ mask).to_be_bytes()),
    }
    value
}

/// Public addresses, private ones, and disguised private ones.
pub(super) fn any_address(bytes: &mut Bytes<'_>) -> SocketAddr {
    let v4 = [
        Ipv4Addr::new(1, 2, 3, 4),
        Ipv4Addr::new(8, 8, 8, 8),
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::new(10, 0, 0, 1),
        Ipv4Addr::new(169, 254, 169, 254),
        Ipv4Addr::UNSPECIFIED,
    ];
    let choice = bytes.byte();
    let ip = v4[usize::from(choice & 7) % v4.len()];
    let inside = ip.to_bits();
    let (high, low) = ((inside >> 16) as u16, inside as u16);
    let port = 4000 + u16::from(bytes.byte() % 4);
    match choice >> 3 & 7 {
        0..3 => (ip, port).into(),
        3 => (ip.to_ipv6_mapped(), port).into(),
        4 => (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low), port).into(),
        5 => (Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1), port).into(),
        6 => (Ipv6Addr::new(0x2606, 0, 0, 0, 0, 0, 0, 9), port).into(),
        _ => (Ipv6Addr::from([bytes.byte(); 16]), port).into(),
    }
}
