//! A reorder and jitter buffer for what comes in over RTP: packets, or whole frames.
//!
//! How long it holds things back follows the network. For every arrival the buffer takes the *relative
//! delay*: how much longer it was under way than the fastest of the last ten seconds (a sliding minimum,
//! so that a slow drift of the sender's clock goes along with it). These go into a histogram that forgets
//! exponentially with time, and the delay aimed at is a high quantile of it. That is the scheme of
//! libwebrtc's NetEq (`modules/audio_coding/neteq`: `DelayManager`, `RelativeArrivalDelayTracker`,
//! `Histogram`), with two differences: it forgets by time, not by packet, since video comes in any number
//! of packets a second; and it takes the 99th percentile, not the 95th, because a late packet of video
//! costs a frame where one of sound is concealed. Late packets count, and retransmissions are late ones, so
//! where the sender answers NACKs the delay grows to fit a round trip by itself.
//!
//! The delay grows at once and shrinks by 2 % of the time that passes.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

mod estimate;
#[cfg(test)]
mod tests;

use estimate::Estimator;

/// When things are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Release {
    /// Evenly, as they were sent, all later by the same delay: for playing.
    #[default]
    Paced,
    /// In order and at once; only what has a gap before it waits, as long as `Paced` would, for what is
    /// missing: for recording and forwarding.
    InOrder,
}

/// How a [`JitterBuffer`] behaves.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct JitterConfig {
    /// Ticks of the RTP timestamp in a second.
    pub clock_rate: u32,
    /// When things are given out. Default: [`Release::Paced`].
    pub release: Release,
    /// The delay never goes below this. Default: 0.
    pub min_delay: Duration,
    /// The delay never goes above this, and nothing waits longer for what is missing before it.
    /// Default: 500 ms.
    pub max_delay: Duration,
    /// The delay before anything was measured. Default: 40 ms.
    pub initial_delay: Duration,
    /// The part of all arrivals that shall be in time. Default: 0.99.
    pub quantile: f64,
    /// Packets or frames held. What exceeds it is given out early. Default: 4096.
    pub max_items: usize,
    /// Bytes held, as told with each arrival. What exceeds it is given out early. Default: 8 MiB.
    pub max_bytes: usize,
}

impl JitterConfig {
    /// The defaults, for this clock rate.
    pub fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate: clock_rate.max(1),
            release: Release::Paced,
            min_delay: Duration::ZERO,
            max_delay: Duration::from_millis(500),
            initial_delay: Duration::from_millis(40),
            quantile: 0.99,
            max_items: 4096,
            max_bytes: 8 << 20,
        }
    }

    /// Sets [`release`](Self::release).
    pub fn release(mut self, release: Release) -> Self {
        self.release = release;
        self
    }

    /// Sets [`min_delay`](Self::min_delay).
    pub fn min_delay(mut self, delay: Duration) -> Self {
        self.min_delay = delay;
        self
    }

    /// Sets [`max_delay`](Self::max_delay).
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Sets [`initial_delay`](Self::initial_delay).
    pub fn initial_delay(mut self, delay: Duration) -> Self {
        self.initial_delay = delay;
        self
    }

    /// Sets [`max_items`](Self::max_items).
    pub fn max_items(mut self, items: usize) -> Self {
        self.max_items = items;
        self
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

/// A packet, or a frame put together from several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival<T> {
    /// Whose it is. When it changes, what is held is given out, and the buffer begins anew.
    pub ssrc: u32,
    /// The sequence number, of a frame's first packet.
    pub sequence: u16,
    /// How many packets it is: 1 for a packet.
    pub packets: u16,
    /// The RTP timestamp.
    pub timestamp: u32,
    /// What it counts towards [`JitterConfig::max_bytes`].
    pub bytes: usize,
    /// What is given out again.
    pub item: T,
}

/// What the buffer gives out.
#[derive(Debug, PartialEq, Eq)]
pub enum JitterOutput<T> {
    /// The next packet or frame.
    Item(Released<T>),
    /// Nothing before this; `None`: not before the next arrival.
    Timeout(Option<Instant>),
}

