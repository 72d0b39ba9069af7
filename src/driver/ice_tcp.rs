//! ICE-TCP (RFC 6544): one listening port for all peers, and streams opened by peers.
//!
//! ```text
//!   accepted ──first message: a STUN request for a peer's ufrag──► assigned to the peer ──validated──► kept
//!      └── too many, other data, timeout ──► closed                    └── timeout ──► closed
//! ```

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Interest, Registry, Token};

use super::config::LoopConfig;
use super::demux::Demux;
use super::peers::Peers;
use super::tcp::{StreamEvent, Streams};
use super::{EventLoop, LoopStats};
use crate::proto::ice::framing::{Deframer, frame};
use crate::proto::ice::tcp::ACTIVE_PORT;
use crate::proto::net::client_of;
use crate::proto::net::{InterfaceAddress, Protocol, Received, SocketId, SocketReply, Transmit};
use crate::proto::peer::Input;

/// First mio token of listening sockets.
pub(super) const FIRST_TOKEN: usize = 1 << 28;

/// Maximum number of connections accepted per turn.
const ACCEPT_BUDGET: usize = 64;

/// Listen backlog of the system.
const BACKLOG: i32 = 256;

/// ICE-TCP listeners and streams of a loop. Their bytes pass through [`Streams`].
pub(super) struct IceStreams {
    listeners: Vec<(TcpListener, SocketAddr)>,
    streams: HashMap<usize, IceStream>,
    by_ends: HashMap<(SocketAddr, SocketAddr), usize>,
    by_peer: HashMap<usize, Vec<usize>>,
    /// Streams that are not validated yet.
    strangers: HashSet<usize>,
    /// Connections may be waiting to be accepted.
    acceptable: bool,
    over: Vec<usize>,
    bind: Vec<IpAddr>,
    port: u16,
    max_streams: usize,
    max_strangers: usize,
    patience: Duration,
}

struct IceStream {
    /// The peer's id for it, if the peer opened it.
    id: Option<SocketId>,
    peer: Option<usize>,
    remote: SocketAddr,
    local: Option<SocketAddr>,
    deframer: Deframer,
    /// It must be validated by this time.
    until: Instant,
}

impl IceStreams {
    pub fn new(config: &LoopConfig) -> Self {
        Self {
            listeners: Vec::new(),
            streams: HashMap::new(),
            by_ends: HashMap::new(),
            by_peer: HashMap::new(),
            strangers: HashSet::new(),
            acceptable: false,
            over: Vec::new(),
            bind: config.bind.clone(),
            port: config.tcp_port,
            max_streams: config.max_tcp_streams,
            max_strangers: config.max_unvalidated_streams,
            patience: config.tcp_patience,
        }
    }

    /// Starts to listen, unless it does already.
    pub fn listen(&mut self, registry: &Registry) -> Result<(), String> {
        if self.listeners.is_empty() {
            let mut failures = Vec::new();
            for ip in self.bind.clone() {
                // One port for both families.
                let first = self.listeners.first().map(|(_, address)| address.port());
                let address = SocketAddr::new(ip, first.unwrap_or(self.port));
                match self.listen_on(address, registry) {
                    Ok(listener) => self.listeners.push(listener),
                    Err(e) => failures.push(format!("listening on TCP {address}: {e}")),
                }
            }
            if self.listeners.is_empty() {
                return Err(failures.join("; "));
            }
            for failure in failures {
                log::debug!("{failure}");
            }
        }
        Ok(())
    }

    fn listen_on(
        &self,
        address: SocketAddr,
        registry: &Registry,
    ) -> std::io::Result<(TcpListener, SocketAddr)> {
        use socket2::{Domain, Socket, Type};
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let mut listener = TcpListener::from_std(socket.into());
        let token = Token(FIRST_TOKEN + self.listeners.len());
        registry.register(&mut listener, token, Interest::READABLE)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    }

