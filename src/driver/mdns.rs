//! Multicast DNS on the loop: one socket per IPv4 interface, opened when the first name is needed.
//!
//! Names resolve to addresses of both families; the messages themselves are sent over IPv4.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::EventLoop;
use super::peers::PeerId;
use super::resolver::Waiter;
use crate::proto::ice::mdns::{GROUPS, PORT};
use crate::proto::ice::{Mdns, MdnsOutput};

/// First mio token of its sockets.
pub(super) const FIRST_TOKEN: usize = 1 << 29;

/// Maximum number of interfaces used.
const MAX_INTERFACES: usize = 16;

/// Maximum number of packets read from one socket per turn.
const READ_BUDGET: usize = 64;

/// Multicast DNS for the peers of a loop.
#[derive(Default)]
pub(super) struct MdnsDriver {
    machine: Mdns,
    sockets: Vec<UdpSocket>,
    opened: bool,
    readable: bool,
    waiting: HashMap<String, Vec<Waiter>>,
    published: HashMap<PeerId, Vec<String>>,
    deadline: Option<Instant>,
}

impl MdnsDriver {
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub fn on_ready(&mut self) {
        self.readable = true;
    }

    pub fn has_readable(&self) -> bool {
        self.readable
    }

    fn open(&mut self, addresses: Vec<Ipv4Addr>, registry: &Registry) {
        self.opened = true;
        for address in addresses.into_iter().take(MAX_INTERFACES) {
            let token = Token(FIRST_TOKEN + self.sockets.len());
            match bind(address, registry, token) {
                Ok(socket) => self.sockets.push(socket),
                Err(e) => log::debug!("multicast DNS on {address}: {e}"),
            }
        }
        if self.sockets.is_empty() {
            log::warn!(
                "no interface takes multicast DNS: names ending in .local cannot be resolved"
            );
        }
    }

    /// Reopens the sockets after interfaces have changed, if they are in use.
    pub fn reopen(&mut self, addresses: Vec<Ipv4Addr>, registry: &Registry) {
        if self.opened {
            // Closed sockets are no longer polled.
            self.sockets.clear();
            self.open(addresses, registry);
            self.readable = true;
        }
    }

    fn read(&mut self) {
        self.readable = false;
        let mut buffer = [0; 9000];
        for socket in &self.sockets {
            for left in (0..READ_BUDGET).rev() {
                match socket.recv_from(&mut buffer) {
                    Ok((length, _)) => self.machine.handle_datagram(&buffer[..length]),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => log::debug!("reading multicast DNS: {e}"),
                }
                self.readable |= left == 0;
            }
        }
    }

    fn send(&self, packet: &[u8]) {
        let to = SocketAddr::new(GROUPS.0.into(), PORT);
        for socket in &self.sockets {
            if let Err(e) = socket.send_to(packet, to) {
                log::debug!("sending multicast DNS: {e}");
            }
        }
    }

    /// Unpublishes the names of a peer.
    pub fn release(&mut self, peer: PeerId) {
        for host in self.published.remove(&peer).unwrap_or_default() {
            self.machine.unpublish(&host);
        }
    }
}

impl EventLoop {
    pub(super) fn resolve_local(&mut self, waiter: Waiter, host: &str, now: Instant) {
        self.open_mdns(now);
        self.mdns
            .waiting
            .entry(host.to_owned())
            .or_default()
            .push(waiter);
        self.mdns.machine.resolve(host, now);
        self.drain_mdns(now);
    }

    pub(super) fn publish(&mut self, index: usize, host: String, address: IpAddr, now: Instant) {
        let Some(peer) = self.peers.id_of(index) else {
            return;
        };
        self.open_mdns(now);
        if self.mdns.machine.publish(&host, address) {
            self.mdns.published.entry(peer).or_default().push(host);
        } else {
            crate::seldom::seldom!(warn, "too many names: {host} cannot be resolved by others");
        }
    }

    fn open_mdns(&mut self, now: Instant) {
        if !self.mdns.opened {
            let addresses = self.sockets.ipv4_interfaces(now);
            self.mdns.open(addresses, self.poll.registry());
        }
    }

    /// Reads incoming packets and handles timeouts.
    pub(super) fn run_mdns(&mut self, now: Instant) {
        let is_due = self.mdns.deadline.is_some_and(|at| at <= now);
        if !self.mdns.readable && !is_due {
            return;
        }
        if self.mdns.readable {
            self.mdns.read();
        }
        self.mdns.machine.handle_timeout(now);
        self.drain_mdns(now);
    }

    fn drain_mdns(&mut self, now: Instant) {
        loop {
            match self.mdns.machine.poll_output() {
                MdnsOutput::Multicast(packet) => self.mdns.send(&packet),
                MdnsOutput::Resolved(host, result) => {
                    for waiter in self.mdns.waiting.remove(&host).unwrap_or_default() {
                        self.on_resolved(waiter, &host, result.clone(), now);
                    }
                }
                MdnsOutput::Timeout(at) => {
                    self.mdns.deadline = at;
                    return;
                }
            }
        }
    }
}

/// Opens a socket on the shared mDNS port that sends on this interface.
fn bind(interface: Ipv4Addr, registry: &Registry, token: Token) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT).into())?;
    socket.join_multicast_v4(&GROUPS.0, &interface)?;
    socket.set_multicast_if_v4(&interface)?;
    // RFC 6762 §11.
    socket.set_multicast_ttl_v4(255)?;
    let mut socket = UdpSocket::from_std(socket.into());
    registry.register(&mut socket, token, Interest::READABLE)?;
    Ok(socket)
}
