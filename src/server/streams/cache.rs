//! Cache of the latest keyframe and everything after it, for new viewers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::StreamsConfig;
use crate::driver::shared_media::SharedMedia;
use crate::proto::peer::{EncodedFrame, FrameTime, RtpPacket};

/// Interval of cached frames sent to a new viewer. A receiver displays frames at the pace of their timestamps: with the
/// true ones it would stay behind by the age of the keyframe. This way it decodes them as fast as it can, and displays
/// the latest.
const STEP: Duration = Duration::from_millis(1);

/// Interval of cached frames for a viewer that requests a keyframe: all of them fit between two frames.
const HURRY: Duration = Duration::from_millis(5);

/// Maximum age of cached packets.
const MAX_PACKETS_AGE: Duration = Duration::from_secs(3);

/// RTP clock rate of all video codecs.
const RATE: u32 = 90_000;

/// The cache of one stream and codec, limited in bytes, items and age by [`StreamsConfig`].
#[derive(Debug, Default)]
pub(super) struct Cache {
    items: Vec<SharedMedia>,
    bytes: usize,
    begun: Option<Instant>,
    /// The latest keyframe alone, once what follows it exceeds the limits: a still picture is better than none.
    still: Option<SharedMedia>,
}

impl Cache {
    /// Adds sent media. `is_key`: a keyframe starts in it.
    pub fn push(
        &mut self,
        media: &SharedMedia,
        is_key: bool,
        config: &StreamsConfig,
        now: Instant,
    ) {
        if is_key && !self.is_same_picture(media) {
            self.begin(media, now);
        }
        let max_age = match media {
            SharedMedia::Frame(_) => config.max_kept_age,
            // A source of packets can usually be asked for a keyframe.
            SharedMedia::Packet(_) => config.max_kept_age.min(MAX_PACKETS_AGE),
        };
        let Some(begun) = self.begun else {
            return;
        };
        self.bytes += media.size();
        self.items.push(media.clone());
        let is_old = now.saturating_duration_since(begun) > max_age;
        let is_large = self.bytes > config.max_kept_bytes;
        if is_old || is_large || self.items.len() > config.max_kept_packets {
            let still = self.items.swap_remove(0);
            *self = Self {
                // The sequence numbers of packets would show that the rest is missing.
                still: Some(still).filter(|s| matches!(s, SharedMedia::Frame(_))),
                ..Self::default()
            };
        }
    }

    /// Returns the latest keyframe, if only that is cached.
    pub fn still(&self) -> Option<SharedMedia> {
        self.still.clone()
    }

    /// Returns the first item: the latest keyframe, or the first packet of it.
    pub fn keyframe(&self) -> Option<SharedMedia> {
        self.items.first().or(self.still.as_ref()).cloned()
    }

    /// Clears the cache and releases its memory.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns `true` for further packets of the same keyframe: it has several, and separate ones for its parameter
    /// sets.
    fn is_same_picture(&self, media: &SharedMedia) -> bool {
        match (self.items.first(), media) {
            (Some(SharedMedia::Packet(first)), SharedMedia::Packet(packet)) => {
                first.timestamp == packet.timestamp && first.ssrc == packet.ssrc
            }
            _ => false,
        }
    }

    /// Starts with a new keyframe. Packets of it that arrived before its first one are kept.
    fn begin(&mut self, media: &SharedMedia, now: Instant) {
        self.items.retain(|item| match (item, media) {
            (SharedMedia::Packet(item), SharedMedia::Packet(new)) => {
                item.timestamp == new.timestamp && item.ssrc == new.ssrc
            }
            _ => false,
        });
        self.still = None;
        self.bytes = self.items.iter().map(SharedMedia::size).sum();
        self.begun = Some(now);
    }

