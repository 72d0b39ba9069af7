//! looprtc's side of the comparison: the same work as `pion/main.go`, both ends in this process, over real UDP sockets
//! on the loopback interface, signaling in memory. `run` builds both and runs them in turns.
//!
//! While pion's goroutines use all cores, the ends here are either in one event loop on one thread, or (`2 loops`) each
//! in a loop and a thread of its own.
//!
//! Every result is one line of JSON on standard output; a failed benchmark prints a line with `"error"` and makes the
//! program exit with status 1.

#[path = "compare.rs"]
mod compare;
#[path = "../support/cpu.rs"]
mod cpu;
#[path = "fanout.rs"]
mod fanout;
#[path = "../support/pair.rs"]
mod pair;
#[path = "sfu.rs"]
mod sfu;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, PeerId};
use looprtc::proto::peer::{
    ChannelConfig, ChannelId, ConnectionState, DtlsVersion, IceGatheringState, PeerConfig,
    PeerEvent, SessionDescription,
};
use serde_json::{Value, json};

use cpu::{cpu_time, resident_bytes};
use pair::{
    PeerOptions, Result, TIMEOUT, Transfer, close, connect, connect_many, new_loop, peer_config,
    round_trip,
};

// ---- a peer in a loop and a thread of its own -----------------------------------------------

/// What the answerer's thread does with a message.
#[derive(Clone, Copy)]
enum Far {
    Echo,
    Count,
}

struct Distant {
    net: EventLoop,
    offerer: PeerId,
    near: ChannelId,
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<std::result::Result<(), String>>>,
}

impl Distant {
    fn connect(options: &Options, far: Far) -> Result<Self> {
        let mut net = new_loop()?;
        let offerer = net.add_peer(peer_config(&options.peers, true))?;
        let near = net
            .peer(offerer)?
            .create_data_channel(ChannelConfig::new("data"))?;
        net.peer(offerer)?.negotiate()?;
        let offer = gathered(&mut net, offerer)?;
        let (to_near, answers) = mpsc::channel();
        let received = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (config, count, flag) = (
            peer_config(&options.peers, false),
            received.clone(),
            stop.clone(),
        );
        let thread = thread::spawn(move || {
            answer(config, offer, &to_near, far, &count, &flag).map_err(|e| e.to_string())
        });
        let mut pair = Self {
            net,
            offerer,
            near,
            received,
            stop,
            thread: Some(thread),
        };
        let answer = answers.recv_timeout(TIMEOUT).map_err(|_| "no answer")?;
        pair.net.peer(offerer)?.receive(answer)?;
        pair.wait(|event| matches!(event, PeerEvent::ChannelOpen(_)))?;
        Ok(pair)
    }

    /// Waits for this event of the offerer.
    fn wait(&mut self, is_it: impl Fn(&PeerEvent) -> bool) -> Result<PeerEvent> {
        loop {
            match self.net.next_event(Some(TIMEOUT))? {
                Some((_, event)) if is_it(&event) => return Ok(event),
                Some((_, PeerEvent::Error(e))) => return Err(e.into()),
                Some(_) => {}
                None => return Err(format!("nothing happened for {TIMEOUT:?}").into()),
            }
        }
    }

    fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or("finished twice")?;
        thread.join().map_err(|_| "the answerer panicked")??;
        Ok(())
    }
}

/// Returns the description with all candidates, once they are gathered.
fn gathered(net: &mut EventLoop, id: PeerId) -> Result<SessionDescription> {
    while net.peer(id)?.ice_gathering_state() != IceGatheringState::Complete {
        net.next_event(Some(Duration::from_millis(100)))?;
    }
    Ok(net.peer(id)?.local_description().ok_or("no description")?)
}

fn answer(
    config: PeerConfig,
    offer: SessionDescription,
    answers: &mpsc::Sender<SessionDescription>,
    far: Far,
    received: &AtomicU64,
    stop: &AtomicBool,
) -> Result<()> {
    let mut net = new_loop()?;
    let id = net.add_peer(config)?;
    net.peer(id)?.receive(offer)?;
    answers.send(gathered(&mut net, id)?)?;
    while !stop.load(Ordering::Relaxed) {
        match net.next_event(Some(Duration::from_millis(50)))? {
            Some((_, PeerEvent::ChannelMessage { channel, message })) => match far {
                Far::Echo => net.peer(id)?.send_binary(channel, message.as_bytes())?,
                Far::Count => {
                    received.fetch_add(message.as_bytes().len() as u64, Ordering::Relaxed);
                }
            },
            Some((_, PeerEvent::Error(e))) => return Err(e.into()),
            _ => {}
        }
    }
    Ok(())
}

