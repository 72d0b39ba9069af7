//! The TURN allocations of one peer and the sockets they use.
//!
//! Each allocation has a socket of its own: a server identifies an allocation by its 5-tuple (RFC 8656 §2), so two
//! peers cannot share one.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::error::IceCandidateError;
use super::server::{ServerTransport, ServerUrl};
use super::turn::frame::Deframer;
use super::turn::{TurnClient, TurnConfig, TurnOutput};
use crate::proto::net::{
    NetworkChange, Protocol, Received, SocketId, SocketKind, SocketReply, SocketRequest, Transmit,
};

/// Maximum number of redirections that are followed (RFC 8489 §10).
const MAX_REDIRECTIONS: u32 = 3;

/// Maximum number of times that a lost allocation is requested anew, in the life of a peer.
const MAX_RENEWALS: u32 = 8;

/// Time to wait for the answers to the last requests when all allocations are released.
const FAREWELL: Duration = Duration::from_secs(5);

/// Output of [`Relays`].
#[derive(Debug)]
pub(super) enum RelayOutput {
    OpenSocket(SocketRequest),
    CloseSocket(SocketId),
    Transmit(Transmit),
    /// A relayed address was allocated on the server with this index.
    Allocated(usize, SocketAddr),
    /// This relayed address is no longer usable.
    Lost(SocketAddr),
    Failed(IceCandidateError),
}

/// Data received through a relay.
#[derive(Debug)]
pub(crate) struct Relayed<'a> {
    /// The address of the remote peer, as the relay sees it.
    pub source: SocketAddr,
    /// Our relayed address.
    pub destination: SocketAddr,
    pub contents: Cow<'a, [u8]>,
}

/// A TURN server and the credential for it.
#[derive(Clone)]
pub(super) struct RelayServer {
    pub index: usize,
    pub url: ServerUrl,
    pub username: String,
    pub password: String,
    pub ipv4: bool,
    pub ipv6: bool,
}

/// Omits the password.
impl fmt::Debug for RelayServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// All relays of a peer.
#[derive(Debug, Default)]
pub(super) struct Relays {
    relays: Vec<Relay>,
    last_socket: u32,
    /// Set when all allocations are being released: the time at which waiting ends.
    farewell: Option<Instant>,
    seed: Option<u64>,
    out: VecDeque<RelayOutput>,
}

#[derive(Debug)]
struct Relay {
    server: RelayServer,
    /// Server addresses not tried yet.
    others: Vec<IpAddr>,
    remote: SocketAddr,
    socket: SocketId,
    /// The local address, once the socket is open.
    local: Option<SocketAddr>,
    client: Option<TurnClient>,
    relayed: Vec<SocketAddr>,
    deframer: Deframer,
    redirections: u32,
    renewals: u32,
    /// Time at which a lost allocation is requested anew.
    retry_at: Option<Instant>,
}

impl Relay {
    fn protocol(&self) -> Protocol {
        match self.server.url.transport {
            ServerTransport::Udp => Protocol::Udp,
            ServerTransport::Tcp | ServerTransport::Tls => Protocol::Tcp,
        }
    }

    fn is_pending(&self) -> bool {
        self.relayed.is_empty()
    }
}

impl Relays {
    pub fn new(seed: Option<u64>) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Returns `true` if there are no relays.
    pub fn is_empty(&self) -> bool {
        self.relays.is_empty()
    }

    /// Returns `true` if this server has not answered yet.
    pub fn is_pending(&self, server: usize) -> bool {
        self.of_server(server).any(Relay::is_pending)
    }

    /// Returns `true` if there is an allocation on this server.
    pub fn is_allocated(&self, server: usize) -> bool {
        self.of_server(server).any(|r| !r.is_pending())
    }

    fn of_server(&self, server: usize) -> impl Iterator<Item = &Relay> {
        self.relays.iter().filter(move |r| r.server.index == server)
    }

    /// Requests an allocation at the first of the server's addresses that answers. `addresses` is not empty.
    pub fn start(&mut self, server: RelayServer, addresses: &[IpAddr]) {
        let Some((first, others)) = addresses.split_first() else {
            return;
        };
        // One of each family is enough: the second one is for networks without the family of the first.
        let mut others = others.iter().copied();
        let other = others.find(|ip| ip.is_ipv4() != first.is_ipv4());
        let remote = SocketAddr::new(*first, server.url.port);
        let socket = self.open(&server, remote);
        self.relays.push(Relay {
            server,
            others: other.into_iter().collect(),
            remote,
            socket,
            local: None,
            client: None,
            relayed: Vec::new(),
            deframer: Deframer::default(),
            redirections: 0,
            renewals: 0,
            retry_at: None,
        });
    }

