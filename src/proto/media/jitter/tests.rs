use super::*;
use crate::testing::Rng;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A sender of packets every 20 ms at 48 kHz, and a simulated network.
struct Network {
    seed: u64,
    packets: u64,
    first_sequence: u16,
    first_timestamp: u32,
    loss: f64,
    duplicate: f64,
    /// Delay in microseconds, relative to the fastest, of a packet sent at this second.
    delay: fn(&mut Rng, u64) -> u64,
    /// Drift of the sender's clock against ours, in ppm.
    drift: i64,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            seed: 1,
            packets: 3000,
            first_sequence: 0,
            first_timestamp: 0,
            loss: 0.0,
            duplicate: 0.0,
            delay: |_, _| 0,
            drift: 0,
        }
    }
}

struct Outcome {
    /// Sequence number, send time and release time.
    given: Vec<(u64, Duration, Duration)>,
    stats: JitterStats,
    sent_once: u64,
    lost_before: u64,
    /// The delay at the end of each second.
    delays: Vec<Duration>,
    max_held: usize,
}

impl Network {
    /// Returns the arrival time of each packet.
    fn arrivals(&self) -> (Vec<(Duration, u64)>, u64) {
        let mut rng = Rng::new(self.seed);
        let (mut arrivals, mut sent) = (Vec::new(), 0);
        for n in 0..self.packets {
            let at = self.sent_at(n);
            let copies = if rng.chance(self.loss) {
                0
            } else {
                1 + u64::from(rng.chance(self.duplicate))
            };
            sent += copies.min(1);
            for copy in 0..copies {
                let delay = (self.delay)(&mut rng, at.as_secs());
                arrivals.push((at + Duration::from_micros(50_000 + delay + 3000 * copy), n));
            }
        }
        arrivals.sort();
        (arrivals, sent)
    }

    fn sent_at(&self, n: u64) -> Duration {
        Duration::from_micros((n as i64 * 20_000 * (1_000_000 + self.drift) / 1_000_000) as u64)
    }

    fn arrival(&self, n: u64) -> Arrival<u64> {
        Arrival {
            ssrc: 7,
            sequence: self.first_sequence.wrapping_add(n as u16),
            packets: 1,
            timestamp: self.first_timestamp.wrapping_add(n as u32 * 960),
            bytes: 100,
            item: n,
        }
    }

    fn run(&self, config: JitterConfig) -> Outcome {
        let start = Instant::now();
        let (arrivals, sent_once) = self.arrivals();
        let mut buffer = JitterBuffer::new(config);
        let mut outcome = Outcome {
            given: Vec::new(),
            stats: JitterStats::default(),
            sent_once,
            lost_before: 0,
            delays: Vec::new(),
            max_held: 0,
        };
        let mut arrivals = arrivals.into_iter().peekable();
        let mut now = start;
        loop {
            let timeout = loop {
                match buffer.poll(now) {
                    JitterOutput::Item(released) => {
                        outcome.lost_before += u64::from(released.lost_before);
                        outcome.given.push((
                            released.item,
                            self.sent_at(released.item),
                            now - start,
                        ));
                    }
                    JitterOutput::Timeout(at) => break at,
                }
            };
            assert!(
                timeout.is_none_or(|at| at > now),
                "a timeout that has passed"
            );
            outcome.max_held = outcome.max_held.max(buffer.stats().held);
            while outcome.delays.len() < (now - start).as_secs() as usize {
                outcome.delays.push(buffer.stats().delay);
            }
            let arrival = arrivals.peek().map(|(at, _)| start + *at);
            match (arrival, timeout) {
                (Some(at), timeout) if timeout.is_none_or(|timeout| at <= timeout) => {
                    now = now.max(at);
                    let (_, n) = arrivals.next().unwrap();
                    buffer.insert(self.arrival(n), now);
                }
                (_, Some(at)) => now = at,
                (_, None) => break,
            }
        }
        outcome.stats = buffer.stats();
        outcome
    }
}

impl Outcome {
    /// Checks that packets are in order, unique and all accounted for.
    fn check(&self) {
        assert!(
            self.given.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "out of order"
        );
        let stats = &self.stats;
        assert_eq!(stats.emitted, self.given.len() as u64);
        assert_eq!(stats.emitted + stats.late, self.sent_once, "{stats:?}");
        assert_eq!(stats.received, stats.emitted + stats.late + stats.duplicate);
        assert_eq!(stats.lost, self.lost_before);
        assert_eq!((stats.held, stats.held_bytes, stats.overflowed), (0, 0, 0));
    }

