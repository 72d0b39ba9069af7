//! Which address a STUN server sees (RFC 8489 §7, RFC 8445 §5.1.1.2): bindings of the sockets of a loop.
//!
//! ```text
//!   request ──► Asking ── answer ──► Live ⇄ asked again every 15 s, so that the NAT keeps it
//!                 │ error, 39.5 s          │ address changed: said again; no answer: forgotten
//!                 ▼                        ▼ nobody uses it any more
//!               Failed                    gone
//! ```
//!
//! A binding belongs to a socket, not to a peer: peers that share a port share its bindings, and the
//! second one has its answer at once. So whoever owns the sockets runs this machine beside the peers, and
//! carries [`Output::Bind`](crate::proto::peer::Output::Bind) to it and the answer back.
//!
//! Those of ICE-TCP are had by streams from the port that is listened on: see `streams.rs`.

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

/// How often a binding in use is asked for again. RFC 8445 §11 has 15 s.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Bindings at once; above it a request fails.
const MAX_BINDINGS: usize = 65_536;

/// No server answered (W3C WebRTC §4.8.3).
const NO_ANSWER: u16 = 701;

/// The error code of a redirection (RFC 8489 §10).
const TRY_ALTERNATE: u16 = 300;

/// Asks which address a server sees when a socket sends to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BindingRequest {
    /// The STUN server.
    pub server: SocketAddr,
    /// The local address that is sent from. With TCP, where ICE-TCP is listened.
    pub base: SocketAddr,
    /// How it is asked.
    pub transport: BindingTransport,
}

/// How a STUN server is asked. The binding is one for this transport alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BindingTransport {
    /// By UDP, from the socket of the host candidate.
    Udp,
    /// By TCP, from the port of the passive candidate (RFC 6544 §5.2).
    Tcp,
    /// The same by TLS; the server has to be this host.
    Tls(ServerName),
}

/// What a binding over UDP is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Ends {
    server: SocketAddr,
    base: SocketAddr,
}

/// How a server answered, if it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindingReply {
    /// It sees this address.
    Mapped(SocketAddr),
    /// It does not say.
    Failed {
        /// The STUN error code, or 701: no answer.
        code: u16,
        /// What it said, or what happened.
        text: String,
    },
}

/// What the machine wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindingOutput {
    /// Send this from a socket of this user.
    Transmit(usize, Transmit),
    /// Tell this user. May come again for a request, when the NAT has given out another address.
    Reply(usize, BindingRequest, BindingReply),
    /// A stream is needed ([`SocketKind::BindingStream`](crate::proto::net::SocketKind)); the reply goes to
    /// [`Bindings::handle_socket`], what comes on it to [`Bindings::handle_stream`].
    OpenSocket(SocketRequest),
    /// Write this to the stream of this name.
    Write(SocketId, Vec<u8>),
    /// This stream is not needed any more.
    CloseSocket(SocketId),
    /// Drained. Call [`Bindings::handle_timeout`] at this time, if there is one.
    Timeout(Option<Instant>),
}

/// The bindings of one loop's sockets. Users are small numbers.
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
    /// Differs from the request's after a redirection.
    server: SocketAddr,
    mapped: Option<SocketAddr>,
    pending: Option<(TransactionId, Vec<u8>, Retransmit)>,
    timer: Instant,
}

impl Bindings {
    /// No bindings yet. A seed makes a run repeatable; **only for tests**.
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

    /// A user wants to know. A [`Reply`](BindingOutput::Reply) follows, at once if it is known already.
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

    /// The network has changed: what servers saw before, they may not see any more. All are asked again, and
    /// who [asks](Self::request) meanwhile is told what they say now.
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

    /// A user is gone. What nobody else uses is not kept alive any more.
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

    /// A datagram has come to a socket. Whether it was an answer to one of ours.
    pub fn handle_datagram(&mut self, source: SocketAddr, datagram: &[u8], now: Instant) -> bool {
        let Some(id) = super::stun::response_transaction(datagram) else {
            return false;
        };
        let id = TransactionId::from(id);
        let Some(request) = self.transactions.get(&id).copied() else {
            return false;
        };
        // An answer comes from where the request went (RFC 8489 §6.3.1). Junk is dropped, and asked again.
        let is_server = self.entries.get(&request).map(|e| e.server) == Some(source);
        if let (true, Ok(message)) = (is_server, Message::from_bytes(datagram)) {
            self.on_answer(request, &message, now);
        }
        true
    }

    /// The answer to [`OpenSocket`](BindingOutput::OpenSocket); also later, when the stream is gone.
    pub fn handle_socket(&mut self, id: SocketId, reply: &SocketReply, now: Instant) {
        let (streams, ids) = (&mut self.streams, &mut self.ids);
        streams.handle_socket(id, reply, ids, now, &mut self.out);
    }

    /// Bytes have come on the stream of this name.
    pub fn handle_stream(&mut self, id: SocketId, bytes: &[u8], now: Instant) {
        self.streams.handle_bytes(id, bytes, now, &mut self.out);
    }

    /// The time of the last [`Timeout`](BindingOutput::Timeout) has come.
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

    /// The next thing to do.
    pub fn poll_output(&mut self) -> BindingOutput {
        self.out
            .pop_front()
            .unwrap_or_else(|| BindingOutput::Timeout(self.deadline()))
    }

    fn deadline(&self) -> Option<Instant> {
        let datagrams = self.timers.first().map(|(at, _)| *at);
        datagrams.into_iter().chain(self.streams.deadline()).min()
    }

    /// Whether there is nothing to answer or to wait for.
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.streams.is_empty() && self.out.is_empty()
    }

    /// Whether there is nothing to be polled but the timeout, and that has been.
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
                    // Once: who is sent on by the second, too, might go round in circles (RFC 8489 §10).
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

/// A new Binding request.
fn binding_request(ids: &mut TransactionIds) -> (TransactionId, Vec<u8>) {
    let id = ids.next();
    let kind = super::transaction::request_type(BINDING);
    let contents = Message::builder(kind, id, MessageWriteVec::new()).finish();
    (id, contents)
}

/// What a server says to a Binding request.
enum Answer {
    Mapped(SocketAddr),
    Failed {
        code: u16,
        text: String,
        /// With 300: another server.
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

/// XOR-MAPPED-ADDRESS; or what servers of RFC 3489 have instead.
fn mapped_address(message: &Message<'_>) -> Option<SocketAddr> {
    if let Ok(mapped) = message.attribute::<XorMappedAddress>() {
        return Some(mapped.addr(message.transaction_id()));
    }
    super::stun::mapped_address(message.as_bytes())
}

#[cfg(test)]
mod tests;