// ---- the benches ----------------------------------------------------------------------------

/// From two `add_peer` calls to the channel open on both ends, one pair after the other. The processor time includes
/// closing the pair.
fn bench_connect(options: &Options, variant: &str, own_certificates: bool) -> Result<()> {
    let mut net = new_loop()?;
    for _ in 0..5 {
        let pair = connect(&mut net, &options.peers, own_certificates)?;
        close(&mut net, &pair)?;
    }
    let mut wall = Vec::new();
    let cpu = cpu_time();
    for _ in 0..options.n {
        let start = Instant::now();
        let pair = connect(&mut net, &options.peers, own_certificates)?;
        wall.push(start.elapsed());
        close(&mut net, &pair)?;
    }
    let cpu = cpu_time() - cpu;
    wall.sort();
    emit(json!({
        "bench": "connect", "variant": variant, "n": options.n,
        "wall_us_p50": quantile(&wall, 0.5), "wall_us_p99": quantile(&wall, 0.99),
        "cpu_us": micros(cpu) / options.n as f64,
    }));
    Ok(())
}

/// A 64-byte message there and back, repeatedly, with `idle` other connected pairs in the loop.
fn bench_round_trip(options: &Options, bench: &str, idle: usize) -> Result<()> {
    let mut net = new_loop()?;
    let _others = connect_many(&mut net, &options.peers, idle)?;
    let pair = connect(&mut net, &options.peers, false)?;
    let turns = net.stats().turns;
    let mut report = time_round_trips(options, || round_trip(&mut net, &pair, &[7u8; 64]))?;
    report["turns"] = json!(net.stats().turns - turns);
    report["bench"] = json!(bench);
    report["variant"] = json!(format!("{idle} idle"));
    report["idle"] = json!(idle);
    emit(report);
    Ok(())
}

fn bench_round_trip_two_loops(options: &Options) -> Result<()> {
    let mut pair = Distant::connect(options, Far::Echo)?;
    let message = [7u8; 64];
    let mut report = time_round_trips(options, || {
        pair.net
            .peer(pair.offerer)?
            .send_binary(pair.near, &message)?;
        pair.wait(|event| matches!(event, PeerEvent::ChannelMessage { .. }))?;
        Ok(())
    })?;
    pair.finish()?;
    report["bench"] = json!("rtt");
    report["variant"] = json!("0 idle, 2 loops");
    emit(report);
    Ok(())
}

fn time_round_trips(options: &Options, mut once: impl FnMut() -> Result<()>) -> Result<Value> {
    for _ in 0..500 {
        once()?;
    }
    let mut trips = Vec::new();
    let (cpu, began) = (cpu_time(), Instant::now());
    while began.elapsed() < options.seconds {
        let start = Instant::now();
        once()?;
        trips.push(start.elapsed());
    }
    let cpu = cpu_time() - cpu;
    trips.sort();
    Ok(json!({
        "n": trips.len(),
        "wall_us_p50": quantile(&trips, 0.5), "wall_us_p99": quantile(&trips, 0.99),
        "cpu_us": micros(cpu) / trips.len() as f64,
    }))
}

/// Counted at the receiver, after a second of warm-up.
fn bench_throughput(options: &Options, size: usize, variant: &str) -> Result<()> {
    let mut net = new_loop()?;
    let pair = connect(&mut net, &options.peers, false)?;
    let mut transfer = Transfer::start(&mut net, options.marks(), pair.offerer, pair.near, size)?;
    transfer.run(&mut net, Duration::from_secs(1))?;
    let (before, turns) = (transfer.received, net.stats());
    let (cpu, began) = (cpu_time(), Instant::now());
    transfer.run(&mut net, options.seconds)?;
    let (cpu, wall) = (cpu_time() - cpu, began.elapsed());
    let stats = net.stats();
    let mut report = throughput(size, transfer.received - before, wall, cpu)?;
    report["datagrams_per_turn"] = json!(
        (stats.datagrams_sent - turns.datagrams_sent) as f64 / (stats.turns - turns.turns) as f64
    );
    report["send_dropped"] = json!(stats.send_dropped);
    report["variant"] = json!(variant);
    emit(report);
    Ok(())
}

