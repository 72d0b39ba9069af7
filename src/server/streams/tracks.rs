//! The video or the audio of a stream: incoming media in one or several codecs, and the viewers that get it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::Cache;
use super::config::StreamsConfig;
use super::info::{Meter, ViewerTrack};
use crate::driver::peers::Queued;
use crate::driver::{EventLoop, PeerId};
use crate::proto::media::Codec;
use crate::proto::peer::{MediaKind, PeerEvent, TransceiverId};

/// Minimum interval of repetitions of the cache for a viewer.
const AGAIN: Duration = Duration::from_secs(1);

/// The cache is sent in portions, so that neither the path nor the peer's queues have to take it all at once: 64 KiB
/// every 5 ms are 100 Mbit/s.
const PORTION: usize = 64 * 1024;
const PAUSE: Duration = Duration::from_millis(5);

/// Maximum number of packets or frames queued for that; beyond it a viewer waits for the next keyframe.
const MAX_PENDING: usize = 8192;

/// Incoming media in one codec.
#[derive(Debug)]
pub(super) struct Feed {
    pub codec: Codec,
    /// Used for video only.
    cache: Cache,
}

/// The track of a viewer.
#[derive(Debug)]
pub(super) struct Leg {
    pub peer: PeerId,
    pub transceiver: TransceiverId,
    /// Set if its answer has only the codecs of the publisher at that time.
    pub is_settled: bool,
    /// The feed it gets; `None` if it is not bound, or not to a codec of the stream.
    feed: Option<usize>,
    /// The codec it is bound to.
    bound: Option<Codec>,
    /// Set once it was sent a keyframe; it then gets everything after it.
    flowing: bool,
    /// Time since which it waits for a keyframe.
    waiting_since: Option<Instant>,
    again_at: Option<Instant>,
    /// Media to be sent in portions, and everything after it.
    pending: VecDeque<Queued>,
    sent: u64,
    bytes: u64,
    keyframe_requests: u64,
    pub first_sent: Option<Instant>,
}

/// Result of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing to do.
    Done,
    /// Request a keyframe from the source.
    WantsKeyframe,
    /// The viewer has not negotiated the codec.
    Undecodable { codec: Codec },
}

#[derive(Debug)]
pub(super) struct Track {
    pub kind: MediaKind,
    pub feeds: Vec<Feed>,
    /// Limited by the viewers of a stream.
    pub legs: Vec<Leg>,
    /// Number of packets over all feeds.
    pub packets: u64,
    pub bytes: u64,
    pub keyframes: u64,
    pub sent: u64,
    pub keyframe_requests: u64,
    meter: Meter,
    /// When the next portions are due.
    flush_at: Option<Instant>,
}

impl Track {
    pub fn new(kind: MediaKind) -> Self {
        Self {
            kind,
            feeds: Vec::new(),
            legs: Vec::new(),
            packets: 0,
            bytes: 0,
            keyframes: 0,
            sent: 0,
            keyframe_requests: 0,
            meter: Meter::default(),
            flush_at: None,
        }
    }

    pub fn bitrate(&self, now: Instant) -> u64 {
        self.meter.rate(now)
    }

    /// Sets the codecs of incoming media, of which those of this kind are used. Existing feeds are kept; viewers whose
    /// feed changes have to be reconnected.
    pub fn set_codecs(&mut self, codecs: &[Codec]) {
        let kind = self.kind;
        let wanted: Vec<Codec> = codecs
            .iter()
            .copied()
            .filter(|c| MediaKind::of(*c) == kind)
            .collect();
        if self
            .feeds
            .iter()
            .map(|f| f.codec)
            .eq(wanted.iter().copied())
        {
            return;
        }
        self.feeds = wanted
            .into_iter()
            .map(|codec| Feed {
                codec,
                cache: Cache::default(),
            })
            .collect();
        for leg in &mut self.legs {
            leg.feed = None;
            leg.flowing = false;
            leg.pending = VecDeque::new();
        }
    }

    /// Handles a new or restarted source: the caches do not continue.
    pub fn restart(&mut self, now: Instant) {
        for feed in &mut self.feeds {
            feed.cache.clear();
        }
        for leg in &mut self.legs {
            leg.flowing = false;
            leg.waiting_since = Some(now);
        }
    }

