//! STUN bindings of a loop's sockets: the address that a STUN server sees (RFC 8489 §7, RFC 8445 §5.1.1.2).
//!
//! ```text
//!   request ──► Asking ── answer ──► Live ⇄ repeated every 15 s to keep the NAT mapping alive
//!                 │ error, 39.5 s          │ address changed: reported again; no answer: forgotten
//!                 ▼                        ▼ released by its last user
//!               Failed                    removed
//! ```
//!
//! A binding belongs to a socket, not to a peer: peers that share a port share its bindings, and the second peer gets
//! its answer at once. The owner of the sockets therefore runs this machine beside the peers: it passes each
//! [`Output::RequestBinding`](crate::proto::peer::Output::RequestBinding) to the machine and the reply back to the peer.
//!
//! Bindings for ICE-TCP use streams opened from the listening port: see `streams.rs`.

mod streams;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use turn_types::stun::attribute::{AlternateServer, ErrorCode, XorMappedAddress};
use turn_types::stun::message::{BINDING, Message, MessageClass, MessageWriteVec, TransactionId};
use turn_types::stun::prelude::MessageWrite;

use self::streams::StreamBindings;
use super::transaction::{Due, Retransmit, TransactionIds};
use crate::proto::net::{Protocol, ServerName, SocketId, SocketReply, SocketRequest, Transmit};

/// Interval at which a binding in use is refreshed: 15 s (RFC 8445 §11).
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Maximum number of bindings at once; further requests fail.
const MAX_BINDINGS: usize = 65_536;

/// Error code reported when no server answered (W3C WebRTC §4.8.3).
const NO_ANSWER: u16 = 701;

/// STUN error code of a redirection (RFC 8489 §10).
const TRY_ALTERNATE: u16 = 300;

/// A request for the server-reflexive address of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BindingRequest {
    /// The STUN server.
    pub server: SocketAddr,
    /// The local address that the request is sent from. With TCP, the address that ICE-TCP listens on.
    pub base: SocketAddr,
    /// The transport used to reach the server.
    pub transport: BindingTransport,
}

/// Transport between a socket and a STUN server. The binding is valid for this transport only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BindingTransport {
    /// UDP, from the socket of the host candidate.
    Udp,
    /// TCP, from the port of the passive candidate (RFC 6544 §5.2).
    Tcp,
    /// TLS over TCP, from the port of the passive candidate. The server's certificate must be valid for this name.
    Tls(ServerName),
}

/// Key of a binding over UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Ends {
    server: SocketAddr,
    base: SocketAddr,
}

/// Outcome of a [`BindingRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindingReply {
    /// The server-reflexive address.
    Mapped(SocketAddr),
    /// The server returned an error, or no answer arrived.
    Failed {
        /// The STUN error code, or 701 if there was no answer.
        code: u16,
        /// The server's reason phrase, or a description of the failure.
        text: String,
    },
}

/// Output of [`Bindings::poll_output`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindingOutput {
    /// Send this datagram from a socket of the given user.
    Transmit(usize, Transmit),
    /// Report this reply to the given user. A request may be answered again later, when the NAT has assigned another
    /// address.
    Reply(usize, BindingRequest, BindingReply),
    /// Open a stream ([`SocketKind::BindingStream`](crate::proto::net::SocketKind)). Pass the reply to
    /// [`Bindings::handle_socket`] and incoming bytes to [`Bindings::handle_stream`].
    OpenSocket(SocketRequest),
    /// Write these bytes to the stream with this id.
    Write(SocketId, Vec<u8>),
    /// Close this stream.
    CloseSocket(SocketId),
    /// No more output. Call [`Bindings::handle_timeout`] at this time, if there is one.
    Timeout(Option<Instant>),
}

/// The STUN bindings of one loop's sockets. Users are identified by small numbers.
#[derive(Debug)]
pub struct Bindings {
    ids: TransactionIds,
    entries: HashMap<Ends, Entry>,
    transactions: HashMap<TransactionId, Ends>,
    timers: BTreeSet<(Instant, Ends)>,
    users: HashMap<usize, Vec<Ends>>,
    streams: StreamBindings,
    out: VecDeque<BindingOutput>,
}

