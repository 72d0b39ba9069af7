//! The TURN server on sockets, on the calling thread.
#![allow(clippy::disallowed_methods)]

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};

use super::relay_sockets::RelaySockets;
use super::server_config::{Listening, Transport, TurnServerConfig, TurnServerError};
use super::stream::Stream;
use super::{Client, Input, Link, Output, RelayId, TurnMachine, TurnStats};
use crate::driver::UdpConfig;
use crate::driver::udp::Owner;
use crate::driver::udp::{Read, RecvBuffers, Udp};
use crate::proto::net;
use crate::server::quota::client_of;

/// Maximum number of connections accepted per listening socket and turn.
const ACCEPT_BUDGET: usize = 32;

/// Interval of the check for silent streams.
const SWEEP: Duration = Duration::from_secs(1);

/// A STUN and TURN server.
///
/// It has a poll of its own, and does its work in [`run_once`](Self::run_once), on the calling thread. To run it beside other
/// event sources, wait for its descriptor and for [`next_deadline`](Self::next_deadline), then call
/// `turn(Some(Duration::ZERO))`; an [`EventLoop`](crate::driver::EventLoop) can wait for it with
/// [`watch`](crate::driver::EventLoop::watch).
pub struct TurnServer {
    config: TurnServerConfig,
    machine: TurnMachine,
    poll: Poll,
    ready: Events,
    entries: Slab<Entry>,
    listening: Vec<Listening>,
    relays: HashMap<RelayId, usize>,
    relay_sockets: RelaySockets,
    streams: HashMap<u64, usize>,
    streams_of: HashMap<IpAddr, usize>,
    last_stream: u64,
    buffers: RecvBuffers,
    chunk: Vec<u8>,
    /// Sockets that may have more to read. mio is edge-triggered and will not report them again.
    readable: VecDeque<usize>,
    /// Sockets with queued datagrams.
    queued: Vec<usize>,
    swept: Instant,
    deadline: Option<Instant>,
    dropped: u64,
}

/// Object that a mio token refers to.
enum Entry {
    Listener(Udp),
    Relay(Udp, RelayId),
    Acceptor(TcpListener, Transport, bool),
    Stream(Box<Stream>),
}

impl TurnServer {
    /// Opens the listening sockets.
    ///
    /// # Errors
    ///
    /// Returns [`TurnServerError`], whose text names the socket and a remedy.
    pub fn new(config: TurnServerConfig) -> Result<Self, TurnServerError> {
        if !config.tls.is_empty() && config.identity.is_none() {
            return Err(TurnServerError::Config(
                "TLS needs a certificate and its key",
            ));
        }
        let poll = Poll::new().map_err(|e| TurnServerError::Io("making a poll", e))?;
        let now = Instant::now();
        let mut server = Self {
            machine: TurnMachine::new(config.machine.clone(), now, unix()),
            relay_sockets: RelaySockets::new(&config),
            config,
            poll,
            ready: Events::with_capacity(256),
            entries: Slab::new(),
            listening: Vec::new(),
            relays: HashMap::new(),
            streams: HashMap::new(),
            streams_of: HashMap::new(),
            last_stream: 0,
            buffers: RecvBuffers::new(),
            chunk: vec![0; 16 * 1024],
            readable: VecDeque::new(),
            queued: Vec::new(),
            swept: now,
            deadline: None,
            dropped: 0,
        };
        server.listen()?;
        Ok(server)
    }

    fn listen(&mut self) -> Result<(), TurnServerError> {
        let all = [
            (Transport::Udp, self.config.udp.clone()),
            (Transport::Tcp, self.config.tcp.clone()),
            (Transport::Tls, self.config.tls.clone()),
        ];
        for (transport, addresses) in all {
            let several = addresses.len() > 1;
            for address in addresses {
                match self.listen_at(transport, address) {
                    Ok(address) => self.listening.push(Listening { transport, address }),
                    // A system without IPv6 needs no warning if all addresses were requested.
                    Err(e) if several && lacks_ipv6(address, &e) => {
                        log::debug!("listening at {address}: {e}");
                    }
                    Err(e) => return Err(TurnServerError::Bind(transport, address, e)),
                }
            }
        }
        if self.listening.is_empty() {
            return Err(TurnServerError::Config("no address to listen at was given"));
        }
        Ok(())
    }

