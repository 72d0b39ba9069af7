//! Two peers, a network under the fuzzer's control, and whatever an application might do.

use std::collections::{HashMap, HashSet};

use super::{Bytes, any_candidate, damaged, run};
use crate::proto::net::Transmit;
use crate::proto::peer::SessionDescription;
use crate::proto::peer::{
    ChannelConfig, ChannelId, ConnectionState, Message, PeerError, PeerEvent,
};
use crate::testing::{Link, Node, Simulation};

/// Steps of one schedule; what follows is not read.
const MAX_STEPS: usize = 200;

/// Channels made in one schedule.
const MAX_CHANNELS: usize = 20;

/// A schedule of calls, faults of the network and time, from bytes. Then the network is put right, and:
/// what a channel promised is what it did, or it is closed, or the connection is lost.
pub fn sequence(data: &[u8]) {
    play(data).check();
}

/// Plays a schedule to its end.
pub(super) fn play(data: &[u8]) -> World {
    let mut bytes = Bytes(data);
    let mut sim = Simulation::new(u64::from(bytes.byte()), Link::default());
    let (a, b) = sim.pair();
    sim.record();
    let mut world = World {
        nodes: [a, b],
        sim,
        seen: Vec::new(),
        flows: Vec::new(),
        names: HashMap::new(),
        is_quiet: true,
    };
    for _ in 0..MAX_STEPS {
        if bytes.is_empty() {
            break;
        }
        world.step(&mut bytes);
        world.listen();
    }
    world.settle();
    world
}

/// What one side sends on a channel, and what the other has heard.
struct Flow {
    from: usize,
    channel: ChannelId,
    /// The channel's label, by which the other side knows it.
    label: String,
    ordered: bool,
    reliable: bool,
    accepted: Vec<Message>,
    received: Vec<Message>,
    /// Somebody has closed it; then the rest may be missing.
    closed: bool,
}

pub(super) struct World {
    sim: Simulation,
    nodes: [Node; 2],
    seen: Vec<Transmit>,
    flows: Vec<Flow>,
    /// The label of each side's channels.
    names: HashMap<(usize, ChannelId), String>,
    /// No peer was closed, and no step was taken that may cost the connection.
    is_quiet: bool,
}

