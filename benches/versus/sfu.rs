//! A selective forwarding unit: one publisher, many viewers. Both are in another process (`sink`), the same for both
//! contestants, so that only the forwarder's processor time and memory count: per forwarded packet, and per viewer.
//! Ours is [`Streams`], as in `looprtc serve`.
//!
//! The forwarder offers to the publisher (`"publish": true`) and then to each viewer, as in `fanout.rs`; `{"publish":
//! {"burst": …, "gap_us": …}}` starts it. `{"count": true}` asks for received and missing packets of the viewers.

use std::collections::HashMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LocalTrack, PeerId};
use looprtc::proto::net::PortPolicy;
use looprtc::proto::peer::{
    Codec, Direction, MediaKind, PeerEvent, RtpPacket, SessionDescription, TransceiverConfig,
};
use looprtc::server::streams::{SourceConfig, Streams, StreamsConfig};
use serde_json::{Value, json};

use crate::cpu::{cpu_time, resident_bytes};
use crate::fanout::{RATE, gathered, input, peer, say};
use crate::pair::{Result, TIMEOUT, new_loop};

/// Packets per video frame.
const BURST: usize = 10;

const PAYLOAD: usize = 1200;

/// Frames between two keyframes.
const KEYFRAMES: u64 = 25;

struct Forwarder {
    net: EventLoop,
    streams: Streams,
}

pub fn forward(viewers: usize, seconds: Duration) -> Result<Value> {
    let lines = input();
    let mut streams = Streams::new(StreamsConfig::default());
    streams.add("cam", SourceConfig::whip())?;
    let mut sfu = Forwarder {
        net: new_loop()?,
        streams,
    };
    sfu.add_publisher(&lines)?;
    let gap = BURST as f64 * viewers as f64 / RATE as f64;
    say(&json!({"publish": {"burst": BURST, "gap_us": gap * 1e6}}))?;
    sfu.until(|sfu| sfu.packets() > 0)?;
    sfu.run(Duration::from_secs(1))?;
    let memory = resident_bytes()?;
    for _ in 0..viewers {
        sfu.add_viewer(&lines)?;
    }
    let peers = sfu.streams.viewers("cam");
    sfu.until(|sfu| {
        peers.iter().all(|peer| {
            let stats = sfu.streams.viewer_stats(*peer);
            stats.is_some_and(|s| s.first_sent_after.is_some())
        })
    })?;
    sfu.run(Duration::from_secs(1))?;
    let (cpu, before) = (cpu_time(), sfu.sent());
    sfu.run(seconds)?;
    let (cpu, sent) = (cpu_time() - cpu, sfu.sent() - before);
    let memory = resident_bytes()?.saturating_sub(memory);
    say(&json!({"publish": null}))?;
    sfu.run(Duration::from_millis(500))?;
    say(&json!({"count": true}))?;
    let counted = lines.recv_timeout(TIMEOUT)?;
    let lost = counted["lost"].as_u64().ok_or("the sink did not count")?;
    sfu.net.shutdown(Duration::from_millis(100))?;
    Ok(json!({
        "bench": format!("sfu-{viewers}"), "variant": format!("{viewers} viewers"), "n": sent,
        "cpu_us_per_packet": cpu.as_secs_f64() * 1e6 / sent as f64,
        "cpu_percent_per_viewer": cpu.as_secs_f64() * 100.0 / seconds.as_secs_f64() / viewers as f64,
        "kib_per_viewer": memory as f64 / 1024.0 / viewers as f64,
        "received": counted["received"], "lost": lost,
    }))
}

impl Forwarder {
    fn packets(&self) -> u64 {
        self.streams.info("cam").map_or(0, |i| i.stats.packets)
    }

    fn sent(&self) -> u64 {
        self.streams.info("cam").map_or(0, |i| i.stats.sent)
    }

    fn add_publisher(&mut self, lines: &mpsc::Receiver<Value>) -> Result<()> {
        let id = self.net.add_peer(peer())?;
        self.streams.add_publisher(&mut self.net, "cam", id)?;
        let config = TransceiverConfig::default()
            .codecs([Codec::Vp8])
            .direction(Direction::RecvOnly);
        self.net
            .peer(id)?
            .add_transceiver(MediaKind::Video, config)?;
        self.offer(id, lines, true)
    }

    fn add_viewer(&mut self, lines: &mpsc::Receiver<Value>) -> Result<()> {
        let id = self.net.add_peer(peer())?;
        self.streams.add_viewer(&mut self.net, "cam", id)?;
        self.offer(id, lines, false)
    }

    fn offer(&mut self, id: PeerId, lines: &mpsc::Receiver<Value>, publish: bool) -> Result<()> {
        self.net.peer(id)?.negotiate()?;
        let streams = &mut self.streams;
        let offer = {
            let events = &mut Vec::new();
            let offer = gathered(&mut self.net, id, |peer, event| {
                events.push((peer, event.clone()));
            })?;
            for (peer, event) in events.drain(..) {
                streams.handle_peer_event(&mut self.net, peer, &event);
            }
            offer
        };
        say(&json!({"id": 0, "offer": offer.sdp, "publish": publish}))?;
        let answer = loop {
            // The stream continues meanwhile.
            self.run(Duration::from_millis(2))?;
            match lines.try_recv() {
                Ok(answer) => break answer,
                Err(mpsc::TryRecvError::Empty) => {}
                Err(e) => return Err(e.into()),
            }
        };
        let answer = answer["answer"].as_str().ok_or("no answer")?;
        self.net
            .peer(id)?
            .receive(SessionDescription::answer(answer))?;
        Ok(())
    }