    /// Returns the listener at this address.
    pub fn listener(&self, local: SocketAddr) -> Option<&TcpListener> {
        let is_it = |bound: &SocketAddr| {
            bound.port() == local.port()
                && bound.is_ipv4() == local.is_ipv4()
                && (bound.ip() == local.ip() || bound.ip().is_unspecified())
        };
        let mut listeners = self.listeners.iter();
        let found = listeners.find(|(_, bound)| is_it(bound));
        found.map(|(listener, _)| listener)
    }

    /// Returns the listening addresses.
    pub fn bound(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(_, address)| *address).collect()
    }

    pub fn on_acceptable(&mut self) {
        self.acceptable = true;
    }

    pub fn is_acceptable(&self) -> bool {
        self.acceptable
    }

    /// Returns the time at which the next unvalidated stream expires.
    pub fn deadline(&self) -> Option<Instant> {
        self.strangers().map(|(_, s)| s.until).min()
    }

    /// Accepts pending connections, within limits.
    pub fn accept(
        &mut self,
        streams: &mut Streams,
        stats: &mut LoopStats,
        registry: &Registry,
        now: Instant,
    ) {
        if !std::mem::take(&mut self.acceptable) {
            return;
        }
        for index in 0..self.listeners.len() {
            for count in 0.. {
                if count >= ACCEPT_BUDGET {
                    self.acceptable = true;
                    break;
                }
                let (tcp, remote) = match self.listeners[index].0.accept() {
                    Ok(accepted) => accepted,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => {
                        // Usually a connection that was closed again; or no descriptors are left.
                        log::debug!("accepting: {e}");
                        break;
                    }
                };
                if !self.has_room_for(remote.ip()) {
                    stats.tcp_refused += 1;
                    continue;
                }
                if let Ok(key) = streams.accept(tcp, remote, registry) {
                    self.add(key, IceStream::new(None, remote, now + self.patience));
                }
            }
        }
    }

    fn has_room_for(&self, ip: IpAddr) -> bool {
        let unproved = self.strangers().filter(|(_, s)| s.id.is_none());
        has_room(unproved.map(|(_, s)| s.remote.ip()), ip, self.max_strangers)
    }

    fn count_of(&self, peer: usize) -> usize {
        self.by_peer.get(&peer).map_or(0, Vec::len)
    }

    fn strangers(&self) -> impl Iterator<Item = (usize, &IceStream)> {
        let keys = self.strangers.iter();
        keys.filter_map(|key| Some((*key, self.streams.get(key)?)))
    }

    fn add(&mut self, key: usize, stream: IceStream) {
        if let Some(peer) = stream.peer {
            self.by_peer.entry(peer).or_default().push(key);
        }
        self.strangers.insert(key);
        self.streams.insert(key, stream);
    }

    /// Handles an event of a stream.
    pub fn on_event(
        &mut self,
        key: usize,
        event: StreamEvent<'_>,
        (demux, peers, touched): (&Demux, &mut Peers, &mut Vec<usize>),
        stats: &mut LoopStats,
        now: Instant,
    ) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        match event {
            StreamEvent::Opened(address, _) => {
                stream.local = Some(address);
                self.by_ends.insert((address, stream.remote), key);
                if let (Some(peer), Some(id), Some(reply)) = (stream.peer, stream.id, event.reply())
                {
                    peers.input(peer, Input::Socket { now, id, reply }, touched);
                }
            }
            StreamEvent::Room | StreamEvent::Finished(_) => {}
            StreamEvent::Failed(why) => {
                log::debug!("ICE-TCP stream with {}: {why}", stream.remote);
                self.over.push(key);
            }
            StreamEvent::Received(source, destination, bytes) => {
                stream.deframer.push(bytes);
                loop {
                    let Some(stream) = self.streams.get_mut(&key) else {
                        return;
                    };
                    let contents = match stream.deframer.next_message() {
                        Ok(Some(contents)) => contents,
                        Ok(None) => return,
                        Err(e) => {
                            log::debug!("ICE-TCP stream with {source}: {e}");
                            self.over.push(key);
                            return;
                        }
                    };
                    stats.datagrams_received += 1;
                    let found = stream.peer.or_else(|| demux.by_ufrag(&contents));
                    let is_new = stream.peer.is_none();
                    let Some(peer) = found.filter(|p| self.is_welcome(*p, is_new)) else {
                        stats.unroutable += 1;
                        self.over.push(key);
                        return;
                    };
                    if is_new && let Some(stream) = self.streams.get_mut(&key) {
                        stream.peer = Some(peer);
                        self.by_peer.entry(peer).or_default().push(key);
                    }
                    let received = Received {
                        protocol: Protocol::IceTcp,
                        source,
                        destination,
                        contents: &contents,
                    };
                    peers.input(peer, Input::Receive { now, received }, touched);
                }
            }
        }
    }

    fn is_welcome(&self, peer: usize, is_new: bool) -> bool {
        !is_new || self.count_of(peer) < self.max_streams
    }

    /// Marks a stream as validated after a valid STUN message.
    pub fn proved(&mut self, local: SocketAddr, remote: SocketAddr) {
        if let Some(key) = self.by_ends.get(&(local, remote)) {
            self.strangers.remove(key);
        }
    }

    /// Returns the stream of this peer with these addresses.
    fn find(&self, peer: usize, local: SocketAddr, remote: SocketAddr) -> Option<usize> {
        let key = *self.by_ends.get(&(local, remote))?;
        let stream = self.streams.get(&key)?;
        (stream.peer == Some(peer)).then_some(key)
    }

    fn remove(&mut self, key: usize) -> Option<IceStream> {
        let stream = self.streams.remove(&key)?;
        self.strangers.remove(&key);
        if let Some(peer) = stream.peer
            && let Some(keys) = self.by_peer.get_mut(&peer)
        {
            keys.retain(|k| *k != key);
            if keys.is_empty() {
                self.by_peer.remove(&peer);
            }
        }
        if let Some(local) = stream.local {
            let ends = (local, stream.remote);
            if self.by_ends.get(&ends) == Some(&key) {
                self.by_ends.remove(&ends);
            }
        }
        Some(stream)
    }
}