#[derive(Debug)]
struct Entry {
    users: Vec<usize>,
    /// The server in use; differs from the request's server after a redirection.
    server: SocketAddr,
    mapped: Option<SocketAddr>,
    pending: Option<(TransactionId, Vec<u8>, Retransmit)>,
    timer: Instant,
}

impl Bindings {
    /// Creates a machine without bindings. A seed makes transaction ids repeatable; **only for tests**.
    pub fn new(seed: Option<u64>) -> Self {
        Self {
            ids: TransactionIds::new(seed),
            entries: HashMap::new(),
            transactions: HashMap::new(),
            timers: BTreeSet::new(),
            users: HashMap::new(),
            streams: StreamBindings::default(),
            out: VecDeque::new(),
        }
    }

    /// Requests a binding on behalf of `user`. A [`Reply`](BindingOutput::Reply) follows: at once if the address is
    /// already known, otherwise when the server has answered or the request has timed out.
    pub fn request(&mut self, user: usize, request: BindingRequest, now: Instant) {
        let (server, base) = (request.server, request.base);
        match request.transport {
            BindingTransport::Udp => self.request_by_udp(user, Ends { server, base }, now),
            BindingTransport::Tcp | BindingTransport::Tls(_) => {
                self.streams.request(user, request, now, &mut self.out);
            }
        }
    }

