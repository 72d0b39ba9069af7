//! Foundations and priorities of our candidates (RFC 8445 §5.1, RFC 6544 §4.2).

use std::net::{IpAddr, SocketAddr};

use super::TcpType;

/// Returns the foundation for this kind and address (RFC 8445 §5.1.1.3), from the characters that are allowed (RFC 8839
/// §5.1).
pub(crate) fn foundation(kind: &str, base: IpAddr) -> String {
    let (family, bits) = match base {
        IpAddr::V4(ip) => (4, u64::from(u32::from(ip))),
        IpAddr::V6(ip) => (6, {
            let bits = u128::from(ip);
            (bits >> 64) as u64 ^ (bits as u64).rotate_left(17)
        }),
    };
    format!("{kind}{family}{bits:x}")
}

/// Returns the priority of a TCP candidate. The local preference is that of RFC 6544 §4.2: the direction of the
/// connection first, then the address family.
pub(crate) fn tcp_priority(type_preference: u32, address: SocketAddr, tcp_type: TcpType) -> u32 {
    let direction = match tcp_type {
        TcpType::Active => 6,
        TcpType::Passive => 4,
    };
    let other = if address.is_ipv6() { 8_191 } else { 8_190 };
    type_preference << 24 | (direction << 13 | other) << 8 | 255
}
