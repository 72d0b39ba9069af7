//! Reaction of gathering to network changes of the machine.

use std::net::SocketAddr;
use std::time::Instant;

use super::{GatherOutput, Gatherer, Hosts, LocalCandidate, LocalKind, Phase};
use crate::proto::ice::bindings::BindingTransport;
use crate::proto::ice::server::IceTransportPolicy;
use crate::proto::net::{NetworkChange, Protocol};

impl Gatherer {
    /// Handles a network change. Candidates on removed addresses are lost; candidates on new addresses are gathered
    /// within the current generation. Where the default route has changed, STUN servers are asked again and relays are
    /// allocated again. Returns `true` if any of this was started.
    pub fn network_changed(&mut self, change: &NetworkChange<'_>, now: Instant) -> bool {
        if self.phase == Phase::New {
            // Gathering will read the network state when it starts.
            return false;
        }
        let (gone, new) = self.change_hosts(change);
        let tcp = self.change_tcp_hosts(change);
        let remade = self.relays.remake(change, now);
        let is_affected = |host: &SocketAddr| change.affects(host.ip());
        let is_moved = |hosts: &Hosts| match hosts {
            Hosts::Known(hosts) => hosts.iter().any(is_affected),
            Hosts::NotAsked | Hosts::Asked => false,
        };
        let moved = is_moved(&self.hosts) || is_moved(&self.tcp_hosts);
        if gone.is_empty() && new.is_empty() && !tcp && !remade && !moved {
            return false;
        }
        self.gather_until(now);
        self.drain_relays();
        // Earlier answers of the server may be wrong now.
        self.bindings
            .retain(|b| !change.affects(b.request.base.ip()));
        for address in new {
            self.add(LocalCandidate {
                address,
                kind: LocalKind::Host,
            });
        }
        if let Hosts::Known(hosts) = &self.hosts
            && !hosts.is_empty()
        {
            let hosts = hosts.clone();
            self.add_external(&hosts, Protocol::Udp);
        }
        for index in 0..self.servers.len() {
            self.start_server(index);
        }
        self.proceed();
        true
    }

    /// Returns `true` if there is no address to send from.
    pub(crate) fn is_cut_off(&self) -> bool {
        let is_none = |hosts: &Hosts| match hosts {
            Hosts::Known(hosts) => hosts.is_empty(),
            Hosts::NotAsked => true,
            Hosts::Asked => false,
        };
        let has_asked = self.policy == IceTransportPolicy::All && self.phase != Phase::New;
        has_asked && is_none(&self.hosts) && is_none(&self.tcp_hosts)
    }

    /// Updates the host addresses; returns the removed and the new ones.
    fn change_hosts(&mut self, change: &NetworkChange<'_>) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let Hosts::Known(before) = &self.hosts else {
            return (Vec::new(), Vec::new());
        };
        let after = self.config.choose(change.addresses);
        let gone: Vec<_> = before.iter().filter(|a| !after.contains(a)).collect();
        let gone: Vec<SocketAddr> = gone.into_iter().copied().collect();
        let new = after.iter().filter(|a| !before.contains(a));
        let new: Vec<SocketAddr> = new.copied().collect();
        self.hosts = Hosts::Known(after);
        self.bindings.retain(|b| {
            b.request.transport != BindingTransport::Udp || !gone.contains(&b.request.base)
        });
        let stands_on_gone = |c: &LocalCandidate| match &c.kind {
            LocalKind::Host => gone.contains(&c.address),
            LocalKind::ServerReflexive { base, .. } => gone.contains(base),
            LocalKind::HostTcp(_)
            | LocalKind::ServerReflexiveTcp { .. }
            | LocalKind::Relay { .. } => false,
        };
        let (lost, kept) = std::mem::take(&mut self.found)
            .into_iter()
            .partition::<Vec<_>, _>(stands_on_gone);
        self.found = kept;
        self.out.extend(lost.into_iter().map(GatherOutput::Lost));
        (gone, new)
    }
}
