//! Offers and answers in every order that unreliable signaling can cause.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use looprtc::proto::peer::{
    CandidatePolicy, ChannelConfig, ConnectionState, IceCandidateInit, Message, PeerConfig,
    PeerError, PeerEvent, Politeness, SdpType, SessionDescription, SignalingState,
};
use looprtc::testing::{Link, Node, Rng, Simulation};

use crate::common::{Log, create, state};

/// Two peers whose signaling is transferred by the test.
struct Rig {
    sim: Simulation,
    nodes: [Node; 2],
    logs: [Log; 2],
    /// Descriptions and candidates in flight to each side; their relative order may change.
    descriptions: [VecDeque<SessionDescription>; 2],
    candidates: [VecDeque<Option<IceCandidateInit>>; 2],
    /// Negotiation is needed, and no offer was created yet.
    wanted: [bool; 2],
    /// Set if candidates carry their ufrag.
    bare: bool,
}

impl Rig {
    fn new(seed: u64, config: PeerConfig) -> Self {
        let mut sim = Simulation::new(seed, Link::default().delay(3, 4));
        let polite = sim.add(config.clone().politeness(Politeness::Polite));
        let impolite = sim.add(config.politeness(Politeness::Impolite));
        Self {
            sim,
            nodes: [polite, impolite],
            logs: [Log::default(), Log::default()],
            descriptions: [VecDeque::new(), VecDeque::new()],
            candidates: [VecDeque::new(), VecDeque::new()],
            wanted: [false; 2],
            bare: false,
        }
    }

    fn create(&mut self, side: usize, label: &str) {
        create(&mut self.sim, self.nodes[side], ChannelConfig::new(label));
        self.collect();
    }

    fn signaling(&self, side: usize) -> SignalingState {
        self.sim.peer(self.nodes[side]).signaling_state()
    }

    /// Handles the events of both sides.
    fn collect(&mut self) {
        for side in 0..2 {
            let from = self.logs[side].all.len();
            self.logs[side].take(&mut self.sim, self.nodes[side]);
            for event in &self.logs[side].all[from..] {
                match event {
                    PeerEvent::NegotiationNeeded => self.wanted[side] = true,
                    PeerEvent::IceCandidate(candidate) => {
                        let init = candidate.as_ref().map(|c| {
                            let mut init = IceCandidateInit::new(c.to_sdp_line());
                            init.username_fragment =
                                c.username_fragment.clone().filter(|_| !self.bare);
                            init
                        });
                        self.candidates[1 - side].push_back(init);
                    }
                    _ => {}
                }
            }
        }
    }

    fn negotiate(&mut self, side: usize) -> Result<(), PeerError> {
        let offer = self.sim.with(self.nodes[side], |p, now| p.negotiate(now))?;
        self.wanted[side] = false;
        self.descriptions[1 - side].push_back(offer);
        self.collect();
        Ok(())
    }

    /// Creates an offer, if one is needed and possible now.
    fn negotiate_if_wanted(&mut self, side: usize) {
        if self.wanted[side] && self.signaling(side) == SignalingState::Stable {
            self.negotiate(side).expect("an offer in stable");
        }
    }

    fn deliver_description(&mut self, side: usize) -> bool {
        let Some(description) = self.descriptions[side].pop_front() else {
            return false;
        };
        let kind = description.kind;
        let result = self
            .sim
            .with(self.nodes[side], |p, now| p.receive(description, now));
        match result {
            Ok(Some(answer)) => self.descriptions[1 - side].push_back(answer),
            Ok(None) => {}
            Err(e) => panic!(
                "side {side} refused {kind:?} in {}: {e}",
                self.signaling(side)
            ),
        }
        self.collect();
        true
    }

    fn deliver_candidate(&mut self, side: usize) -> bool {
        let Some(candidate) = self.candidates[side].pop_front() else {
            return false;
        };
        self.sim
            .with(self.nodes[side], |p, now| {
                p.add_ice_candidate(candidate.as_ref(), now)
            })
            .expect("a candidate is never an error");
        self.collect();
        true
    }

    /// Delivers everything and creates needed offers until nothing is left.
    fn quiesce(&mut self) {
        for _ in 0..200 {
            let mut busy = false;
            for side in 0..2 {
                while self.deliver_description(side) {
                    busy = true;
                }
                while self.deliver_candidate(side) {
                    busy = true;
                }
                if self.wanted[side] && self.signaling(side) == SignalingState::Stable {
                    self.negotiate_if_wanted(side);
                    busy = true;
                }
            }
            if !busy {
                return;
            }
        }
        panic!("negotiation never comes to rest");
    }

