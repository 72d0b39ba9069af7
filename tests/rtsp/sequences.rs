//! Faults of a camera and its network at random times, in virtual time: whatever happens, the camera is seen again when the
//! faults are over, and its machine holds no more than its limits allow. In real time, on one loop with a healthy camera:
//! that one loses nothing.
//!
//! ```sh
//! LOOPRTC_CAMERAS=2000 cargo test --all-features --test rtsp sequences                   # so many
//! LOOPRTC_SEED=17 LOOPRTC_CAMERAS=1 cargo test --all-features --test rtsp sequences      # that one
//! ```

use std::time::{Duration, Instant};

use allocation_counter::measure;
use looprtc::driver::{EventLoop, LoopConfig};
use looprtc::proto::rtsp::{Camera, CameraConfig, CameraEvent, Input};
use looprtc::server::streams::{SourceConfig, Streams, StreamsConfig};
use looprtc::testing::Rng;
use looprtc::testing::camera::behaviour::{Audio, Behaviour, Reply};
use looprtc::testing::camera::sockets::CameraOnSockets;
use looprtc::testing::camera::stage::{Client, Network, Stage, Wish};
use looprtc::testing::camera::{Expect, SCRIPTS, Script};

use super::client::config;

/// Number of sequences of a plain `cargo test`.
const SEQUENCES: u64 = 20;

/// Bytes that a camera's machine may hold: what its reader may (a head, a body, and what it skips: 448 KiB), twice while that
/// grows, and a unit and its copy, which have up to 64 KiB here.
const MOST: i64 = 1 << 20;

/// Bytes that come into the machine with an input, and are freed there: the words of an error.
const WORDS: i64 = 1024;

/// A camera's machine, and the memory that it holds.
struct Weighed {
    camera: Camera,
    bytes: i64,
    most: i64,
}

/// State of a viewer.
enum Seen {
    Frame,
    Ended,
    Other,
}

impl Weighed {
    fn new(config: &CameraConfig, now: Instant) -> Self {
        let mut camera = None;
        let weight = measure(|| camera = Some(Camera::new(config.clone(), now)));
        Self {
            camera: camera.expect("it was made"),
            bytes: weight.bytes_current,
            most: weight.bytes_current,
        }
    }

    fn weigh(&mut self, work: impl FnOnce(&mut Camera)) {
        let weight = measure(|| work(&mut self.camera));
        // It stays far below 2^63.
        self.most = self.most.max(self.bytes + weight.bytes_max as i64);
        self.bytes += weight.bytes_current;
    }
}

impl Client for Weighed {
    type Event = Seen;

    fn input(&mut self, input: Input<'_>, now: Instant) {
        self.weigh(|camera| camera.handle_input(input, now));
    }

    fn output(&mut self) -> Wish<Seen> {
        let mut wish = Wish::Timeout(None);
        self.weigh(|camera| {
            wish = match Client::output(camera) {
                Wish::Connect => Wish::Connect,
                Wish::Send(contents) => Wish::Send(contents),
                Wish::Disconnect => Wish::Disconnect,
                Wish::OpenUdp(stream) => Wish::OpenUdp(stream),
                Wish::CloseUdp(stream) => Wish::CloseUdp(stream),
                Wish::SendUdp {
                    destination,
                    contents,
                } => Wish::SendUdp {
                    destination,
                    contents,
                },
                Wish::Event(CameraEvent::Frame { .. }) => Wish::Event(Seen::Frame),
                Wish::Event(CameraEvent::Ended(_)) => Wish::Event(Seen::Ended),
                Wish::Event(_) => Wish::Event(Seen::Other),
                Wish::Timeout(at) => Wish::Timeout(at),
            };
        });
        // What it gives out is no longer its own.
        if let Wish::Send(contents) | Wish::SendUdp { contents, .. } = &wish {
            self.bytes -= contents.capacity() as i64;
        }
        wish
    }
}

/// Events of a sequence.
#[derive(Debug, Default)]
struct Report {
    sessions: u64,
    frames: u64,
    /// The most that a session's machine has held, in bytes.
    most: i64,
    steps: Vec<&'static str>,
}

/// A client that comes back, as a stream of the server does.
struct Viewer<'a> {
    stage: Stage<Weighed>,
    script: &'a Script,
    seed: u64,
    report: Report,
}

