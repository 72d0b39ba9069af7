//! Number of packets kept for retransmission (RFC 4588).
//!
//! The core needs about 400 bytes per packet in every peer, plus the payload: with a thousand packets that is most of
//! the memory of a viewer. It is therefore told to keep only what this stream needs.

use std::time::{Duration, Instant};

use super::super::core::SendStream;

/// Maximum age of a kept packet. aiortc repeats a request only when it misses another packet, which takes a second and
/// more, and shows nothing until it has the missing one: with 1 s here, nearly every second run of 8 s at 5 % loss
/// froze there for good.
const MAX_AGE: Duration = Duration::from_secs(3);

/// Maximum share of retransmissions in all that is sent. The core's default is 15 %, beyond which it drops requests.
/// The core itself repeats requests every 33 ms, however long the path, and also when packets only overtake each other:
/// with 50 %, 10 % loss and 100 ms of jitter froze (docs/media.md). It is still a limit for abusive requests.
const SHARE: f32 = 0.8;

/// Number of packets kept for a stream about which nothing is known yet: it starts with a keyframe and everything after
/// it. Also for receivers with losses.
const UNKNOWN: usize = 640;

/// Minimum number of packets kept. A receiver that repeats requests only when it misses another packet misses five of
/// these at 5 % loss.
const MIN: usize = 96;

const MAX: usize = 1024;

const STEP: usize = 32;

/// Time during which lost packets are requested repeatedly: this, or four round trips.
const PATIENCE: Duration = Duration::from_millis(500);

/// A receiver without losses for this time is assumed to have none.
const CALM: Duration = Duration::from_secs(10);

/// Duration of the initial burst, including requests for packets lost in it.
const BEGINNING: Duration = Duration::from_millis(1500);

/// Minimum size of the packets of a keyframe, in bytes.
const PACKET: usize = 1000;

/// Sending history of one stream, and how much of it the core keeps.
#[derive(Debug)]
pub(super) struct History {
    /// The number that the core was told.
    kept: usize,
    /// When the stream started, or restarted.
    begun: Option<Instant>,
    /// Start of the measurement, and number of packets since.
    window: Option<(Instant, usize)>,
    /// Number of packets of the largest frame so far, and of the current one (by its timestamp).
    largest: usize,
    picture: (u32, usize),
    /// SSRC of the retransmissions, and time of the last one.
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
    /// Tells the core how many packets to keep until more is known.
    pub fn begin(stream: &mut SendStream<'_>) {
        stream.keep(UNKNOWN, MAX_AGE, SHARE);
    }

    /// Called before a packet of the frame with this timestamp is written.
    pub fn packet(
        &mut self,
        timestamp: u32,
        now: Instant,
        round_trip: Option<Duration>,
        stream: &mut SendStream<'_>,
    ) {
        if self.picture.0 == timestamp {
            self.picture.1 += 1;
        } else {
            self.picture = (timestamp, 1);
            // Only between two frames, because a change discards the kept packets.
            self.adapt(now, round_trip, stream);
        }
        self.largest = self.largest.max(self.picture.1);
        self.count(1, now);
    }

    /// Called before a frame of this size is written.
    pub fn frame(
        &mut self,
        bytes: usize,
        now: Instant,
        round_trip: Option<Duration>,
        stream: &mut SendStream<'_>,
    ) {
        let packets = bytes / PACKET + 1;
        self.largest = self.largest.max(packets);
        self.adapt(now, round_trip, stream);
        self.count(packets, now);
    }

    /// Records that a packet with this SSRC is sent.
    pub fn leaves(&mut self, ssrc: u32, now: Instant) {
        if self.repair == Some(ssrc) {
            self.repaired = Some(now);
        }
    }

    /// Handles a keyframe request: the remote peer has lost much, or has just started, so what follows is large; and
    /// earlier packets are useless to it.
    pub fn keyframe_requested(&mut self) {
        self.begun = None;
        self.window = None;
    }

    fn count(&mut self, packets: usize, now: Instant) {
        self.begun.get_or_insert(now);
        self.window.get_or_insert((now, 0)).1 += packets;
    }

    fn adapt(&mut self, now: Instant, round_trip: Option<Duration>, stream: &mut SendStream<'_>) {
        self.repair = stream.rtx();
        if let Some(kept) = self.wanted(now, round_trip) {
            self.kept = kept;
            stream.keep(kept, MAX_AGE, SHARE);
        }
    }

    /// Returns the number to keep from now on, if it changes. A change discards the kept packets, so it is rare.
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
                // The first measurement includes the initial burst.
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

    /// Returns `true` if nothing was requested although there was time for it.
    fn loses_nothing(&self, begun: Instant, now: Instant) -> bool {
        let is_calm = |repaired| now.saturating_duration_since(repaired) >= CALM;
        now >= begun + BEGINNING && self.repaired.is_none_or(is_calm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends four seconds of frames of this many packets at this interval, with losses or without; returns the number
    /// of packets kept at the end.
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
        // A keyframe request: all packets of it can be retransmitted.
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
        // A restart discards nothing.
        assert_eq!(play(&mut history, begin + 2 * CALM, 2, 40, true), MIN);
    }

    #[test]
    fn a_fast_stream_keeps_half_a_second() {
        let mut history = History::default();
        // 2,500 packets per second, and 250.
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