/// A packet or frame given out.
#[derive(Debug, PartialEq, Eq)]
pub struct Released<T> {
    /// What was put in.
    pub item: T,
    /// The sequence number, unwrapped; 65,536 above what the first one says, so that there is room below.
    pub sequence: u64,
    /// The timestamp, unwrapped, in ticks. Below 0 only for what was sent before the first to arrive.
    pub timestamp: i64,
    /// Packets missing right before it.
    pub lost_before: u32,
    /// Whether a new stream begins with it: another SSRC, or a restart of the sender.
    pub discontinuity: bool,
    /// How long it was held.
    pub waited: Duration,
}

/// What a [`JitterBuffer`] has seen and done. Counts are of packets unless they say otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JitterStats {
    /// The delay in use now.
    pub delay: Duration,
    /// The delay aimed at.
    pub target_delay: Duration,
    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// Arrivals taken or refused, in items.
    pub received: u64,
    /// Given out, in items (W3C: `jitterBufferEmittedCount`).
    pub emitted: u64,
    /// The sum of the times they were held (W3C: `jitterBufferDelay`).
    pub total_delay: Duration,
    /// Given up waiting for. Those that came later after all are counted here, too.
    pub lost: u64,
    /// Came after they were given up; dropped. In items.
    pub late: u64,
    /// Came twice; dropped. In items.
    pub duplicate: u64,
    /// Came behind one with a higher sequence number, in items.
    pub reordered: u64,
    /// Far from all others by sequence number; dropped. In items.
    pub stray: u64,
    /// Given out early because a limit was reached, in items.
    pub hurried: u64,
    /// Dropped because nobody took what was given out, in items.
    pub overflowed: u64,
    /// Times the stream began anew.
    pub restarts: u64,
    /// Items held now.
    pub held: usize,
    /// Bytes held now.
    pub held_bytes: usize,
}

/// Sequence numbers further apart than this are another stream's (RFC 3550 appendix A.1, MAX_DROPOUT).
const MAX_DROPOUT: u16 = 3000;

/// How many of the sequence numbers given up for lost are remembered, to tell late from twice.
const MAX_LOST_KEPT: usize = 1024;

/// The buffer.
#[derive(Debug)]
pub struct JitterBuffer<T> {
    config: JitterConfig,
    stream: Option<Stream<T>>,
    /// Given out early: a stream that ended, or what exceeded a limit.
    ready: VecDeque<(Released<T>, usize)>,
    ready_bytes: usize,
    stats: JitterStats,
}

/// What belongs to one SSRC.
#[derive(Debug)]
struct Stream<T> {
    ssrc: u32,
    held: BTreeMap<u64, Held<T>>,
    held_bytes: usize,
    highest: u64,
    /// The sequence number to be given out next, once one was.
    next: Option<u64>,
    lost: VecDeque<u64>,
    /// A sequence number far away; when the one behind it comes, the sender has restarted.
    suspect: Option<u16>,
    begins: bool,
    timestamp: i64,
    estimator: Estimator,
}

#[derive(Debug)]
struct Held<T> {
    item: T,
    packets: u16,
    timestamp: i64,
    bytes: usize,
    arrived: Instant,
}

impl<T> JitterBuffer<T> {
    /// An empty buffer.
    pub fn new(mut config: JitterConfig) -> Self {
        config.max_bytes = config.max_bytes.min(usize::MAX >> 4);
        Self {
            config,
            stream: None,
            ready: VecDeque::new(),
            ready_bytes: 0,
            stats: JitterStats::default(),
        }
    }

    /// Takes what has arrived. Then poll.
    pub fn insert(&mut self, arrival: Arrival<T>, now: Instant) {
        self.stats.received += 1;
        if self
            .stream
            .as_ref()
            .is_some_and(|stream| stream.ssrc != arrival.ssrc)
        {
            self.restart();
        }
        if self.is_stray(&arrival) {
            self.stats.stray += 1;
            return;
        }
        let config = &self.config;
        let stream = self
            .stream
            .get_or_insert_with(|| Stream::new(&arrival, config, now));
        stream.insert(arrival, now, &mut self.stats);
        self.enforce_limits(now);
    }

