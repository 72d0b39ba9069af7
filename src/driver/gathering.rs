//! Services of the loop for candidate gathering: sockets, name resolution, STUN bindings.

use std::time::Instant;

use super::EventLoop;
use super::peers::RelaySocket;
use super::resolver::{Lookup, Waiter};
use super::tcp::{StreamEvent, StreamOwner};
use crate::proto::ice::{BindingOutput, BindingRequest, mdns};
use crate::proto::net::{
    InterfaceAddress, Protocol, Received, SocketId, SocketKind, SocketReply, SocketRequest,
    Transmit,
};
use crate::proto::peer::Input;

impl EventLoop {
    /// Opens a socket for a peer and passes it the reply.
    pub(super) fn open_socket(&mut self, index: usize, request: &SocketRequest, now: Instant) {
        let id = request.id;
        let reply = match self.try_open(index, request, now) {
            Ok(Some(addresses)) => SocketReply::Opened(addresses),
            Ok(None) => return,
            Err(why) => SocketReply::Failed(why),
        };
        let input = Input::Socket { now, id, reply };
        self.peers.input(index, input, &mut self.touched);
    }

    /// Opens a socket; returns its addresses, or `None` if it is still being opened.
    fn try_open(
        &mut self,
        index: usize,
        request: &SocketRequest,
        now: Instant,
    ) -> Result<Option<Vec<InterfaceAddress>>, String> {
        let registry = self.poll.registry();
        let Some(entry) = self.peers.get_mut(index) else {
            return Err("the peer is gone".into());
        };
        match &request.kind {
            SocketKind::Datagrams(policy) => {
                let (sockets, addresses) = self.sockets.open(*policy, index, registry, now)?;
                entry.sockets.extend(sockets);
                Ok(Some(addresses))
            }
            SocketKind::DatagramsTo(remote) => {
                let (sockets, addresses) = self.sockets.open_to(*remote, index, registry, now)?;
                entry.sockets.extend(&sockets);
                let socket = RelaySocket::Datagrams(sockets);
                entry.relay_sockets.push((request.id, socket));
                Ok(Some(addresses))
            }
            SocketKind::IceTcp { listen } => self.ice_tcp_addresses(*listen, now).map(Some),
            SocketKind::IceStream { local, remote } => {
                self.open_ice_stream(index, request.id, *local, *remote, now)?;
                Ok(None)
            }
            SocketKind::BindingStream { .. } => Err("that is for bindings, not for peers".into()),
            SocketKind::Stream { remote, tls } => {
                let (id, tls) = (request.id, tls.as_ref());
                let key = self
                    .streams
                    .open(index, id, *remote, tls, &self.tls, registry)?;
                entry.relay_sockets.push((id, RelaySocket::Stream(key)));
                Ok(None)
            }
        }
    }

    /// Closes a relay socket of a peer. (Other sockets are closed with the peer.)
    pub(super) fn close_socket(&mut self, index: usize, id: SocketId) {
        if self.close_ice_stream(index, id) {
            return;
        }
        let Some(entry) = self.peers.get_mut(index) else {
            return;
        };
        let Some(position) = entry.relay_sockets.iter().position(|(i, _)| *i == id) else {
            return;
        };
        match entry.relay_sockets.swap_remove(position).1 {
            RelaySocket::Datagrams(sockets) => {
                entry.sockets.retain(|s| !sockets.contains(s));
                self.sockets.close(&sockets, self.poll.registry());
            }
            RelaySocket::Stream(key) => self.streams.close(key, self.poll.registry()),
        }
        self.drop_forgotten(index);
    }

    /// Sends on the peer's stream with this local and remote address.
    pub(super) fn send_stream(&mut self, index: usize, transmit: &Transmit) {
        let Some(entry) = self.peers.get_mut(index) else {
            return;
        };
        let ends = (transmit.source, transmit.destination);
        let mut streams = entry.relay_sockets.iter().filter_map(|(_, r)| match r {
            RelaySocket::Stream(key) => Some(*key),
            RelaySocket::Datagrams(_) => None,
        });
        let found = streams.find(|key| self.streams.ends(*key) == Some(ends));
        if let Some(key) = found {
            self.streams.send(key, &transmit.contents);
        }
    }

