//! The simulated world that schedules are played in.

use std::net::SocketAddr;

use super::channels::{self, Flows};
use super::media::Media;
use super::report::Report;
use super::setup::{self, Access, SERVER, nat_kind};
use super::step::{
    Call, Fate, Mostly, Nat, Promise, Rarely, Setup, Source, Step, Target, Tcp, Typ,
};
use crate::proto::peer::{
    ChannelId, ConnectionState, IceCandidateInit, Limits, Message, PeerError, SdpType,
    SessionDescription,
};
#[cfg(feature = "turn-server")]
use crate::testing::TurnServer;
use crate::testing::{Link, Node, Simulation};

/// Maximum number of channels created in a schedule.
const MAX_CHANNELS: usize = 20;

/// Source address of unauthenticated datagrams.
const STRANGER: ([u8; 4], u16) = ([10, 0, 9, 9], 9_999);

/// A peer, and its expected state.
pub(super) struct Seat {
    pub node: Node,
    /// When it was closed, in milliseconds, and the number of datagrams sent until then.
    pub closed: Option<u64>,
    /// Set once its event was received.
    pub said_closed: bool,
    pub ufrag: Option<String>,
    pub behind_nat: bool,
    pub lite: bool,
    pub slept: bool,
}

pub(super) struct World {
    pub sim: Simulation,
    pub seats: Vec<Seat>,
    pub flows: Flows,
    pub media: Media,
    #[cfg(feature = "turn-server")]
    pub turn: Option<TurnServer>,
    /// Set unless an application has broken the rules, or a peer was closed.
    pub is_orderly: bool,
    /// Set unless the network has done worse than delaying datagrams.
    pub is_gentle: bool,
    /// Set if every peer can find a path.
    pub has_path: bool,
    /// Set if the second and third side forward to each other.
    pub forwards: bool,
    pub report: Report,
}

impl World {
    pub fn new(setup: &Setup) -> Self {
        let Setup::World {
            seed,
            two_pairs,
            signaling,
            connected,
            tcp,
            packets,
            forward,
            ..
        } = setup;
        let mut sim = Simulation::new(u64::from(*seed), Link::default());
        sim.signaling_ms = u64::from(signaling.0).min(2_000);
        sim.tap();
        sim.without_udp = *tcp == Tcp::Only;
        let access = [0, 1].map(|place| Access::new(setup, place));
        let has_turn = access[0].has_turn;
        #[cfg(feature = "turn-server")]
        let turn = has_turn.then(|| TurnServer::new(sim.now()));
        #[cfg(feature = "turn-server")]
        if let Some(turn) = &turn {
            sim.add_server(turn.clone());
        }
        if !has_turn {
            sim.add_stun_server(SERVER.into());
        }
        let is_open = access.iter().all(|a| a.nat == Nat::None);
        let forwards = *forward == Rarely::Yes;
        let pairs = 1 + usize::from(*two_pairs == Rarely::Yes || forwards);
        let mut seats = Vec::new();
        for _ in 0..pairs {
            let [a, b] = [0, 1].map(|i| setup::config(setup, &access[i]));
            let (a, b) = sim.pair_with(a, b);
            for (node, access) in [a, b].into_iter().zip(&access) {
                let kind = nat_kind(access.nat);
                if let Some(kind) = kind {
                    sim.set_nat(node, kind);
                }
                seats.push(Seat {
                    node,
                    closed: None,
                    said_closed: false,
                    ufrag: None,
                    behind_nat: kind.is_some(),
                    lite: access.lite,
                    slept: false,
                });
            }
        }
        let mut world = Self {
            sim,
            media: Media::new(seats.len(), *packets == Rarely::Yes),
            seats,
            flows: Flows::default(),
            #[cfg(feature = "turn-server")]
            turn,
            is_orderly: true,
            is_gentle: true,
            has_path: has_turn || is_open,
            forwards,
            report: Report {
                schedules: 1,
                ..Report::default()
            },
        };
        let limits = world.limits();
        world.report.peers = world.seats.len() as u64;
        world.report.send_buffers = world.report.peers * limits.max_send_buffer as u64;
        if *connected == Mostly::Yes {
            world.open(0, Promise::Reliable);
            if world.forwards {
                world.prepare_to_forward();
            }
            world.run(3_000);
        }
        world
    }