impl IceStream {
    fn new(opened: Option<(usize, SocketId)>, remote: SocketAddr, until: Instant) -> Self {
        Self {
            id: opened.map(|(_, id)| id),
            peer: opened.map(|(peer, _)| peer),
            remote,
            local: None,
            deframer: Deframer::default(),
            until,
        }
    }
}

impl EventLoop {
    /// Returns the addresses for ICE-TCP; with port 9 if there is no listener (RFC 6544 §4.5).
    pub(super) fn ice_tcp_addresses(
        &mut self,
        listen: bool,
        now: Instant,
    ) -> Result<Vec<InterfaceAddress>, String> {
        if listen {
            self.ice.listen(self.poll.registry())?;
        }
        let bound = match listen {
            true => self.ice.bound(),
            false => Vec::new(),
        };
        self.ice_tcp_reachable(bound, now)
    }

    /// Returns the current addresses without opening a listener.
    pub(super) fn ice_tcp_addresses_now(
        &mut self,
        now: Instant,
    ) -> Result<Vec<InterfaceAddress>, String> {
        let bound = self.ice.bound();
        self.ice_tcp_reachable(bound, now)
    }

    fn ice_tcp_reachable(
        &mut self,
        mut bound: Vec<SocketAddr>,
        now: Instant,
    ) -> Result<Vec<InterfaceAddress>, String> {
        if bound.is_empty() {
            let bind = self.ice.bind.iter();
            bound.extend(bind.map(|ip| SocketAddr::new(*ip, ACTIVE_PORT)));
        }
        let mut addresses = Vec::new();
        for address in bound {
            addresses.extend(self.sockets.reachable(address, now)?);
        }
        Ok(addresses)
    }

