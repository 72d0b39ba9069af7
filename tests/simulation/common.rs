//! Helpers for the simulated tests.

use std::collections::HashMap;

use looprtc::proto::peer::{
    ChannelConfig, ChannelId, ConnectionState, Message, PeerEvent, SessionDescription,
};
use looprtc::testing::{Node, Simulation};

/// Maximum simulated time for establishing a connection on any network, in milliseconds. With 20 % loss SCTP
/// occasionally takes long: it retransmits INIT and COOKIE ECHO after 3, 6, 12, 24, … 60 s.
pub const PATIENCE: u64 = 600_000;

pub fn create(sim: &mut Simulation, node: Node, config: ChannelConfig) -> ChannelId {
    sim.with(node, |peer, now| peer.create_data_channel(config, now))
        .expect("a channel")
}

pub fn state(sim: &Simulation, node: Node) -> ConnectionState {
    sim.peer(node).connection_state()
}

/// Waits until both are connected.
pub fn connected(sim: &mut Simulation, a: Node, b: Node) {
    let up = |sim: &Simulation| {
        state(sim, a) == ConnectionState::Connected && state(sim, b) == ConnectionState::Connected
    };
    assert!(
        sim.run_until(PATIENCE, up),
        "not connected after {} ms: {:?} {:?}",
        sim.elapsed_ms(),
        sim.peer(a),
        sim.peer(b)
    );
}

/// A connected pair with one channel `data`, open on both sides, and all events taken.
pub fn pair_with_channel(sim: &mut Simulation, a: Node, b: Node) -> (ChannelId, ChannelId) {
    let ours = create(sim, a, ChannelConfig::new("data"));
    connected(sim, a, b);
    let mut log_a = Log::default();
    let mut log_b = Log::default();
    for _ in 0..PATIENCE / 100 {
        sim.run_for(100);
        log_a.take(sim, a);
        log_b.take(sim, b);
        if log_a.opened.contains(&ours) && !log_b.opened.is_empty() {
            return (ours, log_b.opened[0]);
        }
    }
    panic!("no channel: {log_a:?} {log_b:?}");
}

/// Events of a peer, by kind.
#[derive(Debug, Default)]
pub struct Log {
    pub messages: HashMap<ChannelId, Vec<Message>>,
    pub remote: Vec<ChannelId>,
    pub opened: Vec<ChannelId>,
    pub closed: Vec<ChannelId>,
    pub low: Vec<ChannelId>,
    pub states: Vec<ConnectionState>,
    pub negotiation_needed: usize,
    pub errors: Vec<String>,
    /// All events, in order.
    pub all: Vec<PeerEvent>,
}

impl Log {
    /// Takes all queued events.
    pub fn take(&mut self, sim: &mut Simulation, node: Node) {
        while let Some(event) = sim.next_event(node) {
            match &event {
                PeerEvent::ChannelMessage { channel, message } => {
                    let list = self.messages.entry(*channel).or_default();
                    list.push(message.clone());
                }
                PeerEvent::DataChannel(id) => self.remote.push(*id),
                PeerEvent::ChannelOpen(id) => self.opened.push(*id),
                PeerEvent::ChannelClosed(id) => self.closed.push(*id),
                PeerEvent::ChannelBufferedAmountLow(id) => self.low.push(*id),
                PeerEvent::ConnectionStateChange(state) => self.states.push(*state),
                PeerEvent::NegotiationNeeded => self.negotiation_needed += 1,
                PeerEvent::Error(e) => self.errors.push(e.to_string()),
                _ => {}
            }
            self.all.push(event);
        }
    }

    pub fn of(sim: &mut Simulation, node: Node) -> Self {
        let mut log = Self::default();
        log.take(sim, node);
        log
    }

    pub fn on(&self, channel: ChannelId) -> &[Message] {
        self.messages.get(&channel).map_or(&[], Vec::as_slice)
    }
}

/// As sent by an implementation that announces no SSRCs and sends no MIDs.
pub fn without_names_of_streams(mut description: SessionDescription) -> SessionDescription {
    let is_kept = |l: &&str| !l.starts_with("a=ssrc") && !l.contains("hdrext:sdes:mid");
    let lines: Vec<&str> = description.sdp.lines().filter(is_kept).collect();
    description.sdp = lines.join("\r\n") + "\r\n";
    description
}
