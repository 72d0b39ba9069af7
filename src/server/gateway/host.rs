//! The streams, as WHIP and WHEP ask for them.

use std::time::Instant;

use crate::driver::{EventLoop, PeerId};
use crate::proto::peer::{MediaMode, PeerEvent};
use crate::server::streams::{StreamError, StreamState, Streams};
use crate::server::whip::{Refusal, StreamHost};

impl StreamHost for Streams {
    fn check_publish(&mut self, name: &str) -> Result<(), Refusal> {
        match self.info(name) {
            None => Err(Refusal::Unknown),
            Some(_) if !self.is_published(name) => Err(Refusal::NotPublishable),
            Some(_) => Ok(()),
        }
    }

    fn publish(&mut self, net: &mut EventLoop, name: &str, peer: PeerId) -> Result<(), Refusal> {
        self.add_publisher(net, name, peer).map_err(refusal)
    }

    fn check_view(&mut self, _net: &mut EventLoop, name: &str) -> Result<MediaMode, Refusal> {
        let info = self.info(name).ok_or(Refusal::Unknown)?;
        // Where nobody waits for it, it is tried again with this viewer.
        if let StreamState::Failed { why, retry_at } = info.state
            && let Some(at) = retry_at
        {
            return Err(Refusal::Failed {
                why,
                retry_after: at.saturating_duration_since(Instant::now()),
            });
        }
        self.media_mode(name).ok_or(Refusal::Unknown)
    }

    fn view(&mut self, net: &mut EventLoop, name: &str, peer: PeerId) -> Result<(), Refusal> {
        self.add_viewer(net, name, peer).map_err(refusal)
    }

    fn handle_peer_event(&mut self, net: &mut EventLoop, peer: PeerId, event: &PeerEvent) {
        Streams::handle_peer_event(self, net, peer, event);
    }
}

fn refusal(error: StreamError) -> Refusal {
    match error {
        StreamError::NoSuchStream(_) => Refusal::Unknown,
        StreamError::NotPublished(_) => Refusal::NotPublishable,
        StreamError::HasPublisher(_) => Refusal::Busy,
        StreamError::LimitReached { .. } => Refusal::Full,
        other => Refusal::Unsuitable(other.to_string()),
    }
}
