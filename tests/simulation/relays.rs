//! Every kind of NAT on both sides, with a STUN and TURN server that others wrote: the same matrix as
//! `tests/nat`, on the virtual clock, with many seeds.
//!
//! `LOOPRTC_SEED=17 cargo test --test simulation behind_nats` runs one of them; `LOOPRTC_SEEDS=1000` so many
//! for each pair of kinds.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::panic::{catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use looprtc::proto::ice::IceServer;
use looprtc::proto::net::{Protocol, Received, Transmit};
use looprtc::proto::peer::{ChannelConfig, PeerConfig};
use looprtc::testing::{Link, NatKind, Node, Server, Simulation};
use turn_server_proto::api::{
    SocketAllocateError, Transmit as Wire, TurnServerApi, TurnServerPollRet,
};
use turn_server_proto::server::TurnServer;
use turn_server_proto::stun::Instant as Time;
use turn_server_proto::types::AddressFamily;
use turn_server_proto::types::prelude::DelayedTransmitBuild;
use turn_server_proto::types::stun::TransportType;

use crate::common::{Log, pair_with_channel};

const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

/// The server: UDP and TCP on 3478, TCP (in place of TLS) on 443.
struct Turn {
    listening: Vec<TurnServer>,
    relayed: HashSet<SocketAddr>,
    allocations: usize,
    next_port: u16,
    out: VecDeque<Transmit>,
    start: Instant,
    deadline: Option<Instant>,
}

/// Shared with the test, which inspects its state at the end.
#[derive(Clone)]
struct Shared(Rc<RefCell<Turn>>);

impl Turn {
    fn new(now: Instant) -> Self {
        let listen = |transport, port| {
            let address = SocketAddr::new(IP, port);
            let mut server = TurnServer::new(transport, address, "simulated".into());
            server.add_user("me".into(), "secret".into());
            server
        };
        Self {
            listening: vec![
                listen(TransportType::Udp, 3478),
                listen(TransportType::Tcp, 3478),
                listen(TransportType::Tcp, 443),
            ],
            relayed: HashSet::new(),
            allocations: 0,
            next_port: 50_000,
            out: VecDeque::new(),
            start: now,
            deadline: None,
        }
    }

    fn time(&self, now: Instant) -> Time {
        let nanos = (now - self.start).as_nanos();
        Time::from_nanos(i64::try_from(nanos).expect("a simulation ends before"))
    }

    fn push(&mut self, mut wire: Wire<Vec<u8>>) {
        if wire.transport == TransportType::Tcp && is_channel_data(&wire.data) {
            // RFC 8656 §12.5; this server neither writes nor accepts the padding (docs/upstream.md).
            let padded = wire.data.len().next_multiple_of(4);
            wire.data.resize(padded, 0);
        }
        let protocol = match wire.transport {
            TransportType::Udp => Protocol::Udp,
            TransportType::Tcp => Protocol::Tcp,
        };
        self.out.push_back(Transmit {
            protocol,
            source: wire.from,
            destination: wire.to,
            contents: wire.data,
        });
    }

    fn allocate(&mut self, family: AddressFamily) -> Result<SocketAddr, SocketAllocateError> {
        if family != AddressFamily::IPV4 {
            return Err(SocketAllocateError::AddressFamilyNotSupported);
        }
        self.next_port += 1;
        let address = SocketAddr::new(IP, self.next_port);
        self.relayed.insert(address);
        self.allocations += 1;
        Ok(address)
    }

    /// Lets each do what it wants to do.
    fn drain(&mut self, now: Instant) {
        let time = self.time(now);
        self.deadline = None;
        for index in 0..self.listening.len() {
            loop {
                match self.listening[index].poll(time) {
                    TurnServerPollRet::AllocateSocket {
                        transport,
                        listen_addr,
                        client_addr,
                        allocation_transport,
                        family,
                    } => {
                        let address = self.allocate(family);
                        self.listening[index].allocated_socket(
                            transport,
                            listen_addr,
                            client_addr,
                            allocation_transport,
                            family,
                            address,
                            time,
                        );
                    }
                    TurnServerPollRet::SocketClose { listen_addr, .. } => {
                        self.relayed.remove(&listen_addr);
                    }
                    TurnServerPollRet::TcpConnect { .. } | TurnServerPollRet::TcpClose { .. } => {}
                    TurnServerPollRet::WaitUntil(at) => {
                        let nanos = (at - time).as_nanos().max(1_000_000);
                        let wait = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
                        let at = now + wait;
                        self.deadline = Some(self.deadline.map_or(at, |d| d.min(at)));
                        break;
                    }
                }
            }
            while let Some(wire) = self.listening[index].poll_transmit(time) {
                self.push(wire);
            }
        }
    }
}

