//! Rewriting the packets of changing sources into one continuous stream.

use std::time::{Duration, Instant};

/// Maximum forward jump within one SSRC; beyond it the source has restarted (RFC 3550 §A.1: 3,000).
const MAX_DROPOUT: i32 = 3000;

/// Maximum lateness in packets; later ones are useless and dropped.
const WINDOW: u64 = 256;

/// The new numbers of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rewritten {
    /// Extended sequence number, with its rollovers.
    pub sequence_number: u64,
    pub timestamp: u32,
}

/// Maps sequence numbers and timestamps of sources to those of the outgoing stream. Gaps stay gaps, so that earlier
/// losses are visible. A number is never assigned twice, because SRTP encrypts two packets with the same number with
/// the same key stream.
#[derive(Debug, Default)]
pub(super) struct Rewriter {
    source: Option<Source>,
    /// The highest number sent, and when.
    last: Option<(Rewritten, Instant)>,
    restarting: bool,
    /// Which of the last `WINDOW` numbers up to `last` were assigned.
    given: [u64; (WINDOW / 64) as usize],
}

#[derive(Debug, Clone, Copy)]
struct Source {
    ssrc: u32,
    /// The source's highest sequence number, and the one it was mapped to.
    highest: (u16, u64),
    /// Number that its first number was mapped to.
    first: u64,
    timestamp_offset: u32,
}

impl Rewriter {
    /// Marks that the next packet starts a new source, whatever its SSRC.
    pub fn restart(&mut self) {
        self.restarting = self.source.is_some();
    }

    /// Returns the new numbers of a packet; `None` if it is a duplicate, or too late.
    pub fn rewrite(
        &mut self,
        ssrc: u32,
        sequence_number: u16,
        timestamp: u32,
        rate: u32,
        wallclock: Instant,
        first: u16,
    ) -> Option<Rewritten> {
        let known = self
            .source
            .filter(|s| s.ssrc == ssrc && !self.restarting)
            .and_then(|s| {
                let ahead = i32::from(sequence_number.wrapping_sub(s.highest.0).cast_signed());
                (-MAX_DROPOUT..=MAX_DROPOUT)
                    .contains(&ahead)
                    .then_some((s, ahead))
            });
        let Some((mut source, ahead)) = known else {
            return Some(self.begin(ssrc, sequence_number, timestamp, rate, wallclock, first));
        };
        let number = source.highest.1.checked_add_signed(ahead.into())?;
        if number < source.first || !self.give(number) {
            return None;
        }
        let rewritten = Rewritten {
            sequence_number: number,
            timestamp: timestamp.wrapping_add(source.timestamp_offset),
        };
        if ahead > 0 {
            source.highest = (sequence_number, number);
            self.source = Some(source);
            self.last = Some((rewritten, wallclock));
        }
        Some(rewritten)
    }

    /// Starts a new source, which continues the previous one after the elapsed time.
    fn begin(
        &mut self,
        ssrc: u32,
        sequence_number: u16,
        timestamp: u32,
        rate: u32,
        wallclock: Instant,
        first: u16,
    ) -> Rewritten {
        let rewritten = match self.last {
            None => Rewritten {
                sequence_number: first.into(),
                timestamp,
            },
            Some((last, at)) => Rewritten {
                sequence_number: last.sequence_number + 1,
                timestamp: last
                    .timestamp
                    .wrapping_add(ticks(wallclock.saturating_duration_since(at), rate).max(1)),
            },
        };
        self.give(rewritten.sequence_number);
        self.source = Some(Source {
            ssrc,
            highest: (sequence_number, rewritten.sequence_number),
            first: rewritten.sequence_number,
            timestamp_offset: rewritten.timestamp.wrapping_sub(timestamp),
        });
        self.last = Some((rewritten, wallclock));
        self.restarting = false;
        rewritten
    }