    /// The next thing, or when to ask again. Call until it says [`JitterOutput::Timeout`].
    pub fn poll(&mut self, now: Instant) -> JitterOutput<T> {
        if let Some((released, bytes)) = self.ready.pop_front() {
            self.ready_bytes -= bytes;
            self.count(&released);
            return JitterOutput::Item(released);
        }
        let Some(stream) = &mut self.stream else {
            return JitterOutput::Timeout(None);
        };
        stream.estimator.advance(now);
        match stream.due(&self.config) {
            None => JitterOutput::Timeout(None),
            Some(at) if at > now => JitterOutput::Timeout(Some(at)),
            Some(_) => match stream.take(now, &mut self.stats) {
                Some((released, _)) => {
                    self.count(&released);
                    JitterOutput::Item(released)
                }
                None => JitterOutput::Timeout(None),
            },
        }
    }

    /// Gives out all that is held, without waiting: at the end of a track.
    pub fn flush(&mut self, now: Instant) {
        self.release_all(now);
    }

    /// What was seen and done so far.
    pub fn stats(&self) -> JitterStats {
        let mut stats = self.stats;
        stats.held = self.ready.len();
        stats.held_bytes = self.ready_bytes;
        if let Some(stream) = &self.stream {
            stats.held += stream.held.len();
            stats.held_bytes += stream.held_bytes;
            stats.delay = stream.estimator.delay();
            stats.target_delay = stream.estimator.target();
            stats.jitter = stream.estimator.jitter();
        }
        stats
    }

    fn count(&mut self, released: &Released<T>) {
        self.stats.emitted += 1;
        self.stats.total_delay += released.waited;
    }

    /// Whether it is too far away to belong here. Two in a row from there are a sender that restarted.
    fn is_stray(&mut self, arrival: &Arrival<T>) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let distance = arrival.sequence.wrapping_sub(stream.highest as u16);
        if distance.min(distance.wrapping_neg()) <= MAX_DROPOUT {
            stream.suspect = None;
            return false;
        }
        if stream.suspect == Some(arrival.sequence) {
            self.restart();
            return false;
        }
        stream.suspect = Some(arrival.sequence.wrapping_add(arrival.packets.max(1)));
        true
    }

    /// What is held goes out; the next arrival begins a new stream.
    fn restart(&mut self) {
        let newest = |stream: &Stream<T>| stream.held.values().map(|held| held.arrived).max();
        if let Some(now) = self.stream.as_ref().and_then(newest) {
            self.release_all(now);
        }
        self.stream = None;
        self.stats.restarts += 1;
    }

    fn release_all(&mut self, now: Instant) {
        while let Some(stream) = &mut self.stream {
            let Some(taken) = stream.take(now, &mut self.stats) else {
                break;
            };
            self.make_ready(taken);
        }
    }

    fn enforce_limits(&mut self, now: Instant) {
        while let Some(stream) = &mut self.stream {
            let within = stream.held.len() <= self.config.max_items
                && stream.held_bytes <= self.config.max_bytes;
            if within {
                break;
            }
            let Some(taken) = stream.take(now, &mut self.stats) else {
                break;
            };
            self.stats.hurried += 1;
            self.make_ready(taken);
        }
    }

    /// Puts it where the next poll finds it, within the same limits.
    fn make_ready(&mut self, taken: (Released<T>, usize)) {
        self.ready_bytes += taken.1;
        self.ready.push_back(taken);
        while self.ready.len() > self.config.max_items || self.ready_bytes > self.config.max_bytes {
            let Some((dropped, bytes)) = self.ready.pop_front() else {
                break;
            };
            self.ready_bytes -= bytes;
            self.stats.overflowed += 1;
            self.pass_on(&dropped);
        }
    }

    /// What a dropped one would have told, the next one tells: that a new stream begins, and what is missing.
    fn pass_on(&mut self, dropped: &Released<T>) {
        match self.ready.front_mut() {
            Some((next, _)) if next.discontinuity => {}
            Some((next, _)) => {
                let missing = next.sequence.saturating_sub(dropped.sequence);
                let missing = u32::try_from(missing).unwrap_or(u32::MAX);
                next.lost_before = dropped.lost_before.saturating_add(missing);
                next.discontinuity = dropped.discontinuity;
            }
            None => {
                if let Some(stream) = &mut self.stream {
                    stream.begins |= dropped.discontinuity;
                }
            }
        }
    }
}