impl Viewer<'_> {
    /// Takes note of what the session's machine has held.
    fn weigh(&mut self) {
        let machine = &self.stage.client;
        let (bytes, most) = (machine.bytes, machine.most);
        assert!(
            -WORDS < bytes && most < MOST,
            "seed {}: {bytes} bytes now, {most} at most, after {:?}",
            self.seed,
            self.report.steps
        );
        self.report.most = self.report.most.max(most);
    }

    /// Lets time pass; a session that ends is followed by another one after a second.
    fn run(&mut self, time: Duration) {
        let end = self.stage.now() + time;
        while self.stage.now() < end {
            let left = end - self.stage.now();
            let frames = &mut self.report.frames;
            let ended = self.stage.run_until(left, |stage| {
                let events = stage.events.drain(..);
                events.fold(false, |ended, (_, event)| match event {
                    Seen::Frame => {
                        *frames += 1;
                        ended
                    }
                    Seen::Ended => true,
                    Seen::Other => ended,
                })
            });
            self.weigh();
            if ended {
                self.stage.run(Duration::from_secs(1));
                self.report.sessions += 1;
                let seed = self.seed + self.report.sessions;
                let config = CameraConfig::new(config(self.script, seed));
                self.stage.begin(|now| Weighed::new(&config, now));
            }
        }
    }

    /// Something goes wrong, or well again.
    fn step(&mut self, rng: &mut Rng) {
        let path = self.script.path();
        let name = match rng.below(12) {
            0 => {
                self.stage.cut();
                "cut"
            }
            1 => {
                self.stage.with_camera(|camera| camera.restart());
                "restart"
            }
            2 => {
                self.stage.network.is_down = !self.stage.network.is_down;
                "down or up"
            }
            3 => {
                self.stage.network.refuses = !self.stage.network.refuses;
                "refuses or not"
            }
            4 => {
                self.stage.network.loss = [0.0, 0.05, 0.5][rng.below(3) as usize];
                "loss"
            }
            // Another firmware: the behaviour of any other script, for new and old sessions.
            5..=8 => {
                let other = SCRIPTS[rng.below(SCRIPTS.len() as u64) as usize].behaviour();
                self.stage.with_camera(|camera| {
                    camera.change(|behaviour| {
                        let media = behaviour.media;
                        *behaviour = other;
                        behaviour.media = media;
                        // People would have to type another one.
                        behaviour.description.path = Some(path);
                    });
                });
                "another behaviour"
            }
            9 => {
                self.stage
                    .with_camera(|camera| camera.change(|b| b.faults.silent_after = Some(0)));
                "silent"
            }
            10 => {
                self.stage.with_camera(|camera| {
                    camera.change(|b| b.sessions.get_parameter = Reply::Status(454));
                });
                "keep-alives refused"
            }
            _ => {
                self.stage
                    .with_camera(|camera| camera.change(|b| *b = calm(b, path)));
                "calm"
            }
        };
        self.report.steps.push(name);
    }

    /// All faults are over.
    fn heal(&mut self) {
        let path = self.script.path();
        self.stage.network = Network::default();
        self.stage
            .with_camera(|camera| camera.change(|b| *b = calm(b, path)));
    }
}

/// A camera without faults that has the same film, at this path.
fn calm(behaviour: &Behaviour, path: &'static str) -> Behaviour {
    let mut calm = Behaviour {
        media: behaviour.media,
        ..Behaviour::default()
    };
    calm.description.path = Some(path);
    calm
}