    /// Returns everything cached, for a new viewer. The latest frame keeps its time, so that what follows is in sync.
    pub fn burst(&self) -> Vec<SharedMedia> {
        let mut items = self.items.clone();
        if let Some(SharedMedia::Packet(_)) = items.first() {
            in_order(&mut items);
        }
        let pictures = pictures(&items);
        let Some(last) = pictures.last().copied() else {
            return items;
        };
        let span = items
            .first()
            .zip(items.last())
            .map_or(Duration::ZERO, |(a, b)| between(a, b));
        let step = STEP.min(span / u32::try_from(last).unwrap_or(u32::MAX).max(1));
        let newest = items.last().cloned();
        items
            .into_iter()
            .zip(pictures)
            .map(|(item, n)| match &newest {
                Some(newest) if n < last => {
                    let back = step * u32::try_from(last - n).unwrap_or(u32::MAX);
                    moved(&item, newest, back, false)
                }
                _ => item,
            })
            .collect()
    }

    /// Returns everything cached with new times after the latest, for a viewer that has lost something. Frames only:
    /// the numbers of packets cannot be used twice.
    pub fn again(&self) -> Vec<SharedMedia> {
        let Some(newest @ SharedMedia::Frame(_)) = self.items.last() else {
            return Vec::new();
        };
        let count = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        let step =
            (HURRY / (count + 1)).max(Duration::from_nanos(1_000_000_000 / u64::from(RATE) + 1));
        let each = self.items.iter().zip(1..);
        each.map(|(item, n)| moved(item, newest, step * n, true))
            .collect()
    }
}

/// Sorts packets by sequence number, from the first on.
fn in_order(items: &mut [SharedMedia]) {
    let Some(first) = items.iter().find_map(sequence) else {
        return;
    };
    items.sort_by_key(|item| {
        let number = sequence(item).unwrap_or(first);
        number.wrapping_sub(first).cast_signed()
    });
}

fn sequence(item: &SharedMedia) -> Option<u16> {
    match item {
        SharedMedia::Packet(packet) => Some(packet.sequence_number),
        SharedMedia::Frame(_) => None,
    }
}

/// Returns the index of the frame that each item belongs to.
fn pictures(items: &[SharedMedia]) -> Vec<usize> {
    let mut numbers = Vec::with_capacity(items.len());
    let mut number = 0;
    for (index, item) in items.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|i| items.get(i));
        number += match (before, item) {
            (None, _) => 0,
            (Some(SharedMedia::Packet(a)), SharedMedia::Packet(b)) => {
                usize::from(a.timestamp != b.timestamp)
            }
            _ => 1,
        };
        numbers.push(number);
    }
    numbers
}

fn between(first: &SharedMedia, last: &SharedMedia) -> Duration {
    match (first, last) {
        (SharedMedia::Packet(a), SharedMedia::Packet(b)) => {
            let ticks = b.timestamp.wrapping_sub(a.timestamp);
            Duration::from_nanos(u64::from(ticks) * 1_000_000_000 / u64::from(RATE))
        }
        (SharedMedia::Frame(a), SharedMedia::Frame(b)) => match (a.time, b.time) {
            (FrameTime::Media(a), FrameTime::Media(b)) => b.saturating_sub(a),
            _ => Duration::ZERO,
        },
        _ => Duration::ZERO,
    }
}

/// Returns the item as if it were this much before, or after, the newest one.
fn moved(item: &SharedMedia, newest: &SharedMedia, by: Duration, behind: bool) -> SharedMedia {
    match (item, newest) {
        (SharedMedia::Packet(item), SharedMedia::Packet(newest)) => {
            let ticks = u32::try_from(by.as_nanos() * u128::from(RATE) / 1_000_000_000);
            let ticks = ticks.unwrap_or(u32::MAX);
            let mut packet = RtpPacket::clone(item);
            packet.timestamp = match behind {
                true => newest.timestamp.wrapping_add(ticks),
                false => newest.timestamp.wrapping_sub(ticks),
            };
            packet.wallclock = shifted(newest.wallclock, by, behind);
            SharedMedia::Packet(Arc::new(packet))
        }
        (SharedMedia::Frame(item), SharedMedia::Frame(newest)) => {
            let mut frame = EncodedFrame::clone(item);
            if let FrameTime::Media(time) = newest.time {
                frame.time = FrameTime::Media(match behind {
                    true => time.saturating_add(by),
                    false => time.saturating_sub(by),
                });
            }
            frame.wallclock = shifted(newest.wallclock, by, behind);
            SharedMedia::Frame(Arc::new(frame))
        }
        _ => item.clone(),
    }
}

