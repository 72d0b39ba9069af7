//! TCP connections of the application on the same loop, with or without TLS: to a camera, or for any other purpose.
//!
//! A connection is resolved, connected and read beside everything else on the loop. Nothing is lost and nothing grows
//! without a limit: what the application does not take is not read, and what does not fit into the queue is not accepted.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use slab::Slab;

use super::deadlines::Deadlines;
use super::resolver::{Lookup, Waiter};
use super::tcp::StreamEvent;
use super::tcp_config::{TcpConfig, TcpError, TcpId};
use super::{EventLoop, LoopError};
use crate::proto::ice::mdns;

/// Maximum number of addresses of a host that are tried.
const MAX_ADDRESSES: usize = 8;

/// Time that a closed connection has to send what is queued, and to see the remote side close, too.
const FAREWELL: Duration = Duration::from_secs(2);

/// An event of a TCP connection of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpEvent {
    /// The connection.
    pub socket: TcpId,
    /// The event.
    pub kind: TcpEventKind,
}

/// Kinds of events of a TCP connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcpEventKind {
    /// The connection is established, after the TLS handshake if there is one.
    Connected {
        /// The local address.
        local: SocketAddr,
        /// The remote address.
        remote: SocketAddr,
    },
    /// Bytes arrived, in order and without gaps. All that has arrived since the last event is in one event.
    Received(Vec<u8>),
    /// The queue has room again after [`EventLoop::send_tcp`] took nothing.
    Writable,
    /// The remote side sends no more, but may still receive; only with [`TcpConfig::half_open`]. Close the connection
    /// when done.
    Finished,
    /// The connection has ended. This is its last event. It does not follow [`EventLoop::close_tcp`].
    Closed {
        /// Why it has ended, or could not be established.
        reason: TcpError,
    },
}

/// TCP connections of the application.
#[derive(Default)]
pub(super) struct Connections {
    connections: Slab<Connection>,
    generation: u32,
    deadlines: Deadlines,
    /// Connections that have events for the application.
    ready: VecDeque<TcpId>,
    /// Connections whose stream has ended, to be handled when the streams can be changed.
    ended: Vec<(TcpId, TcpError)>,
    closing: usize,
}

struct Connection {
    id: TcpId,
    config: TcpConfig,
    stage: Stage,
    news: News,
    /// Set while it is in the list of connections with events.
    listed: bool,
}

enum Stage {
    Resolving {
        until: Instant,
    },
    Connecting {
        key: usize,
        /// Addresses to try next, the first at the end.
        left: Vec<SocketAddr>,
        /// The limit of all attempts; that of this one is its deadline.
        until: Instant,
    },
    Open {
        key: usize,
    },
    /// The application has closed it: queued bytes are being sent.
    Closing {
        key: usize,
    },
    /// Only its last events are left.
    Over,
}

/// Events that the application has not taken yet, in order.
#[derive(Default)]
struct News {
    connected: Option<(SocketAddr, SocketAddr)>,
    received: Vec<u8>,
    writable: bool,
    finished: bool,
    closed: Option<TcpError>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.connected.is_none()
            && self.received.is_empty()
            && !self.writable
            && !self.finished
            && self.closed.is_none()
    }

    fn pop(&mut self) -> Option<TcpEventKind> {
        if let Some((local, remote)) = self.connected.take() {
            return Some(TcpEventKind::Connected { local, remote });
        }
        if !self.received.is_empty() {
            return Some(TcpEventKind::Received(std::mem::take(&mut self.received)));
        }
        if std::mem::take(&mut self.writable) {
            return Some(TcpEventKind::Writable);
        }
        if std::mem::take(&mut self.finished) {
            return Some(TcpEventKind::Finished);
        }
        let reason = self.closed.take()?;
        Some(TcpEventKind::Closed { reason })
    }
}

impl Connection {
    /// Returns the key of its stream.
    fn key(&self) -> Option<usize> {
        match self.stage {
            Stage::Connecting { key, .. } | Stage::Open { key } | Stage::Closing { key } => {
                Some(key)
            }
            Stage::Resolving { .. } | Stage::Over => None,
        }
    }
}

