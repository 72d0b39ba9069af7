//! Accepting connections.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::config::DoorConfig;
use super::connection::Connection;
use super::wire::Wire;
use super::{Door, answer};
use crate::proto::http::{ReadLimits, Refusal, Reply, RequestReader};
use crate::server::quota::client_of;

/// Maximum number of connections accepted per turn.
const ACCEPT_BUDGET: usize = 64;

/// Socket buffer per connection and direction, in bytes (Linux allocates twice as much): 128 KiB in 50 ms are 20
/// Mbit/s.
const SOCKET_BUFFER: usize = 128 * 1024;

/// Pause after a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);

impl Door {
    /// Accepts new connections.
    pub(super) fn admit(&mut self, now: Instant) {
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
        }
        if !self.may_accept || self.accept_again.is_some() {
            return;
        }
        for _ in 0..ACCEPT_BUDGET {
            match self.listener.accept() {
                Ok((tcp, client)) => self.welcome(tcp, client, now),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.may_accept = false;
                    return;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // The client has disconnected before it was accepted.
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                Err(e) => match self.admit_in_need(&e, now) {
                    true => {}
                    false => return,
                },
            }
        }
    }

    /// Accepts a connection when probably no descriptors are left. The system reports that error whether or not a
    /// connection is waiting; to find out, the spare descriptor is released, and then replaced by closing an idle
    /// connection. Returns `true` if there may be more.
    fn admit_in_need(&mut self, error: &io::Error, now: Instant) -> bool {
        if self.spare.take().is_none() && !self.find_spare() {
            self.stats.accept_failed += 1;
            // Logged occasionally only.
            if self.stats.accept_failed.is_power_of_two() {
                let count = self.stats.accept_failed;
                log::warn!("accepting a connection: {error} ({count} times so far)");
            }
            self.accept_again = Some(now + PAUSE);
            return false;
        }
        self.spare = None;
        match self.listener.accept() {
            Ok((tcp, client)) if self.find_spare() => {
                self.stats.accept_failed += 1;
                self.welcome(tcp, client, now);
                true
            }
            Ok((mut tcp, _)) => {
                self.stats.accept_failed += 1;
                self.stats.refused_full += 1;
                self.refuse_connection(&mut tcp, &overloaded("there are no descriptors left"));
                drop(tcp);
                self.find_spare();
                true
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.find_spare();
                self.may_accept = false;
                false
            }
            Err(_) => {
                self.find_spare();
                self.accept_again = Some(now + PAUSE);
                false
            }
        }
    }

    /// Ensures that there is a spare descriptor, closing an idle connection if necessary. Returns `true` if there is
    /// one.
    fn find_spare(&mut self) -> bool {
        self.spare = spare();
        if self.spare.is_none()
            && let Some(index) = self.admission.first()
        {
            self.stats.evicted += 1;
            self.remove(index, "its descriptor is needed");
            self.spare = spare();
        }
        self.spare.is_some()
    }

    fn welcome(&mut self, mut tcp: TcpStream, client: SocketAddr, now: Instant) {
        // An IPv4 address is the same on IPv4 and IPv6 sockets.
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let address = client_of(client.ip());
        // The client of a trusted proxy's connection is known with its request: see `attribute`.
        let is_proxy = self.config.proxies.trusts(client.ip());
        let most = self.config.max_connections_per_address;
        if !is_proxy && self.admission.count(address) >= most {
            let Some(index) = self.admission.first_of(address) else {
                self.stats.refused_address += 1;
                let refusal = Refusal::new(429, "too many connections from your address");
                self.refuse_connection(&mut tcp, &refusal);
                return;
            };
            self.evict(index);
        }
        let strangers = self.config.max_connections * self.config.strangers_percent / 100;
        let is_full = self.connections.len() >= self.config.max_connections
            || self.admission.strangers() >= strangers.max(1);
        if is_full {
            // Clients without a complete request come first.
            let Some(index) = self.admission.first() else {
                self.stats.refused_full += 1;
                let refusal = overloaded("there are as many connections as allowed");
                self.refuse_connection(&mut tcp, &refusal);
                return;
            };
            self.evict(index);
        }
        let limits = ReadLimits {
            head: self.config.max_head,
            body: self.config.max_body,
            needs_length: false,
        };
        // Responses are written whole, so delaying segments has no benefit.
        let _ = tcp.set_nodelay(true);
        let slot = self.connections.vacant_entry();
        let index = slot.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        if let Err(e) = registry.register(&mut tcp, Token(index), interest) {
            crate::seldom::seldom!(warn, "a connection from {client}: {e}");
            return;
        }
        let begins_with_header = is_proxy && self.config.proxies.proxy_protocol;
        let wire = Wire::new(tcp, self.config.tls.as_ref(), begins_with_header);
        let reader = RequestReader::new(limits);
        slot.insert(Connection::new(wire, reader, client, address, now));
        self.admission.enter(address);
        self.stats.accepted += 1;
        self.settle(index, now);
    }

    /// Counts a connection of a trusted proxy for the client in its request. Returns `true` if that client may have one
    /// more.
    pub(super) fn attribute(&mut self, index: usize, client: IpAddr) -> bool {
        let address = client_of(client);
        let Some(connection) = self.connections.get(index) else {
            return false;
        };
        let is_proxy = self.config.proxies.trusts(client);
        if connection.address == address {
            return true;
        }
        if !is_proxy && self.admission.count(address) >= self.config.max_connections_per_address {
            let Some(idle) = self.admission.first_of(address) else {
                self.stats.refused_address += 1;
                return false;
            };
            self.evict(idle);
        }
        if let Some(connection) = self.connections.get_mut(index) {
            self.admission.leave(connection.address, connection.place);
            self.admission.enter(address);
            (connection.address, connection.place) = (address, None);
        }
        true
    }

    fn evict(&mut self, index: usize) {
        self.stats.evicted += 1;
        self.remove(index, "its place is needed");
    }

    /// Sends the reason for a refusal, as far as that is possible in plain text and without waiting.
    fn refuse_connection(&self, tcp: &mut TcpStream, refusal: &Refusal) {
        if self.config.tls.is_none() {
            let bytes = answer::encode(&answer::refusal_response(refusal), Reply::LAST);
            let _ = tcp.write(&bytes);
            let _ = tcp.shutdown(std::net::Shutdown::Write);
        }
    }
}

