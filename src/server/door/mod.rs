//! The door: one listening port for pages, HTTP and WebSocket, on the thread that calls it. It starts no threads.
//!
//! ```text
//!  client ──▶ admission ──▶ TLS ──▶ requests, whole and checked ──▶ DoorEvent ──▶ application
//!         ◀──────────────── TLS ◀── responses ◀───────────────────────────────── respond
//!         ◀──▶ WebSocket ◀─────────────────────────────────────────────────────▶ accept, send
//! ```
//!
//! A client may be slow, silent or hostile: the resources it can use are limited ([`DoorConfig`]) and counted
//! ([`DoorStats`]), and it never delays others. A request is passed to the application when it is complete; a response
//! is accepted from the application at once. Connections that are not in use are closed to make room for others.
//!
//! Responses of the door itself:
//!
//! | status | reason |
//! |---|---|
//! | 308, 400 | plain HTTP where TLS is expected, with the correct URL |
//! | 400 | not HTTP, or ambiguous; the text has details |
//! | 408 | the head or the body was not complete in time |
//! | 413, 431 | the body, or the head, exceeds its limit |
//! | 417, 501, 505 | an unsupported expectation, coding or version |
//! | 426 | a WebSocket of another version than 13 |
//! | 429 | too many connections of the same address, all in use |
//! | 503 | overload, or too many connections, all in use |
//! | 504 | the application has not responded in time |
//!
//! Requests on a connection are answered in order; data sent ahead waits. If a client closes its side before the
//! response, the response is awaited for a second.
//!
//! The door has a poll of its own. To run it beside other event sources, wait for its descriptor and for
//! [`next_deadline`](Door::next_deadline), then call [`turn`](Door::turn); an [`EventLoop`](crate::driver::EventLoop)
//! can wait for it with [`watch`](crate::driver::EventLoop::watch).
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

/// Maximum number of system events taken per turn.
const MAX_READY: usize = 256;

/// Maximum number of events queued for the application; beyond it nothing more is read.
const MAX_EVENTS: usize = 1024;

/// Maximum number of connections processed per turn.
const WORK_BUDGET: usize = 512;

const LISTENER: Token = Token(usize::MAX);

/// An event of a door.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DoorEvent {
    /// A request; answer it with [`Door::respond`].
    Request(RequestId, Request),
    /// A request for a WebSocket: [`Door::accept`] it, or refuse it with [`Door::respond`]. Check its `Origin`: see
    /// [`Request::is_same_origin`].
    WebSocketRequest(RequestId, Request),
    /// A text message of a client. Other messages are refused (1003).
    Message(WebSocketId, String),
    /// A WebSocket was closed by either side. Reported once for each accepted one.
    Closed(WebSocketId),
    /// The client has disconnected before its response, or the time limit is over: no response is needed any more.
    Gone(RequestId),
}

/// Reason why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The WebSocket is closed or closing.
    Closed,
    /// The client does not read ([`DoorConfig::max_queue`]); the WebSocket is closed.
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

/// A listening HTTP and WebSocket server. See the [module](self).
pub struct Door {
    config: DoorConfig,
    poll: Poll,
    ready: Events,
    listener: TcpListener,
    local: SocketAddr,
    /// There may be connections to accept: mio is edge-triggered and will not report them again.
    may_accept: bool,
    /// Accepting has failed, and is retried at this time.
    accept_again: Option<Instant>,
    /// A descriptor to release when no others are left, so that a client can be answered.
    spare: Option<File>,
    connections: Slab<Connection>,
    admission: Admission,
    deadlines: Deadlines,
    /// Connections with work to do.
    listed: VecDeque<usize>,
    /// There may be more system events than were taken.
    more_ready: bool,
    /// The connection of each request that waits for the application.
    requests: HashMap<RequestId, usize>,
    sockets: HashMap<WebSocketId, usize>,
    events: VecDeque<DoorEvent>,
    last_id: u64,
    /// Number of bytes held for connections.
    held: usize,
    chunk: Vec<u8>,
    /// Time of the last turn.
    now: Instant,
    stats: DoorStats,
}

impl Door {
    /// Listens at this address; port 0 lets the system choose. An unspecified IPv6 address accepts IPv4 as well, if the
    /// system supports both.
    ///
    /// # Errors
    ///
    /// Returns the system's error, for example if the address is in use, or is not one of this machine.
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

    /// Returns the listening address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Returns `true` if it uses TLS.
    pub fn is_secure(&self) -> bool {
        self.config.tls.is_some()
    }

    /// Handles pending events. Never blocks, and does a bounded amount of work; if work is left,
    /// [`next_deadline`](Self::next_deadline) is in the past.
    pub fn turn(&mut self, now: Instant) {
        self.poll(Some(Duration::ZERO));
        self.work(now);
    }

    /// Waits for activity for at most `max_wait` (`None`: without limit), and handles it. For programs without an
    /// [`EventLoop`](crate::driver::EventLoop).
    pub fn wait(&mut self, max_wait: Option<Duration>) {
        let now = Instant::now();
        let until = self.next_deadline();
        let until = until.map(|at| at.saturating_duration_since(now));
        self.poll(until.into_iter().chain(max_wait).min());
        self.work(Instant::now());
    }

    /// Returns the time by which [`turn`](Self::turn) must be called even if nothing arrives. A time in the past means
    /// now, as while there are events to poll.
    pub fn next_deadline(&self) -> Option<Instant> {
        let accepts = self.may_accept && self.accept_again.is_none();
        let has_work = accepts || !self.listed.is_empty() || !self.events.is_empty();
        if has_work || self.more_ready {
            return Some(self.now);
        }
        let deadline = self.deadlines.next();
        deadline.into_iter().chain(self.accept_again).min()
    }

    /// Returns the next event. Call it until it returns `None`.
    pub fn poll_event(&mut self) -> Option<DoorEvent> {
        self.events.pop_front()
    }

    /// Answers a request. Does nothing if it is [`Gone`](DoorEvent::Gone).
    pub fn respond(&mut self, id: RequestId, response: Response) {
        self.send_response(id, &response);
    }

    /// Opens the requested WebSocket. Returns `None` if the client has disconnected, or if there are too many
    /// ([`DoorConfig::max_web_sockets`]), which the client is told.
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

    /// Sends a text message.
    ///
    /// # Errors
    ///
    /// Returns [`SendError`] if it was not sent; later messages will not be either.
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

    /// Closes a WebSocket with a code (RFC 6455, section 7.4) and a reason of at most 123 bytes.
    /// [`Closed`](DoorEvent::Closed) follows when the client has confirmed, or after 2 s.
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

    /// Returns the current state, and the counters since the door was opened.
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

    /// Lists a connection as having work to do.
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
    /// The descriptor becomes readable when [`turn`](Door::turn) has something to do.
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.poll)
    }
}

#[cfg(test)]
mod tests;
