//! The video or the audio of a stream: incoming media in one or several codecs, and the viewers that get it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::Cache;
use super::config::StreamsConfig;
use super::info::{Meter, ViewerTrack};
use crate::driver::senders::{Sender, SenderEvent, Senders};
use crate::driver::shared_media::SharedMedia;
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

/// State of one viewer.
#[derive(Debug, Default)]
pub(super) struct Leg {
    /// Set if its answer has only the codecs of the publisher at that time.
    pub is_settled: bool,
    /// The feed it gets; `None` if it is not bound, or not to a codec of the stream.
    feed: Option<usize>,
    /// Set once it was sent a keyframe; it then gets everything after it.
    flowing: bool,
    /// Time since which it waits for a keyframe.
    waiting_since: Option<Instant>,
    again_at: Option<Instant>,
    /// Media to be sent in portions, and everything after it.
    pending: VecDeque<SharedMedia>,
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
    pub legs: Senders<Leg>,
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
            legs: Senders::default(),
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
        for leg in self.legs.iter_mut() {
            leg.state.detach();
        }
    }

    /// Handles a new or restarted source: the caches do not continue.
    pub fn restart(&mut self, now: Instant) {
        for feed in &mut self.feeds {
            feed.cache.clear();
        }
        for leg in self.legs.iter_mut() {
            leg.state.flowing = false;
            leg.state.waiting_since = Some(now);
        }
    }

    /// Returns the latest keyframe of a codec, if it is cached.
    pub fn keyframe(&self, codec: Codec) -> Option<SharedMedia> {
        let feed = self.feeds.iter().find(|feed| feed.codec == codec)?;
        feed.cache.keyframe()
    }

    pub fn add_leg(&mut self, peer: PeerId, transceiver: TransceiverId, is_settled: bool) {
        let leg = Leg {
            is_settled,
            ..Leg::default()
        };
        self.legs.add(peer, transceiver, leg);
    }

    pub fn remove_leg(&mut self, peer: PeerId) {
        self.legs.remove(peer);
    }

    pub fn leg(&self, peer: PeerId) -> Option<&Sender<Leg>> {
        self.legs.of(peer)
    }

    /// Handles an event of a viewer's peer.
    pub fn handle_event(
        &mut self,
        net: &mut EventLoop,
        peer: PeerId,
        event: &PeerEvent,
        now: Instant,
    ) -> Outcome {
        match self.legs.handle_event(peer, event) {
            Some((index, SenderEvent::Bound(_))) => self.connect(net, index, now),
            Some((index, SenderEvent::KeyframeRequest(_))) => self.refresh(net, index, now),
            Some((index, SenderEvent::Unbound { .. })) => {
                if let Some(leg) = self.legs.get_mut(index) {
                    leg.state.detach();
                }
                Outcome::Done
            }
            Some((_, SenderEvent::Stopped { .. })) | None => Outcome::Done,
        }
    }

    /// Selects the feed of a leg, and starts it.
    pub fn connect(&mut self, net: &mut EventLoop, index: usize, now: Instant) -> Outcome {
        let Some(leg) = self.legs.get_mut(index) else {
            return Outcome::Done;
        };
        let (Some(codec), Some(first)) = (leg.codec, self.feeds.first()) else {
            return Outcome::Done;
        };
        let Some(feed) = self.feeds.iter().position(|f| f.codec == codec) else {
            leg.state.feed = None;
            // With another codec, if it was negotiated, the peer reports that it is bound again.
            let mut peer = net.peer(leg.peer).ok();
            let replaced = self.feeds.iter().any(|feed| {
                let peer = peer.as_mut();
                peer.is_some_and(|p| p.replace_track(leg.transceiver, Some(feed.codec)).is_ok())
            });
            return match replaced {
                true => Outcome::Done,
                false => Outcome::Undecodable { codec: first.codec },
            };
        };
        if leg.state.feed == Some(feed) && leg.state.flowing {
            return Outcome::Done;
        }
        leg.state.feed = Some(feed);
        leg.state.waiting_since = Some(now);
        if self.kind == MediaKind::Audio {
            leg.state.flowing = true;
            return Outcome::Done;
        }
        let burst = self.feeds[feed].cache.burst();
        if burst.is_empty() {
            let still = self.feeds[feed].cache.still();
            self.sent += still.map_or(0, |media| send(leg, net, media, now));
            return Outcome::WantsKeyframe;
        }
        leg.state.flowing = true;
        self.replay(net, index, burst, now);
        Outcome::Done
    }

    /// Sends media of the cache to a viewer: the first portion at once, the others when they are due.
    fn replay(&mut self, net: &mut EventLoop, index: usize, media: Vec<SharedMedia>, now: Instant) {
        let Some(leg) = self.legs.get_mut(index) else {
            return;
        };
        leg.state.pending = media.into();
        self.sent += flush(leg, net, now);
        if !leg.state.pending.is_empty() {
            self.flush_at.get_or_insert(now + PAUSE);
        }
    }

    /// Sends the next portions, if they are due.
    pub fn flush(&mut self, net: &mut EventLoop, now: Instant) {
        if self.flush_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        let legs = self.legs.iter_mut();
        for leg in legs.filter(|l| !l.state.pending.is_empty()) {
            self.sent += flush(leg, net, now);
            if !leg.state.pending.is_empty() {
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
        let Some(Sender { state: leg, .. }) = self.legs.get_mut(index) else {
            return Outcome::Done;
        };
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
            self.replay(net, index, again, now);
        }
        Outcome::Done
    }

    /// Sends media to all viewers with this codec. `is_key`: a keyframe starts in it.
    pub fn write(
        &mut self,
        net: &mut EventLoop,
        codec: Codec,
        media: SharedMedia,
        is_key: bool,
        config: &StreamsConfig,
        now: Instant,
    ) {
        let Some(index) = self.feeds.iter().position(|f| f.codec == codec) else {
            return;
        };
        let size = media.size();
        self.packets += 1;
        self.bytes += size as u64;
        self.meter.add(size, now);
        if self.kind == MediaKind::Video {
            self.keyframes += u64::from(is_key);
            let feed = &mut self.feeds[index];
            feed.cache.push(&media, is_key, config, now);
        }
        let patience = config.keyframe_patience;
        let legs = self.legs.iter_mut();
        for leg in legs.filter(|l| l.state.feed == Some(index)) {
            let state = &mut leg.state;
            if !state.flowing {
                let waited = state.waiting_since.get_or_insert(now);
                state.flowing = is_key || now.saturating_duration_since(*waited) >= patience;
            }
            if state.flowing {
                self.sent += send(leg, net, media.clone(), now);
            }
        }
    }

    /// Returns `true` if a viewer waits for a keyframe.
    pub fn wants_keyframe(&self) -> bool {
        let mut legs = self.legs.iter();
        legs.any(|l| l.state.feed.is_some() && !l.state.flowing)
    }
}

