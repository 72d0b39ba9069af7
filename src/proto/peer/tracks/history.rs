//! How many packets are kept to be sent again (RFC 4588).
//!
//! The core keeps some 400 bytes of its own for each, in every peer, payload not counted: with a thousand of them
//! that is most of what a viewer costs. So it is told to keep what this stream needs.

use std::time::{Duration, Instant};

use str0m::rtp::StreamTx;

/// How long a packet is kept at most. aiortc asks a second time only when it misses another packet,
/// which takes a second and more, and shows nothing until it has what it lacks: with 1 s here, nearly every
/// second run of 8 s at 5 % loss froze there for good.
const MAX_AGE: Duration = Duration::from_secs(3);

/// The part of all that is sent that may be what is sent again. The core drops what it was asked for once that is over
/// 15 %, if it is not told otherwise. It is asked for every 33 ms by the core itself, however long the way, and when
/// packets only overtake each other, too: with a half, 10 % loss and 100 ms of jitter
/// froze (docs/media.md). It still is a bound for whoever asks in bad faith.
const SHARE: f32 = 0.8;

/// What is kept of a stream that nothing is known of yet: it begins with a keyframe and all that followed it. Also
/// for whoever loses packets.
const UNKNOWN: usize = 640;

/// The least. Whoever asks again only when it misses another packet misses five of so many at 5 % loss.
const MIN: usize = 96;

const MAX: usize = 1024;

const STEP: usize = 32;

/// In which time what has been lost is asked for again and again: this, or four round trips.
const PATIENCE: Duration = Duration::from_millis(500);

/// Who has lost nothing for so long is taken for somebody who loses nothing.
const CALM: Duration = Duration::from_secs(10);

/// What comes at once in the beginning is over after this, and what was lost of it has been asked for.
const BEGINNING: Duration = Duration::from_millis(1500);

/// A keyframe has so many bytes in each of its packets, or more.
const PACKET: usize = 1000;

/// What has been sent of one stream, and how much of it the core keeps.
#[derive(Debug)]
pub(super) struct History {
    /// What the core was told.
    kept: usize,
    /// When it began, or began anew.
    begun: Option<Instant>,
    /// Since when, and how many packets since then.
    window: Option<(Instant, usize)>,
    /// Packets of the largest picture so far, and of the present one by its timestamp.
    largest: usize,
    picture: (u32, usize),
    /// The SSRC of what is sent again, and when that last was.
    repair: Option<u32>,
    repaired: Option<Instant>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            kept: UNKNOWN,
            begun: None,
            window: None,
            largest: 0,
            picture: (0, 0),
            repair: None,
            repaired: None,
        }
    }
}

impl History {
    /// Tells the core how much to keep until more is known.
    pub fn begin(stream: &mut StreamTx) {
        stream.set_rtx_cache(UNKNOWN, MAX_AGE, Some(SHARE));
    }

    /// A packet of the picture with this timestamp is about to be written.
    pub fn packet(
        &mut self,
        timestamp: u32,
        now: Instant,
        round_trip: Option<Duration>,
        stream: &mut StreamTx,
    ) {
        if self.picture.0 == timestamp {
            self.picture.1 += 1;
        } else {
            self.picture = (timestamp, 1);
            // Only between two pictures, since what was kept is gone when that changes.
            self.adapt(now, round_trip, stream);
        }
        self.largest = self.largest.max(self.picture.1);
        self.count(1, now);
    }

    /// A frame of so many bytes is about to be written.
    pub fn frame(
        &mut self,
        bytes: usize,
        now: Instant,
        round_trip: Option<Duration>,
        stream: &mut StreamTx,
    ) {
        let packets = bytes / PACKET + 1;
        self.largest = self.largest.max(packets);
        self.adapt(now, round_trip, stream);
        self.count(packets, now);
    }

    /// A packet of this SSRC leaves.
    pub fn leaves(&mut self, ssrc: u32, now: Instant) {
        if self.repair == Some(ssrc) {
            self.repaired = Some(now);
        }
    }

    /// The other side has lost so much that it wants a keyframe, or has just begun: what comes next is large, too. And
    /// what was sent before is of no use to it.
    pub fn keyframe_requested(&mut self) {
        self.begun = None;
        self.window = None;
    }

    fn count(&mut self, packets: usize, now: Instant) {
        self.begun.get_or_insert(now);
        self.window.get_or_insert((now, 0)).1 += packets;
    }

