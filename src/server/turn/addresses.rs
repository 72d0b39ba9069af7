//! Policy for peer addresses of relays.
//!
//! A relay that sends anywhere is a way into its own network. By default it therefore sends to public addresses only,
//! and checks IPv4 addresses embedded in IPv6 as well: `::ffff:127.0.0.1` is loopback in whatever form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use crate::server::cidr::Cidr;

/// Peers that clients may reach through the relay. Default: public addresses only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerPolicy {
    /// Ranges that are reachable although they are not public.
    pub allow: Vec<Cidr>,
    /// Ranges that are not reachable, even if public or allowed.
    pub deny: Vec<Cidr>,
    /// Addresses of this machine, public or not. They are reachable unless denied, but only on
    /// [`own_ports`](Self::own_ports) and on this server's own relays, unless [allowed](Self::allow) explicitly: a
    /// relay must not bypass the firewall of other services on this machine.
    pub own: Vec<IpAddr>,
    /// UDP ports of this machine that peers may be reached on.
    pub own_ports: Vec<u16>,
}

impl PeerPolicy {
    /// Adds a range to [`allow`](Self::allow).
    #[must_use]
    pub fn allow(mut self, range: Cidr) -> Self {
        self.allow.push(range);
        self
    }

    /// Adds a range to [`deny`](Self::deny).
    #[must_use]
    pub fn deny(mut self, range: Cidr) -> Self {
        self.deny.push(range);
        self
    }

    /// Returns `true` if the relay may send to this address. An IPv6 address that embeds an IPv4 address has to be
    /// permitted in both forms. An IPv4-mapped one (`::ffff:0:0/96`) is never permitted: clients can request an IPv4
    /// relay instead.
    pub fn permits(&self, ip: IpAddr) -> bool {
        let IpAddr::V6(v6) = ip else {
            return self.permits_as_is(ip);
        };
        if v6.to_ipv4_mapped().is_some() {
            return false;
        }
        let inside = embedded(v6);
        self.permits_as_is(ip)
            && inside
                .into_iter()
                .flatten()
                .all(|v4| self.permits_as_is(v4.into()) && !self.own.contains(&v4.into()))
    }

    /// Returns `true` if this port of a permitted address may be reached. `is_relay`: it is a relay of this server.
    pub(super) fn permits_port(&self, peer: SocketAddr, is_relay: bool) -> bool {
        !self.own.contains(&peer.ip())
            || is_relay
            || self.own_ports.contains(&peer.port())
            || self.allow.iter().any(|range| range.contains(peer.ip()))
    }

    fn permits_as_is(&self, ip: IpAddr) -> bool {
        if self.deny.iter().any(|range| range.contains(ip)) {
            return false;
        }
        is_public(ip) || self.own.contains(&ip) || self.allow.iter().any(|range| range.contains(ip))
    }
}

/// Returns the IPv4 addresses that this one may lead to, through a translator or a tunnel.
fn embedded(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let s = ip.segments();
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        // Unspecified and loopback, which resemble IPv4-compatible addresses.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None, None],
        // NAT64 (RFC 6052), IPv4-compatible (RFC 4291 §2.5.5.1), IPv4-translated (RFC 2765).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low] => [v4(high, low), None],
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => [v4(high, low), None],
        // Teredo (RFC 4380): the server's address, and the client's with all bits inverted.
        [0x2001, 0, high, low, _, _, x, y] => [v4(high, low), v4(!x, !y)],
        // ISATAP (RFC 5214), in any network.
        [_, _, _, _, 0 | 0x0200, 0x5efe, high, low] => [v4(high, low), None],
        _ => [None, None],
    }
}

