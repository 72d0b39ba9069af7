//! The UDP sockets of a loop: shared ones, and those of single peers.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use mio::{Registry, Token};
use slab::Slab;

use super::config::LoopConfig;
use super::interfaces::{Interfaces, Snapshot};
use super::udp::{Owner, Read, RecvBuffers, Udp};
use super::udp_config::{UdpConfig, UdpId};
use crate::proto::net::{InterfaceAddress, PortPolicy, Transmit};

/// All sockets; their index is their mio token.
pub(super) struct Sockets {
    bind: Vec<IpAddr>,
    port: u16,
    buffer: usize,
    max_queue: usize,
    read_budget: usize,
    udp: Slab<Udp>,
    shared: Vec<usize>,
    interfaces: Interfaces,
    buffers: RecvBuffers,
    /// Sockets that may have more to read. mio is edge-triggered and will not report them again.
    readable: VecDeque<usize>,
    /// Sockets with queued datagrams.
    queued: Vec<usize>,
    /// Number of sockets that belong to the application.
    application: usize,
    /// Set if something was queued since the last flush.
    is_fresh: bool,
    dropped: u64,
}

impl Sockets {
    pub fn new(config: &LoopConfig) -> Self {
        Self {
            bind: config.bind.clone(),
            port: config.port,
            buffer: config.socket_buffer,
            max_queue: config.max_send_queue,
            read_budget: config.read_budget,
            udp: Slab::new(),
            shared: Vec::new(),
            interfaces: Interfaces::default(),
            buffers: RecvBuffers::new(),
            readable: VecDeque::new(),
            queued: Vec::new(),
            application: 0,
            is_fresh: false,
            dropped: 0,
        }
    }

    /// Opens the sockets for a peer; returns the addresses at which they are reachable.
    pub fn open(
        &mut self,
        policy: PortPolicy,
        peer: usize,
        registry: &Registry,
        now: Instant,
    ) -> Result<(Vec<usize>, Vec<InterfaceAddress>), String> {
        let sockets = match policy {
            PortPolicy::Shared if !self.shared.is_empty() => self.shared.clone(),
            PortPolicy::Shared => {
                self.shared = self.bind_all(self.port, Owner::Shared, |_| true, registry)?;
                self.shared.clone()
            }
            PortPolicy::Own => self.bind_all(0, Owner::Peer(peer), |_| true, registry)?,
        };
        self.with_addresses(sockets, now)
    }

    /// Opens a socket of the peer's own that can reach this address; returns its addresses.
    pub fn open_to(
        &mut self,
        remote: SocketAddr,
        peer: usize,
        registry: &Registry,
        now: Instant,
    ) -> Result<(Vec<usize>, Vec<InterfaceAddress>), String> {
        let is_family = |ip: IpAddr| ip.is_ipv4() == remote.is_ipv4();
        let sockets = self.bind_all(0, Owner::Peer(peer), is_family, registry)?;
        self.with_addresses(sockets, now)
    }

    /// Returns the IPv4 addresses of all interfaces.
    pub fn ipv4_interfaces(&mut self, now: Instant) -> Vec<Ipv4Addr> {
        self.interfaces.ipv4(now).unwrap_or_else(|e| {
            log::warn!("listing network interfaces: {e}");
            Vec::new()
        })
    }

    fn with_addresses(
        &mut self,
        sockets: Vec<usize>,
        now: Instant,
    ) -> Result<(Vec<usize>, Vec<InterfaceAddress>), String> {
        let addresses = self.addresses(&sockets, now)?;
        Ok((sockets, addresses))
    }

    /// Returns the shared port, once the first peer has opened it.
    pub fn shared_port(&self) -> Option<u16> {
        let socket = self.udp.get(*self.shared.first()?)?;
        Some(socket.bound().port())
    }

    /// Queries the system for its addresses.
    pub fn look(&mut self, now: Instant) -> io::Result<Snapshot> {
        self.interfaces.refresh(now)?;
        Ok(self.interfaces.snapshot())
    }

    /// Returns the addresses at which these sockets are reachable.
    pub fn addresses(
        &mut self,
        sockets: &[usize],
        now: Instant,
    ) -> Result<Vec<InterfaceAddress>, String> {
        let mut addresses = Vec::new();
        for socket in sockets {
            let Some(udp) = self.udp.get(*socket) else {
                continue;
            };
            let bound = udp.bound();
            addresses.extend(self.reachable(bound, now)?);
        }
        Ok(addresses)
    }

    /// Returns the addresses at which a socket bound to `bound` is reachable.
    pub fn reachable(
        &mut self,
        bound: SocketAddr,
        now: Instant,
    ) -> Result<Vec<InterfaceAddress>, String> {
        let list = self.interfaces.reachable(bound, now);
        list.map_err(|e| format!("listing network interfaces: {e}"))
    }

    fn bind_all(
        &mut self,
        port: u16,
        owner: Owner,
        accepts: impl Fn(IpAddr) -> bool,
        registry: &Registry,
    ) -> Result<Vec<usize>, String> {
        let mut bound = Vec::new();
        let mut failures = Vec::new();
        let addresses: Vec<_> = self
            .bind
            .iter()
            .copied()
            .filter(|ip| accepts(*ip))
            .collect();
        if addresses.is_empty() {
            return Err("the loop binds no address of this family".into());
        }
        for ip in addresses {
            let address = SocketAddr::new(ip, port);
            match self.bind_one(address, owner, registry) {
                Ok(index) => bound.push(index),
                Err(e) => {
                    // A system without IPv6 is not worth a warning; one without any address family is.
                    log::debug!("binding UDP {address}: {e}");
                    failures.push(format!("binding UDP {address}: {e}"));
                }
            }
        }
        if bound.is_empty() {
            return Err(failures.join("; "));
        }
        Ok(bound)
    }

