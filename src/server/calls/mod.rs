//! Call signaling: relays the messages with which two pages set up a call. Media does not pass through this server, so
//! there is no peer and no loop.
//!
//! A page opens a WebSocket and signs in, with `?userId=NAME` in the URL or with its first message. From then on each
//! message is addressed to one other user:
//!
//! | message | effect |
//! |---|---|
//! | `{"type":"signin","userId":"anna"}` | once per socket; the answer is `{"type":"signedin","userId":"anna","resume":KEY,"iceServers":[…]}` |
//! | `{"type":"offer","userId":"anna","targetUid":"bert",…}` | relayed unchanged to `bert`; so are `answer`, `candidate`, `bye`, and every type that is not the server's |
//! | `{"type":"signout"}` | frees the name and ends all calls; the socket can sign in again |
//! | | `{"type":"unavailable","targetUid":"bert","of":"offer"}` if no such user is signed in |
//! | | `{"type":"error","message":…}` for an invalid message, or a `userId` other than the one signed in |
//!
//! A name in use cannot be taken by another user, nor during a grace period after its socket was lost without
//! `signout`. A returning user, even before the server has noticed the loss of the old socket, presents the key of its
//! `signedin`: `"resume":KEY` in `signin`, or `&resume=KEY` in the URL. Names contain no invisible characters and do
//! not mix Latin, Greek and Cyrillic letters, so that nobody can impersonate another user.
//!
//! The relay learns from offers and answers who is in a call with whom. When a user is gone, the other users of its
//! calls receive `{"type":"bye","userId":…,"targetUid":…,"reason":"gone"}` after a grace period in which it can return:
//! losing a socket need not end a call. Then both are forgotten.

mod message;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use self::message::FromPage;
use super::http::{Request, SocketOutput, WebSocketId};
use super::ice_servers;
use super::limits::RateLimit;
use super::names;
use super::quota::{Held, client_of};
use super::token::Token;
use crate::proto::ice::IceServer;
use crate::setters::setters;

/// Configuration of [`Calls`], including all limits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallsConfig {
    /// STUN and TURN servers sent to the pages. None by default.
    pub ice_servers: Vec<IceServer>,
    /// Maximum number of sockets, signed in or not. Default: 10,000; further ones are closed (1013).
    pub max_users: usize,
    /// Maximum size of a message, in bytes. Default: 64 KiB; larger ones close the socket (1009).
    pub max_message: usize,
    /// Maximum number of messages per socket and second, after a burst of four times as many. Default: 50; beyond it
    /// the socket is closed (1008).
    pub max_message_rate: u32,
    /// Maximum number of calls per user. Default: 8; further offers are refused.
    pub max_calls: usize,
    /// Time limit for signing in on a new socket. Default: 10 s; then it is closed (1008).
    pub sign_in_time: Duration,
    /// Maximum number of users per client address (per /64 network for IPv6), including those in the grace period.
    /// Default: 100; beyond it nobody can sign in.
    pub max_per_client: usize,
    /// Time for which a user with a lost socket can return. Default: 30 s, the time for which a path may be silent (RFC
    /// 7675).
    pub grace: Duration,
}

impl Default for CallsConfig {
    fn default() -> Self {
        Self {
            ice_servers: Vec::new(),
            max_users: 10_000,
            max_message: 64 * 1024,
            max_message_rate: 50,
            max_calls: 8,
            max_per_client: 100,
            sign_in_time: Duration::from_secs(10),
            grace: Duration::from_secs(30),
        }
    }
}

impl CallsConfig {
    setters! {
        ice_servers: Vec<IceServer>,
        max_per_client: usize,
        grace: Duration,
    }
}

/// Statistics of [`Calls`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CallsStats {
    /// Number of users signed in now.
    pub users: usize,
    /// Messages relayed.
    pub relayed: u64,
    /// Messages for users that were not signed in.
    pub unavailable: u64,
    /// Messages refused, and sockets closed for exceeding a limit.
    pub bad_messages: u64,
}

/// The call relay. See the [module](self).
#[derive(Debug)]
pub struct Calls {
    config: CallsConfig,
    sockets: HashMap<WebSocketId, Socket>,
    users: HashMap<String, User>,
    /// Number of users per client.
    clients: Held<IpAddr>,
    out: VecDeque<SocketOutput>,
    deadline: Option<Instant>,
    stats: CallsStats,
}

#[derive(Debug)]
struct Socket {
    user: Option<String>,
    client: IpAddr,
    opened: Instant,
    rate: RateLimit,
}

#[derive(Debug)]
struct User {
    /// The user's socket, or the time since which there is none.
    socket: Result<WebSocketId, Instant>,
    /// Key for resuming.
    resume: Token,
    /// The client whose limit it counts against.
    client: IpAddr,
    /// The users it is in a call with; always recorded for both.
    calls: BTreeSet<String>,
}

