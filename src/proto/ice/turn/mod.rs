//! A TURN client (RFC 8656): one allocation on one server.
//!
//! ```text
//!   Allocating ── success ──► Allocated ⇄ Refresh before it runs out ── release ──► Releasing ──► Closed
//!      │ 401, 438: again, signed   │ 437, no answer: Lost
//!      │ 300: Redirected           │
//!      └ else: Failed              └ for each address sent to: permission ──► channel, once it carries data
//! ```
//!
//! The client handles bytes to and from the server; the sockets belong to its owner
//! ([`Relays`](super::relays::Relays)). Over a stream it expects complete messages and does not retransmit.
//!
//! For why this is not `turn-client-proto`, see `docs/upstream.md`.

mod auth;
pub(crate) mod frame;
mod peers;
mod requests;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use turn_types::attribute::{Lifetime, XorRelayedAddress};
use turn_types::stun::attribute::{AlternateServer, ErrorCode};
use turn_types::stun::message::{Message, MessageClass};

use self::auth::Auth;
use self::frame::Incoming;
use self::peers::Peers;
use self::requests::{Request, What};
use super::transaction::{Due, TransactionIds};

/// Interval of keepalives on an idle path to the server, for NATs on the way (RFC 8656 §3.10).
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Time of sending without hearing from the server after which the client checks that the allocation still exists: a
/// restarted server silently drops traffic of unknown allocations.
const SILENCE: Duration = Duration::from_secs(3);

/// Maximum number of challenges (401, 438) in a row for one request.
const MAX_CHALLENGES: u32 = 4;

/// Maximum number of relayed addresses of one allocation: one per family (RFC 8656 §7.2).
const MAX_RELAYED: usize = 2;

/// Lifetime assumed if the server does not name one (RFC 8656 §3.2).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);

const TRY_ALTERNATE: u16 = 300;
const UNAUTHORIZED: u16 = 401;
const ALLOCATION_MISMATCH: u16 = 437;
const STALE_NONCE: u16 = 438;
const NO_ANSWER: u16 = 701;

/// Configuration of a TURN client.
#[derive(Clone)]
pub(crate) struct TurnConfig {
    pub username: String,
    pub password: String,
    /// Request relayed addresses of these families, both in one allocation if the server supports it.
    pub ipv4: bool,
    pub ipv6: bool,
    /// The transport to the server is TCP or TLS.
    pub stream: bool,
    pub seed: Option<u64>,
}

/// Omits the password.
impl std::fmt::Debug for TurnConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnConfig")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Output of [`TurnClient::poll_output`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TurnOutput {
    /// Send this to the server.
    Transmit(Vec<u8>),
    /// Allocated; these are the relayed addresses.
    Allocated(Vec<SocketAddr>),
    /// The allocation failed for good: error code and text.
    Failed(u16, String),
    /// The server redirects to this alternate server.
    Redirected(SocketAddr),
    /// The allocation was lost: error code and text.
    Lost(u16, String),
    /// The server refuses to relay to this address: error code and text.
    Refused(IpAddr, u16, String),
}

/// Client of one TURN allocation.
#[derive(Debug)]
pub(crate) struct TurnClient {
    ids: TransactionIds,
    config: TurnConfig,
    auth: Auth,
    phase: Phase,
    relayed: Vec<SocketAddr>,
    requests: Vec<Request>,
    peers: Peers,
    /// When the allocation is refreshed, and when it expires.
    refresh_at: Option<Instant>,
    expires_at: Option<Instant>,
    last_sent: Instant,
    /// When the server was last heard from, or last probed because it was silent.
    heard: Instant,
    deadline: Option<Instant>,
    out: VecDeque<TurnOutput>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Allocating,
    Allocated,
    Releasing,
    Closed,
}

impl TurnClient {
    /// Creates a client and requests an allocation.
    pub fn new(config: TurnConfig, now: Instant) -> Self {
        let mut client = Self {
            ids: TransactionIds::new(config.seed),
            auth: Auth::new(config.username.clone(), config.password.clone()),
            config,
            phase: Phase::Allocating,
            relayed: Vec::new(),
            requests: Vec::new(),
            peers: Peers::default(),
            refresh_at: None,
            expires_at: None,
            last_sent: now,
            heard: now,
            deadline: None,
            out: VecDeque::new(),
        };
        client.request(What::Allocate, 0, now);
        client.update_deadline();
        client
    }

    /// Handles a complete message from the server. For data, returns the peer's address and the position of the
    /// payload.
    pub fn handle_message(
        &mut self,
        message: &[u8],
        now: Instant,
    ) -> Option<(SocketAddr, Range<usize>)> {
        self.heard = now;
        match frame::classify(message) {
            Incoming::Channel(number, range) => {
                self.peers.of_channel(number).map(|peer| (peer, range))
            }
            Incoming::Data(peer, range) => {
                self.peers.is_permitted(peer.ip()).then_some((peer, range))
            }
            Incoming::Message => {
                if let Ok(message) = Message::from_bytes(message) {
                    self.on_message(&message, now);
                    self.update_deadline();
                }
                None
            }
            Incoming::Junk => None,
        }
    }

