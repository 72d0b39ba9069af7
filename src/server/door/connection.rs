//! A connection: its state and its time limits.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::DoorConfig;
use super::admission::{Place, Rank};
use super::web_socket::Socket;
use super::wire::Wire;
use crate::proto::http::{Reply, RequestReader};
use crate::server::http::RequestId;

/// Time to keep reading after the last response: closing at once would reset the connection, and the client might never
/// read the reason.
const LINGER: Duration = Duration::from_secs(1);

/// Time for which the response to a client that has closed its side is awaited: it may only have finished sending.
const HALF_CLOSED: Duration = Duration::from_secs(1);

/// Time limit for a WebSocket's client to confirm the close.
const CLOSING: Duration = Duration::from_secs(2);

/// Number of response bytes read that restart the client's time limit.
const PROGRESS: usize = 64 * 1024;

/// Maximum number of bytes discarded from a client that is no longer served.
pub(super) const MAX_LINGER: usize = 1024 * 1024;

pub(super) struct Connection {
    pub wire: Wire,
    pub reader: RequestReader,
    pub state: State,
    /// The remote address, or the client named by the PROXY protocol.
    pub client: SocketAddr,
    /// The address whose limits apply.
    pub address: IpAddr,
    pub place: Option<Place>,
    /// Set while it is in the list of connections with work to do.
    pub is_listed: bool,
    /// Set once it has sent a complete request.
    pub is_known: bool,
    /// Set once the client has closed its side.
    pub has_ended: bool,
    /// Number of bytes counted as held for it.
    pub held: usize,
    phase: Phase,
    since: Instant,
    /// Number of bytes queued for the client at that time.
    queued_then: usize,
}

pub(super) enum State {
    /// Between requests, or within one.
    Reading,
    /// The application has the request.
    Waiting {
        id: RequestId,
        reply: Reply,
        web_socket: Option<String>,
    },
    /// The response is being sent.
    Writing {
        keep_alive: bool,
    },
    /// The last response has been sent; further data is discarded.
    Lingering {
        left: usize,
    },
    WebSocket(Box<Socket>),
}

/// A phase with a time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Handshake,
    New,
    Idle,
    Head,
    Body,
    Waiting,
    HalfClosed,
    Writing,
    Lingering,
    WebSocket,
}

impl Connection {
    pub fn new(
        wire: Wire,
        reader: RequestReader,
        client: SocketAddr,
        address: IpAddr,
        now: Instant,
    ) -> Self {
        Self {
            wire,
            reader,
            state: State::Reading,
            client,
            address,
            place: None,
            is_listed: false,
            is_known: false,
            has_ended: false,
            held: 0,
            phase: Phase::New,
            since: now,
            queued_then: 0,
        }
    }

    /// Returns the memory held for it, in bytes by capacity: an unfinished request or message, and unsent data.
    pub fn holds(&self) -> usize {
        let socket = match &self.state {
            State::WebSocket(socket) => socket.held(),
            _ => 0,
        };
        self.reader.held() + self.wire.held() + socket
    }

    /// Returns the current phase. A change restarts the time limit.
    pub fn phase(&mut self, now: Instant) -> Phase {
        let phase = match &self.state {
            State::Reading if self.wire.is_handshaking() => Phase::Handshake,
            State::Reading if self.reader.is_in_body() => Phase::Body,
            State::Reading if !self.reader.is_idle() => Phase::Head,
            State::Reading if self.is_known => Phase::Idle,
            State::Reading => Phase::New,
            State::Waiting { .. } if self.has_ended => Phase::HalfClosed,
            State::Waiting { .. } => Phase::Waiting,
            State::Writing { .. } => Phase::Writing,
            State::Lingering { .. } => Phase::Lingering,
            State::WebSocket(_) => Phase::WebSocket,
        };
        if phase != self.phase {
            self.phase = phase;
            self.since = now;
            self.queued_then = self.wire.queued();
        }
        phase
    }

    /// Restarts the time limit of a response after progress.
    pub fn note_progress(&mut self, now: Instant) {
        let queued = self.wire.queued();
        if self.phase == Phase::Writing && queued + PROGRESS <= self.queued_then {
            self.since = now;
            self.queued_then = queued;
        }
    }

    /// Returns when the phase exceeds its limit; for a WebSocket, when something is due.
    pub fn deadline(&self, config: &DoorConfig) -> Instant {
        let time = match self.phase {
            Phase::Handshake => config.handshake_time,
            Phase::New | Phase::Head => config.head_time,
            Phase::Idle => config.idle_time,
            Phase::Body => config.body_time,
            Phase::Waiting => config.answer_time,
            Phase::HalfClosed => HALF_CLOSED,
            Phase::Writing => config.write_time,
            Phase::Lingering => LINGER,
            Phase::WebSocket => Duration::ZERO,
        };
        match &self.state {
            State::WebSocket(socket) => {
                let quiet = match socket.is_pinged {
                    true => config.silence,
                    false => config.ping_after.min(config.silence),
                };
                let stalled = socket.stalled.map(|at| at + config.write_time);
                let closing = socket.closing.map(|at| at + CLOSING);
                [stalled, closing]
                    .into_iter()
                    .flatten()
                    .fold(socket.heard + quiet, Instant::min)
            }
            _ => self.since + time,
        }
    }

    /// Returns its rank; `None` if it must not be closed for others.
    pub fn rank(&self) -> Option<Rank> {
        match &self.state {
            State::Reading if !self.is_known => Some(Rank::Stranger),
            State::Reading if self.reader.is_idle() => Some(Rank::Idle),
            State::Reading => Some(Rank::Sending),
            State::Writing { .. } | State::Lingering { .. } => Some(Rank::Reading),
            State::Waiting { .. } | State::WebSocket(_) => None,
        }
    }
}
