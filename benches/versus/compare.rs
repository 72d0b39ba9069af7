//! Runs pion and looprtc in turns and compares their figures.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Each in a process of its own, so that one does not affect the memory of the next.
const BENCHES: [&str; 10] = [
    "connect",
    "rtt",
    "idle",
    "throughput",
    "memory",
    "fanout",
    "sfu-10",
    "sfu-50",
    "sfu-100",
    "sfu-200",
];

/// A comparison: a figure of pion's with one of ours, and the goal.
struct Row {
    what: &'static str,
    bench: &'static str,
    pion: &'static str,
    looprtc: &'static str,
    figure: &'static str,
    unit: &'static str,
    /// Set if smaller is better.
    small_is_good: bool,
    /// The factor by which we should be better than pion; `None`: no goal.
    aim: Option<f64>,
}

/// A row in which smaller is better.
const fn small(
    what: &'static str,
    bench: &'static str,
    variants: (&'static str, &'static str),
    figure: &'static str,
    unit: &'static str,
    aim: Option<f64>,
) -> Row {
    let (pion, looprtc) = variants;
    Row {
        what,
        bench,
        pion,
        looprtc,
        figure,
        unit,
        small_is_good: true,
        aim,
    }
}

/// A row of throughput.
const fn large(
    what: &'static str,
    variants: (&'static str, &'static str),
    figure: &'static str,
    unit: &'static str,
    aim: Option<f64>,
) -> Row {
    let (pion, looprtc) = variants;
    let bench = "throughput";
    Row {
        what,
        bench,
        pion,
        looprtc,
        figure,
        unit,
        small_is_good: false,
        aim,
    }
}

/// A row of a track sent to many peers.
const fn fanout(what: &'static str, variant: &'static str) -> Row {
    Row {
        what,
        bench: "fanout",
        pion: variant,
        looprtc: variant,
        figure: "packets_per_cpu_s",
        unit: "packets/CPU-s",
        small_is_good: false,
        aim: Some(3.0),
    }
}