    fn listen_at(&mut self, transport: Transport, at: SocketAddr) -> io::Result<SocketAddr> {
        let registry = self.poll.registry();
        let slot = self.entries.vacant_entry();
        let token = Token(slot.key());
        if transport == Transport::Udp {
            let (buffer, queue) = (self.config.socket_buffer, self.config.socket_queue);
            let mut udp = Udp::bind(&UdpConfig::new(at), Owner::Nobody, buffer, queue)?;
            udp.register(registry, token)?;
            let address = udp.bound();
            slot.insert(Entry::Listener(udp));
            return Ok(address);
        }
        let mut listener = tcp_listener(at)?;
        registry.register(&mut listener, token, Interest::READABLE)?;
        let address = listener.local_addr()?;
        slot.insert(Entry::Acceptor(listener, transport, false));
        Ok(address)
    }

    /// Returns the listening sockets.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Returns the counters accumulated since the server was created.
    pub fn stats(&self) -> TurnStats {
        let sockets = self.entries.iter().map(|(_, entry)| match entry {
            Entry::Listener(udp) | Entry::Relay(udp, _) => udp.dropped,
            Entry::Acceptor(..) | Entry::Stream(_) => 0,
        });
        let mut stats = self.machine.stats();
        stats.over_queue += self.dropped + sockets.sum::<u64>();
        stats
    }