impl Connections {
    pub fn has_events(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns `true` while closed connections have something to send.
    pub fn is_closing(&self) -> bool {
        self.closing > 0
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    fn get_mut(&mut self, id: TcpId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id.index as usize)?;
        (connection.id == id).then_some(connection)
    }

    /// Returns the connection if the application has not closed it.
    fn usable(&mut self, id: TcpId) -> Option<&mut Connection> {
        self.get_mut(id)
            .filter(|c| !matches!(c.stage, Stage::Closing { .. }))
    }

    fn set_stage(&mut self, id: TcpId, stage: Stage, deadline: Option<Instant>) {
        let is_closing = |stage: &Stage| matches!(stage, Stage::Closing { .. });
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let (before, after) = (is_closing(&connection.stage), is_closing(&stage));
        connection.stage = stage;
        self.closing = self.closing + usize::from(after) - usize::from(before);
        self.deadlines.set(id.index as usize, deadline);
    }

    fn remove(&mut self, id: TcpId) {
        self.set_stage(id, Stage::Over, None);
        if self.get_mut(id).is_some() {
            self.connections.remove(id.index as usize);
            self.ready.retain(|ready| *ready != id);
        }
    }

    /// Gives an event to the application.
    fn tell(&mut self, id: TcpId, tell: impl FnOnce(&mut News)) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        tell(&mut connection.news);
        if !connection.listed && !connection.news.is_empty() {
            connection.listed = true;
            self.ready.push_back(id);
        }
    }

    /// Handles an event of a stream.
    pub fn on_event(&mut self, id: TcpId, event: StreamEvent<'_>, now: Instant) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        match (&connection.stage, event) {
            (Stage::Connecting { key, .. }, StreamEvent::Opened(local, remote)) => {
                let key = *key;
                let idle = connection.config.idle_timeout;
                let until = idle.and_then(|idle| now.checked_add(idle));
                self.set_stage(id, Stage::Open { key }, until);
                self.tell(id, |news| news.connected = Some((local, remote)));
            }
            (Stage::Open { .. }, StreamEvent::Received(_, _, bytes)) => {
                self.tell(id, |news| news.received.extend_from_slice(bytes));
            }
            (Stage::Open { .. }, StreamEvent::Room) => self.tell(id, |news| news.writable = true),
            (Stage::Open { .. }, StreamEvent::Finished(_)) if connection.config.half_open => {
                self.tell(id, |news| news.finished = true);
            }
            (_, StreamEvent::Finished(why) | StreamEvent::Failed(why)) => {
                self.ended.push((id, why));
            }
            _ => {}
        }
    }
}