impl Calls {
    /// Creates a relay without users.
    #[must_use]
    pub fn new(config: CallsConfig) -> Self {
        Self {
            clients: Held::new(config.max_per_client),
            config,
            sockets: HashMap::new(),
            users: HashMap::new(),
            out: VecDeque::new(),
            deadline: None,
            stats: CallsStats::default(),
        }
    }

    /// Returns the statistics so far.
    #[must_use]
    pub fn stats(&self) -> CallsStats {
        let users = self.users.values().filter(|u| u.socket.is_ok()).count();
        CallsStats {
            users,
            ..self.stats
        }
    }

    /// Returns the time by which [`handle_timeout`](Self::handle_timeout) has to be called, if any.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns the next action for a socket, if any.
    pub fn poll_socket(&mut self) -> Option<SocketOutput> {
        self.out.pop_front()
    }

    /// Handles a new socket. With `userId` in its query it is signed in at once.
    pub fn socket_opened(&mut self, socket: WebSocketId, request: &Request, now: Instant) {
        if self.sockets.len() >= self.config.max_users {
            self.stats.bad_messages += 1;
            let why = "there are too many users; try again later";
            return self
                .out
                .push_back(SocketOutput::Close(socket, 1013, why.into()));
        }
        let rate = self.config.max_message_rate;
        let state = Socket {
            user: None,
            client: client_of(request.client.ip()),
            opened: now,
            rate: RateLimit::new(rate.saturating_mul(4), rate, now),
        };
        self.sockets.insert(socket, state);
        self.wake_at(now + self.config.sign_in_time);
        if let Some(user) = request.query_value("userId") {
            match names::check(&user) {
                Ok(()) => self.sign_in(socket, user, request.query_value("resume").as_deref()),
                Err(why) => self.complain(socket, why),
            }
        }
    }

    /// Handles a text message: see the [module](self).
    pub fn socket_message(&mut self, socket: WebSocketId, text: &str, now: Instant) {
        let Some(state) = self.sockets.get_mut(&socket) else {
            return;
        };
        if text.len() > self.config.max_message {
            let why = format!("a message has at most {} bytes", self.config.max_message);
            return self.lose(socket, 1009, why, now);
        }
        if !state.rate.allows(now) {
            return self.lose(socket, 1008, "too many messages".into(), now);
        }
        let signed_in = state.user.clone();
        match (message::parse(text), signed_in) {
            (Err(why), _) => self.complain(socket, &why),
            (Ok(FromPage::SignIn { user, resume }), None) => {
                self.sign_in(socket, user, resume.as_deref());
            }
            (Ok(FromPage::SignIn { .. }), Some(_)) => {
                self.complain(socket, "this socket is signed in already")
            }
            (Ok(FromPage::SignOut), None) => {}
            (Ok(FromPage::SignOut), Some(user)) => {
                state.user = None;
                state.opened = now;
                self.forget(&user);
                self.wake_at(now + self.config.sign_in_time);
            }
            (Ok(FromPage::Relay { .. }), None) => self.complain(socket, "sign in first"),
            (Ok(FromPage::Relay { from, .. }), Some(user)) if from != user => {
                self.complain(socket, "\"userId\" is not who this socket has signed in as");
            }
            (Ok(FromPage::Relay { kind, to, .. }), Some(user)) => {
                self.relay(socket, &kind, &user, &to, text);
            }
        }
    }

    /// Handles the closing of a socket. Its user may return within the grace period.
    pub fn socket_closed(&mut self, socket: WebSocketId, now: Instant) {
        let Some(user) = self.sockets.remove(&socket).and_then(|s| s.user) else {
            return;
        };
        let Some(state) = self.users.get_mut(&user) else {
            return;
        };
        if state.socket != Ok(socket) {
            return;
        }
        state.socket = Err(now);
        self.wake_at(now + self.config.grace);
    }

