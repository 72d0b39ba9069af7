//! Effects of silence, recovery of connections, and cleanup after their end.

use looprtc::proto::peer::{
    ChannelConfig, ChannelId, ConnectionState, IceConnectionState, Input, Limits, Output, Peer,
    PeerConfig, PeerError, PeerEvent, SignalingState,
};
use looprtc::testing::{Link, Node, Simulation};

use crate::common::{Log, connected, create, pair_with_channel, state};

use ConnectionState as C;

#[test]
fn an_idle_connection_stays_up_on_a_bad_network() {
    for seed in 0..20 {
        let link = Link::default().loss(0.2).duplicate(0.05).delay(40, 60);
        let mut sim = Simulation::new(seed, link);
        let (a, b) = sim.pair();
        pair_with_channel(&mut sim, a, b);
        let before = sim.elapsed_ms();
        let lost = |sim: &Simulation| [a, b].iter().any(|n| state(sim, *n) == C::Failed);
        let lost = sim.run_until(1_800_000, lost);
        let seconds = (sim.elapsed_ms() - before) / 1000;
        assert!(
            !lost,
            "seed {seed} after {seconds} s: {:?}",
            Log::of(&mut sim, a).errors
        );
        // An idle connection costs almost nothing.
        for node in [a, b] {
            let per_second = sim.timeouts(node) / seconds;
            assert!(per_second < 10, "{per_second} timeouts a second when idle");
        }
    }
}

/// Returns when a peer entered each state, in milliseconds after `from`.
fn times(sim: &mut Simulation, node: Node, from: u64, wanted: &[C], patience: u64) -> Vec<u64> {
    let mut at = vec![];
    for state_wanted in wanted {
        let reached = sim.run_until(patience, |sim| state(sim, node) == *state_wanted);
        assert!(reached, "never {state_wanted}: {:?}", sim.peer(node));
        at.push(sim.elapsed_ms() - from);
    }
    at
}

#[test]
fn a_peer_that_vanishes_is_noticed_at_the_configured_times() {
    let mut fast = PeerConfig::default();
    fast.timing.disconnected = std::time::Duration::from_secs(2);
    fast.timing.failed = std::time::Duration::from_secs(8);
    fast.timing.closed = std::time::Duration::from_secs(5);
    fast.timing.keepalive = std::time::Duration::from_millis(500);
    for (config, at) in [
        (PeerConfig::default(), [5_000_u64, 30_000, 90_000]),
        (fast, [2_000, 10_000, 15_000]),
    ] {
        let mut sim = Simulation::new(1, Link::default());
        let config = config.restart_after_disconnected(None);
        let (a, b) = sim.pair_with(config.clone(), config);
        let (channel, _) = pair_with_channel(&mut sim, a, b);
        sim.with(b, |_, _| ());
        sim.unplug(b, true);
        sim.with(a, |p, now| p.send_binary(channel, &[0; 100_000], now))
            .unwrap();
        let from = sim.elapsed_ms();
        let got = times(
            &mut sim,
            a,
            from,
            &[C::Disconnected, C::Failed, C::Closed],
            200_000,
        );
        for (got, at) in got.iter().zip(at) {
            // The last packet was received up to one keepalive interval earlier.
            assert!(
                (at.saturating_sub(2_100)..=at + 100).contains(got),
                "{got} for {at}"
            );
        }
        let log = Log::of(&mut sim, a);
        assert_eq!(log.states, [C::Disconnected, C::Failed, C::Closed]);
        assert_eq!(log.errors.len(), 1, "{:?}", log.errors);
        assert_eq!(log.closed, [channel]);
        assert_freed(&mut sim, a);
    }
}

/// A closed peer holds no memory and has no deadline.
fn assert_freed(sim: &mut Simulation, node: Node) {
    let now = sim.now();
    let peer = sim.peer(node);
    assert!(peer.is_closed());
    assert_eq!(peer.signaling_state(), SignalingState::Closed);
    assert_eq!(peer.ice_connection_state(), IceConnectionState::Closed);
    assert_eq!(peer.channels(), []);
    assert_eq!(peer.total_buffered_amount(), 0);
    assert_eq!(peer.validated_addresses().count(), 0, "addresses are kept");
    let counts = peer.stats().candidates;
    assert_eq!((counts.local_held, counts.remote_held), (0, 0));
    assert_eq!(peer.local_description(), None);
    assert_eq!(peer.remote_description(), None);
    let heard = sim.with(node, |p, now| p.handle_input(Input::Timeout(now)));
    assert_eq!(heard, Err(PeerError::Closed));
    sim.with(node, |p, _| {
        assert!(matches!(p.poll_output(), Output::Timeout(None)));
        assert_eq!(p.restart_ice(now), Err(PeerError::Closed));
        assert!(p.create_offer(now).is_err());
        p.close(now);
    });
}

