//! Two-way audio: the one peer whose microphone is heard at the camera of a stream.
//!
//! The talker's session with the camera is a [`Source`] beside the one of the picture: it has no media, and neither
//! starts nor stops the other.

use std::time::{Duration, Instant};

use super::{Context, Stream};
use crate::driver::{EventLoop, PeerId};
use crate::proto::peer::PeerEvent;
use crate::server::streams::info::TalkState;
use crate::server::streams::kind::{Source, SourceEvent};

/// The talker of a stream, if there is one.
#[derive(Debug, Default)]
pub(super) struct Talker {
    pub session: Option<Box<dyn Source>>,
    peer: Option<PeerId>,
    /// The camera listens.
    is_heard: bool,
    /// Why the latest talker was not heard, or no longer.
    why: Option<String>,
}

impl Stream {
    /// Returns `true` if a peer may talk to the source, as far as is known without asking it.
    pub fn is_talkable(&self) -> bool {
        self.source.kind().is_talkable()
    }

    /// Returns the state of two-way audio; `None` if the source is no camera.
    pub fn talk_state(&self) -> Option<TalkState> {
        let talker = &self.talker;
        self.is_talkable()
            .then(|| match (&talker.session, &talker.why) {
                (Some(_), _) if talker.is_heard => TalkState::Talking,
                (Some(_), _) => TalkState::Starting,
                (None, Some(why)) => TalkState::Failed { why: why.clone() },
                (None, None) => TalkState::Free,
            })
    }

    /// Returns the peer that talks.
    pub fn talker(&self) -> Option<PeerId> {
        self.talker.peer
    }

    /// Returns `true` if another peer may talk: nobody does, or that one has been silent for `patience`.
    pub fn may_talk(&self, patience: Duration, now: Instant) -> bool {
        let session = self.talker.session.as_ref();
        session.is_none_or(|session| session.is_silent(patience, now))
    }

    /// Connects the camera with a peer's microphone, instead of the one before.
    pub fn talk(&mut self, ctx: &mut Context<'_>, peer: PeerId) {
        self.hang_up(ctx.net);
        self.is_news = true;
        match self.source.kind().talk(ctx, peer) {
            Ok(session) => {
                self.talker = Talker {
                    session: Some(session),
                    peer: Some(peer),
                    ..Talker::default()
                };
                self.poll_talker(ctx);
            }
            Err(why) => self.talk_failed(ctx.net, peer, why),
        }
    }

    /// Ends the session with the camera, which is told so.
    pub fn hang_up(&mut self, net: &mut EventLoop) {
        if let Some(session) = self.talker.session.take() {
            self.talker = Talker::default();
            self.is_news = true;
            self.end_session(net, session);
        }
    }

    /// Handles an event of the talker's peer.
    pub fn handle_talker(&mut self, ctx: &mut Context<'_>, event: &PeerEvent) {
        if let Some(session) = &mut self.talker.session {
            session.handle_peer_event(ctx, event);
            self.poll_talker(ctx);
        }
    }

    /// Handles all events of the talker's session.
    pub(super) fn poll_talker(&mut self, ctx: &mut Context<'_>) {
        while let Some(event) = self.talker.session.as_mut().and_then(|s| s.poll(ctx)) {
            match event {
                SourceEvent::Tracks(_) => {
                    self.talker.is_heard = true;
                    self.is_news = true;
                }
                SourceEvent::Failed(why) | SourceEvent::Refused { why, .. } => {
                    if let Some(peer) = self.talker.peer {
                        self.talk_failed(ctx.net, peer, why);
                    }
                }
                _ => {}
            }
        }
    }

    fn talk_failed(&mut self, net: &mut EventLoop, peer: PeerId, why: String) {
        log::info!("stream {}: nobody can talk to the camera: {why}", self.name);
        self.hang_up(net);
        self.talker.why = Some(why);
        self.is_news = true;
        if let Ok(mut peer) = net.peer(peer) {
            peer.close();
        }
    }
}
