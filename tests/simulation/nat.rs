//! Peers behind NATs, with a STUN server between them.

use std::net::SocketAddr;

use looprtc::proto::ice::{CandidateType, IceServer};
use looprtc::proto::peer::{ConnectionState, PeerConfig, PeerEvent};
use looprtc::testing::{Link, NatKind, Node, Simulation};

use super::common::{create, state};

const KINDS: [Option<NatKind>; 4] = [
    None,
    Some(NatKind::FullCone),
    Some(NatKind::PortRestricted),
    Some(NatKind::Symmetric),
];

/// Returns `true` if a path can be found with STUN only: a symmetric NAT uses another port for the remote peer than for
/// the server, which the other NAT accepts only if it is open to all.
fn can_meet(a: Option<NatKind>, b: Option<NatKind>) -> bool {
    let picky = |k| matches!(k, Some(NatKind::PortRestricted | NatKind::Symmetric));
    let symmetric = |k| k == Some(NatKind::Symmetric);
    !(symmetric(a) && picky(b) || symmetric(b) && picky(a))
}

fn behind(sim: &mut Simulation, kinds: [Option<NatKind>; 2], stun: bool) -> (Node, Node) {
    let server = SocketAddr::from(([198, 51, 100, 1], 3478));
    sim.add_stun_server(server);
    // A failure must be permanent.
    let mut config = PeerConfig::default().restart_after_disconnected(None);
    if stun {
        config = config.ice_servers(vec![IceServer::stun(format!("stun:{server}"))]);
    }
    let (a, b) = sim.pair_with(config.clone(), config);
    for (node, kind) in [a, b].into_iter().zip(kinds) {
        if let Some(kind) = kind {
            sim.set_nat(node, kind);
        }
    }
    create(sim, a, looprtc::proto::peer::ChannelConfig::new("data"));
    (a, b)
}

fn connects(sim: &mut Simulation, a: Node, b: Node) -> bool {
    let done = |sim: &Simulation| {
        [a, b]
            .iter()
            .all(|n| state(sim, *n) == ConnectionState::Connected)
            || state(sim, a) == ConnectionState::Failed
    };
    assert!(sim.run_until(120_000, done), "neither connected nor failed");
    state(sim, a) == ConnectionState::Connected
}

#[test]
fn every_pair_of_nats() {
    for a in KINDS {
        for b in KINDS {
            let mut sim = Simulation::new(1, Link::default());
            let (na, nb) = behind(&mut sim, [a, b], true);
            assert_eq!(connects(&mut sim, na, nb), can_meet(a, b), "{a:?} {b:?}");
            if can_meet(a, b) {
                println!("{a:?} to {b:?}: {} ms", sim.elapsed_ms());
            }
        }
    }
}

#[test]
fn without_a_server_two_nats_do_not_meet() {
    let mut sim = Simulation::new(1, Link::default());
    let both = [Some(NatKind::FullCone); 2];
    let (a, b) = behind(&mut sim, both, false);
    assert!(!connects(&mut sim, a, b));
}

#[test]
fn many_seeds_with_loss() {
    for seed in 0..100 {
        let mut sim = Simulation::new(seed, Link::default().loss(0.1).delay(20, 20));
        let both = [Some(NatKind::PortRestricted); 2];
        let (a, b) = behind(&mut sim, both, true);
        assert!(connects(&mut sim, a, b), "seed {seed}");
    }
}

#[test]
fn the_candidate_says_what_the_server_saw() {
    let mut sim = Simulation::new(1, Link::default());
    let (a, b) = behind(&mut sim, [Some(NatKind::FullCone), None], true);
    assert!(connects(&mut sim, a, b));
    let events: Vec<_> = std::iter::from_fn(|| sim.next_event(a)).collect();
    let candidate = events.iter().find_map(|e| match e {
        PeerEvent::IceCandidate(Some(c)) if c.typ == CandidateType::ServerReflexive => Some(c),
        _ => None,
    });
    let candidate = candidate.expect("a reflexive candidate");
    assert_eq!(
        candidate.socket_addr().unwrap().to_string(),
        "203.0.113.1:40001"
    );
    assert_eq!(candidate.url.as_deref(), Some("stun:198.51.100.1"));
    assert!(events.contains(&PeerEvent::IceCandidate(None)));
}

#[test]
fn a_server_that_is_not_there_holds_nothing_up() {
    let mut sim = Simulation::new(1, Link::default());
    let config = PeerConfig::default().ice_servers(vec![IceServer::stun("stun:198.51.100.9")]);
    let (a, b) = sim.pair_with(config.clone(), config);
    create(
        &mut sim,
        a,
        looprtc::proto::peer::ChannelConfig::new("data"),
    );
    assert!(connects(&mut sim, a, b));
    assert!(sim.elapsed_ms() < 1000);
    sim.run_for(11_000);
    let events: Vec<_> = std::iter::from_fn(|| sim.next_event(a)).collect();
    let error = events.iter().find_map(|e| match e {
        PeerEvent::IceCandidateError(e) => Some(e.to_string()),
        _ => None,
    });
    let error = error.expect("an error");
    assert!(
        error.starts_with("stun:198.51.100.9: no answer within 10 s"),
        "{error}"
    );
}