#[test]
fn unplugged_for_less_than_half_a_minute() {
    for seconds in [3, 8, 15, 25] {
        let mut sim = Simulation::new(2, Link::default().loss(0.05));
        let (a, b) = sim.pair();
        let (ca, cb) = pair_with_channel(&mut sim, a, b);
        sim.unplug(b, true);
        for n in 0..20u8 {
            sim.with(a, |p, now| p.send_binary(ca, &[n; 500], now))
                .unwrap();
        }
        sim.run_for(seconds * 1_000);
        sim.unplug(b, false);
        let back = sim.run_until(10_000, |sim| {
            [a, b].iter().all(|n| state(sim, *n) == C::Connected)
        });
        assert!(back, "{seconds} s: {:?} {:?}", sim.peer(a), sim.peer(b));
        sim.run_for(120_000);
        let log = Log::of(&mut sim, b);
        let got: Vec<u8> = log.on(cb).iter().map(|m| m.as_bytes()[0]).collect();
        assert_eq!(got, (0..20).collect::<Vec<u8>>(), "{seconds} s");
        assert_eq!(
            log.states.contains(&C::Disconnected),
            seconds > 6,
            "{seconds} s"
        );
        assert!(!log.states.contains(&C::Failed));
    }
}

#[test]
fn an_ice_restart_brings_a_failed_connection_back() {
    for restarter in [0, 1] {
        let mut sim = Simulation::new(3, Link::default());
        let config = PeerConfig::default().restart_after_disconnected(None);
        let (a, b) = sim.pair_with(config.clone(), config);
        let (ca, cb) = pair_with_channel(&mut sim, a, b);
        sim.unplug(b, true);
        for n in 0..20u8 {
            sim.with(a, |p, now| p.send_binary(ca, &[n; 3_000], now))
                .unwrap();
        }
        sim.run_for(45_000);
        assert_eq!((state(&sim, a), state(&sim, b)), (C::Failed, C::Failed));
        sim.unplug(b, false);
        sim.run_for(5_000);
        assert_eq!((state(&sim, a), state(&sim, b)), (C::Failed, C::Failed));
        sim.with([a, b][restarter], |p, now| p.restart_ice(now))
            .unwrap();
        connected(&mut sim, a, b);
        sim.with(b, |p, now| p.send_text(cb, "back", now)).unwrap();
        sim.run_for(200_000);
        let log = Log::of(&mut sim, b);
        let got: Vec<u8> = log.on(cb).iter().map(|m| m.as_bytes()[0]).collect();
        assert_eq!(got, (0..20).collect::<Vec<u8>>());
        assert_eq!(Log::of(&mut sim, a).on(ca).len(), 1);
        assert_eq!(
            (state(&sim, a), state(&sim, b)),
            (C::Connected, C::Connected)
        );
    }
}

fn is_stun(contents: &[u8]) -> bool {
    contents[0] < 4
}

/// RFC 7675: received data is no consent to send.
#[test]
fn consent_is_lost_although_data_comes() {
    let mut sim = Simulation::new(4, Link::default());
    let config = PeerConfig::default().restart_after_disconnected(None);
    let (a, b) = sim.pair_with(config.clone(), config);
    let (ca, cb) = pair_with_channel(&mut sim, a, b);
    let from_b = sim.address(b);
    sim.set_filter(move |t| !(t.source == from_b && is_stun(&t.contents)));
    let from = sim.elapsed_ms();
    while state(&sim, a) == C::Connected && sim.elapsed_ms() < from + 60_000 {
        sim.with(b, |p, now| p.send_text(cb, "still here", now))
            .unwrap();
        sim.run_for(200);
    }
    let after = sim.elapsed_ms() - from;
    assert_eq!(state(&sim, a), C::Failed);
    assert!((27_000..=31_000).contains(&after), "{after} ms");
    let log = Log::of(&mut sim, a);
    assert!(log.on(ca).len() > 100);
    // From here on only checks are sent to that address.
    sim.record();
    let _ = sim.with(a, |p, now| p.send_text(ca, "no", now));
    sim.run_for(5_000);
    let from_a = sim.address(a);
    let sent = sim.recorded();
    assert!(
        sent.iter()
            .filter(|t| t.source == from_a)
            .all(|t| is_stun(&t.contents))
    );
}

