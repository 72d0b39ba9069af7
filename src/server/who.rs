//! Who is one client to a limit.

use std::net::{IpAddr, Ipv6Addr};

/// Who shares a limit: an IPv4 address, or an IPv6 network of 64 bits, which one customer has at least.
pub(in crate::server) fn who(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
    }
}
