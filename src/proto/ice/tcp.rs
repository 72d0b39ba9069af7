//! ICE over TCP (RFC 6544): the streams of one peer.
//!
//! ```text
//!   the core                 TcpPaths                         the driver
//!   check to R, from H:9 ──► a stream to R? no ──► OpenSocket ──► connects from H
//!                            the check waits                 ◄── Opened(H:50123)
//!                        ◄──── H:9 ◄── H:50123 ────────────────  incoming frames
//! ```
//!
//! The core knows our outgoing streams by the address of the *active* candidate, with port 9; each stream has a port of
//! its own. Incoming streams arrive at the address of the *passive* candidate and need no translation. An ICE restart
//! opens new streams: some implementations have closed the old ones, and some identify a stream by the ufrag of its
//! first check.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::proto::net::{SocketId, SocketKind, SocketRequest};

/// Roles in ICE-TCP that a peer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum IceTcp {
    /// No ICE-TCP.
    #[default]
    Off,
    /// Active: connects to passive candidates of the remote peer.
    Active,
    /// Passive: accepts connections at `LoopConfig::tcp_port`. Browsers are always active.
    Passive,
    /// Both.
    Both,
}

impl IceTcp {
    /// Returns `true` if the peer connects to the remote side.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Active | Self::Both)
    }

    /// Returns `true` if the peer accepts connections.
    pub fn is_passive(self) -> bool {
        matches!(self, Self::Passive | Self::Both)
    }
}

/// TCP type of a candidate (RFC 6544 §4.5). Simultaneous open is not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcpType {
    /// The local peer opens the connection.
    Active,
    /// The remote peer opens the connection.
    Passive,
}

/// Port of active candidates: discard (RFC 6544 §4.5).
pub const ACTIVE_PORT: u16 = 9;

/// Maximum number of remote addresses to connect to: the remote peer chooses them.
const MAX_REMOTES: usize = 8;

/// Maximum number of outgoing streams at once.
const MAX_STREAMS: usize = 16;

/// Maximum number of connection attempts to one address within an ICE generation.
const MAX_TRIES: u32 = 5;

/// Pause after a failed connection attempt.
const PAUSE: Duration = Duration::from_secs(1);

/// The outgoing ICE-TCP streams of a peer.
#[derive(Debug, Default)]
pub(crate) struct TcpPaths {
    generation: u32,
    remotes: Vec<SocketAddr>,
    streams: Vec<Stream>,
    failures: Vec<Failure>,
    opened: u32,
}

#[derive(Debug)]
struct Stream {
    id: SocketId,
    /// The base as the core knows it, with port 9.
    base: SocketAddr,
    remote: SocketAddr,
    generation: u32,
    state: State,
    /// Set once a valid check has arrived on it.
    proved: bool,
}

#[derive(Debug)]
enum State {
    /// Being opened; holds the check that is sent once it is open.
    Opening(Vec<u8>),
    /// Open, from this local address.
    Open(SocketAddr),
}

#[derive(Debug)]
struct Failure {
    base: SocketAddr,
    remote: SocketAddr,
    tries: u32,
    again_at: Instant,
}

/// Result of sending from an active candidate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Send it from this address.
    From(SocketAddr),
    /// Open a stream; the check is kept until then.
    Open(SocketRequest),
    /// Kept until the stream is open, or dropped.
    Kept,
}

impl TcpPaths {
    /// Id of the socket behind all local ICE-TCP candidates. Streams have smaller ids.
    pub const SOCKET: SocketId = SocketId(u32::MAX);

    /// Returns `true` if this id belongs to an ICE-TCP stream.
    pub fn is_stream(id: SocketId) -> bool {
        id != Self::SOCKET && id.0 > u32::MAX / 2
    }

    /// Adds a passive candidate of the remote peer. Returns `false` if there are too many.
    pub fn add_remote(&mut self, remote: SocketAddr) -> bool {
        if self.remotes.contains(&remote) {
            return true;
        }
        let has_room = self.remotes.len() < MAX_REMOTES && remote.port() != 0;
        if has_room {
            self.remotes.push(remote);
        }
        has_room
    }

