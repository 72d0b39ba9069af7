//! A peer's memory is bounded whatever the remote peer sends. Alone in its process, because it measures that.

#![cfg(target_os = "linux")]

use looprtc::proto::peer::{
    ChannelConfig, ConnectionState, IceCandidateInit, PeerConfig, PeerError, SessionDescription,
};
use looprtc::testing::{Link, Node, Simulation};

/// One test at a time: each measures the whole process.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Resident memory of this process, in KiB.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status
        .lines()
        .find(|l| l.starts_with("VmRSS:"))
        .expect("VmRSS");
    let number = line.split_ascii_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}

fn connect(sim: &mut Simulation, a: Node, b: Node) {
    let up = |sim: &Simulation| {
        [a, b]
            .iter()
            .all(|n| sim.peer(*n).connection_state() == ConnectionState::Connected)
    };
    assert!(sim.run_until(60_000, up));
    sim.run_for(2_000);
}

fn drain(sim: &mut Simulation, node: Node) {
    while sim.next_event(node).is_some() {}
}

/// Runs it once to warm up, then many times; returns the memory used by the latter, in KiB.
fn growth(times: usize, mut f: impl FnMut()) -> i64 {
    for _ in 0..times / 10 {
        f();
    }
    let before = resident();
    for _ in 0..times {
        f();
    }
    resident() - before
}

#[test]
fn floods_do_not_grow_a_peer() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let mut sim = Simulation::new(1, Link::default());
    let (a, b) = sim.pair();
    let first = sim
        .with(a, |p, now| {
            p.create_data_channel(ChannelConfig::new("x"), now)
        })
        .unwrap();
    connect(&mut sim, a, b);

    let mut n = 0u32;
    let candidates = growth(100_000, || {
        n += 1;
        let ip = std::net::Ipv4Addr::from(0x0B00_0000 + n);
        let mut c = IceCandidateInit::new(format!("candidate:1 1 udp 5 {ip} 9 typ host"));
        c.username_fragment = Some(format!("ufrag{}", n % 50));
        sim.with(a, |p, now| p.add_ice_candidate(Some(&c), now))
            .unwrap();
    });
    drain(&mut sim, a);

    let junk = "v=0\r\n".repeat(1_000);
    let descriptions = growth(3_000, || {
        let bad = SessionDescription::offer(junk.clone());
        assert!(sim.with(b, |p, now| p.receive(bad, now)).is_err());
        let large = SessionDescription::offer("x".repeat(300_000));
        let refused = sim.with(b, |p, now| p.receive(large, now));
        assert!(matches!(refused, Err(PeerError::LimitReached { .. })));
    });

    let offers = growth(300, || {
        let offer = sim.with(a, |p, now| p.negotiate(now)).unwrap();
        let answer = sim
            .with(b, |p, now| p.receive(offer, now))
            .unwrap()
            .unwrap();
        sim.with(a, |p, now| p.receive(answer, now)).unwrap();
        drain(&mut sim, a);
        drain(&mut sim, b);
    });

    let restarts = growth(300, || {
        sim.with(a, |p, now| p.restart_ice(now)).unwrap();
        sim.run_for(300);
        drain(&mut sim, a);
        drain(&mut sim, b);
    });

    let channels = growth(500, || {
        let id = sim
            .with(a, |p, now| {
                p.create_data_channel(ChannelConfig::new("y"), now)
            })
            .unwrap();
        sim.run_for(200);
        sim.with(a, |p, now| p.close_data_channel(id, now)).unwrap();
        sim.run_for(300);
        drain(&mut sim, a);
        drain(&mut sim, b);
    });
    assert_eq!(sim.peer(a).channels(), [first]);

    let junk = growth(100_000, || {
        let from = sim.address(a);
        sim.forge(from, b, vec![23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9, 0, 1, 7]);
        sim.forge(([9, 9, 9, 9], 9).into(), b, vec![22; 1_200]);
        sim.run_for(1);
    });

    sim.with(a, |p, now| p.send_text(first, "still there", now))
        .unwrap();
    sim.run_for(1_000);
    assert_eq!(sim.peer(a).total_buffered_amount(), 0);

    println!(
        "KiB: candidates {candidates}, bad descriptions {descriptions}, offers {offers}, \
         restarts {restarts}, channels {channels}, junk {junk}"
    );
    let taken = [candidates, descriptions, offers, restarts, channels, junk];
    assert!(taken.iter().all(|kib| *kib < 1_500), "{taken:?} KiB");
}

#[test]
fn peers_that_are_gone_are_gone() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let one = || {
        let mut sim = Simulation::new(2, Link::default());
        let config = PeerConfig::default();
        let (a, b) = sim.pair_with(config.clone(), config);
        let channel = sim
            .with(a, |p, now| {
                p.create_data_channel(ChannelConfig::new("x"), now)
            })
            .unwrap();
        connect(&mut sim, a, b);
        sim.with(a, |p, now| p.send_binary(channel, &[0; 200_000], now))
            .unwrap();
        sim.with(a, |p, now| p.close(now));
        sim.run_for(10_000);
        assert!(sim.peer(b).is_closed());
    };
    let kib = growth(150, one);
    println!("150 pairs, gone: {kib} KiB");
    assert!(kib < 3_000, "{kib} KiB left of 150 pairs");
}