impl Leg {
    /// Stops sending to the viewer, until it is connected to a feed again.
    fn detach(&mut self) {
        self.feed = None;
        self.flowing = false;
        self.pending = VecDeque::new();
    }
}

/// Sends a portion of the viewer's queue; returns the number of items sent.
fn flush(to: &mut Sender<Leg>, net: &mut EventLoop, now: Instant) -> u64 {
    let (mut sent, mut bytes) = (0, 0);
    while bytes < PORTION
        && let Some(media) = to.state.pending.pop_front()
    {
        bytes += media.size();
        sent += send_now(to, net, media, now);
    }
    if to.state.pending.is_empty() {
        to.state.pending = VecDeque::new();
    }
    sent
}

/// Sends after the queued items; returns the number of items sent.
fn send(to: &mut Sender<Leg>, net: &mut EventLoop, media: SharedMedia, now: Instant) -> u64 {
    if to.state.pending.is_empty() {
        return send_now(to, net, media, now);
    }
    if to.state.pending.len() >= MAX_PENDING {
        to.state.pending = VecDeque::new();
        to.state.flowing = false;
        return 0;
    }
    to.state.pending.push_back(media);
    0
}

fn send_now(to: &mut Sender<Leg>, net: &mut EventLoop, media: SharedMedia, now: Instant) -> u64 {
    let size = media.size();
    if !to.send(net, media) {
        return 0;
    }
    to.state.sent += 1;
    to.state.bytes += size as u64;
    to.state.first_sent.get_or_insert(now);
    1
}

/// Returns the statistics of a viewer's track.
pub(super) fn stats(kind: MediaKind, leg: &Sender<Leg>) -> ViewerTrack {
    ViewerTrack {
        kind,
        codec: leg.codec.filter(|_| leg.state.feed.is_some()),
        sent: leg.state.sent,
        bytes: leg.state.bytes,
        keyframe_requests: leg.state.keyframe_requests,
    }
}

/// Wraps a frame that all viewers share.
pub(super) fn shared_frame(frame: crate::proto::peer::EncodedFrame) -> SharedMedia {
    SharedMedia::Frame(Arc::new(frame))
}