    fn open(&mut self, server: &RelayServer, remote: SocketAddr) -> SocketId {
        // Number 0 is the host socket.
        self.last_socket += 1;
        let id = SocketId(self.last_socket);
        let kind = match server.url.transport {
            ServerTransport::Udp => SocketKind::DatagramsTo(remote),
            ServerTransport::Tcp => SocketKind::Stream { remote, tls: None },
            ServerTransport::Tls => {
                let tls = Some(server.url.server_name());
                SocketKind::Stream { remote, tls }
            }
        };
        self.out
            .push_back(RelayOutput::OpenSocket(SocketRequest { id, kind }));
        id
    }

    /// Handles the reply to an [`OpenSocket`](RelayOutput::OpenSocket), or the later closing of a stream.
    pub fn handle_socket(&mut self, id: SocketId, reply: &SocketReply, now: Instant) {
        let Some(index) = self.relays.iter().position(|r| r.socket == id) else {
            return;
        };
        match reply {
            SocketReply::Opened(addresses) => {
                let relay = &mut self.relays[index];
                let family = addresses
                    .iter()
                    .find(|a| a.address.is_ipv4() == relay.remote.is_ipv4());
                let Some(address) = family.map(|a| a.address) else {
                    self.fail(index, 701, "no local address of its family", now);
                    return;
                };
                let is_stream = relay.protocol() == Protocol::Tcp;
                relay.local = Some(match is_stream {
                    true => address,
                    false => SocketAddr::new(unspecified(address), address.port()),
                });
                relay.deframer = Deframer::default();
                relay.client = Some(TurnClient::new(
                    TurnConfig {
                        username: relay.server.username.clone(),
                        password: relay.server.password.clone(),
                        ipv4: relay.server.ipv4,
                        ipv6: relay.server.ipv6,
                        stream: is_stream,
                        seed: self.seed.map(|s| s.wrapping_add(u64::from(id.0))),
                    },
                    now,
                ));
                self.drain(index, now);
            }
            SocketReply::Failed(_) if self.farewell.is_some() => {
                self.relays.remove(index);
                self.out.push_back(RelayOutput::CloseSocket(id));
            }
            SocketReply::Failed(why) => {
                let relay = &self.relays[index];
                if relay.is_pending() {
                    self.fail(index, 701, why, now);
                } else {
                    let why = format!("the connection to the server is gone: {why}");
                    self.lose(index, 701, &why, now);
                }
            }
        }
    }

    /// Returns the index of the relay that this datagram is for, if any.
    pub fn owner(&self, received: &Received<'_>) -> Option<usize> {
        self.relays.iter().position(|r| {
            r.remote == received.source
                && r.protocol() == received.protocol
                && r.local.is_some_and(|l| {
                    l.port() == received.destination.port()
                        && (l.ip().is_unspecified() || l.ip() == received.destination.ip())
                })
        })
    }