    /// Returns the fraction of packets that were not released at a constant time after sending.
    fn uneven(&self, from: Duration) -> f64 {
        let later: Vec<_> = self.given.iter().filter(|given| given.1 > from).collect();
        let step = |pair: &[&(u64, Duration, Duration)]| {
            let sent = (pair[1].1 - pair[0].1).as_micros() as i64;
            let given = (pair[1].2 - pair[0].2).as_micros() as i64;
            (given - sent).abs() > 1000
        };
        later.windows(2).filter(|pair| step(pair)).count() as f64 / later.len() as f64
    }
}

/// Returns an exponentially distributed value, typical of queues, with this mean in microseconds.
fn exponential(rng: &mut Rng, mean: f64) -> u64 {
    let uniform = (rng.below(1 << 30) + 1) as f64 / (1u64 << 30) as f64;
    (-uniform.ln() * mean) as u64
}

#[test]
fn a_quiet_network_costs_little() {
    let outcome = Network::default().run(JitterConfig::new(48_000));
    outcome.check();
    assert_eq!(
        (
            outcome.stats.lost,
            outcome.stats.late,
            outcome.stats.reordered
        ),
        (0, 0, 0)
    );
    assert_eq!(outcome.stats.target_delay, ms(5));
    assert!(outcome.delays[30] <= ms(5), "{:?}", outcome.delays);
    assert_eq!(outcome.stats.jitter, Duration::ZERO);
    assert!(outcome.uneven(ms(5000)) == 0.0);
}

#[test]
fn jitter_is_smoothed() {
    for (mean, seed) in [(5_000, 1), (20_000, 2), (40_000, 3)] {
        let delay: fn(&mut Rng, u64) -> u64 = match mean {
            5_000 => |rng, _| exponential(rng, 5_000.0),
            20_000 => |rng, _| exponential(rng, 20_000.0),
            _ => |rng, _| exponential(rng, 40_000.0),
        };
        let network = Network {
            seed,
            delay,
            ..Network::default()
        };
        let outcome = network.run(JitterConfig::new(48_000));
        outcome.check();
        let stats = &outcome.stats;
        // 99 % of an exponential distribution are below 4.6 times the mean.
        let ideal = Duration::from_micros(mean * 46 / 10);
        let settled = outcome.delays[20..].iter();
        let (least, most) = (settled.clone().min().unwrap(), settled.max().unwrap());
        assert!(
            *least > ideal / 2 && *most < ideal * 2 + ms(10),
            "{least:?} to {most:?} for {ideal:?}"
        );
        let late = stats.late as f64 / stats.received as f64;
        assert!(late < 0.025, "{late} late of mean {mean}");
        assert!(stats.reordered > 0 || mean < 20_000);
        assert!(
            outcome.uneven(ms(20_000)) < 0.2,
            "{}",
            outcome.uneven(ms(20_000))
        );
    }
}

#[test]
fn the_delay_follows_the_network() {
    // No jitter; 100 ms from 20 s to 40 s; then none again.
    let network = Network {
        packets: 6000,
        delay: |rng, second| {
            rng.below(if (20..40).contains(&second) {
                100_000
            } else {
                2_000
            })
        },
        ..Network::default()
    };
    let outcome = network.run(JitterConfig::new(48_000));
    outcome.check();
    let delays = &outcome.delays;
    assert!(delays[18] < ms(15), "{:?}", delays[18]);
    assert!(
        delays[23] > ms(85) && delays[39] < ms(130),
        "{:?} {:?}",
        delays[23],
        delays[39]
    );
    assert!(delays[110] < ms(15), "{:?}", delays[110]);
    // Learning costs a few packets, once.
    assert!(outcome.stats.late < 30, "{}", outcome.stats.late);
}

#[test]
fn losses_are_counted_and_do_not_hold_things_up() {
    for release in [Release::Paced, Release::InOrder] {
        let network = Network {
            loss: 0.1,
            duplicate: 0.05,
            delay: |rng, _| rng.below(30_000),
            ..Network::default()
        };
        let outcome = network.run(JitterConfig::new(48_000).release(release));
        outcome.check();
        let missing = network.packets - outcome.given.len() as u64;
        // Losses at the end are never noticed.
        assert!(
            missing - outcome.stats.lost <= 2,
            "{missing} {:?}",
            outcome.stats
        );
        assert!(outcome.stats.duplicate > 80);
        let longest = outcome
            .given
            .iter()
            .map(|(_, sent, given)| *given - *sent)
            .max()
            .unwrap();
        assert!(longest < ms(50 + 30 + 45), "{longest:?}");
    }
}