    /// Runs one turn: waits for activity for at most `max_wait` (`None`: without limit), and handles it. Apart from the
    /// wait, its work is bounded.
    ///
    /// # Errors
    ///
    /// Returns [`TurnServerError::Io`] if the system refuses to wait; the server is unusable then.
    pub fn run_once(&mut self, max_wait: Option<Duration>) -> Result<(), TurnServerError> {
        let wait = self.wait(max_wait);
        match self.poll.poll(&mut self.ready, wait) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(TurnServerError::Io("waiting for events", e)),
        }
        let now = Instant::now();
        self.machine.set_clock(unix(), now);
        self.take_ready();
        for _ in 0..self.readable.len() {
            if let Some(index) = self.readable.pop_front() {
                self.read(index, now);
                self.carry_out(now);
            }
        }
        if self.deadline.is_some_and(|at| at <= now) {
            self.machine.handle_input(Input::Timeout, now);
        }
        self.sweep(now);
        self.carry_out(now);
        self.flush(now);
        Ok(())
    }

    /// Returns the time by which [`run_once`](Self::run_once) must be called even if nothing arrives. A time in the past means
    /// now.
    pub fn next_deadline(&self) -> Option<Instant> {
        if !self.readable.is_empty() {
            return Some(Instant::now());
        }
        let sweep = (!self.streams.is_empty()).then_some(self.swept + SWEEP);
        self.deadline.into_iter().chain(sweep).min()
    }

    fn wait(&self, max_wait: Option<Duration>) -> Option<Duration> {
        let now = Instant::now();
        let until = self
            .next_deadline()
            .map(|at| at.saturating_duration_since(now));
        until.into_iter().chain(max_wait).min()
    }

    fn take_ready(&mut self) {
        for event in &self.ready {
            let index = event.token().0;
            let Some(entry) = self.entries.get_mut(index) else {
                continue;
            };
            let listed = match entry {
                Entry::Listener(udp) | Entry::Relay(udp, _) => {
                    if event.is_writable() {
                        udp.writable();
                        if udp.has_queued() && !udp.listed_queued {
                            udp.listed_queued = true;
                            self.queued.push(index);
                        }
                    }
                    if !event.is_readable() {
                        continue;
                    }
                    &mut udp.listed_readable
                }
                Entry::Acceptor(_, _, listed) => listed,
                Entry::Stream(stream) => &mut stream.listed,
            };
            if !std::mem::replace(listed, true) {
                self.readable.push_back(index);
            }
        }
    }

    /// Reads from this socket up to its budget.
    fn read(&mut self, index: usize, now: Instant) {
        let budget = self.config.read_budget;
        let machine = &mut self.machine;
        let again = match self.entries.get_mut(index) {
            Some(Entry::Listener(udp)) => {
                udp.listed_readable =
                    read_udp(udp, &mut self.buffers, budget, |source, local, m| {
                        let link = Link::Datagrams(u32::try_from(index).unwrap_or(u32::MAX));
                        let client = Client {
                            link,
                            local,
                            remote: source,
                        };
                        machine.handle_input(Input::Message(client, m), now);
                    });
                udp.listed_readable
            }
            Some(Entry::Relay(udp, relay)) => {
                let relay = *relay;
                udp.listed_readable =
                    read_udp(udp, &mut self.buffers, budget, |source, _, contents| {
                        let input = Input::Datagram {
                            relay,
                            source,
                            contents,
                        };
                        machine.handle_input(input, now);
                    });
                udp.listed_readable
            }
            Some(Entry::Acceptor(..)) => self.accept(index, now),
            Some(Entry::Stream(stream)) => {
                let result = stream.read(&mut self.chunk, now, |client, m| {
                    machine.handle_input(Input::Message(client, m), now);
                });
                // Includes handshake messages.
                let result = result.and_then(|more| stream.flush().map(|()| more));
                stream.listed = matches!(result, Ok(true));
                match result {
                    Ok(more) => more,
                    Err(why) => {
                        self.close_stream(index, &why, now);
                        false
                    }
                }
            }
            None => false,
        };
        if again {
            self.readable.push_back(index);
        }
    }

    /// Accepts new connections. Returns `true` if there may be more.
    fn accept(&mut self, index: usize, now: Instant) -> bool {
        for _ in 0..ACCEPT_BUDGET {
            let Some(Entry::Acceptor(listener, transport, listed)) = self.entries.get_mut(index)
            else {
                return false;
            };
            match listener.accept() {
                Ok((tcp, remote)) => {
                    let transport = *transport;
                    if let Err(why) = self.add_stream(tcp, remote, transport, now) {
                        log::debug!("a connection from {remote}: {why}");
                    }
                }
                Err(e) => {
                    *listed = false;
                    if e.kind() != ErrorKind::WouldBlock {
                        // For example, no descriptors are left: the next connection triggers another attempt.
                        crate::seldom::seldom!(warn, "accepting a connection: {e}");
                    }
                    return false;
                }
            }
        }
        true
    }

    fn add_stream(
        &mut self,
        mut tcp: mio::net::TcpStream,
        remote: SocketAddr,
        transport: Transport,
        now: Instant,
    ) -> Result<(), String> {
        let address = client_of(remote.ip());
        let of_address = self.streams_of.get(&address).copied().unwrap_or(0);
        if self.streams.len() >= self.config.streams {
            return Err("there are as many as allowed".into());
        }
        if of_address >= self.config.streams_per_address {
            return Err("there are as many of this address as allowed".into());
        }
        let tls = match (transport, &self.config.identity) {
            (Transport::Tls, Some(identity)) => Some(identity.accept()?),
            (Transport::Tls, None) => return Err("TLS without a certificate".into()),
            _ => None,
        };
        let say = |e: io::Error| e.to_string();
        tcp.set_nodelay(true).map_err(say)?;
        let local = tcp.local_addr().map_err(say)?;
        let slot = self.entries.vacant_entry();
        let index = slot.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry
            .register(&mut tcp, Token(index), interest)
            .map_err(say)?;
        self.last_stream += 1;
        let client = Client {
            link: Link::Stream(self.last_stream),
            local,
            remote,
        };
        slot.insert(Entry::Stream(Box::new(Stream::new(tcp, client, tls, now))));
        self.streams.insert(self.last_stream, index);
        self.streams_of.insert(address, of_address + 1);
        Ok(())
    }

    fn close_stream(&mut self, index: usize, why: &str, now: Instant) {
        if !matches!(self.entries.get(index), Some(Entry::Stream(_))) {
            return;
        }
        let Entry::Stream(mut stream) = self.entries.remove(index) else {
            return;
        };
        let client = stream.client;
        log::debug!("the connection of {}: {why}", client.remote);
        let _ = self.poll.registry().deregister(&mut stream.tcp);
        if let Link::Stream(number) = client.link {
            self.streams.remove(&number);
        }
        let address = client_of(client.remote.ip());
        if let Some(count) = self.streams_of.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.streams_of.remove(&address);
            }
        }
        self.machine.handle_input(Input::Closed(client), now);
    }

    /// Closes silent streams without an allocation.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        let idle = self.config.stream_idle;
        let mut over = Vec::new();
        for (index, entry) in &self.entries {
            if let Entry::Stream(stream) = entry
                && now.saturating_duration_since(stream.heard) >= idle
                && !self.machine.has_allocation(&stream.client)
            {
                over.push(index);
            }
        }
        for index in over {
            self.close_stream(index, "silent for too long", now);
        }
    }

    /// Sets the addresses of this machine (`None` keeps the current ones) and the UDP ports on which peers may reach
    /// it. See [`PeerPolicy::own`](super::PeerPolicy).
    pub fn set_own(&mut self, addresses: Option<Vec<IpAddr>>, ports: &[u16]) {
        self.machine.set_own(addresses, ports);
    }

    /// Carries out the machine's output.
    fn carry_out(&mut self, now: Instant) {
        loop {
            match self.machine.poll_output() {
                Output::Message(client, contents) => self.send_to_client(client, contents, now),
                Output::Datagram {
                    relay,
                    destination,
                    contents,
                } => {
                    if let Some(index) = self.relays.get(&relay) {
                        self.send_datagram(*index, None, destination, contents);
                    }
                }
                Output::OpenRelay {
                    relay,
                    client,
                    port,
                } => {
                    let opened = self.relay_sockets.open(relay.is_ipv6(), &client, port);
                    let result = opened.and_then(|(udp, seen_as)| {
                        self.add_relay(relay, udp)
                            .map_err(|e| e.to_string())
                            .map(|()| seen_as)
                    });
                    self.machine
                        .handle_input(Input::RelayOpened(relay, result), now);
                }
                Output::CloseRelay(relay) => self.close_relay(relay),
                Output::DropReservation(token) => self.relay_sockets.forget(token),
                Output::Timeout(at) => {
                    self.deadline = at;
                    return;
                }
            }
        }
    }

    fn add_relay(&mut self, relay: RelayId, mut udp: Udp) -> io::Result<()> {
        let slot = self.entries.vacant_entry();
        let index = slot.key();
        udp.register(self.poll.registry(), Token(index))?;
        slot.insert(Entry::Relay(udp, relay));
        self.relays.insert(relay, index);
        Ok(())
    }

    fn close_relay(&mut self, relay: RelayId) {
        let Some(index) = self.relays.remove(&relay) else {
            return;
        };
        if let Some(Entry::Relay(mut udp, _)) = self.entries.try_remove(index) {
            // Queued datagrams are still sent, if the system accepts them now.
            udp.flush();
            self.dropped += udp.dropped;
            udp.deregister(self.poll.registry());
        }
    }

    fn send_to_client(&mut self, client: Client, contents: Vec<u8>, now: Instant) {
        let number = match client.link {
            Link::Datagrams(index) => {
                let local = Some(client.local);
                return self.send_datagram(index as usize, local, client.remote, contents);
            }
            Link::Stream(number) => number,
        };
        let Some(index) = self.streams.get(&number).copied() else {
            return;
        };
        let Some(Entry::Stream(stream)) = self.entries.get_mut(index) else {
            return;
        };
        match stream.send(&contents) {
            Ok(true) => self.queued.push(index),
            Ok(false) => self.dropped += 1,
            Err(why) => self.close_stream(index, &why, now),
        }
    }

    fn send_datagram(
        &mut self,
        index: usize,
        source: Option<SocketAddr>,
        destination: SocketAddr,
        contents: Vec<u8>,
    ) {
        let Some(Entry::Listener(udp) | Entry::Relay(udp, _)) = self.entries.get_mut(index) else {
            return;
        };
        let transmit = net::Transmit {
            protocol: net::Protocol::Udp,
            source: source.unwrap_or(udp.bound()),
            destination,
            contents,
        };
        if udp.push(transmit) && !udp.listed_queued {
            udp.listed_queued = true;
            self.queued.push(index);
        }
    }

    /// Flushes queued output until the system would block; it reports when it accepts more.
    fn flush(&mut self, now: Instant) {
        for index in std::mem::take(&mut self.queued) {
            match self.entries.get_mut(index) {
                Some(Entry::Listener(udp) | Entry::Relay(udp, _)) => {
                    udp.listed_queued = false;
                    udp.flush();
                }
                Some(Entry::Stream(stream)) => {
                    if let Err(why) = stream.flush() {
                        self.close_stream(index, &why, now);
                    }
                }
                Some(Entry::Acceptor(..)) | None => {}
            }
        }
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for TurnServer {
    /// The descriptor becomes readable when [`run_once`](TurnServer::run_once) has something to do.
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.poll)
    }
}

/// Reads up to the budget. Returns `true` if there may be more.
fn read_udp(
    udp: &mut Udp,
    buffers: &mut RecvBuffers,
    budget: usize,
    mut each: impl FnMut(SocketAddr, SocketAddr, &[u8]),
) -> bool {
    let mut left = budget;
    while left > 0 {
        match udp.read(buffers, &mut each) {
            Ok(Read::Some(count)) => left = left.saturating_sub(count.max(1)),
            Ok(Read::Empty) => return false,
            Err(e) => {
                // For example ECONNREFUSED from an ICMP message: more datagrams may be waiting.
                log::debug!("reading a socket: {e}");
                left -= 1;
            }
        }
    }
    true
}

fn tcp_listener(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // On Windows it would let other programs take over the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(128)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn lacks_ipv6(address: SocketAddr, e: &io::Error) -> bool {
    let kinds = [ErrorKind::AddrNotAvailable, ErrorKind::Unsupported];
    // EAFNOSUPPORT has no `ErrorKind`.
    address.is_ipv6() && (kinds.contains(&e.kind()) || e.raw_os_error() == Some(97))
}

fn unix() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests;
