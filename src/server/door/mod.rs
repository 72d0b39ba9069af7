//! The door: one listening port for pages, HTTP and WebSocket, on the thread that calls it. It starts no threads.
//!
//! ```text
//!  client ──▶ admission ──▶ TLS ──▶ requests, whole and checked ──▶ DoorEvent ──▶ application
//!         ◀──────────────── TLS ◀── responses ◀───────────────────────────────── respond
//!         ◀──▶ WebSocket ◀─────────────────────────────────────────────────────▶ accept, send
//! ```
//!
//! A client may be slow, silent or hostile: what it can use up is limited ([`DoorConfig`]) and counted
//! ([`DoorStats`]), and nobody waits for it. A request reaches the application when all of it has come; a response is
//! taken from the application at once. Who holds a connection without using it gives way to others.
//!
//! What a client is told by the door itself:
//!
//! | status | when |
//! |---|---|
//! | 308, 400 | it speaks plain HTTP where TLS is expected: to where to go instead |
//! | 400 | it is not HTTP, or could be understood in two ways; the text says what |
//! | 408 | the head or the body was not complete in time |
//! | 413, 431 | the body, or the head, is over its limit |
//! | 417, 501, 505 | an expectation, a coding or a version that is not known here |
//! | 426 | a WebSocket of another version than 13 |
//! | 429 | too many connections of the same address, all of them in use |
//! | 503 | too much waits, or too many connections, all of them in use |
//! | 504 | the application has not answered in time |
//!
//! Requests on one connection are answered one after the other; what a client sends ahead waits. A client that ends
//! its side before it has its response is waited for for a second.
//!
//! It has a poll of its own. To have it beside other things, wait for its descriptor and for
//! [`next_deadline`](Door::next_deadline), then call [`turn`](Door::turn); an
//! [`EventLoop`](crate::driver::EventLoop) does the waiting with [`watch`](crate::driver::EventLoop::watch).
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod admission;
mod admit;
mod answer;
mod config;
mod connection;
mod frames;
pub(crate) mod handshake;
pub(crate) mod web_socket;
mod wire;
mod work;

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use self::admission::Admission;
use self::connection::{Connection, State};
use crate::driver::deadlines::Deadlines;
use crate::proto::http::{Request, Response};
use crate::server::http::{RequestId, WebSocketId};

pub use self::admit::raise_descriptors;
pub use self::config::{DoorConfig, DoorStats};
#[cfg(feature = "self-signed")]
pub use super::self_signed::{SelfSigned, local_names};
pub use super::tls::TlsIdentity;

/// Events of the system taken in one turn.
const MAX_READY: usize = 256;

/// Events that wait for the application before nothing more is read.
const MAX_EVENTS: usize = 1024;

/// Connections dealt with in one turn.
const WORK_BUDGET: usize = 512;

const LISTENER: Token = Token(usize::MAX);

/// What happens at the door.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DoorEvent {
    /// A request: answer it with [`Door::respond`].
    Request(RequestId, Request),
    /// A client asks for a WebSocket: [`Door::accept`] it, or refuse it with [`Door::respond`]. Its `Origin` is to be
    /// looked at: see [`Request::is_same_origin`].
    WebSocketRequest(RequestId, Request),
    /// A client has said something. Messages that are not text are not taken (1003).
    Message(WebSocketId, String),
    /// A WebSocket is over, whoever has closed it. Said once for each that was accepted.
    Closed(WebSocketId),
    /// The client has left before its response, or the time for it is over: it needs no response any more.
    Gone(RequestId),
}

/// Why a message could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The WebSocket is closed or closing.
    Closed,
    /// The client does not read what it is sent ([`DoorConfig::max_queue`]); the WebSocket is closed.
    QueueFull,
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "the WebSocket is closed",
            Self::QueueFull => "the WebSocket's client does not read; it is closed",
        })
    }
}

impl std::error::Error for SendError {}

/// A listening port. See the [module](self).
pub struct Door {
    config: DoorConfig,
    poll: Poll,
    ready: Events,
    listener: TcpListener,
    local: SocketAddr,
    /// There may be connections to accept: mio is edge-triggered, nobody will say so again.
    may_accept: bool,
    /// Accepting has failed, and is tried again then.
    accept_again: Option<Instant>,
    /// A descriptor to give up when there are no others, so that the client can be told.
    spare: Option<File>,
    connections: Slab<Connection>,
    admission: Admission,
    deadlines: Deadlines,
    /// Those that have something to do.
    listed: VecDeque<usize>,
    /// There may be more events of the system than were taken.
    more_ready: bool,
    /// The connection of each request that waits for the application.
    requests: HashMap<RequestId, usize>,
    sockets: HashMap<WebSocketId, usize>,
    events: VecDeque<DoorEvent>,
    last_id: u64,
    /// Bytes that are held for connections.
    held: usize,
    chunk: Vec<u8>,
    /// When the last turn was.
    now: Instant,
    stats: DoorStats,
}