    fn bind_one(
        &mut self,
        address: SocketAddr,
        owner: Owner,
        registry: &Registry,
    ) -> io::Result<usize> {
        let udp = Udp::bind(&address.into(), owner, self.buffer, self.max_queue)?;
        self.add(udp, registry)
    }

    /// Opens a socket of the application; `id` makes its id from its index.
    pub fn open_udp(
        &mut self,
        config: &UdpConfig,
        registry: &Registry,
        id: impl FnOnce(usize) -> UdpId,
    ) -> io::Result<UdpId> {
        let id = id(self.udp.vacant_key());
        let owner = Owner::Application(id);
        let udp = Udp::bind(config, owner, self.buffer, self.max_queue)?;
        self.add(udp, registry)?;
        self.application += 1;
        Ok(id)
    }

    fn add(&mut self, mut udp: Udp, registry: &Registry) -> io::Result<usize> {
        let entry = self.udp.vacant_entry();
        let index = entry.key();
        udp.register(registry, Token(index))?;
        entry.insert(udp);
        Ok(index)
    }

    pub fn on_ready(&mut self, socket: usize, readable: bool, writable: bool) {
        let Some(udp) = self.udp.get_mut(socket) else {
            return;
        };
        if writable {
            udp.writable();
        }
        if readable && !udp.listed_readable {
            udp.listed_readable = true;
            self.readable.push_back(socket);
        }
    }

    pub fn get(&self, socket: usize) -> Option<&Udp> {
        self.udp.get(socket)
    }

    /// Returns the number of the application's sockets.
    pub fn application_count(&self) -> usize {
        self.application
    }

    /// Reads from each readable socket up to its budget. Calls `each` with the socket, its owner, the sender, the local
    /// address and the datagram.
    pub fn read(&mut self, mut each: impl FnMut(usize, Owner, SocketAddr, SocketAddr, &[u8])) {
        for _ in 0..self.readable.len() {
            let Some(index) = self.readable.pop_front() else {
                return;
            };
            let Some(udp) = self.udp.get_mut(index) else {
                continue;
            };
            udp.listed_readable = false;
            let owner = udp.owner;
            let mut left = self.read_budget;
            let mut more = false;
            loop {
                let read = udp.read(&mut self.buffers, |from, local, datagram| {
                    each(index, owner, from, local, datagram);
                });
                match read {
                    Ok(Read::Some(n)) if n < left => left -= n,
                    Ok(Read::Some(_)) => {
                        more = true;
                        break;
                    }
                    Ok(Read::Empty) => break,
                    Err(e) => {
                        // For example ECONNREFUSED from an ICMP message: more datagrams may be waiting.
                        log::debug!("reading a socket: {e}");
                        left = left.saturating_sub(1);
                        if left == 0 {
                            more = true;
                            break;
                        }
                    }
                }
            }
            if more {
                udp.listed_readable = true;
                self.readable.push_back(index);
            }
        }
    }

    /// Queues a datagram on the socket of this list that has its source address.
    pub fn send(&mut self, sockets: &[usize], transmit: Transmit) {
        let found = sockets.iter().copied().find(|s| {
            self.udp
                .get(*s)
                .is_some_and(|udp| udp.serves(transmit.source))
        });
        let Some((index, udp)) = found.and_then(|i| Some((i, self.udp.get_mut(i)?))) else {
            self.dropped += 1;
            return;
        };
        if !udp.push(transmit) {
            return;
        }
        self.is_fresh = true;
        if !udp.listed_queued {
            udp.listed_queued = true;
            self.queued.push(index);
        }
    }

    /// Flushes queued datagrams until the kernel would block, then closes sockets that were waiting for their queue to
    /// drain.
    pub fn flush(&mut self, registry: &Registry) {
        self.is_fresh = false;
        let (udp, dropped) = (&mut self.udp, &mut self.dropped);
        self.queued.retain(|index| {
            let Some(socket) = udp.get_mut(*index) else {
                return false;
            };
            socket.flush();
            socket.listed_queued = socket.has_queued();
            if !socket.listed_queued && socket.closing {
                socket.deregister(registry);
                *dropped += socket.dropped;
                udp.remove(*index);
                return false;
            }
            socket.listed_queued
        });
    }

    /// Handles that these sockets have lost their peer. Shared ones stay open.
    pub fn close(&mut self, sockets: &[usize], registry: &Registry) {
        for index in sockets {
            if self.shared.contains(index) {
                continue;
            }
            let Some(udp) = self.udp.get_mut(*index) else {
                continue;
            };
            if let Owner::Application(_) = udp.owner {
                self.application -= 1;
            }
            udp.owner = Owner::Nobody;
            udp.closing = true;
            if !udp.has_queued() {
                udp.deregister(registry);
                self.dropped += udp.dropped;
                self.udp.remove(*index);
            }
        }
    }

    /// Returns `true` if datagrams from this address on this socket have to be demultiplexed: the socket is shared, and
    /// of the same address family.
    pub fn is_shared_with(&self, socket: usize, remote: SocketAddr) -> bool {
        self.udp.get(socket).is_some_and(|udp| {
            udp.owner == Owner::Shared && udp.bound().is_ipv4() == remote.is_ipv4()
        })
    }

    pub fn has_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Returns `true` if something was queued since the last flush.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    pub fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    pub fn dropped(&self) -> u64 {
        self.dropped + self.udp.iter().map(|(_, u)| u.dropped).sum::<u64>()
    }
}