    fn request_by_udp(&mut self, user: usize, request: Ends, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&request) {
            if !entry.users.contains(&user) {
                entry.users.push(user);
                self.users.entry(user).or_default().push(request);
            }
            if let Some(mapped) = entry.mapped {
                self.reply(user, request, BindingReply::Mapped(mapped));
            }
            return;
        }
        if self.entries.len() >= MAX_BINDINGS {
            let text = format!("{MAX_BINDINGS} bindings are in use");
            let code = NO_ANSWER;
            self.reply(user, request, BindingReply::Failed { code, text });
            return;
        }
        self.users.entry(user).or_default().push(request);
        self.entries.insert(
            request,
            Entry {
                users: vec![user],
                server: request.server,
                mapped: None,
                pending: None,
                timer: now,
            },
        );
        self.timers.insert((now, request));
        self.ask(request, now);
    }

    /// Repeats all requests after a network change, because servers may see other addresses now. A
    /// [request](Self::request) made meanwhile waits for the new answer.
    pub fn refresh(&mut self, now: Instant) {
        let mut requests: Vec<_> = self.entries.keys().copied().collect();
        requests.sort();
        for request in requests {
            if let Some(entry) = self.entries.get_mut(&request) {
                entry.mapped = None;
                entry.server = request.server;
            }
            self.ask(request, now);
        }
        self.streams.refresh(now, &mut self.out);
    }

    /// Removes a user. Bindings without users are no longer kept alive.
    pub fn release(&mut self, user: usize) {
        self.streams.release(user, &mut self.out);
        for request in self.users.remove(&user).unwrap_or_default() {
            let Some(entry) = self.entries.get_mut(&request) else {
                continue;
            };
            entry.users.retain(|u| *u != user);
            if entry.users.is_empty() {
                self.forget(request);
            }
        }
    }

    /// Handles a datagram that arrived on a socket. Returns `true` if it answers one of our requests.
    pub fn handle_datagram(&mut self, source: SocketAddr, datagram: &[u8], now: Instant) -> bool {
        let Some(id) = super::stun::response_transaction(datagram) else {
            return false;
        };
        let id = TransactionId::from(id);
        let Some(request) = self.transactions.get(&id).copied() else {
            return false;
        };
        // A response must come from the address that the request was sent to (RFC 8489 §6.3.1). Invalid ones are
        // ignored; the request is retransmitted.
        let is_server = self.entries.get(&request).map(|e| e.server) == Some(source);
        if let (true, Ok(message)) = (is_server, Message::from_bytes(datagram)) {
            self.on_answer(request, &message, now);
        }
        true
    }

    /// Handles the reply to an [`OpenSocket`](BindingOutput::OpenSocket), or the later closing of the stream.
    pub fn handle_socket(&mut self, id: SocketId, reply: &SocketReply, now: Instant) {
        let (streams, ids) = (&mut self.streams, &mut self.ids);
        streams.handle_socket(id, reply, ids, now, &mut self.out);
    }

    /// Handles bytes received on the stream with this id.
    pub fn handle_stream(&mut self, id: SocketId, bytes: &[u8], now: Instant) {
        self.streams.handle_bytes(id, bytes, now, &mut self.out);
    }

    /// Handles time: call it when the time of the last [`Timeout`](BindingOutput::Timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (streams, ids) = (&mut self.streams, &mut self.ids);
        streams.handle_timeout(ids, now, &mut self.out);
        while let Some((at, request)) = self.timers.first().copied() {
            if at > now {
                return;
            }
            self.on_time(request, now);
        }
    }

    /// Returns the next output. Call it until it returns [`Timeout`](BindingOutput::Timeout).
    pub fn poll_output(&mut self) -> BindingOutput {
        self.out
            .pop_front()
            .unwrap_or_else(|| BindingOutput::Timeout(self.deadline()))
    }

    fn deadline(&self) -> Option<Instant> {
        let datagrams = self.timers.first().map(|(at, _)| *at);
        datagrams.into_iter().chain(self.streams.deadline()).min()
    }

    /// Returns `true` if there are no bindings, streams or pending output.
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.streams.is_empty() && self.out.is_empty()
    }

    /// Returns `true` if the only output left is a timeout and `told` is that timeout.
    #[cfg(feature = "testing")]
    pub(crate) fn is_drained(&self, told: Option<Instant>) -> bool {
        self.out.is_empty() && self.deadline() == told
    }

    fn ask(&mut self, request: Ends, now: Instant) {
        let (id, contents) = binding_request(&mut self.ids);
        let Some(entry) = self.entries.get_mut(&request) else {
            return;
        };
        let retransmit = Retransmit::new(false, now);
        if let Some((old, ..)) = entry.pending.replace((id, contents, retransmit)) {
            self.transactions.remove(&old);
        }
        self.transactions.insert(id, request);
        self.set_timer(request, retransmit.deadline());
        self.send(request);
    }

    fn send(&mut self, request: Ends) {
        let Some(entry) = self.entries.get(&request) else {
            return;
        };
        if let (Some(user), Some((_, contents, _))) = (entry.users.first(), &entry.pending) {
            let transmit = Transmit {
                protocol: Protocol::Udp,
                source: request.base,
                destination: entry.server,
                contents: contents.clone(),
            };
            self.out.push_back(BindingOutput::Transmit(*user, transmit));
        }
    }

    fn on_time(&mut self, request: Ends, now: Instant) {
        let Some(entry) = self.entries.get_mut(&request) else {
            self.timers.retain(|(_, r)| *r != request);
            return;
        };
        let Some((_, _, retransmit)) = &mut entry.pending else {
            self.ask(request, now);
            return;
        };
        match retransmit.on_time(now) {
            Due::Wait | Due::Again => {
                let at = retransmit.deadline();
                self.set_timer(request, at);
                self.send(request);
            }
            Due::GiveUp if entry.mapped.is_some() => {
                log::debug!("{} does not answer any more", request.server);
                self.forget(request);
            }
            Due::GiveUp => self.fail(request, NO_ANSWER, "no answer".to_owned()),
        }
    }

    fn on_answer(&mut self, request: Ends, message: &Message<'_>, now: Instant) {
        match Answer::of(message) {
            Answer::Mapped(mapped) => self.on_mapped(request, mapped, now),
            Answer::Failed {
                code,
                text,
                alternate,
            } => {
                if let Some(server) = alternate
                    && let Some(entry) = self.entries.get_mut(&request)
                    && entry.server == request.server
                    && server.is_ipv4() == request.base.is_ipv4()
                {
                    // Followed once only: a chain of redirections might form a loop (RFC 8489 §10).
                    entry.server = server;
                    self.ask(request, now);
                    return;
                }
                self.fail(request, code, text);
            }
        }
    }

    fn on_mapped(&mut self, request: Ends, mapped: SocketAddr, now: Instant) {
        let Some(entry) = self.entries.get_mut(&request) else {
            return;
        };
        if let Some((id, ..)) = entry.pending.take() {
            self.transactions.remove(&id);
        }
        if entry.mapped.replace(mapped) != Some(mapped) {
            for user in entry.users.clone() {
                self.reply(user, request, BindingReply::Mapped(mapped));
            }
        }
        self.set_timer(request, now + KEEPALIVE);
    }

    fn fail(&mut self, request: Ends, code: u16, text: String) {
        let users = self.entries.get(&request).map(|e| e.users.clone());
        for user in users.unwrap_or_default() {
            let text = text.clone();
            self.reply(user, request, BindingReply::Failed { code, text });
        }
        self.forget(request);
    }

    fn forget(&mut self, request: Ends) {
        let Some(entry) = self.entries.remove(&request) else {
            return;
        };
        self.timers.remove(&(entry.timer, request));
        if let Some((id, ..)) = entry.pending {
            self.transactions.remove(&id);
        }
        for user in entry.users {
            if let Some(requests) = self.users.get_mut(&user) {
                requests.retain(|r| *r != request);
                if requests.is_empty() {
                    self.users.remove(&user);
                }
            }
        }
    }

    fn set_timer(&mut self, request: Ends, at: Instant) {
        if let Some(entry) = self.entries.get_mut(&request) {
            self.timers.remove(&(entry.timer, request));
            entry.timer = at;
            self.timers.insert((at, request));
        }
    }

    fn reply(&mut self, user: usize, ends: Ends, reply: BindingReply) {
        let request = BindingRequest {
            server: ends.server,
            base: ends.base,
            transport: BindingTransport::Udp,
        };
        self.out
            .push_back(BindingOutput::Reply(user, request, reply));
    }
}

