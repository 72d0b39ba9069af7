//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) server: sessions over HTTP.
//!
//! ```text
//!   requests ──► handle_request ──► [ sessions ] ──► poll_response ──► responses
//!   events of peers ──► handle_peer_event ──► [ sessions ] ──► StreamHost: publishers and viewers
//! ```
//!
//! A [`WhipServer`] knows neither sockets nor HTTP syntax: the HTTP server passes it [`Request`]s and takes
//! [`Response`]s. Its peers live on the [`EventLoop`] that is passed in; their media belongs to the [`StreamHost`].
//!
//! | request | response |
//! |---|---|
//! | `POST /whip/NAME`, `POST /whep/NAME` with an offer | 201 with the answer, `Location`, `ETag`, `Link` |
//! | `PATCH Location` with candidates (`If-Match: ETag`) | 204 |
//! | `PATCH Location` with new credentials (`If-Match: *`): ICE restart | 200 with the server's, and a new `ETag` |
//! | `DELETE Location` | 200 |
//! | `OPTIONS` anywhere | 200 |
//!
//! All errors are problem details (RFC 9457). The answer contains all candidates: WHIP cannot send later ones. The id
//! of a session has 128 random bits, and protects it in addition to the token.

mod config;
mod create;
mod failures;
mod host;
mod media;
mod patch;
mod reply;
#[cfg(test)]
mod tests;
mod viewers;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use turn_types::stun::message::TransactionId;

use self::failures::Failures;
use self::reply::Cors;
use crate::driver::{EventLoop, PeerId};
use crate::proto::peer::{ConnectionState, IceGatheringState, PeerError, PeerEvent};
use crate::seldom::seldom;
use crate::server::http::{Request, RequestId, Response};
use crate::server::quota::{Held, Rates};
use crate::signaling::whip::sdpfrag;

pub use self::config::{Origins, WhipConfig};
pub use self::failures::SessionFailure;
pub use self::host::{Refusal, StreamHost};
pub(crate) use self::viewers::ViewerOffer;

/// Kind of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// WHIP: the client sends.
    Publish,
    /// WHEP: the client receives.
    View,
}

/// Statistics of a [`WhipServer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WhipStats {
    /// Current number of publishing sessions.
    pub publishers: usize,
    /// Current number of viewing sessions.
    pub viewers: usize,
    /// Sessions created.
    pub created: u64,
    /// Requests refused, of any kind.
    pub refused: u64,
    /// ICE restarts.
    pub restarts: u64,
    /// Sessions removed because they did not connect in time.
    pub never_connected: u64,
}

/// Information about a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The kind of session.
    pub kind: Kind,
    /// The stream's name.
    pub name: String,
    /// The peer of the session.
    pub peer: PeerId,
    /// The client's address.
    pub client: IpAddr,
    /// The state of its connection.
    pub state: ConnectionState,
}

/// WHIP and WHEP sessions of a server. See the [module](self).
#[derive(Debug)]
pub struct WhipServer {
    config: WhipConfig,
    sessions: HashMap<SessionId, Session>,
    /// All peers created here that are not closed, including those of removed sessions.
    peers: HashMap<PeerId, SessionId>,
    per_client: Held<IpAddr>,
    /// Rate of offers and restarts per client.
    offers: Rates,
    /// Deadlines of sessions that are not answered or not connected.
    due: BTreeSet<(Instant, SessionId)>,
    responses: VecDeque<(RequestId, Response)>,
    /// Events of viewers that signal by another protocol.
    viewer_events: VecDeque<(SessionId, ViewerEvent)>,
    failures: Failures,
    stats: WhipStats,
}

/// A session id: 128 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionId(u128);

#[derive(Debug)]
struct Session {
    kind: Kind,
    name: String,
    peer: PeerId,
    client: IpAddr,
    state: ConnectionState,
    /// The client's offer, updated by restarts.
    offer: String,
    /// The client's current ICE credentials, and its earlier ufrags, the latest first.
    remote: (String, String),
    before: VecDeque<String>,
    /// Number of the ICE generation; determines the entity tag.
    generation: u32,
    /// A request to answer when candidates are gathered, and its deadline.
    awaiting: Option<Awaiting>,
    /// How the client is told of local candidates and of the end.
    signaling: Signaling,
    connect_by: Option<Instant>,
    due: Option<Instant>,
}