    /// Handles an ICE restart: open streams stay usable until a new one works. Returns the streams to close.
    pub fn restart(&mut self) -> Vec<SocketId> {
        self.generation += 1;
        self.remotes.clear();
        self.failures.clear();
        let (last, generation) = (self.generation - 1, self.generation);
        self.close(|s| s.generation != last && s.generation != generation)
    }

    /// Sends from an active candidate. Only a connectivity check opens a stream.
    pub fn send(
        &mut self,
        base: SocketAddr,
        remote: SocketAddr,
        contents: &[u8],
        is_check: bool,
        now: Instant,
    ) -> Sending {
        let generation = self.generation;
        let mut streams = self.streams.iter_mut().rev();
        let mut here = streams.by_ref().filter(|s| s.is(base, remote));
        if !is_check {
            // The newest stream on which a valid check arrived; if there is none, the newest.
            let open = here.filter_map(|s| s.local().map(|l| (s.proved, l)));
            let open: Vec<_> = open.collect();
            let found = open.iter().find(|(proved, _)| *proved).or(open.first());
            return found.map_or(Sending::Kept, |(_, local)| Sending::From(*local));
        }
        match here.find(|s| s.generation == generation) {
            Some(stream) => match &mut stream.state {
                State::Open(local) => Sending::From(*local),
                State::Opening(waiting) => {
                    *waiting = contents.to_vec();
                    Sending::Kept
                }
            },
            None => self.open(base, remote, contents, now),
        }
    }

    fn open(
        &mut self,
        base: SocketAddr,
        remote: SocketAddr,
        contents: &[u8],
        now: Instant,
    ) -> Sending {
        let mut failures = self.failures.iter();
        let is_left_alone = failures.any(|f| {
            (f.base, f.remote) == (base, remote) && (now < f.again_at || f.tries >= MAX_TRIES)
        });
        let is_known = self.remotes.contains(&remote);
        if is_left_alone || !is_known || self.streams.len() >= MAX_STREAMS {
            return Sending::Kept;
        }
        self.opened = (self.opened + 1) % (u32::MAX / 4);
        let id = SocketId(Self::SOCKET.0 - self.opened);
        self.streams.push(Stream {
            id,
            base,
            remote,
            generation: self.generation,
            state: State::Opening(contents.to_vec()),
            proved: false,
        });
        let local = base.ip();
        let kind = SocketKind::IceStream { local, remote };
        Sending::Open(SocketRequest { id, kind })
    }

    /// Handles the opening of a stream from this local address. Returns the remote address and the check that waited
    /// for it.
    pub fn opened(&mut self, id: SocketId, local: SocketAddr) -> Option<(SocketAddr, Vec<u8>)> {
        let stream = self.streams.iter_mut().find(|s| s.id == id)?;
        match std::mem::replace(&mut stream.state, State::Open(local)) {
            State::Opening(waiting) => Some((stream.remote, waiting)),
            State::Open(_) => None,
        }
    }

    /// Handles the failure or closing of a stream. Returns its base and remote address as the core knows them, unless
    /// another stream has replaced it.
    pub fn failed(&mut self, id: SocketId, now: Instant) -> Option<(SocketAddr, SocketAddr)> {
        let index = self.streams.iter().position(|s| s.id == id)?;
        let stream = self.streams.remove(index);
        let ends = (stream.base, stream.remote);
        if stream.generation == self.generation {
            let again_at = now + PAUSE;
            match self
                .failures
                .iter_mut()
                .find(|f| (f.base, f.remote) == ends)
            {
                // A stream that has worked may be lost any number of times.
                Some(failure) if stream.proved => (failure.again_at, failure.tries) = (again_at, 1),
                Some(failure) => {
                    failure.again_at = again_at;
                    failure.tries += 1;
                }
                None => self.failures.push(Failure {
                    base: stream.base,
                    remote: stream.remote,
                    tries: 1,
                    again_at,
                }),
            }
        }
        let is_replaced = self
            .streams
            .iter()
            .any(|s| s.is(ends.0, ends.1) && s.proved);
        (!is_replaced).then_some(ends)
    }

    /// Returns the base that the core knows for this pair of addresses.
    pub fn base_of(&self, local: SocketAddr, remote: SocketAddr) -> Option<SocketAddr> {
        let mut streams = self.streams.iter();
        let stream = streams.find(|s| s.remote == remote && s.local() == Some(local))?;
        Some(stream.base)
    }