/// Returns `true` if this address is public, by the registries of special-purpose addresses (RFC 6890).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let special = match ip.octets() {
        // This network, private, loopback, link-local.
        [0 | 10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [169, 254, ..] => true,
        // Shared address space of providers (RFC 6598).
        [100, 64..=127, ..] => true,
        // Protocol assignments; 6to4 anycast.
        [192, 0, 0, _] | [192, 88, 99, _] => true,
        // Documentation, benchmarking.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18 | 19, ..] => true,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => true,
        _ => false,
    };
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        // NAT64, whose embedded address is checked separately; but not the local-use prefix (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => true,
        // Documentation; protocol assignments except Teredo, whose embedded addresses are checked.
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        [0x2001, 0, ..] => true,
        [0x2001, 1..=0x01ff, ..] => false,
        // Not global unicast: unspecified, loopback, unique local, link-local, multicast and others.
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(policy: &PeerPolicy, ip: &str) -> bool {
        policy.permits(ip.parse().unwrap())
    }

    #[test]
    fn public_addresses_only() {
        let policy = PeerPolicy::default();
        for ip in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "2001:4860::8888",
        ] {
            assert!(permits(&policy, ip), "{ip}");
        }
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "127.0.0.1",
            "127.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2001:db8::1",
            "2001:2::1",
            "3fff::1",
            "64:ff9b:1::1",
            "4000::1",
        ] {
            assert!(!permits(&policy, ip), "{ip}");
        }
    }

    /// CVE-2026-27624: deny lists bypassed by IPv4 addresses embedded in IPv6.
    #[test]
    fn cve_2026_27624_an_address_in_another_form_is_the_same_address() {
        let deny = |range: &str| PeerPolicy::default().deny(range.parse().unwrap());
        for policy in [
            PeerPolicy::default(),
            deny("127.0.0.0/8"),
            deny("0.0.0.0/0"),
        ] {
            for ip in [
                "::ffff:127.0.0.1",
                "::ffff:0.0.0.0",
                "::ffff:10.0.0.1",
                "::ffff:169.254.169.254",
                "::127.0.0.1",
                "::10.0.0.1",
                "::ffff:0:127.0.0.1",
                "64:ff9b::127.0.0.1",
                "64:ff9b::10.0.0.1",
                "64:ff9b::0.0.0.0",
                "64:ff9b::169.254.169.254",
                "2002:7f00:1::",
                "2002:a00:1::1",
                "2002:c0a8:1::1",
                // Teredo: 10.0.0.1 as the server; 127.0.0.1 as the client.
                "2001:0:a00:1::f5ff:fffe",
                "2001:0:101:101::80ff:fffe",
                // ISATAP in a public network.
                "2a00::5efe:7f00:1",
                "2a00::200:5efe:a00:1",
            ] {
                assert!(!permits(&policy, ip), "{ip}");
            }
        }
        // An address denied as IPv4 is denied through NAT64 as well.
        assert!(permits(&PeerPolicy::default(), "64:ff9b::1.1.1.1"));
        assert!(!permits(&deny("1.1.1.0/24"), "64:ff9b::1.1.1.1"));
        assert!(!permits(&deny("1.1.1.0/24"), "2002:101:101::1"));
        // Mapped addresses are never permitted, even those of public or allowed addresses.
        let allow = |range: &str| PeerPolicy::default().allow(range.parse().unwrap());
        assert!(!permits(&PeerPolicy::default(), "::ffff:1.1.1.1"));
        assert!(!permits(&allow("127.0.0.0/8"), "::ffff:127.0.0.1"));
        assert!(!permits(&allow("::/0"), "::ffff:127.0.0.1"));
        // Allowing an IPv6 form does not allow the embedded address.
        assert!(!permits(&allow("::/0"), "64:ff9b::127.0.0.1"));
        assert!(permits(&allow("127.0.0.0/8"), "64:ff9b::127.0.0.1"));
    }

    /// S8: this machine's own addresses are reachable on the ports for peers only.
    #[test]
    fn own_addresses_have_ports() {
        let policy = PeerPolicy {
            own: vec!["1.2.3.4".parse().unwrap(), "10.0.0.5".parse().unwrap()],
            own_ports: vec![5000],
            ..PeerPolicy::default()
        };
        let reaches = |policy: &PeerPolicy, peer: &str, is_relay| {
            let peer: SocketAddr = peer.parse().unwrap();
            policy.permits(peer.ip()) && policy.permits_port(peer, is_relay)
        };
        for ip in ["1.2.3.4", "10.0.0.5"] {
            assert!(reaches(&policy, &format!("{ip}:5000"), false));
            assert!(reaches(&policy, &format!("{ip}:49152"), true));
            assert!(!reaches(&policy, &format!("{ip}:53"), false));
        }
        assert!(reaches(&policy, "1.1.1.1:53", false));
        assert!(!reaches(&policy, "127.0.0.1:5000", false));
        // Nor in a form that a translator would reverse.
        assert!(!reaches(&policy, "[64:ff9b::1.2.3.4]:5000", false));
        let denied = policy.clone().deny("10.0.0.0/8".parse().unwrap());
        assert!(!reaches(&denied, "10.0.0.5:5000", false));
        let allowed = policy.allow("10.0.0.5".parse().unwrap());
        assert!(reaches(&allowed, "10.0.0.5:53", false));
    }

    #[test]
    fn allowed_and_denied() {
        let range = |text: &str| text.parse::<Cidr>().unwrap();
        let policy = PeerPolicy::default()
            .allow(range("10.0.0.0/8"))
            .deny(range("10.9.0.0/16"))
            .deny(range("1.1.1.1"));
        assert!(permits(&policy, "10.8.0.1"));
        assert!(!permits(&policy, "10.9.0.1"));
        assert!(!permits(&policy, "1.1.1.1"));
        assert!(permits(&policy, "1.1.1.2"));
        assert!(permits(&PeerPolicy::default().allow(range("::1")), "::1"));
    }

    #[test]
    fn ranges_are_parsed() {
        for text in [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "1.2.3.4/32",
            "::/0",
            "2001:db8::/32",
            "::1/128",
        ] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        assert_eq!("::1".parse::<Cidr>().unwrap().to_string(), "::1/128");
        for text in [
            "",
            "10",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "localhost",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
        assert!(
            "0.0.0.0/0"
                .parse::<Cidr>()
                .unwrap()
                .contains("255.1.1.1".parse().unwrap())
        );
        assert!(
            !"0.0.0.0/0"
                .parse::<Cidr>()
                .unwrap()
                .contains("::1".parse().unwrap())
        );
    }
}