impl World {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let op = bytes.byte();
        let side = usize::from(op >> 7);
        let node = self.nodes[side];
        match op & 0x1f {
            0..4 => self.open(side, bytes),
            4..10 => self.send(bytes),
            10 => self.close_channel(bytes),
            11..15 => run(&mut self.sim, u64::from(bytes.byte())),
            15 => run(&mut self.sim, 100 * u64::from(bytes.byte())),
            16 => {
                let _ = self.sim.with(node, |peer, now| peer.restart_ice(now));
            }
            17 => {
                let offer = self.sim.with(node, |peer, now| peer.negotiate(now));
                if let Ok(offer) = offer {
                    self.sim.signal(node, &offer);
                }
            }
            18 | 19 => {
                let link = Link::default()
                    .loss(f64::from(bytes.byte() % 64) / 128.0)
                    .duplicate(f64::from(bytes.byte() % 64) / 64.0)
                    .delay(u64::from(bytes.byte()), u64::from(bytes.byte()));
                self.sim.set_link(link);
            }
            // Of the next 32 datagrams, those whose bit is set are dropped.
            20 | 21 => {
                let mut mask = u32::from(bytes.word()) << 16 | u32::from(bytes.word());
                self.sim.set_filter(move |_| {
                    let drop = mask & 1 == 1;
                    mask >>= 1;
                    !drop
                });
            }
            22 | 23 => self.forge(bytes),
            24 => self.sim.unplug(node, bytes.bit()),
            25 if bytes.byte() == 7 => {
                self.is_quiet = false;
                self.sim.with(node, |peer, now| peer.close(now));
            }
            26 => {
                let flow = usize::from(bytes.byte()) % self.flows.len().max(1);
                if let Some(Flow { from, channel, .. }) = self.flows.get(flow) {
                    let (node, channel) = (self.nodes[*from], *channel);
                    let low = usize::from(bytes.word());
                    let _ = self.sim.with(node, |peer, _| {
                        peer.set_buffered_amount_low_threshold(channel, low)
                    });
                }
            }
            27 => {
                let candidate = any_candidate(bytes);
                let added = self.sim.with(node, |peer, now| {
                    peer.add_ice_candidate(Some(&candidate), now)
                });
                assert!(
                    matches!(added, Ok(()) | Err(PeerError::Closed)),
                    "{added:?}"
                );
            }
            28 => {
                // Out of turn, or to no effect: must leave all as it was.
                let _ = match bytes.byte() % 4 {
                    0 => self
                        .sim
                        .with(node, |peer, now| peer.create_offer(now))
                        .map(drop),
                    1 => self
                        .sim
                        .with(node, |peer, now| peer.create_answer(now))
                        .map(drop),
                    2 => self.sim.with(node, |peer, now| {
                        peer.set_remote_description(SessionDescription::offer("v=0\r\n"), now)
                    }),
                    _ => self.sim.with(node, |peer, now| {
                        peer.set_remote_description(SessionDescription::answer("v=0\r\n"), now)
                    }),
                };
            }
            _ => {}
        }
    }

    fn open(&mut self, side: usize, bytes: &mut Bytes<'_>) {
        let kind = bytes.byte();
        if self.names.len() >= MAX_CHANNELS {
            return;
        }
        let label = format!("{side}-{}", self.names.len());
        let mut config = ChannelConfig::new(label.clone()).ordered(kind & 1 == 0);
        match kind >> 1 & 3 {
            2 => config = config.max_retransmits(u16::from(kind >> 3)),
            3 => config = config.max_packet_lifetime(10 * u16::from(kind >> 3)),
            _ => {}
        }
        let reliable = kind & 4 == 0;
        let made = self.sim.with(self.nodes[side], |peer, now| {
            peer.create_data_channel(config.clone(), now)
        });
        match made {
            Ok(channel) => self.know(side, channel, &config, reliable),
            Err(error) => assert_eq!(error, PeerError::Closed),
        }
    }

    /// From here on, what this side sends on that channel is one flow.
    fn know(&mut self, side: usize, channel: ChannelId, config: &ChannelConfig, reliable: bool) {
        let label = config.label.clone();
        self.names.insert((side, channel), label.clone());
        self.flows.push(Flow {
            from: side,
            channel,
            label,
            ordered: config.ordered,
            reliable,
            accepted: Vec::new(),
            received: Vec::new(),
            closed: false,
        });
    }

    fn send(&mut self, bytes: &mut Bytes<'_>) {
        let count = self.flows.len().max(1);
        let index = usize::from(bytes.byte()) % count;
        let size = bytes.word();
        let Some(flow) = self.flows.get_mut(index) else {
            return;
        };
        // Small ones more often; up to 256 KiB.
        let size = match size >> 14 {
            0 => 0,
            1 | 2 => usize::from(size & 0x3ff),
            _ => usize::from(size & 0x3fff) * 16,
        };
        let number = flow.accepted.len();
        let message = if size == 0 {
            Message::Text(if number % 2 == 0 {
                String::new()
            } else {
                format!("no. {number}")
            })
        } else {
            // Each byte tells where in which message it belongs.
            Message::Binary(
                (0..size)
                    .map(|at| (at % 251) as u8 ^ number as u8)
                    .collect(),
            )
        };
        let (node, channel) = (self.nodes[flow.from], flow.channel);
        let sent = self.sim.with(node, |peer, now| match &message {
            Message::Text(text) => peer.send_text(channel, text, now),
            Message::Binary(data) => peer.send_binary(channel, data, now),
        });
        if sent.is_ok() {
            flow.accepted.push(message);
        }
    }

    fn close_channel(&mut self, bytes: &mut Bytes<'_>) {
        let index = usize::from(bytes.byte()) % self.flows.len().max(1);
        let Some(flow) = self.flows.get(index) else {
            return;
        };
        let (node, channel, label) = (self.nodes[flow.from], flow.channel, flow.label.clone());
        let _ = self
            .sim
            .with(node, |peer, now| peer.close_data_channel(channel, now));
        self.mark_closed(&label);
    }

    fn mark_closed(&mut self, label: &str) {
        for flow in self.flows.iter_mut().filter(|f| f.label == label) {
            flow.closed = true;
        }
    }

    /// Somebody on the path or beside it sends something.
    fn forge(&mut self, bytes: &mut Bytes<'_>) {
        let control = bytes.byte();
        let (to, from) = (
            self.nodes[usize::from(control & 1)],
            self.nodes[usize::from(!control & 1)],
        );
        let from = match control & 2 {
            0 => self.sim.address(from),
            _ => "10.0.9.9:9999".parse().expect("an address"),
        };
        let contents = if control & 4 == 0 {
            damaged(&self.seen, bytes)
        } else {
            let length = usize::from(bytes.byte());
            bytes.take(length).to_vec()
        };
        self.sim.forge(from, to, contents);
    }

    /// Takes what the peers have to say.
    fn listen(&mut self) {
        let room = 500usize.saturating_sub(self.seen.len());
        self.seen.extend(self.sim.recorded().into_iter().take(room));
        for side in 0..2 {
            while let Some(event) = self.sim.next_event(self.nodes[side]) {
                match event {
                    PeerEvent::DataChannel(channel) => {
                        let info = self
                            .sim
                            .with(self.nodes[side], |peer, _| peer.channel(channel));
                        if let Some(info) = info {
                            let c = &info.config;
                            let reliable =
                                c.max_retransmits.is_none() && c.max_packet_lifetime.is_none();
                            self.know(side, channel, c, reliable);
                        }
                    }
                    PeerEvent::ChannelMessage { channel, message } => {
                        // One that opened and closed between two looks has no name here.
                        let Some(label) = self.names.get(&(side, channel)) else {
                            continue;
                        };
                        let mut flows = self.flows.iter_mut();
                        let flow = flows.find(|f| f.from != side && f.label == *label);
                        let flow = flow.expect("a message on a channel that nobody made");
                        flow.received.push(message);
                    }
                    PeerEvent::ChannelClosed(channel) => {
                        if let Some(label) = self.names.get(&(side, channel)).cloned() {
                            self.mark_closed(&label);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// A good network, and time enough for all that waits.
    fn settle(&mut self) {
        self.sim.clear_filter();
        self.sim.set_link(Link::default());
        for node in self.nodes {
            self.sim.unplug(node, false);
        }
        for _ in 0..12 {
            run(&mut self.sim, 10_000);
            self.listen();
        }
    }

    /// Messages that have arrived.
    #[cfg(test)]
    pub fn received(&self) -> usize {
        self.flows.iter().map(|f| f.received.len()).sum()
    }

    pub fn check(&self) {
        let connected =
            |n: &Node| self.sim.peer(*n).connection_state() == ConnectionState::Connected;
        let is_up = self.is_quiet && self.nodes.iter().all(connected);
        for flow in &self.flows {
            let Flow {
                label,
                accepted,
                received,
                ..
            } = flow;
            let (sent, got) = (accepted.len(), received.len());
            if flow.ordered && flow.reliable {
                assert!(
                    accepted.starts_with(received),
                    "{label}: not what was sent, in order"
                );
            } else if flow.reliable {
                assert!(got <= sent, "{label}: {got} came of {sent}");
            }
            let known: HashSet<&[u8]> = accepted.iter().map(Message::as_bytes).collect();
            assert!(
                received.iter().all(|m| known.contains(m.as_bytes())),
                "{label}: was never sent"
            );
            if flow.reliable && is_up && !flow.closed {
                assert_eq!(got, sent, "{label}: lost, and both sides are connected");
            }
        }
    }
}