    /// Starts a TCP connection on behalf of a peer.
    pub(super) fn open_ice_stream(
        &mut self,
        index: usize,
        id: SocketId,
        local: IpAddr,
        remote: SocketAddr,
        now: Instant,
    ) -> Result<(), String> {
        if self.ice.count_of(index) >= self.config.max_tcp_streams {
            return Err("the peer has too many streams".into());
        }
        let key = self
            .streams
            .open_from(local, remote, self.poll.registry())?;
        let until = now + self.config.tcp_patience;
        let stream = IceStream::new(Some((index, id)), remote, until);
        self.ice.add(key, stream);
        Ok(())
    }

    /// Sends on the peer's stream with this local and remote address.
    pub(super) fn send_ice_stream(&mut self, index: usize, transmit: &Transmit) {
        let (local, remote) = (transmit.source, transmit.destination);
        let Some(key) = self.ice.find(index, local, remote) else {
            return;
        };
        self.stats.datagrams_sent += 1;
        if let Some(framed) = frame(&transmit.contents) {
            self.streams.send(key, &framed);
        }
    }

    /// Closes a stream of a peer. Returns `true` if it existed.
    pub(super) fn close_ice_stream(&mut self, index: usize, id: SocketId) -> bool {
        let keys = self.ice.by_peer.get(&index);
        let mut keys = keys.into_iter().flatten().copied();
        let is_it = |key: &usize| self.ice.streams.get(key).is_some_and(|s| s.id == Some(id));
        let Some(key) = keys.find(is_it) else {
            return false;
        };
        self.ice.remove(key);
        self.streams.close(key, self.poll.registry());
        true
    }

    /// Closes all streams of a peer.
    pub(super) fn close_ice_streams(&mut self, index: usize) {
        for key in self.ice.by_peer.remove(&index).unwrap_or_default() {
            self.ice.remove(key);
            self.streams.close(key, self.poll.registry());
        }
    }

    /// Closes streams that ended or have expired, and notifies their peers.
    pub(super) fn end_ice_streams(&mut self, now: Instant) {
        if self.ice.deadline().is_some_and(|at| at <= now) {
            let late = self.ice.strangers().filter(|(_, s)| s.until <= now);
            let late: Vec<_> = late.map(|(key, _)| key).collect();
            self.ice.over.extend(late);
        }
        for key in std::mem::take(&mut self.ice.over) {
            let Some(stream) = self.ice.remove(key) else {
                continue;
            };
            self.streams.close(key, self.poll.registry());
            let Some(peer) = stream.peer else {
                continue;
            };
            let input = match (stream.id, stream.local) {
                (Some(id), _) => {
                    let remote = stream.remote;
                    let reply = SocketReply::Failed(format!("the stream with {remote} is gone"));
                    Input::Socket { now, id, reply }
                }
                (None, Some(local)) => Input::StreamLost {
                    now,
                    local,
                    remote: stream.remote,
                },
                (None, None) => continue,
            };
            self.peers.input(peer, input, &mut self.touched);
        }
    }
}

/// Returns `true` if another unvalidated stream of this client is allowed: one client may use an eighth of the limit.
fn has_room(strangers: impl Iterator<Item = IpAddr>, ip: IpAddr, most: usize) -> bool {
    let client = client_of(ip);
    let (mut all, mut same) = (0, 0);
    for stranger in strangers {
        all += 1;
        same += usize::from(client_of(stranger) == client);
    }
    all < most && same < (most / 8).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The owner of one IPv6 address has 2^64 of them.
    #[test]
    fn a_network_is_one_stranger() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let two = ["2001:db8::1", "2001:db8::2"].map(ip);
        assert!(!has_room(two.into_iter(), ip("2001:db8::3"), 16));
        assert!(has_room(two.into_iter(), ip("2001:db8:0:1::3"), 16));
        let mapped = ["192.0.2.1", "::ffff:192.0.2.1"].map(ip);
        assert!(!has_room(mapped.into_iter(), ip("192.0.2.1"), 16));
        assert!(has_room(mapped.into_iter(), ip("192.0.2.2"), 16));
        assert!(!has_room(mapped.into_iter(), ip("192.0.2.2"), 2));
    }
}
