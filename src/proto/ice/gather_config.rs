//! Which addresses of this machine are offered.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::tcp::IceTcp;
use crate::proto::net::{InterfaceAddress, PortPolicy};

/// What may become a host candidate.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GatherConfig {
    /// Whether loopback addresses are offered. Off by default: they reach nobody but this machine.
    pub include_loopback: bool,
    /// Whether IPv4 addresses are offered. On by default.
    pub ipv4: bool,
    /// Whether IPv6 addresses are offered. On by default.
    pub ipv6: bool,
    /// Which interfaces and addresses are used. All by default.
    pub filter: AddressFilter,
    /// Whose port is used.
    pub port: PortPolicy,
    /// At most this many host candidates; the rest is dropped. 32 by default.
    pub max_candidates: usize,
    /// Public addresses of this machine that its interfaces do not have: a NAT in front passes everything
    /// on, port by port (1:1), as with cloud machines. Each is offered for the first host candidate of its
    /// family. None by default.
    pub external_addresses: Vec<IpAddr>,
    /// Whether the addresses of interfaces are hidden behind `.local` names, as browsers do for pages without
    /// a microphone (RFC 8828). Off by default. Who is in the same network finds them by multicast DNS.
    pub hide_addresses: bool,
    /// Whether host candidates have UDP. On by default; off, ICE-TCP and relays are what is left.
    pub udp: bool,
    /// ICE over TCP (RFC 6544), for networks that let no UDP through. Off by default. It is worse for media: what
    /// is lost holds up what follows. Candidates have lower priorities than those of UDP.
    pub tcp: IceTcp,
    /// How long servers are waited for; whoever has not answered then has failed, and gathering is
    /// complete. 10 s by default.
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

/// Chooses interfaces and addresses. Empty lists mean "all".
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AddressFilter {
    /// Only interfaces with these names, as `eth0`. A trailing `*` matches any ending.
    pub interfaces: Vec<String>,
    /// Never interfaces with these names, as `docker*`.
    pub not_interfaces: Vec<String>,
    /// Only these addresses.
    pub addresses: Vec<IpAddr>,
    /// Never these addresses.
    pub not_addresses: Vec<IpAddr>,
}

impl AddressFilter {
    /// Whether this address on this interface may be used.
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
    /// The addresses that become host candidates, the likeliest to be of use first.
    pub(super) fn choose(&self, addresses: &[InterfaceAddress]) -> Vec<SocketAddr> {
        let mut hosts: Vec<SocketAddr> = Vec::new();
        for a in addresses {
            let usable =
                self.is_usable(a.address.ip()) && self.filter.accepts(&a.interface, a.address.ip());
            if usable && !hosts.contains(&a.address) {
                hosts.push(a.address);
            }
        }
        // Loopback last: it is the least likely to be of use to the other side.
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
            // A link-local address means nothing without a zone, which a candidate cannot carry
            // (RFC 8445 §5.1.1.1).
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
