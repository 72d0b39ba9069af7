//! Gathering: from "I need to be reachable" to a list of candidates.
//!
//! ```text
//!   start ─┬─► OpenSocket ──opened──► host candidates ─┬─► Bind, for each server and base ──► reflexive
//!          ├─► Resolve ──────resolved── STUN servers ──┘
//!          └─► Resolve ──────resolved── TURN servers ────► Relays ──────────────────────────► relayed
//!
//!   Complete: when every source has answered or failed, or when time is up
//! ```

mod changed;
mod over_tcp;
mod reflexive;
mod relayed;
mod servers;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::bindings::BindingRequest;
use super::error::IceCandidateError;
use super::gather_config::GatherConfig;
use super::relays::Relays;
use super::server::{
    IceServer, IceTransportPolicy, ServerHost, ServerKind, ServerTransport, ServerUrl,
    ServerUrlError,
};
use super::tcp::{TcpPaths, TcpType};
use crate::proto::net::{
    InterfaceAddress, Protocol, SocketId, SocketReply, SocketRequest, Transmit,
};

/// Maximum number of ICE server URLs in one configuration. Each costs time and packets.
pub const MAX_SERVER_URLS: usize = 16;

/// Time to wait for implied servers: the application did not configure them, and they may not support the transport.
const IMPLIED_WAIT: Duration = Duration::from_secs(2);

/// Output of [`Gatherer::poll_output`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatherOutput {
    /// Open a socket; pass the reply to [`Gatherer::handle_socket`].
    OpenSocket(SocketRequest),
    /// Resolve this host name; pass its addresses to [`Gatherer::handle_resolved`].
    Resolve(String),
    /// Request a STUN binding; pass the reply to [`Gatherer::handle_binding`].
    RequestBinding(BindingRequest),
    /// A candidate that can be signaled to the remote peer.
    Candidate(LocalCandidate),
    /// A source of candidates failed. Gathering goes on without it.
    Failed(IceCandidateError),
    /// Gathering of this generation is complete.
    Complete,
    /// Close this socket.
    CloseSocket(SocketId),
    /// Send this datagram to a TURN server.
    Transmit(Transmit),
    /// A candidate reported earlier is no longer usable.
    Lost(LocalCandidate),
}

/// A local address that the remote peer may be able to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalCandidate {
    /// The address signaled to the remote peer.
    pub address: SocketAddr,
    /// The type of the candidate, with its base and server.
    pub kind: LocalKind,
}

/// Source of a [`LocalCandidate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalKind {
    /// An interface address, over UDP.
    Host,
    /// An interface address, over TCP.
    HostTcp(TcpType),
    /// An address reported by a STUN server, or configured in [`GatherConfig::external_addresses`].
    ServerReflexive {
        /// The local address that datagrams are sent from.
        base: SocketAddr,
        /// URL of the STUN server; `None` for a configured address.
        url: Option<String>,
    },
    /// A server-reflexive TCP candidate: connections to it arrive at the ICE-TCP listener (RFC 6544 §5.2).
    ServerReflexiveTcp {
        /// The local address of the listener.
        base: SocketAddr,
        /// URL of the STUN server; `None` for a configured address.
        url: Option<String>,
    },
    /// An address allocated on a TURN server.
    Relay {
        /// URL of the TURN server.
        url: String,
        /// Transport between this machine and the TURN server.
        transport: ServerTransport,
    },
}

/// Candidate gathering of one peer.
#[derive(Debug)]
pub struct Gatherer {
    config: GatherConfig,
    policy: IceTransportPolicy,
    phase: Phase,
    hosts: Hosts,
    /// Host candidates for TCP: the listening addresses, or port 9 if active only.
    tcp_hosts: Hosts,
    servers: Vec<Server>,
    bindings: Vec<Binding>,
    relays: Relays,
    found: Vec<LocalCandidate>,
    out: VecDeque<GatherOutput>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Gathering {
        /// Gathering ends at this time at the latest.
        until: Instant,
        /// Implied servers are waited for until this time; `None` once that time is over.
        implied: Option<Instant>,
    },
    Complete,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    NotAsked,
    Asked,
    Known(Vec<SocketAddr>),
}

/// One server URL and its progress.
struct Server {
    url: ServerUrl,
    username: String,
    password: String,
    state: Lookup,
    /// Implied by another URL rather than configured.
    implied: bool,
    /// A missing answer is not reported.
    quiet: bool,
    /// Set once it has been reported that this configuration cannot use the server.
    said: bool,
}

/// Omits the password.
impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.url.fmt(f)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Lookup {
    NotAsked,
    Asked,
    Known(Vec<IpAddr>),
    /// Its addresses have been used, or cannot be used.
    Done,
}

