//! Streams whose media comes from a peer.

use std::time::{Duration, Instant};

use super::{Context, Stream};
use crate::driver::PeerId;
use crate::proto::peer::PeerEvent;
use crate::server::streams::info::StreamState;
use crate::server::streams::kind::Runs;

impl Stream {
    /// Returns the peer that the media comes from, if there is one.
    pub fn publisher(&self) -> Option<PeerId> {
        self.running.as_ref().and_then(|source| source.peer())
    }

    /// Returns `true` if a new publisher may replace the current one, if any.
    pub fn is_vacant(&self, patience: Duration, now: Instant) -> bool {
        let source = self.running.as_ref();
        source.is_none_or(|source| source.is_silent(patience, now))
    }

    pub fn set_publisher(&mut self, ctx: &mut Context<'_>, peer: PeerId) {
        if let Some(source) = self.source.kind().publish(peer, ctx.now) {
            self.run(ctx, source);
        }
    }

    pub fn remove_publisher(&mut self, now: Instant) {
        for track in &mut self.tracks {
            track.restart(now);
        }
        if self.runs == Runs::Published {
            self.running = None;
            self.set_state(StreamState::Waiting);
        }
    }

    /// Handles an event of a peer that media comes from, or came from.
    pub fn handle_publisher(&mut self, ctx: &mut Context<'_>, peer: PeerId, event: &PeerEvent) {
        let all = self.running.iter_mut().chain(&mut self.ending);
        for source in all.filter(|source| source.peer() == Some(peer)) {
            source.handle_peer_event(ctx, event);
        }
        self.poll(ctx);
    }
}