#[test]
fn a_handshake_that_does_not_come_about() {
    let mut sim = Simulation::new(5, Link::default());
    let (a, b) = sim.pair();
    create(&mut sim, a, ChannelConfig::new("x"));
    sim.set_filter(|t| is_stun(&t.contents));
    let up = |sim: &Simulation| {
        matches!(
            sim.peer(a).ice_connection_state(),
            IceConnectionState::Connected | IceConnectionState::Completed
        )
    };
    assert!(sim.run_until(5_000, up));
    let from = sim.elapsed_ms();
    let got = times(&mut sim, a, from, &[C::Failed, C::Closed], 100_000);
    assert!((29_900..=30_100).contains(&got[0]), "{got:?}");
    assert!((40_000..=91_000).contains(&got[1]), "{got:?}");
    let log = Log::of(&mut sim, a);
    assert!(log.errors[0].contains("DTLS handshake"), "{:?}", log.errors);
    assert_eq!(log.errors.len(), 1, "{:?}", log.errors);
    sim.run_for(5_000);
    assert_freed(&mut sim, a);
    assert_freed(&mut sim, b);
}

#[test]
fn closing_is_heard_by_the_other_side_and_frees_both() {
    for (seed, closer) in [(6, 0), (7, 1)] {
        let mut sim = Simulation::new(seed, Link::default());
        let (a, b) = sim.pair();
        pair_with_channel(&mut sim, a, b);
        sim.with([a, b][closer], |p, now| p.close(now));
        assert_freed(&mut sim, [a, b][closer]);
        let other = [b, a][closer];
        let heard = sim.run_until(2_000, |sim| sim.peer(other).is_closed());
        assert!(heard, "{:?}", sim.peer(other));
        let log = Log::of(&mut sim, other);
        assert!(
            log.errors.is_empty(),
            "a normal close is no error: {:?}",
            log.errors
        );
        assert_eq!(log.states.last(), Some(&C::Closed));
        assert_freed(&mut sim, other);
    }
    // Before negotiation, and during connection establishment.
    for wait in [0, 5, 20, 40, 60] {
        let mut sim = Simulation::new(8, Link::default());
        let (a, b) = sim.pair();
        create(&mut sim, a, ChannelConfig::new("x"));
        sim.run_for(wait);
        sim.with(a, |p, now| p.close(now));
        assert_freed(&mut sim, a);
        sim.run_for(200_000);
        let left = state(&sim, b);
        assert!(
            left == C::New || left == C::Closed,
            "after {wait} ms: {left}"
        );
    }
}

/// A drain that exceeds its bound closes that peer with an error, and no other.
#[test]
fn a_drain_over_its_bound_closes_the_peer() {
    let mut limits = Limits::default();
    limits.max_drain = 3;
    let mut sim = Simulation::new(9, Link::default());
    let (a, b) = sim.pair_with(PeerConfig::default().limits(limits), PeerConfig::default());
    let channel = create(&mut sim, a, ChannelConfig::new("x"));
    sim.run_for(3_000);
    if !sim.peer(a).is_closed() {
        let _ = sim.with(a, |p, now| p.send_binary(channel, &[0; 200_000], now));
        sim.run_for(10_000);
    }
    assert!(sim.peer(a).is_closed());
    let log = Log::of(&mut sim, a);
    let is_core = |e: &PeerEvent| matches!(e, PeerEvent::Error(PeerError::Core(_)));
    assert!(log.all.iter().any(is_core), "{:?}", log.errors);
    assert_freed(&mut sim, a);
    assert!(!sim.peer(b).is_closed());
    sim.run_for(200_000);
    assert_freed(&mut sim, b);
}

/// For any order of the caller's times, and any number of calls.
#[test]
fn time_that_stands_still_or_goes_back() {
    let mut sim = Simulation::new(10, Link::default());
    let (a, b) = sim.pair();
    let (ca, _): (ChannelId, _) = pair_with_channel(&mut sim, a, b);
    let now = sim.now();
    sim.with(a, |p: &mut Peer, _| {
        for back in [0, 1, 1_000] {
            let then = now
                .checked_sub(std::time::Duration::from_millis(back))
                .unwrap();
            for _ in 0..100 {
                p.handle_input(Input::Timeout(then)).unwrap();
                p.send_text(ca, "x", then).unwrap();
                loop {
                    if let Output::Timeout(at) = p.poll_output() {
                        assert!(at.is_some_and(|at| at > now));
                        break;
                    }
                }
            }
        }
    });
    sim.run_for(5_000);
    assert_eq!(state(&sim, a), C::Connected);
}
