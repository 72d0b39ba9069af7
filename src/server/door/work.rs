//! Processing of connections in a turn.

use std::net::IpAddr;
use std::time::Instant;

use super::connection::{MAX_LINGER, Phase, State};
use super::handshake::{Parsed, parse, switching};
use super::web_socket::{Incoming, Socket};
use super::wire::{Flushed, Got};
use super::{Door, DoorEvent, LISTENER, MAX_EVENTS, MAX_READY, WORK_BUDGET, admit};
use crate::proto::http::{Refusal, RequestReader, Step};
use crate::server::http::{RequestId, WebSocketId};
use crate::server::proxies::Header;

/// Maximum number of bytes read from one connection per turn.
const READ_BUDGET: usize = 64 * 1024;

/// Maximum number of bytes that wait behind an unanswered request.
const MAX_AHEAD: usize = 16 * 1024;

/// Maximum number of expired time limits handled per turn.
const EXPIRE_BUDGET: usize = 512;

/// Maximum number of connections closed per turn to free memory.
const RELIEF_BUDGET: usize = 64;

/// Reason why a connection is closed, for the log.
type Over = String;

impl Door {
    pub(super) fn work(&mut self, now: Instant) {
        self.now = now;
        self.take_ready();
        self.admit(now);
        for _ in 0..self.listed.len().min(WORK_BUDGET) {
            if self.events.len() >= MAX_EVENTS {
                break;
            }
            if let Some(index) = self.listed.pop_front() {
                self.attend(index, now);
            }
        }
        for _ in 0..EXPIRE_BUDGET {
            let Some(index) = self.deadlines.pop_due(now) else {
                break;
            };
            self.expire(index, now);
        }
        self.relieve();
    }

    /// Frees memory when the total limit is exceeded: of the address with the most memory, it closes the connections
    /// that have taken longest to read a response, or hold most.
    fn relieve(&mut self) {
        for _ in 0..RELIEF_BUDGET {
            if self.held <= self.config.max_buffered {
                return;
            }
            let Some(index) = self.admission.heaviest().and_then(|a| self.dearest(a)) else {
                return;
            };
            match self.connections.get(index).map(|c| &c.state) {
                Some(State::WebSocket(_)) => self.stats.web_sockets_dead += 1,
                _ => self.stats.evicted += 1,
            }
            self.remove(index, "too much is held in all");
        }
    }

    fn dearest(&self, address: IpAddr) -> Option<usize> {
        let all = self
            .connections
            .iter()
            .filter(|(_, c)| c.address == address);
        let (index, largest) = all.max_by_key(|(_, c)| c.held)?;
        let slow = self.admission.first_reading_of(address);
        // A connection that reads a small response is not the cause.
        let has_much = |index: &usize| {
            let held = self.connections.get(*index).map_or(0, |c| c.held);
            held >= largest.held / 4
        };
        slow.filter(has_much).or(Some(index))
    }

    fn take_ready(&mut self) {
        let mut count = 0;
        let mut accepts = false;
        for event in &self.ready {
            count += 1;
            accepts |= event.token() == LISTENER;
            let index = event.token().0;
            if let Some(connection) = self.connections.get_mut(index)
                && !std::mem::replace(&mut connection.is_listed, true)
            {
                self.listed.push_back(index);
            }
        }
        self.may_accept |= accepts;
        self.more_ready = count == MAX_READY;
        self.ready.clear();
    }

