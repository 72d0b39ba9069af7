//! What peers need of the loop to gather candidates: sockets, names resolved, STUN servers asked.

use std::time::Instant;

use super::EventLoop;
use crate::proto::ice::{BindingOutput, BindingRequest};
use crate::proto::net::{InterfaceAddress, SocketId, SocketKind, SocketReply, SocketRequest};
use crate::proto::peer::Input;

impl EventLoop {
    /// Opens a socket for a peer and tells it.
    pub(super) fn open_socket(&mut self, index: usize, request: &SocketRequest, now: Instant) {
        let reply = match self.try_open(index, request, now) {
            Ok(addresses) => SocketReply::Opened(addresses),
            Err(why) => SocketReply::Failed(why),
        };
        let id = request.id;
        let input = Input::Socket { now, id, reply };
        self.peers.input(index, input, &mut self.touched);
    }

    fn try_open(
        &mut self,
        index: usize,
        request: &SocketRequest,
        now: Instant,
    ) -> Result<Vec<InterfaceAddress>, String> {
        let registry = self.poll.registry();
        let Some(entry) = self.peers.get_mut(index) else {
            return Err("the peer is gone".into());
        };
        match &request.kind {
            SocketKind::Datagrams(policy) => {
                let (sockets, addresses) = self.sockets.open(*policy, index, registry, now)?;
                entry.sockets.extend(sockets);
                Ok(addresses)
            }
            SocketKind::DatagramsTo(remote) => {
                let (sockets, addresses) = self.sockets.open_to(*remote, index, registry, now)?;
                entry.sockets.extend(&sockets);
                entry.relay_sockets.push((request.id, sockets));
                Ok(addresses)
            }
            SocketKind::Stream { .. } => Err("TCP is not in this build".into()),
        }
    }

    /// A relay of a peer is gone. (Its other sockets go with the peer.)
    pub(super) fn close_socket(&mut self, index: usize, id: SocketId) {
        let Some(entry) = self.peers.get_mut(index) else {
            return;
        };
        let Some(position) = entry.relay_sockets.iter().position(|(i, _)| *i == id) else {
            return;
        };
        let (_, sockets) = entry.relay_sockets.swap_remove(position);
        entry.sockets.retain(|s| !sockets.contains(s));
        self.sockets.close(&sockets, self.poll.registry());
        self.drop_forgotten(index);
    }

    pub(super) fn resolve(&mut self, index: usize, host: &str, now: Instant) {
        let Some(id) = self.peers.id_of(index) else {
            return;
        };
        if let Some(result) = self.resolver.resolve(host, id, now) {
            let input = Input::Resolved { now, host, result };
            self.peers.input(index, input, &mut self.touched);
        }
    }

    /// Gives peers the addresses that have been found.
    pub(super) fn deliver_resolved(&mut self, now: Instant) {
        while let Some((host, result, waiting)) = self.resolver.found(now) {
            for id in waiting {
                if !self.peers.contains(id) {
                    continue;
                }
                let (host, result) = (host.as_str(), result.clone());
                let input = Input::Resolved { now, host, result };
                self.peers.input(id.index(), input, &mut self.touched);
            }
        }
    }

    pub(super) fn bind(&mut self, index: usize, request: BindingRequest, now: Instant) {
        self.bindings.request(index, request, now);
        self.drain_bindings(now);
    }

    /// Sends what the bindings want to send, and tells peers what came of it.
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
                BindingOutput::Timeout(at) => {
                    self.binding_deadline = at;
                    return;
                }
            }
        }
    }

    pub(super) fn fire_bindings(&mut self, now: Instant) {
        if self.binding_deadline.is_some_and(|at| at <= now) {
            self.bindings.handle_timeout(now);
            self.drain_bindings(now);
        }
    }
}