    fn step(&mut self, end: Instant) -> Result<()> {
        let until = self.streams.next_deadline().map_or(end, |at| at.min(end));
        let wait = until.saturating_duration_since(Instant::now());
        let mut next = self.net.next_event(Some(wait))?;
        while let Some((peer, event)) = next {
            self.streams.handle_peer_event(&mut self.net, peer, &event);
            next = self.net.poll_event();
        }
        self.streams.handle_timeout(&mut self.net, Instant::now());
        Ok(())
    }

    fn run(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step(end)?;
        }
        Ok(())
    }

    fn until(&mut self, holds: impl Fn(&Self) -> bool) -> Result<()> {
        let end = Instant::now() + TIMEOUT;
        while !holds(self) {
            if Instant::now() > end {
                return Err("waited in vain for what is to be measured".into());
            }
            self.step(end)?;
        }
        Ok(())
    }
}

/// Media received by a viewer.
#[derive(Default)]
struct Got {
    first: u64,
    highest: u64,
    count: u64,
}

/// The publisher, with bursts on an absolute schedule.
struct Publisher {
    track: LocalTrack,
    number: u64,
    gap: Option<Duration>,
    due: Instant,
}

impl Publisher {
    /// Sends what is due; returns when there is more to do.
    fn play(&mut self, net: &mut EventLoop) -> Option<Instant> {
        let gap = self.gap?;
        if self.track.bound() == 0 {
            return None;
        }
        while self.due <= Instant::now() {
            let picture = self.number / BURST as u64;
            for part in 0..BURST {
                let mut payload = vec![0x55; PAYLOAD];
                // RFC 7741: the start of the first partition, and of a keyframe.
                let is_key = part == 0 && picture.is_multiple_of(KEYFRAMES);
                payload[0] = if part == 0 { 0x10 } else { 0 };
                payload[1] = if is_key { 0x10 } else { 0x11 };
                let timestamp = (picture * 3600) as u32;
                let packet = RtpPacket::new(1, self.number as u16, timestamp, payload);
                self.track.write_rtp(net, &packet.marker(part + 1 == BURST));
                self.number += 1;
            }
            self.due += gap;
        }
        Some(self.due)
    }
}

/// Publishes and watches.
pub fn sink() -> Result<()> {
    let lines = input();
    let mut net = new_loop()?;
    let mut got: HashMap<PeerId, Got> = HashMap::new();
    let config = TransceiverConfig::default().codecs([Codec::Vp8]);
    let mut publisher = Publisher {
        track: LocalTrack::new(MediaKind::Video, config),
        number: 0,
        gap: None,
        due: Instant::now(),
    };
    loop {
        match lines.try_recv() {
            Ok(line) if line["count"].as_bool().is_some() => say(&counted(&got))?,
            Ok(line) if line["offer"].is_null() => {
                let gap = line["publish"]["gap_us"].as_f64();
                publisher.gap = gap.map(|us| Duration::from_secs_f64(us / 1e6));
                publisher.due = Instant::now();
            }
            Ok(line) => {
                let offer = line["offer"].as_str().ok_or("no offer")?;
                let id = net.add_peer(peer().port(PortPolicy::Own))?;
                if line["publish"] == true {
                    publisher.track.add_to(&mut net, id)?;
                } else {
                    got.insert(id, Got::default());
                }
                net.peer(id)?.receive(SessionDescription::offer(offer))?;
                let track = &mut publisher.track;
                let answer = gathered(&mut net, id, |id, event| {
                    track.handle_event(id, event);
                    count(&mut got, id, event);
                })?;
                say(&json!({"id": line["id"], "answer": answer.sdp}))?;
            }
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
        }
        let due = publisher.play(&mut net);
        let end = Instant::now() + Duration::from_millis(5);
        let end = due.map_or(end, |due| due.min(end));
        let mut wait = end.saturating_duration_since(Instant::now());
        while let Some((id, event)) = net.next_event(Some(wait))? {
            publisher.track.handle_event(id, &event);
            count(&mut got, id, &event);
            wait = Duration::ZERO;
            if Instant::now() >= end {
                break;
            }
        }
    }
}

fn count(got: &mut HashMap<PeerId, Got>, id: PeerId, event: &PeerEvent) {
    let (PeerEvent::Packet(packet), Some(got)) = (event, got.get_mut(&id)) else {
        return;
    };
    if got.count == 0 {
        got.first = packet.sequence_number;
    }
    got.highest = got.highest.max(packet.sequence_number);
    got.count += 1;
}

/// Returns the counts; gaps in the numbers are packets that never arrived.
fn counted(got: &HashMap<PeerId, Got>) -> Value {
    let lost = |g: &Got| (g.highest + 1 - g.first).saturating_sub(g.count);
    let received: u64 = got.values().map(|g| g.count).sum();
    let lost: u64 = got.values().filter(|g| g.count > 0).map(lost).sum();
    let silent = got.values().filter(|g| g.count == 0).count();
    match silent {
        0 => json!({"received": received, "lost": lost}),
        _ => json!({"received": received, "silent": silent}),
    }
}