    /// Reads, parses and writes for one connection.
    pub(super) fn attend(&mut self, index: usize, now: Instant) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        connection.is_listed = false;
        let result = self
            .receive(index, now)
            .and_then(|more| Ok(self.understand(index, now)? | more))
            .and_then(|more| Ok(self.flush(index, now)? | more));
        match result {
            Ok(more) => {
                self.settle(index, now);
                if more {
                    self.list(index);
                }
            }
            Err(why) => self.remove(index, &why),
        }
    }

    /// Reads up to the budget. Returns `true` if there may be more.
    fn receive(&mut self, index: usize, now: Instant) -> Result<bool, Over> {
        let Some(connection) = self.connections.get_mut(index) else {
            return Ok(false);
        };
        let mut left = READ_BUDGET;
        let mut bytes = Vec::new();
        while !connection.has_ended {
            if left == 0 {
                return Ok(true);
            }
            let is_ahead = matches!(
                connection.state,
                State::Waiting { .. } | State::Writing { .. }
            );
            if is_ahead && connection.reader.unfinished() >= MAX_AHEAD {
                // Resumed after the response.
                return Ok(false);
            }
            bytes.clear();
            let was_handshaking = connection.wire.is_handshaking();
            match connection.wire.read(&mut self.chunk, &mut bytes) {
                Ok(Got::Nothing) => return Ok(false),
                Ok(Got::End) => connection.has_ended = true,
                Ok(Got::Bytes(count)) => {
                    left = left.saturating_sub(count);
                    if let Some(Header::Client(client)) = connection.wire.proxied.take() {
                        connection.client = client;
                        if !self.attribute(index, client.ip()) {
                            return Err("its client has as many connections as it may have".into());
                        }
                        // The data after the header is handled next time.
                        let Some(connection) = self.connections.get_mut(index) else {
                            return Ok(false);
                        };
                        connection.reader.push(&bytes);
                        return Ok(true);
                    }
                }
                Err(why) => {
                    if was_handshaking {
                        self.stats.tls_failed += 1;
                    }
                    // The alert with the reason.
                    let _ = connection.wire.flush();
                    return Err(why);
                }
            }
            match &mut connection.state {
                State::Reading | State::Waiting { .. } | State::Writing { .. } => {
                    connection.reader.push(&bytes);
                }
                State::WebSocket(socket) if !bytes.is_empty() => socket.push(&bytes, now),
                State::WebSocket(_) => {}
                State::Lingering { left } => {
                    *left = left.saturating_sub(bytes.len());
                    if *left == 0 {
                        return Err("it goes on sending".into());
                    }
                }
            }
            if let State::Reading = connection.state
                && connection.reader.unfinished() > READ_BUDGET
            {
                // Parsed first, so that no more memory is held than necessary.
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Parses requests and messages from received data. Returns `true` if there is more to do.
    fn understand(&mut self, index: usize, now: Instant) -> Result<bool, Over> {
        loop {
            let Some(connection) = self.connections.get_mut(index) else {
                return Ok(false);
            };
            if self.events.len() >= MAX_EVENTS {
                return Ok(true);
            }
            match &mut connection.state {
                State::Reading => match connection.reader.step() {
                    Step::More if connection.has_ended => match connection.reader.ended() {
                        Some(refusal) => self.refuse(index, &refusal),
                        None => return Err("closed by the client".into()),
                    },
                    Step::More => return self.check_held(index),
                    Step::Continue => connection.wire.send(b"HTTP/1.1 100 Continue\r\n\r\n"),
                    Step::Refused(refusal) => self.refuse(index, &refusal),
                    Step::Request(raw) => {
                        let secure = connection.wire.is_secure();
                        match parse(*raw, connection.client, secure) {
                            Ok(mut parsed) => {
                                self.config.proxies.apply(&mut parsed.request);
                                self.requested(index, parsed);
                            }
                            Err(refusal) => self.refuse(index, &refusal),
                        }
                    }
                },
                State::Waiting { .. } => return Ok(false),
                State::Lingering { .. } if !connection.has_ended => return Ok(false),
                State::Lingering { .. } => return Err("answered".into()),
                State::Writing { keep_alive } => {
                    let keep_alive = *keep_alive;
                    match connection.wire.flush()? {
                        Flushed::All if keep_alive => connection.state = State::Reading,
                        Flushed::All => {
                            // The client may have closed it already.
                            let _ = connection.wire.finish();
                            connection.state = State::Lingering { left: MAX_LINGER };
                            continue;
                        }
                        Flushed::Blocked => return Ok(false),
                        Flushed::More => return Ok(true),
                    }
                    // Data that arrived meanwhile, or is still in the socket.
                    self.list(index);
                }
                State::WebSocket(_) => return self.hear(index, now),
            }
        }
    }

    /// Handles messages of a WebSocket. Returns `true` if there are more.
    fn hear(&mut self, index: usize, now: Instant) -> Result<bool, Over> {
        let Some(connection) = self.connections.get_mut(index) else {
            return Ok(false);
        };
        let State::WebSocket(socket) = &mut connection.state else {
            return Ok(false);
        };
        let mut end = None;
        while self.events.len() < MAX_EVENTS {
            match socket.next() {
                Some(Incoming::Text(text)) => {
                    self.stats.messages_in += 1;
                    self.events.push_back(DoorEvent::Message(socket.id, text));
                }
                Some(Incoming::End { is_wrong }) => {
                    end = Some(is_wrong);
                    break;
                }
                None => break,
            }
        }
        connection.wire.send(&socket.take_output());
        let queued = connection.wire.queued();
        if queued > self.config.max_queue {
            // Pongs for a client that sends pings and does not read.
            self.stats.web_sockets_dead += 1;
            return Err("it does not read".into());
        }
        // With too many events queued, the rest is parsed later.
        let more = self.events.len() >= MAX_EVENTS;
        if let Some(is_wrong) = end {
            self.stats.web_sockets_wrong += u64::from(is_wrong);
            self.sockets.remove(&socket.id);
            self.events.push_back(DoorEvent::Closed(socket.id));
            connection.state = State::Writing { keep_alive: false };
            return self.understand(index, now);
        }
        if connection.has_ended {
            return Err("closed by the client".into());
        }
        Ok(more)
    }

    fn flush(&mut self, index: usize, now: Instant) -> Result<bool, Over> {
        let Some(connection) = self.connections.get_mut(index) else {
            return Ok(false);
        };
        let flushed = connection.wire.flush()?;
        connection.note_progress(now);
        if let State::WebSocket(socket) = &mut connection.state {
            socket.stalled = match flushed {
                Flushed::All => None,
                _ => socket.stalled.or(Some(now)),
            };
        }
        Ok(flushed == Flushed::More)
    }

    /// Handles a complete request.
    fn requested(&mut self, index: usize, parsed: Parsed) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        connection.is_known = true;
        self.stats.requests += 1;
        let reply = parsed.reply;
        if connection.wire.is_plain_by_mistake {
            return self.say_https(index, &parsed.request);
        }
        if self.config.proxies.trusts(connection.client.ip())
            && !self.attribute(index, parsed.request.client.ip())
        {
            let refusal = Refusal::new(429, "too many connections from your address");
            return self.refuse_but_stay(index, &refusal, reply);
        }
        if self.requests.len() >= self.config.max_requests {
            let refusal = admit::overloaded("too many requests wait already");
            return self.refuse_but_stay(index, &refusal, reply);
        }
        let is_web_socket = parsed.web_socket.is_some();
        if is_web_socket && self.sockets.len() >= self.config.max_web_sockets {
            let refusal = admit::overloaded("there are as many WebSockets as allowed");
            return self.refuse_but_stay(index, &refusal, reply);
        }
        let id = RequestId(self.next_id());
        self.events.push_back(match is_web_socket {
            true => DoorEvent::WebSocketRequest(id, parsed.request),
            false => DoorEvent::Request(id, parsed.request),
        });
        self.requests.insert(id, index);
        if let Some(connection) = self.connections.get_mut(index) {
            connection.state = State::Waiting {
                id,
                reply,
                web_socket: parsed.web_socket,
            };
        }
    }

    /// Opens the WebSocket of this request.
    pub(super) fn open(&mut self, id: RequestId, index: usize) -> Option<WebSocketId> {
        let socket_id = WebSocketId(self.next_id());
        let connection = self.connections.get_mut(index)?;
        let State::Waiting { web_socket, .. } = &mut connection.state else {
            return None;
        };
        let accept = web_socket.take()?;
        self.requests.remove(&id);
        connection.wire.send(switching(&accept).as_bytes());
        let empty = RequestReader::new(connection.reader.limits());
        let rest = std::mem::replace(&mut connection.reader, empty).into_rest();
        let socket = Socket::new(socket_id, rest, self.config.max_message, self.now);
        connection.state = State::WebSocket(Box::new(socket));
        self.sockets.insert(socket_id, index);
        self.stats.web_sockets_opened += 1;
        self.list(index);
        Some(socket_id)
    }

    /// Refuses an incomplete request if the total memory limit is exceeded and its address holds most.
    fn check_held(&mut self, index: usize) -> Result<bool, Over> {
        let Some(connection) = self.connections.get(index) else {
            return Ok(false);
        };
        let more = connection.holds().saturating_sub(connection.held);
        let is_full = self.held + more > self.config.max_buffered;
        let address = connection.address;
        // Slow readers, and those with more memory, are closed first: see `relieve`.
        let is_heaviest = || self.admission.heaviest() == Some(address);
        if more > 0 && is_full && is_heaviest() && self.admission.first_reading().is_none() {
            let refusal = admit::overloaded("too many requests are under way");
            self.refuse(index, &refusal);
            return Ok(true);
        }
        Ok(false)
    }

    /// Handles an expired time limit, or something due on a WebSocket.
    fn expire(&mut self, index: usize, now: Instant) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let phase = connection.phase(now);
        if connection.deadline(&self.config) > now {
            return self.settle(index, now);
        }
        let why = match phase {
            Phase::Handshake => {
                self.stats.tls_failed += 1;
                "the handshake of TLS took too long"
            }
            Phase::New | Phase::Idle => {
                self.stats.idle_closed += 1;
                "idle for too long"
            }
            Phase::Head | Phase::Body => {
                let refusal = Refusal::new(408, "the request took too long to arrive");
                self.refuse(index, &refusal);
                return self.attend(index, now);
            }
            Phase::Waiting => {
                self.give_up(index);
                let refusal = Refusal::new(504, "the application has not answered in time");
                self.refuse(index, &refusal);
                return self.attend(index, now);
            }
            Phase::HalfClosed => "the client left before its response",
            Phase::Writing => {
                self.stats.unread += 1;
                "the response was not read in time"
            }
            Phase::Lingering => "answered",
            Phase::WebSocket => match self.keep_alive(index, now) {
                None => return self.attend(index, now),
                Some(why) => why,
            },
        };
        self.remove(index, why);
    }

    /// Sends a ping on a silent WebSocket, or returns the reason to close it.
    fn keep_alive(&mut self, index: usize, now: Instant) -> Option<&'static str> {
        let connection = self.connections.get_mut(index)?;
        let State::WebSocket(socket) = &mut connection.state else {
            return None;
        };
        if socket.closing.is_some() {
            return Some("the close was not confirmed");
        }
        if socket.heard + self.config.silence <= now {
            self.stats.web_sockets_dead += 1;
            return Some("silent for too long");
        }
        if socket
            .stalled
            .is_some_and(|at| at + self.config.write_time <= now)
        {
            self.stats.web_sockets_dead += 1;
            return Some("it does not read");
        }
        if !socket.is_pinged {
            socket.ping();
            connection.wire.send(&socket.take_output());
        }
        None
    }

    /// Updates the tables with a connection's state.
    pub(super) fn settle(&mut self, index: usize, now: Instant) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        connection.phase(now);
        let deadline = connection.deadline(&self.config);
        self.deadlines.set(index, Some(deadline));
        let rank = connection.rank();
        let (address, place) = (connection.address, connection.place);
        connection.place = self.admission.rank(index, address, place, rank);
        let held = connection.holds();
        self.held = self.held + held - connection.held;
        self.admission.hold(address, connection.held, held);
        connection.held = held;
    }

    pub(super) fn remove(&mut self, index: usize, why: &str) {
        self.give_up(index);
        let Some(mut connection) = self.connections.try_remove(index) else {
            return;
        };
        log::debug!("the connection of {}: {why}", connection.client);
        if let State::WebSocket(socket) = &connection.state {
            self.sockets.remove(&socket.id);
            self.events.push_back(DoorEvent::Closed(socket.id));
        }
        let _ = self.poll.registry().deregister(&mut connection.wire.tcp);
        self.admission.hold(connection.address, connection.held, 0);
        self.admission.leave(connection.address, connection.place);
        self.deadlines.set(index, None);
        self.held -= connection.held;
    }
}