/// Rows of a forwarder with this number of viewers.
const fn sfu(
    (cpu, cpu_of_one, memory): (&'static str, &'static str, &'static str),
    bench: &'static str,
    variant: &'static str,
) -> [Row; 3] {
    let both = (variant, variant);
    [
        small(cpu, bench, both, "cpu_us_per_packet", "us", Some(3.0)),
        small(cpu_of_one, bench, both, "cpu_percent_per_viewer", "%", None),
        small(memory, bench, both, "kib_per_viewer", "KiB", Some(4.0)),
    ]
}

/// Packets of a publisher forwarded to many viewers.
const SFU_ROWS: [[Row; 3]; 4] = [
    sfu(
        (
            "forwarding to 10 viewers, CPU a packet and viewer",
            "  CPU a viewer",
            "  memory a viewer",
        ),
        "sfu-10",
        "10 viewers",
    ),
    sfu(
        (
            "forwarding to 50 viewers, CPU a packet and viewer",
            "  CPU a viewer",
            "  memory a viewer",
        ),
        "sfu-50",
        "50 viewers",
    ),
    sfu(
        (
            "forwarding to 100 viewers, CPU a packet and viewer",
            "  CPU a viewer",
            "  memory a viewer",
        ),
        "sfu-100",
        "100 viewers",
    ),
    sfu(
        (
            "forwarding to 200 viewers, CPU a packet and viewer",
            "  CPU a viewer",
            "  memory a viewer",
        ),
        "sfu-200",
        "200 viewers",
    ),
];

const NEW: (&str, &str) = ("new certificates", "new certificates");
const SHARED: (&str, &str) = ("shared certificate", "shared certificate");
const ALONE: (&str, &str) = ("0 idle", "0 idle");
const ALONE_2: (&str, &str) = ("0 idle", "0 idle, 2 loops");
const CPU: &str = "mb_per_cpu_s";
const CPU_UNIT: &str = "MB/CPU-s";

const ROWS: &[Row] = &[
    small(
        "connect, new certificates, CPU a pair",
        "connect",
        NEW,
        "cpu_us",
        "us",
        Some(2.0),
    ),
    small(
        "connect, shared certificate, CPU a pair",
        "connect",
        SHARED,
        "cpu_us",
        "us",
        Some(2.0),
    ),
    small(
        "connect, shared certificate, median",
        "connect",
        SHARED,
        "wall_us_p50",
        "us",
        None,
    ),
    small(
        "round trip 64 B, median",
        "rtt",
        ALONE,
        "wall_us_p50",
        "us",
        Some(1.0),
    ),
    small(
        "round trip 64 B, p99",
        "rtt",
        ALONE,
        "wall_us_p99",
        "us",
        Some(2.0),
    ),
    small(
        "round trip 64 B, CPU",
        "rtt",
        ALONE,
        "cpu_us",
        "us",
        Some(1.0),
    ),
    small(
        "  a loop and thread an end, median",
        "rtt",
        ALONE_2,
        "wall_us_p50",
        "us",
        None,
    ),
    small(
        "  a loop and thread an end, p99",
        "rtt",
        ALONE_2,
        "wall_us_p99",
        "us",
        None,
    ),
    small(
        "  a loop and thread an end, CPU",
        "rtt",
        ALONE_2,
        "cpu_us",
        "us",
        None,
    ),
    large(
        "throughput 64 B",
        ("64 B", "64 B"),
        CPU,
        CPU_UNIT,
        Some(1.0),
    ),
    large(
        "throughput 1,200 B",
        ("1200 B", "1200 B"),
        CPU,
        CPU_UNIT,
        Some(1.0),
    ),
    large(
        "  in datagrams as large as pion's",
        ("1200 B", "1200 B, mtu 1288"),
        CPU,
        CPU_UNIT,
        None,
    ),
    large(
        "throughput 16 KiB",
        ("16384 B", "16384 B"),
        CPU,
        CPU_UNIT,
        Some(1.0),
    ),
    large(
        "throughput 64 KiB less 1 B",
        ("65535 B", "65535 B"),
        CPU,
        CPU_UNIT,
        Some(1.0),
    ),
    large(
        "  64 B, a loop and thread an end",
        ("64 B", "64 B, 2 loops"),
        CPU,
        CPU_UNIT,
        None,
    ),
    large(
        "  1,200 B, a loop and thread an end",
        ("1200 B", "1200 B, 2 loops"),
        CPU,
        CPU_UNIT,
        None,
    ),
    large(
        "  16 KiB, a loop and thread an end",
        ("16384 B", "16384 B, 2 loops"),
        CPU,
        CPU_UNIT,
        None,
    ),
    large(
        "  64 KiB, a loop and thread an end",
        ("65535 B", "65535 B, 2 loops"),
        CPU,
        CPU_UNIT,
        None,
    ),
    large(
        "  64 B, by the clock",
        ("64 B", "64 B, 2 loops"),
        "mb_per_s",
        "MB/s",
        None,
    ),
    large(
        "  1,200 B, by the clock",
        ("1200 B", "1200 B, 2 loops"),
        "mb_per_s",
        "MB/s",
        None,
    ),
    large(
        "  16 KiB, by the clock",
        ("16384 B", "16384 B, 2 loops"),
        "mb_per_s",
        "MB/s",
        None,
    ),
    large(
        "  64 KiB, by the clock",
        ("65535 B", "65535 B, 2 loops"),
        "mb_per_s",
        "MB/s",
        None,
    ),
    fanout(
        "one track to 10 peers, 10 packets at once",
        "10 peers, 10 at once",
    ),
    fanout("one track to 50 peers", "50 peers, 10 at once"),
    fanout("one track to 100 peers", "100 peers, 10 at once"),
    fanout("one track to 200 peers", "200 peers, 10 at once"),
    fanout(
        "one track to 100 peers, a packet at once",
        "100 peers, 1 at once",
    ),
    small(
        "memory of an idle connection's end",
        "memory",
        ("*", "*"),
        "kib_per_end",
        "KiB",
        Some(3.0),
    ),
    small(
        "CPU of an idle end, a second",
        "memory",
        ("*", "*"),
        "idle_cpu_us_per_end_s",
        "us",
        None,
    ),
];

/// Figures by benchmark, variant and name, over the rounds.
type Figures = BTreeMap<(String, String, String), Vec<f64>>;

struct Contestant {
    name: &'static str,
    program: String,
    figures: Figures,
    failures: Vec<String>,
}

impl Contestant {
    fn new(name: &'static str, program: String) -> Self {
        Self {
            name,
            program,
            figures: Figures::new(),
            failures: Vec::new(),
        }
    }

    /// Runs one benchmark in a process of its own.
    fn run(&mut self, bench: &str, options: &[String]) {
        let mut command = Command::new(&self.program);
        command
            .args(["--only", bench])
            .args(options)
            .stderr(Stdio::null());
        let ended = if bench == "fanout" {
            with_sink(&mut command, "fanout-sink")
        } else if bench.starts_with("sfu-") {
            with_sink(&mut command, "sfu-sink")
        } else {
            let output = command.output();
            output
                .map(|o| (o.status, String::from_utf8_lossy(&o.stdout).into_owned()))
                .map_err(Into::into)
        };
        let (status, output) = match ended {
            Ok(ended) => ended,
            Err(e) => {
                return self
                    .failures
                    .push(format!("{bench}: {}: {e}", self.program));
            }
        };
        let mut lines = 0;
        for line in output.lines() {
            println!("{line}");
            if !line.starts_with('{') {
                continue; // pion's log
            }
            lines += 1;
            match serde_json::from_str::<Value>(line) {
                Ok(result) => self.take(&result),
                Err(e) => self
                    .failures
                    .push(format!("{bench}: not a result: {line}: {e}")),
            }
        }
        let told = self.failures.iter().any(|f| f.starts_with(bench));
        if lines == 0 || (!status.success() && !told) {
            self.failures.push(format!("{bench}: ended with {status}"));
        }
    }

    fn take(&mut self, result: &Value) {
        let text = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
        let (bench, mut variant) = (text("bench"), text("variant"));
        if result.get("error").is_some() {
            self.failures
                .push(format!("{bench}, {variant}: {}", text("error")));
            return;
        }
        if bench == "memory" || bench == "idle" {
            variant = "*".into();
        }
        for (name, value) in result.as_object().into_iter().flatten() {
            if let Some(value) = value.as_f64() {
                let key = (bench.clone(), variant.clone(), name.clone());
                self.figures.entry(key).or_default().push(value);
            }
        }
    }

    /// Returns the median over the rounds.
    fn figure(&self, bench: &str, variant: &str, name: &str) -> Option<f64> {
        let key = (bench.to_owned(), variant.to_owned(), name.to_owned());
        let mut values = self.figures.get(&key)?.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

/// Runs a sender with a sink of its own, and passes lines between them. A line that is neither offer nor question is
/// the sender's result.
fn with_sink(command: &mut Command, sink: &str) -> Result<(ExitStatus, String)> {
    let mut sink = Command::new(env::current_exe()?)
        .arg(sink)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let sender = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let ended = sender.map_err(Into::into).and_then(|mut sender| {
        let missing = "a pipe is missing";
        let mut to_sink = sink.stdin.take().ok_or(missing)?;
        let from_sink = sink.stdout.take().ok_or(missing)?;
        let mut to_sender = sender.stdin.take().ok_or(missing)?;
        let from_sender = sender.stdout.take().ok_or(missing)?;
        // Ends with the sink.
        std::thread::spawn(move || std::io::copy(&mut { from_sink }, &mut to_sender));
        let mut results = String::new();
        for line in BufReader::new(from_sender).lines() {
            let line = line?;
            let is_for_sink = ["\"offer\"", "\"count\"", "\"publish\""];
            if is_for_sink.iter().any(|key| line.contains(key)) {
                writeln!(to_sink, "{line}")?;
                to_sink.flush()?;
            } else {
                results += &line;
                results.push('\n');
            }
        }
        Ok((sender.wait()?, results))
    });
    let _ = sink.kill();
    sink.wait()?;
    ended
}

/// Runs `compare PION ROUNDS [options for both]`.
pub fn main(arguments: &[String]) -> ExitCode {
    match compare(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(2)
        }
    }
}

fn compare(arguments: &[String]) -> Result<bool> {
    let [pion, rounds, options @ ..] = arguments else {
        return Err("compare wants the path of pion's program and the number of rounds".into());
    };
    let rounds: usize = rounds.parse()?;
    let (only, options) = match options {
        [only, list, rest @ ..] if only == "--only" => {
            (Some(list.split(',').collect::<Vec<_>>()), rest)
        }
        all => (None, all),
    };
    // `sfu` stands for all of `sfu-10`, `sfu-50`, …
    let is_of = |bench: &str, name: &&str| {
        let rest = bench.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let is_wanted = |bench: &str| {
        let only = only.as_ref();
        only.is_none_or(|only| only.iter().any(|name| is_of(bench, name)))
    };
    let own = env::current_exe()?.to_string_lossy().into_owned();
    let mut pion = Contestant::new("pion", pion.clone());
    let mut looprtc = Contestant::new("looprtc", own);
    for round in 0..rounds {
        for bench in BENCHES.into_iter().filter(|b| is_wanted(b)) {
            // A B, B A, …: neither always runs on the warmer machine.
            if round % 2 == 0 {
                pion.run(bench, options);
                looprtc.run(bench, options);
            } else {
                looprtc.run(bench, options);
                pion.run(bench, options);
            }
        }
    }
    println!();
    let mut complete = true;
    println!(
        "| both ends on one machine, medians of {rounds} rounds | pion | looprtc | | better by | aim |"
    );
    println!("|---|---|---|---|---|---|");
    let rows = ROWS.iter().chain(SFU_ROWS.iter().flatten());
    for row in rows.filter(|r| is_wanted(r.bench)) {
        complete &= print_row(row, &pion, &looprtc);
    }
    print_idle(&looprtc);
    for contestant in [&pion, &looprtc] {
        print_lost(contestant);
    }
    for contestant in [&pion, &looprtc] {
        for failure in &contestant.failures {
            println!("\nFAILED: {}: {failure}", contestant.name);
        }
    }
    Ok(complete && pion.failures.is_empty() && looprtc.failures.is_empty())
}

fn print_row(row: &Row, pion: &Contestant, looprtc: &Contestant) -> bool {
    let theirs = pion.figure(row.bench, row.pion, row.figure);
    let ours = looprtc.figure(row.bench, row.looprtc, row.figure);
    let (Some(theirs), Some(ours)) = (theirs, ours) else {
        println!("| {} | | | | **NO FIGURE** | |", row.what);
        return false;
    };
    let factor = if row.small_is_good {
        theirs / ours
    } else {
        ours / theirs
    };
    let verdict = match row.aim {
        None => String::new(),
        Some(aim) if factor > aim => format!("> {aim}: met"),
        Some(aim) => format!("> {aim}: **MISSED**"),
    };
    let unit = row.unit;
    println!(
        "| {} | {theirs:.1} | {ours:.1} | {unit} | {factor:.2} | {verdict} |",
        row.what
    );
    true
}

/// Prints the packets that never reached viewers of a forwarder.
fn print_lost(contestant: &Contestant) {
    let of_sfu =
        |((bench, ..), _): &(&(String, String, String), &Vec<f64>)| bench.starts_with("sfu-");
    let all: Vec<_> = contestant.figures.iter().filter(of_sfu).collect();
    let sum = |name: &str| -> f64 {
        let of_it = all.iter().filter(|((_, _, figure), _)| figure == name);
        of_it.flat_map(|(_, values)| values.iter()).sum()
    };
    if !all.is_empty() {
        let (lost, received) = (sum("lost"), sum("received"));
        println!(
            "\n{}: {lost} of {} forwarded packets lost",
            contestant.name,
            lost + received
        );
    }
}

/// Prints the comparison with ourselves without idle peers.
fn print_idle(looprtc: &Contestant) {
    let alone = looprtc.figure("rtt", "0 idle", "wall_us_p50");
    let beside = looprtc.figure("idle", "*", "wall_us_p50");
    let pairs = looprtc.figure("idle", "*", "idle");
    if let (Some(alone), Some(beside), Some(pairs)) = (alone, beside, pairs) {
        let idle = 2.0 * pairs;
        println!();
        println!(
            "looprtc, round trip in a loop with {idle} idle peers: {beside:.1} us, without: {alone:.1} us"
        );
    }
}
