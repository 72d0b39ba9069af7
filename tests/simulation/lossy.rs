//! A network that loses, delays, reorders and duplicates: a thousand seeds of it.
//!
//! `LOOPRTC_SEED=17 cargo test --test simulation seeds` runs one of them.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use looprtc::proto::peer::{ChannelConfig, ChannelId, DtlsVersion, Message, PeerConfig, PeerEvent};
use looprtc::testing::{Link, Node, Rng, Simulation};

use crate::common::{Log, PATIENCE, create};

const SEEDS: u64 = 1_000;
const MESSAGES: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Ordered,
    Unordered,
    UnorderedNoRetransmit,
    OrderedLifetime,
}

const KINDS: [Kind; 4] = [
    Kind::Ordered,
    Kind::Unordered,
    Kind::UnorderedNoRetransmit,
    Kind::OrderedLifetime,
];

impl Kind {
    fn config(self, label: &str) -> ChannelConfig {
        let config = ChannelConfig::new(label);
        match self {
            Self::Ordered => config,
            Self::Unordered => config.ordered(false),
            Self::UnorderedNoRetransmit => config.ordered(false).max_retransmits(0),
            Self::OrderedLifetime => config.max_packet_lifetime(50),
        }
    }

    fn of(config: &ChannelConfig) -> Self {
        match (
            config.ordered,
            config.max_retransmits,
            config.max_packet_lifetime,
        ) {
            (true, None, None) => Self::Ordered,
            (false, None, None) => Self::Unordered,
            (false, Some(0), None) => Self::UnorderedNoRetransmit,
            (true, None, Some(50)) => Self::OrderedLifetime,
            _ => panic!("not as it was made: {config:?}"),
        }
    }

    fn is_reliable(self) -> bool {
        matches!(self, Self::Ordered | Self::Unordered)
    }
}

/// Message `n` of a channel: its number, and bytes derived from it.
fn message(label: &str, n: u32) -> Vec<u8> {
    let mut rng = Rng::new(label.bytes().fold(u64::from(n), |h, b| {
        h.wrapping_mul(31).wrapping_add(u64::from(b))
    }));
    // Every tenth is larger than a datagram.
    let len = if n % 10 == 7 {
        rng.below(6_000)
    } else {
        rng.below(300)
    };
    let mut bytes = n.to_be_bytes().to_vec();
    bytes.extend((0..len).map(|_| rng.next_u64() as u8));
    bytes
}

fn link(rng: &mut Rng) -> Link {
    let loss = rng.below(21) as f64 / 100.0;
    let duplicate = rng.below(11) as f64 / 100.0;
    Link::default()
        .loss(loss)
        .duplicate(duplicate)
        .delay(1 + rng.below(80), rng.below(60))
}

struct Run {
    trace: u64,
    steps: u64,
    simulated_ms: u64,
}

/// One seed: it determines everything about the run.
fn run(seed: u64) -> Run {
    let mut rng = Rng::new(seed ^ 0x51_AB);
    let mut sim = Simulation::new(seed, link(&mut rng));
    sim.signaling_ms = rng.below(200);
    let dtls = [DtlsVersion::Auto, DtlsVersion::V1_2][rng.below(2) as usize];
    let config = PeerConfig::default().dtls(dtls);
    let (a, b) = sim.pair_with(config.clone(), config);
    // In half of the runs both at once (their offers collide), otherwise one after the other.
    let mut made = [vec![], vec![]];
    for (side, node) in [a, b].into_iter().enumerate() {
        for kind in KINDS {
            let label = format!("{side}-{kind:?}");
            made[side].push(create(&mut sim, node, kind.config(&label)));
        }
        sim.run_for(rng.below(2) * rng.below(3_000));
    }
    let mut logs = [Log::default(), Log::default()];
    let open = |log: &Log| log.opened.len() == 2 * KINDS.len();
    let end = sim.elapsed_ms() + PATIENCE;
    while !logs.iter().all(open) {
        sim.run_for(50);
        take(&mut sim, [a, b], &mut logs);
        assert!(
            sim.elapsed_ms() < end && !sim.peer(a).is_closed(),
            "not open: {:?} {:?} {logs:#?}",
            sim.peer(a),
            sim.peer(b)
        );
    }
    for n in 0..MESSAGES {
        for (side, node) in [a, b].into_iter().enumerate() {
            for channel in logs[side].opened.clone() {
                let label = sim.with(node, |p, _| p.channel(channel).expect("open").config.label);
                let bytes = message(&format!("{side}>{label}"), n);
                sim.with(node, |p, now| p.send_binary(channel, &bytes, now))
                    .expect("room");
            }
        }
        sim.run_for(rng.below(60));
    }
    let done = |sim: &Simulation| {
        [a, b]
            .iter()
            .all(|n| sim.peer(*n).total_buffered_amount() == 0)
    };
    assert!(sim.run_until(PATIENCE, done), "data stuck");
    // Acknowledged data may not have been read in order yet; and abandoned messages have a last chance.
    sim.run_for(20_000);
    take(&mut sim, [a, b], &mut logs);
    for (side, node) in [a, b].into_iter().enumerate() {
        for channel in logs[side].opened.clone() {
            check(&mut sim, node, 1 - side, &logs[side], channel);
        }
        assert!(logs[side].errors.is_empty(), "{:?}", logs[side].errors);
        assert!(logs[side].closed.is_empty());
        let per_second = sim.timeouts(node) * 1_000 / sim.elapsed_ms().max(1);
        assert!(per_second < 200, "{per_second} timeouts a second");
    }
    Run {
        trace: sim.trace(),
        steps: sim.steps(),
        simulated_ms: sim.elapsed_ms(),
    }
}

