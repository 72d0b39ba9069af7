//! Detection of lost packets, and when they are requested (RFC 4585 §6.2.1).
//!
//! A packet is requested as soon as it is missed, and again each time the retransmission should have arrived: once per
//! round trip, which is measured by the packets that arrive and by connectivity checks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Maximum number of streams tracked per peer. Further ones are left to the core.
pub(super) const MAX_STREAMS: usize = 32;

/// Maximum number of packets of one stream requested at a time. With more losses a keyframe is more useful.
const MAX_MISSING: usize = 256;

/// Maximum jump of sequence numbers; beyond it the stream starts anew (RFC 3550 §A.1).
const MAX_JUMP: u64 = 3000;

/// Time after which a packet counts as lost rather than reordered.
const REORDERING: Duration = Duration::from_millis(10);

/// Assumed round-trip time before the first measurement.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_millis(100);

/// Maximum round-trip time that is believed.
const MAX_ROUND_TRIP: Duration = Duration::from_millis(500);

/// A packet that has not arrived within this time, and within [two round trips](Losses::late_after), is late: a
/// keyframe may arrive sooner.
const LATE: Duration = Duration::from_millis(250);

/// Age after which a packet is useless.
const USELESS: Duration = Duration::from_millis(1500);

/// Time without losses after which a path counts as free of loss.
const CALM: Duration = Duration::from_secs(30);

/// Requests that are due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Streams with the numbers to request, in order.
    pub ask: Vec<(u32, Vec<u16>)>,
    /// Streams with a packet that has become late.
    pub late: Vec<u32>,
}

/// The tracked streams of one peer.
#[derive(Debug, Default)]
pub(super) struct Losses {
    streams: Vec<Stream>,
    round_trip: Option<Duration>,
    deadline: Option<Instant>,
    /// When a packet was last requested.
    asked: Option<Instant>,
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    heard: Instant,
    highest: u64,
    /// Missing packets, by number.
    missing: VecDeque<Missing>,
    /// Set if more was lost than is requested.
    is_torn: bool,
}

#[derive(Debug)]
struct Missing {
    number: u64,
    since: Instant,
    asked: Option<Instant>,
    times: u32,
    again: Instant,
    is_late: bool,
}

impl Losses {
    pub fn follows(&self, ssrc: u32) -> bool {
        self.streams.iter().any(|s| s.ssrc == ssrc)
    }

    /// Iterates over the tracked streams.
    pub fn streams(&self) -> impl Iterator<Item = u32> + '_ {
        self.streams.iter().map(|s| s.ssrc)
    }

    /// Returns the extended number of a packet that is missing; `None` if it is not.
    pub fn missing(&self, ssrc: u32, number: u16) -> Option<u64> {
        let stream = self.streams.iter().find(|s| s.ssrc == ssrc)?;
        let missing = stream.missing.iter();
        let mut numbers = missing.map(|m| m.number);
        numbers.find(|n| *n as u16 == number)
    }

    /// Records a packet that arrives for the first time, by its extended number.
    pub fn received(&mut self, ssrc: u32, number: u64, now: Instant) {
        let Some(stream) = self.streams.iter_mut().find(|s| s.ssrc == ssrc) else {
            return self.begin(ssrc, number, now);
        };
        stream.heard = now;
        if number <= stream.highest {
            if let Some(sample) = stream.found(number, now) {
                self.measured(sample);
            }
        } else {
            stream.advance(number, now);
            if stream.is_torn || !stream.missing.is_empty() {
                self.plan();
            }
        }
    }

    fn begin(&mut self, ssrc: u32, number: u64, now: Instant) {
        if self.streams.len() >= MAX_STREAMS {
            let oldest = self.streams.iter().enumerate().min_by_key(|(_, s)| s.heard);
            if let Some((index, _)) = oldest {
                self.streams.swap_remove(index);
            }
        }
        self.streams.push(Stream {
            ssrc,
            heard: now,
            highest: number,
            missing: VecDeque::new(),
            is_torn: false,
        });
    }

    /// Records a measured round-trip time.
    pub fn measured(&mut self, sample: Duration) {
        let sample = sample.min(MAX_ROUND_TRIP);
        self.round_trip = Some(self.round_trip.map_or(sample, |old| (old * 7 + sample) / 8));
    }

    /// Returns the time after which a request is repeated.
    fn answer_time(&self) -> Duration {
        let round_trip = self.round_trip.unwrap_or(UNKNOWN_ROUND_TRIP);
        round_trip + round_trip / 8 + REORDERING
    }

    /// Returns the time that a repair takes, while packets are being lost: from the packet after the gap to the
    /// retransmission.
    pub fn repair_delay(&self, now: Instant) -> Option<Duration> {
        let asked = self.asked?;
        (now.saturating_duration_since(asked) < CALM).then(|| self.answer_time() + REORDERING)
    }

    /// Returns the age at which a keyframe is needed: after two requests, or the time for them.
    fn late_after(&self) -> Duration {
        LATE.max(2 * self.answer_time())
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn plan(&mut self) {
        let late = self.late_after();
        let all = self.streams.iter();
        self.deadline = all.filter_map(|s| s.deadline(late)).min();
    }

    /// Returns what is due.
    pub fn due(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        let (late, answer) = (self.late_after(), self.answer_time());
        for stream in &mut self.streams {
            stream.missing.retain(|m| now < m.since + USELESS);
            let mut is_late = std::mem::take(&mut stream.is_torn);
            let mut ask = Vec::new();
            for missing in &mut stream.missing {
                if !missing.is_late && now >= missing.since + late {
                    missing.is_late = true;
                    is_late = true;
                }
                if now >= missing.again {
                    missing.asked = Some(now);
                    missing.times += 1;
                    missing.again = now + answer;
                    ask.push(missing.number as u16);
                }
            }
            if is_late {
                due.late.push(stream.ssrc);
            }
            if !ask.is_empty() {
                self.asked = Some(now);
                due.ask.push((stream.ssrc, ask));
            }
        }
        self.plan();
        due
    }
}

