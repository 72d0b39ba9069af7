//! Sources of secrets: the operating system, or the seed of a peer, and nothing else.
//!
//! str0m draws from the thread's `fastrand`, which is seeded from the clock. In these tests that generator has a known
//! state before every action of a peer, as for an attacker who has found out the clock.

use std::collections::HashSet;
use std::time::Duration;

use looprtc::proto::peer::{
    ChannelConfig, Codec, EncodedFrame, MediaKind, PeerConfig, TransceiverConfig,
};
use looprtc::testing::{Link, Node, Simulation};

use crate::common::{connected, create};

/// The known state.
const KNOWN: u64 = 7;

/// Returns how many draws lead from the known state to the present one. What has been seeded otherwise since then
/// is as good as infinitely far away.
fn draws_since_known() -> u64 {
    let now = fastrand::get_seed();
    // One draw adds a constant (wyrand); divided by it modulo 2^64, by Newton's method.
    fastrand::seed(0);
    let _ = fastrand::u64(..);
    let step = fastrand::get_seed();
    let inverse = (0..6).fold(step, |x, _| {
        x.wrapping_mul(2_u64.wrapping_sub(step.wrapping_mul(x)))
    });
    fastrand::seed(now);
    now.wrapping_sub(KNOWN).wrapping_mul(inverse)
}

/// Fails if something was drawn from the known state, and restores that state.
fn nothing_was_drawn(what: &str) {
    let draws = draws_since_known();
    assert!(
        draws == 0 || draws > 1 << 40,
        "{what}: {draws} draws from a generator that was not seeded"
    );
    fastrand::seed(KNOWN);
}

/// A whole lifetime: tracks and a channel in both directions, restarts from both sides, the end. `checked` is called
/// after each step.
fn live(seeded: bool, mut checked: impl FnMut(&str)) -> Vec<String> {
    let mut sim = Simulation::new(1, Link::default());
    if !seeded {
        sim.without_seeds();
    }
    sim.record();
    fastrand::seed(KNOWN);
    let config = || PeerConfig::default().bandwidth_estimation(Some(1_000_000));
    let (a, b) = sim.pair_with(config(), config());
    checked("two new peers");
    let mut said = Vec::new();
    create(&mut sim, a, ChannelConfig::new("data"));
    checked("a channel");
    let tracks = [
        (a, Codec::Vp9, MediaKind::Video),
        (b, Codec::Opus, MediaKind::Audio),
    ]
    .map(|(node, codec, kind)| {
        let config = TransceiverConfig::default().codecs([codec]);
        let id = sim.with(node, |p, now| p.add_track(kind, config, now));
        (node, id.expect("a track"))
    });
    checked("tracks");
    while !sim.run_until(20, |_| {
        checked("connecting");
        false
    }) && sim.elapsed_ms() < 3000
    {}
    connected(&mut sim, a, b);
    describe(&sim, [a, b], &mut said);
    for (node, id) in tracks {
        let frame = EncodedFrame::new(vec![0x9D; 3000], Duration::from_secs(1));
        let _ = sim.with(node, |p, now| p.write_frame(id, &frame, now));
        checked("a frame");
    }
    for node in [a, b] {
        sim.with(node, |p, now| p.restart_ice(now))
            .expect("a restart");
        checked("a restart that is wanted");
        sim.run_until(2000, |_| {
            checked("restarting");
            false
        });
        describe(&sim, [a, b], &mut said);
    }
    sim.with(a, |p, now| p.close(now));
    checked("the end");
    sim.run_until(2000, |_| {
        checked("ending");
        false
    });
    // Transaction ids of STUN.
    for datagram in sim.recorded() {
        if datagram.contents.first().is_some_and(|b| *b < 2) {
            said.push(format!("{:02x?}", &datagram.contents[8..20]));
        }
    }
    said
}

/// Collects the values of the descriptions that must be unpredictable.
fn describe(sim: &Simulation, nodes: [Node; 2], said: &mut Vec<String>) {
    for node in nodes {
        let sdp = sim.peer(node).local_description().expect("one").sdp;
        for line in sdp.lines() {
            let secret = ["a=ice-ufrag:", "a=ice-pwd:", "a=ssrc:", "o="];
            if secret.iter().any(|name| line.starts_with(name)) {
                let line = line.split(" cname").next().unwrap_or(line);
                said.push(line.to_owned());
            }
        }
    }
}

#[test]
fn nothing_is_drawn_from_a_generator_that_others_can_know() {
    live(false, nothing_was_drawn);
    live(true, nothing_was_drawn);
}

#[test]
fn two_lives_under_the_same_clock_share_no_secret() {
    let [one, other] = [(); 2].map(|()| live(false, |_| fastrand::seed(KNOWN)));
    assert!(one.len() > 50, "{one:?}");
    let one: HashSet<String> = one.into_iter().collect();
    let shared: Vec<&String> = other.iter().filter(|v| one.contains(*v)).collect();
    assert!(shared.is_empty(), "{shared:?}");
    // A restart has a new ufrag and password on each side, each time.
    let passwords = other.iter().filter(|v| v.starts_with("a=ice-pwd:"));
    let passwords: HashSet<&String> = passwords.collect();
    assert_eq!(passwords.len(), 6, "{passwords:?}");
    assert!(passwords.iter().all(|p| p.len() >= "a=ice-pwd:".len() + 26));
}

#[test]
fn a_seeded_life_replays_whatever_the_thread_has_drawn() {
    let one = live(true, |_| fastrand::seed(KNOWN));
    let other = live(true, |_| fastrand::seed(KNOWN + 1));
    assert_eq!(one, other);
}
