//! The pictures, or the sound, of a stream: what comes, in one codec or several, and who is sent it.

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

/// How often a viewer is sent what is kept once more.
const AGAIN: Duration = Duration::from_secs(1);

/// What is kept goes out in portions, so that neither the path nor the peer's queues have to take all at once: 64 KiB
/// each 5 ms are 100 Mbit/s.
const PORTION: usize = 64 * 1024;
const PAUSE: Duration = Duration::from_millis(5);

/// Packets or frames that wait for that; a viewer that has more waits for the next keyframe.
const MAX_PENDING: usize = 8192;

/// What comes, in one codec.
#[derive(Debug)]
pub(super) struct Feed {
    pub codec: Codec,
    /// Of pictures.
    cache: Cache,
}

/// A viewer's end of a track.
#[derive(Debug)]
pub(super) struct Leg {
    pub peer: PeerId,
    pub transceiver: TransceiverId,
    /// Its answer had no codecs but those of the publisher that was there.
    pub is_settled: bool,
    /// What it is sent; `None`: it is not bound, or not to any codec that comes.
    feed: Option<usize>,
    /// In what it is bound.
    bound: Option<Codec>,
    /// It has been sent a keyframe, and is sent all that follows.
    flowing: bool,
    /// Since when it waits for one.
    waiting_since: Option<Instant>,
    again_at: Option<Instant>,
    /// What is to be sent in portions, and all that has come since.
    pending: VecDeque<Queued>,
    sent: u64,
    bytes: u64,
    keyframe_requests: u64,
    pub first_sent: Option<Instant>,
}

/// What has become of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing is to be done.
    Done,
    /// The source should be asked for a keyframe.
    WantsKeyframe,
    /// What comes was not agreed to.
    Undecodable { codec: Codec },
}

#[derive(Debug)]
pub(super) struct Track {
    pub kind: MediaKind,
    pub feeds: Vec<Feed>,
    /// Bounded by the viewers of a stream.
    pub legs: Vec<Leg>,
    /// What all feeds together have brought.
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

    /// What comes from now on, of these those of its kind. Feeds that stay are kept; whoever is sent another
    /// one is to be bound anew.
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

    /// The source is another one, or begins anew: what is kept does not go on.
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
        // So that a crowd that has gone does not stay in memory.
        if self.legs.len() < self.legs.capacity() / 4 {
            self.legs.shrink_to(2 * self.legs.len());
        }
    }

    pub fn leg(&self, peer: PeerId) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.peer == peer)
    }

    /// An event of a viewer's peer.
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

    /// Finds out what a leg is sent, and begins with it.
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
            // With another codec, if it was agreed upon, the peer says that it is bound once more.
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

    /// More of what this leg waits for goes out later.
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

    /// When [`flush`](Self::flush) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.flush_at
    }

    /// A viewer asks for a keyframe: it is sent what is kept once more, where that can be.
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

    /// Gives what has come to all that are sent this codec. `is_key`: a keyframe begins in it.
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

    /// Whether a viewer waits for a keyframe.
    pub fn wants_keyframe(&self) -> bool {
        self.legs.iter().any(|l| l.feed.is_some() && !l.flowing)
    }
}

impl Leg {
    /// A portion of what waits. How many were sent.
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

    /// Sends this behind what waits. How many were sent.
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

/// Media that all are sent the same of.
pub(super) fn shared_frame(frame: crate::proto::peer::EncodedFrame) -> Queued {
    Queued::Frame(Arc::new(frame))
}

fn size(media: &Queued) -> usize {
    match media {
        Queued::Packet(packet) => packet.payload.len(),
        Queued::Frame(frame) => frame.data.len(),
    }
}