    pub fn add_leg(&mut self, peer: PeerId, transceiver: TransceiverId, is_settled: bool) {
        self.legs.push(Leg {
            peer,
            transceiver,
            is_settled,
            feed: None,
            bound: None,
            flowing: false,
            waiting_since: None,
            again_at: None,
            pending: VecDeque::new(),
            sent: 0,
            bytes: 0,
            keyframe_requests: 0,
            first_sent: None,
        });
    }

    pub fn remove_leg(&mut self, peer: PeerId) {
        self.legs.retain(|leg| leg.peer != peer);
        // So that the memory of a large audience is released.
        if self.legs.len() < self.legs.capacity() / 4 {
            self.legs.shrink_to(2 * self.legs.len());
        }
    }

    pub fn leg(&self, peer: PeerId) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.peer == peer)
    }

    /// Handles an event of a viewer's peer.
    pub fn handle_event(
        &mut self,
        net: &mut EventLoop,
        peer: PeerId,
        event: &PeerEvent,
        now: Instant,
    ) -> Outcome {
        let (PeerEvent::TrackBound { transceiver, .. }
        | PeerEvent::TrackUnbound(transceiver)
        | PeerEvent::TransceiverStopped(transceiver)
        | PeerEvent::KeyframeRequest { transceiver, .. }) = event
        else {
            return Outcome::Done;
        };
        let mut legs = self.legs.iter();
        let is_it = |leg: &Leg| leg.peer == peer && leg.transceiver == *transceiver;
        let Some(index) = legs.position(is_it) else {
            return Outcome::Done;
        };
        match event {
            PeerEvent::TrackBound { codec, .. } => {
                self.legs[index].bound = Some(codec.codec);
                self.connect(net, index, now)
            }
            PeerEvent::KeyframeRequest { .. } => self.refresh(net, index, now),
            PeerEvent::TrackUnbound(_) => {
                let leg = &mut self.legs[index];
                (leg.feed, leg.bound, leg.flowing) = (None, None, false);
                leg.pending = VecDeque::new();
                Outcome::Done
            }
            _ => {
                self.legs.swap_remove(index);
                Outcome::Done
            }
        }
    }

    /// Selects the feed of a leg, and starts it.
    pub fn connect(&mut self, net: &mut EventLoop, index: usize, now: Instant) -> Outcome {
        let Some(leg) = self.legs.get_mut(index) else {
            return Outcome::Done;
        };
        let Some(bound) = leg.bound else {
            return Outcome::Done;
        };
        let Some(first) = self.feeds.first() else {
            return Outcome::Done;
        };
        let first = first.codec;
        let Some(feed) = self.feeds.iter().position(|f| f.codec == bound) else {
            leg.feed = None;
            // With another codec, if it was negotiated, the peer reports that it is bound again.
            let mut peer = net.peer(leg.peer).ok();
            let replaced = self.feeds.iter().any(|feed| {
                let peer = peer.as_mut();
                peer.is_some_and(|p| p.replace_track(leg.transceiver, Some(feed.codec)).is_ok())
            });
            return match replaced {
                true => Outcome::Done,
                false => Outcome::Undecodable { codec: first },
            };
        };
        if leg.feed == Some(feed) && leg.flowing {
            return Outcome::Done;
        }
        leg.feed = Some(feed);
        leg.waiting_since = Some(now);
        if self.kind == MediaKind::Audio {
            leg.flowing = true;
            return Outcome::Done;
        }
        let burst = self.feeds[feed].cache.burst();
        if burst.is_empty() {
            let still = self.feeds[feed].cache.still();
            self.sent += still.map_or(0, |media| leg.send(net, media, now));
            return Outcome::WantsKeyframe;
        }
        leg.flowing = true;
        leg.pending = burst.into();
        self.sent += leg.flush(net, now);
        self.schedule(index, now);
        Outcome::Done
    }

    /// Schedules further portions for this leg.
    fn schedule(&mut self, index: usize, now: Instant) {
        if !self.legs[index].pending.is_empty() {
            self.flush_at.get_or_insert(now + PAUSE);
        }
    }

    /// Sends the next portions, if they are due.
    pub fn flush(&mut self, net: &mut EventLoop, now: Instant) {
        if self.flush_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        for leg in self.legs.iter_mut().filter(|l| !l.pending.is_empty()) {
            self.sent += leg.flush(net, now);
            if !leg.pending.is_empty() {
                self.flush_at = Some(now + PAUSE);
            }
        }
    }

    /// Returns when [`flush`](Self::flush) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.flush_at
    }

    /// Handles a keyframe request of a viewer: sends the cache again, if possible.
    fn refresh(&mut self, net: &mut EventLoop, index: usize, now: Instant) -> Outcome {
        self.keyframe_requests += 1;
        let leg = &mut self.legs[index];
        leg.keyframe_requests += 1;
        let Some(feed) = leg.feed.and_then(|f| self.feeds.get(f)) else {
            return Outcome::Done;
        };
        // It cannot have decoded what was sent a moment ago.
        let is_soon = leg.again_at.is_some_and(|at| now < at);
        if is_soon {
            return Outcome::Done;
        }
        let again = feed.cache.again();
        if again.is_empty() {
            return Outcome::WantsKeyframe;
        }
        leg.again_at = Some(now + AGAIN);
        if leg.pending.is_empty() {
            leg.pending = again.into();
            self.sent += leg.flush(net, now);
            self.schedule(index, now);
        }
        Outcome::Done
    }

    /// Sends media to all viewers with this codec. `is_key`: a keyframe starts in it.
    pub fn write(
        &mut self,
        net: &mut EventLoop,
        codec: Codec,
        media: Queued,
        is_key: bool,
        config: &StreamsConfig,
        now: Instant,
    ) {
        let Some(index) = self.feeds.iter().position(|f| f.codec == codec) else {
            return;
        };
        let size = size(&media);
        self.packets += 1;
        self.bytes += size as u64;
        self.meter.add(size, now);
        if self.kind == MediaKind::Video {
            self.keyframes += u64::from(is_key);
            let feed = &mut self.feeds[index];
            feed.cache.push(&media, is_key, config, now);
        }
        let patience = config.keyframe_patience;
        for leg in self.legs.iter_mut().filter(|l| l.feed == Some(index)) {
            if !leg.flowing {
                let waited = leg.waiting_since.get_or_insert(now);
                leg.flowing = is_key || now.saturating_duration_since(*waited) >= patience;
            }
            if leg.flowing {
                self.sent += leg.send(net, media.clone(), now);
            }
        }
    }

    /// Returns `true` if a viewer waits for a keyframe.
    pub fn wants_keyframe(&self) -> bool {
        self.legs.iter().any(|l| l.feed.is_some() && !l.flowing)
    }
}

