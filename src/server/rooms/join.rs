//! Joining a room, coming back to it, and leaving it.

use std::net::IpAddr;
use std::time::Instant;

use super::forward::LAYERS;
use super::ids::ParticipantId;
use super::message::{self, MemberState};
use super::participant::Participant;
use super::{OFFERS, Rooms};
use crate::driver::{EventLoop, LoopError, PeerId};
use crate::proto::peer::{
    CandidatePolicy, Direction, MediaKind, MediaMode, PeerConfig, SignalingState, TransceiverConfig,
};
use crate::server::http::{SocketOutput, WebSocketId};
use crate::server::limits::RateLimit;
use crate::server::names::is_visible;
use crate::server::token::Token;

/// A page that joins.
pub(super) struct Page {
    pub client: IpAddr,
    /// Set if it can send layers.
    pub is_layered: bool,
    /// The name that it wants to be displayed.
    pub name: Option<String>,
}

impl Rooms {
    /// Adds a participant to a room.
    pub(super) fn join(
        &mut self,
        net: &mut EventLoop,
        socket: WebSocketId,
        room: &str,
        page: Page,
        now: Instant,
    ) -> Result<(), LoopError> {
        let peer = self.add_peer(net, page.is_layered)?;
        let id = ParticipantId(self.next);
        self.next += 1;
        self.stats.joined += 1;
        log::info!("room {room}: {id} joins");
        let room = room.to_owned();
        let participant = Participant {
            name: self.name(id, page.name),
            room: room.clone(),
            client: page.client,
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
        self.clients.participants.take(page.client);
        self.by_peer.insert(peer, id);
        self.by_socket.insert(socket, id);
        self.welcome(id, false);
        self.tell_newcomer(id, now);
        self.reconcile(net, id);
        self.offer(net, id, now);
        Ok(())
    }

    fn add_peer(&self, net: &mut EventLoop, is_layered: bool) -> Result<PeerId, LoopError> {
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
        let layers = match is_layered && self.config.simulcast {
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
    pub(super) fn resume(
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

    /// Removes a participant for good.
    pub(super) fn remove(
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

    fn welcome(&mut self, id: ParticipantId, resumed: bool) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let servers = &self.config.ice_servers;
        let (room, resume) = (&participant.room, participant.resume.expose());
        let text = message::welcome(&id.to_string(), room, (resume, resumed), servers);
        self.send(id, text);
    }

    pub(super) fn find_by_key(&self, room: &str, key: &str) -> Option<ParticipantId> {
        let mut members = self.participants.iter().filter(|(_, p)| p.room == room);
        let found = members.find(|(_, p)| p.resume.matches(key));
        found.map(|(id, _)| *id)
    }

    /// Returns the name that is displayed for a participant.
    pub(super) fn name(&self, id: ParticipantId, wanted: Option<String>) -> String {
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