    pub fn elapsed_ms(&self) -> u64 {
        self.sim.elapsed_ms()
    }

    /// Returns the side at the other end.
    pub fn partner(side: usize) -> usize {
        side ^ 1
    }

    pub fn state(&self, side: usize) -> ConnectionState {
        self.sim.peer(self.seats[side].node).connection_state()
    }

    pub fn side_of(&self, side: super::field::Side) -> usize {
        usize::from(side.0) % self.seats.len()
    }

    /// Performs a step, then checks everything.
    pub fn step(&mut self, step: &Step) {
        self.report.steps += 1;
        self.report.kinds.0[step.kind()] += 1;
        self.act(step);
        self.look();
    }

    #[allow(clippy::too_many_lines)] // One line or two for each step, and nothing else.
    fn act(&mut self, step: &Step) {
        self.is_gentle &= is_gentle(step);
        match *step {
            Step::Run { ms } => self.run(u64::from(ms.0)),
            Step::Open { side, promise } => self.open(self.side_of(side), promise),
            Step::Negotiated { side, promise } => self.open_both(self.side_of(side), promise),
            Step::Send { flow, size } => self.send(flow, size.0),
            Step::Burst { flow, count, size } => {
                (0..count).for_each(|_| self.send(flow, size.0));
            }
            Step::Shut { flow } => self.shut(flow),
            Step::Threshold { flow, bytes } => {
                if let Some((side, channel, _)) = self.flow(flow) {
                    let bytes = usize::from(bytes);
                    let set = self.with(side, |p, _| {
                        p.set_buffered_amount_low_threshold(channel, bytes)
                    });
                    assert!(matches!(set, Ok(()) | Err(PeerError::NoSuchChannel)));
                }
            }
            Step::Link { .. } => self.sim.set_link(link(step)),
            Step::Drop { next } => {
                let mut mask = next.0;
                self.sim.set_filter(move |_| {
                    let drop = mask & 1 == 1;
                    mask >>= 1;
                    !drop
                });
            }
            Step::Unplug { side } => self.sim.unplug(self.node(side), true),
            Step::Plug { side } => self.sim.unplug(self.node(side), false),
            Step::NewAddress { side } => self.sim.readdress(self.node(side)),
            Step::InterfaceUp { side } => self.sim.add_interface(self.node(side)),
            Step::InterfaceDown { side } => self.sim.remove_interface(self.node(side)),
            Step::Sleep { side, seconds } => self.sleep(self.side_of(side), seconds),
            Step::Wake { side } => self.sim.wake(self.node(side)),
            Step::NatForgets { side } => self.sim.forget_mappings(self.node(side)),
            Step::Turn { fate } => self.turn(fate),
            Step::RestartIce { side } => {
                _ = self.with(self.side_of(side), |p, now| p.restart_ice(now))
            }
            Step::Negotiate { side } => {
                if let Ok(offer) = self.with(self.side_of(side), |p, now| p.negotiate(now)) {
                    self.sim.signal(self.node(side), &offer);
                }
            }
            Step::AddTrack { .. }
            | Step::AddTransceiver { .. }
            | Step::Frames { .. }
            | Step::Direction { .. }
            | Step::RemoveTrack { .. }
            | Step::StopTrack { .. }
            | Step::AddLayers { .. }
            | Step::PauseTrack { .. }
            | Step::Keyframe { .. } => self.media_step(step),
            Step::Rollback { side } => {
                self.disorder();
                let rollback = SessionDescription::rollback();
                let side = self.side_of(side);
                _ = self.with(side, |p, now| p.set_local_description(Some(rollback), now));
            }
            Step::Again { side, description } => self.again(self.side_of(side), description),
            Step::Call { side, call } => self.call(self.side_of(side), call),
            Step::Candidate { side, .. } => {
                let side = self.side_of(side);
                let init = self.candidate(side, step);
                let added = self.with(side, |p, now| p.add_ice_candidate(Some(&init), now));
                assert!(
                    matches!(added, Ok(()) | Err(PeerError::Closed)),
                    "{added:?}"
                );
            }
            Step::Copy {
                before,
                source,
                ref changes,
            } => self.copy(before, source, &changes.0),
            Step::Junk {
                side,
                source,
                ref contents,
            } => {
                self.junk(self.side_of(side), source, contents.0.clone());
            }
            Step::Close { side } => self.close(self.side_of(side)),
        }
    }