impl Leg {
    /// Sends a portion of the queue; returns the number of items sent.
    fn flush(&mut self, net: &mut EventLoop, now: Instant) -> u64 {
        let (mut sent, mut bytes) = (0, 0);
        while bytes < PORTION
            && let Some(media) = self.pending.pop_front()
        {
            bytes += size(&media);
            sent += self.send_now(net, media, now);
        }
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
        sent
    }

    /// Sends after the queued items; returns the number of items sent.
    fn send(&mut self, net: &mut EventLoop, media: Queued, now: Instant) -> u64 {
        if self.pending.is_empty() {
            return self.send_now(net, media, now);
        }
        if self.pending.len() >= MAX_PENDING {
            self.pending = VecDeque::new();
            self.flowing = false;
            return 0;
        }
        self.pending.push_back(media);
        0
    }

    fn send_now(&mut self, net: &mut EventLoop, media: Queued, now: Instant) -> u64 {
        let size = size(&media);
        if !net.queue(self.peer, self.transceiver, media) {
            return 0;
        }
        self.sent += 1;
        self.bytes += size as u64;
        self.first_sent.get_or_insert(now);
        1
    }

    pub fn stats(&self, kind: MediaKind) -> ViewerTrack {
        ViewerTrack {
            kind,
            codec: self.bound.filter(|_| self.feed.is_some()),
            sent: self.sent,
            bytes: self.bytes,
            keyframe_requests: self.keyframe_requests,
        }
    }
}

/// Wraps a frame that all viewers share.
pub(super) fn shared_frame(frame: crate::proto::peer::EncodedFrame) -> Queued {
    Queued::Frame(Arc::new(frame))
}

fn size(media: &Queued) -> usize {
    match media {
        Queued::Packet(packet) => packet.payload.len(),
        Queued::Frame(frame) => frame.data.len(),
    }
}