    fn run(&mut self, milliseconds: u64) {
        self.sim.run_for(milliseconds);
        self.collect();
    }

    /// Delivers everything: both are stable, connected, and data passes on every channel.
    fn check(&mut self, channels: usize) {
        self.quiesce();
        for _ in 0..100 {
            self.run(100);
            self.quiesce();
            let done = (0..2).all(|side| {
                state(&self.sim, self.nodes[side]) == ConnectionState::Connected
                    && self.open(side) == channels
            });
            if done {
                break;
            }
        }
        for side in 0..2 {
            let peer = self.sim.peer(self.nodes[side]);
            assert_eq!(
                peer.signaling_state(),
                SignalingState::Stable,
                "side {side}"
            );
            assert_eq!(
                peer.connection_state(),
                ConnectionState::Connected,
                "side {side}: {:?}",
                self.logs[side].errors
            );
            assert_eq!(
                self.open(side),
                channels,
                "side {side}: {:?}",
                self.logs[side]
            );
            assert!(
                self.logs[side].errors.is_empty(),
                "{:?}",
                self.logs[side].errors
            );
        }
        self.talk();
    }

    fn open(&self, side: usize) -> usize {
        self.logs[side].opened.len() - self.logs[side].closed.len()
    }

    /// A message on each channel of each side arrives, and nothing else.
    fn talk(&mut self) {
        for side in 0..2 {
            self.logs[1 - side].messages.clear();
            let node = self.nodes[side];
            let open = self.sim.peer(node).channels();
            for channel in &open {
                let label = self
                    .sim
                    .with(node, |p, _| p.channel(*channel).expect("open").config.label);
                self.sim
                    .with(node, |p, now| p.send_text(*channel, &label, now))
                    .expect("open");
            }
            self.run(2_000);
            let there = &self.logs[1 - side].messages;
            assert_eq!(there.values().map(Vec::len).sum::<usize>(), open.len());
            for (channel, messages) in there.clone() {
                let label = self.sim.with(self.nodes[1 - side], |p, _| {
                    p.channel(channel).expect("open").config.label
                });
                assert_eq!(messages, [Message::Text(label)]);
            }
        }
    }
}

fn connected_rig(seed: u64) -> Rig {
    let mut rig = Rig::new(seed, PeerConfig::default());
    rig.create(0, "first");
    rig.check(1);
    rig
}

