//! The gatherer's TURN relays and the traffic through them.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::{GatherOutput, Gatherer, LocalCandidate, LocalKind, Phase};
use crate::proto::ice::relays::{RelayOutput, RelayServer, Relayed};
use crate::proto::ice::server::ServerTransport;
use crate::proto::net::{Received, Transmit};

impl Gatherer {
    /// Releases all allocations. Until the servers have answered, for at most 5 s, the gatherer still needs datagrams
    /// and timeouts; then it closes its sockets.
    pub fn release(&mut self, now: Instant) {
        self.phase = Phase::Complete;
        self.servers.clear();
        self.bindings.clear();
        self.found.clear();
        self.out.clear();
        self.relays.release(now);
        self.drain_relays();
    }

    /// Returns `true` if there are relays, so that [`relay_of`](Self::relay_of) and
    /// [`send_relayed`](Self::send_relayed) have to be called.
    pub(crate) fn has_relays(&self) -> bool {
        !self.relays.is_empty()
    }

    /// Returns the index of the relay that this datagram came from, if any.
    pub(crate) fn relay_of(&self, received: &Received<'_>) -> Option<usize> {
        self.relays.owner(received)
    }

    /// Handles a datagram from a relay; returns the relayed payload, if it carried one.
    pub(crate) fn receive_relayed<'a>(
        &mut self,
        relay: usize,
        received: &Received<'a>,
        now: Instant,
    ) -> Option<Relayed<'a>> {
        let relayed = self.relays.receive(relay, received, now);
        if relayed.is_none() {
            self.proceed();
        }
        relayed
    }

    /// Handles bytes of a stream from a relay; returns the relayed payloads.
    pub(crate) fn receive_stream(
        &mut self,
        relay: usize,
        received: &Received<'_>,
        now: Instant,
    ) -> Vec<Relayed<'static>> {
        let relayed = self.relays.receive_stream(relay, received, now);
        self.proceed();
        relayed
    }

    /// Sends through a relay if the source is a relayed address. Returns `None` if it is not, and `Some(false)` if the
    /// datagram could not be sent.
    pub(crate) fn send_relayed(&mut self, transmit: &Transmit, now: Instant) -> Option<bool> {
        let sent = self.relays.send(transmit, now);
        self.drain_relays();
        sent
    }

    /// Returns `true` if this address is allocated on a relay.
    pub(crate) fn is_relayed(&self, address: SocketAddr) -> bool {
        self.relays.is_relayed(address)
    }

    /// Returns the transport to the relay that has this address.
    pub(crate) fn relay_transport(&self, address: SocketAddr) -> Option<ServerTransport> {
        self.relays.transport_of(address)
    }

    pub(super) fn ask_relay(&mut self, index: usize, addresses: &[IpAddr]) {
        let server = &self.servers[index];
        let server = RelayServer {
            index,
            url: server.url.clone(),
            username: server.username.clone(),
            password: server.password.clone(),
            ipv4: self.config.ipv4,
            ipv6: self.config.ipv6,
        };
        self.relays.start(server, addresses);
    }

    pub(super) fn drain_relays(&mut self) {
        while let Some(output) = self.relays.poll_output() {
            let output = match output {
                RelayOutput::OpenSocket(request) => GatherOutput::OpenSocket(request),
                RelayOutput::CloseSocket(id) => GatherOutput::CloseSocket(id),
                RelayOutput::Transmit(transmit) => GatherOutput::Transmit(transmit),
                RelayOutput::Failed(error) => GatherOutput::Failed(error),
                RelayOutput::Lost(address) => {
                    let found = self.found.iter().position(|c| c.address == address);
                    let Some(index) = found else {
                        continue;
                    };
                    GatherOutput::Lost(self.found.remove(index))
                }
                RelayOutput::Allocated(server, address) => {
                    let url = &self.servers[server].url;
                    let kind = LocalKind::Relay {
                        url: url.to_string(),
                        transport: url.transport,
                    };
                    self.add(LocalCandidate { address, kind });
                    continue;
                }
            };
            self.out.push_back(output);
        }
    }
}
