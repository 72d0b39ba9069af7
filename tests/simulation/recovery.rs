//! Network changes, and silent paths: automatic recovery of sessions.

use std::collections::HashSet;

use looprtc::proto::peer::{ConnectionState as C, IceConnectionState, Message, PeerConfig};
use looprtc::testing::{Link, Node, Simulation};

use super::common::{Log, connected, pair_with_channel, state};

const SEEDS: u64 = 200;

fn numbers(messages: &[Message]) -> Vec<u32> {
    let number = |m: &Message| u32::from_be_bytes(m.as_bytes()[..4].try_into().unwrap());
    messages.iter().map(number).collect()
}

fn is_up(sim: &Simulation, nodes: [Node; 2]) -> bool {
    nodes.iter().all(|n| {
        matches!(
            sim.peer(*n).ice_connection_state(),
            IceConnectionState::Connected | IceConnectionState::Completed
        )
    })
}

/// One, the other or both change their address while both send: within 3 s data arrives again, and nothing is lost,
/// duplicated or out of order.
#[test]
fn a_new_address_in_the_middle_of_a_session() {
    let mut longest = 0;
    for seed in 0..SEEDS {
        let link = Link::default()
            .delay(5 + seed % 40, seed % 10)
            .loss(if seed % 4 == 3 { 0.02 } else { 0.0 });
        let mut sim = Simulation::new(seed, link);
        let (a, b) = sim.pair();
        let (ca, cb) = pair_with_channel(&mut sim, a, b);
        let movers = [vec![a], vec![b], vec![a, b]][seed as usize % 3].clone();
        let (mut sent, mut at_a, mut at_b) = (0u32, Vec::new(), Vec::new());
        let mut tell = |sim: &mut Simulation, ms: u64, at_a: &mut Vec<u32>, at_b: &mut Vec<u32>| {
            for _ in 0..ms / 20 {
                let data = [&sent.to_be_bytes()[..], &[7; 800]].concat();
                sent += 1;
                sim.with(a, |p, now| p.send_binary(ca, &data, now)).unwrap();
                sim.with(b, |p, now| p.send_binary(cb, &data, now)).unwrap();
                sim.run_for(20);
                at_a.extend(numbers(Log::of(sim, a).on(ca)));
                at_b.extend(numbers(Log::of(sim, b).on(cb)));
            }
            sent
        };
        tell(&mut sim, 1_000, &mut at_a, &mut at_b);
        for _ in 0..2 {
            let from = sim.elapsed_ms();
            for node in &movers {
                sim.readdress(*node);
            }
            let mark = tell(&mut sim, 20, &mut at_a, &mut at_b) - 1;
            // Data sent after the change has to get through.
            while !(at_a.contains(&mark) && at_b.contains(&mark)) {
                tell(&mut sim, 20, &mut at_a, &mut at_b);
                let took = sim.elapsed_ms() - from;
                assert!(
                    took <= 3_000,
                    "seed {seed}: not back after {took} ms: {:?} {:?}",
                    sim.peer(a),
                    sim.peer(b)
                );
            }
            longest = longest.max(sim.elapsed_ms() - from);
            tell(&mut sim, 2_000, &mut at_a, &mut at_b);
        }
        let sent = tell(&mut sim, 0, &mut at_a, &mut at_b);
        for _ in 0..100 {
            sim.run_for(100);
            at_a.extend(numbers(Log::of(&mut sim, a).on(ca)));
            at_b.extend(numbers(Log::of(&mut sim, b).on(cb)));
        }
        let all: Vec<u32> = (0..sent).collect();
        assert!(at_a == all && at_b == all, "seed {seed}: {sent} sent");
        assert_eq!(
            (state(&sim, a), state(&sim, b)),
            (C::Connected, C::Connected)
        );
        for node in [a, b] {
            let path = sim.peer(node).stats().path.unwrap();
            let other = if node == a { b } else { a };
            assert_eq!(path, (sim.address(node), sim.address(other)), "seed {seed}");
        }
    }
    println!("{SEEDS} seeds, 2 changes each: back after {longest} ms at most");
}

#[test]
fn who_does_not_want_a_restart_gets_none() {
    let config = PeerConfig::default().restart_on_network_change(false);
    let mut sim = Simulation::new(1, Link::default());
    let (a, b) = sim.pair_with(config.clone(), config);
    pair_with_channel(&mut sim, a, b);
    sim.readdress(a);
    sim.wake(b);
    sim.run_for(2_000);
    for node in [a, b] {
        assert_eq!(Log::of(&mut sim, node).negotiation_needed, 0);
    }
    // If the new address was trickled to the remote peer, its checks may use it all the same.
    assert!(!sim.peer(a).is_closed() && !sim.peer(b).is_closed());
}

