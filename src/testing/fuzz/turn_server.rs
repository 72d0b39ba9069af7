//! Clients of the TURN server, and peers of its relays.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use turn_types::stun::attribute::Nonce;
use turn_types::stun::message::{IntegrityAlgorithm, LongTermKeyCredentials, Message};

use super::Bytes;
use super::stun::{Invented, any_address};
use crate::proto::ice::turn::frame;
use crate::server::turn::{Client, Credentials, Input, Link, Output, PeerPolicy, RelayId};
use crate::server::turn::{TurnLimits, TurnMachine, TurnMachineConfig};

const UNIX: u64 = 1_800_000_000;
const CLIENTS: u8 = 4;
const LIMIT: usize = 3;

/// Requests with and without the right key, data, and time: nothing is sent to an address that is not public, nor more
/// than allowed to a client that has proved nothing; relays are closed once, and at the end everything is released.
pub fn turn_server(data: &[u8]) {
    let mut bytes = Bytes(data);
    let options = bytes.byte();
    let credentials = Credentials::default()
        .user("alice", "wonderland")
        .user("bob", "builder")
        .secret("north");
    let mut limits = TurnLimits::default()
        .allocations(LIMIT)
        .permissions(LIMIT)
        .per_user(2);
    if options & 1 == 1 {
        limits = limits.bytes_per_second(Some(1000));
    }
    let config = TurnMachineConfig::default()
        .credentials(credentials)
        .limits(limits.clone())
        .seed(Some(1));
    let now = Instant::now();
    let mut world = World {
        server: TurnMachine::new(config, now, UNIX),
        now,
        start: now,
        open: Vec::new(),
        opening: Vec::new(),
        nonces: HashMap::new(),
        traffic: HashMap::new(),
        signed: [false; CLIENTS as usize],
        courtesy: limits.courtesy,
        ids: 1,
    };
    while !bytes.is_empty() {
        world.step(&mut bytes);
        world.drain();
        assert!(world.server.allocations() <= LIMIT);
    }
    world.end();
}

struct World {
    server: TurnMachine,
    now: Instant,
    start: Instant,
    open: Vec<RelayId>,
    opening: Vec<RelayId>,
    nonces: HashMap<Client, String>,
    /// Number of bytes from and to each address.
    traffic: HashMap<IpAddr, (usize, usize)>,
    signed: [bool; CLIENTS as usize],
    courtesy: u32,
    ids: u128,
}

/// The last two share an address, one of them over a stream.
fn client(n: u8) -> Client {
    let link = match n {
        3 => Link::Stream(1),
        _ => Link::Datagrams(0),
    };
    Client {
        link,
        local: SocketAddr::from(([9, 9, 9, 9], 3478)),
        remote: SocketAddr::from(([8, 8, 8, n.min(2)], 1000 + u16::from(n))),
    }
}

