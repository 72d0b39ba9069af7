//! A track of a participant, and its subscriptions.

use std::time::{Duration, Instant};

use super::forward::{Forwarder, LAYERS, Layer, Look};
use super::ids::ParticipantId;
use crate::driver::PeerId;
use crate::proto::peer::{MediaKind, ReceivedPacket, RemoteTrack, TransceiverId};

/// A layer without packets for this time is inactive.
const SILENT: Duration = Duration::from_millis(1500);

/// Window over which rates are measured.
const WINDOW: Duration = Duration::from_secs(1);

/// A track of a participant.
#[derive(Debug)]
pub(super) struct Source {
    pub transceiver: TransceiverId,
    pub kind: MediaKind,
    pub is_layered: bool,
    pub subscriptions: Vec<Subscription>,
    layers: [Incoming; LAYERS.len()],
}

/// Subscription of a participant to a source.
#[derive(Debug)]
pub(super) struct Subscription {
    pub subscriber: ParticipantId,
    pub peer: PeerId,
    pub transceiver: TransceiverId,
    /// Set if the receiver's m-line can be written to.
    pub is_bound: bool,
    pub forwarder: Forwarder,
}

/// Incoming packets of a layer.
#[derive(Debug, Default)]
struct Incoming {
    last: Option<Instant>,
    window: Option<Instant>,
    bytes: usize,
    bits_per_second: u64,
    asked: Option<Instant>,
    is_wanted: bool,
}

impl Source {
    pub fn new(track: &RemoteTrack) -> Self {
        Self {
            transceiver: track.transceiver,
            kind: track.kind,
            is_layered: !track.rids.is_empty(),
            subscriptions: Vec::new(),
            layers: Default::default(),
        }
    }

    /// Counts a packet.
    pub fn note(&mut self, packet: &ReceivedPacket, look: &Look, now: Instant) {
        let layer = &mut self.layers[look.layer];
        layer.last = Some(now);
        layer.bytes += packet.payload.len();
        let since = *layer.window.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= WINDOW {
            let bits = layer.bytes as u128 * 8 * 1000 / elapsed.as_millis().max(1);
            layer.bits_per_second = u64::try_from(bits).unwrap_or(u64::MAX);
            layer.window = Some(now);
            layer.bytes = 0;
        }
    }

    /// Returns the active layers, the smallest first, with their rates in bits per second.
    pub fn alive(&self, now: Instant) -> Vec<(Layer, u64)> {
        let layers = self.layers.iter().enumerate();
        layers
            .filter(|(_, l)| {
                l.last
                    .is_some_and(|last| now.saturating_duration_since(last) < SILENT)
            })
            .map(|(n, l)| (n, l.bits_per_second))
            .collect()
    }

    /// Returns the layer's rid in requests.
    pub fn rid(&self, layer: Layer) -> Option<&'static str> {
        self.is_layered.then(|| LAYERS[layer])
    }

    /// Records that a keyframe of this layer is needed.
    pub fn want_keyframe(&mut self, layer: Layer) {
        if self.kind == MediaKind::Video {
            self.layers[layer].is_wanted = true;
        }
    }

    /// Handles permanent packet loss in a layer: a keyframe is needed if the layer has subscribers.
    pub fn packets_lost(&mut self, rid: Option<&str>) {
        let layer = match rid {
            None => Some(0),
            Some(rid) => LAYERS.iter().position(|l| *l == rid),
        };
        let mut subscriptions = self.subscriptions.iter();
        let layer = layer.filter(|l| subscriptions.any(|s| s.forwarder.layer() == *l));
        if let Some(layer) = layer {
            self.want_keyframe(layer);
        }
    }

    /// Returns the layers to request a keyframe of now: those that need one and were not asked within the interval.
    pub fn keyframes_due(&mut self, interval: Duration, now: Instant) -> Vec<Layer> {
        let mut due = Vec::new();
        for (n, layer) in self.layers.iter_mut().enumerate() {
            let is_recent = |asked| now.saturating_duration_since(asked) < interval;
            if layer.is_wanted && !layer.asked.is_some_and(is_recent) {
                layer.is_wanted = false;
                layer.asked = Some(now);
                due.push(n);
            }
        }
        due
    }

    /// Subscribers that wait for a keyframe keep it needed while packets arrive.
    pub fn want_for_waiting(&mut self, now: Instant) {
        if self.alive(now).is_empty() {
            return;
        }
        for index in 0..self.subscriptions.len() {
            let subscription = &self.subscriptions[index];
            let waits = subscription.forwarder.waits_for();
            if let Some(layer) = waits.filter(|_| subscription.is_bound) {
                self.want_keyframe(layer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_are_asked_for_once_in_an_interval() {
        let mut source = Source {
            transceiver: super::super::tests::some_transceiver(),
            kind: MediaKind::Video,
            is_layered: true,
            subscriptions: Vec::new(),
            layers: Default::default(),
        };
        let t0 = Instant::now();
        let interval = Duration::from_millis(500);
        assert!(source.keyframes_due(interval, t0).is_empty());
        source.want_keyframe(0);
        source.want_keyframe(0);
        source.want_keyframe(2);
        assert_eq!(source.keyframes_due(interval, t0), [0, 2]);
        source.want_keyframe(0);
        let soon = t0 + Duration::from_millis(100);
        assert!(source.keyframes_due(interval, soon).is_empty());
        assert_eq!(source.keyframes_due(interval, t0 + interval), [0]);
        assert_eq!((source.rid(0), source.rid(2)), (Some("q"), Some("f")));
    }
}
