//! A local track that is sent to many peers.

use std::sync::Arc;

use super::senders::{SenderEvent, Senders};
use super::shared_media::SharedMedia;
use super::{EventLoop, PeerId};
use crate::proto::peer::{
    CodecParameters, ConnectionState, EncodedFrame, KeyframeRequestKind, MediaKind, PeerError,
    PeerEvent, RtpPacket, TransceiverConfig, TransceiverId,
};

/// A local track sent to any number of peers (pion: `TrackLocal`). It tracks which of them have negotiated it, and
/// writes to those.
///
/// ```no_run
/// # use looprtc::driver::{EventLoop, LoopConfig, LocalTrack};
/// # use looprtc::proto::peer::{EncodedFrame, MediaKind, PeerConfig, TransceiverConfig};
/// # use std::time::Duration;
/// # let mut net = EventLoop::new(LoopConfig::default())?;
/// let mut camera = LocalTrack::new(MediaKind::Video, TransceiverConfig::default());
/// let viewer = net.add_peer(PeerConfig::default())?;
/// camera.add_to(&mut net, viewer)?;
/// while let Some((peer, event)) = net.next_event(None)? {
///     camera.handle_event(peer, &event);
///     # let (data, time) = (vec![], Duration::ZERO);
///     camera.write_frame(&mut net, &EncodedFrame::new(data, time));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LocalTrack {
    kind: MediaKind,
    config: TransceiverConfig,
    senders: Senders<()>,
}

/// Meaning of an event for a [`LocalTrack`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum LocalTrackEvent {
    /// A peer has negotiated the track with this codec; media is sent to it from now on (pion: `Bind`).
    Bound(CodecParameters),
    /// A peer no longer receives the track (pion: `Unbind`).
    Unbound,
    /// A peer requests a keyframe.
    KeyframeRequest(KeyframeRequestKind),
}

impl LocalTrack {
    /// Creates a track without peers. `config` contains its ids and codecs.
    pub fn new(kind: MediaKind, config: TransceiverConfig) -> Self {
        Self {
            kind,
            config,
            senders: Senders::default(),
        }
    }

    /// Adds the track to a peer ([`Peer::add_track`](crate::proto::peer::Peer::add_track)). A
    /// [`NegotiationNeeded`](PeerEvent::NegotiationNeeded) event follows.
    ///
    /// # Errors
    ///
    /// The errors of `add_track`.
    pub fn add_to(
        &mut self,
        net: &mut EventLoop,
        peer: PeerId,
    ) -> Result<TransceiverId, PeerError> {
        let mut to = net.peer(peer).map_err(|_| PeerError::Closed)?;
        let transceiver = to.add_track(self.kind, self.config.clone())?;
        self.senders.add(peer, transceiver, ());
        Ok(transceiver)
    }

    /// Removes the track from a peer ([`Peer::remove_track`](crate::proto::peer::Peer::remove_track)). A
    /// [`NegotiationNeeded`](PeerEvent::NegotiationNeeded) event follows.
    pub fn remove_from(&mut self, net: &mut EventLoop, peer: PeerId) {
        for transceiver in self.senders.remove(peer) {
            if let Ok(mut peer) = net.peer(peer) {
                // A closed peer has no track to remove.
                let _ = peer.remove_track(transceiver);
            }
        }
    }

    /// Handles any event of a peer. Returns its meaning for this track, if it concerns it.
    pub fn handle_event(&mut self, peer: PeerId, event: &PeerEvent) -> Option<LocalTrackEvent> {
        if let PeerEvent::ConnectionStateChange(ConnectionState::Closed) = event {
            self.senders.remove(peer);
            return None;
        }
        match self.senders.handle_event(peer, event)?.1 {
            SenderEvent::Bound(codec) => Some(LocalTrackEvent::Bound(codec.clone())),
            SenderEvent::Unbound { was_bound } | SenderEvent::Stopped { was_bound } => {
                was_bound.then_some(LocalTrackEvent::Unbound)
            }
            SenderEvent::KeyframeRequest(kind) => Some(LocalTrackEvent::KeyframeRequest(kind)),
        }
    }

    /// Queues a frame for all peers that receive the track, to be sent in the next turn. Returns the number of those
    /// peers.
    ///
    /// A peer that refuses it (see [`Peer::write_frame`](crate::proto::peer::Peer::write_frame)), or has 4,096 items
    /// queued, misses it; the log says so.
    pub fn write_frame(&self, net: &mut EventLoop, frame: &EncodedFrame) -> usize {
        let media = SharedMedia::Frame(Arc::new(frame.clone()));
        self.senders.send(net, &media)
    }

    /// Queues a packet for all peers that receive the track, to be sent in the next turn. Returns the number of those
    /// peers, which must be in [`MediaMode::Packets`](crate::proto::peer::MediaMode::Packets).
    ///
    /// A peer that refuses it (see [`Peer::write_rtp`](crate::proto::peer::Peer::write_rtp)), or has 4,096 items
    /// queued, misses it; the log says so.
    pub fn write_rtp(&self, net: &mut EventLoop, packet: &RtpPacket) -> usize {
        let media = SharedMedia::Packet(Arc::new(packet.clone()));
        self.senders.send(net, &media)
    }

    /// Returns the number of peers that receive the track now.
    pub fn bound(&self) -> usize {
        self.senders.iter().filter(|s| s.codec.is_some()).count()
    }

    /// Iterates over the peers that the track was added to.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.senders.iter().map(|s| s.peer)
    }
}