#[test]
fn in_order_release_waits_for_gaps_only() {
    let network = Network {
        delay: |rng, _| if rng.chance(0.05) { 45_000 } else { 0 },
        ..Network::default()
    };
    let outcome = network.run(JitterConfig::new(48_000).release(Release::InOrder));
    outcome.check();
    assert!(
        outcome.stats.reordered > 50 && outcome.stats.late <= 3,
        "{:?}",
        outcome.stats
    );
    let at_once = outcome
        .given
        .iter()
        .filter(|(_, sent, given)| *given - *sent <= ms(51));
    assert!(at_once.count() as f64 > 0.8 * outcome.given.len() as f64);
}

#[test]
fn retransmissions_are_waited_for() {
    // 5 % arrive a round trip of 120 ms later, as with NACK and RTX.
    let network = Network {
        delay: |rng, _| {
            if rng.chance(0.05) {
                120_000
            } else {
                rng.below(5_000)
            }
        },
        ..Network::default()
    };
    let outcome = network.run(JitterConfig::new(48_000));
    outcome.check();
    assert!(outcome.stats.late < 10, "{:?}", outcome.stats);
    assert!(
        outcome.stats.delay >= ms(115) && outcome.stats.delay < ms(140),
        "{:?}",
        outcome.stats
    );
}

#[test]
fn wrapping_numbers() {
    let network = Network {
        packets: 140_000,
        first_sequence: 65_500,
        first_timestamp: u32::MAX - 5000,
        delay: |rng, _| rng.below(30_000),
        ..Network::default()
    };
    let outcome = network.run(JitterConfig::new(48_000));
    outcome.check();
    assert_eq!((outcome.stats.stray, outcome.stats.restarts), (0, 0));
    assert_eq!(outcome.stats.lost, outcome.stats.late);
}

#[test]
fn clock_drift_over_an_hour() {
    for drift in [-300, 300] {
        let network = Network {
            packets: 180_000,
            drift,
            delay: |rng, _| rng.below(10_000),
            ..Network::default()
        };
        let outcome = network.run(JitterConfig::new(48_000));
        outcome.check();
        assert!(outcome.stats.late < 1800, "{drift}: {:?}", outcome.stats);
        assert!(outcome.stats.delay < ms(30), "{drift}: {:?}", outcome.stats);
        let (_, sent, given) = outcome.given.last().unwrap();
        assert!(
            *given - *sent < ms(50 + 35),
            "{drift}: {:?}",
            *given - *sent
        );
    }
}

#[test]
fn nothing_waits_longer_than_the_limit() {
    let network = Network {
        loss: 0.05,
        delay: |rng, _| exponential(rng, 300_000.0),
        ..Network::default()
    };
    let config = JitterConfig::new(48_000).max_delay(ms(200));
    let start = Instant::now();
    let mut buffer = JitterBuffer::new(config.clone());
    for (at, n) in network.arrivals().0 {
        let now = start + at;
        // The loop calls it at the time it asked for.
        loop {
            let next = match buffer.poll(now) {
                JitterOutput::Item(_) => continue,
                JitterOutput::Timeout(next) => next,
            };
            assert!(next.is_none_or(|next| next > now && next <= now + ms(200)));
            break;
        }
        buffer.insert(network.arrival(n), now);
        assert!(buffer.stats().delay <= ms(200));
    }
    network.run(config).check();
}

fn arrival(ssrc: u32, sequence: u16, timestamp: u32) -> Arrival<u16> {
    Arrival {
        ssrc,
        sequence,
        packets: 1,
        timestamp,
        bytes: 1000,
        item: sequence,
    }
}

fn drain<T>(buffer: &mut JitterBuffer<T>, now: Instant) -> Vec<Released<T>> {
    let next = |buffer: &mut JitterBuffer<T>| match buffer.poll(now) {
        JitterOutput::Item(released) => Some(released),
        JitterOutput::Timeout(_) => None,
    };
    std::iter::from_fn(|| next(buffer)).collect()
}

