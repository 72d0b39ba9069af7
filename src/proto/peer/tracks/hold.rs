//! How long a receiver is told to hold pictures back (the header extension `playout-delay`).
//!
//! A browser that only receives does not know the round trip, so it does not wait for what is sent again: each lost packet is
//! a freeze. We know it, and that packets get lost, so we tell it to hold back for as long as one repair takes. Receivers
//! that lose nothing are told nothing.

use std::time::{Duration, Instant};

/// To notice a gap, ask, answer and decode.
const MARGIN: Duration = Duration::from_millis(60);

/// Where much gets lost, a repair gets lost as well, and libwebrtc asks again after this when it does not know the round trip.
const SECOND_REPAIR: Duration = Duration::from_millis(100);

/// The share of packets whose loss is much, and the share at which it is not any more.
const MUCH: f32 = 0.03;
const LITTLE: f32 = 0.015;

/// The longest that is asked for.
const MOST: Duration = Duration::from_millis(600);

/// A receiver that has asked for nothing for this long needs no delay any more.
const CALM: Duration = Duration::from_secs(30);

/// How long it is told so.
const FAREWELL: Duration = Duration::from_secs(5);

/// A change by less is not worth a change of pace.
const STEP: Duration = Duration::from_millis(40);

/// The playout delay that one receiver of a track is asked for.
#[derive(Debug, Default)]
pub(super) struct Hold {
    nacks: u64,
    /// When it last lost something.
    lost: Option<Instant>,
    /// The share of packets lost, smoothed.
    share: f32,
    is_much: bool,
    delay: Duration,
}

impl Hold {
    /// Takes the receiver's statistics: how often it has asked for lost packets so far, the share of packets that it lost
    /// lately, and the round trip.
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
            // Shorter only when much is gained.
            if wanted > self.delay || wanted + STEP < self.delay {
                self.delay = wanted + STEP / 4;
            }
        }
    }

    /// Returns the delay that the next frame carries; `None` if it carries none.
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
        // Small changes make no difference, a longer way does.
        hold.learn(4, None, Some(ms(85)), at(3));
        hold.learn(4, None, Some(ms(60)), at(4));
        assert_eq!(hold.delay(at(4)), Some(ms(150)));
        hold.learn(5, None, Some(ms(200)), at(5));
        assert_eq!(hold.delay(at(5)), Some(ms(270)));
        hold.learn(6, None, Some(ms(9000)), at(6));
        assert_eq!(hold.delay(at(6)), Some(ms(610)));
        // Much is lost, for a while.
        for s in 7..12 {
            hold.learn(6 + s, Some(0.08), Some(ms(80)), at(s));
        }
        assert_eq!(hold.delay(at(12)), Some(ms(250)));
        // Calm.
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
