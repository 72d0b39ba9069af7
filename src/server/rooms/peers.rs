//! Events of the participants' peers, and subscriptions.

use std::sync::Arc;
use std::time::Instant;

use super::forward::{Forwarder, Look, Verdict};
use super::ids::{ParticipantId, SourceId};
use super::layers::{self, Choice};
use super::participant::Participant;
use super::source::{Source, Subscription};
use super::{Rooms, message};
use crate::driver::shared_media::SharedMedia;
use crate::driver::{EventLoop, PeerId};
use crate::proto::peer::{
    ConnectionState, KeyframeRequestKind, MediaKind, PeerEvent, ReceivedPacket, RtpPacket,
    SignalingState, TransceiverId,
};

/// Rate reserved for each audio track, in bits per second.
const SOUND: u64 = 40_000;

impl Rooms {
    /// Handles an event of a peer that these rooms [own](Self::owns).
    pub fn handle_peer_event(&mut self, net: &mut EventLoop, peer: PeerId, event: PeerEvent) {
        let Some(id) = self.by_peer.get(&peer).copied() else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        match event {
            PeerEvent::Packet(packet) => self.forward(net, id, &packet),
            PeerEvent::PacketsLost { transceiver, rid } => {
                self.packets_lost(net, id, transceiver, rid.as_deref());
            }
            PeerEvent::NegotiationNeeded => self.offer(net, id, Instant::now()),
            PeerEvent::SignalingStateChange(SignalingState::Stable) => {
                self.offer_if_owed(net, id, Instant::now());
            }
            PeerEvent::IceCandidate(Some(candidate)) => match participant.socket {
                Some(_) => self.send(id, message::candidate(&candidate.to_init())),
                // Included in the next offer.
                None => participant.owes_offer = true,
            },
            PeerEvent::Track(track) => {
                log::info!("room {}: {id} sends {}", participant.room, track.kind);
                participant
                    .sources
                    .retain(|s| s.transceiver != track.transceiver);
                participant.sources.push(Source::new(&track));
                let room = participant.room.clone();
                self.reconcile_others(net, id, &room);
            }
            PeerEvent::TrackRemoved(transceiver) => {
                participant.sources.retain(|s| s.transceiver != transceiver);
                let room = participant.room.clone();
                self.reconcile_others(net, id, &room);
            }
            PeerEvent::TrackBound { transceiver, .. } => self.bound(net, id, transceiver, true),
            PeerEvent::TrackUnbound(transceiver) => self.bound(net, id, transceiver, false),
            PeerEvent::KeyframeRequest { transceiver, .. } => {
                let source = participant.slot_source(transceiver);
                if let Some(source) = source {
                    self.keyframe_missed(net, id, source);
                }
            }
            PeerEvent::BandwidthEstimate(estimate) => {
                participant.budget = Some(estimate.bits_per_second());
            }
            PeerEvent::ConnectionStateChange(ConnectionState::Connected) => {
                participant.was_connected = true;
            }
            PeerEvent::ConnectionStateChange(ConnectionState::Closed) => {
                let why = "the connection is lost";
                self.remove(net, id, 1001, why, Instant::now());
            }
            PeerEvent::Error(why) => log::info!("{id}: {why}"),
            _ => {}
        }
    }

    /// Forwards a packet to all its subscribers.
    fn forward(&mut self, net: &mut EventLoop, from: ParticipantId, packet: &ReceivedPacket) {
        self.stats.packets_received += 1;
        let Some(look) = Look::at(packet) else {
            return;
        };
        let participant = self.participants.get_mut(&from);
        let Some(source) = participant.and_then(|p| p.source(packet.transceiver)) else {
            return;
        };
        source.note(packet, &look, packet.received);
        // Subscribers that get the packet unchanged share it.
        let mut shared: Option<Arc<RtpPacket>> = None;
        for subscription in source.subscriptions.iter_mut().filter(|s| s.is_bound) {
            let before = subscription.forwarder.switches;
            let packet = match subscription.forwarder.decide(&look, &packet.payload) {
                Verdict::Drop => continue,
                Verdict::AsItIs => shared
                    .get_or_insert_with(|| Arc::new(packet.to_packet()))
                    .clone(),
                Verdict::Changed(payload) => {
                    let mut changed = packet.to_packet();
                    changed.payload = payload;
                    Arc::new(changed)
                }
            };
            self.stats.layer_switches += subscription.forwarder.switches - before;
            let queued = SharedMedia::Packet(packet);
            if net.queue(subscription.peer, subscription.transceiver, queued) {
                self.stats.packets_forwarded += 1;
            }
        }
    }

