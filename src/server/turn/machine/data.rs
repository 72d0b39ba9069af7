//! Relaying of data.

use std::net::SocketAddr;
use std::time::Instant;

use turn_types::stun::message::{Message, TransactionId};

use super::{TurnMachine, relay_id};
use crate::proto::ice::turn::frame::{self, Incoming};
use crate::server::turn::allocation::Allocation;
use crate::server::turn::{Client, Link, Output, RelayId};

impl TurnMachine {
    pub(super) fn on_client(&mut self, client: Client, m: &[u8], now: Instant) {
        match frame::classify_from_client(m) {
            Incoming::Channel(number, range) => {
                let peer = self
                    .allocation_of(&client, now)
                    .and_then(|a| a.peer_of(number, now));
                match peer {
                    Some(peer) => self.relay_to_peer(&client, peer, &m[range], now),
                    None => self.stats.not_permitted += 1,
                }
            }
            Incoming::Data(peer, range) => self.relay_to_peer(&client, peer, &m[range], now),
            Incoming::Message => match Message::from_bytes(m) {
                Ok(message) => self.on_message(client, &message, m.len(), now),
                Err(_) => self.stats.malformed += 1,
            },
            Incoming::Junk => self.stats.malformed += 1,
        }
    }

    pub(super) fn allocation_of(&self, client: &Client, now: Instant) -> Option<&Allocation> {
        let index = self.clients.get(client)?;
        self.allocations.get(*index).filter(|a| a.expires > now)
    }

    pub(super) fn relay_to_peer(
        &mut self,
        client: &Client,
        peer: SocketAddr,
        contents: &[u8],
        now: Instant,
    ) {
        if !self.reaches(peer) {
            self.stats.not_permitted += 1;
            return;
        }
        let index = self.clients.get(client).copied();
        let Some((index, a)) = index.and_then(|i| Some((i, self.allocations.get_mut(i)?))) else {
            self.stats.not_permitted += 1;
            return;
        };
        let v6 = peer.is_ipv6();
        if a.expires <= now || !a.relays.is_open(v6) || !a.is_permitted(peer.ip(), now) {
            self.stats.not_permitted += 1;
            return;
        }
        let rate = self.config.limits.bytes_per_second;
        if rate.is_some_and(|rate| !a.to_peers.take(rate, contents.len(), now)) {
            self.stats.over_bandwidth += 1;
            return;
        }
        if self.outputs.len() >= self.config.limits.queue {
            self.stats.over_queue += 1;
            return;
        }
        self.stats.to_peers += 1;
        self.stats.bytes_to_peers += contents.len() as u64;
        self.outputs.push_back(Output::Datagram {
            relay: relay_id(index, a.generation, v6),
            destination: peer,
            contents: contents.to_vec(),
        });
    }

    pub(super) fn on_peer(
        &mut self,
        relay: RelayId,
        from: SocketAddr,
        contents: &[u8],
        now: Instant,
    ) {
        let reaches = self.reaches(from);
        let Some(a) = self.by_relay(relay) else {
            return;
        };
        if !reaches || a.expires <= now || !a.is_permitted(from.ip(), now) {
            self.stats.not_permitted += 1;
            return;
        }
        let channel = a.channel_to(from, now);
        let client = a.client;
        let rate = self.config.limits.bytes_per_second;
        if let Some(rate) = rate
            && let Some(a) = self.allocations.get_mut(relay.index as usize)
            && !a.to_client.take(rate, contents.len(), now)
        {
            self.stats.over_bandwidth += 1;
            return;
        }
        let is_full = self.outputs.len() >= self.config.limits.queue;
        if is_full || contents.len() > frame::MAX_CONTENTS {
            self.stats.over_queue += 1;
            return;
        }
        self.stats.to_clients += 1;
        self.stats.bytes_to_clients += contents.len() as u64;
        let stream = matches!(client.link, Link::Stream(_));
        let contents = match channel {
            Some(number) => frame::channel_data(number, contents, stream),
            None => {
                self.indications += 1;
                frame::data_indication(TransactionId::from(self.indications), from, contents)
            }
        };
        self.outputs.push_back(Output::Message(client, contents));
    }

    pub(super) fn by_relay(&self, relay: RelayId) -> Option<&Allocation> {
        let a = self.allocations.get(relay.index as usize)?;
        (a.generation == relay.generation).then_some(a)
    }
}
