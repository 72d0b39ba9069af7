//! Many relayed sessions for a long time, on request: `LOOPRTC_SOAK=600 cargo test --release --test nat soak --
//! --nocapture` (seconds).

use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::ice::IceTransportPolicy;
use looprtc::proto::peer::{
    ChannelConfig, ChannelId, IceCandidateInit, PeerConfig, PeerEvent, Politeness,
};

use crate::lab::{self, Kind, Lab, ready};
use crate::server::{Coturn, ice_servers, resident};

const SESSIONS: usize = 100;

/// Both ends of every session in one loop, behind one NAT, each with an allocation of its own.
struct Soak {
    net: EventLoop,
    pairs: Vec<[PeerId; 2]>,
    channels: Vec<(PeerId, ChannelId)>,
    messages: u64,
    troubles: Vec<String>,
}

impl Soak {
    fn new() -> Self {
        let mut net = EventLoop::new(LoopConfig::default()).expect("a loop");
        // UDP only: one allocation per peer.
        let servers = ice_servers().into_iter().skip(1).take(1).collect();
        let config = PeerConfig::default()
            .ice_servers(servers)
            .ice_transport_policy(IceTransportPolicy::Relay);
        let mut add = |politeness| {
            let config = config.clone().politeness(politeness);
            net.add_peer(config).expect("a peer")
        };
        let pairs: Vec<_> = (0..SESSIONS)
            .map(|_| [add(Politeness::Polite), add(Politeness::Impolite)])
            .collect();
        for [a, _] in &pairs {
            let mut peer = net.peer(*a).expect("it is there");
            peer.create_data_channel(ChannelConfig::new("data"))
                .expect("a channel");
        }
        Self {
            net,
            pairs,
            channels: Vec::new(),
            messages: 0,
            troubles: Vec::new(),
        }
    }

    fn other(&self, id: PeerId) -> PeerId {
        let pair = self.pairs.iter().find(|p| p.contains(&id));
        let [a, b] = pair.expect("it is one of ours");
        if *a == id { *b } else { *a }
    }

    fn run(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let next = self.net.next_event(Some(Duration::from_millis(20)));
            if let Some((id, event)) = next.expect("a loop that goes on") {
                self.on_event(id, event);
            }
        }
    }

    fn on_event(&mut self, id: PeerId, event: PeerEvent) {
        let other = self.other(id);
        match event {
            PeerEvent::NegotiationNeeded => {
                let offer = self.net.peer(id).unwrap().negotiate().unwrap();
                let answer = self.net.peer(other).unwrap().receive(offer).unwrap();
                if let Some(answer) = answer {
                    self.net.peer(id).unwrap().receive(answer).unwrap();
                }
            }
            PeerEvent::IceCandidate(Some(candidate)) => {
                let init = IceCandidateInit::new(candidate.to_string());
                let mut peer = self.net.peer(other).unwrap();
                peer.add_ice_candidate(Some(&init)).unwrap();
            }
            PeerEvent::ChannelOpen(channel) => self.channels.push((id, channel)),
            PeerEvent::ChannelMessage { .. } => self.messages += 1,
            PeerEvent::IceCandidateError(e) => self.troubles.push(e.to_string()),
            PeerEvent::Error(e) => self.troubles.push(e.to_string()),
            _ => {}
        }
    }

    /// Sends a message from each peer.
    fn talk(&mut self) {
        for (id, channel) in self.channels.clone() {
            let mut peer = self.net.peer(id).expect("it is there");
            peer.send_binary(channel, &[7; 1000]).expect("it is open");
        }
    }
}

#[test]
fn soak() {
    let Ok(seconds) = std::env::var("LOOPRTC_SOAK") else {
        return;
    };
    let seconds: u64 = seconds.parse().expect("LOOPRTC_SOAK: a number of seconds");
    if !ready() {
        return;
    }
    let lab = Lab::new(Kind::PortRestricted, Kind::None);
    let server = Coturn::start(&lab, &[]);
    let space = lab.space("a");
    let run = move || {
        lab::enter(&space);
        let mut soak = Soak::new();
        let begun = Instant::now();
        while soak.channels.len() < 2 * SESSIONS && begun.elapsed() < Duration::from_secs(60) {
            soak.run(Duration::from_millis(100));
        }
        assert_eq!(soak.channels.len(), 2 * SESSIONS, "{:?}", soak.troubles);
        println!("{SESSIONS} relayed sessions after {:?}", begun.elapsed());
        let (begun, mut early) = (Instant::now(), 0);
        let mut rounds = 0;
        while begun.elapsed().as_secs() < seconds {
            soak.talk();
            soak.run(Duration::from_secs(1));
            rounds += 1;
            let memory = resident(std::process::id());
            // Buffers and tables have reached their size after a fifth of the time.
            if begun.elapsed().as_secs() <= seconds / 5 {
                early = memory;
            }
            if rounds % 30 == 1 {
                println!(
                    "{:4} s: {memory} KiB, {} messages",
                    begun.elapsed().as_secs(),
                    soak.messages
                );
            }
        }
        soak.run(Duration::from_secs(2));
        let late = resident(std::process::id());
        println!("memory: {early} KiB after a fifth, {late} KiB in the end");
        assert_eq!(
            soak.messages,
            rounds * 2 * SESSIONS as u64,
            "{:?}",
            soak.troubles
        );
        assert!(
            late < early + early / 10,
            "memory grows: {early} KiB, {late} KiB"
        );
        soak.net.shutdown(Duration::from_secs(10)).expect("an end");
    };
    std::thread::scope(|scope| {
        scope.spawn(run).join().expect("the soak");
    });
    println!(
        "coturn: {} KiB, {} allocations made",
        server.resident(),
        server.count("ALLOCATE processed, success")
    );
    let empty = |s: &Coturn| s.allocations() == 0;
    assert!(
        server.wait_until(5000, empty),
        "{} allocations are left",
        server.allocations()
    );
}
