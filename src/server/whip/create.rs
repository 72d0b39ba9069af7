//! POST: creation of a session.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::host::{Refusal, StreamHost};
use super::media;
use super::reply::{self, Cors};
use super::{Awaiting, Kind, Reply, Session, SessionId, Signaling, ViewerEvent, WhipServer};
use crate::driver::{EventLoop, LoopError, PeerId};
use crate::proto::peer::{
    Codecs, ConnectionState, Direction, IceGatheringState, MediaMode, PeerConfig, PeerError,
    SessionDescription,
};
use crate::proto::sdp::{self, Media, Sdp};
use crate::server::http::{Request, RequestId, Response};
use crate::server::quota::client_of;
use crate::server::streams::{Quality, Wish};
use crate::signaling::whip::link;
use crate::signaling::whip::sdpfrag::{self, SdpFragment};

/// Size of an offer that counts as one more, in bytes.
const OFFER_PIECE: usize = 8 * 1024;

/// An offer, and its client.
pub(super) struct Offer<'a> {
    pub kind: Kind,
    pub name: &'a str,
    pub sdp: &'a [u8],
    /// Quality that a viewer asks for; the codecs are added from the offer.
    pub wish: Wish,
    pub client: IpAddr,
}

/// How an accepted offer is answered, and how its session signals after that.
pub(super) struct Terms {
    pub reply: Reply,
    pub signaling: Signaling,
    /// Maximum time that the answer waits for candidates.
    pub gather: Duration,
}

impl WhipServer {
    /// Handles an offer. The response follows when candidates are gathered.
    pub(super) fn create(
        &mut self,
        net: &mut EventLoop,
        host: &mut impl StreamHost,
        id: RequestId,
        request: &Request,
        (kind, name, cors): (Kind, String, Cors),
        now: Instant,
    ) {
        let terms = Terms {
            reply: Reply::Created {
                request: id,
                cors: cors.clone(),
                prefix: request.prefix.clone(),
            },
            signaling: Signaling::Whip,
            gather: self.config.gather_deadline,
        };
        let checked = self.check_token(kind, request);
        let checked = checked.and_then(|()| match request.content_type().as_deref() {
            Some(reply::SDP) => Ok(()),
            _ => Err(reply::unsupported(reply::SDP, request, "Accept-Post")),
        });
        let created = checked.and_then(|()| {
            let offer = Offer {
                kind,
                name: &name,
                sdp: &request.body,
                wish: wish(request)?,
                client: request.client.ip(),
            };
            self.take_offer(net, host, &offer, terms, now)
        });
        if let Err(refused) = created {
            self.respond(id, &cors, refused);
        }
    }

    /// Makes a session of an offer, whatever protocol it has come by: the only way to one.
    ///
    /// # Errors
    ///
    /// Returns the problem as a response.
    pub(super) fn take_offer(
        &mut self,
        net: &mut EventLoop,
        host: &mut impl StreamHost,
        offer: &Offer<'_>,
        terms: Terms,
        now: Instant,
    ) -> Result<SessionId, Response> {
        self.check_offer(offer, now)?;
        self.try_create(net, host, offer, terms, now)
    }

    /// Checks that need no peer.
    fn check_offer(&mut self, offer: &Offer<'_>, now: Instant) -> Result<(), Response> {
        if offer.sdp.len() > self.config.max_offer {
            let (length, limit) = (offer.sdp.len(), self.config.max_offer);
            let detail = format!("the offer is {length} bytes long, the limit is {limit}");
            return Err(Response::problem(413, "Offer too long", detail));
        }
        if offer.name.is_empty() || offer.name.len() > self.config.max_name {
            return Err(reply::refused("the name in the path", &Refusal::Unknown));
        }
        if self.peers.len() >= self.config.max_sessions {
            return Err(reply::overloaded("there are as many sessions as may be"));
        }
        let client = client_of(offer.client);
        if !self.per_client.has_room(&client) {
            let detail = "this address has as many sessions as it may have; end one by DELETE";
            return Err(reply::too_many(detail, reply::RETRY_AFTER));
        }
        self.count_offer(offer.client, offer.sdp.len(), now)?;
        check_media(offer.kind, offer.sdp)
    }

    /// Counts an offer or an equally expensive request against the rate limit, before it is examined.
    pub(super) fn count_offer(
        &mut self,
        client: IpAddr,
        length: usize,
        now: Instant,
    ) -> Result<(), Response> {
        let cost = 1 + u32::try_from(length / OFFER_PIECE).unwrap_or(u32::MAX - 1);
        let counted = self.offers.try_spend(client_of(client), cost, now);
        counted.map_err(|wait| {
            let detail = "too many offers and ICE restarts from this address; try again later";
            reply::too_many(detail, wait)
        })
    }

