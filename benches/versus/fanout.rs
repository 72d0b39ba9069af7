//! A track sent to many peers: cost per packet. The peers are in another process (`sink`), the same for both
//! contestants, so that only the sender's processor time is counted.
//!
//! The sender prints `{"id": …, "offer": …}` and reads `{"id": …, "answer": …}`; `{"count": true}` asks the sink for
//! the number of packets received. `compare` connects them with pipes.

use std::io::{BufRead, Write, stdin, stdout};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LocalTrack, PeerId};
use looprtc::proto::net::PortPolicy;
use looprtc::proto::peer::{
    Codec, Direction, IceGatheringState, MediaKind, MediaMode, PeerConfig, PeerEvent, RtpPacket,
    SessionDescription, TransceiverConfig,
};
use serde_json::{Value, json};

use crate::cpu::cpu_time;
use crate::pair::{Result, TIMEOUT, new_loop};

/// Number of peers, and of packets per burst: one as for audio, ten as for a video frame.
const CASES: [(usize, usize); 5] = [(10, 10), (50, 10), (100, 10), (200, 10), (100, 1)];

/// Packets per second over all peers: what the sinks receive without loss on the other processor.
pub const RATE: usize = 12_000;

const PAYLOAD: usize = 1200;

pub fn send(seconds: Duration, mut report: impl FnMut(String, Result<Value>)) {
    let lines = input();
    for (peers, burst) in CASES {
        let variant = variant(peers, burst);
        report(variant, measure(&lines, peers, burst, seconds));
    }
}

fn variant(peers: usize, burst: usize) -> String {
    format!("{peers} peers, {burst} at once")
}

/// Lines of the standard input, read by a thread.
pub fn input() -> mpsc::Receiver<Value> {
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stdin().lock().lines().map_while(std::io::Result::ok) {
            if let Ok(value) = serde_json::from_str(&line) {
                let _ = tx.send(value);
            }
        }
    });
    rx
}

pub fn say(value: &Value) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

fn measure(
    lines: &mpsc::Receiver<Value>,
    peers: usize,
    burst: usize,
    seconds: Duration,
) -> Result<Value> {
    let mut net = new_loop()?;
    let config = TransceiverConfig::default()
        .codecs([Codec::Vp8])
        .direction(Direction::SendOnly);
    let mut track = LocalTrack::new(MediaKind::Video, config);
    for _ in 0..peers {
        offer(&mut net, &mut track, lines)?;
    }
    let end = Instant::now() + TIMEOUT;
    while track.bound() < peers {
        if let Some((id, event)) = net.next_event(Some(TIMEOUT))? {
            track.handle_event(id, &event);
        }
        if Instant::now() > end {
            return Err(format!("{} of {peers} peers connected", track.bound()).into());
        }
    }
    let gap = Duration::from_secs_f64(burst as f64 * peers as f64 / RATE as f64);
    let mut source = Source::default();
    source.run(&mut net, &track, burst, gap, Duration::from_millis(500))?;
    let (cpu, before) = (cpu_time(), source.sent);
    source.run(&mut net, &track, burst, gap, seconds)?;
    let (cpu, sent) = (cpu_time() - cpu, source.sent - before);
    // Waits for packets in transit.
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        net.next_event(Some(Duration::from_millis(10)))?;
    }
    say(&json!({"count": true}))?;
    let received = lines.recv_timeout(TIMEOUT)?["received"].as_u64();
    let received = received.ok_or("the sink did not say what came")?;
    net.shutdown(Duration::from_millis(100))?;
    Ok(json!({
        "bench": "fanout", "variant": variant(peers, burst), "n": sent,
        "packets_per_cpu_s": sent as f64 / cpu.as_secs_f64(),
        "cpu_us_per_packet": cpu.as_secs_f64() * 1e6 / sent as f64,
        "lost": source.sent.saturating_sub(received),
    }))
}

fn offer(net: &mut EventLoop, track: &mut LocalTrack, lines: &mpsc::Receiver<Value>) -> Result<()> {
    let id = net.add_peer(peer())?;
    track.add_to(net, id)?;
    net.peer(id)?.negotiate()?;
    let offer = gathered(net, id, |id, event| {
        track.handle_event(id, event);
    })?;
    say(&json!({"id": 0, "offer": offer.sdp}))?;
    let answer = lines.recv_timeout(TIMEOUT)?;
    let answer = answer["answer"].as_str().ok_or("no answer")?;
    net.peer(id)?.receive(SessionDescription::answer(answer))?;
    Ok(())
}

pub fn peer() -> PeerConfig {
    PeerConfig::default()
        .include_loopback(true)
        .media_mode(MediaMode::Packets)
}

pub fn gathered(
    net: &mut EventLoop,
    id: PeerId,
    mut each: impl FnMut(PeerId, &PeerEvent),
) -> Result<SessionDescription> {
    while net.peer(id)?.ice_gathering_state() != IceGatheringState::Complete {
        if let Some((id, event)) = net.next_event(Some(Duration::from_millis(100)))? {
            each(id, &event);
        }
    }
    Ok(net.peer(id)?.local_description().ok_or("no description")?)
}

#[derive(Default)]
struct Source {
    number: u16,
    sent: u64,
}

impl Source {
    /// Sends bursts on an absolute schedule.
    fn run(
        &mut self,
        net: &mut EventLoop,
        track: &LocalTrack,
        burst: usize,
        gap: Duration,
        time: Duration,
    ) -> Result<()> {
        let begin = Instant::now();
        let mut due = begin;
        while due < begin + time {
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                net.next_event(Some(wait))?;
                continue;
            }
            for part in 1..=burst {
                self.number = self.number.wrapping_add(1);
                let timestamp = u32::from(self.number) * 90;
                let packet = RtpPacket::new(1, self.number, timestamp, vec![0x10; PAYLOAD]);
                self.sent += track.write_rtp(net, &packet.marker(part == burst)) as u64;
            }
            due += gap;
        }
        Ok(())
    }
}

/// Answers offers, counts packets.
pub fn sink() -> Result<()> {
    let lines = input();
    let mut net = new_loop()?;
    let mut received = 0u64;
    loop {
        match lines.try_recv() {
            Ok(line) if line["count"].as_bool().is_some() => {
                say(&json!({"received": received}))?;
                received = 0;
                for id in net.peer_ids() {
                    net.peer(id)?.close();
                }
            }
            Ok(line) => {
                let offer = line["offer"].as_str().ok_or("no offer")?;
                let id = net.add_peer(peer().port(PortPolicy::Own))?;
                net.peer(id)?.receive(SessionDescription::offer(offer))?;
                let answer = gathered(&mut net, id, |_, _| {})?;
                say(&json!({"id": line["id"], "answer": answer.sdp}))?;
            }
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
        }
        let mut wait = Duration::from_millis(5);
        while let Some((_, event)) = net.next_event(Some(wait))? {
            received += u64::from(matches!(event, PeerEvent::Packet(_)));
            wait = Duration::ZERO;
        }
    }
}
