//! Bindings of the TCP port that ICE-TCP listens on (RFC 6544 §5.2), over TCP or TLS (RFC 8489 §6.2.2).
//!
//! ```text
//!   request ──► Opening ──opened──► Asking ──answer──► Live ── 15 s ──► Asking …
//!                  │ 39.5 s, refused   │                 │ the server closes
//!                  ▼                   ▼                 ▼
//!              no address yet: Failed.  Otherwise Pausing ──► Opening …
//! ```
//!
//! The NAT keeps a mapping only while the stream is open. The stream is therefore kept open, and reopened when the
//! server closes it: some servers close connections of clients without an allocation after a minute.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use turn_types::stun::message::{Message, TransactionId};

use super::{Answer, BindingOutput, BindingReply, BindingRequest, BindingTransport};
use super::{KEEPALIVE, NO_ANSWER, binding_request};
use crate::proto::ice::transaction::{STREAM_WAIT, TransactionIds};
use crate::proto::net::{SocketId, SocketKind, SocketReply, SocketRequest};

/// Maximum number of streams at once, for all peers of a loop; further requests fail.
pub(super) const MAX_STREAMS: usize = 256;

/// Maximum size of an answer, in bytes; real ones are below 200.
const MAX_ANSWER: usize = 2048;

/// Consecutive failures after which a server that has answered before is given up.
const MAX_FAILURES: u32 = 5;

type Out = VecDeque<BindingOutput>;

/// All bindings over streams.
#[derive(Debug, Default)]
pub(super) struct StreamBindings {
    entries: Vec<Entry>,
    last_socket: u32,
}

#[derive(Debug)]
struct Entry {
    request: BindingRequest,
    users: Vec<usize>,
    /// The server in use; differs from the request's server after a redirection.
    server: SocketAddr,
    mapped: Option<SocketAddr>,
    socket: SocketId,
    state: State,
    /// The part of an answer received so far.
    received: Vec<u8>,
    begun: Instant,
    failures: u32,
}

#[derive(Debug)]
enum State {
    /// The stream is being opened; gives up at this time.
    Opening(Instant),
    /// A request is unanswered; gives up at this time.
    Asking(TransactionId, Instant),
    /// The address is known; the request is repeated at this time.
    Live(Instant),
    /// The stream is closed; it is reopened at this time.
    Pausing(Instant),
}

impl StreamBindings {
    pub fn request(&mut self, user: usize, request: BindingRequest, now: Instant, out: &mut Out) {
        if let Some(entry) = self.entries.iter_mut().find(|e| e.request == request) {
            if !entry.users.contains(&user) {
                entry.users.push(user);
            }
            if let Some(mapped) = entry.mapped {
                let reply = BindingReply::Mapped(mapped);
                out.push_back(BindingOutput::Reply(user, request, reply));
            }
            return;
        }
        if self.entries.len() >= MAX_STREAMS {
            let (code, text) = (
                NO_ANSWER,
                format!("{MAX_STREAMS} bindings by TCP are in use"),
            );
            let reply = BindingReply::Failed { code, text };
            out.push_back(BindingOutput::Reply(user, request, reply));
            return;
        }
        self.entries.push(Entry {
            users: vec![user],
            server: request.server,
            request,
            mapped: None,
            socket: SocketId(0),
            state: State::Pausing(now),
            received: Vec::new(),
            begun: now,
            failures: 0,
        });
        self.open(self.entries.len() - 1, now, out);
    }