impl EventLoop {
    /// Starts a TCP connection for the application. Take its events with [`poll_tcp`](Self::poll_tcp): the first is
    /// [`TcpEventKind::Connected`], or [`TcpEventKind::Closed`] with the reason why it cannot be made.
    ///
    /// ```no_run
    /// # use looprtc::driver::{EventLoop, LoopConfig, TcpConfig, TcpEventKind};
    /// let mut net = EventLoop::new(LoopConfig::default())?;
    /// let echo = net.add_tcp(TcpConfig::new("localhost", 7))?;
    /// loop {
    ///     net.next_event(None)?;
    ///     while let Some(event) = net.poll_tcp() {
    ///         match event.kind {
    ///             TcpEventKind::Connected { .. } => {
    ///                 net.send_tcp(echo, b"hello")?;
    ///             }
    ///             TcpEventKind::Received(bytes) => println!("{} bytes", bytes.len()),
    ///             TcpEventKind::Closed { reason } => println!("closed: {reason}"),
    ///             _ => {}
    ///         }
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`LoopError::LimitReached`] beyond [`LoopConfig::max_tcp_sockets`](super::LoopConfig::max_tcp_sockets).
    pub fn add_tcp(&mut self, config: TcpConfig) -> Result<TcpId, LoopError> {
        let limit = self.config.max_tcp_sockets;
        if self.connections.connections.len() >= limit {
            return Err(LoopError::LimitReached {
                limit: "max_tcp_sockets",
                value: limit,
            });
        }
        let now = Instant::now();
        let connections = &mut self.connections;
        connections.generation = connections.generation.wrapping_add(1);
        let entry = connections.connections.vacant_entry();
        let id = TcpId {
            // The number of connections is limited by the system's descriptors; slab keys are dense.
            index: u32::try_from(entry.key()).unwrap_or(u32::MAX),
            generation: connections.generation,
        };
        let far = Duration::from_secs(24 * 3600);
        let until = now + config.connect_timeout.min(far);
        let host = config.host.trim_matches(['[', ']']).to_owned();
        entry.insert(Connection {
            id,
            config,
            stage: Stage::Resolving { until },
            news: News::default(),
            listed: false,
        });
        self.connections
            .deadlines
            .set(id.index as usize, Some(until));
        if let Ok(address) = host.parse::<IpAddr>() {
            self.on_connection_resolved(id, Ok(vec![address]), now);
        } else if mdns::is_local(&host) {
            self.resolve_local(Waiter::Connection(id), &host, now);
        } else if let Some(lookup) = self.resolver.resolve(&host, Waiter::Connection(id), now) {
            self.on_connection_resolved(id, lookup, now);
        }
        Ok(id)
    }

    /// Returns the next event of a TCP connection of the application. While there are any,
    /// [`next_event`](Self::next_event) does not wait.
    pub fn poll_tcp(&mut self) -> Option<TcpEvent> {
        loop {
            let id = self.connections.ready.pop_front()?;
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            let Some(kind) = connection.news.pop() else {
                connection.listed = false;
                continue;
            };
            connection.listed = !connection.news.is_empty();
            let (again, key) = (connection.listed, connection.key());
            if again {
                self.connections.ready.push_back(id);
            }
            match (&kind, key) {
                (TcpEventKind::Received(bytes), Some(key)) => self.streams.taken(key, bytes.len()),
                (TcpEventKind::Closed { .. }, _) => self.connections.remove(id),
                _ => {}
            }
            return Some(TcpEvent { socket: id, kind });
        }
    }

    /// Queues bytes on a TCP connection: all of them, or none. They are sent in the next turn; what is queued in one
    /// turn leaves together. Returns `false` if none were taken, because the connection is not established yet
    /// ([`TcpEventKind::Connected`] follows), has been [finished](Self::finish_tcp), or has no room
    /// ([`TcpEventKind::Writable`] follows once half of the queue is empty).
    ///
    /// # Errors
    ///
    /// Returns [`LoopError::NoSuchSocket`] if it has ended, and [`LoopError::LimitReached`] if there are more bytes than
    /// [`TcpConfig::max_queue`].
    pub fn send_tcp(&mut self, socket: TcpId, contents: &[u8]) -> Result<bool, LoopError> {
        let connection = self.connections.usable(socket);
        let connection = connection.ok_or(LoopError::NoSuchSocket)?;
        if contents.len() > connection.config.max_queue {
            return Err(LoopError::LimitReached {
                limit: "max_queue",
                value: connection.config.max_queue,
            });
        }
        match connection.stage {
            Stage::Open { key } => Ok(self.streams.offer(key, contents)),
            Stage::Over => Err(LoopError::NoSuchSocket),
            _ => Ok(false),
        }
    }

    /// Returns the number of bytes that are queued on a TCP connection and not accepted by the system yet.
    pub fn tcp_queued(&self, socket: TcpId) -> usize {
        let connection = self.connections.connections.get(socket.index as usize);
        let key = connection
            .filter(|c| c.id == socket)
            .and_then(Connection::key);
        key.map_or(0, |key| self.streams.queued(key))
    }

    /// Ends the sending direction once all queued bytes are sent: the remote side reads to the end, and may still send
    /// (with [`TcpConfig::half_open`] on its side or a protocol that expects it). Does nothing if the connection is not
    /// established.
    pub fn finish_tcp(&mut self, socket: TcpId) {
        if let Some(Stage::Open { key }) = self.connections.usable(socket).map(|c| &c.stage) {
            self.streams.finish(*key);
        }
    }

    /// Closes a TCP connection: queued bytes are sent, for at most 2 s, TLS is ended with `close_notify`, and events that
    /// were not taken are dropped. No event follows. Does nothing if it is already closed.
    pub fn close_tcp(&mut self, socket: TcpId) {
        let Some(connection) = self.connections.usable(socket) else {
            return;
        };
        let Stage::Open { key } = connection.stage else {
            return self.drop_connection(socket);
        };
        connection.news = News::default();
        let until = Instant::now() + FAREWELL;
        self.streams.finish(key);
        // Unread bytes would make the system reset the connection, and the last ones sent could be lost.
        self.streams.discard(key);
        self.connections
            .set_stage(socket, Stage::Closing { key }, Some(until));
    }

    /// Continues with the addresses of a connection's host.
    pub(super) fn on_connection_resolved(&mut self, id: TcpId, lookup: Lookup, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Stage::Resolving { until } = connection.stage else {
            return;
        };
        let (host, port) = (connection.config.host.clone(), connection.config.port);
        let addresses = match lookup {
            Ok(addresses) if !addresses.is_empty() => addresses,
            Ok(_) => {
                return self.fail(
                    id,
                    TcpError::Resolve {
                        host,
                        why: "it has none".into(),
                    },
                );
            }
            Err(why) => return self.fail(id, TcpError::Resolve { host, why }),
        };
        let left = addresses.into_iter().take(MAX_ADDRESSES).rev();
        let left = left.map(|ip| SocketAddr::new(ip, port)).collect();
        self.connect_next(id, left, until, now, None);
    }

    /// Tries the next address of a connection. `before`: why the previous one failed.
    fn connect_next(
        &mut self,
        id: TcpId,
        mut left: Vec<SocketAddr>,
        until: Instant,
        now: Instant,
        before: Option<TcpError>,
    ) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let share =
            until.saturating_duration_since(now) / u32::try_from(left.len()).unwrap_or(1).max(1);
        let Some(remote) = left.pop() else {
            let why = before.unwrap_or(TcpError::ClosedByRemote);
            return self.fail(id, why);
        };
        let config = &connection.config;
        let limits = (config.max_unread.max(1), config.max_queue);
        let host = config.host.trim_matches(['[', ']']);
        let tls = config.tls.as_ref();
        let tls = tls.map(|mode| self.tls.connect_to(host, remote.ip(), mode));
        let registry = self.poll.registry();
        let opened = tls
            .transpose()
            .and_then(|tls| self.streams.open_for(id, remote, tls, limits, registry));
        match opened {
            Ok(key) => {
                let stage = Stage::Connecting { key, left, until };
                self.connections.set_stage(id, stage, Some(now + share));
            }
            // Such as an address family that this machine does not have.
            Err(why) => self.connect_next(id, left, until, now, Some(why)),
        }
    }

    /// Handles streams that have ended.
    pub(super) fn end_connections(&mut self, now: Instant) {
        for (id, why) in std::mem::take(&mut self.connections.ended) {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            match std::mem::replace(&mut connection.stage, Stage::Over) {
                Stage::Connecting { key, left, until } => {
                    self.streams.close(key, self.poll.registry());
                    // The others would be refused for the same reason.
                    let is_final = matches!(why, TcpError::Certificate(_) | TcpError::Tls(_));
                    match is_final || left.is_empty() {
                        true => self.fail(id, why),
                        false => self.connect_next(id, left, until, now, Some(why)),
                    }
                }
                Stage::Open { key } => {
                    self.streams.close(key, self.poll.registry());
                    self.fail(id, why);
                }
                Stage::Closing { key } => {
                    connection.stage = Stage::Closing { key };
                    let is_finished = matches!(why, TcpError::ClosedByRemote | TcpError::Truncated);
                    // The remote side may have finished first, and still read what is queued.
                    if !is_finished || self.streams.queued(key) == 0 {
                        self.drop_connection(id);
                    }
                }
                stage @ (Stage::Resolving { .. } | Stage::Over) => connection.stage = stage,
            }
        }
    }

    /// Handles time limits.
    pub(super) fn fire_connections(&mut self, now: Instant) {
        while let Some(index) = self.connections.deadlines.pop_due(now) {
            let Some(connection) = self.connections.connections.get(index) else {
                continue;
            };
            let (id, config) = (connection.id, &connection.config);
            let late = |stage| TcpError::ConnectTimeout(config.connect_timeout, stage);
            match &connection.stage {
                Stage::Resolving { .. } => {
                    self.fail(id, late("its name was not resolved"));
                }
                Stage::Connecting { .. } => {
                    let why = late(match config.tls {
                        Some(_) => "it does not answer, or its TLS handshake does not end",
                        None => "it does not answer",
                    });
                    self.connections.ended.push((id, why));
                }
                Stage::Open { key } => self.look_at_idle(id, *key, now),
                Stage::Closing { .. } => self.drop_connection(id),
                Stage::Over => {}
            }
        }
        self.end_connections(now);
    }

    /// Closes a connection without traffic, or sets the next deadline.
    fn look_at_idle(&mut self, id: TcpId, key: usize, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(limit) = connection.config.idle_timeout else {
            return;
        };
        let Some((moved, is_read)) = self.streams.moved(key) else {
            return;
        };
        let since = if is_read { moved } else { now };
        let until = since.checked_add(limit);
        if until.is_some_and(|until| until <= now) {
            self.connections.ended.push((id, TcpError::Idle(limit)));
        } else {
            self.connections.deadlines.set(id.index as usize, until);
        }
    }

    /// Ends a connection with an event.
    fn fail(&mut self, id: TcpId, why: TcpError) {
        self.connections.set_stage(id, Stage::Over, None);
        self.connections.tell(id, |news| {
            news.writable = false;
            news.closed = Some(why);
        });
    }

    /// Ends a connection without an event.
    fn drop_connection(&mut self, id: TcpId) {
        if let Some(key) = self.connections.get_mut(id).and_then(|c| c.key()) {
            self.streams.close(key, self.poll.registry());
        }
        self.connections.remove(id);
    }
}