impl<T> Stream<T> {
    fn new(first: &Arrival<T>, config: &JitterConfig, now: Instant) -> Self {
        Self {
            ssrc: first.ssrc,
            held: BTreeMap::new(),
            held_bytes: 0,
            // Room below, for what was sent before the first to arrive.
            highest: 65_536 + u64::from(first.sequence),
            next: None,
            lost: VecDeque::new(),
            suspect: None,
            begins: true,
            timestamp: i64::from(first.timestamp),
            estimator: Estimator::new(config, now),
        }
    }

    fn insert(&mut self, arrival: Arrival<T>, now: Instant, stats: &mut JitterStats) {
        let step = arrival.sequence.wrapping_sub(self.highest as u16) as i16;
        let sequence = self.highest.saturating_add_signed(i64::from(step));
        let ticks = arrival.timestamp.wrapping_sub(self.timestamp as u32) as i32;
        let timestamp = self.timestamp.saturating_add(i64::from(ticks));
        // Twice the same says nothing about the network.
        if self.held.contains_key(&sequence) || self.was_released(sequence) {
            stats.duplicate += 1;
            return;
        }
        self.estimator.arrived(timestamp, now);
        if sequence < self.highest {
            stats.reordered += 1;
        } else {
            (self.highest, self.timestamp) = (sequence, timestamp);
        }
        if self.next.is_some_and(|next| sequence < next) {
            self.lost.retain(|lost| *lost != sequence);
            stats.late += 1;
            return;
        }
        // Nothing is that large, and sums are not to overflow.
        let bytes = arrival.bytes.min(usize::MAX >> 4);
        self.held_bytes += bytes;
        let held = Held {
            item: arrival.item,
            packets: arrival.packets.max(1),
            timestamp,
            bytes,
            arrived: now,
        };
        self.held.insert(sequence, held);
    }

    fn was_released(&self, sequence: u64) -> bool {
        let behind = self.next.is_some_and(|next| sequence < next);
        // Those given up so long ago that they are forgotten were more likely lost than sent twice.
        let oldest = self.highest.saturating_sub(u64::from(MAX_DROPOUT) / 2);
        behind && sequence >= oldest && !self.lost.contains(&sequence)
    }

    /// When the first one held is to be given out.
    fn due(&self, config: &JitterConfig) -> Option<Instant> {
        let (sequence, held) = self.held.first_key_value()?;
        if config.release == Release::InOrder && self.next == Some(*sequence) {
            return Some(held.arrived);
        }
        let latest = held.arrived.checked_add(config.max_delay)?;
        let even = self.estimator.play_at(held.timestamp);
        Some(even.map_or(latest, |at| at.clamp(held.arrived, latest)))
    }

    fn take(&mut self, now: Instant, stats: &mut JitterStats) -> Option<(Released<T>, usize)> {
        let (sequence, held) = self.held.pop_first()?;
        self.held_bytes -= held.bytes;
        let missing = self.next.map_or(0..0, |next| next..sequence);
        let lost_before = missing.end.saturating_sub(missing.start);
        stats.lost += lost_before;
        let kept = missing.end - lost_before.min(MAX_LOST_KEPT as u64);
        self.lost.extend(kept..missing.end);
        let surplus = self.lost.len().saturating_sub(MAX_LOST_KEPT);
        self.lost.drain(..surplus);
        self.next = Some(sequence.saturating_add(u64::from(held.packets)));
        let released = Released {
            item: held.item,
            sequence,
            timestamp: held.timestamp,
            lost_before: u32::try_from(lost_before).unwrap_or(u32::MAX),
            discontinuity: std::mem::take(&mut self.begins),
            waited: now.saturating_duration_since(held.arrived),
        };
        Some((released, held.bytes))
    }
}
