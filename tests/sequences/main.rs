//! Random schedules of calls, network faults and forgeries: thousands by default, or for any duration.
//!
//! ```sh
//! cargo test --test sequences                                              # 2,400
//! LOOPRTC_SEQUENCES=3600s cargo test --release --test sequences -- --nocapture   # for an hour
//! LOOPRTC_SEED=17 LOOPRTC_SEQUENCES=1 cargo test --test sequences          # that one
//! LOOPRTC_SEQUENCE=program.txt cargo test --test sequences                 # a program, or a fuzzer's input
//! RUST_LOG=looprtc=debug LOOPRTC_SEQUENCE=…                               # and what happens when
//! ```
//!
//! A failing one is printed as a short program that fails in the same way.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use allocation_counter::{AllocationInfo, measure};
use looprtc::testing::sequence::{Failure, Report, Schedule, failure, shrink};

/// Number of schedules of a plain `cargo test`.
const SCHEDULES: u64 = 2_400;

/// Time that a plain `cargo test` spends on minimizing a schedule.
const PATIENCE: Duration = Duration::from_secs(60);

/// Maximum number of failures printed.
const MAX_FAILURES: usize = 5;

/// The number of schedules, or a duration.
enum Extent {
    Count(u64),
    Time(Duration),
}

impl Extent {
    fn of(text: &str) -> Option<Self> {
        match text.strip_suffix('s') {
            Some(seconds) => seconds
                .parse()
                .ok()
                .map(Duration::from_secs)
                .map(Self::Time),
            None => text.parse().ok().map(Self::Count),
        }
    }
}

fn variable<T>(name: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(read(&text).unwrap_or_else(|| panic!("{name}={text}: not understood")))
}

#[test]
fn schedules() {
    if let Ok(file) = std::env::var("LOOPRTC_SEQUENCE") {
        return replay(Path::new(&file));
    }
    let _ = env_logger::builder().format_timestamp(None).try_init();
    let extent = variable("LOOPRTC_SEQUENCES", Extent::of).unwrap_or(Extent::Count(SCHEDULES));
    let first = variable("LOOPRTC_SEED", |t| t.parse().ok()).unwrap_or(0);
    let start = Instant::now();
    let next = AtomicU64::new(first);
    let said = AtomicU64::new(0);
    let sum = Mutex::new(Report::default());
    let failed = Mutex::new(Vec::new());
    let is_over = |seed: u64| match extent {
        Extent::Count(count) => seed >= first.saturating_add(count),
        Extent::Time(time) => start.elapsed() >= time,
    };
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if is_over(seed) || failed.lock().unwrap().len() >= MAX_FAILURES {
                return;
            }
            let schedule = Schedule::from_seed(seed);
            let (played, memory) = play(&schedule);
            match played {
                Ok(report) => {
                    let wrong = check_memory(&schedule, &report, &memory);
                    *sum.lock().unwrap() += &report;
                    if let Some(wrong) = wrong {
                        eprintln!("SEED {seed} FAILED: {wrong}\n\n{schedule}");
                        failed.lock().unwrap().push(seed);
                    }
                }
                Err(how) => {
                    tell(&format!("SEED {seed}"), &schedule, &how);
                    failed.lock().unwrap().push(seed);
                }
            }
            let minutes = start.elapsed().as_secs() / 60;
            if minutes > said.fetch_max(minutes, Ordering::Relaxed) {
                println!("{}", figures(&sum.lock().unwrap(), start, seed));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| _ = scope.spawn(work));
    });
    let sum = sum.into_inner().unwrap();
    println!("{}", figures(&sum, start, next.into_inner()));
    let counts: Vec<_> = sum
        .counts()
        .map(|(name, n)| format!("{name} {n}"))
        .collect();
    println!("{}", counts.join(", "));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "failed: seeds {failed:?}");
    if sum.schedules >= SCHEDULES {
        // A simulation in which nothing happens would find nothing.
        let part = |n: u64| n * 100 / sum.schedules;
        assert!(part(sum.connected) > 60, "{sum:?}");
        assert!(
            part(sum.relayed) > 5 && part(sum.behind_nat) > 20,
            "{sum:?}"
        );
        assert!(
            part(sum.messages) > 500 && sum.restarts > 100 && sum.frames > 1_000,
            "{sum:?}"
        );
        assert!(part(sum.by_tcp) > 3 && part(sum.lite) > 3, "{sum:?}");
        assert!(sum.packets > 200 && sum.layers > 200, "{sum:?}");
        assert!(sum.woken > 20 && sum.forwarded > 200, "{sum:?}");
        for (name, count) in sum.counts() {
            assert!(count > 20, "{name}: {count} in {} schedules", sum.schedules);
        }
    }
}