    fn try_create(
        &mut self,
        net: &mut EventLoop,
        host: &mut impl StreamHost,
        offer: &Offer<'_>,
        terms: Terms,
        now: Instant,
    ) -> Result<SessionId, Response> {
        let kind = offer.kind;
        let chosen = match kind {
            Kind::View => {
                let codecs = media::offered_codecs(&String::from_utf8_lossy(offer.sdp));
                host.choose(offer.name, &offer.wish.clone().codecs(codecs))
            }
            Kind::Publish => None,
        };
        let name = chosen.as_deref().unwrap_or(offer.name);
        let refuse = |refusal: Refusal| reply::refused(name, &refusal);
        let mode = host.admit(kind, name).map_err(refuse)?;
        let takes = match kind {
            Kind::Publish => host.takes(name),
            Kind::View => None,
        };
        // Validated as UTF-8.
        let sdp = String::from_utf8_lossy(offer.sdp).into_owned();
        let peer = net
            .add_peer(self.peer_config(mode, takes))
            .map_err(|error| cannot_add(&error))?;
        let id = SessionId::generate();
        self.peers.insert(peer, id);
        let prepared = prepare(net, host, peer, (kind, name), &sdp)
            .and_then(|()| self.check_answer(net, host, peer, (kind, name), &sdp))
            .and_then(|()| match kind {
                // Only after its media was accepted may it replace another publisher.
                Kind::Publish => join(net, host, peer, (kind, name)),
                Kind::View => Ok(()),
            });
        if let Err(response) = prepared {
            if let Ok(mut peer) = net.peer(peer) {
                peer.close();
            }
            return Err(response);
        }
        self.begin(net, (id, peer), offer, (sdp, terms), now);
        Ok(id)
    }

    /// Checks the answer: it must promise media, and only what the stream has.
    fn check_answer(
        &self,
        net: &mut EventLoop,
        host: &impl StreamHost,
        peer: PeerId,
        (kind, name): (Kind, &str),
        offer: &str,
    ) -> Result<(), Response> {
        let answer = net.peer(peer).ok().and_then(|p| p.local_description());
        let answer = answer.unwrap_or_else(|| SessionDescription::answer(""));
        let checked = match kind {
            Kind::Publish => {
                let takes = host.takes(name);
                let known = takes.as_ref().unwrap_or(&self.config.peer.codecs);
                media::check_published(offer, &answer.sdp, known)
            }
            Kind::View => media::check_viewed(offer, &answer.sdp, &host.codecs(name)),
        };
        checked.map_err(|why| Response::problem(422, "No codec in common", why))
    }

    fn peer_config(&self, mode: MediaMode, codecs: Option<Codecs>) -> PeerConfig {
        let config = self.config.peer.clone();
        let config = match codecs {
            Some(codecs) => config.codecs(codecs),
            None => config,
        };
        config
            .media_mode(mode)
            // Only the client can request a restart.
            .restart_on_network_change(false)
            .restart_after_disconnected(None)
    }

    fn begin(
        &mut self,
        net: &mut EventLoop,
        (id, peer): (SessionId, PeerId),
        offer: &Offer<'_>,
        (sdp, terms): (String, Terms),
        now: Instant,
    ) {
        let client = client_of(offer.client);
        self.per_client.take(client);
        self.stats.created += 1;
        let remote = sdp::credentials(&sdp).unwrap_or_default();
        let session = Session {
            kind: offer.kind,
            name: offer.name.to_owned(),
            peer,
            client,
            state: ConnectionState::New,
            offer: sdp,
            remote,
            before: VecDeque::new(),
            generation: 1,
            awaiting: Some(Awaiting {
                reply: terms.reply,
                until: now + terms.gather,
            }),
            signaling: terms.signaling,
            connect_by: Some(now + self.config.connect_deadline),
            due: None,
        };
        self.sessions.insert(id, session);
        self.schedule(id);
        if terms.gather.is_zero() || is_gathered(net, peer) {
            self.answer(net, id);
        }
    }

    /// Responds to a request that waits for candidates.
    pub(super) fn answer(&mut self, net: &mut EventLoop, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(awaiting) = session.awaiting.take() else {
            return;
        };
        let tag = session.entity_tag();
        let description = net
            .peer(session.peer)
            .ok()
            .and_then(|p| p.local_description());
        let name = session.name.clone();
        let path = session.kind.path(&self.config);
        let ended = || Response::problem(500, "Session ended", "the peer is gone");
        match awaiting.reply {
            Reply::Elsewhere => {
                let event = description.map(|answer| ViewerEvent::Answer(answer.sdp));
                let event = event.unwrap_or(ViewerEvent::Ended);
                self.viewer_events.push_back((id, event));
            }
            Reply::Restarted { request, cors } => {
                let response = description.map_or_else(ended, |answer| {
                    let fragment = SdpFragment::of_description(&answer.sdp).unwrap_or_default();
                    Response::new(200)
                        .header("ETag", tag)
                        .body(sdpfrag::MEDIA_TYPE, fragment.to_text())
                });
                self.respond(request, &cors, response);
            }
            Reply::Created {
                request,
                cors,
                prefix,
            } => {
                let location = format!("{prefix}{path}/{}/{id}", percent_encoded(&name));
                let response = description.map_or_else(ended, |answer| {
                    let response = Response::new(201)
                        .header("Location", location)
                        .header("ETag", tag)
                        .header("Accept-Patch", sdpfrag::MEDIA_TYPE);
                    self.with_links(response).body(reply::SDP, answer.sdp)
                });
                self.respond(request, &cors, response);
            }
        }
        self.schedule(id);
    }