    /// Sends through the relay. A datagram without a permission is queued until the permission is granted, up to a
    /// limit. Returns `false` if it was dropped.
    pub fn send(&mut self, to: SocketAddr, contents: &[u8], now: Instant) -> bool {
        let fits = contents.len() <= frame::MAX_CONTENTS;
        if self.phase != Phase::Allocated || !fits {
            return false;
        }
        let sent = self.send_allocated(to, contents, now);
        self.probe(now);
        sent
    }

    fn send_allocated(&mut self, to: SocketAddr, contents: &[u8], now: Instant) -> bool {
        if let Some(number) = self.peers.channel_to(to) {
            let message = frame::channel_data(number, contents, self.config.stream);
            self.transmit(message, now);
            return true;
        }
        match self.peers.permission(to.ip(), now) {
            peers::Permission::Live => {
                let message = frame::send_indication(self.ids.next(), to, contents);
                self.transmit(message, now);
                // Connectivity checks go to many addresses; a channel is bound only for the one that carries data.
                if !super::stun::is_stun(contents)
                    && let Some(number) = self.peers.claim_channel(to)
                {
                    self.request(What::Channel(number, to), 0, now);
                    self.update_deadline();
                }
                true
            }
            peers::Permission::Wanted => {
                self.peers.ask(to.ip());
                self.request(What::Permission(to.ip()), 0, now);
                self.update_deadline();
                self.peers.hold(to, contents)
            }
            peers::Permission::Pending => self.peers.hold(to, contents),
            peers::Permission::Refused => false,
        }
    }

    /// Probes the allocation if the server has been silent.
    fn probe(&mut self, now: Instant) {
        let is_asked = |r: &Request| matches!(r.what, What::Refresh);
        if now >= self.heard + SILENCE && !self.requests.iter().any(is_asked) {
            self.heard = now;
            self.request(What::Refresh, 0, now);
            self.update_deadline();
        }
    }

    /// Releases the allocation (RFC 8656 §8.1: a refresh with lifetime 0), including one whose response has not arrived
    /// yet.
    pub fn release(&mut self, now: Instant) {
        self.requests.clear();
        self.refresh_at = None;
        // A signed Allocate request may have succeeded already.
        let is_asked = self.phase == Phase::Allocating && self.auth.is_known();
        self.phase = if is_asked || self.phase == Phase::Allocated {
            self.request(What::Release, 0, now);
            Phase::Releasing
        } else {
            Phase::Closed
        };
        self.update_deadline();
    }

    /// Returns `true` if the client is finished.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Returns the time at which to call [`handle_timeout`](Self::handle_timeout), if any.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns the next output, if any.
    pub fn poll_output(&mut self) -> Option<TurnOutput> {
        self.out.pop_front()
    }