    /// Marks a stream as working after a valid check. Returns the streams that it replaces, to be closed.
    pub fn proved(&mut self, local: SocketAddr, remote: SocketAddr) -> Vec<SocketId> {
        let is_it = |s: &&mut Stream| s.remote == remote && s.local() == Some(local);
        let Some(stream) = self.streams.iter_mut().find(is_it) else {
            return Vec::new();
        };
        if std::mem::replace(&mut stream.proved, true) {
            return Vec::new();
        }
        let (base, generation) = (stream.base, stream.generation);
        self.close(|s| s.is(base, remote) && s.generation < generation)
    }

    /// Removes all streams. Returns those to close.
    pub fn clear(&mut self) -> Vec<SocketId> {
        self.remotes.clear();
        self.close(|_| true)
    }

    fn close(&mut self, is_over: impl Fn(&Stream) -> bool) -> Vec<SocketId> {
        let over = self.streams.extract_if(.., |s| is_over(s));
        over.map(|s| s.id).collect()
    }
}

impl Stream {
    fn is(&self, base: SocketAddr, remote: SocketAddr) -> bool {
        (self.base, self.remote) == (base, remote)
    }

    fn local(&self) -> Option<SocketAddr> {
        match self.state {
            State::Open(local) => Some(local),
            State::Opening(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn open(paths: &mut TcpPaths, now: Instant) -> Option<SocketId> {
        match paths.send(a(9), a(443), b"check", true, now) {
            Sending::Open(request) => Some(request.id),
            _ => None,
        }
    }

    #[test]
    fn a_check_opens_a_stream_and_waits_for_it() {
        let t = Instant::now();
        let mut p = TcpPaths::default();
        assert_eq!(open(&mut p, t), None, "nobody told us of that address");
        assert!(p.add_remote(a(443)));
        assert_eq!(p.send(a(9), a(443), b"data", false, t), Sending::Kept);
        let id = open(&mut p, t).unwrap();
        assert!(TcpPaths::is_stream(id));
        assert_eq!(p.send(a(9), a(443), b"newer", true, t), Sending::Kept);
        assert_eq!(p.opened(id, a(5000)), Some((a(443), b"newer".to_vec())));
        assert_eq!(
            p.send(a(9), a(443), b"check", true, t),
            Sending::From(a(5000))
        );
        assert_eq!(p.base_of(a(5000), a(443)), Some(a(9)));
        assert_eq!(p.base_of(a(5001), a(443)), None);
    }

    #[test]
    fn after_a_restart_there_is_a_new_stream_and_data_moves_to_it_once_it_is_proved() {
        let t = Instant::now();
        let mut p = TcpPaths::default();
        p.add_remote(a(443));
        let first = open(&mut p, t).unwrap();
        p.opened(first, a(5000));
        assert_eq!(p.proved(a(5000), a(443)), []);
        assert_eq!(p.restart(), []);
        p.add_remote(a(443));
        let second = open(&mut p, t).unwrap();
        p.opened(second, a(5001));
        let data = |p: &mut TcpPaths| p.send(a(9), a(443), b"data", false, t);
        assert_eq!(data(&mut p), Sending::From(a(5000)));
        assert_eq!(p.proved(a(5001), a(443)), [first]);
        assert_eq!(data(&mut p), Sending::From(a(5001)));
        assert_eq!(p.restart(), []);
        assert_eq!(p.restart(), [second]);
    }

    #[test]
    fn who_does_not_answer_is_left_alone() {
        let t = Instant::now();
        let mut p = TcpPaths::default();
        p.add_remote(a(443));
        for n in 0..MAX_TRIES {
            let now = t + PAUSE * n;
            let id = open(&mut p, now).unwrap();
            assert_eq!(p.failed(id, now), Some((a(9), a(443))));
            assert_eq!(open(&mut p, now + PAUSE / 2), None);
        }
        assert_eq!(open(&mut p, t + PAUSE * 100), None);
        p.restart();
        p.add_remote(a(443));
        assert!(open(&mut p, t + PAUSE * 100).is_some());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut p = TcpPaths::default();
        let taken = (1..100).filter(|n| p.add_remote(a(*n))).count();
        assert_eq!(taken, MAX_REMOTES);
    }
}
