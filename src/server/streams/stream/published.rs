//! Streams whose packets come from a peer.

use std::time::{Duration, Instant};

use super::{Context, LOST, Running, Stream, index_of};
use crate::driver::PeerId;
use crate::driver::peers::Queued;
use crate::proto::peer::{ConnectionState, MediaKind, PeerEvent, ReceivedPacket};
use crate::server::streams::info::StreamState;
use crate::server::streams::keyframes::begins_keyframe;
use crate::server::streams::publisher::Publisher;

/// How often a publisher's stream looks after viewers that still wait for a keyframe.
const LOOK: Duration = Duration::from_secs(1);

impl Stream {
    /// Who publishes, if somebody does.
    pub fn publisher(&self) -> Option<PeerId> {
        self.publisher.as_ref().map(|p| p.peer)
    }

    /// Whether another one may take the publisher's place.
    pub fn is_vacant(&self, patience: Duration, now: Instant) -> bool {
        let is_silent = |p: &Publisher| now.saturating_duration_since(p.heard) >= patience;
        self.publisher.as_ref().is_none_or(is_silent)
    }

    pub fn set_publisher(&mut self, peer: PeerId, now: Instant) {
        self.publisher = Some(Publisher::new(peer, now));
        self.stats.starts += 1;
        self.looked = None;
        for track in &mut self.tracks {
            track.restart(now);
        }
        self.set_state(StreamState::Starting);
    }

    pub fn remove_publisher(&mut self, now: Instant) {
        self.publisher = None;
        for track in &mut self.tracks {
            track.restart(now);
        }
        if self.source.is_published() {
            self.set_state(StreamState::Waiting);
        }
    }

    /// An event of the peer that packets come from.
    pub fn handle_publisher(&mut self, ctx: &mut Context<'_>, peer: PeerId, event: &PeerEvent) {
        if let Some(Running::Whep(client)) = &mut self.running {
            client.handle_peer_event(ctx.net, peer, event);
        }
        for client in &mut self.farewells {
            client.handle_peer_event(ctx.net, peer, event);
        }
        match event {
            PeerEvent::Packet(packet) => return self.handle_published(ctx, packet),
            PeerEvent::PacketsLost { transceiver, rid } => {
                if let Some(publisher) = &mut self.publisher {
                    let rid = rid.as_deref();
                    let asked = publisher.packets_lost(ctx.net, *transceiver, rid, ctx.now);
                    self.stats.keyframes_asked += u64::from(asked);
                }
                return;
            }
            PeerEvent::ConnectionStateChange(ConnectionState::Disconnected) => {
                self.lost_at = Some(ctx.now + LOST);
            }
            PeerEvent::ConnectionStateChange(_) => self.lost_at = None,
            _ => {}
        }
        // What the client has made of it.
        self.fetch(ctx);
    }

    /// A packet of the publisher.
    fn handle_published(&mut self, ctx: &mut Context<'_>, packet: &ReceivedPacket) {
        let Some(publisher) = &mut self.publisher else {
            return;
        };
        let codec = packet.codec;
        let is_key = begins_keyframe(codec, &packet.payload);
        if !publisher.takes(ctx.net, packet, is_key, ctx.now) {
            return;
        }
        let hold = publisher.hold();
        self.live(ctx.now);
        let kind = MediaKind::of(codec);
        let track = &mut self.tracks[index_of(kind)];
        if track.feeds.first().map(|f| f.codec) != Some(codec) {
            track.set_codecs(&[codec]);
            self.reconnect(ctx);
        }
        let mut out = packet.to_packet();
        if let (MediaKind::Video, Some(hold)) = (kind, hold) {
            out.extensions.set_playout_delay(hold);
        }
        self.write(ctx, codec, Queued::Packet(out.into()), is_key);
        let is_due = |at: Instant| ctx.now.saturating_duration_since(at) >= LOOK;
        if kind == MediaKind::Video && self.looked.is_none_or(is_due) {
            // The publisher was not there when they asked, or its answer was lost.
            self.looked = Some(ctx.now);
            if let Some(publisher) = &mut self.publisher {
                publisher.look(ctx.net);
            }
            if self.tracks[index_of(kind)].wants_keyframe() {
                self.want_keyframe(ctx);
            }
        }
    }

    /// A viewer wants a keyframe.
    pub(super) fn want_keyframe(&mut self, ctx: &mut Context<'_>) {
        if let Some(publisher) = &mut self.publisher {
            let interval = ctx.config.keyframe_interval;
            let asked = publisher.want_keyframe(ctx.net, interval, ctx.now);
            self.stats.keyframes_asked += u64::from(asked);
        }
    }
}
