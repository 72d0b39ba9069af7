//! Cost of media for a peer, without sockets: processor time and allocations per packet, for sender and receiver, in
//! packet mode and in frame mode.
//!
//!     cargo bench --bench media -- [SECONDS]

mod support;

use std::time::{Duration, Instant};

use looprtc::proto::peer::{EncodedFrame, MediaMode, RtpPacket};

use support::{Wire, shared_config};

const PAYLOAD: usize = 1200;

/// Cost of a run.
#[derive(Default)]
struct Cost {
    time: [Duration; 2],
    allocations: [u64; 2],
    bytes: [u64; 2],
    packets: u64,
    given: usize,
}

impl Cost {
    /// Runs this for one end, and records its cost.
    fn of<R>(&mut self, end: usize, counting: bool, run: impl FnOnce() -> R) -> R {
        if !counting {
            let begin = Instant::now();
            let result = run();
            self.time[end] += begin.elapsed();
            return result;
        }
        let mut result = None;
        let info = allocation_counter::measure(|| result = Some(run()));
        self.allocations[end] += info.count_total;
        self.bytes[end] += info.bytes_total;
        result.expect("it ran")
    }
}

/// Runs bursts of packets every 10 ms of virtual time, each burst a video frame.
fn run(mode: MediaMode, burst: usize, seconds: f64, counting: bool) -> Cost {
    let mut wire = Wire::connect_track(&shared_config().media_mode(mode));
    let id = wire.ends[0].bound.expect("a bound track");
    let mut cost = Cost::default();
    let begin = Instant::now();
    let mut number = 0u16;
    let picture: std::sync::Arc<[u8]> = vec![0x11; PAYLOAD * burst].into();
    while begin.elapsed().as_secs_f64() < seconds {
        wire.now += Duration::from_millis(10);
        let now = wire.now;
        let time = u32::from(number);
        let packets: Vec<RtpPacket> = (0..burst)
            .map(|part| {
                number = number.wrapping_add(1);
                RtpPacket::new(1, number, time, vec![0x11; PAYLOAD]).marker(part + 1 == burst)
            })
            .collect();
        let [sender, receiver] = &mut wire.ends;
        cost.of(0, counting, || {
            match mode {
                MediaMode::Packets => {
                    for packet in &packets {
                        sender.peer.write_rtp(id, packet, now).expect("room");
                    }
                }
                MediaMode::Frames => {
                    let frame = EncodedFrame::new(picture.clone(), now - begin);
                    sender.peer.write_frame(id, &frame, now).expect("room");
                }
            }
            sender.poll(now);
        });
        let sent = sender.take_sent();
        cost.packets += sent.len() as u64;
        cost.of(1, counting, || {
            for transmit in &sent {
                receiver.receive(transmit, now);
            }
        });
        // Reports and other due work, not counted.
        wire.exchange();
        wire.due();
    }
    cost.given = wire.ends[1].media;
    cost
}

fn main() {
    let seconds = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(2.0);
    println!("payload {PAYLOAD} B; processor time and allocations a packet");
    println!("| | sender | receiver | sender allocates | receiver allocates |");
    println!("|---|---|---|---|---|");
    for (mode, name) in [
        (MediaMode::Packets, "packets"),
        (MediaMode::Frames, "frames"),
    ] {
        for burst in [1, 10] {
            let timed = run(mode, burst, seconds, false);
            let counted = run(mode, burst, seconds / 4.0, true);
            assert!(
                timed.given > 100,
                "{} given of {}",
                timed.given,
                timed.packets
            );
            let ns = |end: usize| timed.time[end].as_nanos() as f64 / timed.packets as f64;
            let per = |n: u64| n as f64 / counted.packets as f64;
            println!(
                "| {name}, {burst} at once | {:.0} ns | {:.0} ns | {:.1} ({:.0} B) | {:.1} ({:.0} B) |",
                ns(0),
                ns(1),
                per(counted.allocations[0]),
                per(counted.bytes[0]),
                per(counted.allocations[1]),
                per(counted.bytes[1]),
            );
        }
    }
}