/// A request that waits for local candidates.
#[derive(Debug)]
struct Awaiting {
    reply: Reply,
    until: Instant,
}

/// How the request is answered.
#[derive(Debug)]
enum Reply {
    /// By the 201 of a new session. `prefix` is that of the client's URLs.
    Created {
        request: RequestId,
        cors: Cors,
        prefix: String,
    },
    /// By the fragment with our new credentials.
    Restarted { request: RequestId, cors: Cors },
    /// By [`ViewerEvent::Answer`], to whoever has passed on the offer.
    Elsewhere,
}

/// An event of a session whose viewer signals by another protocol: see [`ViewerOffer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ViewerEvent {
    /// The answer's SDP.
    Answer(String),
    /// A local candidate, `candidate:…`.
    Candidate(String),
    /// The session has ended; without an answer if none was sent.
    Ended,
}

/// The protocol by which a session signals after its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signaling {
    /// WHIP or WHEP: the client asks, nothing is sent by itself.
    Whip,
    /// Another protocol without a channel to the client: everything was in the answer.
    Once,
    /// Another protocol that passes on candidates and the end of the session.
    Trickle,
}

/// The resource that a path refers to.
enum Resource {
    Endpoint(Kind, String),
    Session(Kind, Option<SessionId>),
}

impl WhipServer {
    /// Creates a server without sessions.
    #[must_use]
    pub fn new(config: WhipConfig) -> Self {
        Self {
            per_client: Held::new(config.max_per_client),
            offers: Rates::new(
                config.offer_burst,
                Duration::from_secs(1) / config.offers_per_second.max(1),
            ),
            config,
            sessions: HashMap::new(),
            peers: HashMap::new(),
            due: BTreeSet::new(),
            responses: VecDeque::new(),
            viewer_events: VecDeque::new(),
            failures: Failures::default(),
            stats: WhipStats::default(),
        }
    }

    /// Returns `true` if this path belongs to the server.
    #[must_use]
    pub fn serves(&self, path: &str) -> bool {
        let prefixes = [&self.config.publish_path, &self.config.view_path];
        let rests = prefixes.map(|prefix| path.strip_prefix(prefix.as_str()));
        let mut rests = rests.into_iter().flatten();
        rests.any(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Handles a request; its response is returned by [`poll_response`](Self::poll_response), at once or later.
    pub fn handle_request(
        &mut self,
        net: &mut EventLoop,
        host: &mut impl StreamHost,
        id: RequestId,
        request: Request,
        now: Instant,
    ) {
        let cors = match Cors::of(&self.config.origins, &request) {
            Ok(cors) => cors,
            Err(refused) => return self.respond(id, &Cors::default(), refused),
        };
        let response = match self.resource(&request.path) {
            None => Some(self.unknown_path()),
            Some(Resource::Endpoint(kind, name)) => match request.method.as_str() {
                "OPTIONS" => {
                    Some(cors.options(reply::ENDPOINT_METHODS, ("Accept-Post", reply::SDP)))
                }
                "POST" => return self.create(net, host, id, &request, (kind, name, cors), now),
                other => Some(reply::method_not_allowed(other, reply::ENDPOINT_METHODS)),
            },
            Some(Resource::Session(kind, session)) => match request.method.as_str() {
                "OPTIONS" => Some(cors.options(
                    reply::SESSION_METHODS,
                    ("Accept-Patch", sdpfrag::MEDIA_TYPE),
                )),
                "PATCH" | "DELETE" => {
                    self.for_session(net, id, &request, (kind, session, &cors), now)
                }
                other => Some(reply::method_not_allowed(other, reply::SESSION_METHODS)),
            },
        };
        if let Some(response) = response {
            self.respond(id, &cors, response);
        }
    }

    /// Sends the refusal of a request that was decided elsewhere, with CORS headers that let pages of other origins
    /// read it.
    pub fn refuse(&mut self, id: RequestId, request: &Request, refused: Response) {
        let cors = Cors::of(&self.config.origins, request).unwrap_or_default();
        self.respond(id, &cors, refused);
    }

    /// Returns the next response, if any.
    pub fn poll_response(&mut self) -> Option<(RequestId, Response)> {
        self.responses.pop_front()
    }

    /// Handles that the client has disconnected before its response: it cannot know its session, which therefore ends.
    pub fn handle_gone(&mut self, net: &mut EventLoop, id: RequestId) {
        let left = self.sessions.iter().find(|(_, session)| {
            let reply = session.awaiting.as_ref().map(|a| &a.reply);
            matches!(reply, Some(Reply::Created { request, .. }) if *request == id)
        });
        if let Some(session) = left.map(|(session, _)| *session) {
            self.remove(net, session);
        }
    }

    /// Returns `true` if this peer was created here.
    #[must_use]
    pub fn owns(&self, peer: PeerId) -> bool {
        self.peers.contains_key(&peer)
    }

    /// Handles an event of one of its peers, and passes it on to the streams.
    pub fn handle_peer_event(
        &mut self,
        net: &mut EventLoop,
        host: &mut impl StreamHost,
        peer: PeerId,
        event: &PeerEvent,
    ) {
        let Some(id) = self.peers.get(&peer).copied() else {
            return;
        };
        host.handle_peer_event(net, peer, event);
        match event {
            PeerEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                self.answer(net, id);
            }
            PeerEvent::IceCandidate(candidate) => self.on_candidate(id, candidate.as_ref()),
            PeerEvent::ConnectionStateChange(state) => self.on_state(net, id, peer, *state),
            PeerEvent::Error(error) => self.on_error(id, peer, error),
            _ => {}
        }
    }

    /// Handles expired deadlines. Call it when [`next_deadline`](Self::next_deadline) has come; earlier calls are
    /// harmless.
    pub fn handle_timeout(&mut self, net: &mut EventLoop, now: Instant) {
        while let Some((due, id)) = self.due.first().copied()
            && due <= now
        {
            self.due.pop_first();
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            session.due = None;
            if session.connect_by.is_some_and(|by| by <= now) {
                log::info!(
                    "{} of {} has not connected in {} s: its session is removed",
                    session.client,
                    session.name,
                    self.config.connect_deadline.as_secs()
                );
                self.stats.never_connected += 1;
                self.remove(net, id);
                continue;
            }
            if session.awaiting.as_ref().is_some_and(|a| a.until <= now) {
                self.answer(net, id);
            }
            self.schedule(id);
        }
    }

    /// Returns the time by which [`handle_timeout`](Self::handle_timeout) has to be called, if any.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Ends all sessions: their peers send close messages in the next turn of the loop.
    pub fn close(&mut self, net: &mut EventLoop) {
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.remove(net, id);
        }
    }