#[derive(Debug)]
struct Binding {
    request: BindingRequest,
    server: usize,
    state: Asking,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    Asked,
    Mapped,
    Failed,
}

impl LocalKind {
    /// Returns `true` for a candidate of ICE-TCP.
    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self, Self::HostTcp(_) | Self::ServerReflexiveTcp { .. })
    }
}

impl Gatherer {
    /// Id of the socket behind the host candidates.
    pub const HOST_SOCKET: SocketId = SocketId(0);

    /// Creates a gatherer without servers. Call [`start`](Self::start) to begin.
    pub fn new(config: GatherConfig) -> Self {
        Self {
            config,
            policy: IceTransportPolicy::All,
            phase: Phase::New,
            hosts: Hosts::NotAsked,
            tcp_hosts: Hosts::NotAsked,
            servers: Vec::new(),
            bindings: Vec::new(),
            relays: Relays::new(None),
            found: Vec::new(),
            out: VecDeque::new(),
        }
    }

    /// Adds STUN and TURN servers before gathering starts.
    ///
    /// # Errors
    ///
    /// Returns an error for an invalid URL, a TURN server without a credential, or more than [`MAX_SERVER_URLS`] URLs.
    pub fn with_servers(
        mut self,
        servers: &[IceServer],
        policy: IceTransportPolicy,
    ) -> Result<Self, ServerUrlError> {
        self.policy = policy;
        self.take_servers(servers)?;
        Ok(self)
    }

    /// Makes random values repeatable; **only for tests**.
    #[must_use]
    pub fn with_seed(mut self, seed: Option<u64>) -> Self {
        self.relays = Relays::new(seed);
        self
    }

    /// Starts gathering, or a new generation of it. Known candidates are reported again, because they have to be
    /// signaled under the new ufrag (RFC 8445 §9), and servers that failed are asked again.
    pub fn start(&mut self, now: Instant) {
        let is_first = self.phase == Phase::New;
        if matches!(self.phase, Phase::Gathering { .. }) {
            // Pending output first; then all known candidates again.
            self.announce();
            return;
        }
        self.gather_until(now);
        if is_first && self.policy == IceTransportPolicy::All {
            self.ask_for_hosts();
        }
        self.announce();
        self.bindings.retain(|b| b.state != Asking::Failed);
        for index in 0..self.servers.len() {
            self.start_server(index);
        }
        self.proceed();
    }

    /// Handles the reply to an [`OpenSocket`](GatherOutput::OpenSocket). A reply that was not requested is ignored.
    pub fn handle_socket(&mut self, id: SocketId, reply: &SocketReply, now: Instant) {
        if id == TcpPaths::SOCKET {
            self.on_tcp_hosts(reply);
            self.proceed();
            return;
        }
        if id != Self::HOST_SOCKET {
            self.relays.handle_socket(id, reply, now);
            self.proceed();
            return;
        }
        if self.hosts != Hosts::Asked {
            return;
        }
        let mut hosts = Vec::new();
        match reply {
            SocketReply::Opened(addresses) => {
                hosts = self.config.choose(addresses);
                if hosts.is_empty() {
                    self.fail(IceCandidateError::local(no_address(addresses)));
                }
            }
            SocketReply::Failed(why) => {
                let why = format!("no UDP socket for host candidates: {why}");
                self.fail(IceCandidateError::local(why));
            }
        }
        for address in &hosts {
            self.add(LocalCandidate {
                address: *address,
                kind: LocalKind::Host,
            });
        }
        self.add_external(&hosts, Protocol::Udp);
        self.hosts = Hosts::Known(hosts);
        self.proceed();
    }

    /// Handles the reply to a [`Resolve`](GatherOutput::Resolve): the addresses of the host, or an error message.
    pub fn handle_resolved(&mut self, host: &str, result: &Result<Vec<IpAddr>, String>) {
        for index in 0..self.servers.len() {
            let server = &mut self.servers[index];
            let is_it = matches!(&server.url.host, ServerHost::Name(n) if n == host);
            if !is_it || server.state != Lookup::Asked {
                continue;
            }
            match result {
                Ok(addresses) if !addresses.is_empty() => {
                    server.state = Lookup::Known(addresses.clone());
                }
                Ok(_) => self.fail_server(index, "the name has no address"),
                Err(why) => self.fail_server(index, &format!("cannot resolve the name: {why}")),
            }
        }
        self.proceed();
    }

