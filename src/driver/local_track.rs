//! A local track that is sent to many peers.

use std::sync::Arc;

use super::peers::Queued;
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
    /// Bounded by the peers of the loop.
    senders: Vec<Sender>,
}

#[derive(Debug)]
struct Sender {
    peer: PeerId,
    transceiver: TransceiverId,
    is_bound: bool,
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
            senders: Vec::new(),
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
        self.senders.push(Sender {
            peer,
            transceiver,
            is_bound: false,
        });
        Ok(transceiver)
    }

    /// Removes the track from a peer ([`Peer::remove_track`](crate::proto::peer::Peer::remove_track)). A
    /// [`NegotiationNeeded`](PeerEvent::NegotiationNeeded) event follows.
    pub fn remove_from(&mut self, net: &mut EventLoop, peer: PeerId) {
        for sender in self.senders.extract_if(.., |s| s.peer == peer) {
            if let Ok(mut peer) = net.peer(peer) {
                // A closed peer has no track to remove.
                let _ = peer.remove_track(sender.transceiver);
            }
        }
    }

    /// Handles any event of a peer. Returns its meaning for this track, if it concerns it.
    pub fn handle_event(&mut self, peer: PeerId, event: &PeerEvent) -> Option<LocalTrackEvent> {
        let (transceiver, news) = match event {
            PeerEvent::TrackBound { transceiver, codec } => {
                (transceiver, LocalTrackEvent::Bound(codec.clone()))
            }
            PeerEvent::TrackUnbound(transceiver) | PeerEvent::TransceiverStopped(transceiver) => {
                (transceiver, LocalTrackEvent::Unbound)
            }
            PeerEvent::KeyframeRequest {
                transceiver, kind, ..
            } => (transceiver, LocalTrackEvent::KeyframeRequest(*kind)),
            PeerEvent::ConnectionStateChange(ConnectionState::Closed) => {
                self.senders.retain(|s| s.peer != peer);
                return None;
            }
            _ => return None,
        };
        let mut senders = self.senders.iter();
        let index = senders.position(|s| s.peer == peer && s.transceiver == *transceiver)?;
        match &news {
            LocalTrackEvent::Bound(_) => self.senders[index].is_bound = true,
            LocalTrackEvent::Unbound => {
                let was_bound = std::mem::take(&mut self.senders[index].is_bound);
                if matches!(event, PeerEvent::TransceiverStopped(_)) {
                    self.senders.swap_remove(index);
                }
                return was_bound.then_some(news);
            }
            LocalTrackEvent::KeyframeRequest(_) => {}
        }
        Some(news)
    }

    /// Queues a frame for all peers that receive the track, to be sent in the next turn. Returns the number of those
    /// peers.
    ///
    /// A peer that refuses it (see [`Peer::write_frame`](crate::proto::peer::Peer::write_frame)), or has 4,096 items
    /// queued, misses it; the log says so.
    pub fn write_frame(&self, net: &mut EventLoop, frame: &EncodedFrame) -> usize {
        self.write(net, &Queued::Frame(Arc::new(frame.clone())))
    }

    /// Queues a packet for all peers that receive the track, to be sent in the next turn. Returns the number of those
    /// peers, which must be in [`MediaMode::Packets`](crate::proto::peer::MediaMode::Packets).
    ///
    /// A peer that refuses it (see [`Peer::write_rtp`](crate::proto::peer::Peer::write_rtp)), or has 4,096 items
    /// queued, misses it; the log says so.
    pub fn write_rtp(&self, net: &mut EventLoop, packet: &RtpPacket) -> usize {
        self.write(net, &Queued::Packet(Arc::new(packet.clone())))
    }

    /// Returns the number of peers that receive the track now.
    pub fn bound(&self) -> usize {
        self.senders.iter().filter(|s| s.is_bound).count()
    }

    /// Iterates over the peers that the track was added to.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.senders.iter().map(|s| s.peer)
    }

    fn write(&self, net: &mut EventLoop, media: &Queued) -> usize {
        let bound = self.senders.iter().filter(|s| s.is_bound);
        bound
            .filter(|s| net.queue(s.peer, s.transceiver, media.clone()))
            .count()
    }
}