    /// Iterates over the sessions, in no particular order.
    pub fn sessions(&self) -> impl Iterator<Item = SessionInfo> + '_ {
        self.sessions.values().map(|session| SessionInfo {
            kind: session.kind,
            name: session.name.clone(),
            peer: session.peer,
            client: session.client,
            state: session.state,
        })
    }

    /// Returns the sessions whose peer reported an error, the oldest first; the last 32 are remembered.
    pub fn failures(&self) -> impl Iterator<Item = &SessionFailure> + '_ {
        self.failures.iter()
    }

    /// Returns the statistics so far.
    #[must_use]
    pub fn stats(&self) -> WhipStats {
        let of = |kind| self.sessions.values().filter(|s| s.kind == kind).count();
        WhipStats {
            publishers: of(Kind::Publish),
            viewers: of(Kind::View),
            ..self.stats
        }
    }

    fn resource(&self, path: &str) -> Option<Resource> {
        for (kind, prefix) in [
            (Kind::Publish, &self.config.publish_path),
            (Kind::View, &self.config.view_path),
        ] {
            let Some(rest) = path.strip_prefix(prefix.as_str()) else {
                continue;
            };
            let Some(rest) = rest.strip_prefix('/').filter(|rest| !rest.is_empty()) else {
                continue;
            };
            // A trailing slash is ignored.
            let rest = rest.trim_end_matches('/');
            return Some(match rest.split_once('/') {
                None => Resource::Endpoint(kind, rest.to_owned()),
                Some((_, session)) => Resource::Session(kind, SessionId::parse(session)),
            });
        }
        None
    }

    fn unknown_path(&self) -> Response {
        let detail = format!(
            "publish at {}/NAME, watch at {}/NAME",
            self.config.publish_path, self.config.view_path
        );
        Response::problem(404, "Not found", detail)
    }

    /// Handles PATCH and DELETE. Returns `None` if the response follows later.
    fn for_session(
        &mut self,
        net: &mut EventLoop,
        id: RequestId,
        request: &Request,
        (kind, session, cors): (Kind, Option<SessionId>, &Cors),
        now: Instant,
    ) -> Option<Response> {
        if let Err(refused) = self.check_token(kind, request) {
            return Some(refused);
        }
        let known = session.filter(|s| self.sessions.get(s).is_some_and(|s| s.kind == kind));
        let Some(session) = known else {
            let why = session.and_then(|session| self.failures.why(session));
            let detail = match why {
                Some(why) => format!("it has failed: {why}"),
                None => "it has ended, or never was; make a new one by POST".to_owned(),
            };
            return Some(Response::problem(404, "No such session", detail));
        };
        if request.method == "DELETE" {
            self.remove(net, session);
            return Some(Response::new(200));
        }
        self.patch(net, id, request, (session, cors), now)
    }

    /// Queues a response. All pass through here, so that each has the CORS headers exactly once.
    fn respond(&mut self, id: RequestId, cors: &Cors, response: Response) {
        self.stats.refused += u64::from(response.status >= 400);
        self.responses.push_back((id, cors.apply(response)));
    }

    /// Remembers why a session fails. A failed handshake is a warning: it is not the network, and somebody has to repair it.
    fn on_error(&mut self, id: SessionId, peer: PeerId, error: &PeerError) {
        let Some(session) = self.sessions.get(&id) else {
            return log::info!("peer {peer}: {error}");
        };
        let Session {
            kind, name, client, ..
        } = session;
        match error {
            PeerError::Handshake(_) => seldom!(warn, "{kind} of {name} ({client}): {error}"),
            _ => log::info!("{kind} of {name} ({client}): {error}"),
        }
        let failure = SessionFailure {
            kind: *kind,
            name: name.clone(),
            client: *client,
            at: Instant::now(),
            why: error.to_string(),
        };
        self.failures.note(id, failure);
    }

    fn on_state(
        &mut self,
        net: &mut EventLoop,
        id: SessionId,
        peer: PeerId,
        state: ConnectionState,
    ) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.state = state;
            log::info!("{} ({}): {state}", session.name, session.client);
        }
        match state {
            ConnectionState::Connected => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.connect_by = None;
                }
                self.schedule(id);
            }
            // The remote peer has revoked consent, or was never there (RFC 7675, section 5.1).
            ConnectionState::Failed => self.remove(net, id),
            ConnectionState::Closed => {
                self.remove(net, id);
                self.peers.remove(&peer);
            }
            _ => {}
        }
    }

    /// Schedules a session's next deadline.
    fn schedule(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let until = session.awaiting.as_ref().map(|a| a.until);
        let due = until.into_iter().chain(session.connect_by).min();
        if session.due != due {
            if let Some(before) = session.due.take() {
                self.due.remove(&(before, id));
            }
            session.due = due;
            self.due.extend(due.map(|due| (due, id)));
        }
    }

    /// Ends a session and closes its peer, whose last event follows.
    fn remove(&mut self, net: &mut EventLoop, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        if let Some(due) = session.due {
            self.due.remove(&(due, id));
        }
        self.per_client.give_back(&session.client);
        self.end_viewer(id, &session);
        if let Some(Reply::Created { request, cors, .. } | Reply::Restarted { request, cors }) =
            session.awaiting.map(|a| a.reply)
        {
            let detail = "the connection was closed before it was answered";
            let response = Response::problem(500, "Session ended", detail);
            self.respond(request, &cors, response);
        }
        if let Ok(mut peer) = net.peer(session.peer) {
            peer.close();
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publisher",
            Self::View => "viewer",
        })
    }
}

impl Kind {
    fn path(self, config: &WhipConfig) -> &str {
        match self {
            Self::Publish => &config.publish_path,
            Self::View => &config.view_path,
        }
    }
}

impl SessionId {
    /// Generates an id from the operating system's randomness.
    fn generate() -> Self {
        // 96 bits each.
        let [a, b] = [(); 2].map(|()| u128::from(TransactionId::generate()));
        Self((a << 64) ^ b)
    }

    fn parse(text: &str) -> Option<Self> {
        let is_hex =
            text.len() == 32 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let id = is_hex.then(|| u128::from_str_radix(text, 16));
        id?.ok().map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Session {
    /// Returns the strong entity tag of the ICE session (RFC 9110, section 8.8.3).
    fn entity_tag(&self) -> String {
        format!("\"ice-{}\"", self.generation)
    }
}
