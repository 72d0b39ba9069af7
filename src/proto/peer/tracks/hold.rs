//! Playout delay requested from a receiver (header extension `playout-delay`).
//!
//! A browser that only receives does not know the round-trip time and does not wait for retransmissions: each lost
//! packet freezes the video. The sender knows it, and the losses, and so requests a delay that covers one
//! retransmission. Receivers without losses get no request.

use std::time::{Duration, Instant};

/// Time for detecting a gap, requesting, answering and decoding.
const MARGIN: Duration = Duration::from_millis(60);

/// Added if losses are high, so that retransmissions are lost as well: libwebrtc repeats a request after this time if
/// it does not know the round-trip time.
const SECOND_REPAIR: Duration = Duration::from_millis(100);

/// Loss rate that counts as high, and the rate below which it no longer does.
const MUCH: f32 = 0.03;
const LITTLE: f32 = 0.015;

/// Maximum delay requested.
const MOST: Duration = Duration::from_millis(600);

/// A receiver without requests for this time needs no delay any more.
const CALM: Duration = Duration::from_secs(30);

/// Time for which the end of the delay is announced.
const FAREWELL: Duration = Duration::from_secs(5);

/// Smaller changes are not applied.
const STEP: Duration = Duration::from_millis(40);

/// The playout delay requested from one receiver of a track.
#[derive(Debug, Default)]
pub(super) struct Hold {
    nacks: u64,
    /// When it last lost a packet.
    lost: Option<Instant>,
    /// Smoothed loss rate.
    share: f32,
    is_much: bool,
    delay: Duration,
}

impl Hold {
    /// Updates from the receiver's statistics: its total number of NACKs, its recent loss rate, and the round-trip
    /// time.
    pub fn learn(
        &mut self,
        nacks: u64,
        share: Option<f32>,
        round_trip: Option<Duration>,
        now: Instant,
    ) {
        self.share += (share.unwrap_or(0.0) - self.share) / 4.0;
        self.is_much = self.share > if self.is_much { LITTLE } else { MUCH };
        if nacks > self.nacks {
            self.lost = Some(now);
        }
        self.nacks = nacks;
        let Some(lost) = self.lost else {
            return;
        };
        if now.saturating_duration_since(lost) >= CALM {
            self.delay = Duration::ZERO;
        } else if let Some(round_trip) = round_trip {
            let second = if self.is_much {
                SECOND_REPAIR
            } else {
                Duration::ZERO
            };
            let wanted = (round_trip + MARGIN + second).min(MOST);
            // Reduced only if the difference is large.
            if wanted > self.delay || wanted + STEP < self.delay {
                self.delay = wanted + STEP / 4;
            }
        }
    }

    /// Returns the delay for the next frame; `None` if it carries none.
    pub fn delay(&self, now: Instant) -> Option<Duration> {
        let lost = self.lost?;
        let is_over = now.saturating_duration_since(lost) >= CALM + FAREWELL;
        let is_known = self.delay > Duration::ZERO || now >= lost + CALM;
        (is_known && !is_over).then_some(self.delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_loses_packets_holds_back_for_one_repair() {
        let begun = Instant::now();
        let at = |s: u64| begun + Duration::from_secs(s);
        let ms = Duration::from_millis;
        let mut hold = Hold::default();
        hold.learn(0, None, Some(ms(80)), at(0));
        assert_eq!(hold.delay(at(0)), None);
        hold.learn(3, None, None, at(1));
        assert_eq!(
            hold.delay(at(1)),
            None,
            "not before the round trip is known"
        );
        hold.learn(3, None, Some(ms(80)), at(2));
        assert_eq!(hold.delay(at(2)), Some(ms(150)));
        // Small changes are ignored, a longer path is not.
        hold.learn(4, None, Some(ms(85)), at(3));
        hold.learn(4, None, Some(ms(60)), at(4));
        assert_eq!(hold.delay(at(4)), Some(ms(150)));
        hold.learn(5, None, Some(ms(200)), at(5));
        assert_eq!(hold.delay(at(5)), Some(ms(270)));
        hold.learn(6, None, Some(ms(9000)), at(6));
        assert_eq!(hold.delay(at(6)), Some(ms(610)));
        // High losses, for a while.
        for s in 7..12 {
            hold.learn(6 + s, Some(0.08), Some(ms(80)), at(s));
        }
        assert_eq!(hold.delay(at(12)), Some(ms(250)));
        // No losses.
        hold.learn(17, None, Some(ms(80)), at(43));
        assert_eq!(hold.delay(at(43)), Some(Duration::ZERO));
        hold.learn(17, None, Some(ms(80)), at(48));
        assert_eq!(hold.delay(at(48)), None);
        hold.learn(18, None, Some(ms(80)), at(50));
        assert_eq!(hold.delay(at(50)), Some(ms(250)), "not forgotten at once");
        for s in 51..60 {
            hold.learn(19, None, Some(ms(80)), at(s));
        }
        assert_eq!(hold.delay(at(60)), Some(ms(150)));
    }
}