fn bench_throughput_two_loops(options: &Options, size: usize) -> Result<()> {
    let mut pair = Distant::connect(options, Far::Count)?;
    let (offerer, near) = (pair.offerer, pair.near);
    let mut transfer = Transfer::start(&mut pair.net, options.marks(), offerer, near, size)?;
    transfer.run(&mut pair.net, Duration::from_secs(1))?;
    let before = pair.received.load(Ordering::Relaxed);
    let (cpu, began) = (cpu_time(), Instant::now());
    transfer.run(&mut pair.net, options.seconds)?;
    let bytes = pair.received.load(Ordering::Relaxed) - before;
    let (cpu, wall) = (cpu_time() - cpu, began.elapsed());
    pair.finish()?;
    let mut report = throughput(size, bytes, wall, cpu)?;
    report["variant"] = json!(format!("{size} B, 2 loops"));
    emit(report);
    Ok(())
}

fn throughput(size: usize, bytes: u64, wall: Duration, cpu: Duration) -> Result<Value> {
    if bytes == 0 {
        return Err(format!("nothing of {size} bytes arrived in {wall:?}").into());
    }
    Ok(json!({
        "bench": "throughput", "size": size, "n": bytes / size as u64,
        "mb_per_s": bytes as f64 / wall.as_secs_f64() / 1e6,
        "mb_per_cpu_s": bytes as f64 / cpu.as_secs_f64() / 1e6,
    }))
}

/// Growth of the resident set by the connected pairs, divided by their 2 × pairs ends. Every end is a peer with one
/// open channel that has carried one message.
fn bench_memory(options: &Options) -> Result<()> {
    let mut net = new_loop()?;
    for pair in connect_many(&mut net, &options.peers, 10)? {
        close(&mut net, &pair)?;
    }
    rest(&mut net, Duration::from_secs(1))?;
    let before = resident_bytes()?;
    let cpu = cpu_time();
    let pairs = connect_many(&mut net, &options.peers, options.pairs)?;
    for pair in &pairs {
        net.peer(pair.offerer)?.send_binary(pair.near, &[7u8; 64])?;
    }
    let connect_cpu = cpu_time() - cpu;
    let mut arrived = rest(&mut net, options.settle)?;
    let (cpu, began) = (cpu_time(), Instant::now());
    arrived += rest(&mut net, options.settle)?;
    let (cpu, wall) = (cpu_time() - cpu, began.elapsed());
    if arrived != pairs.len() {
        return Err(format!("{arrived} of {} messages arrived", pairs.len()).into());
    }
    let after = resident_bytes()?;
    let ends = 2.0 * pairs.len() as f64;
    emit(json!({
        "bench": "memory", "variant": format!("{} pairs", pairs.len()), "n": 2 * pairs.len(),
        "kib_per_end": (after as f64 - before as f64) / 1024.0 / ends,
        "idle_cpu_us_per_end_s": micros(cpu) / ends / wall.as_secs_f64(),
        "connect_cpu_us": micros(connect_cpu) / pairs.len() as f64,
    }));
    Ok(())
}

/// Runs the loop for this time; returns the number of messages received. All peers must stay connected.
fn rest(net: &mut EventLoop, time: Duration) -> Result<usize> {
    let end = Instant::now() + time;
    let mut messages = 0;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        match net.next_event(Some(left))? {
            Some((_, PeerEvent::ChannelMessage { .. })) => messages += 1,
            Some((_, PeerEvent::Error(e))) => return Err(e.into()),
            Some((
                _,
                PeerEvent::ConnectionStateChange(
                    state @ (ConnectionState::Disconnected | ConnectionState::Failed),
                ),
            )) => return Err(format!("an idle peer became {state}").into()),
            _ => {}
        }
    }
    Ok(messages)
}

// ---- figures and the command line -------------------------------------------------------------

fn micros(d: Duration) -> f64 {
    d.as_secs_f64() * 1e6
}

/// Returns a quantile of a sorted list, in microseconds.
fn quantile(sorted: &[Duration], q: f64) -> f64 {
    let index = (q * sorted.len().saturating_sub(1) as f64) as usize;
    sorted.get(index).copied().map_or(0.0, micros)
}

fn emit(mut result: Value) {
    result["peer"] = json!("looprtc");
    println!("{result}");
}

#[derive(Clone)]
struct Options {
    benches: Vec<String>,
    n: usize,
    seconds: Duration,
    sizes: Vec<usize>,
    high: usize,
    low: usize,
    pairs: usize,
    idle: usize,
    settle: Duration,
    peers: PeerOptions,
}

impl Options {
    /// Returns the sender's water marks.
    fn marks(&self) -> (usize, usize) {
        (self.high, self.low)
    }

