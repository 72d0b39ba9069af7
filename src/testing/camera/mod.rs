//! A scripted camera: an RTSP server that does what cameras in use do wrong, each fault by its number and name.
//!
//! [`ScriptedCamera`] is sans-IO, for simulations in virtual time; [`CameraOnSockets`] drives it over TCP and UDP of this
//! machine. What it does is a [`Behaviour`]; [`SCRIPTS`] has one or several for each known quirk. It is strict about what
//! it is sent: whatever would trouble a real camera is a [complaint](Log::complaints).
//!
//! [`CameraOnSockets`]: sockets::CameraOnSockets

mod access;
pub mod behaviour;
mod connection;
mod describe;
pub mod film;
mod media;
mod pack;
mod request;
pub mod scripts;
pub mod sockets;
pub mod stage;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use self::behaviour::Behaviour;
pub use self::media::Picture;
pub use self::scripts::{Expect, SCRIPTS, Script};

use self::connection::{Connection, Context, Out};
use self::film::Film;
use super::Rng;

/// Number of the latest pictures that are remembered.
const MAX_PICTURES: usize = 4_096;

/// A connection, named by whoever drives the camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// One of the camera's UDP sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// That of a stream, by its number in the description (0 or 1).
    Stream {
        /// Number of the stream.
        index: usize,
        /// Set for the RTCP socket.
        is_rtcp: bool,
    },
    /// One that no response names.
    Other,
}

impl Place {
    /// Returns the place of its port among [`ScriptedCamera::new`]'s.
    pub fn number(self) -> usize {
        match self {
            Self::Stream { index, is_rtcp } => index * 2 + usize::from(is_rtcp),
            Self::Other => 6,
        }
    }
}

/// Something that happens to the camera.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client has connected.
    Accepted(ConnectionId, SocketAddr),
    /// Bytes of a connection.
    Received(ConnectionId, &'a [u8]),
    /// The client has closed the connection.
    Closed(ConnectionId),
    /// A datagram has arrived at one of the ports, counted as in [`Place::number`].
    Datagram(usize, SocketAddr, &'a [u8]),
    /// Time has passed.
    Timeout,
}

/// Something that the camera wants.
#[derive(Debug)]
pub enum Output {
    /// Sends bytes on a connection.
    Send(ConnectionId, Vec<u8>),
    /// Closes a connection, after what was sent before.
    Close(ConnectionId),
    /// Sends a datagram.
    Datagram(Place, SocketAddr, Vec<u8>),
    /// Everything is done; to be called again at this time.
    Timeout(Option<Instant>),
}

/// Observations of the camera.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Faults in what clients have sent.
    pub complaints: Vec<String>,
    /// Names of the requests, in order; at most 1,000.
    pub requests: Vec<String>,
    /// Number of connections ever made.
    pub connections: u64,
    /// Number of pictures sent to all clients.
    pub pictures: u64,
    /// The latest pictures.
    pub latest: VecDeque<Picture>,
    /// Number of RTCP packets of clients.
    pub reports: u64,
    /// Number of audio packets of clients.
    pub talk: u64,
    /// Number of datagrams that open a path through a NAT.
    pub punches: u64,
    /// Number of keep-alives that counted.
    pub kept_alive: u64,
    /// Number of sessions that ended for want of one.
    pub expired: u64,
    /// Number of TEARDOWNs.
    pub teardowns: u64,
    /// UDP ports.
    ports: Vec<u16>,
}

impl Log {
    fn complain(&mut self, why: String) {
        if self.complaints.len() < 100 {
            self.complaints.push(why);
        }
    }

    fn request(&mut self, method: &str) {
        if self.requests.len() < 1_000 {
            self.requests.push(method.to_owned());
        }
    }

    fn picture(&mut self, picture: Picture) {
        self.pictures += 1;
        self.latest.push_back(picture);
        if self.latest.len() > MAX_PICTURES {
            self.latest.pop_front();
        }
    }
}

/// A place that a session takes though it has ended, or that somebody else has.
#[derive(Debug)]
struct Ghost {
    until: Instant,
}

/// The camera.
#[derive(Debug)]
pub struct ScriptedCamera {
    behaviour: Behaviour,
    film: Film,
    connections: BTreeMap<ConnectionId, Connection>,
    ghosts: Vec<Ghost>,
    redirects: u32,
    log: Log,
    rng: Rng,
    out: VecDeque<Output>,
}