fn shifted(at: Option<Instant>, by: Duration, behind: bool) -> Option<Instant> {
    match behind {
        true => at?.checked_add(by),
        false => at?.checked_sub(by),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u16, timestamp: u32) -> SharedMedia {
        let at = Instant::now();
        SharedMedia::Packet(Arc::new(
            RtpPacket::new(7, number, timestamp, vec![0u8; 100]).wallclock(at),
        ))
    }

    fn numbers(items: &[SharedMedia]) -> Vec<(u16, u32)> {
        let of = |item: &SharedMedia| match item {
            SharedMedia::Packet(p) => (p.sequence_number, p.timestamp),
            SharedMedia::Frame(_) => unreachable!("only packets here"),
        };
        items.iter().map(of).collect()
    }

    #[test]
    fn the_past_ends_at_the_present() {
        let (config, now) = (StreamsConfig::default(), Instant::now());
        let mut cache = Cache::default();
        cache.push(&packet(9, 1000), false, &config, now);
        assert!(cache.is_empty(), "nothing before the first keyframe");
        // The keyframe has three packets, which arrive out of order, across the wrap of the numbers.
        cache.push(&packet(65535, 4000), true, &config, now);
        cache.push(&packet(1, 4000), false, &config, now);
        cache.push(&packet(0, 4000), true, &config, now);
        cache.push(&packet(2, 7600), false, &config, now);
        cache.push(&packet(3, 11200), false, &config, now);
        let burst = numbers(&cache.burst());
        // A millisecond is 90 ticks.
        let pictures = [
            (65535, 11020),
            (0, 11020),
            (1, 11020),
            (2, 11110),
            (3, 11200),
        ];
        assert_eq!(burst, pictures);
        cache.push(&packet(4, 14800), true, &config, now);
        assert_eq!(numbers(&cache.burst()), [(4, 14800)]);
        assert!(cache.again().is_empty(), "packets are not sent twice");
    }

    #[test]
    fn limits() {
        let config = StreamsConfig::default().max_kept_packets(3);
        let now = Instant::now();
        let mut cache = Cache::default();
        cache.push(&packet(0, 0), true, &config, now);
        cache.push(&packet(1, 90), false, &config, now);
        cache.push(&packet(2, 180), false, &config, now);
        assert_eq!(cache.burst().len(), 3);
        cache.push(&packet(3, 270), false, &config, now);
        assert!(cache.is_empty());
        cache.push(&packet(4, 360), false, &config, now);
        assert!(cache.is_empty(), "not before the next keyframe");
        let config = StreamsConfig::default().max_kept_bytes(250);
        for n in 0..3 {
            cache.push(&packet(n, n.into()), n == 0, &config, now);
        }
        assert!(cache.is_empty());
        let config = StreamsConfig::default();
        cache.push(&packet(0, 0), true, &config, now);
        let later = now + MAX_PACKETS_AGE + Duration::from_millis(1);
        cache.push(&packet(1, 90), false, &config, later);
        assert!(cache.is_empty());
    }

    #[test]
    fn frames_again_are_behind_the_latest() {
        let (config, now) = (StreamsConfig::default(), Instant::now());
        let mut cache = Cache::default();
        for n in 0..25u32 {
            let time = Duration::from_millis(40) * n;
            let frame = EncodedFrame::new(vec![0u8; 10], time).wallclock(now + time);
            cache.push(&SharedMedia::Frame(Arc::new(frame)), n == 0, &config, now);
        }
        let time = |item: &SharedMedia| match item {
            SharedMedia::Frame(frame) => match frame.time {
                FrameTime::Media(time) => time,
                FrameTime::Ticks(_) => unreachable!("not made here"),
            },
            SharedMedia::Packet(_) => unreachable!("only frames here"),
        };
        let end = Duration::from_millis(960);
        let again: Vec<Duration> = cache.again().iter().map(time).collect();
        assert!(again.is_sorted_by(|a, b| a < b) && again.len() == 25);
        assert!(again[0] > end && again[24] <= end + HURRY, "{again:?}");
        let burst: Vec<Duration> = cache.burst().iter().map(time).collect();
        assert_eq!(burst[24], end);
        assert_eq!(burst[0], end - STEP * 24);
    }
}