    /// Subscribes a participant to the sources of the others in its room, and unsubscribes it from those that are gone.
    /// Offers follow automatically.
    pub(super) fn reconcile(&mut self, net: &mut EventLoop, id: ParticipantId) {
        let Some(room) = self.participants.get(&id).map(|p| p.room.clone()) else {
            return;
        };
        let others = self
            .participants
            .iter()
            .filter(|(o, p)| **o != id && p.room == room);
        let wanted: Vec<(SourceId, MediaKind)> = others
            .flat_map(|(owner, p)| {
                p.sources.iter().map(|s| {
                    let (owner, transceiver) = (*owner, s.transceiver);
                    (SourceId { owner, transceiver }, s.kind)
                })
            })
            .collect();
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let peer = participant.peer;
        let is_wanted = |source| wanted.iter().any(|(w, _)| *w == source);
        match participant.release(net, is_wanted) {
            Ok(released) => {
                for source in released {
                    if let Some(source) = self.source(source) {
                        source.subscriptions.retain(|s| s.subscriber != id);
                    }
                }
            }
            Err(why) => log::debug!("{id}: nothing can be taken from it: {why}"),
        }
        for (source, kind) in wanted {
            let Some(participant) = self.participants.get_mut(&id) else {
                return;
            };
            if participant.slots.iter().any(|s| s.source == Some(source)) {
                continue;
            }
            match participant.admit(net, source, kind) {
                Ok(transceiver) => self.subscribe(source, id, peer, transceiver),
                Err(why) => crate::seldom::seldom!(
                    warn,
                    "{id} does not get {kind} of {}: {why}",
                    source.owner
                ),
            }
        }
    }

    pub(super) fn reconcile_others(&mut self, net: &mut EventLoop, id: ParticipantId, room: &str) {
        let others = self
            .participants
            .iter()
            .filter(|(o, p)| **o != id && p.room == room);
        let others: Vec<ParticipantId> = others.map(|(o, _)| *o).collect();
        for other in others {
            self.reconcile(net, other);
        }
    }

    fn subscribe(
        &mut self,
        source: SourceId,
        subscriber: ParticipantId,
        peer: PeerId,
        transceiver: TransceiverId,
    ) {
        if let Some(source) = self.source(source) {
            source.subscriptions.retain(|s| s.subscriber != subscriber);
            source.subscriptions.push(Subscription {
                subscriber,
                peer,
                transceiver,
                is_bound: false,
                forwarder: Forwarder::default(),
            });
        }
    }

    fn source(&mut self, id: SourceId) -> Option<&mut Source> {
        self.participants.get_mut(&id.owner)?.source(id.transceiver)
    }

    fn subscription(
        &mut self,
        source: SourceId,
        subscriber: ParticipantId,
    ) -> Option<&mut Subscription> {
        let subscriptions = &mut self.source(source)?.subscriptions;
        subscriptions
            .iter_mut()
            .find(|s| s.subscriber == subscriber)
    }

    /// Handles that a receiver's m-line can or can no longer be written to.
    fn bound(
        &mut self,
        net: &mut EventLoop,
        id: ParticipantId,
        transceiver: TransceiverId,
        is: bool,
    ) {
        let slot_source = self
            .participants
            .get(&id)
            .and_then(|p| p.slot_source(transceiver));
        let Some(source) = slot_source else {
            return;
        };
        if let Some(subscription) = self.subscription(source, id) {
            subscription.is_bound = is;
            subscription.forwarder.restart();
        }
        if is {
            self.choose_layers(net, id, Instant::now());
            self.keyframe_missed(net, id, source);
        }
    }