#[test]
fn another_ssrc_and_a_restart_begin_anew() {
    let now = Instant::now();
    let mut buffer = JitterBuffer::new(JitterConfig::new(90_000));
    buffer.insert(arrival(1, 102, 9000), now);
    buffer.insert(arrival(1, 100, 0), now);
    assert_eq!(drain(&mut buffer, now), []);
    buffer.insert(arrival(2, 60_000, 77), now + ms(1));
    let given = drain(&mut buffer, now + ms(1));
    assert_eq!(
        given
            .iter()
            .map(|r| (r.item, r.lost_before))
            .collect::<Vec<_>>(),
        [(100, 0), (102, 1)]
    );
    // One distant packet is not a restart, two are.
    buffer.insert(arrival(2, 5, 77), now + ms(2));
    buffer.insert(arrival(2, 60_001, 77), now + ms(2));
    assert_eq!((buffer.stats().stray, buffer.stats().restarts), (1, 1));
    buffer.insert(arrival(2, 20_000, 5), now + ms(3));
    buffer.insert(arrival(2, 20_001, 6), now + ms(3));
    buffer.flush(now + ms(3));
    let given = drain(&mut buffer, now + ms(3));
    let marks: Vec<_> = given.iter().map(|r| (r.item, r.discontinuity)).collect();
    assert_eq!(marks, [(60_000, true), (60_001, false), (20_001, true)]);
    assert_eq!((buffer.stats().restarts, buffer.stats().lost), (2, 1));
}

#[test]
fn a_jump_of_the_timestamps_is_survived() {
    let start = Instant::now();
    let mut buffer = JitterBuffer::new(JitterConfig::new(48_000));
    let (mut given, mut last) = (0, Duration::ZERO);
    for n in 0..3000u32 {
        // Every ten seconds the sender's timestamps jump, forwards and back.
        let leap = [0, 3_000_000_000, 48_000 * 60, 5][(n / 500) as usize % 4];
        let now = start + ms(20 * u64::from(n));
        buffer.insert(arrival(1, n as u16, leap + n * 960), now);
        for released in drain(&mut buffer, now) {
            assert_eq!(released.lost_before, 0);
            (given, last) = (given + 1, last.max(released.waited));
        }
    }
    assert!(given > 2990 && last <= ms(500), "{given} {last:?}");
    assert!(buffer.stats().delay < ms(50), "{:?}", buffer.stats());
}

#[test]
fn frames_of_several_packets() {
    let now = Instant::now();
    let mut buffer = JitterBuffer::new(JitterConfig::new(90_000).release(Release::InOrder));
    for (sequence, packets) in [(65_530, 10), (4, 3), (9, 1)] {
        let frame = Arrival {
            packets,
            ..arrival(1, sequence, 0)
        };
        buffer.insert(frame, now);
    }
    let given = drain(&mut buffer, now + ms(100));
    let losses: Vec<_> = given.iter().map(|r| (r.item, r.lost_before)).collect();
    assert_eq!(losses, [(65_530, 0), (4, 0), (9, 2)]);
}

#[test]
fn memory_is_bounded() {
    let now = Instant::now();
    let config = JitterConfig::new(90_000).max_items(10).max_bytes(5000);
    let mut buffer = JitterBuffer::new(config);
    for n in 0..1000 {
        buffer.insert(arrival(1, n, u32::from(n)), now);
        let stats = buffer.stats();
        assert!(stats.held <= 10 && stats.held_bytes <= 10_000, "{stats:?}");
    }
    for n in 0..1000 {
        buffer.insert(arrival(n, 7, 7), now);
        assert!(buffer.stats().held <= 11);
    }
    let huge = Arrival {
        bytes: usize::MAX,
        ..arrival(5, 5, 5)
    };
    buffer.insert(huge, now);
    assert!(buffer.stats().overflowed > 1000);
}

#[test]
fn anything_may_arrive() {
    let start = Instant::now();
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let config = JitterConfig::new(rng.below(100_000) as u32).max_items(50);
        let config = JitterConfig {
            quantile: f64::NAN,
            ..config
        };
        let mut buffer = JitterBuffer::new(config);
        let mut now = start;
        for _ in 0..2000 {
            let range = if rng.chance(0.1) { 65_536 } else { 20 };
            let arrival = Arrival {
                ssrc: rng.below(2) as u32 * u32::from(rng.chance(0.02)),
                sequence: rng.below(range) as u16,
                packets: rng.below(5) as u16,
                timestamp: rng.next_u64() as u32,
                bytes: rng.below(3000) as usize,
                item: (),
            };
            buffer.insert(arrival, now);
            let bits = rng.below(40);
            now += Duration::from_micros(rng.below(1 << bits));
            if rng.chance(0.1) {
                now = start + (now - start) / 2;
            }
            if rng.chance(0.7) {
                drain(&mut buffer, now);
            }
            assert!(buffer.stats().held <= 101);
        }
    }
}
