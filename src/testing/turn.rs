//! Our own STUN and TURN server in a simulated network.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Server;
use crate::proto::ice::IceServer;
use crate::proto::net::{Protocol, Received, Transmit};
use crate::server::turn::{
    Cidr, Client, Credentials, Input, Link, Output, PeerPolicy, RelayId, TurnLimits, TurnMachine,
    TurnMachineConfig, TurnStats,
};

const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const ADDRESS: SocketAddr = SocketAddr::new(IP, 3478);

/// A [`TurnMachine`] at `198.51.100.1:3478`, UDP and TCP. Clones are the same server.
///
/// It relays to every address, because those of a simulation are private.
#[derive(Clone)]
pub struct TurnServer(Rc<RefCell<State>>);

struct State {
    machine: TurnMachine,
    relays: HashMap<RelayId, SocketAddr>,
    streams: HashMap<SocketAddr, u64>,
    next_port: u16,
    out: VecDeque<Transmit>,
    deadline: Option<Instant>,
    restarts: u64,
    silent: bool,
}

fn machine(now: Instant, seed: u64) -> TurnMachine {
    let everywhere = Cidr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let peers = everywhere.map_or_else(
        |_| PeerPolicy::default(),
        |all| PeerPolicy::default().allow(all),
    );
    let limits = TurnLimits::default()
        .lifetime(Duration::from_secs(600))
        .max_lifetime(Duration::from_secs(600));
    let config = TurnMachineConfig::default()
        .credentials(Credentials::default().user("me", "secret"))
        .peers(peers)
        .limits(limits)
        .seed(Some(seed));
    TurnMachine::new(config, now, 1_700_000_000)
}

impl TurnServer {
    /// Creates a server without clients.
    pub fn new(now: Instant) -> Self {
        Self(Rc::new(RefCell::new(State {
            machine: machine(now, 0),
            relays: HashMap::new(),
            streams: HashMap::new(),
            next_port: 50_000,
            out: VecDeque::new(),
            deadline: None,
            restarts: 0,
            silent: false,
        })))
    }

    /// Returns the ICE servers to configure a peer with: STUN, and TURN over UDP or TCP.
    pub fn ice_servers(tcp: bool) -> Vec<IceServer> {
        let transport = if tcp { "?transport=tcp" } else { "" };
        let turn = IceServer::turn(format!("turn:{ADDRESS}{transport}"), "me", "secret");
        match tcp {
            true => vec![turn],
            false => vec![IceServer::stun(format!("stun:{ADDRESS}")), turn],
        }
    }

    /// Simulates a restart: all allocations are gone, and nonces have changed.
    pub fn restart(&self, now: Instant) {
        let state = &mut *self.0.borrow_mut();
        state.restarts += 1;
        state.machine = machine(now, state.restarts);
        state.relays.clear();
        state.out.clear();
        state.drain(now);
    }

    /// Makes the server ignore everything, or stops that.
    pub fn set_silent(&self, silent: bool) {
        self.0.borrow_mut().silent = silent;
    }

    /// Returns the number of allocations.
    pub fn allocations(&self) -> usize {
        self.0.borrow().machine.allocations()
    }

    /// Returns the statistics since the start.
    pub fn stats(&self) -> TurnStats {
        self.0.borrow().machine.stats()
    }
}

impl State {
    fn receive(&mut self, received: &Received<'_>, now: Instant) {
        let (from, to) = (received.source, received.destination);
        if to != ADDRESS {
            let found = self.relays.iter().find(|(_, address)| **address == to);
            if let Some(relay) = found.map(|(relay, _)| *relay) {
                let input = Input::Datagram {
                    relay,
                    source: from,
                    contents: received.contents,
                };
                self.machine.handle_input(input, now);
            }
            return self.drain(now);
        }
        let mut contents = received.contents;
        let link = match received.protocol {
            Protocol::Udp => Link::Datagrams(0),
            _ => {
                // Each piece is one message here; the padding of ChannelData (RFC 8656 §12.5) is not part of it.
                if let [0x40..=0x4f, _, high, low, ..] = *contents {
                    let length = 4 + usize::from(u16::from_be_bytes([high, low]));
                    contents = &contents[..length.min(contents.len())];
                }
                let next = self.streams.len() as u64;
                Link::Stream(*self.streams.entry(from).or_insert(next))
            }
        };
        let client = Client {
            link,
            local: to,
            remote: from,
        };
        let input = Input::Message(client, contents);
        self.machine.handle_input(input, now);
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.machine.poll_output() {
                Output::Message(client, contents) => self.out.push_back(Transmit {
                    protocol: match client.link {
                        Link::Datagrams(_) => Protocol::Udp,
                        Link::Stream(_) => Protocol::Tcp,
                    },
                    source: client.local,
                    destination: client.remote,
                    contents,
                }),
                Output::Datagram {
                    relay,
                    destination,
                    contents,
                } => {
                    if let Some(source) = self.relays.get(&relay) {
                        self.out.push_back(Transmit {
                            protocol: Protocol::Udp,
                            source: *source,
                            destination,
                            contents,
                        });
                    }
                }
                Output::OpenRelay { relay, .. } => {
                    let opened = match relay.is_ipv6() {
                        true => Err("there is no IPv6 here".to_owned()),
                        false => {
                            // Ports are used in turn; a collision would need a simulation with thousands of peers.
                            self.next_port = self.next_port.checked_add(1).unwrap_or(50_000);
                            let address = SocketAddr::new(IP, self.next_port);
                            self.relays.insert(relay, address);
                            Ok(address)
                        }
                    };
                    let input = Input::RelayOpened(relay, opened);
                    self.machine.handle_input(input, now);
                }
                Output::CloseRelay(relay) => _ = self.relays.remove(&relay),
                Output::DropReservation(_) => {}
                Output::Timeout(at) => {
                    self.deadline = at;
                    return;
                }
            }
        }
    }
}

impl Server for TurnServer {
    fn has(&self, address: SocketAddr) -> bool {
        address.ip() == IP
    }

    fn receive(&mut self, received: &Received<'_>, now: Instant) {
        let state = &mut *self.0.borrow_mut();
        if !state.silent {
            state.receive(received, now);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let state = &mut *self.0.borrow_mut();
        state.machine.handle_input(Input::Timeout, now);
        state.drain(now);
    }

    fn poll_transmit(&mut self, _now: Instant) -> Option<Transmit> {
        self.0.borrow_mut().out.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.borrow().deadline
    }
}
