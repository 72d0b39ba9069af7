//! What silence means, and what brings a connection back.

use looprtc::proto::peer::ConnectionState;
use looprtc::testing::{Link, Simulation};

use crate::common::{Log, pair_with_channel, state};

#[test]
fn an_idle_connection_stays_up_on_a_bad_network() {
    for seed in 0..20 {
        let link = Link::default().loss(0.2).duplicate(0.05).delay(40, 60);
        let mut sim = Simulation::new(seed, link);
        let (a, b) = sim.pair();
        pair_with_channel(&mut sim, a, b);
        let before = sim.elapsed_ms();
        let is_up = |sim: &Simulation| {
            [a, b]
                .iter()
                .all(|n| state(sim, *n) == ConnectionState::Connected)
        };
        sim.run_until(1_800_000, |sim| {
            [a, b]
                .iter()
                .any(|n| state(sim, *n) == ConnectionState::Failed)
        });
        assert!(
            is_up(&sim),
            "seed {seed} after {} s: {:?} {:?}",
            (sim.elapsed_ms() - before) / 1000,
            Log::of(&mut sim, a),
            Log::of(&mut sim, b)
        );
    }
}
