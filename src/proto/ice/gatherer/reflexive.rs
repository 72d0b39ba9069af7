//! Server-reflexive candidates: choosing servers and bases, and handling the answers.

use std::net::{IpAddr, SocketAddr};

use super::{Asking, Binding, GatherOutput, Gatherer, Hosts, LocalCandidate, LocalKind};
use crate::proto::ice::bindings::{BindingReply, BindingRequest, BindingTransport};
use crate::proto::ice::error::IceCandidateError;
use crate::proto::ice::server::{IceTransportPolicy, ServerKind, ServerTransport};
use crate::proto::net::Protocol;

/// Maximum number of local addresses from which one STUN server is asked.
pub(super) const MAX_BASES: usize = 8;

impl Gatherer {
    /// Handles the reply to a [`RequestBinding`](GatherOutput::RequestBinding).
    pub fn handle_binding(&mut self, request: &BindingRequest, reply: &BindingReply) {
        let asked = |b: &&mut Binding| b.request == *request && b.state == Asking::Asked;
        // Two URLs may refer to the same server.
        while let Some(binding) = self.bindings.iter_mut().find(asked) {
            let server = binding.server;
            match reply {
                BindingReply::Mapped(address) => {
                    binding.state = Asking::Mapped;
                    self.on_mapped(request, server, *address);
                }
                BindingReply::Failed { code, text } => {
                    binding.state = Asking::Failed;
                    self.on_binding_failed(request, server, *code, text);
                }
            }
        }
        self.proceed();
    }

    /// Returns the local addresses from which this server is asked.
    pub(super) fn bases_for(&self, server: usize) -> &Hosts {
        match self.servers[server].url.transport {
            ServerTransport::Udp => &self.hosts,
            ServerTransport::Tcp | ServerTransport::Tls => &self.tcp_hosts,
        }
    }

    /// Returns `true` if this configuration can use the server. If not, and somebody may be waiting for its result,
    /// that is reported once.
    pub(super) fn is_of_use(&mut self, index: usize) -> bool {
        let server = &self.servers[index];
        if server.url.kind == ServerKind::Turn {
            return true;
        }
        if self.policy == IceTransportPolicy::Relay {
            return false;
        }
        let passive = self.config.tcp.is_passive();
        let why = match server.url.transport {
            ServerTransport::Udp if self.config.udp => return true,
            // Its implied TCP counterpart is asked instead.
            ServerTransport::Udp if passive => return false,
            ServerTransport::Udp => {
                "this peer has neither UDP nor a TCP port that others can connect to; switch one of them on \
                 (GatherConfig::udp, IceTcp::Passive or Both)"
            }
            ServerTransport::Tcp | ServerTransport::Tls if passive => return true,
            ServerTransport::Tcp | ServerTransport::Tls => {
                "by TCP a STUN server tells where others can connect to, and this peer does not listen; switch that on \
                 (IceTcp::Passive or Both), or give a stun: URL for UDP"
            }
        };
        if !server.quiet && !server.said {
            let url = server.url.to_string();
            self.servers[index].said = true;
            self.fail(IceCandidateError::useless(url, why));
        }
        false
    }

    /// Returns `true` if this server has answered every request.
    pub(super) fn has_asked_all(&self, index: usize) -> bool {
        let Hosts::Known(hosts) = self.bases_for(index) else {
            return false;
        };
        let mut mapped = self
            .bindings
            .iter()
            .filter(|b| b.server == index && b.state == Asking::Mapped)
            .peekable();
        let Some(first) = mapped.peek() else {
            return false;
        };
        let is_v4 = first.request.server.is_ipv4();
        let mapped: Vec<_> = mapped.map(|b| b.request.base).collect();
        let mut bases = hosts
            .iter()
            .filter(|h| h.is_ipv4() == is_v4 && !h.ip().is_loopback());
        bases.all(|h| mapped.contains(h))
    }

