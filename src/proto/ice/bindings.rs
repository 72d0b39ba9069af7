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

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use turn_types::stun::attribute::{AlternateServer, ErrorCode, XorMappedAddress};
use turn_types::stun::message::{BINDING, Message, MessageClass, MessageWriteVec, TransactionId};
use turn_types::stun::prelude::MessageWrite;

use super::transaction::{Due, Retransmit, TransactionIds};
use crate::proto::net::{Protocol, Transmit};

/// How often a binding in use is asked for again. RFC 8445 §11 has 15 s.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Bindings at once; above it a request fails.
const MAX_BINDINGS: usize = 65_536;

/// No server answered (W3C WebRTC §4.8.3).
const NO_ANSWER: u16 = 701;

/// The error code of a redirection (RFC 8489 §10).
const TRY_ALTERNATE: u16 = 300;

/// Asks which address a server sees when a socket sends to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BindingRequest {
    /// The STUN server.
    pub server: SocketAddr,
    /// The local address that is sent from.
    pub base: SocketAddr,
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
    /// Drained. Call [`Bindings::handle_timeout`] at this time, if there is one.
    Timeout(Option<Instant>),
}

/// The bindings of one loop's sockets. Users are small numbers.
#[derive(Debug)]
pub struct Bindings {
    ids: TransactionIds,
    entries: HashMap<BindingRequest, Entry>,
    transactions: HashMap<TransactionId, BindingRequest>,
    timers: BTreeSet<(Instant, BindingRequest)>,
    users: HashMap<usize, Vec<BindingRequest>>,
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
            out: VecDeque::new(),
        }
    }

    /// A user wants to know. A [`Reply`](BindingOutput::Reply) follows, at once if it is known already.
    pub fn request(&mut self, user: usize, request: BindingRequest, now: Instant) {
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
    }

    /// A user is gone. What nobody else uses is not kept alive any more.
    pub fn release(&mut self, user: usize) {
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

    /// The time of the last [`Timeout`](BindingOutput::Timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
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
            .unwrap_or_else(|| BindingOutput::Timeout(self.timers.first().map(|(at, _)| *at)))
    }

    /// Whether there is nothing to answer or to wait for.
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.out.is_empty()
    }

    /// Whether there is nothing to be polled but the timeout, and that has been.
    #[cfg(feature = "testing")]
    pub(crate) fn is_drained(&self, told: Option<Instant>) -> bool {
        self.out.is_empty() && self.timers.first().map(|(at, _)| *at) == told
    }

    fn ask(&mut self, request: BindingRequest, now: Instant) {
        let id = self.ids.next();
        let kind = super::transaction::request_type(BINDING);
        let contents = Message::builder(kind, id, MessageWriteVec::new()).finish();
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

    fn send(&mut self, request: BindingRequest) {
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

    fn on_time(&mut self, request: BindingRequest, now: Instant) {
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

    fn on_answer(&mut self, request: BindingRequest, message: &Message<'_>, now: Instant) {
        if message.class() == MessageClass::Success {
            match mapped_address(message) {
                Some(mapped) => self.on_mapped(request, mapped, now),
                None => self.fail(request, NO_ANSWER, "the answer has no address".to_owned()),
            }
            return;
        }
        let error = message.attribute::<ErrorCode>();
        let (code, text) = match &error {
            Ok(e) => (e.code(), e.reason().to_owned()),
            Err(_) => (NO_ANSWER, "an error without a code".to_owned()),
        };
        let alternate = message.attribute::<AlternateServer>().map(|a| a.server());
        if let (TRY_ALTERNATE, Ok(server)) = (code, alternate)
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

    fn on_mapped(&mut self, request: BindingRequest, mapped: SocketAddr, now: Instant) {
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

    fn fail(&mut self, request: BindingRequest, code: u16, text: String) {
        let users = self.entries.get(&request).map(|e| e.users.clone());
        for user in users.unwrap_or_default() {
            let text = text.clone();
            self.reply(user, request, BindingReply::Failed { code, text });
        }
        self.forget(request);
    }

    fn forget(&mut self, request: BindingRequest) {
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

    fn set_timer(&mut self, request: BindingRequest, at: Instant) {
        if let Some(entry) = self.entries.get_mut(&request) {
            self.timers.remove(&(entry.timer, request));
            entry.timer = at;
            self.timers.insert((at, request));
        }
    }

    fn reply(&mut self, user: usize, request: BindingRequest, reply: BindingReply) {
        self.out
            .push_back(BindingOutput::Reply(user, request, reply));
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
