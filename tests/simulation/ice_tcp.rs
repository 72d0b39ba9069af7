//! ICE-TCP where no UDP gets through, on modelled connections: every pair of NATs by which two may meet, with many
//! seeds, on good and bad networks; and what befalls a session. `LOOPRTC_SEEDS=1000` runs so many of each pair,
//! `LOOPRTC_SEED=17` one of them again.

use std::net::SocketAddr;
use std::ops::Range;

use looprtc::proto::ice::{CandidateType, IceServer, IceTcp};
use looprtc::proto::net::Protocol;
use looprtc::proto::peer::{ChannelId, ConnectionState, Message, PeerConfig, PeerEvent};
use looprtc::testing::{Link, NatKind, Node, Simulation};

use crate::common::{Log, pair_with_channel, state};

const SERVER: &str = "198.51.100.2:3478";

fn seeds(default: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    match (number("LOOPRTC_SEED"), number("LOOPRTC_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..default,
    }
}

fn link(seed: u64) -> Link {
    match seed % 2 {
        0 => Link::default(),
        _ => Link::default().loss(0.1).delay(40, 20),
    }
}

/// Two peers between which no UDP passes.
fn pair(seed: u64, link: Link, kinds: [Option<NatKind>; 2], tcp: [IceTcp; 2]) -> Met {
    let mut sim = Simulation::new(seed, link);
    sim.set_filter(|transmit| transmit.protocol != Protocol::Udp);
    sim.add_stun_server(SERVER.parse().unwrap());
    let config = |tcp| {
        let servers = vec![IceServer::stun(format!("stun:{SERVER}?transport=tcp"))];
        PeerConfig::default().ice_tcp(tcp).ice_servers(servers)
    };
    let (a, b) = sim.pair_with(config(tcp[0]), config(tcp[1]));
    for (node, kind) in [a, b].into_iter().zip(kinds) {
        if let Some(kind) = kind {
            sim.set_nat(node, kind);
        }
    }
    let nodes = [a, b];
    Met { sim, nodes }
}

struct Met {
    sim: Simulation,
    nodes: [Node; 2],
}

impl Met {
    /// Sends this many messages from each side; all arrive, once and in order.
    fn talk(&mut self, channels: [ChannelId; 2], count: usize) {
        let text = |n: usize| format!("message {n}");
        for n in 0..count {
            for side in [0, 1] {
                let sent = self.sim.with(self.nodes[side], |p, now| {
                    p.send_text(channels[side], &text(n), now)
                });
                sent.expect("the channel is open");
            }
            self.sim.run_for(20);
        }
        let mut got: [Vec<Message>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..1200 {
            for side in [0, 1] {
                let log = Log::of(&mut self.sim, self.nodes[side]);
                got[side].extend(log.on(channels[side]).to_vec());
            }
            if got.iter().all(|g| g.len() >= count) {
                break;
            }
            self.sim.run_for(100);
        }
        let all: Vec<_> = (0..count).map(|n| Message::Text(text(n))).collect();
        assert_eq!(
            got,
            [all.clone(), all],
            "after {} ms",
            self.sim.elapsed_ms()
        );
    }

    fn path(&self, side: usize) -> (SocketAddr, SocketAddr) {
        let path = self.sim.peer(self.nodes[side]).stats().path;
        path.expect("data has been sent")
    }
}

/// The pairs that can connect: one side must accept connections.
const PAIRS: [[Option<NatKind>; 2]; 6] = [
    [None, None],
    [None, Some(NatKind::UdpBlocked)],
    [Some(NatKind::Symmetric), None],
    [Some(NatKind::FullCone), Some(NatKind::UdpBlocked)],
    [Some(NatKind::PortRestricted), Some(NatKind::FullCone)],
    [Some(NatKind::FullCone), Some(NatKind::FullCone)],
];

#[test]
fn behind_nats_of_every_kind() {
    for kinds in PAIRS {
        let mut times = Vec::new();
        for seed in seeds(10) {
            let mut met = pair(seed, link(seed), kinds, [IceTcp::Both; 2]);
            let [a, b] = met.nodes;
            let (on_a, on_b) = pair_with_channel(&mut met.sim, a, b);
            times.push(met.sim.elapsed_ms());
            met.talk([on_a, on_b], 20);
            for side in [0, 1] {
                let (_, remote) = met.path(side);
                let is_nat = remote.ip().to_string().starts_with("203.0.113.");
                assert_eq!(is_nat, kinds[1 - side].is_some(), "seed {seed} {kinds:?}");
            }
            // No busy loop: the number of wakeups in a quiet time is limited.
            let before = met.nodes.map(|n| met.sim.timeouts(n));
            met.sim.run_for(10_000);
            for (node, before) in met.nodes.into_iter().zip(before) {
                let woken = met.sim.timeouts(node) - before;
                assert!(woken < 1000, "seed {seed} {kinds:?}: {woken} timeouts");
            }
        }
        times.sort_unstable();
        println!(
            "{kinds:?}: median {} ms, slowest {} ms of {}",
            times[times.len() / 2],
            times[times.len() - 1],
            times.len()
        );
    }
}

#[test]
fn where_nobody_is_let_in_they_do_not_meet() {
    for kinds in [
        [Some(NatKind::PortRestricted); 2],
        [Some(NatKind::Tcp443), Some(NatKind::FullCone)],
    ] {
        let mut met = pair(1, Link::default(), kinds, [IceTcp::Both; 2]);
        let a = met.nodes[0];
        crate::common::create(
            &mut met.sim,
            a,
            looprtc::proto::peer::ChannelConfig::new("data"),
        );
        let up = |sim: &Simulation| state(sim, a) == ConnectionState::Connected;
        assert!(!met.sim.run_until(60_000, up), "{kinds:?}");
        assert!(
            Log::of(&mut met.sim, a)
                .states
                .contains(&ConnectionState::Failed)
        );
    }
}

/// Also if each side plays only one role.
#[test]
fn one_connects_and_the_other_is_connected_to() {
    for tcp in [
        [IceTcp::Active, IceTcp::Passive],
        [IceTcp::Passive, IceTcp::Active],
    ] {
        for seed in seeds(4) {
            let mut met = pair(seed, link(seed), [None, None], tcp);
            let [a, b] = met.nodes;
            let (on_a, on_b) = pair_with_channel(&mut met.sim, a, b);
            met.talk([on_a, on_b], 20);
        }
    }
}

#[test]
fn what_the_server_has_seen_is_signalled() {
    let kinds = [Some(NatKind::FullCone), Some(NatKind::UdpBlocked)];
    let mut met = pair(1, Link::default(), kinds, [IceTcp::Both; 2]);
    let a = met.nodes[0];
    let config = looprtc::proto::peer::ChannelConfig::new("data");
    crate::common::create(&mut met.sim, a, config);
    met.sim.run_for(5_000);
    let log = Log::of(&mut met.sim, a);
    let found = log.all.iter().find_map(|e| match e {
        PeerEvent::IceCandidate(Some(c)) if c.typ == CandidateType::ServerReflexive => Some(c),
        _ => None,
    });
    let line = found.expect("a candidate").to_sdp_line();
    let end = "203.0.113.1 30000 typ srflx raddr 10.0.0.1 rport 7000 tcptype passive";
    assert!(line.ends_with(end), "{line}");
}

/// An outage that connections survive, one that they do not, another address, a suspend, and restarts: no message is
/// lost.
#[test]
fn a_session_goes_on() {
    for seed in seeds(6) {
        let mut met = pair(seed, link(seed), [None, None], [IceTcp::Both; 2]);
        let [a, b] = met.nodes;
        let (on_a, on_b) = pair_with_channel(&mut met.sim, a, b);
        let channels = [on_a, on_b];
        met.talk(channels, 5);
        for seconds in [3, 20] {
            met.sim.unplug(a, true);
            met.sim.run_for(seconds * 1000);
            met.sim.unplug(a, false);
            met.talk(channels, 5);
        }
        met.sim.readdress(b);
        met.talk(channels, 5);
        assert_ne!(met.path(0).1.ip().to_string(), "10.0.0.2", "seed {seed}");
        met.sim.wake(a);
        met.talk(channels, 5);
        for node in [a, b, a] {
            met.sim.with(node, |p, now| p.restart_ice(now)).unwrap();
            met.talk(channels, 5);
        }
    }
}
