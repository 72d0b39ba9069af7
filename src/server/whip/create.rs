//! POST: a session is made.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use sdp_types::Session as Sdp;

use super::host::{Refusal, StreamHost};
use super::reply::{self, Cors};
use super::{Awaiting, Kind, Session, SessionId, Starting, WhipServer};
use crate::driver::{EventLoop, LoopError, PeerId};
use crate::proto::peer::{
    ConnectionState, Direction, IceGatheringState, MediaMode, PeerConfig, PeerError,
    SessionDescription,
};
use crate::server::http::{Request, RequestId, Response};
use crate::signaling::whip::{link, sdpfrag};

impl WhipServer {
    /// Takes an offer. The response comes when candidates are gathered.
    pub(super) fn create(
        &mut self,
        net: &mut EventLoop,
        host: &mut impl StreamHost,
        id: RequestId,
        request: Request,
        (kind, name, cors): (Kind, String, Cors),
        now: Instant,
    ) {
        let waiting = Starting {
            id,
            request,
            cors,
            name,
            until: now + self.config.start_deadline,
        };
        let refused = match self.check_offer(kind, &waiting) {
            Ok(()) => match self.try_create(net, host, kind, &waiting, now) {
                Ok(()) => return,
                Err(Refused::NotYet) => return self.starting.push(waiting),
                Err(Refused::With(response)) => response,
            },
            Err(response) => response,
        };
        self.respond(id, waiting.cors.apply(refused));
    }

    /// Streams that were being started may be there now.
    pub(super) fn ask_again(
        &mut self,
        net: &mut EventLoop,
        host: &mut impl StreamHost,
        now: Instant,
    ) {
        for waiting in std::mem::take(&mut self.starting) {
            // Nobody waits for a stream that is still to be published: that is refused at once.
            let refused = match self.try_create(net, host, Kind::View, &waiting, now) {
                Ok(()) => continue,
                Err(Refused::NotYet) if now < waiting.until => {
                    self.starting.push(waiting);
                    continue;
                }
                Err(Refused::NotYet) => reply::refused(&waiting.name, &Refusal::Starting),
                Err(Refused::With(response)) => response,
            };
            self.respond(waiting.id, waiting.cors.apply(refused));
        }
    }

    /// What can be found out before anything is made.
    fn check_offer(&self, kind: Kind, waiting: &Starting) -> Result<(), Response> {
        let request = &waiting.request;
        self.check_token(kind, request)?;
        if request.content_type().as_deref() != Some(reply::SDP) {
            return Err(reply::unsupported(reply::SDP, request, "Accept-Post"));
        }
        if request.body.len() > self.config.max_offer {
            let (length, limit) = (request.body.len(), self.config.max_offer);
            let detail = format!("the offer is {length} bytes long, the limit is {limit}");
            return Err(Response::problem(413, "Offer too long", detail));
        }
        if waiting.name.is_empty() || waiting.name.len() > self.config.max_name {
            return Err(reply::refused("the name in the path", &Refusal::Unknown));
        }
        check_media(kind, &request.body)?;
        if self.sessions.len() + self.starting.len() >= self.config.max_sessions {
            return Err(reply::overloaded("there are as many sessions as may be"));
        }
        let client = client_network(request.client.ip());
        let of_client = self.per_client.get(&client).copied().unwrap_or(0);
        let starting = self.starting.iter();
        let starting = starting.filter(|w| client_network(w.request.client.ip()) == client);
        if of_client + starting.count() >= self.config.max_per_client {
            let detail = "this address has as many sessions as it may have; end one by DELETE";
            return Err(reply::too_many(detail));
        }
        Ok(())
    }

    fn try_create(
        &mut self,
        net: &mut EventLoop,
        host: &mut impl StreamHost,
        kind: Kind,
        waiting: &Starting,
        now: Instant,
    ) -> Result<(), Refused> {
        let name = waiting.name.as_str();
        let refuse = |refusal: &Refusal| match refusal {
            Refusal::Starting => Refused::NotYet,
            refusal => Refused::With(reply::refused(name, refusal)),
        };
        let mode = match kind {
            Kind::Publish => {
                let mut free = host.check_publish(name);
                if free == Err(Refusal::Busy) && self.take_over(net, host, name) {
                    free = host.check_publish(name);
                }
                free.map_err(|r| refuse(&r))?;
                MediaMode::Packets
            }
            Kind::View => host.check_view(net, name).map_err(|r| refuse(&r))?,
        };
        // Checked to be UTF-8.
        let offer = String::from_utf8_lossy(&waiting.request.body).into_owned();
        let peer = net
            .add_peer(self.peer_config(mode))
            .map_err(|error| Refused::With(cannot_add(&error)))?;
        let id = SessionId::generate();
        self.peers.insert(peer, id);
        if let Err(response) = prepare(net, host, peer, (kind, name), &offer) {
            if let Ok(mut peer) = net.peer(peer) {
                peer.close();
            }
            return Err(Refused::With(response));
        }
        self.begin(net, (id, kind, peer), waiting, offer, now);
        Ok(())
    }

    fn peer_config(&self, mode: MediaMode) -> PeerConfig {
        self.config
            .peer
            .clone()
            .media_mode(mode)
            // Only the client can ask for a restart.
            .restart_on_network_change(false)
            .restart_after_disconnected(None)
    }