    /// Handles permanent packet loss between a participant and the server: subscribers of that layer miss frames.
    fn packets_lost(
        &mut self,
        net: &mut EventLoop,
        id: ParticipantId,
        transceiver: TransceiverId,
        rid: Option<&str>,
    ) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let mut sources = participant.sources.iter_mut();
        if let Some(source) = sources.find(|s| s.transceiver == transceiver) {
            source.packets_lost(rid);
        }
        self.ask_for_keyframes(net, id, Instant::now());
    }

    /// Handles that a receiver misses a frame.
    fn keyframe_missed(&mut self, net: &mut EventLoop, id: ParticipantId, source: SourceId) {
        let layer = self.subscription(source, id).map(|s| s.forwarder.layer());
        if let (Some(layer), Some(of)) = (layer, self.source(source)) {
            of.want_keyframe(layer);
        }
        self.ask_for_keyframes(net, source.owner, Instant::now());
    }

    /// Requests keyframes for subscribers that wait for them.
    pub(super) fn want_keyframes(
        &mut self,
        net: &mut EventLoop,
        owner: ParticipantId,
        now: Instant,
    ) {
        if let Some(participant) = self.participants.get_mut(&owner) {
            for source in &mut participant.sources {
                source.want_for_waiting(now);
            }
        }
        self.ask_for_keyframes(net, owner, now);
    }

    fn ask_for_keyframes(&mut self, net: &mut EventLoop, owner: ParticipantId, now: Instant) {
        let Some(participant) = self.participants.get_mut(&owner) else {
            return;
        };
        let Ok(mut peer) = net.peer(participant.peer) else {
            return;
        };
        for source in &mut participant.sources {
            for layer in source.keyframes_due(self.config.keyframe_interval, now) {
                let rid = source.rid(layer);
                let asked =
                    peer.request_keyframe(source.transceiver, rid, KeyframeRequestKind::Pli);
                match asked {
                    Ok(()) => self.stats.keyframes_requested += 1,
                    // A source that has not started begins with a keyframe.
                    Err(why) => log::debug!("{owner}: no keyframe can be asked for: {why}"),
                }
            }
        }
    }

    /// Selects the layers that a receiver gets.
    pub(super) fn choose_layers(&mut self, net: &mut EventLoop, id: ParticipantId, now: Instant) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let (budget, peer, desired) = (participant.budget, participant.peer, participant.desired);
        let of_kind = |p: &Participant, kind| -> Vec<SourceId> {
            let slots = p.slots.iter().filter(|s| s.kind == kind);
            slots.filter_map(|s| s.source).collect()
        };
        let sound = SOUND * of_kind(participant, MediaKind::Audio).len() as u64;
        let sources = of_kind(participant, MediaKind::Video);
        let mut choices = Vec::with_capacity(sources.len());
        for source in &sources {
            let layers = self.source(*source).map_or_else(Vec::new, |s| s.alive(now));
            let current = self
                .subscription(*source, id)
                .map_or(0, |s| s.forwarder.target());
            choices.push(Choice { layers, current });
        }
        let budget = budget.map_or(u64::MAX, |b| b.saturating_sub(sound));
        let (chosen, best) = layers::choose(&choices, budget);
        for ((source, choice), chosen) in sources.iter().zip(&choices).zip(chosen) {
            let layer = choice.layers.get(chosen).map(|l| l.0);
            if let (Some(layer), Some(subscription)) = (layer, self.subscription(*source, id)) {
                subscription.forwarder.aim(layer);
            }
        }
        // With some margin for retransmissions.
        let wanted = (best + sound) * 5 / 4;
        if wanted.abs_diff(desired) > desired / 8
            && let Ok(mut peer) = net.peer(peer)
        {
            // Without bandwidth estimation this does nothing.
            let _ = peer.set_desired_bitrate(wanted);
            if let Some(participant) = self.participants.get_mut(&id) {
                participant.desired = wanted;
            }
        }
    }
}
