//! One track for many peers.

use std::sync::Arc;

use super::peers::Queued;
use super::{EventLoop, PeerId};
use crate::proto::peer::{
    CodecParameters, ConnectionState, EncodedFrame, KeyframeRequestKind, MediaKind, PeerError,
    PeerEvent, RtpPacket, TransceiverConfig, TransceiverId,
};

/// A track of ours that any number of peers are sent (pion: `TrackLocal`). It knows which of them can be
/// written to, and writes to those.
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

/// What an event meant for a [`LocalTrack`].
#[derive(Debug, Clone, PartialEq)]
pub enum LocalTrackEvent {
    /// A peer takes it from now on, in this codec (pion: `Bind`).
    Bound(CodecParameters),
    /// A peer takes it no more (pion: `Unbind`).
    Unbound,
    /// A peer asks for a keyframe.
    KeyframeRequest(KeyframeRequestKind),
}

impl LocalTrack {
    /// A track that nobody is sent yet. `config` tells its names and codecs.
    pub fn new(kind: MediaKind, config: TransceiverConfig) -> Self {
        Self {
            kind,
            config,
            senders: Vec::new(),
        }
    }

    /// Adds it to a peer ([`Peer::add_track`](crate::proto::peer::Peer::add_track)). A negotiation
    /// follows.
    ///
    /// # Errors
    ///
    /// As there.
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

    /// Takes it from a peer ([`Peer::remove_track`](crate::proto::peer::Peer::remove_track)). A
    /// negotiation follows.
    pub fn remove_from(&mut self, net: &mut EventLoop, peer: PeerId) {
        for sender in self.senders.extract_if(.., |s| s.peer == peer) {
            if let Ok(mut peer) = net.peer(peer) {
                // A peer that is closed sends it no more either.
                let _ = peer.remove_track(sender.transceiver);
            }
        }
    }

    /// Tells it of an event of a peer, any event. What that meant for this track, if anything.
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

    /// Sends a frame to all that take it, in the next turn. To how many.
    ///
    /// A peer that refuses it (see [`Peer::write_frame`](crate::proto::peer::Peer::write_frame)), or has 4,096
    /// waiting, misses it; the log tells.
    pub fn write_frame(&self, net: &mut EventLoop, frame: &EncodedFrame) -> usize {
        self.write(net, &Queued::Frame(Arc::new(frame.clone())))
    }

    /// Sends a packet to all that take it, each a peer in
    /// [`MediaMode::Packets`](crate::proto::peer::MediaMode::Packets), in the next turn. To how many.
    ///
    /// A peer that refuses it (see [`Peer::write_rtp`](crate::proto::peer::Peer::write_rtp)), or has 4,096
    /// waiting, misses it; the log tells.
    pub fn write_rtp(&self, net: &mut EventLoop, packet: &RtpPacket) -> usize {
        self.write(net, &Queued::Packet(Arc::new(packet.clone())))
    }

    /// How many take it now.
    pub fn bound(&self) -> usize {
        self.senders.iter().filter(|s| s.is_bound).count()
    }

    /// The peers it was added to.
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