    /// Suspends a machine; the others continue, and so do datagrams in flight.
    fn sleep(&mut self, side: usize, seconds: u8) {
        let node = self.seats[side].node;
        self.sim.sleep(node);
        self.run(u64::from(seconds) * 1_000);
        self.sim.rise(node);
        self.seats[side].slept = true;
    }

    fn node(&self, side: super::field::Side) -> Node {
        self.seats[self.side_of(side)].node
    }

    pub fn with<R>(
        &mut self,
        side: usize,
        f: impl FnOnce(&mut crate::proto::peer::Peer, std::time::Instant) -> R,
    ) -> R {
        let node = self.seats[side].node;
        self.sim.with(node, f)
    }

    /// Runs the simulation, and checks that time passes: a peer whose deadline is always now would stop it.
    pub fn run(&mut self, ms: u64) {
        let before = self.sim.steps();
        // Each datagram in flight is a step; so is each timeout.
        let most = 20_000 + 50 * ms;
        let hung = self.sim.run_until(ms, |sim| sim.steps() - before > most);
        assert!(!hung, "{most} steps, and {ms} ms have not passed");
    }

    /// Records that an application has broken the rules.
    fn disorder(&mut self) {
        self.is_orderly = false;
        self.sim.refused.get_or_insert(0);
    }

    pub(super) fn open(&mut self, side: usize, promise: Promise) {
        if self.flows.made() >= MAX_CHANNELS {
            return;
        }
        let label = self.flows.next_label(side);
        let config = channels::config(&label, promise);
        let made = self.with(side, |p, now| p.create_data_channel(config.clone(), now));
        match made {
            Ok(channel) => self.flows.know(side, Self::partner(side), channel, &config),
            Err(PeerError::Closed) => {}
            Err(PeerError::LimitReached { .. }) => {}
            Err(error) => panic!("{label}: {error}"),
        }
    }

    /// Creates the channel on both sides, with an id that no other channel uses.
    fn open_both(&mut self, side: usize, promise: Promise) {
        let both = [side, Self::partner(side)];
        let made = self.flows.made();
        let room = |w: &Self, s: usize| {
            let peer = w.sim.peer(w.seats[s].node);
            !peer.is_closed() && peer.channels().len() < w.limits().max_channels
        };
        if made >= MAX_CHANNELS || !both.iter().all(|s| room(self, *s)) {
            return;
        }
        let label = self.flows.next_label(side);
        let id = 600 + 10 * made as u16;
        let config = channels::config(&label, promise).negotiated(id);
        for side in both {
            let made = self.with(side, |p, now| p.create_data_channel(config.clone(), now));
            let channel = made.unwrap_or_else(|e| panic!("{label}: {e}"));
            self.flows.know(side, Self::partner(side), channel, &config);
        }
    }

    fn limits(&self) -> Limits {
        self.sim.peer(self.seats[0].node).limits().clone()
    }

