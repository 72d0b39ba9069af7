//! Viewers of a stream: their tracks, and how these follow the source's codecs.

use std::time::Instant;

use super::{Context, Stream, index_of};
use crate::driver::PeerId;
use crate::proto::media::Codec;
use crate::proto::peer::{Direction, MediaKind, PeerEvent, TransceiverConfig, TransceiverId};
use crate::server::streams::info::StreamState;
use crate::server::streams::kind::Runs;
use crate::server::streams::quality::main_of;
use crate::server::streams::tracks::Outcome;

impl Stream {
    pub fn viewers(&self) -> usize {
        self.viewers
    }

    /// Returns the codecs sent to a new viewer, as far as they are known: those of a publisher once it sends, those of
    /// a file or of plain RTP always.
    pub fn settled_codecs(&self) -> Vec<Codec> {
        match self.source.kind().may_change_codecs() && self.state != StreamState::Live {
            true => Vec::new(),
            false => self.codecs(),
        }
    }

    /// Returns the tracks for a viewer. As long as there is no publisher, or nothing in the pipe, all codecs are
    /// offered, and one is selected later.
    pub fn viewer_tracks(&self) -> Vec<(MediaKind, TransceiverConfig)> {
        let settled = self.settled_codecs();
        // A publisher may add a track.
        let is_all = !self.source.kind().may_change_codecs() && !settled.is_empty();
        let of = |kind| settled.iter().filter(move |c| MediaKind::of(**c) == kind);
        let wanted = self.tracks.iter().map(|t| t.kind);
        wanted
            .filter(|kind| !is_all || of(*kind).next().is_some())
            .map(|kind| {
                let name = match kind {
                    MediaKind::Video => "video",
                    MediaKind::Audio => "audio",
                };
                let config = TransceiverConfig::default()
                    .direction(Direction::SendOnly)
                    .ids(main_of(&self.name), name)
                    .stereo(kind == MediaKind::Audio);
                (kind, config.codecs(of(kind).copied()))
            })
            .collect()
    }

    /// Adds a viewer with these tracks.
    pub fn add_viewer(
        &mut self,
        ctx: &mut Context<'_>,
        peer: PeerId,
        tracks: Vec<(MediaKind, TransceiverId)>,
    ) {
        let is_live = self.source.kind().may_change_codecs() && self.state == StreamState::Live;
        for (kind, transceiver) in tracks {
            let track = &mut self.tracks[index_of(kind)];
            let is_settled = is_live && !track.feeds.is_empty();
            track.add_leg(peer, transceiver, is_settled);
        }
        self.viewers += 1;
        self.stats.viewers_total += 1;
        self.empty_since = None;
        self.begin(ctx);
    }

    /// Starts the source if it is not running and may be started now.
    pub(super) fn begin(&mut self, ctx: &mut Context<'_>) {
        let may_start = match &self.state {
            _ if self.is_spent || self.runs == Runs::Published => false,
            StreamState::Idle | StreamState::Ended => true,
            // The reader of a named pipe continues.
            StreamState::Failed { .. } if self.running.is_some() => false,
            StreamState::Failed { retry_at, .. } => retry_at.is_none_or(|at| at <= ctx.now),
            _ => false,
        };
        if may_start {
            self.start(ctx);
        }
    }

    pub fn remove_viewer(&mut self, peer: PeerId, now: Instant) {
        for track in &mut self.tracks {
            track.remove_leg(peer);
        }
        self.viewers = self.viewers.saturating_sub(1);
        if self.viewers == 0 {
            self.empty_since = Some(now);
        }
    }

    /// Handles an event of a viewer's peer.
    pub fn handle_viewer(&mut self, ctx: &mut Context<'_>, peer: PeerId, event: &PeerEvent) {
        for index in 0..self.tracks.len() {
            let track = &mut self.tracks[index];
            let outcome = track.handle_event(ctx.net, peer, event, ctx.now);
            self.settle(ctx, index, peer, outcome);
        }
    }

    fn settle(&mut self, ctx: &mut Context<'_>, track: usize, peer: PeerId, outcome: Outcome) {
        let kind = self.tracks[track].kind;
        match outcome {
            Outcome::Done => {}
            Outcome::WantsKeyframe => self.want_keyframe(ctx),
            Outcome::Undecodable { codec } => {
                ctx.outcome.undecodable.push((peer, kind, codec));
                let leg = self.tracks[track].leg(peer);
                // It comes back, and may get the second stream.
                let has_sub = kind == MediaKind::Video && self.source.kind().sub().is_some();
                if has_sub || leg.is_some_and(|leg| leg.state.is_settled) {
                    ctx.outcome.outdated.push(peer);
                }
            }
        }
    }

    /// Reconnects all viewers after the codecs have changed.
    pub(super) fn reconnect(&mut self, ctx: &mut Context<'_>) {
        for index in 0..self.tracks.len() {
            for leg in 0..self.tracks[index].legs.len() {
                let Some(peer) = self.tracks[index].legs.get_mut(leg).map(|leg| leg.peer) else {
                    break;
                };
                let outcome = self.tracks[index].connect(ctx.net, leg, ctx.now);
                self.settle(ctx, index, peer, outcome);
            }
        }
    }
}