    /// Parses the options, with the names in `pion/main.go`.
    fn parse() -> Result<Self> {
        use lexopt::prelude::*;
        let mut options = Self {
            benches: ["connect", "rtt", "idle", "throughput", "memory", "fanout"]
                .map(Into::into)
                .into(),
            n: 200,
            seconds: Duration::from_secs(3),
            sizes: vec![64, 1_200, 16_384, 65_535],
            high: 256 * 1024,
            low: 128 * 1024,
            pairs: 300,
            idle: 500,
            settle: Duration::from_secs(5),
            peers: PeerOptions::default(),
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("only") => {
                    let list = parser.value()?.string()?;
                    options.benches = list.split(',').map(Into::into).collect();
                }
                Long("bench") => {} // what `cargo bench` says to every bench
                Long("n") => options.n = parser.value()?.parse()?,
                Long("seconds") => options.seconds = seconds(&parser.value()?.string()?)?,
                Long("sizes") => {
                    let list = parser.value()?.string()?;
                    let sizes = list
                        .split(',')
                        .map(str::parse)
                        .collect::<std::result::Result<_, _>>();
                    options.sizes = sizes?;
                }
                Long("high") => options.high = parser.value()?.parse()?,
                Long("low") => options.low = parser.value()?.parse()?,
                Long("pairs") => options.pairs = parser.value()?.parse()?,
                Long("idle") => options.idle = parser.value()?.parse()?,
                Long("settle") => options.settle = seconds(&parser.value()?.string()?)?,
                Long("mtu") => options.peers.mtu = Some(parser.value()?.parse()?),
                Long("dtls") => {
                    let version = match parser.value()?.string()?.as_str() {
                        "1.2" => DtlsVersion::V1_2,
                        "1.3" => DtlsVersion::V1_3,
                        "auto" => DtlsVersion::Auto,
                        other => return Err(format!("no such DTLS: {other:?}").into()),
                    };
                    options.peers.dtls = Some(version);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

/// Returns the number of viewers: 100 for `sfu-100`.
fn sfu_viewers(bench: &str) -> Option<usize> {
    bench.strip_prefix("sfu-")?.parse().ok()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "compare") {
        return compare::main(&arguments[1..]);
    }
    let sink = arguments.first().map(String::as_str);
    if let Some("fanout-sink" | "sfu-sink") = sink {
        let ended = match sink {
            Some("sfu-sink") => sfu::sink(),
            _ => fanout::sink(),
        };
        return match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("{e}");
                ExitCode::FAILURE
            }
        };
    }
    let options = match Options::parse() {
        Ok(options) => options,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::from(2);
        }
    };
    let mut failed = false;
    let mut report = |bench: &str, variant: String, result: Result<()>| {
        if let Err(e) = result {
            failed = true;
            emit(json!({"bench": bench, "variant": variant, "error": e.to_string()}));
        }
    };
    for bench in &options.benches {
        match bench.as_str() {
            "connect" => {
                for (variant, own) in [("new certificates", true), ("shared certificate", false)] {
                    report(bench, variant.into(), bench_connect(&options, variant, own));
                }
            }
            "rtt" => {
                report(bench, "0 idle".into(), bench_round_trip(&options, bench, 0));
                let result = bench_round_trip_two_loops(&options);
                report(bench, "0 idle, 2 loops".into(), result);
            }
            "idle" => {
                let idle = options.idle;
                let result = bench_round_trip(&options, bench, idle);
                report(bench, format!("{idle} idle"), result);
            }
            "throughput" => {
                for &size in &options.sizes {
                    let variant = format!("{size} B");
                    report(
                        bench,
                        variant.clone(),
                        bench_throughput(&options, size, &variant),
                    );
                    let result = bench_throughput_two_loops(&options, size);
                    report(bench, format!("{size} B, 2 loops"), result);
                    if size == 1_200 && options.peers.mtu.is_none() {
                        // One message per datagram, as in pion.
                        let mut options = options.clone();
                        options.peers.mtu = Some(1_288);
                        let variant = format!("{size} B, mtu 1288");
                        report(
                            bench,
                            variant.clone(),
                            bench_throughput(&options, size, &variant),
                        );
                    }
                }
            }
            "fanout" => fanout::send(options.seconds, |variant, result| {
                report(bench, variant, result.map(emit));
            }),
            "memory" => {
                let variant = format!("{} pairs", options.pairs);
                report(bench, variant, bench_memory(&options));
            }
            other if sfu_viewers(other).is_some() => {
                let viewers = sfu_viewers(other).unwrap_or_default();
                let result = sfu::forward(viewers, options.seconds);
                report(bench, format!("{viewers} viewers"), result.map(emit));
            }
            other => {
                let known = "connect, rtt, idle, throughput, memory, fanout, sfu-VIEWERS";
                eprintln!("no such bench: {other:?}; there are {known}");
                return ExitCode::from(2);
            }
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