    /// Handles time: call it when [`deadline`](Self::deadline) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.relays.is_empty() {
            self.relays.handle_timeout(now);
            self.proceed();
        }
        let Phase::Gathering { until, implied } = self.phase else {
            return;
        };
        if implied.is_some_and(|at| at <= now) {
            self.phase = Phase::Gathering {
                until,
                implied: None,
            };
            self.proceed();
        }
        if now < until || self.is_complete() {
            return;
        }
        let seconds = self.config.timeout.as_secs_f32();
        for index in 0..self.servers.len() {
            if self.is_server_open(index) {
                self.relays.abandon(index);
                self.fail_server(index, &format!("no answer within {seconds} s"));
            }
        }
        self.drain_relays();
        self.complete();
    }

    /// Returns the time at which to call [`handle_timeout`](Self::handle_timeout), if any.
    pub fn deadline(&self) -> Option<Instant> {
        let end = match self.phase {
            Phase::Gathering { until, implied } => Some(implied.map_or(until, |at| at.min(until))),
            Phase::New | Phase::Complete => None,
        };
        end.into_iter().chain(self.relays.deadline()).min()
    }

    /// Returns the next output, or `None` if there is none until the next call of another method.
    pub fn poll_output(&mut self) -> Option<GatherOutput> {
        self.out.pop_front()
    }

    /// Returns `true` if gathering of this generation is complete.
    pub fn is_complete(&self) -> bool {
        self.phase == Phase::Complete
    }

    /// Starts the time limit for servers.
    fn gather_until(&mut self, now: Instant) {
        self.phase = Phase::Gathering {
            until: now + self.config.timeout,
            implied: Some(now + IMPLIED_WAIT),
        };
    }

    fn start_server(&mut self, index: usize) {
        let has_answered = self.has_asked_all(index);
        if !self.is_of_use(index) {
            self.servers[index].state = Lookup::Done;
            return;
        }
        let has_relay = self.relays.is_allocated(index) || self.relays.is_pending(index);
        if has_answered || has_relay {
            return;
        }
        let server = &mut self.servers[index];
        match &server.url.host {
            ServerHost::Ip(ip) => server.state = Lookup::Known(vec![*ip]),
            ServerHost::Name(name) => {
                server.state = Lookup::Asked;
                self.out.push_back(GatherOutput::Resolve(name.clone()));
            }
        }
    }

    /// Takes every step that the known sockets and addresses allow.
    fn proceed(&mut self) {
        for index in 0..self.servers.len() {
            let server = &self.servers[index];
            let Lookup::Known(addresses) = server.state.clone() else {
                continue;
            };
            if server.url.kind == ServerKind::Turn {
                self.servers[index].state = Lookup::Done;
                self.ask_relay(index, &addresses);
            } else if let Hosts::Known(hosts) = self.bases_for(index).clone() {
                self.servers[index].state = Lookup::Done;
                self.ask_bindings(index, &addresses, &hosts);
            }
        }
        self.drain_relays();
        let is_over = matches!(self.phase, Phase::Gathering { implied: None, .. });
        let mut open = (0..self.servers.len()).filter(|i| self.is_server_open(*i));
        let waits = matches!(self.hosts, Hosts::Asked)
            || matches!(self.tcp_hosts, Hosts::Asked)
            || open.any(|i| !(is_over && self.servers[i].quiet));
        if !waits {
            self.complete();
        }
    }

    fn is_server_open(&self, index: usize) -> bool {
        self.servers[index].state != Lookup::Done
            || self.relays.is_pending(index)
            || self
                .bindings
                .iter()
                .any(|b| b.server == index && b.state == Asking::Asked)
    }

    fn fail_server(&mut self, index: usize, why: &str) {
        self.servers[index].state = Lookup::Done;
        for binding in self.bindings.iter_mut().filter(|b| b.server == index) {
            if binding.state == Asking::Asked {
                binding.state = Asking::Failed;
            }
        }
        if self.servers[index].quiet {
            return;
        }
        let url = self.servers[index].url.to_string();
        self.fail(IceCandidateError::unreachable(url, why));
    }

    fn fail(&mut self, error: IceCandidateError) {
        self.out.push_back(GatherOutput::Failed(error));
    }

    fn add(&mut self, candidate: LocalCandidate) {
        self.found.push(candidate.clone());
        self.out.push_back(GatherOutput::Candidate(candidate));
    }

    fn announce(&mut self) {
        let found = self.found.iter().cloned();
        self.out.extend(found.map(GatherOutput::Candidate));
    }

    fn complete(&mut self) {
        if matches!(self.phase, Phase::Gathering { .. }) {
            self.phase = Phase::Complete;
            self.out.push_back(GatherOutput::Complete);
        }
    }
}

fn no_address(seen: &[InterfaceAddress]) -> String {
    let seen: Vec<String> = seen
        .iter()
        .map(|a| format!("{} {}", a.interface, a.address.ip()))
        .collect();
    format!(
        "no usable address for host candidates; the interfaces have: [{}]. \
         Check the address filter, or set include_loopback for a peer on this machine",
        seen.join(", ")
    )
}

#[cfg(test)]
mod tests;