    /// Handles time: call it when [`deadline`](Self::deadline) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|at| now < at) {
            return;
        }
        let mut index = 0;
        while index < self.requests.len() {
            match self.requests[index].retransmit.on_time(now) {
                Due::Wait => index += 1,
                Due::Again => {
                    let contents = self.requests[index].contents.clone();
                    self.transmit(contents, now);
                    index += 1;
                }
                Due::GiveUp => {
                    let request = self.requests.remove(index);
                    self.on_refused(request.what, NO_ANSWER, "no answer".into(), now);
                }
            }
        }
        self.refresh(now);
        self.update_deadline();
    }

    fn refresh(&mut self, now: Instant) {
        if self.phase != Phase::Allocated {
            return;
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            self.lose(NO_ANSWER, "the allocation has run out".into());
            return;
        }
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = None;
            self.request(What::Refresh, 0, now);
        }
        while let Some(what) = self.peers.next_refresh(now) {
            self.request(what, 0, now);
        }
        if !self.config.stream && now >= self.last_sent + KEEPALIVE {
            let indication = requests::keepalive(self.ids.next());
            self.transmit(indication, now);
        }
    }

    fn request(&mut self, what: What, challenges: u32, now: Instant) {
        let id = self.ids.next();
        match requests::build(&what, id, &self.config, &self.auth) {
            Ok(contents) => {
                self.transmit(contents.clone(), now);
                let stream = self.config.stream;
                self.requests
                    .push(Request::new(id, what, contents, challenges, stream, now));
            }
            // The realm or nonce is too long to be returned.
            Err(e) => self.on_refused(what, UNAUTHORIZED, format!("cannot sign: {e}"), now),
        }
    }

    fn transmit(&mut self, message: Vec<u8>, now: Instant) {
        self.last_sent = now;
        self.out.push_back(TurnOutput::Transmit(message));
    }

    fn on_message(&mut self, message: &Message<'_>, now: Instant) {
        let id = message.transaction_id();
        let Some(index) = self.requests.iter().position(|r| r.id == id) else {
            return;
        };
        let is_signed = !self.auth.is_known() || self.auth.verify(message);
        match message.class() {
            MessageClass::Success if is_signed => {
                let request = self.requests.remove(index);
                self.on_success(&request.what, message, now);
            }
            MessageClass::Error => {
                let Ok(error) = message.attribute::<ErrorCode>() else {
                    return;
                };
                let (code, text) = (error.code(), error.reason().to_owned());
                let is_challenge = matches!(code, TRY_ALTERNATE | UNAUTHORIZED | STALE_NONCE);
                // Without an allocation, a forged error can end no more than the attempt, and some servers do not sign
                // their errors.
                if is_signed || is_challenge || self.phase == Phase::Allocating {
                    let request = self.requests.remove(index);
                    self.on_error(request, code, text, message, now);
                }
            }
            _ => {}
        }
    }

    fn on_error(
        &mut self,
        request: Request,
        code: u16,
        text: String,
        message: &Message<'_>,
        now: Instant,
    ) {
        let is_first = !self.auth.is_known();
        let again = match code {
            // If the request was signed, the credential is wrong.
            UNAUTHORIZED => is_first,
            STALE_NONCE => true,
            _ => false,
        };
        if again && request.challenges < MAX_CHALLENGES {
            match self.auth.challenge(message) {
                Ok(()) => self.request(request.what, request.challenges + 1, now),
                Err(why) => self.on_refused(request.what, code, why.to_owned(), now),
            }
            return;
        }
        if let (TRY_ALTERNATE, What::Allocate) = (code, &request.what)
            && let Ok(server) = message.attribute::<AlternateServer>()
        {
            self.close();
            self.out.push_back(TurnOutput::Redirected(server.server()));
            return;
        }
        self.on_refused(request.what, code, text, now);
    }

    fn on_success(&mut self, what: &What, message: &Message<'_>, now: Instant) {
        match what {
            What::Allocate => self.on_allocated(message, now),
            What::Refresh => self.set_lifetime(message, now),
            What::Release => self.close(),
            What::Permission(ip) => {
                for (to, contents) in self.peers.permit(*ip, now) {
                    let message = frame::send_indication(self.ids.next(), to, &contents);
                    self.transmit(message, now);
                }
            }
            What::Channel(number, _) => self.peers.bound(*number, now),
        }
    }

    fn on_allocated(&mut self, message: &Message<'_>, now: Instant) {
        let mut relayed = Vec::new();
        for n in 0..MAX_RELAYED {
            let Ok(address) = message.nth_attribute::<XorRelayedAddress>(n) else {
                break;
            };
            relayed.push(address.addr(message.transaction_id()));
        }
        if relayed.is_empty() {
            self.close();
            let why = "the server's answer has no relayed address".to_owned();
            self.out.push_back(TurnOutput::Failed(NO_ANSWER, why));
            return;
        }
        self.phase = Phase::Allocated;
        self.relayed.clone_from(&relayed);
        self.set_lifetime(message, now);
        self.out.push_back(TurnOutput::Allocated(relayed));
    }

    fn set_lifetime(&mut self, message: &Message<'_>, now: Instant) {
        let lifetime = message
            .attribute::<Lifetime>()
            .map_or(DEFAULT_LIFETIME, |l| {
                Duration::from_secs(l.seconds().into())
            });
        self.expires_at = Some(now + lifetime);
        // One minute early, or halfway for short lifetimes.
        let early = Duration::from_secs(60).min(lifetime / 2);
        self.refresh_at = Some(now + lifetime - early);
    }

    /// Handles a request that has failed.
    fn on_refused(&mut self, what: What, code: u16, text: String, now: Instant) {
        match what {
            What::Allocate => {
                self.close();
                self.out.push_back(TurnOutput::Failed(code, text));
            }
            What::Refresh => self.lose(code, text),
            What::Release => self.close(),
            What::Permission(ip) => {
                self.peers.refuse(ip, now);
                if code == ALLOCATION_MISMATCH {
                    self.lose(code, text);
                } else {
                    self.out.push_back(TurnOutput::Refused(ip, code, text));
                }
            }
            // Send indications carry the data instead.
            What::Channel(number, _) => self.peers.unbind(number, now),
        }
    }

    fn lose(&mut self, code: u16, text: String) {
        if self.phase == Phase::Allocated {
            self.close();
            self.out.push_back(TurnOutput::Lost(code, text));
        }
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.requests.clear();
        self.peers = Peers::default();
        self.relayed.clear();
    }

    fn update_deadline(&mut self) {
        let requests = self.requests.iter().map(|r| r.retransmit.deadline());
        let mut deadline = requests.min();
        if self.phase == Phase::Allocated {
            let keepalive = (!self.config.stream).then_some(self.last_sent + KEEPALIVE);
            let others = [
                self.refresh_at,
                self.expires_at,
                keepalive,
                self.peers.deadline(),
            ];
            deadline = deadline
                .into_iter()
                .chain(others.into_iter().flatten())
                .min();
        }
        self.deadline = deadline;
    }
}

#[cfg(test)]
mod tests;
