//! Host candidates for UDP and for TCP (RFC 6544 §4.1, §5.1).

use std::net::SocketAddr;

use super::{GatherOutput, Gatherer, Hosts, LocalCandidate, LocalKind};
use crate::proto::ice::error::IceCandidateError;
use crate::proto::ice::tcp::{ACTIVE_PORT, TcpPaths, TcpType};
use crate::proto::net::{NetworkChange, SocketKind, SocketReply, SocketRequest};

impl Gatherer {
    /// Asks for the sockets of host candidates.
    pub(super) fn ask_for_hosts(&mut self) {
        self.hosts = Hosts::Known(Vec::new());
        if self.config.udp {
            self.hosts = Hosts::Asked;
            self.out.push_back(GatherOutput::OpenSocket(SocketRequest {
                id: Self::HOST_SOCKET,
                kind: SocketKind::Datagrams(self.config.port),
            }));
        }
        let tcp = self.config.tcp;
        if tcp.is_active() || tcp.is_passive() {
            self.tcp_hosts = Hosts::Asked;
            let listen = tcp.is_passive();
            self.out.push_back(GatherOutput::OpenSocket(SocketRequest {
                id: TcpPaths::SOCKET,
                kind: SocketKind::IceTcp { listen },
            }));
        }
    }

    pub(super) fn on_tcp_hosts(&mut self, reply: &SocketReply) {
        if self.tcp_hosts != Hosts::Asked {
            return;
        }
        let mut hosts = Vec::new();
        match reply {
            SocketReply::Opened(addresses) => hosts = self.config.choose(addresses),
            SocketReply::Failed(why) => {
                let why = format!("no candidates for ICE-TCP: {why}");
                self.fail(IceCandidateError::local(why));
            }
        }
        for host in &hosts {
            self.add_tcp_host(*host);
        }
        self.tcp_hosts = Hosts::Known(hosts);
    }

    fn add_tcp_host(&mut self, host: SocketAddr) {
        if self.config.tcp.is_active() {
            self.add(LocalCandidate {
                address: SocketAddr::new(host.ip(), ACTIVE_PORT),
                kind: LocalKind::HostTcp(TcpType::Active),
            });
        }
        if self.config.tcp.is_passive() {
            self.add(LocalCandidate {
                address: host,
                kind: LocalKind::HostTcp(TcpType::Passive),
            });
        }
    }

    /// The addresses of the machine have changed. Returns whether ours have. They are those of the UDP socket, so
    /// without one it is not noticed what is new.
    pub(super) fn change_tcp_hosts(&mut self, change: &NetworkChange<'_>) -> bool {
        let Hosts::Known(hosts) = &mut self.tcp_hosts else {
            return false;
        };
        let Some(port) = hosts.first().map(SocketAddr::port) else {
            return false;
        };
        let before = hosts.clone();
        hosts.retain(|h| !change.gone.contains(&h.ip()));
        let now = self.config.choose(change.addresses);
        let mut new: Vec<_> = now.iter().map(|a| SocketAddr::new(a.ip(), port)).collect();
        new.retain(|a| !before.contains(a));
        hosts.extend(&new);
        let is_gone = |c: &LocalCandidate| {
            matches!(c.kind, LocalKind::HostTcp(_)) && change.gone.contains(&c.address.ip())
        };
        let lost: Vec<_> = self.found.extract_if(.., |c| is_gone(c)).collect();
        let has_changed = !lost.is_empty() || !new.is_empty();
        self.out.extend(lost.into_iter().map(GatherOutput::Lost));
        for host in new {
            self.add_tcp_host(host);
        }
        has_changed
    }
}