    /// Returns an existing flow: its sender, channel and label.
    fn flow(&self, index: u8) -> Option<(usize, ChannelId, String)> {
        let list = &self.flows.list;
        let flow = list.get(usize::from(index) % list.len().max(1))?;
        Some((flow.from, flow.channel, flow.label.clone()))
    }

    fn send(&mut self, index: u8, size: u32) {
        let Some((side, channel, label)) = self.flow(index) else {
            return;
        };
        let at = usize::from(index) % self.flows.list.len();
        let message = self.flows.list[at].next(size as usize);
        let sent = self.with(side, |p, now| match &message {
            Message::Text(text) => p.send_text(channel, text, now),
            Message::Binary(data) => p.send_binary(channel, data, now),
        });
        let is_open = self.flows.is_open(side, channel);
        match sent {
            Ok(()) => self.flows.list[at].accept(message),
            Err(PeerError::Closed) => assert!(self.seats[side].said_closed),
            Err(PeerError::ChannelNotOpen) => assert!(!is_open, "{label} is open, and is not"),
            Err(PeerError::NoSuchChannel) => {
                assert!(self.flows.list[at].closed, "{label}: gone without a word");
            }
            Err(PeerError::MessageTooLarge { limit, .. }) => assert!(limit < size as usize),
            Err(PeerError::BufferFull { buffered, limit }) => {
                assert!(
                    buffered + size as usize > limit,
                    "full at {buffered} of {limit}"
                );
            }
            Err(error) => panic!("{label}: {error}"),
        }
    }

    fn shut(&mut self, index: u8) {
        let Some((side, channel, label)) = self.flow(index) else {
            return;
        };
        let shut = self.with(side, |p, now| p.close_data_channel(channel, now));
        assert!(
            matches!(
                shut,
                Ok(()) | Err(PeerError::NoSuchChannel | PeerError::Closed)
            ),
            "{label}: {shut:?}"
        );
        self.flows.mark_closed(&label);
    }

    fn turn(&mut self, fate: Fate) {
        #[cfg(feature = "turn-server")]
        if let Some(turn) = &self.turn {
            match fate {
                Fate::Answers => turn.set_silent(false),
                Fate::IsSilent => turn.set_silent(true),
                Fate::Restarts => turn.restart(self.sim.now()),
            }
        }
        #[cfg(not(feature = "turn-server"))]
        let _ = fate;
    }

    /// Signaling delivers a description again.
    fn again(&mut self, side: usize, index: u8) {
        let said = self.sim.tap.as_ref().map(|t| &t.descriptions);
        let said = said.filter(|d| !d.is_empty());
        let Some(description) = said.map(|d| d[usize::from(index) % d.len()].clone()) else {
            return;
        };
        self.disorder();
        let node = self.seats[side].node;
        let answer = self.with(side, |p, now| p.receive(description, now));
        if let Ok(Some(answer)) = answer {
            self.sim.signal(node, &answer);
        }
    }

    /// Makes an invalid or ineffective call, which must not change anything.
    fn call(&mut self, side: usize, call: Call) {
        let _ = match call {
            Call::CreateOffer => self.with(side, |p, now| p.create_offer(now)).map(drop),
            Call::CreateAnswer => self.with(side, |p, now| p.create_answer(now)).map(drop),
            Call::EmptyOffer | Call::EmptyAnswer => {
                let description = match call {
                    Call::EmptyOffer => SessionDescription::offer("v=0\r\n"),
                    _ => SessionDescription::answer("v=0\r\n"),
                };
                self.with(side, |p, now| p.set_remote_description(description, now))
            }
            Call::SetLocal => {
                self.disorder();
                let set = self.with(side, |p, now| p.set_local_description(None, now));
                let local = self.sim.peer(self.seats[side].node).local_description();
                if let (Ok(()), Some(local)) = (&set, local)
                    && local.kind == SdpType::Offer
                {
                    self.sim.signal(self.seats[side].node, &local);
                }
                set
            }
        };
    }