/// The change does not affect the path: no restart.
#[test]
fn a_change_elsewhere_is_left_alone() {
    use looprtc::proto::net::{InterfaceAddress, NetworkChange};
    use looprtc::proto::peer::{Input, PeerEvent};
    let mut sim = Simulation::new(2, Link::default());
    let (a, b) = sim.pair();
    pair_with_channel(&mut sim, a, b);
    let own = InterfaceAddress {
        interface: "sim0".into(),
        address: sim.address(a),
    };
    let second = InterfaceAddress {
        interface: "sim9".into(),
        address: "10.9.0.1:5000".parse().unwrap(),
    };
    let both = [own.clone(), second.clone()];
    let one = [own];
    let tell = |sim: &mut Simulation, change: NetworkChange<'_>| {
        sim.with(a, |p, now| {
            p.handle_input(Input::NetworkChanged { now, change })
        })
        .unwrap();
        sim.run_for(3_000);
        Log::of(sim, a)
    };
    // No change at all, then an added interface, then a removed one, then the other family's route.
    let same = tell(
        &mut sim,
        NetworkChange {
            addresses: &one,
            ..NetworkChange::default()
        },
    );
    assert!(same.all.is_empty(), "{:?}", same.all);
    let more = tell(
        &mut sim,
        NetworkChange {
            addresses: &both,
            ..NetworkChange::default()
        },
    );
    let trickled: Vec<String> = more
        .all
        .iter()
        .filter_map(|e| match e {
            PeerEvent::IceCandidate(Some(c)) => Some(c.address.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(trickled, ["10.9.0.1"]);
    assert_eq!(more.negotiation_needed, 0);
    let less = tell(
        &mut sim,
        NetworkChange {
            addresses: &one,
            gone: &[second.address.ip()],
            rerouted_ipv6: true,
            ..NetworkChange::default()
        },
    );
    assert_eq!(less.negotiation_needed, 0);
    let description = sim.peer(a).local_description().unwrap().sdp;
    assert!(!description.contains("10.9.0.1"), "{description}");
    assert!(is_up(&sim, [a, b]));
}

/// A suspend of any duration causes one restart, at once.
#[test]
fn waking_up_restarts_once() {
    let mut sim = Simulation::new(3, Link::default());
    let (a, b) = sim.pair();
    let (ca, cb) = pair_with_channel(&mut sim, a, b);
    sim.wake(b);
    assert!(sim.run_until(1_000, |sim| is_up(sim, [a, b])));
    sim.with(a, |p, now| p.send_text(ca, "good morning", now))
        .unwrap();
    sim.run_for(2_000);
    let log = Log::of(&mut sim, b);
    assert_eq!(log.negotiation_needed, 1);
    assert_eq!(log.on(cb).len(), 1);
    assert_eq!(Log::of(&mut sim, a).negotiation_needed, 0);
}

/// Silence without a local change: the side that made the last offer restarts after 7 s, and the other one waits for
/// it.
#[test]
fn silence_is_answered_by_one_side() {
    for seed in 0..20 {
        let mut sim = Simulation::new(seed, Link::default());
        let (a, b) = sim.pair();
        let (ca, cb) = pair_with_channel(&mut sim, a, b);
        let credentials = |sim: &Simulation| -> HashSet<String> {
            let sdp = sim.peer(a).local_description().unwrap().sdp;
            sdp.lines()
                .filter(|l| l.starts_with("a=ice-ufrag"))
                .map(str::to_owned)
                .collect()
        };
        let before = credentials(&sim);
        sim.set_filter(|_| false);
        sim.with(a, |p, now| p.send_text(ca, "into the void", now))
            .unwrap();
        sim.run_for(6_900);
        assert_eq!(credentials(&sim), before);
        sim.run_for(2_100);
        assert_ne!(credentials(&sim), before);
        assert_eq!(Log::of(&mut sim, a).negotiation_needed, 1);
        assert_eq!(Log::of(&mut sim, b).negotiation_needed, 0);
        sim.clear_filter();
        assert!(sim.run_until(3_000, |sim| is_up(sim, [a, b])));
        connected(&mut sim, a, b);
        sim.run_for(20_000);
        assert_eq!(Log::of(&mut sim, b).on(cb).len(), 1);
    }
}

/// An unreachable peer is not retried forever: one restart when *disconnected*, one when *failed*, and then the session
/// ends as without restarts.
#[test]
fn in_vain_is_tried_twice() {
    let mut sim = Simulation::new(4, Link::default());
    let (a, b) = sim.pair();
    pair_with_channel(&mut sim, a, b);
    sim.set_filter(|_| false);
    assert!(sim.run_until(400_000, |sim| sim.peer(a).is_closed()));
    let (log_a, log_b) = (Log::of(&mut sim, a), Log::of(&mut sim, b));
    let offers = log_a.negotiation_needed + log_b.negotiation_needed;
    assert!((2..=4).contains(&offers), "{offers}");
    // 7 s, then twice 30 s without a path, then a minute.
    let took = sim.elapsed_ms();
    assert!(took < 7_000 + 2 * 31_000 + 62_000, "{took} ms");
}