#[test]
fn random_interleavings_settle() {
    let one: Option<u64> = std::env::var("LOOPRTC_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    let seeds = one.map_or(0..400, |seed| seed..seed + 1);
    let mut failed = vec![];
    for seed in seeds {
        if catch_unwind(AssertUnwindSafe(|| interleave(seed))).is_err() {
            eprintln!(
                "SEED {seed} FAILED; again: LOOPRTC_SEED={seed} cargo test --test simulation random_interleavings"
            );
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "failed seeds: {failed:?}");
}

fn interleave(seed: u64) {
    let mut rng = Rng::new(seed);
    let policy = [
        CandidatePolicy::HoldUntilAnswered,
        CandidatePolicy::Immediately,
    ];
    let config = PeerConfig::default().candidates(policy[rng.below(2) as usize]);
    let mut rig = Rig::new(seed, config);
    let mut channels = 0;
    let trace = std::env::var("LOOPRTC_SEED").is_ok();
    for _ in 0..60 {
        let side = rng.below(2) as usize;
        let what = rng.below(10);
        if trace {
            println!(
                "{what} on {side} ({}, {})",
                rig.signaling(0),
                rig.signaling(1)
            );
        }
        match what {
            0 if channels < 6 => {
                rig.create(side, &format!("c{channels}"));
                channels += 1;
            }
            1 if channels > 0 && rng.chance(0.3) => {
                rig.sim
                    .with(rig.nodes[side], |p, now| p.restart_ice(now))
                    .expect("not closed");
                rig.collect();
            }
            // An offer without changes, if there is anything to offer.
            2 if rig.sim.peer(rig.nodes[side]).remote_description().is_some()
                && rig.signaling(side) == SignalingState::Stable =>
            {
                rig.negotiate(side).expect("an offer in stable");
            }
            3 | 4 => {
                rig.deliver_description(side);
            }
            5 | 6 => {
                rig.deliver_candidate(side);
            }
            7 | 8 => rig.negotiate_if_wanted(side),
            _ => rig.run(rng.below(150)),
        }
    }
    if channels == 0 {
        rig.create(0, "late");
        channels = 1;
    }
    rig.check(channels);
}

#[test]
fn renegotiation_in_both_directions_many_times() {
    let mut rig = connected_rig(1);
    for n in 0..60 {
        rig.negotiate(n % 2).unwrap();
        rig.quiesce();
        if n % 7 == 0 {
            rig.sim
                .with(rig.nodes[n % 2], |p, now| p.restart_ice(now))
                .unwrap();
            rig.collect();
            rig.quiesce();
        }
    }
    rig.check(1);
    // All that, without ever being disconnected.
    for log in &rig.logs {
        assert!(!log.states.contains(&ConnectionState::Disconnected));
        assert!(!log.states.contains(&ConnectionState::Failed));
    }
}

#[test]
fn offers_without_changes_change_nothing() {
    let mut rig = connected_rig(2);
    let before = rig.logs[0].states.len();
    let ufrag = |rig: &Rig, side: usize| {
        let sdp = rig
            .sim
            .peer(rig.nodes[side])
            .local_description()
            .unwrap()
            .sdp;
        let line = sdp.lines().find(|l| l.starts_with("a=ice-ufrag:")).unwrap();
        line.to_owned()
    };
    let ufrags = [ufrag(&rig, 0), ufrag(&rig, 1)];
    for n in 0..10 {
        rig.negotiate(n % 2).unwrap();
        rig.quiesce();
        rig.run(200);
    }
    assert_eq!(ufrags, [ufrag(&rig, 0), ufrag(&rig, 1)]);
    assert_eq!(rig.logs[0].states.len(), before);
    rig.check(1);
}

#[test]
fn local_offers_can_be_rolled_back() {
    let mut rig = Rig::new(3, PeerConfig::default());
    rig.create(0, "first");
    for _ in 0..5 {
        assert!(
            std::mem::take(&mut rig.wanted[0]),
            "negotiation is still needed"
        );
        rig.sim.with(rig.nodes[0], |p, now| {
            p.negotiate(now).unwrap();
            p.set_local_description(Some(rollback()), now).unwrap();
            assert_eq!(p.signaling_state(), SignalingState::Stable);
            assert_eq!(p.local_description(), None);
        });
        rig.collect();
    }
    rig.check(1);
    // And while connected, of a restart: more of them than are routed at once.
    for _ in 0..8 {
        rig.sim.with(rig.nodes[1], |p, now| {
            let before = p.local_description();
            p.restart_ice(now).unwrap();
            let offer = p.negotiate(now).unwrap();
            assert_ne!(Some(&offer.sdp), before.as_ref().map(|d| &d.sdp));
            p.set_local_description(Some(rollback()), now).unwrap();
            assert_eq!(p.local_description(), before);
        });
        rig.collect();
    }
    rig.check(1);
}

#[test]
fn remote_offers_can_be_rolled_back() {
    let mut rig = Rig::new(4, PeerConfig::default());
    rig.create(0, "first");
    let offer = rig
        .sim
        .with(rig.nodes[0], |p, now| p.negotiate(now))
        .unwrap();
    rig.wanted[0] = false;
    rig.sim.with(rig.nodes[1], |p, now| {
        for _ in 0..5 {
            p.set_remote_description(offer.clone(), now).unwrap();
            assert_eq!(p.signaling_state(), SignalingState::HaveRemoteOffer);
            p.set_remote_description(rollback(), now).unwrap();
            assert_eq!(p.signaling_state(), SignalingState::Stable);
            assert_eq!(p.remote_description(), None);
        }
        assert!(p.set_remote_description(rollback(), now).is_err());
    });
    rig.descriptions[1].push_back(offer);
    rig.check(1);
}

fn rollback() -> SessionDescription {
    SessionDescription {
        kind: SdpType::Rollback,
        sdp: String::new(),
    }
}

/// Both offer at once, in each phase of a connection.
#[test]
fn glare_in_every_phase() {
    // Before the first connection, both with channels of their own.
    let mut rig = Rig::new(5, PeerConfig::default());
    rig.create(0, "a1");
    rig.create(0, "a2");
    rig.create(1, "b1");
    rig.negotiate_if_wanted(0);
    rig.negotiate_if_wanted(1);
    rig.check(3);
    // While connected.
    rig.negotiate(0).unwrap();
    rig.negotiate(1).unwrap();
    rig.check(3);
    // Both restart ICE; then each against a plain offer.
    for restarts in [[true, true], [true, false], [false, true]] {
        for (side, restart) in restarts.into_iter().enumerate() {
            if restart {
                rig.sim
                    .with(rig.nodes[side], |p, now| p.restart_ice(now))
                    .unwrap();
                rig.collect();
            }
            rig.negotiate(side).unwrap();
        }
        rig.check(3);
    }
    // And with a pending ICE restart.
    rig.sim
        .with(rig.nodes[0], |p, now| p.restart_ice(now))
        .unwrap();
    rig.collect();
    rig.quiesce();
    rig.negotiate(0).unwrap();
    rig.negotiate(1).unwrap();
    rig.check(3);
    assert!(!rig.wanted[0] && !rig.wanted[1]);
}

#[test]
fn ice_restart_from_each_side_and_from_both() {
    for who in [&[0][..], &[1], &[0, 1], &[0, 0, 1]] {
        let mut rig = connected_rig(6);
        for side in who {
            rig.sim
                .with(rig.nodes[*side], |p, now| p.restart_ice(now))
                .unwrap();
            rig.collect();
        }
        for side in who {
            rig.negotiate_if_wanted(*side);
        }
        rig.check(1);
        for side in 0..2 {
            assert!(!rig.wanted[side]);
        }
    }
}

/// W3C §4.7.3: once, and only if something has to be negotiated.
#[test]
fn negotiation_needed_is_said_once() {
    let mut rig = Rig::new(7, PeerConfig::default());
    assert_eq!(rig.logs[0].negotiation_needed, 0);
    for n in 0..5 {
        rig.create(0, &format!("{n}"));
    }
    assert_eq!(rig.logs[0].negotiation_needed, 1);
    rig.check(5);
    assert_eq!(rig.logs[0].negotiation_needed, 1, "answered: not again");
    assert_eq!(
        rig.logs[1].negotiation_needed, 0,
        "the answerer needs nothing"
    );
    // Further channels need none, from neither side.
    rig.create(0, "more");
    rig.create(1, "more");
    rig.check(7);
    assert_eq!(rig.logs[0].negotiation_needed, 1);
    assert_eq!(rig.logs[1].negotiation_needed, 0);
    // A restart needs one.
    let a = rig.nodes[0];
    rig.sim.with(a, |p, now| {
        p.restart_ice(now).unwrap();
        p.restart_ice(now).unwrap();
    });
    rig.collect();
    assert_eq!(rig.logs[0].negotiation_needed, 2);
    rig.check(7);
    assert_eq!(rig.logs[0].negotiation_needed, 2);
    // Requested while an offer is pending: reported after its answer.
    rig.negotiate(0).unwrap();
    rig.sim.with(a, |p, now| p.restart_ice(now)).unwrap();
    rig.collect();
    assert_eq!(rig.logs[0].negotiation_needed, 2);
    while rig.descriptions.iter().any(|d| !d.is_empty()) {
        rig.deliver_description(0);
        rig.deliver_description(1);
    }
    assert_eq!(rig.logs[0].negotiation_needed, 3);
    rig.check(7);
    assert_eq!(rig.logs[0].negotiation_needed, 3);
}

/// W3C: `restartIce` is satisfied by any new credentials, including those of the remote peer's restart.
#[test]
fn a_restart_by_the_other_side_satisfies_ours() {
    let mut rig = connected_rig(8);
    for side in 0..2 {
        rig.sim
            .with(rig.nodes[side], |p, now| p.restart_ice(now))
            .unwrap();
    }
    rig.collect();
    rig.negotiate(0).unwrap();
    while rig.descriptions.iter().any(|d| !d.is_empty()) {
        rig.deliver_description(1);
        rig.deliver_description(0);
    }
    rig.wanted[1] = false;
    let said = rig.logs[1].negotiation_needed;
    rig.check(1);
    assert_eq!(rig.logs[1].negotiation_needed, said);
}

/// A restart requested between creating an offer and setting it is not lost with it.
#[test]
fn a_restart_after_the_offer_was_created_is_kept() {
    let mut rig = connected_rig(9);
    let a = rig.nodes[0];
    let offer = rig
        .sim
        .with(a, |p, now| {
            let offer = p.create_offer(now)?;
            p.restart_ice(now)?;
            p.set_local_description(Some(offer.clone()), now)?;
            Ok::<_, PeerError>(offer)
        })
        .unwrap();
    rig.descriptions[1].push_back(offer);
    rig.collect();
    rig.wanted[0] = false;
    while rig.descriptions.iter().any(|d| !d.is_empty()) {
        rig.deliver_description(1);
        rig.deliver_description(0);
    }
    assert!(rig.wanted[0], "the restart is still to be negotiated");
    rig.check(1);
}

/// An offer that was created but never set must not close a channel.
#[test]
fn an_offer_that_is_never_set_loses_nothing() {
    let mut rig = Rig::new(10, PeerConfig::default());
    rig.create(0, "ours");
    rig.create(1, "theirs");
    rig.sim
        .with(rig.nodes[0], |p, now| p.create_offer(now))
        .unwrap();
    rig.negotiate(1).unwrap();
    rig.check(2);
}

#[test]
fn a_channel_closed_before_negotiation_does_not_block_the_next() {
    let mut rig = Rig::new(11, PeerConfig::default());
    let a = rig.nodes[0];
    let first = create(&mut rig.sim, a, ChannelConfig::new("gone"));
    rig.sim
        .with(a, |p, now| p.close_data_channel(first, now))
        .unwrap();
    rig.collect();
    assert_eq!(rig.logs[0].closed, [first]);
    rig.logs[0].closed.clear();
    rig.wanted[0] = false;
    rig.create(0, "kept");
    assert!(rig.wanted[0], "negotiation is needed for the second one");
    rig.check(1);
}

#[test]
fn candidates_may_come_at_any_time() {
    for bare in [false, true] {
        let mut rig = Rig::new(12, PeerConfig::default());
        rig.bare = bare;
        rig.create(0, "first");
        rig.negotiate(0).unwrap();
        // The answerer's candidates arrive before its answer.
        rig.deliver_description(1);
        assert!(!rig.candidates[0].is_empty());
        while rig.deliver_candidate(0) {}
        let counts = rig.sim.peer(rig.nodes[0]).stats().candidates;
        assert_eq!((counts.remote_held, counts.applied), (1, 0), "held");
        rig.check(1);
        let counts = rig.sim.peer(rig.nodes[0]).stats().candidates;
        assert_eq!((counts.remote_held, counts.applied), (0, 1), "applied");
    }
}

#[test]
fn candidates_of_other_generations_are_held_or_dropped() {
    let mut rig = connected_rig(13);
    let [a, b] = rig.nodes;
    let ufrag_of = |rig: &Rig, node: Node| {
        let sdp = rig.sim.peer(node).local_description().unwrap().sdp;
        sdp.lines()
            .find_map(|l| l.strip_prefix("a=ice-ufrag:"))
            .unwrap()
            .to_owned()
    };
    let old = ufrag_of(&rig, b);
    let candidate = |port: u16, ufrag: &str| {
        let mut c = IceCandidateInit::new(format!("candidate:1 1 udp 5 10.9.9.9 {port} typ host"));
        c.username_fragment = Some(ufrag.to_owned());
        c
    };
    rig.sim.with(b, |p, now| p.restart_ice(now)).unwrap();
    rig.collect();
    rig.check(1);
    assert_ne!(ufrag_of(&rig, b), old);
    let before = rig.sim.peer(a).stats().candidates;
    rig.sim.with(a, |p, now| {
        p.add_ice_candidate(Some(&candidate(1, &old)), now).unwrap();
        p.add_ice_candidate(Some(&candidate(2, "never-seen")), now)
            .unwrap();
        p.add_ice_candidate(None, now).unwrap();
        assert!(
            p.add_ice_candidate(Some(&IceCandidateInit::new("candidate:nonsense")), now)
                .is_err()
        );
    });
    let after = rig.sim.peer(a).stats().candidates;
    assert_eq!(after.stale, before.stale + 1);
    assert_eq!(after.remote_held, 1);
    assert_eq!(after.applied, before.applied);
    // A flood of them is bounded.
    for port in 1..2_000 {
        let c = candidate(port, "never-seen");
        rig.sim
            .with(a, |p, now| p.add_ice_candidate(Some(&c), now))
            .unwrap();
    }
    assert_eq!(rig.sim.peer(a).stats().candidates.remote_held, 64);
    for port in 1..2_000 {
        let c = candidate(port, &ufrag_of(&rig, b));
        rig.sim
            .with(a, |p, now| p.add_ice_candidate(Some(&c), now))
            .unwrap();
    }
    let counts = rig.sim.peer(a).stats().candidates;
    assert!(counts.over_limit > 1_800, "{counts:?}");
    rig.check(1);
}

/// Descriptions that do not fit the state are refused, and the session is unaffected.
#[test]
fn descriptions_at_the_wrong_moment() {
    let mut rig = connected_rig(14);
    let [a, b] = rig.nodes;
    let answer = |p: &looprtc::proto::peer::Peer| p.remote_description().cloned().unwrap();
    let (old_answer, old_offer) = (answer(rig.sim.peer(a)), answer(rig.sim.peer(b)));
    rig.sim.with(a, |p, now| {
        let e = p.set_remote_description(old_answer.clone(), now);
        assert!(matches!(e, Err(PeerError::WrongState { .. })), "{e:?}");
        let e = p.receive(old_answer.clone(), now);
        assert!(matches!(e, Err(PeerError::WrongState { .. })), "{e:?}");
        assert!(p.create_answer(now).is_err());
        assert!(p.set_local_description(Some(rollback()), now).is_err());
        assert!(
            p.set_local_description(Some(old_offer.clone()), now)
                .is_err()
        );
    });
    rig.collect();
    // The same offer once more is a renegotiation without changes.
    let again = rig.sim.with(b, |p, now| p.receive(old_offer.clone(), now));
    assert_eq!(again.unwrap().unwrap().kind, SdpType::Answer);
    rig.collect();
    rig.check(1);
    // While our offer is pending: another peer's offer, or an answer to something else.
    let mut stranger = Rig::new(15, PeerConfig::default());
    stranger.create(0, "strange");
    let foreign = stranger
        .sim
        .with(stranger.nodes[0], |p, now| p.negotiate(now))
        .unwrap();
    let foreign_answer = stranger
        .sim
        .with(stranger.nodes[1], |p, now| p.receive(foreign.clone(), now))
        .unwrap()
        .unwrap();
    for node in [a, b] {
        rig.sim.with(node, |p, now| {
            for description in [&foreign, &foreign_answer] {
                let result = p.receive(description.clone(), now);
                assert!(result.is_err(), "{result:?}");
            }
        });
    }
    rig.collect();
    rig.check(1);
    rig.negotiate(1).unwrap();
    let result = rig
        .sim
        .with(b, |p, now| p.receive(foreign_answer.clone(), now));
    assert!(result.is_err(), "{result:?}");
    rig.collect();
    rig.check(1);
}

/// Real offers, mutated at random, as first offers, as later ones and as answers: refused or accepted, but never a
/// panic, and a refused one changes nothing.
#[test]
fn bad_descriptions_change_nothing() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdp");
    let mut offers: Vec<(String, String)> = std::fs::read_dir(dir)
        .expect("tests/sdp")
        .map(|f| f.expect("a file").path())
        .map(|p| {
            (
                p.display().to_string(),
                std::fs::read_to_string(&p).expect("text"),
            )
        })
        .collect();
    offers.sort();
    assert!(offers.len() > 10);
    let mut refused = 0;
    let mut taken = 0;
    for (n, (name, offer)) in offers.iter().enumerate() {
        for round in 0..60 {
            let mut rng = Rng::new((n * 1_000 + round) as u64);
            let mutated = mutate(&mut rng, offer);
            let mut rig = Rig::new(1, PeerConfig::default());
            let b = rig.nodes[1];
            let result = rig.sim.with(b, |p, now| {
                let result =
                    p.set_remote_description(SessionDescription::offer(mutated.clone()), now);
                match result {
                    Ok(()) => p.create_answer(now).map(drop),
                    Err(e) => Err(e),
                }
            });
            rig.run(100);
            match result {
                Ok(()) => taken += 1,
                Err(e) => {
                    refused += 1;
                    assert_eq!(
                        rig.signaling(1),
                        SignalingState::Stable,
                        "{name} {round}: {e}"
                    );
                    assert!(rig.sim.peer(b).remote_description().is_none());
                    // And it still works.
                    rig.create(0, "x");
                    rig.check(1);
                }
            }
        }
    }
    println!("{refused} refused, {taken} taken");
    assert!(refused > 100 && taken > 100);
}

/// The offers and answers of an established session, mutated: it continues in any case.
#[test]
fn bad_descriptions_leave_the_session_standing() {
    let mut refused = 0;
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let mut rig = connected_rig(seed);
        let [a, b] = rig.nodes;
        let ufrag = rig.sim.peer(b).local_description();
        let restart = rng.chance(0.5);
        if restart {
            rig.sim.with(a, |p, now| p.restart_ice(now)).unwrap();
        }
        rig.collect();
        rig.negotiate(0).unwrap();
        let offer = rig.descriptions[1].pop_front().unwrap();
        for _ in 0..10 {
            let mut mutated = offer.clone();
            mutated.sdp = mutate(&mut rng, &offer.sdp);
            let result = rig.sim.with(b, |p, now| {
                match p.set_remote_description(mutated.clone(), now) {
                    Ok(()) => p.set_remote_description(rollback(), now).map(|()| false),
                    Err(_) => Ok(true),
                }
            });
            refused += u32::from(result.expect("rollback"));
            assert_eq!(rig.sim.peer(b).local_description(), ufrag);
        }
        // The answer as well.
        let answer = rig
            .sim
            .with(b, |p, now| p.receive(offer.clone(), now))
            .expect("the offer itself is sound")
            .expect("an answer");
        rig.collect();
        for _ in 0..10 {
            let mut mutated = answer.clone();
            mutated.sdp = mutate_structure(&mut rng, &answer.sdp, restart);
            let result = rig.sim.with(a, |p, now| p.receive(mutated.clone(), now));
            let state = rig.signaling(0);
            match result {
                Ok(_) => break,
                Err(e) => {
                    refused += 1;
                    assert_eq!(
                        state,
                        SignalingState::HaveLocalOffer,
                        "{e}: {}",
                        mutated.sdp
                    );
                }
            }
        }
        if rig.signaling(0) == SignalingState::HaveLocalOffer {
            rig.descriptions[0].push_back(answer);
        }
        rig.collect();
        rig.check(1);
    }
    println!("{refused} refused");
    assert!(refused > 500);
}