/// Opens a descriptor that can be released.
pub(super) fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

pub(super) fn overloaded(text: &str) -> Refusal {
    Refusal::new(503, format!("{text}: try again"))
}

pub(super) fn listener(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    if at.is_ipv6() {
        socket.set_only_v6(!at.ip().is_unspecified())?;
    }
    // On Windows it would let other programs take over the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    // Accepted connections inherit these. The system's defaults would grow to megabytes each for clients that do not
    // read.
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(1024)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Raises the limit of descriptors to the maximum that the system allows, often far above the initial 1,024, so that a
/// [`Door`] accepts as many connections as configured. Call it before opening one; child processes inherit the limit.
/// Returns the new limit, if the system reports it.
pub fn raise_descriptors() -> Option<u64> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let maximum = getrlimit(Resource::Nofile).maximum;
        let all = Rlimit {
            current: maximum,
            maximum,
        };
        if let Err(e) = setrlimit(Resource::Nofile, all) {
            log::debug!("the limit of descriptors stays as it is: {e}");
        }
        getrlimit(Resource::Nofile).current
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    None
}

/// Limits connections to half of the process's descriptors, because peers and files need some as well.
pub(super) fn within_descriptors(mut config: DoorConfig) -> DoorConfig {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        let half = usize::try_from(most / 2).unwrap_or(usize::MAX);
        config.max_connections = config.max_connections.min(half.max(1));
    }
    config.max_connections = config.max_connections.max(1);
    config
}