/// Builds a new Binding request.
fn binding_request(ids: &mut TransactionIds) -> (TransactionId, Vec<u8>) {
    let id = ids.next();
    let kind = super::transaction::request_type(BINDING);
    let contents = Message::builder(kind, id, MessageWriteVec::new()).finish();
    (id, contents)
}

/// A server's answer to a Binding request.
enum Answer {
    Mapped(SocketAddr),
    Failed {
        code: u16,
        text: String,
        /// The alternate server named by a 300 response.
        alternate: Option<SocketAddr>,
    },
}

impl Answer {
    fn of(message: &Message<'_>) -> Self {
        let failed = |code, text: &str| Self::Failed {
            code,
            text: text.to_owned(),
            alternate: None,
        };
        if message.class() == MessageClass::Success {
            return match mapped_address(message) {
                Some(mapped) => Self::Mapped(mapped),
                None => failed(NO_ANSWER, "the answer has no address"),
            };
        }
        let Ok(error) = message.attribute::<ErrorCode>() else {
            return failed(NO_ANSWER, "an error without a code");
        };
        let alternate = message.attribute::<AlternateServer>().ok();
        Self::Failed {
            code: error.code(),
            text: error.reason().to_owned(),
            alternate: alternate
                .filter(|_| error.code() == TRY_ALTERNATE)
                .map(|a| a.server()),
        }
    }
}

/// Returns XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS as sent by servers of RFC 3489.
fn mapped_address(message: &Message<'_>) -> Option<SocketAddr> {
    if let Ok(mapped) = message.attribute::<XorMappedAddress>() {
        return Some(mapped.addr(message.transaction_id()));
    }
    super::stun::mapped_address(message.as_bytes())
}

#[cfg(test)]
mod tests;
