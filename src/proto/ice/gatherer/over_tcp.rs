//! Host candidates for UDP and for TCP (RFC 6544 §4.1, §5.1).
//!
//! TCP host candidates carry the listening port; a peer that only connects uses port 9.

use std::net::SocketAddr;

use super::{GatherOutput, Gatherer, Hosts, LocalCandidate, LocalKind};
use crate::proto::ice::bindings::BindingTransport;
use crate::proto::ice::error::IceCandidateError;
use crate::proto::ice::tcp::{ACTIVE_PORT, TcpPaths, TcpType};
use crate::proto::net::{NetworkChange, Protocol, SocketKind, SocketReply, SocketRequest};

impl Gatherer {
    /// Requests the sockets of host candidates.
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
        self.add_external_tcp(&hosts);
        self.tcp_hosts = Hosts::Known(hosts);
    }

    fn add_external_tcp(&mut self, hosts: &[SocketAddr]) {
        if self.config.tcp.is_passive() && !hosts.is_empty() {
            self.add_external(hosts, Protocol::IceTcp);
        }
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

    /// Updates the TCP host addresses. Returns `true` if they changed.
    pub(super) fn change_tcp_hosts(&mut self, change: &NetworkChange<'_>) -> bool {
        let Hosts::Known(before) = &self.tcp_hosts else {
            return false;
        };
        let before = before.clone();
        let after = self.config.choose(change.tcp_addresses);
        // Compared by IP address: without a listener the port has no meaning.
        let is_in = |list: &[SocketAddr], a: &SocketAddr| list.iter().any(|b| b.ip() == a.ip());
        let gone = before.iter().filter(|a| !is_in(&after, a));
        let gone: Vec<_> = gone.copied().collect();
        let new = after.iter().filter(|a| !is_in(&before, a));
        let new: Vec<_> = new.copied().collect();
        self.tcp_hosts = Hosts::Known(after.clone());
        self.bindings.retain(|b| {
            b.request.transport == BindingTransport::Udp || !is_in(&gone, &b.request.base)
        });
        let stands_on_gone = |c: &LocalCandidate| match &c.kind {
            LocalKind::HostTcp(_) => is_in(&gone, &c.address),
            LocalKind::ServerReflexiveTcp { base, .. } => is_in(&gone, base),
            _ => false,
        };
        let lost = self.found.extract_if(.., |c| stands_on_gone(c));
        self.out.extend(lost.map(GatherOutput::Lost));
        for host in &new {
            self.add_tcp_host(*host);
        }
        self.add_external_tcp(&after);
        !gone.is_empty() || !new.is_empty()
    }
}
