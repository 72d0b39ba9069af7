//! Gathering: from "I need to be reachable" to a list of candidates.
//!
//! ```text
//!          start                 socket opened              all sources done
//!  New ───────────► Gathering ──────────────────► Gathering ────────────────► Complete
//!                   OpenSocket                    host candidates
//! ```
//!
//! Host candidates are all there is yet; server-reflexive and relayed ones are further sources of the
//! same machine: each holds `Complete` back until it has answered or timed out.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::proto::net::{InterfaceAddress, PortPolicy, Protocol};
use crate::proto::net::{SocketId, SocketReply, SocketRequest};

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

/// What the gatherer has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatherOutput {
    /// A socket is needed; the reply goes to [`Gatherer::handle_socket`].
    OpenSocket(SocketRequest),
    /// A host address that peers may be told of.
    Host(SocketAddr),
    /// A source of candidates failed; the text says which and why. Gathering goes on without it.
    Failed(String),
    /// No more will come in this generation.
    Complete,
}

/// The gathering machine of one peer.
#[derive(Debug)]
pub struct Gatherer {
    config: GatherConfig,
    state: State,
    hosts: Vec<SocketAddr>,
    out: VecDeque<GatherOutput>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    AwaitSocket,
    Complete,
}

impl Gatherer {
    /// The socket that host candidates stand on.
    pub const HOST_SOCKET: SocketId = SocketId(0);

    /// A gatherer that has not begun.
    pub fn new(config: GatherConfig) -> Self {
        Self {
            config,
            state: State::New,
            hosts: Vec::new(),
            out: VecDeque::new(),
        }
    }

    /// Begins, or begins a new generation: what was found already is said again, because it has to be
    /// signalled anew under the new ufrag (RFC 8445 §9).
    pub fn start(&mut self) {
        match self.state {
            State::New => {
                self.state = State::AwaitSocket;
                self.out.push_back(GatherOutput::OpenSocket(SocketRequest {
                    id: Self::HOST_SOCKET,
                    protocol: Protocol::Udp,
                    port: self.config.port,
                }));
            }
            // The candidates come when the socket does.
            State::AwaitSocket => {}
            State::Complete => self.announce(),
        }
    }

    /// The answer to an [`OpenSocket`](GatherOutput::OpenSocket). An answer that was not asked for is
    /// passed over.
    pub fn handle_socket(&mut self, id: SocketId, reply: &SocketReply) {
        if self.state != State::AwaitSocket || id != Self::HOST_SOCKET {
            return;
        }
        self.state = State::Complete;
        match reply {
            SocketReply::Opened(addresses) => {
                self.hosts = self.choose(addresses);
                if self.hosts.is_empty() {
                    self.out
                        .push_back(GatherOutput::Failed(no_address(addresses)));
                }
            }
            SocketReply::Failed(why) => {
                let why = format!("no UDP socket for host candidates: {why}");
                self.out.push_back(GatherOutput::Failed(why));
            }
        }
        self.announce();
    }

    /// The next thing to do; `None` when there is nothing until the next call.
    pub fn poll_output(&mut self) -> Option<GatherOutput> {
        self.out.pop_front()
    }

    /// Whether this generation is complete.
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    fn announce(&mut self) {
        self.out
            .extend(self.hosts.iter().copied().map(GatherOutput::Host));
        self.out.push_back(GatherOutput::Complete);
    }

    fn choose(&self, addresses: &[InterfaceAddress]) -> Vec<SocketAddr> {
        let mut hosts: Vec<SocketAddr> = Vec::new();
        for a in addresses {
            let usable = self.is_usable(a.address.ip())
                && self.config.filter.accepts(&a.interface, a.address.ip());
            if usable && !hosts.contains(&a.address) {
                hosts.push(a.address);
            }
        }
        // Loopback last: it is the least likely to be of use to the other side.
        hosts.sort_by_key(|a| a.ip().is_loopback());
        hosts.truncate(self.config.max_candidates);
        hosts
    }

    fn is_usable(&self, ip: IpAddr) -> bool {
        if ip.is_loopback() && !self.config.include_loopback {
            return false;
        }
        match ip {
            IpAddr::V4(ip) => {
                self.config.ipv4
                    && !ip.is_link_local()
                    && !ip.is_unspecified()
                    && !ip.is_multicast()
                    && !ip.is_broadcast()
            }
            // A link-local address means nothing without a zone, which a candidate cannot carry
            // (RFC 8445 §5.1.1.1).
            IpAddr::V6(ip) => {
                self.config.ipv6
                    && !ip.is_unicast_link_local()
                    && !ip.is_unspecified()
                    && !ip.is_multicast()
                    && ip.to_ipv4_mapped().is_none()
            }
        }
    }
}