impl World {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let control = bytes.byte();
        let n = control >> 6;
        let client = client(n);
        match control & 15 {
            0 => {
                let length = usize::from(bytes.byte());
                self.receive(n, bytes.take(length));
            }
            1 => {
                let number = 0x4000 + u16::from(bytes.byte() & 3);
                let length = usize::from(bytes.byte());
                let message = frame::channel_data(number, bytes.take(length), false);
                self.receive(n, &message);
            }
            2 => {
                let Some(mut message) = Invented::new(0x0016, 7) else {
                    return;
                };
                message.add_address(0x0012, any_address(bytes));
                message.add_some(bytes);
                message.add(0x0013, b"hello");
                self.receive(n, &message.finish(false));
            }
            3 => {
                let Some(relay) = self.open.get(usize::from(control >> 4 & 3)).copied() else {
                    return;
                };
                let (source, length) = (any_address(bytes), usize::from(bytes.word()));
                let contents = &vec![1; length.min(2000)];
                let input = Input::Datagram {
                    relay,
                    source,
                    contents,
                };
                self.server.handle_input(input, self.now);
            }
            4 => self.now += Duration::from_millis(u64::from(bytes.word())),
            5 => {
                self.now += Duration::from_secs(u64::from(bytes.word()) / 16);
                self.server.handle_input(Input::Timeout, self.now);
            }
            6 if n == 3 => self.server.handle_input(Input::Closed(client), self.now),
            // Opening a socket takes time.
            7 => {
                if let Some(relay) = self.opening.pop() {
                    let result = match control & 0x30 {
                        0x30 => Err("no port is free".to_owned()),
                        _ => {
                            self.open.push(relay);
                            Ok(SocketAddr::from(([9, 9, 9, 9], 50_000)))
                        }
                    };
                    let input = Input::RelayOpened(relay, result);
                    self.server.handle_input(input, self.now);
                }
            }
            _ => self.request(n, control, bytes),
        }
    }

    fn request(&mut self, n: u8, control: u8, bytes: &mut Bytes<'_>) {
        let method = [3, 4, 8, 9, 3, 8, 1, 6][usize::from(control & 7)];
        self.ids += 1;
        let Some(mut message) = Invented::new(method, self.ids) else {
            return;
        };
        match method {
            3 => message.add(0x0019, &[17, 0, 0, 0]),
            4 => message.add(0x000D, &u32::from(bytes.word()).to_be_bytes()),
            8 => message.add_address(0x0012, any_address(bytes)),
            9 => {
                message.add(0x000C, &[0x40, bytes.byte() & 3, 0, 0]);
                message.add_address(0x0012, any_address(bytes));
            }
            _ => {}
        }
        let how = bytes.byte();
        if how & 1 == 1 {
            message.add_some(bytes);
        }
        let nonce = self.nonces.get(&client(n)).cloned();
        if how & 2 == 0
            && let Some(nonce) = nonce
        {
            let (user, password) = match how & 0x0C {
                0x0C => ("bob", "builder"),
                _ => ("alice", "wonderland"),
            };
            message.add(0x0006, user.as_bytes());
            message.add(0x0014, b"looprtc");
            message.add(0x0015, nonce.as_bytes());
            let algorithm = match how & 0x10 {
                0 => IntegrityAlgorithm::Sha1,
                _ => IntegrityAlgorithm::Sha256,
            };
            if how & 0x20 != 0 {
                message.add(0x8002, &[0, 2, 0, 0, 0, 1, 0, 0]);
                message.add(0x001D, &[0, 1 + (how >> 4 & 1), 0, 0]);
            }
            let password = if how & 0x40 == 0 { password } else { "wrong" };
            let key = LongTermKeyCredentials::new(user.into(), password.into(), "looprtc".into());
            message.sign(&key.make_key(algorithm), algorithm);
            self.signed[usize::from(n)] = true;
        }
        self.receive(n, &message.finish(how & 0x80 != 0));
    }

    fn receive(&mut self, n: u8, message: &[u8]) {
        let client = client(n);
        if client.link == Link::Datagrams(0) {
            self.traffic.entry(client.remote.ip()).or_default().0 += message.len();
        }
        self.server
            .handle_input(Input::Message(client, message), self.now);
    }

    fn drain(&mut self) -> Option<Instant> {
        for _ in 0..1000 {
            match self.server.poll_output() {
                Output::Message(client, contents) => self.answered(client, &contents),
                Output::Datagram {
                    relay, destination, ..
                } => {
                    assert!(self.open.contains(&relay), "from a relay that is not open");
                    let ip = destination.ip();
                    assert!(PeerPolicy::default().permits(ip), "{ip} is not public");
                    let IpAddr::V4(ip) = ip else { continue };
                    let is_inside = ip.is_private() || ip.is_loopback() || ip.is_link_local();
                    assert!(!is_inside && !ip.is_unspecified(), "{ip}");
                }
                Output::OpenRelay { relay, client, .. } => {
                    assert!(self.server.has_allocation(&client));
                    self.opening.push(relay);
                }
                Output::CloseRelay(relay) => {
                    let before = self.open.len();
                    self.open.retain(|r| *r != relay);
                    assert_eq!(self.open.len() + 1, before, "closed twice, or never opened");
                }
                Output::DropReservation(_) => {}
                Output::Timeout(at) => {
                    if at.is_some_and(|at| at <= self.now) {
                        self.server.handle_input(Input::Timeout, self.now);
                        continue;
                    }
                    return at;
                }
            }
        }
        panic!("it is never drained");
    }

    fn answered(&mut self, to: Client, contents: &[u8]) {
        let is_message = frame::classify(contents) == frame::Incoming::Message;
        if let (true, Ok(message)) = (is_message, Message::from_bytes(contents))
            && let Ok(nonce) = message.attribute::<Nonce>()
        {
            self.nonces.insert(to, nonce.nonce().to_owned());
        }
        // A stream has proved its address.
        if to.link == Link::Stream(1) {
            return;
        }
        let traffic = self.traffic.entry(to.remote.ip()).or_default();
        traffic.1 += contents.len();
        let proved = self.signed[usize::from(to.remote.port() - 1000)];
        let passed = (self.now - self.start).as_secs_f64();
        let allowed = f64::from(self.courtesy) * (1.0 + passed / 4.0) + traffic.0 as f64;
        assert!(
            proved || traffic.1 as f64 <= allowed + 1.0,
            "a flood to a stranger"
        );
    }

    /// All sockets open or fail, and nothing is refreshed.
    fn end(&mut self) {
        for relay in std::mem::take(&mut self.opening) {
            let result = Err("no port is free".to_owned());
            self.server
                .handle_input(Input::RelayOpened(relay, result), self.now);
        }
        let mut queue: VecDeque<_> = self.drain().into_iter().collect();
        while let Some(at) = queue.pop_front() {
            assert!(at > self.now, "wants to be woken at once");
            self.now = at;
            self.server.handle_input(Input::Timeout, at);
            queue.extend(self.drain());
        }
        assert!(self.open.is_empty(), "a relay that nobody has is open");
        assert_eq!(self.server.allocations(), 0);
        assert!(self.server.is_empty());
    }
}