    /// Reads and writes streams, and passes the results to their peers.
    pub(super) fn run_streams(&mut self, now: Instant) {
        let registry = self.poll.registry();
        let stats = &mut self.stats;
        self.ice.accept(&mut self.streams, stats, registry, now);
        if !self.streams.has_ready() {
            return self.end_ice_streams(now);
        }
        let (peers, touched) = (&mut self.peers, &mut self.touched);
        let (ice, demux) = (&mut self.ice, &self.demux);
        let (bindings, connections) = (&mut self.bindings, &mut self.connections);
        self.streams
            .run(now, |key, owner, event| match (owner, event) {
                (StreamOwner::Application(id), event) => connections.on_event(id, event, now),
                (StreamOwner::Ice, event) => {
                    ice.on_event(key, event, (demux, peers, touched), stats, now);
                }
                (StreamOwner::Binding(id), StreamEvent::Received(_, _, bytes)) => {
                    bindings.handle_stream(id, bytes, now);
                }
                (StreamOwner::Binding(id), event) => {
                    if let Some(reply) = event.reply() {
                        bindings.handle_socket(id, &reply, now);
                    }
                }
                (
                    StreamOwner::Relay(index, _),
                    StreamEvent::Received(source, destination, contents),
                ) => {
                    let received = Received {
                        protocol: Protocol::Tcp,
                        source,
                        destination,
                        contents,
                    };
                    peers.input(index, Input::Receive { now, received }, touched);
                }
                (StreamOwner::Relay(index, id), event) => {
                    if let Some(reply) = event.reply() {
                        peers.input(index, Input::Socket { now, id, reply }, touched);
                    }
                }
            });
        self.end_connections(now);
        self.end_ice_streams(now);
        self.drain_bindings(now);
    }

    pub(super) fn resolve(&mut self, index: usize, host: &str, now: Instant) {
        let Some(id) = self.peers.id_of(index) else {
            return;
        };
        if mdns::is_local(host) {
            self.resolve_local(Waiter::Peer(id), host, now);
            return;
        }
        if let Some(result) = self.resolver.resolve(host, Waiter::Peer(id), now) {
            let input = Input::Resolved { now, host, result };
            self.peers.input(index, input, &mut self.touched);
        }
    }

    /// Passes resolved addresses to those that wait for them.
    pub(super) fn deliver_resolved(&mut self, now: Instant) {
        while let Some((host, result, waiting)) = self.resolver.found(now) {
            for waiter in waiting {
                self.on_resolved(waiter, &host, result.clone(), now);
            }
        }
    }

    /// Passes the addresses of a host to one that waits for them.
    pub(super) fn on_resolved(&mut self, waiter: Waiter, host: &str, result: Lookup, now: Instant) {
        match waiter {
            Waiter::Peer(id) if self.peers.contains(id) => {
                let input = Input::Resolved { now, host, result };
                self.peers.input(id.index(), input, &mut self.touched);
            }
            Waiter::Peer(_) => {}
            Waiter::Connection(id) => self.on_connection_resolved(id, result, now),
        }
    }

    pub(super) fn bind(&mut self, index: usize, request: BindingRequest, now: Instant) {
        self.bindings.request(index, request, now);
        self.drain_bindings(now);
    }

    /// Handles the output of the STUN bindings.
    pub(super) fn drain_bindings(&mut self, now: Instant) {
        loop {
            match self.bindings.poll_output() {
                BindingOutput::Transmit(user, transmit) => {
                    self.stats.datagrams_sent += 1;
                    let sockets = self.peers.sockets_of(user);
                    self.sockets.send(sockets, transmit);
                }
                BindingOutput::Reply(user, request, reply) => {
                    let input = Input::Binding {
                        now,
                        request,
                        reply,
                    };
                    self.peers.input(user, input, &mut self.touched);
                }
                BindingOutput::OpenSocket(request) => {
                    if let Err(why) = self.open_binding_stream(&request) {
                        let reply = SocketReply::Failed(why);
                        self.bindings.handle_socket(request.id, &reply, now);
                    }
                }
                BindingOutput::Write(id, contents) => {
                    if let Some(key) = self.binding_streams.get(&id) {
                        self.streams.send(*key, &contents);
                    }
                }
                BindingOutput::CloseSocket(id) => {
                    if let Some(key) = self.binding_streams.remove(&id) {
                        self.streams.close(key, self.poll.registry());
                    }
                }
                BindingOutput::Timeout(at) => {
                    self.binding_deadline = at;
                    return;
                }
            }
        }
    }

    /// Starts a TCP connection to a STUN server from the ICE-TCP port.
    fn open_binding_stream(&mut self, request: &SocketRequest) -> Result<(), String> {
        let SocketKind::BindingStream { local, remote, tls } = &request.kind else {
            return Err("a stream is for TCP".into());
        };
        let listener = self.ice.listener(*local);
        let listener = listener.ok_or_else(|| format!("nothing is listened on at {local}"))?;
        let tls = tls
            .as_ref()
            .map(|name| self.tls.connect(name))
            .transpose()?;
        let registry = self.poll.registry();
        let from = (*local, listener);
        let key = self
            .streams
            .open_at(request.id, from, *remote, tls, registry)?;
        self.binding_streams.insert(request.id, key);
        Ok(())
    }

    pub(super) fn fire_bindings(&mut self, now: Instant) {
        if self.binding_deadline.is_some_and(|at| at <= now) {
            self.bindings.handle_timeout(now);
            self.drain_bindings(now);
        }
    }
}
