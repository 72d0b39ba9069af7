//! Selection of the local addresses that are offered as candidates.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::tcp::IceTcp;
use crate::proto::net::{InterfaceAddress, PortPolicy};

/// Configuration of candidate gathering.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GatherConfig {
    /// Offers loopback addresses. Off by default: they are reachable from this machine only.
    pub include_loopback: bool,
    /// Offers IPv4 addresses. On by default.
    pub ipv4: bool,
    /// Offers IPv6 addresses. On by default.
    pub ipv6: bool,
    /// Interfaces and addresses that may be used. All by default.
    pub filter: AddressFilter,
    /// Policy for the UDP port: the loop's shared port, or one per peer.
    pub port: PortPolicy,
    /// Maximum number of host candidates; the rest is dropped. 32 by default.
    pub max_candidates: usize,
    /// Public addresses of this machine that none of its interfaces has, because a NAT in front maps them 1:1, port by
    /// port, as on cloud machines. Each is offered as a server-reflexive candidate of the first host candidate of its
    /// family. None by default.
    pub external_addresses: Vec<IpAddr>,
    /// Hides interface addresses behind `.local` names, as browsers do for pages without microphone access (RFC 8828).
    /// Hosts on the same network resolve them by multicast DNS. Off by default.
    pub hide_addresses: bool,
    /// Offers host candidates over UDP. On by default; without it, only ICE-TCP and relays are left.
    pub udp: bool,
    /// ICE over TCP (RFC 6544), for networks that block UDP. Off by default. It is worse for media: a lost segment
    /// delays everything after it. TCP candidates have lower priorities than UDP candidates.
    pub tcp: IceTcp,
    /// Maximum time to wait for STUN and TURN servers. Servers that have not answered by then are reported as failed,
    /// and gathering completes. 10 s by default.
    pub timeout: Duration,
}

impl Default for GatherConfig {
    fn default() -> Self {
        Self {
            include_loopback: false,
            ipv4: true,
            ipv6: true,
            filter: AddressFilter::default(),
            port: PortPolicy::default(),
            max_candidates: 32,
            external_addresses: Vec::new(),
            hide_addresses: false,
            udp: true,
            tcp: IceTcp::Off,
            timeout: Duration::from_secs(10),
        }
    }
}

/// Filter for interfaces and addresses. Empty lists match everything.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AddressFilter {
    /// Use only interfaces with these names, such as `eth0`. A trailing `*` matches any suffix.
    pub interfaces: Vec<String>,
    /// Never use interfaces with these names, such as `docker*`.
    pub not_interfaces: Vec<String>,
    /// Use only these addresses.
    pub addresses: Vec<IpAddr>,
    /// Never use these addresses.
    pub not_addresses: Vec<IpAddr>,
}

impl AddressFilter {
    /// Returns `true` if this address on this interface may be used.
    pub fn accepts(&self, interface: &str, address: IpAddr) -> bool {
        let named = |names: &[String]| names.iter().any(|n| matches_name(n, interface));
        (self.interfaces.is_empty() || named(&self.interfaces))
            && !named(&self.not_interfaces)
            && (self.addresses.is_empty() || self.addresses.contains(&address))
            && !self.not_addresses.contains(&address)
    }
}

fn matches_name(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

impl GatherConfig {
    /// Returns the addresses that become host candidates, most useful first.
    pub(super) fn choose(&self, addresses: &[InterfaceAddress]) -> Vec<SocketAddr> {
        let mut hosts: Vec<SocketAddr> = Vec::new();
        for a in addresses {
            let usable =
                self.is_usable(a.address.ip()) && self.filter.accepts(&a.interface, a.address.ip());
            if usable && !hosts.contains(&a.address) {
                hosts.push(a.address);
            }
        }
        // Loopback last: it is the least useful to the remote peer.
        hosts.sort_by_key(|a| a.ip().is_loopback());
        hosts.truncate(self.max_candidates);
        hosts
    }

    fn is_usable(&self, ip: IpAddr) -> bool {
        if ip.is_loopback() && !self.include_loopback {
            return false;
        }
        match ip {
            IpAddr::V4(ip) => {
                self.ipv4
                    && !ip.is_link_local()
                    && !ip.is_unspecified()
                    && !ip.is_multicast()
                    && !ip.is_broadcast()
            }
            // A link-local address is meaningless without its zone, which a candidate cannot carry (RFC 8445 §5.1.1.1).
            IpAddr::V6(ip) => {
                self.ipv6
                    && !ip.is_unicast_link_local()
                    && !ip.is_unspecified()
                    && !ip.is_multicast()
                    && ip.to_ipv4_mapped().is_none()
            }
        }
    }
}