fn play(seed: u64) -> Report {
    let mut rng = Rng::new(seed);
    // Who wants nothing but two-way audio sees no frames of a camera without faults, which has none.
    let scripts = SCRIPTS.iter().filter(|script| script.settings != "talk");
    let scripts: Vec<&Script> = scripts.collect();
    let script = scripts[rng.below(scripts.len() as u64) as usize];
    let mut behaviour = script.behaviour();
    if rng.chance(0.5) {
        behaviour.media.audio = Audio::Pcma;
    }
    let first = CameraConfig::new(config(script, seed));
    let mut viewer = Viewer {
        stage: Stage::new(seed, behaviour, |now| Weighed::new(&first, now)),
        script,
        seed,
        report: Report::default(),
    };
    for _ in 0..3 + rng.below(12) {
        viewer.run(Duration::from_millis(rng.below(6_000)));
        viewer.step(&mut rng);
    }
    viewer.heal();
    // A connection that is dead is noticed, a session that is refused ends; then all is well.
    viewer.run(Duration::from_secs(40));
    let before = viewer.report.frames;
    viewer.run(Duration::from_secs(10));
    let frames = viewer.report.frames - before;
    let steps = &viewer.report.steps;
    assert!(
        frames > 200,
        "seed {seed}: {frames} frames at the end, after {} {} and {steps:?}",
        script.name,
        script.about,
    );
    viewer.report
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn cameras_come_back_after_any_faults() {
    let first = variable("LOOPRTC_SEED").unwrap_or(0);
    let count = variable("LOOPRTC_CAMERAS").unwrap_or(SEQUENCES);
    let (mut sessions, mut frames, mut most) = (0, 0, 0);
    for seed in first..first + count {
        println!("LOOPRTC_SEED={seed}");
        let mut report = Report::default();
        let left = measure(|| report = play(seed)).bytes_current;
        // The report itself, and what is made once.
        assert!(left < 64 << 10, "seed {seed}: {left} bytes are left");
        most = most.max(report.most);
        sessions += report.sessions;
        frames += report.frames;
    }
    println!(
        "{count} sequences, {sessions} further sessions, {frames} frames, at most {} KiB",
        most >> 10
    );
    // Faults that end no session would prove nothing.
    assert!(count < SEQUENCES || sessions > count, "{sessions} sessions");
}

/// Two cameras as streams of one loop.
struct Pair {
    net: EventLoop,
    streams: Streams,
}

impl Pair {
    fn new(good: &CameraOnSockets, bad: &CameraOnSockets) -> Self {
        let mut streams = Streams::new(StreamsConfig::default());
        for (name, camera) in [("good", good), ("bad", bad)] {
            let text = format!("{name}={}#always", camera.url());
            let (name, source) = SourceConfig::parse(&text).expect("a camera");
            streams.add(&name, source).expect("a stream");
        }
        Self {
            net: EventLoop::new(LoopConfig::default()).expect("a loop"),
            streams,
        }
    }

    fn frames(&self, name: &str) -> u64 {
        let info = self.streams.info(name);
        info.map_or(0, |info| info.stats.packets)
    }

    /// Runs until this holds, or for this long. Returns whether it holds.
    fn run(&mut self, time: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + time;
        while !holds(self) {
            if Instant::now() >= end {
                return false;
            }
            let wait = Duration::from_millis(10);
            self.net.next_event(Some(wait)).expect("the loop runs");
            while let Some(event) = self.net.poll_tcp() {
                self.streams.handle_tcp(&mut self.net, &event);
            }
            while let Some(datagram) = self.net.poll_datagram() {
                self.streams.handle_datagram(&mut self.net, &datagram);
            }
            self.streams.handle_timeout(&mut self.net, Instant::now());
            while self.streams.poll_event().is_some() {}
        }
        true
    }
}

/// A camera's faults are its own: of a healthy one on the same loop no frame is missing.
#[test]
fn a_faulty_camera_harms_no_other() {
    let patience = Duration::from_secs(60);
    let seed = variable("LOOPRTC_SEED").unwrap_or(1);
    println!("LOOPRTC_SEED={seed}");
    let mut rng = Rng::new(seed);
    let good = CameraOnSockets::start(Behaviour::default()).expect("a camera");
    let bad = CameraOnSockets::start(Behaviour::default()).expect("a camera");
    let mut pair = Pair::new(&good, &bad);
    let both = |pair: &Pair| pair.frames("good") > 10 && pair.frames("bad") > 10;
    assert!(pair.run(patience, both), "no frames");
    let begun = (pair.frames("good"), good.log().pictures);
    // Those that people would have to do something about are tried again after a minute.
    let scripts = SCRIPTS.iter().filter(|script| {
        let needs_nobody = !matches!(script.expect, Expect::Ends(_));
        needs_nobody && script.settings.is_empty() && script.behaviour().access.is_none()
    });
    let scripts: Vec<&Script> = scripts.collect();
    let mut steps = Vec::new();
    for _ in 0..12 {
        let script = scripts[rng.below(scripts.len() as u64) as usize];
        steps.push(script.name);
        let other = script.behaviour();
        let restarts = rng.chance(0.7);
        bad.with(move |camera| {
            camera.change(|behaviour| {
                let media = behaviour.media;
                *behaviour = other;
                behaviour.media = media;
                behaviour.description.path = None;
            });
            if restarts {
                camera.restart();
            }
        });
        let time = Duration::from_millis(rng.below(700));
        pair.run(time, |_| false);
    }
    let connections = bad.log().connections;
    assert!(connections > 2, "{connections} connections, {steps:?}");
    bad.with(|camera| {
        camera.change(|behaviour| *behaviour = Behaviour::default());
        camera.restart();
    });
    // Frames on their way are not counted.
    pair.run(Duration::from_millis(300), |_| false);
    let before = pair.frames("bad");
    let is_back = pair.run(patience, |pair| pair.frames("bad") > before + 25);
    assert!(
        is_back,
        "seed {seed}: it does not come back after {steps:?}"
    );
    let (seen, sent) = (pair.frames("good") - begun.0, good.log().pictures - begun.1);
    println!("{connections} connections, {seen} frames of {sent} of the healthy camera");
    // The last ones are on their way.
    assert!(
        sent > 100 && seen + 10 > sent && good.log().connections == 1,
        "seed {seed}: {seen} frames of {sent}, {} connections, after {steps:?}",
        good.log().connections,
    );
    pair.streams.close(&mut pair.net);
}