    /// Adds the `Link` headers of our ICE servers.
    fn with_links(&self, response: Response) -> Response {
        if !self.config.offer_ice_servers {
            return response;
        }
        let links = link::of_ice_servers(&self.config.peer.ice_servers);
        links
            .into_iter()
            .fold(response, |response, link| response.header("Link", link))
    }
}

/// Returns what a viewer asks for in the query: `quality=auto|main|sub`, `width=PIXELS`.
fn wish(request: &Request) -> Result<Wish, Response> {
    let bad = |what: &str| Response::problem(400, "Bad query", what);
    let quality = match request.query_value("quality").as_deref() {
        None | Some("" | "auto") => Quality::Auto,
        Some("main") => Quality::Main,
        Some("sub") => Quality::Sub,
        Some(_) => return Err(bad("quality is auto, main or sub")),
    };
    let width = match request.query_value("width").map(|width| width.parse()) {
        None => None,
        Some(Ok(width)) => Some(width),
        Some(Err(_)) => return Err(bad("width is the player's width in pixels")),
    };
    Ok(Wish::default().quality(quality).width(width))
}

pub(super) fn is_gathered(net: &mut EventLoop, peer: PeerId) -> bool {
    let peer = net.peer(peer);
    peer.is_ok_and(|p| p.ice_gathering_state() == IceGatheringState::Complete)
}

fn join(
    net: &mut EventLoop,
    host: &mut impl StreamHost,
    peer: PeerId,
    (kind, name): (Kind, &str),
) -> Result<(), Response> {
    let joined = host.join(net, kind, name, peer);
    joined.map_err(|refusal| reply::refused(name, &refusal))
}

/// Passes the offer to the peer, adds a viewer's tracks, and creates the answer.
fn prepare(
    net: &mut EventLoop,
    host: &mut impl StreamHost,
    id: PeerId,
    (kind, name): (Kind, &str),
    offer: &str,
) -> Result<(), Response> {
    let gone = |error: LoopError| Response::problem(500, "Session ended", error.to_string());
    let bad = |error: PeerError| Response::problem(422, "Unsuitable offer", error.to_string());
    net.peer(id)
        .map_err(gone)?
        .set_remote_description(SessionDescription::offer(offer))
        .map_err(|e| Response::problem(400, "Bad offer", e.to_string()))?;
    if kind == Kind::View {
        join(net, host, id, (kind, name))?;
    }
    let mut peer = net.peer(id).map_err(gone)?;
    // Media flows in one direction (RFC 9725, section 4.2; WHEP, section 4.2).
    let only = match kind {
        Kind::Publish => Direction::RecvOnly,
        Kind::View => Direction::SendOnly,
    };
    for transceiver in peer.transceivers() {
        let direction = transceiver.direction.and(only);
        if direction != transceiver.direction {
            peer.set_direction(transceiver.id, direction).map_err(bad)?;
        }
    }
    peer.set_local_description(None).map_err(bad)
}

/// Checks that the offer has media in the right direction.
fn check_media(kind: Kind, body: &[u8]) -> Result<(), Response> {
    let bad = |detail: &str| Response::problem(400, "Bad offer", detail);
    let text = std::str::from_utf8(body).map_err(|e| {
        bad(&format!(
            "not UTF-8: wrong byte at offset {}",
            e.valid_up_to()
        ))
    })?;
    let sdp = Sdp::parse(text).map_err(|e| bad(&e.to_string()))?;
    let (unwanted, wrong, right) = match kind {
        Kind::Publish => ("recvonly", "receives only; to watch", "sendonly"),
        Kind::View => ("sendonly", "sends only; to publish", "recvonly"),
    };
    let mut media = sdp
        .media
        .iter()
        .filter(|m| ["audio", "video"].contains(&m.kind))
        .peekable();
    if media.peek().is_none() {
        return Err(Response::problem(
            422,
            "Unsuitable offer",
            "there is neither m=audio nor m=video in it",
        ));
    }
    let is_useless = |m: &Media<'_>| {
        let direction = sdp::direction(&sdp, m).ok().flatten();
        direction.is_some_and(|d| d == unwanted || d == "inactive")
    };
    if media.all(is_useless) {
        let other = match kind {
            Kind::Publish => "WHEP",
            Kind::View => "WHIP",
        };
        let detail = format!("the offer {wrong}, use {other}; here a={right} is expected");
        return Err(Response::problem(422, "Unsuitable offer", detail));
    }
    Ok(())
}

fn cannot_add(error: &LoopError) -> Response {
    match error {
        LoopError::LimitReached { .. } => {
            reply::overloaded("there are as many connections as may be")
        }
        other => Response::problem(500, "No connection", other.to_string()),
    }
}

/// Encodes a path segment (RFC 3986, section 3.3).
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte.into());
            }
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}
