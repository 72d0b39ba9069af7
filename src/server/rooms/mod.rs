//! Rooms: a selective forwarding unit in which every participant receives what all others send.
//!
//! A page opens a WebSocket at `/room/NAME/ws` (or `/websocket`, as in pion's sfu-ws example: the room `lobby`),
//! receives an offer, and answers. Further offers announce the tracks of others; packets are forwarded as they arrive,
//! rewritten for each receiver. Only the server sends offers, so they never collide. Messages:
//! [`Rooms::socket_message`].
//!
//! ```text
//!   socket_opened ──► Peer ──► offer ──► answer ──► Track ──► reconcile: subscriptions
//!                                                                │
//!   Packet ──► Source ──► Forwarder (layer, keyframe, numbers) ──┴─► each subscriber's Peer
//! ```
//!
//! - The first offer has two m-lines for the page's own video (in layers, if supported) and audio, followed by one for
//!   each track of the others. M-lines of participants that leave become inactive and are reused.
//! - A keyframe is requested when a participant joins or misses one, at most twice per second for the same video.
//! - Each receiver gets the layers that its path can carry, by bandwidth estimation; layers are switched at keyframes.
//! - A participant that loses its socket stays for [`RoomsConfig::grace`], and can return with `?resume=KEY`, but only
//!   if it was connected before.
//!
//! Query of the socket's URL: `name`, displayed to the others; `resume`, the key of the last `welcome`; `renew=1` with
//! it, to end that visit and start another one because its peer connection has failed; `simulcast=1`: the page can send
//! layers, and does not call `addTrack` before the first offer.

mod config;
mod entry;
pub(crate) mod forward;
mod ids;
mod join;
mod layers;
mod members;
mod message;
mod offers;
mod participant;
mod peers;
mod source;
#[cfg(test)]
mod tests;
mod vp8;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use self::entry::Clients;
use self::ids::ParticipantId;
use self::join::Page;
use self::members::Lists;
use self::participant::Participant;
use super::http::{Request, SocketOutput, WebSocketId};
use super::quota::client_of;
use crate::driver::{EventLoop, PeerId};

pub use self::config::RoomsConfig;

/// Interval of time-based checks.
const TICK: Duration = Duration::from_millis(100);

/// Interval of layer selection.
const CHOOSING: Duration = Duration::from_millis(500);

/// Limit for offers to one participant: burst, and number per second after it. Changes in between are combined in the
/// next offer.
const OFFERS: (u32, u32) = (20, 4);

/// The room behind `/websocket`.
const LOBBY: &str = "lobby";

/// Statistics of [`Rooms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RoomsStats {
    /// Participants that have joined.
    pub joined: u64,
    /// Sockets refused: invalid room name, or a limit was reached.
    pub refused: u64,
    /// Messages that were invalid or exceeded the rate.
    pub bad_messages: u64,
    /// Packets received from participants.
    pub packets_received: u64,
    /// Packets forwarded, counted per receiver.
    pub packets_forwarded: u64,
    /// Keyframes requested.
    pub keyframes_requested: u64,
    /// Number of times that a receiver was switched to another layer.
    pub layer_switches: u64,
}

/// Public information about a room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomInfo {
    /// The room's name.
    pub name: String,
    /// Number of participants.
    pub participants: usize,
}

/// All rooms of a server. See the [module](self).
#[derive(Debug)]
pub struct Rooms {
    config: RoomsConfig,
    /// In order of arrival.
    participants: BTreeMap<ParticipantId, Participant>,
    by_peer: HashMap<PeerId, ParticipantId>,
    by_socket: HashMap<WebSocketId, ParticipantId>,
    out: VecDeque<SocketOutput>,
    lists: Lists,
    clients: Clients,
    next: u32,
    tick: Option<Instant>,
    choosing: Instant,
    stats: RoomsStats,
}