    /// Handles expired grace periods and time limits.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        let (sign_in_time, grace) = (self.config.sign_in_time, self.config.grace);
        let sockets = self.sockets.iter().filter(|(_, s)| s.user.is_none());
        let waiting: Vec<_> = sockets
            .map(|(id, s)| (*id, s.opened + sign_in_time))
            .collect();
        let users = self.users.iter();
        let away: Vec<_> = users
            .filter_map(|(id, u)| Some((id.clone(), u.socket.err()? + grace)))
            .collect();
        self.deadline = None;
        for (socket, end) in waiting {
            match end <= now {
                true => self.lose(socket, 1008, "nobody has signed in".into(), now),
                false => self.wake_at(end),
            }
        }
        for (user, end) in away {
            match end <= now {
                true => self.forget(&user),
                false => self.wake_at(end),
            }
        }
    }

    /// Panics if the state is inconsistent.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn check(&self) {
        for (id, user) in &self.users {
            assert!(user.calls.len() <= self.config.max_calls);
            for other in &user.calls {
                let of_other = self.users.get(other).map(|o| o.calls.contains(id));
                assert_eq!(of_other, Some(true), "{id} is in a call with {other}");
            }
            if let Ok(socket) = user.socket {
                let signed_in = self.sockets.get(&socket).map(|s| s.user.as_ref());
                assert_eq!(signed_in, Some(Some(id)));
            }
        }
        assert_eq!(self.clients.total(), self.users.len());
        for user in self.sockets.values().filter_map(|s| s.user.as_ref()) {
            assert!(self.users.contains_key(user), "{user} is nobody");
        }
    }

    fn sign_in(&mut self, socket: WebSocketId, user: String, resume: Option<&str>) {
        let Some(client) = self.sockets.get(&socket).map(|s| s.client) else {
            return;
        };
        let is_known = self.users.contains_key(&user);
        if !is_known && !self.clients.has_room(&client) {
            let why = "this address has as many users as it may have; try again later";
            return self.complain(socket, why);
        }
        if !is_known && self.users.len() >= self.config.max_users {
            return self.complain(socket, "there are too many users; try again later");
        }
        let (mut calls, mut key) = (BTreeSet::new(), Token::random());
        if let Some(known) = self.users.get_mut(&user) {
            let is_back = resume.is_some_and(|key| known.resume.matches(key));
            match known.socket {
                _ if !is_back => {
                    return self.complain(socket, "this name is taken. Choose another.");
                }
                Ok(old) => {
                    self.sockets.remove(&old);
                    let why = "continued with another socket".to_owned();
                    self.out.push_back(SocketOutput::Close(old, 1000, why));
                }
                Err(_) => {}
            }
            calls = std::mem::take(&mut known.calls);
            key = known.resume.clone();
            self.clients.give_back(&known.client);
        }
        let text = message::signed_in(
            &user,
            key.expose(),
            &ice_servers::for_pages(&self.config.ice_servers),
        );
        if let Some(state) = self.sockets.get_mut(&socket) {
            state.user = Some(user.clone());
        }
        let state = User {
            socket: Ok(socket),
            resume: key,
            client,
            calls,
        };
        self.clients.take(client);
        self.users.insert(user, state);
        self.out.push_back(SocketOutput::Send(socket, text));
    }

    fn relay(&mut self, socket: WebSocketId, kind: &str, from: &str, to: &str, text: &str) {
        if from == to {
            return self.complain(socket, "nobody can call themselves");
        }
        // Even if nobody receives it.
        if kind == "bye" {
            self.end_call(from, to);
        }
        let Some(Ok(target)) = self.users.get(to).map(|u| u.socket) else {
            self.stats.unavailable += 1;
            let text = message::unavailable(kind, to);
            return self.out.push_back(SocketOutput::Send(socket, text));
        };
        if kind == "offer" && !self.begin_call(from, to) {
            return self.complain(socket, "too many calls at once");
        }
        self.stats.relayed += 1;
        self.out
            .push_back(SocketOutput::Send(target, text.to_owned()));
    }

    /// Returns `true` if there is room for a call, or if the offer belongs to an existing one.
    fn begin_call(&mut self, from: &str, to: &str) -> bool {
        let most = self.config.max_calls;
        let has_room = |id: &str, other: &str| {
            let calls = self.users.get(id).map(|u| &u.calls);
            calls.is_some_and(|c| c.contains(other) || c.len() < most)
        };
        if !has_room(from, to) || !has_room(to, from) {
            return false;
        }
        for (id, other) in [(from, to), (to, from)] {
            if let Some(user) = self.users.get_mut(id) {
                user.calls.insert(other.to_owned());
            }
        }
        true
    }

    fn end_call(&mut self, from: &str, to: &str) {
        for (id, other) in [(from, to), (to, from)] {
            let Some(user) = self.users.get_mut(id) else {
                continue;
            };
            user.calls.remove(other);
        }
    }

    /// Removes a user for good and notifies the users of its calls.
    fn forget(&mut self, id: &str) {
        let Some(user) = self.users.remove(id) else {
            return;
        };
        self.clients.give_back(&user.client);
        for other in user.calls {
            let Some(state) = self.users.get_mut(&other) else {
                continue;
            };
            state.calls.remove(id);
            if let Ok(socket) = state.socket {
                let text = message::gone(id, &other);
                self.out.push_back(SocketOutput::Send(socket, text));
            }
        }
    }

    fn complain(&mut self, socket: WebSocketId, why: &str) {
        self.stats.bad_messages += 1;
        log::debug!("a message of a call is refused: {why}");
        self.out
            .push_back(SocketOutput::Send(socket, message::error(why)));
    }

    fn lose(&mut self, socket: WebSocketId, code: u16, why: String, now: Instant) {
        self.stats.bad_messages += 1;
        self.out.push_back(SocketOutput::Close(socket, code, why));
        self.socket_closed(socket, now);
    }

    fn wake_at(&mut self, at: Instant) {
        self.deadline = Some(self.deadline.map_or(at, |d| d.min(at)));
    }
}

#[cfg(test)]
mod tests;