fn no_address(seen: &[InterfaceAddress]) -> String {
    let seen: Vec<String> = seen
        .iter()
        .map(|a| format!("{} {}", a.interface, a.address.ip()))
        .collect();
    format!(
        "no usable address for host candidates; the interfaces have: [{}]. \
         Check the address filter, or set include_loopback for a peer on this machine",
        seen.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[(&str, &str)]) -> SocketReply {
        SocketReply::Opened(
            list.iter()
                .map(|(name, a)| InterfaceAddress {
                    interface: (*name).into(),
                    address: a.parse().unwrap(),
                })
                .collect(),
        )
    }

    fn gather(config: GatherConfig, reply: &SocketReply) -> Vec<GatherOutput> {
        let mut g = Gatherer::new(config);
        g.start();
        assert!(matches!(g.poll_output(), Some(GatherOutput::OpenSocket(_))));
        assert_eq!(g.poll_output(), None);
        g.handle_socket(Gatherer::HOST_SOCKET, reply);
        std::iter::from_fn(|| g.poll_output()).collect()
    }

    fn hosts(out: &[GatherOutput]) -> Vec<String> {
        out.iter()
            .filter_map(|o| match o {
                GatherOutput::Host(a) => Some(a.to_string()),
                _ => None,
            })
            .collect()
    }

    fn machine() -> SocketReply {
        addresses(&[
            ("lo", "127.0.0.1:9"),
            ("lo", "[::1]:9"),
            ("eth0", "192.0.2.2:9"),
            ("eth0", "[fd00::2]:9"),
            ("eth0", "[fe80::1]:9"),
            ("docker0", "172.17.0.1:9"),
        ])
    }

    #[test]
    fn offers_what_others_can_reach() {
        let out = gather(GatherConfig::default(), &machine());
        assert_eq!(hosts(&out), ["192.0.2.2:9", "[fd00::2]:9", "172.17.0.1:9"]);
        assert_eq!(out.last(), Some(&GatherOutput::Complete));
    }

    #[test]
    fn filters_by_interface_address_and_family() {
        let mut config = GatherConfig {
            include_loopback: true,
            ipv6: false,
            ..Default::default()
        };
        config.filter.not_interfaces = vec!["docker*".into()];
        assert_eq!(
            hosts(&gather(config.clone(), &machine())),
            ["192.0.2.2:9", "127.0.0.1:9"]
        );
        config.filter.interfaces = vec!["lo".into()];
        assert_eq!(hosts(&gather(config.clone(), &machine())), ["127.0.0.1:9"]);
        config.filter = AddressFilter::default();
        config.filter.addresses = vec!["172.17.0.1".parse().unwrap()];
        assert_eq!(hosts(&gather(config, &machine())), ["172.17.0.1:9"]);
    }

    #[test]
    fn says_why_there_is_nothing_to_offer() {
        let out = gather(
            GatherConfig::default(),
            &addresses(&[("lo", "127.0.0.1:9")]),
        );
        let GatherOutput::Failed(why) = &out[0] else {
            panic!("{out:?}")
        };
        assert!(why.contains("lo 127.0.0.1") && why.contains("include_loopback"));
        assert_eq!(out[1], GatherOutput::Complete);
        let out = gather(
            GatherConfig::default(),
            &SocketReply::Failed("port taken".into()),
        );
        assert!(matches!(&out[0], GatherOutput::Failed(w) if w.contains("port taken")));
    }

    #[test]
    fn a_new_generation_says_it_all_again() {
        let mut g = Gatherer::new(GatherConfig::default());
        g.start();
        g.handle_socket(Gatherer::HOST_SOCKET, &machine());
        while g.poll_output().is_some() {}
        g.start();
        let again: Vec<_> = std::iter::from_fn(|| g.poll_output()).collect();
        assert_eq!(hosts(&again).len(), 3);
        assert_eq!(again.last(), Some(&GatherOutput::Complete));
    }

    #[test]
    fn never_more_than_the_limit() {
        let config = GatherConfig {
            max_candidates: 2,
            ..Default::default()
        };
        assert_eq!(hosts(&gather(config, &machine())).len(), 2);
    }
}