    /// Repeats all requests on new streams: the old ones may belong to a network that is gone.
    pub fn refresh(&mut self, now: Instant, out: &mut Out) {
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            entry.mapped = None;
            entry.server = entry.request.server;
            entry.failures = 0;
            entry.close(out);
            self.open(index, now, out);
        }
    }

    pub fn release(&mut self, user: usize, out: &mut Out) {
        self.entries.retain_mut(|entry| {
            entry.users.retain(|u| *u != user);
            if entry.users.is_empty() {
                entry.close(out);
            }
            !entry.users.is_empty()
        });
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.entries.iter().map(|e| e.state.deadline()).min()
    }

    /// Handles the opening, failure or closing of a stream.
    pub fn handle_socket(
        &mut self,
        id: SocketId,
        reply: &SocketReply,
        ids: &mut TransactionIds,
        now: Instant,
        out: &mut Out,
    ) {
        let Some(index) = self.position(id) else {
            return;
        };
        match reply {
            SocketReply::Opened(_) => {
                if let State::Opening(until) = self.entries[index].state {
                    self.ask(index, until, ids, out);
                }
            }
            SocketReply::Failed(why) => self.lost(index, why, now, out),
        }
    }

    /// Handles bytes received on a stream.
    pub fn handle_bytes(&mut self, id: SocketId, bytes: &[u8], now: Instant, out: &mut Out) {
        let Some(index) = self.position(id) else {
            return;
        };
        self.entries[index].received.extend_from_slice(bytes);
        // Handling an answer may close the stream.
        while self.position(id) == Some(index) {
            match take_message(&mut self.entries[index].received) {
                Ok(Some(bytes)) => match Message::from_bytes(&bytes) {
                    Ok(message) => self.on_message(index, &message, now, out),
                    Err(e) => {
                        let why = format!("what the server sends is not STUN: {e}");
                        self.lost(index, &why, now, out);
                    }
                },
                Ok(None) => return,
                Err(why) => self.lost(index, why, now, out),
            }
        }
    }

    pub fn handle_timeout(&mut self, ids: &mut TransactionIds, now: Instant, out: &mut Out) {
        // In reverse order: an entry may be removed and replaced by the last one.
        for index in (0..self.entries.len()).rev() {
            match self.entries[index].state {
                State::Opening(at) | State::Asking(_, at) if at <= now => {
                    let seconds = STREAM_WAIT.as_secs_f32();
                    self.lost(index, &format!("no answer within {seconds} s"), now, out);
                }
                State::Live(at) if at <= now => self.ask(index, now + STREAM_WAIT, ids, out),
                State::Pausing(at) if at <= now => self.open(index, now, out),
                _ => {}
            }
        }
    }

    fn position(&self, id: SocketId) -> Option<usize> {
        let is_it = |e: &Entry| e.socket == id && e.has_stream();
        self.entries.iter().position(is_it)
    }

    fn open(&mut self, index: usize, now: Instant, out: &mut Out) {
        self.last_socket = self.last_socket.wrapping_add(1);
        let id = SocketId(self.last_socket);
        let entry = &mut self.entries[index];
        entry.socket = id;
        entry.begun = now;
        entry.received.clear();
        entry.state = State::Opening(now + STREAM_WAIT);
        let kind = SocketKind::BindingStream {
            local: entry.request.base,
            remote: entry.server,
            tls: match &entry.request.transport {
                BindingTransport::Tls(name) => Some(name.clone()),
                BindingTransport::Udp | BindingTransport::Tcp => None,
            },
        };
        out.push_back(BindingOutput::OpenSocket(SocketRequest { id, kind }));
    }

    fn ask(&mut self, index: usize, until: Instant, ids: &mut TransactionIds, out: &mut Out) {
        let (id, contents) = binding_request(ids);
        let entry = &mut self.entries[index];
        entry.state = State::Asking(id, until);
        out.push_back(BindingOutput::Write(entry.socket, contents));
    }

    fn on_message(&mut self, index: usize, message: &Message<'_>, now: Instant, out: &mut Out) {
        let entry = &mut self.entries[index];
        // The class is checked as well: a request with our transaction id is not an answer.
        let is_answer = message.class().is_response();
        match entry.state {
            State::Asking(id, _) if is_answer && message.transaction_id() == id => {}
            _ => return,
        }
        match Answer::of(message) {
            Answer::Mapped(mapped) => {
                entry.failures = 0;
                entry.state = State::Live(now + KEEPALIVE);
                if entry.mapped.replace(mapped) != Some(mapped) {
                    entry.reply(&BindingReply::Mapped(mapped), out);
                }
            }
            Answer::Failed {
                alternate: Some(server),
                ..
            } if entry.server == entry.request.server
                && server.is_ipv4() == entry.request.base.is_ipv4() =>
            {
                entry.close(out);
                entry.server = server;
                self.open(index, now, out);
            }
            Answer::Failed { code, text, .. } => {
                entry.reply(&BindingReply::Failed { code, text }, out);
                entry.close(out);
                self.entries.swap_remove(index);
            }
        }
    }

    /// Handles a stream that was closed or could not be opened.
    fn lost(&mut self, index: usize, why: &str, now: Instant, out: &mut Out) {
        let entry = &mut self.entries[index];
        let has_served = matches!(entry.state, State::Live(_));
        entry.close(out);
        if !has_served {
            entry.failures += 1;
        }
        if entry.mapped.is_none() {
            let by = entry.transport();
            let text = match why.starts_with(by) {
                true => format!("over {why}"),
                false => format!("over {by}: {why}"),
            };
            let code = NO_ANSWER;
            entry.reply(&BindingReply::Failed { code, text }, out);
            self.entries.swap_remove(index);
        } else if entry.failures > MAX_FAILURES {
            log::debug!("{} does not answer any more: {why}", entry.server);
            self.entries.swap_remove(index);
        } else {
            // Never sooner than the regular refresh, in case the server closes each stream at once.
            let pause = Duration::from_secs(1 << entry.failures);
            let at = (now + pause).max(entry.begun + KEEPALIVE);
            entry.state = State::Pausing(at);
        }
    }
}

/// Removes the first message from the buffer once it is complete. The STUN header carries its length (RFC 8489 §6.2.2).
fn take_message(received: &mut Vec<u8>) -> Result<Option<Vec<u8>>, &'static str> {
    const HEADER: usize = 20;
    if received.first().is_some_and(|b| *b > 3) {
        return Err("what the server sends is not STUN");
    }
    let [_, _, l0, l1, ..] = received[..] else {
        return Ok(None);
    };
    let length = HEADER + usize::from(u16::from_be_bytes([l0, l1]));
    if length > MAX_ANSWER {
        return Err("the server's answer is too long");
    }
    if received.len() < length {
        return Ok(None);
    }
    let rest = received.split_off(length);
    Ok(Some(std::mem::replace(received, rest)))
}

impl Entry {
    fn has_stream(&self) -> bool {
        !matches!(self.state, State::Pausing(_))
    }

    fn close(&mut self, out: &mut Out) {
        if self.has_stream() {
            out.push_back(BindingOutput::CloseSocket(self.socket));
        }
    }

    fn reply(&self, reply: &BindingReply, out: &mut Out) {
        for user in &self.users {
            let (request, reply) = (self.request.clone(), reply.clone());
            out.push_back(BindingOutput::Reply(*user, request, reply));
        }
    }

    fn transport(&self) -> &'static str {
        match self.request.transport {
            BindingTransport::Tls(_) => "TLS",
            BindingTransport::Udp | BindingTransport::Tcp => "TCP",
        }
    }
}

impl State {
    fn deadline(&self) -> Instant {
        match self {
            Self::Opening(at) | Self::Asking(_, at) | Self::Live(at) | Self::Pausing(at) => *at,
        }
    }
}

#[cfg(test)]
mod tests;