impl Stream {
    /// Handles the arrival of a missing packet. Returns the time since the request, if it was requested once.
    fn found(&mut self, number: u64, now: Instant) -> Option<Duration> {
        let at = self.missing.binary_search_by_key(&number, |m| m.number);
        let found = self.missing.remove(at.ok()?)?;
        let asked = found.asked.filter(|_| found.times == 1)?;
        Some(now.saturating_duration_since(asked))
    }

    fn advance(&mut self, number: u64, now: Instant) {
        let first = self.highest + 1;
        self.highest = number;
        if number - first > MAX_JUMP {
            self.missing.clear();
            return;
        }
        let kept = first.max(number.saturating_sub(MAX_MISSING as u64));
        self.is_torn |= kept > first;
        for number in kept..number {
            if self.missing.len() >= MAX_MISSING {
                self.missing.pop_front();
                self.is_torn = true;
            }
            self.missing.push_back(Missing {
                number,
                since: now,
                asked: None,
                times: 0,
                again: now + REORDERING,
                is_late: false,
            });
        }
    }

    fn deadline(&self, late: Duration) -> Option<Instant> {
        if self.is_torn {
            return Some(self.heard);
        }
        let of = |m: &Missing| match m.is_late {
            true => m.again.min(m.since + USELESS),
            false => m.again.min(m.since + late),
        };
        self.missing.iter().map(of).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        losses: Losses,
        begun: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                losses: Losses::default(),
                begun: Instant::now(),
            }
        }

        fn at(&self, ms: u64) -> Instant {
            self.begun + Duration::from_millis(ms)
        }

        fn come(&mut self, ms: u64, numbers: impl IntoIterator<Item = u64>) {
            let now = self.at(ms);
            for number in numbers {
                self.losses.received(7, number, now);
            }
        }

        /// Returns each request with its time, up to `until`.
        fn run(&mut self, until: u64) -> Vec<(u128, Due)> {
            let mut done = Vec::new();
            while let Some(at) = self.losses.deadline().filter(|at| *at <= self.at(until)) {
                let due = self.losses.due(at);
                if due != Due::default() {
                    done.push((at.duration_since(self.begun).as_millis(), due));
                }
            }
            done
        }
    }

    fn ask(numbers: &[u16]) -> Due {
        Due {
            ask: vec![(7, numbers.to_vec())],
            late: vec![],
        }
    }

    fn late(mut due: Due) -> Due {
        due.late = vec![7];
        due
    }

    #[test]
    fn what_is_missing_is_asked_for_once_in_a_round_trip_until_it_comes() {
        let mut bench = Bench::new();
        bench.come(0, [65_530, 65_531, 65_537, 65_538]);
        assert_eq!(bench.run(9), []);
        // Overtaken packets are not requested.
        bench.come(9, [65_533, 65_534, 65_535]);
        assert_eq!(bench.run(50), [(10, ask(&[65_532, 0]))]);
        // 200 ms later one of them has arrived: that is the round-trip time.
        bench.come(122, [65_536]);
        assert_eq!(bench.run(210), [(132, ask(&[65_532]))]);
        assert_eq!(bench.losses.round_trip, Some(Duration::from_millis(112)));
        bench.come(210, [65_532]);
        assert_eq!(bench.run(5000), []);
        assert_eq!(bench.losses.deadline(), None);
    }

    #[test]
    fn what_does_not_come_is_late_after_two_round_trips_and_given_up_later() {
        let mut bench = Bench::new();
        bench.come(0, [1, 3]);
        bench.come(10 + 40, []);
        bench.losses.round_trip = Some(Duration::from_millis(80));
        let done = bench.run(5000);
        assert_eq!(
            done[..3].iter().map(|d| d.0).collect::<Vec<_>>(),
            [10, 110, 210]
        );
        assert_eq!(done[3], (250, late(Due::default())));
        assert!(
            done[4..]
                .iter()
                .all(|(at, due)| *due == ask(&[2]) && *at < 1500)
        );
        assert_eq!(bench.losses.deadline(), None);

        // A long path: two round trips.
        let mut bench = Bench::new();
        bench.losses.round_trip = Some(Duration::from_millis(200));
        bench.come(0, [1, 3]);
        let done = bench.run(600);
        let is_late = |d: &&(u128, Due)| !d.1.late.is_empty();
        assert_eq!(done.iter().find(is_late).map(|d| d.0), Some(470));
    }

    #[test]
    fn more_than_can_be_repaired_is_late_at_once() {
        let mut bench = Bench::new();
        bench.come(0, [1, 1000]);
        let done = bench.run(10);
        assert_eq!(done[0], (0, late(Due::default())));
        assert_eq!(done[1].1.ask[0].1.len(), MAX_MISSING);
        // A new start is not a loss.
        let mut bench = Bench::new();
        bench.come(0, [1, 10_000, 10_001]);
        assert_eq!(bench.run(5000), []);
    }

    #[test]
    fn streams_are_limited() {
        let mut losses = Losses::default();
        let now = Instant::now();
        for ssrc in 0..3 * MAX_STREAMS as u32 {
            losses.received(ssrc, 1, now + Duration::from_millis(ssrc.into()));
        }
        assert_eq!(losses.streams.len(), MAX_STREAMS);
        assert!(losses.follows(3 * MAX_STREAMS as u32 - 1) && !losses.follows(0));
    }
}