    /// Requests bindings at one server address of each family, from each base that may reach it.
    pub(super) fn ask_bindings(
        &mut self,
        index: usize,
        addresses: &[IpAddr],
        hosts: &[SocketAddr],
    ) {
        let v4 = addresses.iter().find(|a| a.is_ipv4());
        let v6 = addresses.iter().find(|a| a.is_ipv6());
        let port = self.servers[index].url.port;
        let transport = self.servers[index].url.binding_transport();
        let mut asked = false;
        for ip in v4.into_iter().chain(v6) {
            let bases = hosts
                .iter()
                .filter(|b| b.is_ipv4() == ip.is_ipv4())
                .filter(|b| ip.is_loopback() || !b.ip().is_loopback());
            for base in bases.take(MAX_BASES) {
                let request = BindingRequest {
                    server: SocketAddr::new(*ip, port),
                    base: *base,
                    transport: transport.clone(),
                };
                asked = true;
                // After a network change some are known already.
                let is_known = |b: &Binding| b.server == index && b.request == request;
                if self.bindings.iter().any(is_known) {
                    continue;
                }
                self.bindings.push(Binding {
                    request: request.clone(),
                    server: index,
                    state: Asking::Asked,
                });
                self.out.push_back(GatherOutput::RequestBinding(request));
            }
        }
        if !asked {
            let has: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let why = format!(
                "no local address of its family to ask it from; it has {}",
                has.join(", ")
            );
            self.fail_server(index, &why);
        }
    }

    fn on_mapped(&mut self, request: &BindingRequest, server: usize, address: SocketAddr) {
        if address.is_ipv4() != request.base.is_ipv4() {
            // A translator between IPv4 and IPv6 is on the path; no candidate can express that.
            log::debug!("{} sees {} as {address}", request.server, request.base);
            return;
        }
        let protocol = match request.transport {
            BindingTransport::Udp => Protocol::Udp,
            BindingTransport::Tcp | BindingTransport::Tls(_) => Protocol::IceTcp,
        };
        let url = self.servers[server].url.to_string();
        self.add_reflexive(address, request.base, protocol, Some(url));
    }

    fn add_reflexive(
        &mut self,
        address: SocketAddr,
        base: SocketAddr,
        protocol: Protocol,
        url: Option<String>,
    ) {
        let kind = match protocol {
            Protocol::IceTcp => LocalKind::ServerReflexiveTcp { base, url },
            Protocol::Udp | Protocol::Tcp => LocalKind::ServerReflexive { base, url },
        };
        let mut found = self.found.iter();
        let is_known = found.any(|c| c.address == address && c.kind.is_tcp() == kind.is_tcp());
        // Without a NAT, the address equals the host candidate.
        if address != base && !is_known {
            self.add(LocalCandidate { address, kind });
        }
    }

    /// Handles a failed binding. An unreachable server is reported once (W3C WebRTC §4.8.3), an error answer each time.
    fn on_binding_failed(
        &mut self,
        request: &BindingRequest,
        server: usize,
        code: u16,
        text: &str,
    ) {
        if code == IceCandidateError::UNREACHABLE {
            let mut same = self.bindings.iter().filter(|b| b.server == server);
            if same.all(|b| b.state == Asking::Failed) {
                self.fail_server(server, text);
            }
            return;
        }
        if self.servers[server].quiet {
            return;
        }
        let url = self.servers[server].url.to_string();
        self.fail(IceCandidateError {
            url: Some(url),
            local: Some(request.base),
            code,
            text: text.to_owned(),
        });
    }

    /// Adds the configured external addresses.
    pub(super) fn add_external(&mut self, hosts: &[SocketAddr], protocol: Protocol) {
        for ip in self.config.external_addresses.clone() {
            let is_behind = |h: &&SocketAddr| h.is_ipv4() == ip.is_ipv4() && !h.ip().is_loopback();
            let Some(base) = hosts.iter().find(is_behind).copied() else {
                let why = format!("the external address {ip} has no local address of its family");
                self.fail(IceCandidateError::local(why));
                continue;
            };
            let address = SocketAddr::new(ip, base.port());
            self.add_reflexive(address, base, protocol, None);
        }
    }
}