fn is_channel_data(message: &[u8]) -> bool {
    message.len() >= 4 && (0x40..=0x4F).contains(&message[0])
}

impl Server for Shared {
    fn has(&self, address: SocketAddr) -> bool {
        address.ip() == IP
    }

    fn receive(&mut self, received: &Received<'_>, now: Instant) {
        let mut turn = self.0.borrow_mut();
        let time = turn.time(now);
        let transport = match received.protocol {
            Protocol::Udp => TransportType::Udp,
            _ => TransportType::Tcp,
        };
        let to = received.destination;
        let is_relayed = turn.relayed.contains(&to);
        for index in 0..turn.listening.len() {
            let server = &turn.listening[index];
            if !is_relayed && (server.listen_address(), server.transport()) != (to, transport) {
                continue;
            }
            let mut contents = received.contents.to_vec();
            if transport == TransportType::Tcp && is_channel_data(&contents) {
                contents.truncate(4 + usize::from(u16::from_be_bytes([contents[2], contents[3]])));
            }
            let wire = Wire::new(contents, transport, received.source, to);
            if let Some(answer) = turn.listening[index].recv(wire, time) {
                let (transport, from, to) = (answer.transport, answer.from, answer.to);
                let contents = answer.data.build();
                turn.push(Wire::new(contents, transport, from, to));
            }
        }
        turn.drain(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.0.borrow_mut().drain(now);
    }

    fn poll_transmit(&mut self, _now: Instant) -> Option<Transmit> {
        self.0.borrow_mut().out.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.borrow().deadline
    }
}

const KINDS: [Option<NatKind>; 6] = [
    None,
    Some(NatKind::FullCone),
    Some(NatKind::PortRestricted),
    Some(NatKind::Symmetric),
    Some(NatKind::UdpBlocked),
    Some(NatKind::Tcp443),
];

/// Returns the number of relays that the path must have.
fn relays_between(a: Option<NatKind>, b: Option<NatKind>) -> usize {
    let blocked = |k| matches!(k, Some(NatKind::UdpBlocked | NatKind::Tcp443));
    let picky = |k| matches!(k, Some(NatKind::PortRestricted | NatKind::Symmetric));
    let changing = |k| k == Some(NatKind::Symmetric);
    match usize::from(blocked(a)) + usize::from(blocked(b)) {
        0 => usize::from(changing(a) && picky(b) || changing(b) && picky(a)),
        n => n,
    }
}

struct Met {
    sim: Simulation,
    nodes: [Node; 2],
    turn: Shared,
}

fn meet(seed: u64, link: Link, kinds: [Option<NatKind>; 2]) -> Met {
    let mut sim = Simulation::new(seed, link);
    let turn = Shared(Rc::new(RefCell::new(Turn::new(sim.now()))));
    sim.add_server(turn.clone());
    // This TURN server sends its responses to Binding requests to itself (docs/upstream.md).
    let stun = SocketAddr::from(([198, 51, 100, 2], 3478));
    sim.add_stun_server(stun);
    let server = |url: &str| IceServer::turn(url.to_owned(), "me", "secret");
    let config = PeerConfig::default().ice_servers(vec![
        IceServer::stun(format!("stun:{stun}")),
        server(&format!("turn:{IP}")),
        server(&format!("turn:{IP}?transport=tcp")),
        server(&format!("turns:{IP}:443?transport=tcp")),
    ]);
    let (a, b) = sim.pair_with(config.clone(), config);
    for (node, kind) in [a, b].into_iter().zip(kinds) {
        if let Some(kind) = kind {
            sim.set_nat(node, kind);
        }
    }
    let nodes = [a, b];
    Met { sim, nodes, turn }
}

impl Met {
    /// Sends data in both directions.
    fn echo(&mut self, channels: [looprtc::proto::peer::ChannelId; 2], text: &str) {
        for (from, to) in [(0, 1), (1, 0)] {
            let node = self.nodes[from];
            let sent = self
                .sim
                .with(node, |p, now| p.send_text(channels[from], text, now));
            sent.expect("the channel is open");
            let mut arrived = false;
            for _ in 0..1200 {
                self.sim.run_for(50);
                let log = Log::of(&mut self.sim, self.nodes[to]);
                arrived |= !log.on(channels[to]).is_empty();
                if arrived {
                    break;
                }
            }
            assert!(arrived, "{text} from {from} did not arrive");
        }
    }