    /// Handles a datagram for this relay; returns the relayed payload, if it carried one.
    pub fn receive<'a>(
        &mut self,
        index: usize,
        received: &Received<'a>,
        now: Instant,
    ) -> Option<Relayed<'a>> {
        let found = self.receive_message(index, received.contents, now);
        self.drain(index, now);
        let (source, destination, range) = found?;
        Some(Relayed {
            source,
            destination,
            contents: Cow::Borrowed(received.contents.get(range)?),
        })
    }

    /// Handles bytes of a stream for this relay; returns the relayed payloads.
    pub fn receive_stream(
        &mut self,
        index: usize,
        received: &Received<'_>,
        now: Instant,
    ) -> Vec<Relayed<'static>> {
        let mut relayed = Vec::new();
        self.relays[index].deframer.push(received.contents);
        loop {
            match self.relays[index].deframer.next() {
                Ok(Some(mut message)) => {
                    let found = self.receive_message(index, &message, now);
                    let Some((source, destination, range)) = found else {
                        continue;
                    };
                    message.truncate(range.end);
                    message.drain(..range.start);
                    relayed.push(Relayed {
                        source,
                        destination,
                        contents: Cow::Owned(message),
                    });
                }
                Ok(None) => break,
                Err(why) => {
                    let id = self.relays[index].socket;
                    self.handle_socket(id, &SocketReply::Failed(why.into()), now);
                    return relayed;
                }
            }
        }
        self.drain(index, now);
        relayed
    }

    fn receive_message(
        &mut self,
        index: usize,
        message: &[u8],
        now: Instant,
    ) -> Option<(SocketAddr, SocketAddr, Range<usize>)> {
        let relay = &mut self.relays[index];
        let (from, range) = relay.client.as_mut()?.handle_message(message, now)?;
        let same_family = |r: &&SocketAddr| r.is_ipv4() == from.is_ipv4();
        let relayed = relay.relayed.iter().find(same_family)?;
        Some((from, *relayed, range))
    }

    /// Returns the transport to the relay that has this address.
    pub fn transport_of(&self, address: SocketAddr) -> Option<ServerTransport> {
        let mut relays = self.relays.iter();
        let relay = relays.find(|r| r.relayed.contains(&address))?;
        Some(relay.server.url.transport)
    }

    /// Returns `true` if this is one of our relayed addresses.
    pub fn is_relayed(&self, address: SocketAddr) -> bool {
        self.relays.iter().any(|r| r.relayed.contains(&address))
    }

    /// Sends from a relayed address. Returns `None` if `transmit.source` is not ours, and `Some(false)` if the datagram
    /// was dropped.
    pub fn send(&mut self, transmit: &Transmit, now: Instant) -> Option<bool> {
        let index = self
            .relays
            .iter()
            .position(|r| r.relayed.contains(&transmit.source))?;
        let client = self.relays[index].client.as_mut()?;
        let sent = client.send(transmit.destination, &transmit.contents, now);
        self.drain(index, now);
        Some(sent)
    }

    /// Releases all allocations. The sockets stay open until the servers have answered, for at most 5 s.
    pub fn release(&mut self, now: Instant) {
        self.farewell = Some(now + FAREWELL);
        for index in (0..self.relays.len()).rev() {
            if let Some(client) = &mut self.relays[index].client {
                client.release(now);
            }
            self.drain(index, now);
        }
    }

    /// Handles a network change. A server identifies an allocation by the address we send from (RFC 8656 §2); where
    /// that has changed, a new allocation is requested from a new socket. Returns `true` if any is.
    pub fn remake(&mut self, change: &NetworkChange<'_>, now: Instant) -> bool {
        if self.farewell.is_some() {
            return false;
        }
        let mut remade = false;
        for index in 0..self.relays.len() {
            let relay = &mut self.relays[index];
            // A UDP socket on the wildcard address sends by the default route.
            let ip = relay.local.map_or(relay.remote.ip(), |l| l.ip());
            if !change.affects(ip) {
                continue;
            }
            remade = true;
            let gone = std::mem::take(&mut relay.relayed);
            self.out.extend(gone.into_iter().map(RelayOutput::Lost));
            relay.renewals = 0;
            relay.redirections = 0;
            if let Some(client) = &mut relay.client {
                // The request may still get through; otherwise the old allocation counts against the quota.
                client.release(now);
                self.drain(index, now);
            }
            self.reopen(index);
        }
        remade
    }

    /// Gives up on a server that has not answered in time.
    pub fn abandon(&mut self, server: usize) {
        for relay in &self.relays {
            if relay.server.index == server && relay.is_pending() {
                self.out.push_back(RelayOutput::CloseSocket(relay.socket));
            }
        }
        self.relays
            .retain(|r| r.server.index != server || !r.is_pending());
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.farewell.is_some_and(|at| at <= now) {
            let sockets = self.relays.drain(..).map(|r| r.socket);
            self.out.extend(sockets.map(RelayOutput::CloseSocket));
            return;
        }
        let mut index = self.relays.len();
        while index > 0 {
            index -= 1;
            if self.relays[index].retry_at.is_some_and(|at| at <= now) {
                self.reopen(index);
            }
            if let Some(client) = &mut self.relays[index].client {
                client.handle_timeout(now);
                self.drain(index, now);
            }
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        let clients = self.relays.iter().filter_map(|r| r.client.as_ref());
        let farewell = self.farewell.filter(|_| !self.relays.is_empty());
        let retries = self.relays.iter().filter_map(|r| r.retry_at);
        clients
            .filter_map(TurnClient::deadline)
            .chain(retries)
            .chain(farewell)
            .min()
    }

    pub fn poll_output(&mut self) -> Option<RelayOutput> {
        self.out.pop_front()
    }

    /// Handles the output of a TURN client.
    fn drain(&mut self, index: usize, now: Instant) {
        loop {
            let Some(relay) = self.relays.get_mut(index) else {
                return;
            };
            let Some(output) = relay.client.as_mut().and_then(TurnClient::poll_output) else {
                let is_done = relay.client.as_ref().is_none_or(TurnClient::is_closed);
                if is_done && self.farewell.is_some() {
                    let relay = self.relays.remove(index);
                    self.out.push_back(RelayOutput::CloseSocket(relay.socket));
                }
                return;
            };
            match output {
                TurnOutput::Transmit(contents) => {
                    if let Some(source) = relay.local {
                        self.out.push_back(RelayOutput::Transmit(Transmit {
                            protocol: relay.protocol(),
                            source,
                            destination: relay.remote,
                            contents,
                        }));
                    }
                }
                TurnOutput::Allocated(addresses) => {
                    relay.relayed.clone_from(&addresses);
                    let server = relay.server.index;
                    let found = addresses.into_iter();
                    self.out
                        .extend(found.map(|a| RelayOutput::Allocated(server, a)));
                }
                TurnOutput::Refused(ip, code, text) => {
                    let text = format!("it does not relay to {ip}: {text}");
                    let error = relay_error(relay, code, text);
                    self.out.push_back(RelayOutput::Failed(error));
                }
                TurnOutput::Redirected(server) => return self.redirect(index, server, now),
                TurnOutput::Failed(code, text) => return self.fail(index, code, &text, now),
                TurnOutput::Lost(code, text) => return self.lose(index, code, &text, now),
            }
        }
    }

    fn redirect(&mut self, index: usize, server: SocketAddr, now: Instant) {
        let relay = &mut self.relays[index];
        relay.redirections += 1;
        if relay.redirections > MAX_REDIRECTIONS || server == relay.remote {
            self.fail(index, 300, "it sends us round in circles", now);
            return;
        }
        log::debug!("{} sends us to {server}", relay.server.url);
        relay.remote = server;
        self.reopen(index);
    }

    /// Starts again with another socket.
    fn reopen(&mut self, index: usize) {
        let relay = &mut self.relays[index];
        relay.client = None;
        relay.local = None;
        relay.retry_at = None;
        relay.relayed.clear();
        let old = relay.socket;
        let (server, remote) = (relay.server.clone(), relay.remote);
        self.out.push_back(RelayOutput::CloseSocket(old));
        self.relays[index].socket = self.open(&server, remote);
    }

    /// Handles a failed allocation.
    fn fail(&mut self, index: usize, code: u16, text: &str, now: Instant) {
        let relay = &mut self.relays[index];
        let is_unreachable = code == IceCandidateError::UNREACHABLE;
        if let Some(ip) = relay.others.pop().filter(|_| is_unreachable) {
            relay.remote = SocketAddr::new(ip, relay.server.url.port);
            self.reopen(index);
            return;
        }
        // 437: an old allocation exists for the same port, so another port helps (RFC 8656 §7.4). And if there was an
        // allocation before, the server may be restarting.
        let is_worth_it = code == 437 || (is_unreachable && relay.renewals > 0);
        if is_worth_it && self.renew(index, now) {
            return;
        }
        let relay = self.relays.remove(index);
        self.out.push_back(RelayOutput::CloseSocket(relay.socket));
        let error = relay_error(&relay, code, text.to_owned());
        self.out.push_back(RelayOutput::Failed(error));
    }

    /// Handles the loss of an allocation; a new one is requested.
    fn lose(&mut self, index: usize, code: u16, text: &str, now: Instant) {
        let relay = &mut self.relays[index];
        let error = relay_error(relay, code, text.to_owned());
        let gone = std::mem::take(&mut relay.relayed);
        self.out.extend(gone.into_iter().map(RelayOutput::Lost));
        self.out.push_back(RelayOutput::Failed(error));
        if !self.renew(index, now) {
            let relay = self.relays.remove(index);
            self.out.push_back(RelayOutput::CloseSocket(relay.socket));
        }
    }

    /// Asks for another allocation: the first time at once, then after longer and longer, so that a server
    /// that gives and takes in turns is not kept busy. False: that has been done too often.
    fn renew(&mut self, index: usize, now: Instant) -> bool {
        let relay = &mut self.relays[index];
        relay.renewals += 1;
        match relay.renewals {
            1 => self.reopen(index),
            2..=MAX_RENEWALS => {
                relay.client = None;
                relay.local = None;
                relay.retry_at = Some(now + Duration::from_secs(1 << (relay.renewals - 2)));
            }
            _ => return false,
        }
        true
    }
}

fn relay_error(relay: &Relay, code: u16, text: String) -> IceCandidateError {
    IceCandidateError {
        url: Some(relay.server.url.to_string()),
        local: relay.local.filter(|l| !l.ip().is_unspecified()),
        code,
        text,
    }
}

fn unspecified(of: SocketAddr) -> IpAddr {
    if of.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    }
}

#[cfg(test)]
mod tests;
