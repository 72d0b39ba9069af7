//! ICE over TCP (RFC 6544): what of it a peer has to know.
//!
//! ```text
//!   the core                 TcpPaths                         whoever drives us
//!   check to R, from H:9 ──► a stream to R? no ──► OpenSocket ──► connects from H
//!                            the check waits                 ◄── Opened(H:50123)
//!                        ◄──── H:9 ◄── H:50123 ────────────────  frames that come
//! ```
//!
//! The core knows the streams that we open by the *active* candidate's address, with port 9; each has a port of its
//! own. What others open comes to the address of the *passive* candidate, and needs no translation. After an ICE
//! restart there are new streams: some have closed the old ones, and some know a stream by the ufrag of its first check.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::proto::net::{SocketId, SocketKind, SocketRequest};

/// Which sides of ICE-TCP a peer plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum IceTcp {
    /// Neither.
    #[default]
    Off,
    /// It connects to passive candidates of the other side.
    Active,
    /// It is connected to, at `LoopConfig::tcp_port`. Browsers only connect.
    Passive,
    /// Both.
    Both,
}

impl IceTcp {
    /// Whether it connects to others.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Active | Self::Both)
    }

    /// Whether others connect to it.
    pub fn is_passive(self) -> bool {
        matches!(self, Self::Passive | Self::Both)
    }
}

/// Who opens the stream of a candidate (RFC 6544 §4.5). Simultaneous open is not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcpType {
    /// We.
    Active,
    /// The other side.
    Passive,
}

/// The port of active candidates: discard (RFC 6544 §4.5).
pub const ACTIVE_PORT: u16 = 9;

/// Addresses of the other side that are connected to. They are whatever the other side says.
const MAX_REMOTES: usize = 8;

/// Streams of our own at once.
const MAX_STREAMS: usize = 16;

/// How often one address is connected to in one generation of ICE.
const MAX_TRIES: u32 = 5;

/// How long it is left alone after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The streams that a peer opens.
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
    /// As the core has it, with port 9.
    base: SocketAddr,
    remote: SocketAddr,
    generation: u32,
    state: State,
    /// A correct check has come over it.
    proved: bool,
}

#[derive(Debug)]
enum State {
    /// With the check that is sent as soon as it is open.
    Opening(Vec<u8>),
    /// From this address.
    Open(SocketAddr),
}

#[derive(Debug)]
struct Failure {
    base: SocketAddr,
    remote: SocketAddr,
    tries: u32,
    again_at: Instant,
}

/// What becomes of something to be sent from an active candidate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// It goes out from this address.
    From(SocketAddr),
    /// A stream is needed; it waits for that.
    Open(SocketRequest),
    /// It waits, or is of no use.
    Kept,
}

impl TcpPaths {
    /// The socket of all local candidates of ICE-TCP. Streams have the names below it.
    pub const SOCKET: SocketId = SocketId(u32::MAX);

    /// Whether this name is one of ours.
    pub fn is_stream(id: SocketId) -> bool {
        id != Self::SOCKET && id.0 > u32::MAX / 2
    }

    /// A passive candidate of the other side. False: there are too many.
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

    /// ICE restarts: what is open serves until there is something new. Returns those to be closed.
    pub fn restart(&mut self) -> Vec<SocketId> {
        self.generation += 1;
        self.remotes.clear();
        self.failures.clear();
        let (last, generation) = (self.generation - 1, self.generation);
        self.close(|s| s.generation != last && s.generation != generation)
    }

    /// Something is to be sent from an active candidate. Only a check is worth a stream.
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
            // The newest that has proved itself; before the first has, the newest.
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

    /// A stream is open from this address. Returns where to send what waited for it.
    pub fn opened(&mut self, id: SocketId, local: SocketAddr) -> Option<(SocketAddr, Vec<u8>)> {
        let stream = self.streams.iter_mut().find(|s| s.id == id)?;
        match std::mem::replace(&mut stream.state, State::Open(local)) {
            State::Opening(waiting) => Some((stream.remote, waiting)),
            State::Open(_) => None,
        }
    }

    /// A stream is gone, or could not be opened. Returns its ends as the core has them, if no other has taken its place.
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
                // One that has worked may be lost any number of times.
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

    /// The address that the core knows for something that came here.
    pub fn base_of(&self, local: SocketAddr, remote: SocketAddr) -> Option<SocketAddr> {
        let mut streams = self.streams.iter();
        let stream = streams.find(|s| s.remote == remote && s.local() == Some(local))?;
        Some(stream.base)
    }

    /// A correct check came over this stream: those that it replaces are not needed any more.
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

    /// The end. Returns those to be closed.
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
