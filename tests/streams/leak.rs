//! Viewers leave no memory behind. In a process of its own, because it measures all of it.
#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::{Duration, Instant};

use looprtc::proto::peer::Codec::{Opus, Vp8};
use looprtc::server::streams::StreamsConfig;

use crate::stage::Stage;

/// Tells the process that it is the one to measure.
const ALONE: &str = "LOOPRTC_LEAK_TEST";

const VIEWERS: usize = 1000;

/// Number of simultaneous viewers.
const AT_ONCE: usize = 20;

/// Resident memory of this process, in KiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let number = line.and_then(|l| l.split_ascii_whitespace().next());
    number.and_then(|n| n.parse().ok()).expect("VmRSS")
}

#[test]
fn a_thousand_viewers_come_and_go() {
    if std::env::var_os(ALONE).is_some() {
        return come_and_go();
    }
    let run = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "leak::a_thousand_viewers_come_and_go",
            "--nocapture",
        ])
        .env(ALONE, "1")
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&run.stdout));
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}\n{error}", run.status);
}

fn come_and_go() {
    let begun = Instant::now();
    let mut stage = Stage::new(StreamsConfig::default())
        .with("card=testcard:")
        .with("cam=whip:");
    stage.publish("cam", &[Vp8, Opus]).unwrap();
    batches(&mut stage, 100);
    settle(&mut stage);
    let after_first = resident();
    // Memory allocated and not freed by Rust code: exact, except for the reader's thread.
    let left = allocation_counter::measure(|| {
        batches(&mut stage, VIEWERS - 100);
        settle(&mut stage);
    })
    .bytes_current;
    let at_end = resident();
    let growth = (at_end / after_first - 1.0) * 100.0;
    println!(
        "after 100 viewers {after_first} KiB, after {VIEWERS} {at_end} KiB ({growth:+.1} %), {left} bytes of \
         allocations left, in {:?}",
        begun.elapsed()
    );
    let share = left as f64 / 1024.0 / after_first * 100.0;
    assert!(share < 5.0, "{left} bytes left: {share} %");
    assert!(growth < 5.0, "{growth} % more");
    assert_eq!(stage.net.peer_ids().len(), 2, "the publisher's two ends");
}

/// The time for which packets are kept for retransmission, and sources without viewers run: after it, the memory in use
/// is the same each time.
fn settle(stage: &mut Stage) {
    stage.run_for(Duration::from_secs(6));
    stage.clients.clear();
    stage.closed = Vec::new();
    stage.events = Vec::new();
}

/// This many viewers join, and leave after receiving something.
fn batches(stage: &mut Stage, viewers: usize) {
    for round in 0..viewers / AT_ONCE {
        let name = ["card", "cam"][round % 2];
        let viewers: Vec<_> = (0..AT_ONCE)
            .map(|_| stage.watch(name, &[Vp8, Opus]).unwrap())
            .collect();
        stage.until("pictures for all", |stage| {
            viewers.iter().all(|v| !stage.client(*v).of(Vp8).is_empty())
        });
        viewers.iter().for_each(|viewer| stage.leave(*viewer));
        stage.until("gone", |stage| {
            stage.streams.viewer_count() == 0 && stage.net.peer_ids().len() == 2
        });
        // Memory of the test itself.
        stage.clients.clear();
        stage.closed = Vec::new();
        stage.events = Vec::new();
    }
}