impl Rooms {
    /// Creates a server without rooms: the first participant opens one.
    #[must_use]
    pub fn new(config: RoomsConfig, now: Instant) -> Self {
        let clients = Clients::new(&config);
        Self {
            config,
            participants: BTreeMap::new(),
            by_peer: HashMap::new(),
            by_socket: HashMap::new(),
            out: VecDeque::new(),
            lists: Lists::default(),
            clients,
            next: 1,
            tick: None,
            choosing: now,
            stats: RoomsStats::default(),
        }
    }

    /// Returns the room for a socket with this path: `/room/NAME/ws`, or `/websocket`. A name has 1 to 64 letters,
    /// digits, `-`, `_` and `.`.
    #[must_use]
    pub fn room_of(path: &str) -> Option<&str> {
        if path == "/websocket" {
            return Some(LOBBY);
        }
        let name = path.strip_prefix("/room/")?.strip_suffix("/ws")?;
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        ((1..=64).contains(&name.len()) && name.bytes().all(fits)).then_some(name)
    }

    /// Checks a message of a page; returns the problem if it is invalid.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn understands(text: &str) -> Result<(), String> {
        message::parse(text).map(drop)
    }

    /// Iterates over the rooms with participants, by name.
    pub fn list(&self) -> impl Iterator<Item = RoomInfo> + use<> {
        let mut rooms: BTreeMap<&str, usize> = BTreeMap::new();
        for participant in self.participants.values() {
            *rooms.entry(&participant.room).or_default() += 1;
        }
        let info = |(name, participants): (&str, usize)| RoomInfo {
            name: name.to_owned(),
            participants,
        };
        let all: Vec<RoomInfo> = rooms.into_iter().map(info).collect();
        all.into_iter()
    }

    /// Returns the statistics so far.
    #[must_use]
    pub fn stats(&self) -> RoomsStats {
        self.stats
    }

    /// Returns `true` if this peer belongs to a participant.
    #[must_use]
    pub fn owns(&self, peer: PeerId) -> bool {
        self.by_peer.contains_key(&peer)
    }

    /// Returns the time by which [`handle_timeout`](Self::handle_timeout) has to be called, if any.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.tick
    }

    /// Returns the next action for a socket, if any.
    pub fn poll_socket(&mut self) -> Option<SocketOutput> {
        self.out.pop_front()
    }

    /// Handles a new socket: its page joins the room in the request's path, or resumes. If it cannot, the socket is
    /// closed: 1008 for an invalid room name, 1013 if a limit is reached.
    pub fn socket_opened(
        &mut self,
        net: &mut EventLoop,
        socket: WebSocketId,
        request: &Request,
        now: Instant,
    ) {
        self.tick.get_or_insert(now + TICK);
        let Some(room) = Self::room_of(&request.path) else {
            let why = "a room's name has 1 to 64 letters, digits, - _ and .";
            return self.refuse(socket, 1008, why);
        };
        if let Some(key) = request.query_value("resume")
            && let Some(id) = self.find_by_key(room, &key)
        {
            if request.query_value("renew").is_none_or(|v| v != "1") {
                return self.resume(net, id, socket, now);
            }
            self.remove(net, id, 1000, "continued with another connection", now);
        }
        let client = client_of(request.client.ip());
        if let Err(why) = self.may_join(room, client, now) {
            return self.refuse(socket, 1013, why);
        }
        let page = Page {
            client,
            is_layered: request.query_value("simulcast").is_some_and(|v| v == "1"),
            name: request.query_value("name"),
        };
        if let Err(why) = self.join(net, socket, room, page, now) {
            crate::seldom::seldom!(warn, "room {room}: nobody can join: {why}");
            self.refuse(socket, 1013, "the server is full; try again later");
        }
    }

    /// Handles a text message, in the format of pion's sfu-ws example, `{"event":…,"data":"<JSON as text>"}`:
    ///
    /// | event | from | data |
    /// |---|---|---|
    /// | `offer` | server | `{"type":"offer","sdp":…}` |
    /// | `answer` | page | `{"type":"answer","sdp":…}` |
    /// | `candidate` | both | `RTCIceCandidateInit` |
    ///
    /// and, for pages that support them, `welcome`, `members` and `error` from the server, `state`, `renegotiate`,
    /// `restart` and `leave` from the page. A message that is too long, exceeds the rate, or is not JSON closes the
    /// socket (1009, 1008, 1007).
    pub fn socket_message(
        &mut self,
        net: &mut EventLoop,
        socket: WebSocketId,
        text: &str,
        now: Instant,
    ) {
        let Some(id) = self.by_socket.get(&socket).copied() else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if text.len() > self.config.max_message {
            let why = format!("a message has at most {} bytes", self.config.max_message);
            return self.lose(net, id, 1009, &why, now);
        }
        if !participant.rate.allows(now) {
            return self.lose(net, id, 1008, "too many messages", now);
        }
        match message::parse(text) {
            Ok(message) => self.on_message(net, id, message, now),
            Err(why) => {
                self.stats.bad_messages += 1;
                log::debug!("{id}: a message is not understood: {why}");
                self.send(id, message::error(&why));
            }
        }
    }

    /// Handles the closing of a socket. Its participant stays for the grace period, if it was ever connected.
    pub fn socket_closed(&mut self, net: &mut EventLoop, socket: WebSocketId, now: Instant) {
        let Some(id) = self.by_socket.remove(&socket) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        participant.socket = None;
        if !participant.was_connected {
            return self.remove(
                net,
                id,
                1001,
                "its socket went before it was connected",
                now,
            );
        }
        participant.away_since = Some(now);
        let room = participant.room.clone();
        log::info!("room {room}: {id} has lost its socket");
        self.lists.note(&room, now);
    }

    /// Handles expired timers.
    pub fn handle_timeout(&mut self, net: &mut EventLoop, now: Instant) {
        if self.tick.is_none_or(|tick| now < tick) {
            return;
        }
        let (grace, answer_time) = (self.config.grace, self.config.answer_time);
        let is_over = |since: Option<Instant>, limit| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= limit)
        };
        let participants = self.participants.iter();
        let over: Vec<(ParticipantId, &str)> = participants
            .filter_map(|(id, p)| {
                let silent = is_over(p.offered_at, answer_time).then_some("no answer");
                let gone = is_over(p.away_since, grace).then_some("not back in time");
                Some((*id, silent.or(gone)?))
            })
            .collect();
        for (id, why) in over {
            self.remove(net, id, 1008, why, now);
        }
        self.tell_members(now);
        self.tick = (!self.participants.is_empty()).then_some(now + TICK);
        let all: Vec<ParticipantId> = self.participants.keys().copied().collect();
        for id in &all {
            self.want_keyframes(net, *id, now);
            self.offer_if_owed(net, *id, now);
        }
        if now >= self.choosing {
            self.choosing = now + CHOOSING;
            for id in &all {
                self.choose_layers(net, *id, now);
            }
        }
    }

    /// Closes a socket because of its messages; its participant may return.
    fn lose(&mut self, net: &mut EventLoop, id: ParticipantId, code: u16, why: &str, now: Instant) {
        self.stats.bad_messages += 1;
        let Some(socket) = self.participants.get(&id).and_then(|p| p.socket) else {
            return;
        };
        log::info!("{id}: its socket is closed: {why}");
        self.out
            .push_back(SocketOutput::Close(socket, code, why.to_owned()));
        self.socket_closed(net, socket, now);
    }

    /// Closes a socket that cannot join.
    fn refuse(&mut self, socket: WebSocketId, code: u16, why: &str) {
        self.stats.refused += 1;
        self.out
            .push_back(SocketOutput::Close(socket, code, why.to_owned()));
    }

    /// Sends a message to a participant, if it has a socket.
    fn send(&mut self, id: ParticipantId, text: String) {
        if let Some(socket) = self.participants.get(&id).and_then(|p| p.socket) {
            self.out.push_back(SocketOutput::Send(socket, text));
        }
    }
}
