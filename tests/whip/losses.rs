//! Publishing over a link that loses packets: no viewer freezes for long.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use looprtc::proto::peer::{MediaMode, PeerConfig, ReceivedPacket};
use looprtc::signaling::whip::WhipClientConfig;

use crate::client::Party;
use crate::server::{Server, Setup};

/// Maximum time without a new frame for any viewer.
const FREEZE: Duration = Duration::from_millis(600);

/// Time for the publisher to estimate the capacity of the path.
const SETTLING: Duration = Duration::from_secs(4);

fn interop(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/interop")
        .join(file)
}

/// Returns `true` if this can be tested here. If not, that is reported, and fails in continuous integration.
fn is_possible() -> bool {
    let checks = [
        Command::new(interop("netlab/behind_bad_link"))
            .arg("--check")
            .output(),
        Command::new(interop("peer"))
            .args(["libwebrtc", "--check"])
            .output(),
    ];
    for check in checks {
        let check = check.unwrap();
        if !check.status.success() {
            let why = String::from_utf8_lossy(&check.stderr).trim().to_owned();
            let is_ci = std::env::var_os("CI").is_some();
            assert!(!is_ci, "NOT TESTED: publishing over losses: {why}");
            let text = format!("\n##### NOT TESTED: publishing over losses: {why} #####\n\n");
            let _ = std::io::stderr().write_all(text.as_bytes());
            return false;
        }
    }
    true
}

/// libwebrtc behind a bad link; it exits when its standard input is closed.
struct Publisher(Child);

impl Publisher {
    fn start(loss: &str, delay: &str, port: u16) -> Self {
        let program = interop("whip.py");
        let publish = format!(
            "exec {} libwebrtc http://$(ip route | awk '/default/ {{ print $3 }}'):{port}/whip/cam --media video:VP8",
            program.display()
        );
        let child = Command::new(interop("netlab/behind_bad_link"))
            .args([loss, delay, "0", "0", "7", "bash", "-c", &publish])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let end = Instant::now() + Duration::from_secs(10);
        while self.0.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns `true` if a VP8 keyframe begins in this payload (RFC 7741 §4.2, §4.3).
fn begins_keyframe(payload: &[u8]) -> bool {
    let at = |n: usize| payload.get(n).copied().unwrap_or_default();
    let mut header = 1;
    if at(0) & 0x80 != 0 {
        let has = at(1);
        header += 1;
        if has & 0x80 != 0 {
            header += if at(header) & 0x80 != 0 { 2 } else { 1 };
        }
        header += usize::from(has & 0x40 != 0) + usize::from(has & 0x30 != 0);
    }
    at(0) & 0x17 == 0x10 && payload.len() > header && at(header) & 1 == 0
}

/// Returns when each frame became decodable: it is complete, and so is everything since the last keyframe.
fn shown(packets: &[(Instant, ReceivedPacket)]) -> Vec<Instant> {
    let in_order: BTreeMap<u64, _> = packets
        .iter()
        .map(|(came, p)| (p.sequence_number, (*came, p)))
        .collect();
    let mut shown = Vec::new();
    let (mut ready, mut last) = (None, None);
    for (number, (came, packet)) in in_order {
        if begins_keyframe(&packet.payload) {
            ready = Some(came);
        } else if last != Some(number - 1) {
            ready = None;
        }
        ready = ready.map(|ready: Instant| ready.max(came));
        last = Some(number);
        shown.extend(ready.filter(|_| packet.marker));
    }
    shown.sort();
    shown
}

/// Returns the longest time without a new frame, and how often it exceeded 200 ms.
fn longest(loss: &str, delay: &str, time: Duration) -> Duration {
    let server = Server::start(Setup {
        address: Some(([0, 0, 0, 0], 0).into()),
        ..Setup::default()
    });
    let port = server.address.port();
    let _publisher = Publisher::start(loss, delay, port);
    server.until("a publisher", |stats| stats.publishers == 1);
    let config = WhipClientConfig::new(format!("http://127.0.0.1:{port}/whep/cam"));
    let peer = PeerConfig::default().media_mode(MediaMode::Packets);
    let mut viewer = Party::new(config, peer, false);
    viewer.until("pictures", |viewer| {
        (viewer.packets.len() > 50).then_some(())
    });
    let until = |end: Instant| move |_: &mut Party| (Instant::now() >= end).then_some(());
    let begun = Instant::now() + SETTLING;
    viewer.until("time to pass", until(begun + time));
    let mut shown = shown(&viewer.packets);
    shown.retain(|at| *at >= begun);
    let gaps = shown.windows(2).map(|pair| pair[1] - pair[0]);
    let long = gaps.clone().filter(|gap| *gap > Duration::from_millis(200));
    println!(
        "{loss} % lost, {delay} ms away: {} pictures in {time:?}, the gaps over 200 ms: {:?}",
        shown.len(),
        long.collect::<Vec<_>>()
    );
    let least = (time.as_secs() * 20) as usize;
    assert!(shown.len() >= least, "{} pictures", shown.len());
    gaps.max().unwrap()
}

#[test]
fn a_publisher_that_loses_packets_freezes_nobody_for_long() {
    if !is_possible() {
        return;
    }
    let seconds = std::env::var("LOOPRTC_LOSS_SECONDS");
    let time = Duration::from_secs(seconds.map_or(8, |s| s.parse().expect("seconds")));
    for (loss, delay) in [("5", "40"), ("2", "100")] {
        let first = longest(loss, delay, time);
        if first <= FREEZE {
            continue;
        }
        // A retransmission, and the request for a keyframe, may be lost as well.
        println!("Once more: {first:?} without a picture");
        let second = longest(loss, delay, time);
        assert!(second <= FREEZE, "{first:?} and {second:?}");
    }
}
