//! Chromium and libwebrtc as remote peers, whose cameras are received during the test, and pion. They echo messages on
//! the channel.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use looprtc::driver::LoopConfig;
use looprtc::proto::peer::{IceCandidateInit, PeerConfig, SessionDescription};
use serde_json::{Value, json};

use crate::child::{self, RealPeer};
use crate::lab::Lab;
use crate::session::{BACK_WITHIN, Plan, Record, Side, Signal};

/// A session with one of them.
struct Call {
    ours: Side,
    theirs: JoinHandle<()>,
    quiet: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    has_video: bool,
}

/// Transfers signaling between the two.
fn carry(
    mut theirs: RealPeer,
    from_us: &Receiver<Signal>,
    to_us: &Sender<Signal>,
    over: &AtomicBool,
) {
    while !over.load(Ordering::Relaxed) {
        for signal in from_us.try_iter() {
            theirs.say(&match signal {
                Signal::Description(d) => {
                    json!({"type": "description", "description": {"type": d.kind.as_str(), "sdp": d.sdp}})
                }
                Signal::Candidate(c) => json!({"type": "candidate", "candidate": {
                    "candidate": c.candidate,
                    "sdpMid": c.sdp_mid,
                    "sdpMLineIndex": c.sdp_m_line_index,
                    "usernameFragment": c.username_fragment,
                }}),
            });
        }
        match theirs.report() {
            Ok(Some(report)) => on_report(&report, to_us),
            Ok(None) => thread::sleep(Duration::from_millis(2)),
            Err(why) => panic!("{why}"),
        }
    }
}

fn on_report(report: &Value, to_us: &Sender<Signal>) {
    let signal = match report["type"].as_str() {
        Some("description") => {
            let sdp = report["description"]["sdp"].as_str().unwrap_or_default();
            Signal::Description(SessionDescription::answer(sdp.to_owned()))
        }
        Some("candidate") => {
            let Some(line) = report["candidate"]["candidate"].as_str() else {
                return;
            };
            let mut init = IceCandidateInit::new(line.to_owned());
            let ufrag = report["candidate"]["usernameFragment"].as_str();
            init.username_fragment = ufrag.map(str::to_owned);
            Signal::Candidate(init)
        }
        Some("error") => panic!("{report}"),
        _ => return,
    };
    let _ = to_us.send(signal);
}

impl Call {
    fn start(lab: &Lab, name: &str, media: &[&str]) -> Self {
        let (to_us, at_us) = channel();
        let (to_them, at_them) = channel();
        let (quiet, over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let theirs = RealPeer::start_by(&lab.prefix("b"), name, "answer", media);
        let plan = Plan {
            space: lab.space("a"),
            config: LoopConfig::default(),
            peer: PeerConfig::default(),
            offers: true,
            films: false,
        };
        let ours = Side::start(plan, at_us, to_them, (quiet.clone(), over.clone()));
        let is_over = over.clone();
        let carrier = thread::spawn(move || carry(theirs, &at_them, &to_us, &is_over));
        let call = Self {
            ours,
            theirs: carrier,
            quiet,
            over,
            has_video: !media.is_empty(),
        };
        call.wait("messages and frames", |r| {
            r.messages.len() > 50 && (media.is_empty() || r.frames.len() > 20)
        });
        call
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.ours.record.lock().expect("the other thread lives")
    }

    fn wait(&self, what: &str, done: impl Fn(&Record) -> bool) {
        let end = Instant::now() + Duration::from_secs(40);
        loop {
            let record = self.record();
            if done(&record) {
                return;
            }
            let brief = record.brief();
            drop(record);
            assert!(!self.theirs.is_finished(), "they are gone: {brief}");
            assert!(Instant::now() < end, "{what} did not come: {brief}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Changes the network; later messages are echoed in time, and decodable video continues.
    fn survives(&self, what: &str, change: impl FnOnce()) {
        let changed = Instant::now();
        change();
        let sent = self.record().sent + 1;
        let message = |r: &Record| r.messages.iter().find(|(_, n)| *n >= sent).map(|m| m.0);
        let picture = |r: &Record| r.picture_after(changed + Duration::from_millis(400));
        let has_video = self.has_video;
        self.wait(what, |r| {
            message(r).is_some() && (!has_video || picture(r).is_some())
        });
        let record = self.record();
        let back = [message(&record), picture(&record)];
        let ms = back.map(|at| at.map(|at| at.saturating_duration_since(changed).as_millis()));
        println!(
            "{what}: messages come back after {:?} ms, pictures go on after {:?} ms; by {}; {} restarts",
            ms[0], ms[1], record.path, record.restarts
        );
        for at in back.into_iter().flatten() {
            assert!(at <= changed + BACK_WITHIN, "{what}: too late");
        }
    }

    /// Checks that every message was echoed, once and in order.
    fn finish(self) {
        self.quiet.store(true, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(100));
        self.wait("all messages", |r| r.messages.len() >= r.sent as usize);
        self.over.store(true, Ordering::Relaxed);
        self.ours.handle.wake();
        self.ours.thread.join().expect("no panic");
        self.theirs.join().expect("no panic");
        let record = self.ours.record.lock().expect("nobody has panicked");
        let got: Vec<u32> = record.messages.iter().map(|m| m.1).collect();
        assert_eq!(got, (0..record.sent).collect::<Vec<u32>>());
        assert_eq!(record.errors, [] as [&str; 0]);
    }
}

fn another_interface(name: &str, media: &[&str]) {
    if let Err(why) = child::installed(name) {
        eprintln!("\n*** NOT TESTED with {name}: {why} ***\n");
        assert!(std::env::var_os("CI").is_none(), "NOT TESTED: {why}");
        return;
    }
    let _ = env_logger::builder().is_test(true).try_init();
    let Some(lab) = Lab::new() else { return };
    let call = Call::start(&lab, name, media);
    call.survives(&format!("{name}: wifi0 down, lte0 is there"), || {
        lab.must("a", "link set wifi0 down");
    });
    lab.must("a", "link set wifi0 up");
    lab.must("a", "route add default via 10.71.1.1 metric 300");
    thread::sleep(Duration::from_millis(1500));
    call.survives(&format!("{name}: lte0 down, wifi0 is there again"), || {
        lab.must("a", "link set lte0 down");
    });
    call.finish();
}

#[test]
fn chromium() {
    another_interface("chromium", &["--media", "video:VP8"]);
}

#[test]
fn libwebrtc() {
    another_interface("libwebrtc", &["--media", "video:VP8"]);
}

#[test]
fn pion() {
    another_interface("pion", &[]);
}
