//! IP address ranges in CIDR notation.

use std::net::IpAddr;
use std::str::FromStr;

/// A range of IP addresses, such as `10.0.0.0/8` or `2001:db8::/32`; a single address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Creates the range of addresses that share their first `prefix` bits with `base`.
    ///
    /// # Errors
    ///
    /// Returns an error if `prefix` exceeds the number of bits of the address family.
    pub fn new(base: IpAddr, prefix: u8) -> Result<Self, String> {
        let most = if base.is_ipv4() { 32 } else { 128 };
        if prefix > most {
            return Err(format!("{base}/{prefix}: the prefix is over {most}"));
        }
        Ok(Self { base, prefix })
    }

    /// Returns `true` if this address is in the range. An IPv4 range holds no IPv6 address, and vice versa.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.base, ip) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => same_prefix(
                u32::from(base).into(),
                u32::from(ip).into(),
                32,
                self.prefix,
            ),
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                same_prefix(base.into(), ip.into(), 128, self.prefix)
            }
            _ => false,
        }
    }
}

fn same_prefix(a: u128, b: u128, bits: u32, prefix: u8) -> bool {
    let differing = bits.saturating_sub(prefix.into());
    (a ^ b).checked_shr(differing).unwrap_or(0) == 0
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix)),
            None => (text, None),
        };
        let wanted = "expected an address or a range, for example 10.0.0.0/8 or 2001:db8::/32";
        let ip: IpAddr = ip.parse().map_err(|_| format!("{text:?}: {wanted}"))?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| format!("{text:?}: {wanted}"))?,
            None => most,
        };
        Self::new(ip, prefix)
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}
