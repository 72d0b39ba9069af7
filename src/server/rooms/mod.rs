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
mod layers;
mod members;
mod message;
mod participant;
mod peers;
mod source;
#[cfg(test)]
mod tests;
mod vp8;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use self::entry::Clients;
use self::forward::LAYERS;
use self::ids::ParticipantId;
use self::members::Lists;
use self::message::{FromPage, MemberState};
use self::participant::Participant;
use super::http::{Request, SocketOutput, WebSocketId};
use super::limits::RateLimit;
use super::names::is_visible;
use super::quota::client_of;
use super::token::Token;
use crate::driver::{EventLoop, LoopError, PeerId};
use crate::proto::peer::{
    CandidatePolicy, Direction, MediaKind, MediaMode, PeerConfig, PeerError, SignalingState,
    TransceiverConfig,
};

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
        let layered = request.query_value("simulcast").is_some_and(|v| v == "1");
        let peer = match self.add_peer(net, layered) {
            Ok(peer) => peer,
            Err(why) => {
                crate::seldom::seldom!(warn, "room {room}: nobody can join: {why}");
                return self.refuse(socket, 1013, "the server is full; try again later");
            }
        };
        let id = ParticipantId(self.next);
        self.next += 1;
        self.stats.joined += 1;
        log::info!("room {room}: {id} joins");
        let room = room.to_owned();
        let participant = Participant {
            name: self.name(id, request.query_value("name")),
            room: room.clone(),
            client,
            was_connected: false,
            state: MemberState::default(),
            peer,
            resume: Token::random(),
            socket: Some(socket),
            away_since: None,
            rate: self.rate_limit(now),
            offers: RateLimit::new(OFFERS.0, OFFERS.1, now),
            sources: Vec::new(),
            slots: Vec::new(),
            offered_at: None,
            owes_offer: true,
            budget: None,
            desired: 0,
        };
        self.participants.insert(id, participant);
        self.clients.participants.take(client);
        self.by_peer.insert(peer, id);
        self.by_socket.insert(socket, id);
        self.welcome(id, false);
        self.tell_newcomer(id, now);
        self.reconcile(net, id);
        self.offer(net, id, now);
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

    fn on_message(
        &mut self,
        net: &mut EventLoop,
        id: ParticipantId,
        message: FromPage,
        now: Instant,
    ) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        match message {
            FromPage::Answer(answer) => {
                let Ok(mut peer) = net.peer(participant.peer) else {
                    return;
                };
                if peer.signaling_state() != SignalingState::HaveLocalOffer {
                    // The answer to an offer that was sent twice.
                    return;
                }
                participant.offered_at = None;
                if let Err(why) = peer.set_remote_description(answer) {
                    log::info!("{id}: its answer is not taken: {why}");
                    self.stats.bad_messages += 1;
                    return self.remove(net, id, 1008, "the answer is not taken", now);
                }
                self.offer_if_owed(net, id, now);
            }
            FromPage::Candidate(candidate) => {
                let Ok(mut peer) = net.peer(participant.peer) else {
                    return;
                };
                if let Err(why) = peer.add_ice_candidate(candidate.as_ref()) {
                    log::debug!("{id}: a candidate is not taken: {why}");
                }
            }
            FromPage::State(state) => {
                if std::mem::replace(&mut participant.state, state) != state {
                    self.lists.note(&participant.room, now);
                }
            }
            FromPage::Renegotiate => {
                participant.owes_offer = true;
                self.offer_if_owed(net, id, now);
            }
            FromPage::Restart => {
                if let Ok(mut peer) = net.peer(participant.peer) {
                    // A closed peer is reported by its own event.
                    let _ = peer.restart_ice();
                }
            }
            FromPage::Leave => self.remove(net, id, 1000, "left", now),
            FromPage::Unknown(event) => log::debug!("{id}: the event {event:?} is unknown"),
        }
    }

    fn add_peer(&self, net: &mut EventLoop, layered: bool) -> Result<PeerId, LoopError> {
        let config = PeerConfig {
            media_mode: MediaMode::Packets,
            codecs: self.config.codecs.clone(),
            bandwidth_estimation: Some(self.config.initial_bitrate),
            candidates: CandidatePolicy::Immediately,
            ..self.config.peer.clone()
        };
        let id = net.add_peer(config)?;
        let mut peer = net.peer(id)?;
        let inbound = TransceiverConfig::default().direction(Direction::RecvOnly);
        let layers = match layered && self.config.simulcast {
            true => &LAYERS[..],
            false => &[],
        };
        let video = inbound.clone().recv_rids(layers.iter().copied());
        let added = peer
            .add_transceiver(MediaKind::Video, video)
            .and_then(|_| peer.add_transceiver(MediaKind::Audio, inbound));
        if let Err(why) = added {
            peer.close();
            return Err(why.into());
        }
        Ok(id)
    }

    /// Resumes a participant with a new socket.
    fn resume(
        &mut self,
        net: &mut EventLoop,
        id: ParticipantId,
        socket: WebSocketId,
        now: Instant,
    ) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        log::info!("room {}: {id} is back", participant.room);
        participant.away_since = None;
        let old = participant.socket.replace(socket);
        let peer = participant.peer;
        if let Some(old) = old {
            self.by_socket.remove(&old);
            let why = "continued with another socket".to_owned();
            self.out.push_back(SocketOutput::Close(old, 1000, why));
        }
        self.by_socket.insert(socket, id);
        self.welcome(id, true);
        self.tell_newcomer(id, now);
        let Ok(peer) = net.peer(peer) else {
            return;
        };
        // Messages sent meanwhile were lost.
        if peer.signaling_state() == SignalingState::HaveLocalOffer
            && let Some(offer) = peer.local_description()
        {
            self.send(id, message::offer(&offer));
        } else {
            self.offer_if_owed(net, id, now);
        }
    }

    /// Sends an offer, or schedules one for when that is possible.
    fn offer(&mut self, net: &mut EventLoop, id: ParticipantId, now: Instant) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        participant.owes_offer = true;
        if !participant.can_offer(net) || !participant.offers.allows(now) {
            return;
        }
        let offer = net
            .peer(participant.peer)
            .map_err(|_| PeerError::Closed)
            .and_then(|mut peer| peer.negotiate());
        match offer {
            Ok(offer) => {
                participant.owes_offer = false;
                participant.offered_at = Some(now);
                self.send(id, message::offer(&offer));
            }
            Err(why) => {
                crate::seldom::seldom!(warn, "{id}: no offer can be made: {why}");
                self.remove(net, id, 1011, "no offer can be made", now);
            }
        }
    }

    fn offer_if_owed(&mut self, net: &mut EventLoop, id: ParticipantId, now: Instant) {
        if self.participants.get(&id).is_some_and(|p| p.owes_offer) {
            self.offer(net, id, now);
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

    /// Removes a participant for good.
    fn remove(
        &mut self,
        net: &mut EventLoop,
        id: ParticipantId,
        code: u16,
        why: &str,
        now: Instant,
    ) {
        let Some(participant) = self.participants.remove(&id) else {
            return;
        };
        log::info!("room {}: {id} is gone: {why}", participant.room);
        self.by_peer.remove(&participant.peer);
        self.clients.participants.give_back(&participant.client);
        if let Ok(mut peer) = net.peer(participant.peer) {
            peer.close();
        }
        if let Some(socket) = participant.socket {
            self.by_socket.remove(&socket);
            self.out
                .push_back(SocketOutput::Close(socket, code, why.to_owned()));
        }
        let others = self.participants.values_mut();
        for source in others.flat_map(|p| &mut p.sources) {
            source.subscriptions.retain(|s| s.subscriber != id);
        }
        self.reconcile_others(net, id, &participant.room);
        self.lists.note(&participant.room, now);
    }

    fn refuse(&mut self, socket: WebSocketId, code: u16, why: &str) {
        self.stats.refused += 1;
        self.out
            .push_back(SocketOutput::Close(socket, code, why.to_owned()));
    }

    fn send(&mut self, id: ParticipantId, text: String) {
        if let Some(socket) = self.participants.get(&id).and_then(|p| p.socket) {
            self.out.push_back(SocketOutput::Send(socket, text));
        }
    }

    fn welcome(&mut self, id: ParticipantId, resumed: bool) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let servers = &self.config.ice_servers;
        let (room, resume) = (&participant.room, participant.resume.expose());
        let text = message::welcome(&id.to_string(), room, (resume, resumed), servers);
        self.send(id, text);
    }

    fn find_by_key(&self, room: &str, key: &str) -> Option<ParticipantId> {
        let mut members = self.participants.iter().filter(|(_, p)| p.room == room);
        let found = members.find(|(_, p)| p.resume.matches(key));
        found.map(|(id, _)| *id)
    }

    fn name(&self, id: ParticipantId, wanted: Option<String>) -> String {
        let shown = |c: &char| is_visible(*c);
        let wanted = wanted.unwrap_or_default();
        let name: String = wanted
            .chars()
            .filter(shown)
            .take(self.config.max_name)
            .collect();
        match name.trim() {
            "" => format!("Guest {}", id.0),
            name => name.to_owned(),
        }
    }

    fn rate_limit(&self, now: Instant) -> RateLimit {
        let rate = self.config.max_message_rate;
        RateLimit::new(rate.saturating_mul(4), rate, now)
    }
}