    fn candidate(&self, side: usize, step: &Step) -> IceCandidateInit {
        let Step::Candidate {
            target,
            typ,
            port,
            other_ufrag,
            ..
        } = step
        else {
            unreachable!("asked of a candidate only");
        };
        let of = |side: usize| self.sim.address(self.seats[side].node).ip().to_string();
        let address = match target {
            Target::Partner => of(Self::partner(side)),
            Target::Self_ => of(side),
            other => other.to_string(),
        };
        let related = match typ {
            Typ::Host => "",
            _ => " raddr 10.0.0.3 rport 9",
        };
        let priority = u32::from(*port) * 40_000;
        let mut init = IceCandidateInit::new(format!(
            "candidate:1 1 udp {priority} {address} {port} typ {typ}{related}"
        ));
        if *other_ufrag == Rarely::Yes {
            init.username_fragment = Some("other".into());
        }
        init
    }

    /// An observer on the path sends an earlier datagram again, changed or not.
    fn copy(&mut self, before: u8, source: Source, changes: &[u8]) {
        let seen = self.sim.tap.as_ref().map(|t| &t.datagrams);
        let seen = seen.filter(|d| !d.is_empty());
        let Some(mut copy) = seen.map(|d| d[d.len() - 1 - usize::from(before) % d.len()].clone())
        else {
            return;
        };
        for change in changes.chunks_exact(3) {
            let at = usize::from(u16::from_be_bytes([change[0], change[1]]));
            let at = at % copy.contents.len().max(1);
            match copy.contents.get_mut(at) {
                Some(byte) if change[2] != 0 => *byte ^= change[2],
                _ => copy.contents.truncate(at),
            }
        }
        let from = match source {
            Source::Itself | Source::Partner => copy.source,
            Source::Stranger => STRANGER.into(),
            Source::Server => SERVER.into(),
        };
        self.report.forged += 1;
        self.sim.inject(from, copy.destination, copy.contents);
    }

    /// A third party sends a datagram of its own, to the address last used for this side.
    fn junk(&mut self, side: usize, source: Source, contents: Vec<u8>) {
        let node = self.seats[side].node;
        let mut to = self.sim.address(node);
        let mut from = self.sim.address(self.seats[Self::partner(side)].node);
        if let Some(tap) = &self.sim.tap {
            let mut last = tap.datagrams.iter().rev();
            let found = last.find(|t| {
                self.sim
                    .find(t.source, t.destination)
                    .is_some_and(|(n, _)| n == node)
            });
            if let Some(transmit) = found {
                (from, to) = (transmit.source, transmit.destination);
            }
        }
        let from: SocketAddr = match source {
            Source::Itself => to,
            Source::Partner => from,
            Source::Stranger => STRANGER.into(),
            Source::Server => SERVER.into(),
        };
        self.report.forged += 1;
        self.sim.inject(from, to, contents);
    }

    pub fn close(&mut self, side: usize) {
        self.is_orderly = false;
        self.with(side, |p, now| p.close(now));
        self.look();
    }
}

/// Returns `true` if a step does not degrade the network.
fn is_gentle(step: &Step) -> bool {
    match step {
        Step::Link { loss, corrupt, .. } => (*loss, *corrupt) == (0, 0),
        Step::Drop { .. }
        | Step::Unplug { .. }
        | Step::NewAddress { .. }
        | Step::Sleep { .. }
        | Step::InterfaceDown { .. }
        | Step::NatForgets { .. }
        | Step::Turn { .. } => false,
        _ => true,
    }
}

fn link(step: &Step) -> Link {
    let Step::Link {
        loss,
        duplicate,
        corrupt,
        delay,
        jitter,
    } = *step
    else {
        return Link::default();
    };
    let percent = |n: u8, most: u8| f64::from(n % (most + 1)) / 100.0;
    Link::default()
        .loss(percent(loss, 50))
        .duplicate(percent(duplicate, 50))
        .corrupt(percent(corrupt, 20))
        .delay(delay.into(), jitter.into())
}
