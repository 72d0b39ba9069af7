//! A publisher over WHIP.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::driver::{EventLoop, PeerId};
use crate::proto::peer::PeerEvent;
use crate::server::streams::kind::{
    Context, Kind, Runs, Source, SourceConfig, SourceEvent, Stopped,
};
use crate::server::streams::publisher::Publisher;

#[derive(Debug)]
struct Whip;

pub(super) fn parse(url: &str) -> Option<Result<SourceConfig, String>> {
    Some(match url.strip_prefix("whip:")? {
        "" => Ok(SourceConfig::whip()),
        _ => Err("nothing may stand behind whip:".into()),
    })
}

impl SourceConfig {
    /// Creates the source that waits for a publisher, `whip:`.
    pub fn whip() -> Self {
        Self::new(Whip)
    }
}

impl Kind for Whip {
    fn describe(&self) -> String {
        "WHIP publisher".into()
    }

    fn runs(&self) -> Runs {
        Runs::Published
    }

    fn may_change_codecs(&self) -> bool {
        true
    }

    fn start(&self, _: &mut Context<'_>, _: u32) -> Result<Box<dyn Source>, String> {
        Err("no publisher is there".into())
    }

    fn publish(&self, peer: PeerId, now: Instant) -> Option<Box<dyn Source>> {
        Some(Box::new(Published {
            publisher: Publisher::new(peer, now),
            ready: VecDeque::new(),
        }))
    }
}

/// A publisher. Its peer is owned by the WHIP server, or another caller of `add_publisher`.
#[derive(Debug)]
struct Published {
    publisher: Publisher,
    ready: VecDeque<SourceEvent>,
}

impl Source for Published {
    fn poll(&mut self, _: &mut Context<'_>) -> Option<SourceEvent> {
        self.ready.pop_front()
    }

    fn handle_timeout(&mut self, ctx: &mut Context<'_>) {
        self.publisher.handle_timeout(ctx);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.publisher.deadline()
    }

    fn peer(&self) -> Option<PeerId> {
        Some(self.publisher.peer)
    }

    fn handle_peer_event(&mut self, ctx: &mut Context<'_>, event: &PeerEvent) {
        let media = self.publisher.handle_event(ctx, event);
        self.ready.extend(media.map(SourceEvent::Media));
    }

    fn is_silent(&self, patience: Duration, now: Instant) -> bool {
        self.publisher.is_silent(patience, now)
    }

    fn want_keyframe(&mut self, ctx: &mut Context<'_>) {
        self.publisher.want_keyframe(ctx);
    }

    fn stop(self: Box<Self>, _: &mut EventLoop) -> Stopped {
        Stopped::Gone
    }
}