    /// The relays used by the data of each side. Both may use one relay, not necessarily the same.
    fn relays(&self) -> [usize; 2] {
        self.nodes.map(|node| {
            let path = self.sim.peer(node).stats().path;
            let (local, remote) = path.expect("data has been sent");
            usize::from(local.ip() == IP) + usize::from(remote.ip() == IP)
        })
    }
}

/// Runs one session from beginning to end; returns the simulated time to connect, in milliseconds.
fn session(seed: u64, link: Link, kinds: [Option<NatKind>; 2]) -> u64 {
    let is_lossy = link.loss > 0.0;
    let mut met = meet(seed, link, kinds);
    let [a, b] = met.nodes;
    let (on_a, on_b) = pair_with_channel(&mut met.sim, a, b);
    let time = met.sim.elapsed_ms();
    // The best path is found eventually; the data sent over it then is checked.
    let expected = relays_between(kinds[0], kinds[1]);
    let both = [expected; 2];
    for n in 0..20 {
        met.echo([on_a, on_b], &format!("message {n}"));
        if met.relays() == both {
            break;
        }
        met.sim.run_for(1000);
    }
    assert_eq!(met.relays(), both, "relays in the path of {kinds:?}");
    // No busy loop: the number of wakeups in a quiet time is limited.
    let before: u64 = met.nodes.iter().map(|n| met.sim.timeouts(*n)).sum();
    met.sim.run_for(20_000);
    let timeouts = met.nodes.iter().map(|n| met.sim.timeouts(*n)).sum::<u64>() - before;
    assert!(timeouts < 5000, "{timeouts} timeouts in 20 s");
    met.echo([on_a, on_b], "later");
    for node in met.nodes {
        met.sim.with(node, |peer, now| peer.close(now));
    }
    met.sim.run_for(10_000);
    if is_lossy {
        // An allocation whose first response was lost has no owner: if the server answers the repeated request with
        // 437, the client uses another port, and the first allocation expires (10 min).
        met.sim.run_for(610_000);
    }
    let turn = met.turn.0.borrow();
    assert!(expected == 0 || turn.allocations >= expected);
    let left = &turn.relayed;
    assert!(
        left.is_empty(),
        "of {} allocations {left:?} are left",
        turn.allocations
    );
    time
}

#[test]
fn behind_nats_of_every_kind() {
    let count = number("LOOPRTC_SEEDS").unwrap_or(4);
    let seeds = number("LOOPRTC_SEED").map_or(0..count, |seed| seed..seed + 1);
    let pairs: Vec<_> = KINDS
        .into_iter()
        .flat_map(|a| KINDS.map(|b| [a, b]))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(kinds) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
            every_seed(seeds.clone(), *kinds);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            thread.join().expect("every session");
        }
    });
}

fn every_seed(seeds: Range<u64>, kinds: [Option<NatKind>; 2]) {
    let mut times = Vec::new();
    for seed in seeds {
        // Good and bad networks in turn.
        let link = match seed % 2 {
            0 => Link::default(),
            _ => Link::default().loss(0.05).delay(20, 30),
        };
        match catch_unwind(|| session(seed, link, kinds)) {
            Ok(time) => times.push(time),
            Err(why) => {
                eprintln!(
                    "SEED {seed} FAILED for {kinds:?}; again: LOOPRTC_SEED={seed} cargo test --test simulation behind_nats"
                );
                resume_unwind(why);
            }
        }
    }
    times.sort_unstable();
    let (median, last) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{kinds:?}: {median} ms, at most {last} ms");
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|e| panic!("{name}={text}: {e}")),
    )
}

/// A NAT whose mappings expire after 20 s: they are kept alive every 15 s.
#[test]
fn a_nat_that_forgets_soon() {
    let kinds = [Some(NatKind::PortRestricted); 2];
    let mut met = meet(7, Link::default(), kinds);
    for node in met.nodes {
        met.sim.set_mapping_timeout(node, Duration::from_secs(20));
    }
    let [a, b] = met.nodes;
    let (on_a, on_b) = pair_with_channel(&mut met.sim, a, b);
    for minute in 0..10 {
        met.sim.run_for(60_000);
        met.echo([on_a, on_b], &format!("after minute {minute}"));
    }
    assert_eq!(met.relays(), [0, 0]);
}

#[test]
fn a_seed_replays() {
    let trace = || {
        let mut met = meet(3, Link::default().loss(0.1), [Some(NatKind::Symmetric); 2]);
        let [a, b] = met.nodes;
        let config = ChannelConfig::new("data");
        let made = met
            .sim
            .with(a, |peer, now| peer.create_data_channel(config, now));
        made.expect("a channel");
        met.sim.run_for(3000);
        (met.sim.trace(), met.sim.peer(b).stats().datagrams_sent)
    };
    assert_eq!(trace(), trace());
}