    fn begin(
        &mut self,
        net: &mut EventLoop,
        (id, kind, peer): (SessionId, Kind, PeerId),
        waiting: &Starting,
        offer: String,
        now: Instant,
    ) {
        let client = client_network(waiting.request.client.ip());
        *self.per_client.entry(client).or_default() += 1;
        self.stats.created += 1;
        let remote = sdpfrag::SdpFragment::of_description(&offer).unwrap_or_default();
        let session = Session {
            kind,
            name: waiting.name.clone(),
            peer,
            client,
            state: ConnectionState::New,
            offer,
            remote: (
                remote.ufrag.unwrap_or_default(),
                remote.pwd.unwrap_or_default(),
            ),
            before: std::collections::VecDeque::new(),
            generation: 1,
            awaiting: Some(Awaiting {
                request: waiting.id,
                cors: waiting.cors.clone(),
                is_restart: false,
                until: now + self.config.gather_deadline,
            }),
            connect_by: Some(now + self.config.connect_deadline),
            due: None,
        };
        self.sessions.insert(id, session);
        self.schedule(id);
        if is_gathered(net, peer) {
            self.answer(net, id, now);
        }
    }

    /// A publisher whose network is gone must not keep itself out when it comes back by another one.
    fn take_over(&mut self, net: &mut EventLoop, host: &mut impl StreamHost, name: &str) -> bool {
        let silent = |s: &Session| {
            s.kind == Kind::Publish && s.name == name && s.state == ConnectionState::Disconnected
        };
        let found = self.sessions.iter().find(|(_, s)| silent(s));
        let Some((id, peer)) = found.map(|(id, s)| (*id, s.peer)) else {
            return false;
        };
        log::info!("{name}: its publisher is silent, and another one takes over");
        self.remove(net, id);
        // The event of the closing comes with the next turn; the stream is wanted now.
        let closed = crate::proto::peer::PeerEvent::ConnectionStateChange(ConnectionState::Closed);
        host.handle_peer_event(net, peer, &closed);
        true
    }

    /// Responds to what waits for candidates.
    pub(super) fn answer(&mut self, net: &mut EventLoop, id: SessionId, _now: Instant) {
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
        let response = match (description, awaiting.is_restart) {
            (None, _) => Response::problem(500, "Session ended", "the peer is gone"),
            (Some(answer), true) => {
                let fragment =
                    sdpfrag::SdpFragment::of_description(&answer.sdp).unwrap_or_default();
                Response::new(200)
                    .header("ETag", tag)
                    .body(sdpfrag::MEDIA_TYPE, fragment.to_text())
            }
            (Some(answer), false) => {
                let path = session.kind.path(&self.config);
                let location = format!("{path}/{}/{id}", percent_encoded(&session.name));
                let mut response = Response::new(201)
                    .header("Location", location)
                    .header("ETag", tag)
                    .header("Accept-Patch", sdpfrag::MEDIA_TYPE);
                if self.config.offer_ice_servers {
                    for link in link::of_ice_servers(&self.config.peer.ice_servers) {
                        response = response.header("Link", link);
                    }
                }
                response.body(reply::SDP, answer.sdp)
            }
        };
        self.respond(awaiting.request, awaiting.cors.apply(response));
        self.schedule(id);
    }
}

/// Why no session is made.
enum Refused {
    NotYet,
    With(Response),
}

pub(super) fn is_gathered(net: &mut EventLoop, peer: PeerId) -> bool {
    let peer = net.peer(peer);
    peer.is_ok_and(|p| p.ice_gathering_state() == IceGatheringState::Complete)
}

/// Gives the peer its offer and its tracks, and makes its answer.
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
    match kind {
        Kind::Publish => host.publish(net, name, id),
        Kind::View => host.view(net, name, id),
    }
    .map_err(|refusal| reply::refused(name, &refusal))?;
    let mut peer = net.peer(id).map_err(gone)?;
    // Media goes one way only (RFC 9725, section 4.2; WHEP, section 4.2).
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

/// The offer has media, in the right direction.
fn check_media(kind: Kind, body: &[u8]) -> Result<(), Response> {
    let bad = |detail: &str| Response::problem(400, "Bad offer", detail);
    let text = std::str::from_utf8(body).map_err(|e| {
        bad(&format!(
            "not UTF-8: wrong byte at offset {}",
            e.valid_up_to()
        ))
    })?;
    let sdp = Sdp::parse(text.as_bytes()).map_err(|e| bad(&format!("not SDP: {e}")))?;
    let (unwanted, wrong, right) = match kind {
        Kind::Publish => ("recvonly", "receives only; to watch", "sendonly"),
        Kind::View => ("sendonly", "sends only; to publish", "recvonly"),
    };
    let mut media = sdp
        .medias
        .iter()
        .filter(|m| ["audio", "video"].contains(&m.media.as_str()))
        .peekable();
    if media.peek().is_none() {
        return Err(Response::problem(
            422,
            "Unsuitable offer",
            "there is neither m=audio nor m=video in it",
        ));
    }
    let is_useless = |m: &sdp_types::Media| {
        let has = |name: &str| m.attributes.iter().any(|a| a.attribute == name);
        has(unwanted) || has("inactive")
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

/// What is counted as one client: an address, or the network of one subscriber.
fn client_network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => {
            let network = u128::from(v6) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
        v4 => v4,
    }
}

/// A segment of a path (RFC 3986, section 3.3).
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
