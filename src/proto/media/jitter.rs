//! Reorder and jitter buffer for incoming RTP packets or frames.
//!
//! The delay adapts to the network. For every arrival the buffer computes the *relative delay*: its transit time
//! compared with the fastest one of the last ten seconds (a sliding minimum, which follows a slow drift of the sender's
//! clock). Relative delays go into a histogram with exponential forgetting, and the target delay is a high quantile of
//! it. This is the scheme of libwebrtc's NetEq (`modules/audio_coding/neteq`: `DelayManager`,
//! `RelativeArrivalDelayTracker`, `Histogram`) with two differences: it forgets by time rather than by packet, because
//! video has no fixed packet rate, and it uses the 99th percentile rather than the 95th, because a late video packet
//! costs a frame where a late audio packet is concealed. Late packets count, including retransmissions, so the delay
//! grows to about a round trip if the sender answers NACKs.
//!
//! The delay grows at once and shrinks by 2 % of the elapsed time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

mod estimate;
#[cfg(test)]
mod tests;

use estimate::Estimator;

/// Release policy of a jitter buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Release {
    /// Evenly, as they were sent, with a constant delay: for playback.
    #[default]
    Paced,
    /// In order and without delay; only what follows a gap waits for the missing packets, as long as with `Paced`: for
    /// recording and forwarding.
    InOrder,
}

/// Configuration of a track's jitter buffer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct JitterConfig {
    /// RTP clock rate, in Hz.
    pub clock_rate: u32,
    /// Release policy. Default: [`Release::Paced`].
    pub release: Release,
    /// Minimum delay. Default: 0.
    pub min_delay: Duration,
    /// Maximum delay, also of packets that follow a gap. Default: 500 ms.
    pub max_delay: Duration,
    /// Delay before the first measurement. Default: 40 ms.
    pub initial_delay: Duration,
    /// Fraction of arrivals that must be in time. Default: 0.99.
    pub quantile: f64,
    /// Maximum number of items held; the oldest are released early beyond it. Default: 4096.
    pub max_items: usize,
    /// Maximum number of bytes held, as given with each arrival; the oldest items are released early beyond it.
    /// Default: 8 MiB.
    pub max_bytes: usize,
}

impl JitterConfig {
    /// Creates the default configuration for a clock rate.
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

/// A packet, or a frame assembled from several packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival<T> {
    /// SSRC of the sender. When it changes, all held items are released and the buffer starts anew.
    pub ssrc: u32,
    /// The sequence number of the packet, or of the frame's first packet.
    pub sequence: u16,
    /// Number of packets: 1 for a packet.
    pub packets: u16,
    /// The RTP timestamp.
    pub timestamp: u32,
    /// Size for [`JitterConfig::max_bytes`].
    pub bytes: usize,
    /// The item to return on release.
    pub item: T,
}

/// Output of [`JitterBuffer::poll`].
#[derive(Debug, PartialEq, Eq)]
pub enum JitterOutput<T> {
    /// The next packet or frame in order.
    Item(Released<T>),
    /// Nothing is due before this time; `None`: not before the next arrival.
    Timeout(Option<Instant>),
}

/// A released packet or frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Released<T> {
    /// The item that was inserted.
    pub item: T,
    /// Extended sequence number: 65,536 plus the value in the first packet, so that earlier ones fit below it.
    pub sequence: u64,
    /// Extended timestamp, in ticks. Negative only for items sent before the first arrival.
    pub timestamp: i64,
    /// Number of packets missing directly before it.
    pub lost_before: u32,
    /// Set if a new stream starts here: another SSRC, or a restarted sender.
    pub discontinuity: bool,
    /// Time it was held.
    pub waited: Duration,
}

/// Statistics of a track's jitter buffer. Counts are packets unless stated otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JitterStats {
    /// The current delay.
    pub delay: Duration,
    /// The target delay.
    pub target_delay: Duration,
    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// Items accepted or refused.
    pub received: u64,
    /// Items released (W3C: `jitterBufferEmittedCount`).
    pub emitted: u64,
    /// Total time that released items were held (W3C: `jitterBufferDelay`).
    pub total_delay: Duration,
    /// Packets given up as lost, including those that arrived later.
    pub lost: u64,
    /// Items that arrived after they were given up; dropped.
    pub late: u64,
    /// Duplicate items; dropped.
    pub duplicate: u64,
    /// Items that arrived after one with a higher sequence number.
    pub reordered: u64,
    /// Items with an implausible sequence number; dropped.
    pub stray: u64,
    /// Items released early because a limit was reached.
    pub hurried: u64,
    /// Items dropped because released ones were not polled.
    pub overflowed: u64,
    /// Number of times that the stream started anew.
    pub restarts: u64,
    /// Items currently held.
    pub held: usize,
    /// Bytes currently held.
    pub held_bytes: usize,
}

/// Maximum jump of sequence numbers within a stream (RFC 3550 appendix A.1, MAX_DROPOUT).
const MAX_DROPOUT: u16 = 3000;

/// Number of lost sequence numbers that are remembered, to distinguish late packets from duplicates.
const MAX_LOST_KEPT: usize = 1024;

/// Jitter buffer for one incoming stream.
#[derive(Debug)]
pub struct JitterBuffer<T> {
    config: JitterConfig,
    stream: Option<Stream<T>>,
    /// Items released early: of a stream that ended, or beyond a limit.
    ready: VecDeque<(Released<T>, usize)>,
    ready_bytes: usize,
    stats: JitterStats,
}

/// State of one SSRC.
#[derive(Debug)]
struct Stream<T> {
    ssrc: u32,
    held: BTreeMap<u64, Held<T>>,
    held_bytes: usize,
    highest: u64,
    /// The next sequence number to release, once the first was released.
    next: Option<u64>,
    lost: VecDeque<u64>,
    /// A distant sequence number; if its successor follows, the sender has restarted.
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
    /// Creates an empty buffer.
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

    /// Inserts an arrival. Call [`poll`](Self::poll) afterwards.
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

    /// Returns the next item, or the time of the next call. Call it until it returns [`JitterOutput::Timeout`].
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

    /// Releases all held items without waiting, at the end of a track.
    pub fn flush(&mut self, now: Instant) {
        self.release_all(now);
    }

    /// Returns the statistics so far.
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

    /// Returns `true` if the sequence number is too far from the others. Two consecutive ones mean that the sender has
    /// restarted.
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

    /// Releases all held items; the next arrival starts a new stream.
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

    /// Queues an item for the next poll, within the same limits.
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

    /// Moves the discontinuity and loss information of a dropped item to the next one.
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
            // Leaves room below for packets sent before the first arrival.
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
        // A duplicate carries no information about the network.
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
        // No item is that large; avoids overflow of sums.
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
        // One that was forgotten is more likely a late packet than a duplicate.
        let oldest = self.highest.saturating_sub(u64::from(MAX_DROPOUT) / 2);
        behind && sequence >= oldest && !self.lost.contains(&sequence)
    }

    /// Returns the time at which the first held item is due.
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