    fn adapt(&mut self, now: Instant, round_trip: Option<Duration>, stream: &mut StreamTx) {
        self.repair = stream.rtx().map(|ssrc| *ssrc);
        if let Some(kept) = self.wanted(now, round_trip) {
            self.kept = kept;
            stream.set_rtx_cache(kept, MAX_AGE, Some(SHARE));
        }
    }

    /// How many are to be kept from now on, if that changes. What was kept before is gone then, so that is seldom.
    fn wanted(&mut self, now: Instant, round_trip: Option<Duration>) -> Option<usize> {
        let Some(begun) = self.begun else {
            return (self.kept < UNKNOWN).then_some(UNKNOWN);
        };
        let mut needed = MIN.max(2 * self.largest);
        let mut is_measured = false;
        if let Some((since, count)) = self.window {
            let elapsed = now.saturating_duration_since(since);
            if elapsed >= PATIENCE {
                self.window = Some((now, 0));
                is_measured = since > begun;
                let patience = PATIENCE.max(4 * round_trip.unwrap_or_default());
                let rate = count as f64 / elapsed.as_secs_f64();
                // The first has all in it that came at once.
                if is_measured {
                    needed = needed.max((rate * patience.as_secs_f64()) as usize);
                }
            }
        }
        let needed = needed.next_multiple_of(STEP);
        if needed > self.kept && self.kept < MAX {
            return Some(needed.max(self.kept + self.kept / 2).min(MAX));
        }
        let is_less = is_measured && needed < self.kept / 2 && self.loses_nothing(begun, now);
        is_less.then_some(needed)
    }

    /// Nothing has been asked for, and we would have heard.
    fn loses_nothing(&self, begun: Instant, now: Instant) -> bool {
        let is_calm = |repaired| now.saturating_duration_since(repaired) >= CALM;
        now >= begun + BEGINNING && self.repaired.is_none_or(is_calm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four seconds of pictures of so many packets, so many milliseconds apart, some of which get lost or none. How many
    /// packets are kept at last.
    fn play(history: &mut History, begin: Instant, packets: usize, gap: u64, loses: bool) -> usize {
        history.repair = Some(7);
        for picture in 0..4000 / gap {
            let now = begin + Duration::from_millis(picture * gap);
            history.leaves(if loses && picture % 30 == 20 { 7 } else { 8 }, now);
            if let Some(kept) = history.wanted(now, None) {
                history.kept = kept;
            }
            history.largest = history.largest.max(packets);
            history.count(packets, now);
        }
        history.kept
    }

    #[test]
    fn a_slow_stream_that_arrives_keeps_few() {
        let mut history = History::default();
        let begin = Instant::now();
        assert_eq!(play(&mut history, begin, 2, 40, false), MIN);
        // It asks for a keyframe: all of it can be sent again.
        history.keyframe_requested();
        assert_eq!(history.wanted(begin, None), Some(UNKNOWN));
    }

    #[test]
    fn who_loses_packets_can_have_many_of_them() {
        let mut history = History::default();
        let begin = Instant::now();
        assert_eq!(play(&mut history, begin, 2, 40, true), UNKNOWN);
        let begin = begin + Duration::from_secs(4);
        assert_eq!(play(&mut history, begin, 2, 40, false), UNKNOWN);
        assert_eq!(play(&mut history, begin + CALM, 2, 40, false), MIN);
        // Nothing is thrown away because it begins again.
        assert_eq!(play(&mut history, begin + 2 * CALM, 2, 40, true), MIN);
    }

    #[test]
    fn a_fast_stream_keeps_half_a_second() {
        let mut history = History::default();
        // 2,500 packets a second, and 250.
        let begin = Instant::now();
        assert_eq!(play(&mut history, begin, 20, 8, false), MAX);
        assert_eq!(play(&mut History::default(), begin, 10, 40, false), 128);
    }

    #[test]
    fn a_long_way_takes_more() {
        let mut history = History::default();
        let begin = Instant::now();
        assert_eq!(play(&mut history, begin, 10, 40, false), 128);
        history.window = Some((begin + Duration::from_secs(4), 250));
        let now = begin + Duration::from_secs(5);
        let wanted = history.wanted(now, Some(Duration::from_millis(400)));
        assert_eq!(wanted, Some(416));
    }

    #[test]
    fn two_of_the_largest_picture_are_kept() {
        let mut history = History::default();
        let begin = Instant::now();
        assert_eq!(play(&mut history, begin, 100, 1000, false), 224);
        history.largest = 9000;
        assert_eq!(history.wanted(begin, None), Some(MAX));
    }
}
