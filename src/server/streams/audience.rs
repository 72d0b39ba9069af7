//! The viewers of all streams.

use std::time::Instant;

use super::info::{StreamError, ViewerStats};
use super::{Role, Streams, check_limit, context, quality, tracks};
use crate::driver::{EventLoop, PeerId};
use crate::proto::peer::{MediaKind, SignalingState, TransceiverConfig, TransceiverId};

impl Streams {
    /// Adds the tracks of a stream to a peer, and sends them once it is connected. A negotiation follows: the peer
    /// answers an offer, which it may or may not have been given already, or makes one.
    ///
    /// # Errors
    ///
    /// Returns [`StreamError::NoSuchStream`], [`StreamError::LimitReached`], [`StreamError::PeerTaken`] or
    /// [`StreamError::Peer`].
    pub fn add_viewer(
        &mut self,
        net: &mut EventLoop,
        name: &str,
        peer: PeerId,
    ) -> Result<(), StreamError> {
        let key = self.key(name)?;
        if self.peers.contains_key(&peer) {
            return Err(StreamError::PeerTaken);
        }
        let stream = &mut self.streams[key];
        check_limit("max_viewers", self.viewers, self.config.max_viewers)?;
        let limit = self.config.max_viewers_per_stream;
        check_limit("max_viewers_per_stream", stream.viewers(), limit)?;
        let tracks = add_tracks(net, peer, stream.viewer_tracks())?;
        let now = Instant::now();
        let mut ctx = context(net, &self.config, self.epoch, &self.peer, now);
        stream.add_viewer(&mut ctx, peer, tracks);
        let role = Role::Viewer {
            stream: key,
            since: now,
        };
        self.peers.insert(peer, role);
        self.viewers += 1;
        let news = ctx.outcome;
        self.tell(net, key, news);
        Ok(())
    }

    /// Removes a viewer; its tracks are removed from the peer, unless that is closed. Does nothing for other peers.
    pub fn remove_viewer(&mut self, net: &mut EventLoop, peer: PeerId) {
        let Some(Role::Viewer { stream: key, .. }) = self.peers.get(&peer).copied() else {
            return;
        };
        self.peers.remove(&peer);
        self.viewers = self.viewers.saturating_sub(1);
        let stream = &mut self.streams[key];
        for track in &stream.tracks {
            let leg = track.leg(peer).map(|leg| leg.transceiver);
            if let (Some(transceiver), Ok(mut peer)) = (leg, net.peer(peer)) {
                // A closed peer has no tracks to remove.
                let _ = peer.remove_track(transceiver);
            }
        }
        stream.remove_viewer(peer, Instant::now());
    }

    /// Returns the number of viewers of all streams.
    pub fn viewer_count(&self) -> usize {
        self.viewers
    }

    /// Returns the statistics of a viewer; `None` for other peers.
    pub fn viewer_stats(&self, peer: PeerId) -> Option<ViewerStats> {
        let Some(Role::Viewer { stream, since }) = self.peers.get(&peer).copied() else {
            return None;
        };
        let stream = self.streams.get(stream)?;
        let legs = stream
            .tracks
            .iter()
            .filter_map(|t| Some((t.kind, t.leg(peer)?)));
        let first = legs
            .clone()
            .filter_map(|(_, leg)| leg.state.first_sent)
            .min();
        Some(ViewerStats {
            peer,
            stream: stream.name.clone(),
            since,
            first_sent_after: first.map(|at| at.saturating_duration_since(since)),
            tracks: legs.map(|(kind, leg)| tracks::stats(kind, leg)).collect(),
        })
    }

    /// Returns the viewers of a stream, and of its second one.
    pub fn viewers(&self, name: &str) -> Vec<PeerId> {
        let Some(key) = self.names.get(name) else {
            return Vec::new();
        };
        let sub = self.names.get(&quality::sub_of(name));
        let of = |(peer, role): (&PeerId, &Role)| match role {
            Role::Viewer { stream, .. } if stream == key || Some(stream) == sub => Some(*peer),
            _ => None,
        };
        self.peers.iter().filter_map(of).collect()
    }
}

/// Adds all of these tracks to a peer, or none. If the peer has an offer, only those that it asks for.
fn add_tracks(
    net: &mut EventLoop,
    peer: PeerId,
    tracks: Vec<(MediaKind, TransceiverConfig)>,
) -> Result<Vec<(MediaKind, TransceiverId)>, StreamError> {
    let closed = |_| StreamError::Peer(crate::proto::peer::PeerError::Closed);
    let mut peer = net.peer(peer).map_err(closed)?;
    let has_offer = peer.signaling_state() == SignalingState::HaveRemoteOffer;
    let mut added = Vec::new();
    for (kind, config) in tracks {
        let asked = peer.transceivers().iter().any(|t| t.kind == kind);
        if has_offer && !asked {
            continue;
        }
        match peer.add_track(kind, config) {
            Ok(transceiver) => added.push((kind, transceiver)),
            Err(error) => {
                for (_, transceiver) in added {
                    // It was added just now.
                    let _ = peer.remove_track(transceiver);
                }
                return Err(error.into());
            }
        }
    }
    Ok(added)
}