impl Door {
    /// Listens at this address; port 0 lets the system choose. An unspecified IPv6 address takes IPv4, too, where the
    /// system has both.
    ///
    /// # Errors
    ///
    /// The system's: as when the address is in use, or not of this machine.
    pub fn listen(address: SocketAddr, config: DoorConfig) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = admit::listener(address)?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let config = admit::within_descriptors(config);
        Ok(Self {
            local: listener.local_addr()?,
            config,
            poll,
            ready: Events::with_capacity(MAX_READY),
            listener,
            may_accept: true,
            accept_again: None,
            spare: admit::spare(),
            connections: Slab::new(),
            admission: Admission::default(),
            deadlines: Deadlines::default(),
            listed: VecDeque::new(),
            more_ready: false,
            requests: HashMap::new(),
            sockets: HashMap::new(),
            events: VecDeque::new(),
            last_id: 0,
            held: 0,
            chunk: vec![0; 16 * 1024],
            now: Instant::now(),
            stats: DoorStats::default(),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether it speaks TLS.
    pub fn is_secure(&self) -> bool {
        self.config.tls.is_some()
    }

    /// Deals with what has happened. Never blocks, and does a bounded amount of work; what is left over makes
    /// [`next_deadline`](Self::next_deadline) a time gone by.
    pub fn turn(&mut self, now: Instant) {
        self.poll(Some(Duration::ZERO));
        self.work(now);
    }

    /// Waits for something to happen, at most so long (`None`: until something does), and deals with it: for programs
    /// without an [`EventLoop`](crate::driver::EventLoop).
    pub fn wait(&mut self, max_wait: Option<Duration>) {
        let now = Instant::now();
        let until = self.next_deadline();
        let until = until.map(|at| at.saturating_duration_since(now));
        self.poll(until.into_iter().chain(max_wait).min());
        self.work(Instant::now());
    }

    /// When [`turn`](Self::turn) has to be called even if nothing arrives. A time gone by: now; so it is while there
    /// are events to be polled.
    pub fn next_deadline(&self) -> Option<Instant> {
        let accepts = self.may_accept && self.accept_again.is_none();
        let has_work = accepts || !self.listed.is_empty() || !self.events.is_empty();
        if has_work || self.more_ready {
            return Some(self.now);
        }
        let deadline = self.deadlines.next();
        deadline.into_iter().chain(self.accept_again).min()
    }

    /// What has happened, in order. To be asked until it is `None`.
    pub fn poll_event(&mut self) -> Option<DoorEvent> {
        self.events.pop_front()
    }

    /// Answers a request. One that is [`Gone`](DoorEvent::Gone) needs no answer: nothing happens.
    pub fn respond(&mut self, id: RequestId, response: Response) {
        self.send_response(id, &response);
    }

    /// Opens the WebSocket that was asked for. `None`: the client is gone, or there are too many
    /// ([`DoorConfig::max_web_sockets`]), which it has been told.
    pub fn accept(&mut self, id: RequestId) -> Option<WebSocketId> {
        let index = *self.requests.get(&id)?;
        if self.sockets.len() >= self.config.max_web_sockets {
            self.stats.overloaded += 1;
            let refusal = admit::overloaded("there are as many WebSockets as allowed");
            self.send_response(id, &answer::refusal_response(&refusal));
            return None;
        }
        self.open(id, index)
    }

    /// Sends a text.
    ///
    /// # Errors
    ///
    /// [`SendError`]: it was not sent, and nothing will be any more.
    pub fn send(&mut self, socket: WebSocketId, text: &str) -> Result<(), SendError> {
        let index = *self.sockets.get(&socket).ok_or(SendError::Closed)?;
        let connection = self.connections.get_mut(index);
        let connection = connection.ok_or(SendError::Closed)?;
        let State::WebSocket(socket) = &mut connection.state else {
            return Err(SendError::Closed);
        };
        if socket.closing.is_some() {
            return Err(SendError::Closed);
        }
        if connection.wire.queued() + text.len() > self.config.max_queue {
            self.stats.web_sockets_dead += 1;
            self.remove(index, "the WebSocket's client does not read");
            return Err(SendError::QueueFull);
        }
        socket.send(text);
        connection.wire.send(&socket.take_output());
        self.stats.messages_out += 1;
        self.list(index);
        Ok(())
    }

    /// Closes a WebSocket, with a code (RFC 6455, section 7.4) and a reason of at most 123 bytes.
    /// [`Closed`](DoorEvent::Closed) follows when the client has confirmed it, or after 2 s.
    pub fn close(&mut self, socket: WebSocketId, code: u16, reason: &str) {
        let Some(index) = self.sockets.get(&socket).copied() else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(index)
            && let State::WebSocket(socket) = &mut connection.state
        {
            socket.close(code, reason, self.now);
            connection.wire.send(&socket.take_output());
        }
        self.list(index);
    }

    /// What it has, and has counted.
    pub fn stats(&self) -> DoorStats {
        DoorStats {
            connections: self.connections.len(),
            idle: self.admission.idle(),
            strangers: self.admission.strangers(),
            web_sockets: self.sockets.len(),
            waiting: self.requests.len(),
            held: self.held,
            ..self.stats
        }
    }

    fn poll(&mut self, wait: Option<Duration>) {
        match self.poll.poll(&mut self.ready, wait) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => log::error!("the door cannot wait for events: {e}"),
        }
    }

    /// This connection has something to do.
    fn list(&mut self, index: usize) {
        if let Some(connection) = self.connections.get_mut(index)
            && !std::mem::replace(&mut connection.is_listed, true)
        {
            self.listed.push_back(index);
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for Door {
    /// Readable when a [`turn`](Door::turn) has something to do.
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.poll)
    }
}

#[cfg(test)]
mod tests;