    /// Returns `true` if this number was not used, and marks it as used.
    fn give(&mut self, number: u64) -> bool {
        let highest = self.last.map(|(l, _)| l.sequence_number);
        let ahead = match highest {
            None => WINDOW,
            Some(highest) if number > highest => number - highest,
            Some(highest) if highest - number >= WINDOW => return false,
            Some(_) => 0,
        };
        // Slots that come round again are free.
        if ahead >= WINDOW {
            self.given = [0; (WINDOW / 64) as usize];
        } else {
            for n in (1..ahead).map(|back| number - back) {
                self.place(n, false);
            }
        }
        let is_free = ahead > 0 || !self.is_given(number);
        self.place(number, true);
        is_free
    }

    fn is_given(&self, number: u64) -> bool {
        self.given[(number % WINDOW / 64) as usize] & (1 << (number % 64)) != 0
    }

    fn place(&mut self, number: u64, given: bool) {
        let word = &mut self.given[(number % WINDOW / 64) as usize];
        let bit = 1 << (number % 64);
        *word = if given { *word | bit } else { *word & !bit };
    }
}

fn ticks(time: Duration, rate: u32) -> u32 {
    // A source that pauses longer than the range of a timestamp continues anywhere.
    (time.as_nanos() * u128::from(rate) / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(t0: Instant, ms: u64) -> Instant {
        t0 + Duration::from_millis(ms)
    }

    #[test]
    fn sources_follow_each_other_without_a_seam() {
        let t0 = Instant::now();
        let mut r = Rewriter::default();
        let mut send = |ssrc, seq, ts, ms| {
            r.rewrite(ssrc, seq, ts, 90_000, at(t0, ms), 500)
                .map(|r| (r.sequence_number, r.timestamp))
        };
        assert_eq!(send(1, 65_535, 9000, 0), Some((500, 9000)));
        // Across the wrap, with a gap, and then the missing packet.
        assert_eq!(send(1, 1, 12_000, 33), Some((502, 12_000)));
        assert_eq!(send(1, 0, 9000, 34), Some((501, 9000)));
        assert_eq!(send(1, 0, 9000, 35), None, "twice");
        // Nothing precedes the first packet of the source.
        assert_eq!(send(1, 65_534, 9000, 36), None);
        // Another source, a second later.
        assert_eq!(send(2, 40_000, 77, 1033), Some((503, 102_000)));
        assert_eq!(send(2, 39_999, 70, 1034), None);
        assert_eq!(send(2, 40_001, 77 + 3000, 1066), Some((504, 105_000)));
        // The same SSRC, restarted.
        assert_eq!(send(2, 10, 0, 2066), Some((505, 195_000)));
    }

    #[test]
    fn a_restart_is_a_new_source() {
        let t0 = Instant::now();
        let mut r = Rewriter::default();
        r.rewrite(1, 5, 100, 48_000, t0, 9);
        r.restart();
        let next = r.rewrite(1, 6, 100, 48_000, at(t0, 20), 9).unwrap();
        assert_eq!((next.sequence_number, next.timestamp), (10, 100 + 960));
    }

    /// Whatever the input, no number is assigned twice, and order is preserved.
    #[test]
    fn no_number_twice() {
        let t0 = Instant::now();
        let mut random = 1u64;
        let mut next = || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            random >> 33
        };
        let mut r = Rewriter::default();
        let mut seen = std::collections::HashSet::new();
        let (mut ssrc, mut seq) = (0, 0u16);
        for i in 0..200_000 {
            match next() % 100 {
                0 => ssrc = next() as u32,
                1 => seq = next() as u16,
                2..30 => seq = seq.wrapping_sub((next() % 400) as u16),
                _ => seq = seq.wrapping_add((next() % 4) as u16),
            }
            if let Some(r) = r.rewrite(ssrc, seq, 0, 90_000, at(t0, i), 0) {
                assert!(seen.insert(r.sequence_number), "{r:?}");
            }
        }
        assert!(seen.len() > 10_000);
    }
}