impl ScriptedCamera {
    /// Creates a camera. `ports` are its UDP ports: RTP and RTCP of three streams, and one that it does not tell.
    pub fn new(behaviour: Behaviour, ports: [u16; 7], seed: u64, now: Instant) -> Self {
        let ghosts = (0..behaviour.sessions.taken).map(|_| Ghost {
            until: now + Duration::from_secs(5),
        });
        Self {
            film: Film::new(behaviour.media.video),
            ghosts: ghosts.collect(),
            redirects: behaviour.messages.redirects,
            behaviour,
            connections: BTreeMap::new(),
            log: Log {
                ports: ports.to_vec(),
                ..Log::default()
            },
            rng: Rng::new(seed),
            out: VecDeque::new(),
        }
    }

    /// Returns what the camera has seen.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Changes the behaviour, as a firmware update would. The film stays.
    pub fn change(&mut self, change: impl FnOnce(&mut Behaviour)) {
        let before = self.behaviour.messages.redirects;
        change(&mut self.behaviour);
        let redirects = self.behaviour.messages.redirects;
        if redirects != before {
            self.redirects = redirects;
        }
    }

    /// Closes all connections, as a restart does.
    pub fn restart(&mut self) {
        for id in std::mem::take(&mut self.connections).into_keys() {
            self.out.push_back(Output::Close(id));
        }
        self.ghosts.clear();
    }

    /// Handles an input. Whoever calls it takes all outputs then.
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        self.ghosts.retain(|ghost| ghost.until > now);
        match input {
            Input::Accepted(id, client) => {
                self.log.connections += 1;
                let connection = Connection::new(client.ip(), &self.behaviour, now);
                self.connections.insert(id, connection);
            }
            Input::Received(id, contents) => {
                self.with(id, now, |connection, cx, out| {
                    connection.received(cx, contents, out);
                });
            }
            Input::Closed(id) => self.closed(id, now),
            Input::Datagram(port, _, _) => {
                let ids: Vec<_> = self.connections.keys().copied().collect();
                // Whose it is does not matter to any script: those over UDP have one client.
                if let Some(id) = ids.last() {
                    self.with(*id, now, |connection, cx, _| {
                        connection.datagram(cx, port / 2, port % 2 == 1);
                    });
                }
            }
            Input::Timeout => {
                let ids: Vec<_> = self.connections.keys().copied().collect();
                for id in ids {
                    self.with(id, now, |connection, cx, out| connection.timeout(cx, out));
                }
            }
        }
    }

    fn closed(&mut self, id: ConnectionId, now: Instant) {
        let connection = self.connections.remove(&id);
        let lingers = self.behaviour.sessions.lingers;
        if connection.is_some_and(|connection| connection.has_session()) && !lingers.is_zero() {
            let until = now + lingers;
            self.ghosts.push(Ghost { until });
        }
    }

    fn with(
        &mut self,
        id: ConnectionId,
        now: Instant,
        f: impl FnOnce(&mut Connection, &mut Context<'_>, &mut Vec<Out>),
    ) {
        let others = self.connections.iter().filter(|(other, _)| **other != id);
        let (mut taken, mut is_talking) = (self.ghosts.len(), false);
        for (_, other) in others {
            taken += usize::from(other.has_session());
            is_talking |= other.is_talking();
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let mut cx = Context {
            behaviour: &self.behaviour,
            film: &self.film,
            log: &mut self.log,
            rng: &mut self.rng,
            now,
            others: taken,
            is_talking,
            redirects: &mut self.redirects,
        };
        let mut out = Vec::new();
        f(connection, &mut cx, &mut out);
        let is_closed = connection.is_closed();
        self.out.extend(out.into_iter().map(|out| match out {
            Out::Stream(contents) => Output::Send(id, contents),
            Out::Datagram { from, to, contents } => Output::Datagram(from, to, contents),
            Out::Close => Output::Close(id),
        }));
        if is_closed {
            self.closed(id, now);
        }
    }

    /// Returns the next output; [`Output::Timeout`] when there is none.
    pub fn poll_output(&mut self) -> Output {
        self.out.pop_front().unwrap_or_else(|| {
            let connections = self.connections.values();
            let deadlines = connections.filter_map(|c| c.deadline(&self.behaviour));
            Output::Timeout(deadlines.min())
        })
    }
}