fn take(sim: &mut Simulation, nodes: [Node; 2], logs: &mut [Log; 2]) {
    for (node, log) in nodes.into_iter().zip(logs) {
        log.take(sim, node);
    }
}

/// Compares the messages received on one channel with those sent.
fn check(sim: &mut Simulation, node: Node, sender: usize, log: &Log, channel: ChannelId) {
    let config = sim.with(node, |p, _| p.channel(channel).expect("open").config);
    let kind = Kind::of(&config);
    let label = format!("{sender}>{}", config.label);
    let mut numbers = vec![];
    for m in log.on(channel) {
        let Message::Binary(bytes) = m else {
            panic!("{label}: text");
        };
        let n = u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"));
        assert!(
            *bytes == message(&label, n),
            "{label}: message {n} corrupted"
        );
        numbers.push(n);
    }
    if matches!(kind, Kind::Ordered | Kind::OrderedLifetime) {
        assert!(numbers.is_sorted(), "{label}: out of order: {numbers:?}");
    }
    let different: HashSet<u32> = numbers.iter().copied().collect();
    assert_eq!(
        different.len(),
        numbers.len(),
        "{label}: twice: {numbers:?}"
    );
    if kind.is_reliable() {
        assert_eq!(
            numbers.len(),
            MESSAGES as usize,
            "{label}: only {numbers:?}"
        );
    }
}

#[test]
fn seeds() {
    if let Ok(seed) = std::env::var("LOOPRTC_SEED") {
        let seed = seed.parse().expect("LOOPRTC_SEED is a number");
        let run = run(seed);
        println!("seed {seed}: trace {:016x}, {} steps", run.trace, run.steps);
        return;
    }
    let start = std::time::Instant::now();
    let next = AtomicU64::new(0);
    let steps = AtomicU64::new(0);
    let simulated = AtomicU64::new(0);
    let work = || -> Vec<u64> {
        let mut failed = vec![];
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return failed;
            }
            match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                Ok(run) => {
                    steps.fetch_add(run.steps, Ordering::Relaxed);
                    simulated.fetch_add(run.simulated_ms, Ordering::Relaxed);
                }
                Err(_) => {
                    eprintln!(
                        "SEED {seed} FAILED; again: LOOPRTC_SEED={seed} cargo test --test simulation seeds -- --nocapture"
                    );
                    failed.push(seed);
                }
            }
        }
    };
    let failed: Vec<u64> = std::thread::scope(|s| {
        let threads = [s.spawn(work), s.spawn(work)];
        threads
            .into_iter()
            .flat_map(|t| t.join().expect("joins"))
            .collect()
    });
    println!(
        "{SEEDS} seeds, {} steps, {} simulated minutes, in {:.1} s",
        steps.into_inner(),
        simulated.into_inner() / 60_000,
        start.elapsed().as_secs_f64()
    );
    assert!(failed.is_empty(), "failed seeds: {failed:?}");
}

#[test]
fn a_seed_replays() {
    let different: Vec<u64> = (0..20)
        .filter(|seed| {
            let (one, two) = (run(*seed), run(*seed));
            (one.trace, one.steps) != (two.trace, two.steps)
        })
        .collect();
    assert!(different.is_empty(), "two runs differ: seeds {different:?}");
}

/// The events of a run as well, not only its datagrams.
#[test]
fn a_seed_replays_its_events() {
    let events = || {
        let mut sim = Simulation::new(99, Link::default().loss(0.2).delay(20, 30));
        let (a, b) = sim.pair();
        create(&mut sim, a, ChannelConfig::new("x"));
        sim.run_for(30_000);
        let name = |e: PeerEvent| format!("{:?}", std::mem::discriminant(&e));
        [a, b].map(|n| {
            Log::of(&mut sim, n)
                .all
                .into_iter()
                .map(name)
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(events(), events());
}