/// The result of a schedule, and the memory allocated meanwhile.
fn play(schedule: &Schedule) -> (Result<Report, Failure>, AllocationInfo) {
    let mut played = None;
    let memory = measure(|| played = Some(failure(schedule)));
    (played.expect("it has been measured"), memory)
}

/// Memory that a peer may hold besides data to send: SCTP's receive buffer, a message being reassembled, keys,
/// candidates.
const PEER: u64 = 2_500 * 1024;

/// Memory that both ends of a media stream may hold: 1,024 packets at the sender, 4,096 at the receiver.
const STREAM: u64 = 10_000 * 1024;

/// Checks the maximum memory of all peers and the server, and that it was released.
fn check_memory(schedule: &Schedule, report: &Report, memory: &AllocationInfo) -> Option<String> {
    let held = memory.bytes_max.saturating_sub(report.held);
    // Data to be sent is copied when it is split into packets. Media of the last seconds is kept by its sender, and by
    // its receiver while a packet is missing.
    let media = (report.media_bytes * 2).min(report.streams * STREAM);
    let most = report.peers * PEER + report.send_buffers * 3 / 2 + media;
    if held > most {
        return Some(format!(
            "{} peers held {held} bytes, above {most}",
            report.peers
        ));
    }
    // Memory that is allocated once and kept is not allocated when the schedule is played again.
    let again = || measure(|| _ = failure(schedule)).bytes_current;
    if memory.bytes_current > 0 && again() > 0 && again() > 0 {
        return Some(format!("{} bytes are left of it", memory.bytes_current));
    }
    None
}

fn figures(sum: &Report, start: Instant, seed: u64) -> String {
    let seconds = start.elapsed().as_secs_f64();
    let rate = sum.schedules as f64 / seconds * 60.0;
    format!("{seconds:.0} s, up to seed {seed}, {rate:.0} a minute: {sum:?}")
}

/// What has failed once.
#[test]
fn programs() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sequences/programs");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 3);
    files.iter().for_each(|file| replay(file));
}

/// A readable program, or a fuzzer's bytes.
fn replay(file: &Path) {
    // RUST_LOG=looprtc=debug shows what happens when.
    let _ = env_logger::builder().format_timestamp(None).try_init();
    let content = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let text = std::str::from_utf8(&content).ok();
    let program = text.filter(|t| t.contains("world "));
    let schedule: Schedule = match program {
        Some(text) => text
            .parse()
            .unwrap_or_else(|e| panic!("{}: {e}", file.display())),
        None => Schedule::from_bytes(&content),
    };
    println!("{schedule}");
    let times = variable("LOOPRTC_TIMES", |t| t.parse().ok()).unwrap_or(1);
    for _ in 0..times {
        let (played, memory) = play(&schedule);
        match played {
            Ok(report) => {
                println!("{report:?}, {} bytes at most", memory.bytes_max);
                let wrong = check_memory(&schedule, &report, &memory);
                assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
            }
            Err(how) => {
                tell(&file.display().to_string(), &schedule, &how);
                panic!("{}", how.message);
            }
        }
    }
}

fn tell(name: &str, schedule: &Schedule, how: &Failure) {
    let Failure { message, place } = how;
    eprintln!("{name} FAILED at {place}: {message}");
    let short = shrink(schedule, how, 2, PATIENCE);
    let said = failure(&short).err().map_or(String::new(), |f| f.message);
    eprintln!("{name} as a short program, to be written to a file and replayed by");
    eprintln!(
        "LOOPRTC_SEQUENCE=FILE cargo test --test sequences -- --nocapture\n\n{short}\n# {said}\n"
    );
}