/// Applies a few random changes: lines removed, duplicated, swapped, truncated, characters changed.
fn mutate(rng: &mut Rng, sdp: &str) -> String {
    let mut lines: Vec<String> = sdp.lines().map(str::to_owned).collect();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(lines.len() as u64) as usize;
        let to = rng.below(lines.len() as u64) as usize;
        match rng.below(6) {
            0 if lines.len() > 1 => {
                lines.remove(at);
            }
            0 | 1 => lines.insert(to, lines[at].clone()),
            2 => lines.swap(at, to),
            3 => {
                let len = lines[at].chars().count() as u64;
                let keep = rng.below(len + 1) as usize;
                lines[at] = lines[at].chars().take(keep).collect();
            }
            4 => {
                let mut chars: Vec<char> = lines[at].chars().collect();
                if !chars.is_empty() {
                    let i = rng.below(chars.len() as u64) as usize;
                    chars[i] =
                        ['0', '9', ' ', ':', 'z', '\u{fffd}', '-', '\0'][rng.below(8) as usize];
                    lines[at] = chars.into_iter().collect();
                }
            }
            _ => lines.truncate(at.max(1)),
        }
    }
    lines.join("\r\n") + "\r\n"
}

/// Applies detectable changes: to required parts, and to values that must not change.
fn mutate_structure(rng: &mut Rng, sdp: &str, restart: bool) -> String {
    match rng.below(6) {
        // A wrong password in an answer to a restart cannot be distinguished from a right one.
        3 if restart => sdp.replace("a=ice-pwd:", "a=ice-pw:"),
        0 => sdp.replace("a=mid:", "a=mid:x"),
        1 => sdp.replace("a=fingerprint:", "a=finger:"),
        2 => sdp.replace("m=application", "m=audio"),
        3 => sdp.replace("a=ice-pwd:", "a=ice-pwd:x"),
        4 => sdp.replace("sha-256 ", "sha-256 00:"),
        _ => sdp.chars().take(sdp.len() / 2).collect(),
    }
}
