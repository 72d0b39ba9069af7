//! The peers that one local track is sent to: what `LocalTrack` and the tracks of streams have in common.

use super::shared_media::SharedMedia;
use super::{EventLoop, PeerId};
use crate::proto::media::Codec;
use crate::proto::peer::{CodecParameters, KeyframeRequestKind, PeerEvent, TransceiverId};

/// A peer that the track was added to, with what the track's owner keeps about it.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    pub peer: PeerId,
    pub transceiver: TransceiverId,
    /// The codec that the peer has negotiated for the track; `None` if it does not receive it.
    pub codec: Option<Codec>,
    pub state: T,
}

impl<T> Sender<T> {
    /// Queues media to be sent in the next turn. Returns `false` if the peer is gone or has too much queued.
    pub fn send(&self, net: &mut EventLoop, media: SharedMedia) -> bool {
        net.queue(self.peer, self.transceiver, media)
    }
}

/// Meaning of a peer's event for a track that is sent to it.
#[derive(Debug)]
pub(crate) enum SenderEvent<'a> {
    /// The peer has negotiated the track with this codec.
    Bound(&'a CodecParameters),
    /// The peer no longer receives the track.
    Unbound { was_bound: bool },
    /// The transceiver has stopped, and the sender was removed.
    Stopped { was_bound: bool },
    /// The peer requests a keyframe.
    KeyframeRequest(KeyframeRequestKind),
}

/// The senders of a track, limited by the peers of the loop.
#[derive(Debug)]
pub(crate) struct Senders<T>(Vec<Sender<T>>);

impl<T> Default for Senders<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Senders<T> {
    pub fn add(&mut self, peer: PeerId, transceiver: TransceiverId, state: T) {
        self.0.push(Sender {
            peer,
            transceiver,
            codec: None,
            state,
        });
    }

    /// Removes all senders of a peer, and returns their transceivers.
    pub fn remove(&mut self, peer: PeerId) -> Vec<TransceiverId> {
        let removed = self.0.extract_if(.., |s| s.peer == peer);
        let transceivers = removed.map(|s| s.transceiver).collect();
        // The memory of a large audience is released.
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(2 * self.0.len());
        }
        transceivers
    }

    /// Handles any event of a peer. Returns the sender's index, which is out of date once it has stopped, and what the
    /// event means for it; `None` if it does not concern this track.
    pub fn handle_event<'a>(
        &mut self,
        peer: PeerId,
        event: &'a PeerEvent,
    ) -> Option<(usize, SenderEvent<'a>)> {
        let (PeerEvent::TrackBound { transceiver, .. }
        | PeerEvent::TrackUnbound(transceiver)
        | PeerEvent::TransceiverStopped(transceiver)
        | PeerEvent::KeyframeRequest { transceiver, .. }) = event
        else {
            return None;
        };
        let is_it = |s: &Sender<T>| s.peer == peer && s.transceiver == *transceiver;
        let index = self.0.iter().position(is_it)?;
        let was_bound = self.0[index].codec.is_some();
        let news = match event {
            PeerEvent::TrackBound { codec, .. } => {
                self.0[index].codec = Some(codec.codec);
                SenderEvent::Bound(codec)
            }
            PeerEvent::KeyframeRequest { kind, .. } => SenderEvent::KeyframeRequest(*kind),
            PeerEvent::TrackUnbound(_) => {
                self.0[index].codec = None;
                SenderEvent::Unbound { was_bound }
            }
            _ => {
                self.0.swap_remove(index);
                SenderEvent::Stopped { was_bound }
            }
        };
        Some((index, news))
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Sender<T>> {
        self.0.iter()
    }

    /// Queues media for all bound senders, to be sent in the next turn. Returns the number of peers that took it.
    pub fn send(&self, net: &mut EventLoop, media: &SharedMedia) -> usize {
        let bound = self.0.iter().filter(|s| s.codec.is_some());
        bound.filter(|s| s.send(net, media.clone())).count()
    }
}

#[cfg(feature = "server")]
impl<T> Senders<T> {
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Sender<T>> {
        self.0.iter_mut()
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut Sender<T>> {
        self.0.get_mut(index)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the first sender of a peer.
    pub fn of(&self, peer: PeerId) -> Option<&Sender<T>> {
        self.0.iter().find(|s| s.peer == peer)
    }
}
