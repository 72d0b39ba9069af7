//! The loop over real sockets, both ends on this machine.

use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::net::PortPolicy;
use looprtc::proto::peer::{
    ChannelConfig, ChannelId, ConnectionState, IceCandidateInit, Message, PeerConfig, PeerEvent,
    Politeness,
};

/// Two peers in one loop, and what has happened to them.
struct Pair {
    net: EventLoop,
    a: PeerId,
    b: PeerId,
    log: Vec<(PeerId, PeerEvent)>,
}

impl Pair {
    fn new() -> Self {
        let mut net = EventLoop::new(LoopConfig::default()).unwrap();
        let config = PeerConfig::default().include_loopback(true);
        let a = net.add_peer(config.clone().port(PortPolicy::Own)).unwrap();
        let b = net
            .add_peer(config.politeness(Politeness::Impolite))
            .unwrap();
        Self {
            net,
            a,
            b,
            log: Vec::new(),
        }
    }

    fn other(&self, id: PeerId) -> PeerId {
        if id == self.a { self.b } else { self.a }
    }

    /// One event, with the signaling that belongs to it.
    fn step(&mut self, wait: Duration) -> Option<(PeerId, PeerEvent)> {
        let (id, event) = self.net.next_event(Some(wait)).unwrap()?;
        let other = self.other(id);
        match &event {
            PeerEvent::NegotiationNeeded => {
                let offer = self.net.peer(id).unwrap().negotiate().unwrap();
                let answer = self.net.peer(other).unwrap().receive(offer).unwrap();
                if let Some(answer) = answer {
                    self.net.peer(id).unwrap().receive(answer).unwrap();
                }
            }
            PeerEvent::IceCandidate(Some(candidate)) => {
                let init = IceCandidateInit::new(candidate.to_string());
                if let Ok(mut peer) = self.net.peer(other) {
                    peer.add_ice_candidate(Some(&init)).unwrap();
                }
            }
            _ => {}
        }
        self.log.push((id, event.clone()));
        Some((id, event))
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self, PeerId, &PeerEvent) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if let Some((id, event)) = self.step(Duration::from_millis(200)) {
                if done(self, id, &event) {
                    return;
                }
            }
        }
        panic!("{what} did not come; seen: {:?}", self.log);
    }

    fn connect(&mut self) -> (ChannelId, ChannelId) {
        let a = self.a;
        let ours = self
            .net
            .peer(a)
            .unwrap()
            .create_data_channel(ChannelConfig::new("data"))
            .unwrap();
        let (mut at_a, mut at_b) = (false, None);
        self.until("open channels", |_, id, event| {
            match event {
                PeerEvent::ChannelOpen(_) if id == a => at_a = true,
                PeerEvent::ChannelOpen(channel) => at_b = Some(*channel),
                _ => {}
            }
            at_a && at_b.is_some()
        });
        (ours, at_b.unwrap())
    }
}

#[test]
fn two_peers_of_one_loop_talk() {
    let mut pair = Pair::new();
    let (ca, _) = pair.connect();
    let big = vec![7u8; 256 * 1024];
    pair.net
        .peer(pair.a)
        .unwrap()
        .send_text(ca, "hello")
        .unwrap();
    pair.net
        .peer(pair.a)
        .unwrap()
        .send_binary(ca, &big)
        .unwrap();
    let mut seen = Vec::new();
    pair.until("two messages", |_, _, event| {
        if let PeerEvent::ChannelMessage { message, .. } = event {
            seen.push(message.clone());
        }
        seen.len() == 2
    });
    assert_eq!(seen, [Message::Text("hello".into()), Message::Binary(big)]);
    let b = pair.b;
    pair.net.peer(pair.a).unwrap().close();
    pair.until("the other side to close", |_, id, event| {
        id == b && *event == PeerEvent::ConnectionStateChange(ConnectionState::Closed)
    });
    assert!(pair.net.peer_ids().is_empty());
}
