use std::time::Duration;
use turn_types::AddressFamily;
use turn_types::attribute::{
    AdditionalAddressFamily, AddressErrorCode, ChannelNumber, EvenPort, Lifetime,
    RequestedAddressFamily, RequestedTransport, ReservationToken, XorPeerAddress,
    XorRelayedAddress,
};
use turn_types::stun::attribute::{
    AttributeType, Nonce, PasswordAlgorithm, PasswordAlgorithmValue, PasswordAlgorithms,
    RawAttribute, Realm, UnknownAttributes, Username,
};
use turn_types::stun::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Method, TransactionId,
};
use turn_types::stun::prelude::AttributeWrite;

use super::*;
use crate::proto::ice::turn::frame::{self, Incoming};
use crate::server::turn::RelayPort;
use crate::server::turn::{Credentials, PeerPolicy, TurnLimits, rest_password};

const S: Duration = Duration::from_secs(1);
const UNIX: u64 = 1_800_000_000;
const PEER: &str = "1.2.3.4:5000";

/// A server with a simulated environment.
struct Test {
    server: TurnMachine,
    now: Instant,
    to_clients: VecDeque<(Client, Vec<u8>)>,
    to_peers: VecDeque<(RelayId, SocketAddr, Vec<u8>)>,
    open: Vec<(RelayId, SocketAddr, RelayPort)>,
    dropped_reservations: Vec<u64>,
    has_ipv6: bool,
}

impl Test {
    fn new() -> Self {
        Self::with(|config| config)
    }

    fn with(configure: impl FnOnce(TurnMachineConfig) -> TurnMachineConfig) -> Self {
        let credentials = Credentials::default()
            .user("alice", "wonderland")
            .user("bob", "builder")
            .secret("north");
        let config = TurnMachineConfig::default()
            .credentials(credentials)
            .seed(Some(1));
        let now = Instant::now();
        Self {
            server: TurnMachine::new(configure(config), now, UNIX),
            now,
            to_clients: VecDeque::new(),
            to_peers: VecDeque::new(),
            open: Vec::new(),
            dropped_reservations: Vec::new(),
            has_ipv6: true,
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.server.handle_input(input, self.now);
        self.drain();
    }

    fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.server.poll_output() {
                Output::Message(client, contents) => self.to_clients.push_back((client, contents)),
                Output::Datagram {
                    relay,
                    destination,
                    contents,
                } => {
                    self.to_peers.push_back((relay, destination, contents));
                }
                Output::OpenRelay { relay, port, .. } => {
                    let ip = if relay.is_ipv6() {
                        "2606::9"
                    } else {
                        "9.9.9.9"
                    };
                    let address =
                        SocketAddr::new(ip.parse().unwrap(), 50_000 + self.open.len() as u16);
                    let opened = match relay.is_ipv6() && !self.has_ipv6 {
                        true => Err("no IPv6 here".into()),
                        false => {
                            self.open.push((relay, address, port));
                            Ok(address)
                        }
                    };
                    self.server
                        .handle_input(Input::RelayOpened(relay, opened), self.now);
                }
                Output::CloseRelay(relay) => {
                    let before = self.open.len();
                    self.open.retain(|(r, _, _)| *r != relay);
                    assert_eq!(self.open.len(), before - 1, "closed twice, or never opened");
                }
                Output::DropReservation(token) => self.dropped_reservations.push(token),
                Output::Timeout(at) => return at,
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.drain().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    fn peer_sends(&mut self, peer: &str, contents: &[u8]) {
        let relay = self.open[0].0;
        let source = peer.parse().unwrap();
        self.input(Input::Datagram {
            relay,
            source,
            contents,
        });
    }

    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.server.is_empty()
    }
}

/// A client, driven by the test.
struct Someone {
    client: Client,
    user: String,
    password: String,
    realm: String,
    nonce: Option<String>,
    algorithm: IntegrityAlgorithm,
    names_algorithm: bool,
    ids: u128,
}

/// A response.
struct Reply(Vec<u8>);

impl Reply {
    fn message(&self) -> Message<'_> {
        Message::from_bytes(&self.0).unwrap()
    }

    /// Returns the error code, or 0 for success.
    fn code(&self) -> u16 {
        let m = self.message();
        m.attribute::<ErrorCode>().map_or(0, |e| e.code())
    }

    fn relayed(&self) -> SocketAddr {
        let m = self.message();
        m.attribute::<XorRelayedAddress>()
            .unwrap()
            .addr(m.transaction_id())
    }
}

fn client(n: u8) -> Client {
    Client {
        link: Link::Datagrams(0),
        local: "9.9.9.9:3478".parse().unwrap(),
        remote: SocketAddr::from(([8, 8, 8, n], 1000)),
    }
}

fn someone(n: u8) -> Someone {
    Someone {
        client: client(n),
        user: "alice".into(),
        password: "wonderland".into(),
        realm: "looprtc".into(),
        nonce: None,
        algorithm: IntegrityAlgorithm::Sha1,
        names_algorithm: false,
        ids: u128::from(n) << 64,
    }
}

type Attributes<'a> = &'a [&'a dyn AttributeWrite];

impl Someone {
    fn named(mut self, user: &str, password: &str) -> Self {
        self.user = user.into();
        self.password = password.into();
        self
    }

    /// Sends a request, signed once the server has sent a challenge.
    fn send(
        &mut self,
        t: &mut Test,
        method: Method,
        attributes: impl Fn(TransactionId) -> Vec<Box<dyn AttributeWrite>>,
    ) -> Option<Reply> {
        self.ids += 1;
        let id = TransactionId::from(self.ids);
        let attributes = attributes(id);
        let list: Vec<&dyn AttributeWrite> = attributes.iter().map(|a| &**a).collect();
        self.send_as(t, method, id, &list)
    }

    fn send_as(
        &mut self,
        t: &mut Test,
        method: Method,
        id: TransactionId,
        attributes: Attributes<'_>,
    ) -> Option<Reply> {
        let m = self.request(method, id, attributes);
        t.input(Input::Message(self.client, &m));
        let (to, answer) = t.to_clients.pop_front()?;
        assert_eq!(to, self.client);
        assert!(t.to_clients.is_empty(), "one answer a request");
        let reply = Reply(answer);
        let message = reply.message();
        assert_eq!(message.transaction_id(), id);
        if let Ok(nonce) = message.attribute::<Nonce>() {
            self.nonce = Some(nonce.nonce().to_owned());
            assert_eq!(message.attribute::<Realm>().unwrap().realm(), self.realm);
        } else if self.nonce.is_some() && reply.code() != 400 {
            let with = message.validate_integrity_with_key(&self.key()).unwrap();
            assert_eq!(
                with, self.algorithm,
                "the answer is signed as the question was"
            );
        }
        Some(reply)
    }

    fn key(&self) -> turn_types::stun::message::IntegrityKey {
        let all = (self.user.clone(), self.password.clone(), self.realm.clone());
        LongTermKeyCredentials::new(all.0, all.1, all.2).make_key(self.algorithm)
    }

    fn request(&self, method: Method, id: TransactionId, attributes: Attributes<'_>) -> Vec<u8> {
        let mut m = answer::begin(MessageClass::Request, method, id);
        for attribute in attributes {
            m.add_attribute(*attribute).unwrap();
        }
        let Some(nonce) = &self.nonce else {
            return m.finish();
        };
        m.add_attribute(&Username::new(&self.user).unwrap())
            .unwrap();
        m.add_attribute(&Realm::new(&self.realm).unwrap()).unwrap();
        m.add_attribute(&Nonce::new(nonce).unwrap()).unwrap();
        if self.names_algorithm {
            let (md5, sha256) = (PasswordAlgorithmValue::MD5, PasswordAlgorithmValue::SHA256);
            m.add_attribute(&PasswordAlgorithms::new(&[sha256, md5]))
                .unwrap();
            let chosen = if self.algorithm == IntegrityAlgorithm::Sha1 {
                md5
            } else {
                sha256
            };
            m.add_attribute(&PasswordAlgorithm::new(chosen)).unwrap();
        }
        m.add_message_integrity_with_key(&self.key(), self.algorithm)
            .unwrap();
        m.finish()
    }

    /// Sends the first request, which is always denied, and stores the challenge.
    fn learn(&mut self, t: &mut Test) {
        assert_eq!(self.allocate_with(t, |_| Vec::new()).code(), 401);
    }

    fn allocate_with(
        &mut self,
        t: &mut Test,
        more: impl Fn(TransactionId) -> Vec<Box<dyn AttributeWrite>>,
    ) -> Reply {
        let all = |id| {
            let mut all: Vec<Box<dyn AttributeWrite>> = vec![Box::new(RequestedTransport::new(17))];
            all.extend(more(id));
            all
        };
        self.send(t, ALLOCATE, all).unwrap()
    }

    fn allocate(&mut self, t: &mut Test) -> Reply {
        if self.nonce.is_none() {
            self.learn(t);
        }
        self.allocate_with(t, |_| Vec::new())
    }

    fn permit(&mut self, t: &mut Test, peers: &[&str]) -> u16 {
        let peer = |id| {
            peers
                .iter()
                .map(|p| boxed(XorPeerAddress::new(p.parse().unwrap(), id)))
                .collect()
        };
        self.send(t, CREATE_PERMISSION, peer).unwrap().code()
    }

    fn bind(&mut self, t: &mut Test, number: u16, peer: &str) -> u16 {
        let both = |id| {
            vec![
                boxed(ChannelNumber::new(number)),
                boxed(XorPeerAddress::new(peer.parse().unwrap(), id)),
            ]
        };
        self.send(t, CHANNEL_BIND, both).unwrap().code()
    }

    fn refresh(&mut self, t: &mut Test, lifetime: u32) -> Reply {
        self.send(t, REFRESH, |_| vec![boxed(Lifetime::new(lifetime))])
            .unwrap()
    }

    fn indicate(&self, t: &mut Test, peer: &str, contents: &[u8]) {
        let mut m = frame::data_indication(TransactionId::from(7), peer.parse().unwrap(), contents);
        m[1] = 0x16;
        t.input(Input::Message(self.client, &m));
    }
}

fn boxed<'a>(attribute: impl AttributeWrite + 'a) -> Box<dyn AttributeWrite + 'a> {
    Box::new(attribute)
}

#[test]
fn stun_tells_the_address() {
    let mut t = Test::new();
    let reply = someone(7).send(&mut t, BINDING, |_| Vec::new()).unwrap();
    let m = reply.message();
    let mapped = m.attribute::<XorMappedAddress>().unwrap();
    assert_eq!(mapped.addr(m.transaction_id()), client(7).remote);
    // The request had 20 bytes, and the response is as short as possible.
    assert_eq!(reply.0.len(), 32);
    assert!(t.is_empty());
}

#[test]
fn a_relay_from_beginning_to_end() {
    for algorithm in [IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256] {
        let mut t = Test::new();
        let mut alice = someone(1);
        alice.algorithm = algorithm;
        alice.names_algorithm = algorithm == IntegrityAlgorithm::Sha256;
        let reply = alice.allocate(&mut t);
        assert_eq!(reply.code(), 0);
        assert_eq!(reply.relayed(), t.open[0].1);
        let m = reply.message();
        assert_eq!(m.attribute::<Lifetime>().unwrap().seconds(), 600);
        assert!(m.attribute::<XorMappedAddress>().is_ok());

        // Nothing is relayed without a permission.
        alice.indicate(&mut t, PEER, b"early");
        t.peer_sends(PEER, b"early");
        assert!(t.to_peers.is_empty() && t.to_clients.is_empty());
        assert_eq!(t.server.stats().not_permitted, 2);

        assert_eq!(alice.permit(&mut t, &[PEER]), 0);
        alice.indicate(&mut t, PEER, b"hello");
        let relay = t.open[0].0;
        assert_eq!(
            t.to_peers.pop_front(),
            Some((relay, PEER.parse().unwrap(), b"hello".to_vec()))
        );
        // From any port of the peer.
        t.peer_sends("1.2.3.4:6000", b"hi");
        let (_, m) = t.to_clients.pop_front().unwrap();
        assert_eq!(
            frame::classify(&m),
            Incoming::Data("1.2.3.4:6000".parse().unwrap(), 36..38)
        );
        t.peer_sends("1.2.3.5:6000", b"hi");
        assert!(t.to_clients.is_empty());

        // Through a channel.
        assert_eq!(alice.bind(&mut t, 0x4000, PEER), 0);
        let m = frame::channel_data(0x4000, b"fast", false);
        t.input(Input::Message(alice.client, &m));
        assert_eq!(t.to_peers.pop_front().unwrap().2, b"fast");
        t.peer_sends(PEER, b"fast");
        assert_eq!(t.to_clients.pop_front().unwrap().1, m);

        assert_eq!(alice.refresh(&mut t, 0).code(), 0);
        assert!(t.is_empty());
        assert_eq!(alice.permit(&mut t, &[PEER]), 437);
    }
}

#[test]
fn lifetimes_run_out() {
    let mut t = Test::new();
    let mut alice = someone(1);
    alice.allocate(&mut t);
    alice.bind(&mut t, 0x4000, PEER);
    t.wait(599 * S);
    assert_eq!(t.server.allocations(), 1);
    assert_eq!(
        alice
            .refresh(&mut t, 700)
            .message()
            .attribute::<Lifetime>()
            .unwrap()
            .seconds(),
        700
    );
    // Without the permission the channel carries nothing; after another bind it does.
    let m = frame::channel_data(0x4000, b"x", false);
    t.input(Input::Message(alice.client, &m));
    assert!(t.to_peers.is_empty());
    assert_eq!(alice.bind(&mut t, 0x4000, PEER), 0);
    t.input(Input::Message(alice.client, &m));
    assert_eq!(t.to_peers.len(), 1);
    t.wait(299 * S);
    t.peer_sends(PEER, b"x");
    assert_eq!(t.to_clients.len(), 1);
    t.wait(2 * S);
    t.peer_sends(PEER, b"x");
    assert_eq!(t.to_clients.len(), 1);
    t.wait(400 * S);
    assert!(t.is_empty());
    assert_eq!(t.server.stats().expired, 1);
}

#[test]
fn granted_lifetimes_stay_within_limits() {
    let limits = |l: TurnLimits| l.lifetime(5 * S).max_lifetime(20 * S);
    let mut t = Test::with(|c| {
        let l = limits(c.limits.clone());
        c.limits(l)
    });
    let mut alice = someone(1);
    let lifetime = |r: Reply| r.message().attribute::<Lifetime>().unwrap().seconds();
    assert_eq!(lifetime(alice.allocate(&mut t)), 5);
    assert_eq!(lifetime(alice.refresh(&mut t, 1)), 5);
    assert_eq!(lifetime(alice.refresh(&mut t, 10)), 10);
    assert_eq!(lifetime(alice.refresh(&mut t, u32::MAX)), 20);
    t.wait(20 * S);
    assert!(t.is_empty());
}

#[test]
fn wrong_credentials_are_denied_and_leave_nothing_behind() {
    let mut t = Test::new();
    for mut who in [
        someone(1).named("alice", "wrong"),
        someone(2).named("nobody", "x"),
        someone(3).named("", ""),
        someone(4).named(
            "1700000000:late",
            &rest_password(b"north", "1700000000:late"),
        ),
        someone(5).named("1900000000:x", &rest_password(b"south", "1900000000:x")),
    ] {
        who.learn(&mut t);
        let m = who.request(
            ALLOCATE,
            TransactionId::from(9),
            &[&RequestedTransport::new(17)],
        );
        t.input(Input::Message(who.client, &m));
        let reply = Reply(t.to_clients.pop_front().unwrap().1);
        assert_eq!(reply.code(), 401, "{}", who.user);
    }
    // Signed, but with missing attributes.
    let mut alice = someone(1);
    alice.learn(&mut t);
    let mut m = answer::begin(MessageClass::Request, ALLOCATE, TransactionId::from(9));
    m.add_attribute(&Username::new("alice").unwrap()).unwrap();
    m.add_message_integrity_with_key(&alice.key(), IntegrityAlgorithm::Sha1)
        .unwrap();
    t.input(Input::Message(alice.client, &m.finish()));
    assert_eq!(Reply(t.to_clients.pop_front().unwrap().1).code(), 400);
    assert!(t.is_empty());
}

/// S8: this machine's own addresses are reachable on the ports for peers and on our relays only; other traffic passes
/// in neither direction.
#[test]
fn own_addresses_are_reached_on_our_peers_ports_only() {
    let mut t = Test::new();
    let own = vec!["9.9.9.9".parse().unwrap(), "10.0.0.5".parse().unwrap()];
    t.server.set_own(Some(own), &[4433]);
    let mut alice = someone(1);
    assert_eq!(alice.allocate(&mut t).code(), 0);
    let relay = t.open[0].1;
    assert_eq!(alice.permit(&mut t, &["10.0.0.5:53"]), 0, "by address");
    assert_eq!(alice.permit(&mut t, &["9.9.9.9:53"]), 0);
    for (peer, reached) in [
        ("10.0.0.5:4433".to_owned(), true),
        ("9.9.9.9:4433".to_owned(), true),
        (relay.to_string(), true),
        ("10.0.0.5:53".to_owned(), false),
        ("9.9.9.9:22".to_owned(), false),
        (format!("10.0.0.5:{}", relay.port()), false),
    ] {
        let to = peer.parse().unwrap();
        let m = frame::send_indication(TransactionId::from(7), to, b"hello");
        t.to_peers.clear();
        t.input(Input::Message(alice.client, &m));
        assert_eq!(!t.to_peers.is_empty(), reached, "to {peer}");
        t.to_clients.clear();
        t.peer_sends(&peer, b"answer");
        assert_eq!(!t.to_clients.is_empty(), reached, "from {peer}");
    }
    assert_eq!(alice.bind(&mut t, 0x4001, "10.0.0.5:53"), 403);
    assert_eq!(alice.bind(&mut t, 0x4001, "10.0.0.5:4433"), 0);
    // A released relay is no longer reachable.
    assert_eq!(alice.refresh(&mut t, 0).code(), 0);
    let mut bob = someone(2).named("bob", "builder");
    bob.allocate(&mut t);
    assert_eq!(bob.bind(&mut t, 0x4001, "9.9.9.9:60000"), 403);
    assert!(!t.server.is_empty());
}

#[test]
fn time_limited_credentials() {
    let mut t = Test::new();
    let user = format!("{}:carol", UNIX + 10);
    let mut carol = someone(1).named(&user, &rest_password(b"north", &user));
    assert_eq!(carol.allocate(&mut t).code(), 0);
    t.wait(20 * S);
    // The existing allocation continues, but a new one is refused.
    assert_eq!(carol.permit(&mut t, &[PEER]), 0);
    assert_eq!(carol.refresh(&mut t, 600).code(), 0);
    let mut late = someone(2).named(&user, &rest_password(b"north", &user));
    late.learn(&mut t);
    let m = late.request(
        ALLOCATE,
        TransactionId::from(9),
        &[&RequestedTransport::new(17)],
    );
    t.input(Input::Message(late.client, &m));
    assert_eq!(Reply(t.to_clients.pop_front().unwrap().1).code(), 401);
}

#[test]
fn a_nonce_gets_old() {
    let mut t = Test::with(|c| {
        let l = c.limits.clone().nonce_lifetime(60 * S);
        c.limits(l)
    });
    let mut alice = someone(1);
    alice.allocate(&mut t);
    t.wait(60 * S);
    assert_eq!(alice.permit(&mut t, &[PEER]), 438);
    assert_eq!(alice.permit(&mut t, &[PEER]), 0);
    // A nonce issued to another client is not accepted.
    let mut bob = someone(2).named("bob", "builder");
    bob.nonce = alice.nonce.clone();
    assert_eq!(bob.allocate(&mut t).code(), 438);
    assert_eq!(bob.allocate(&mut t).code(), 0);
}

#[test]
fn password_algorithms_cannot_be_bid_down() {
    let mut t = Test::new();
    let mut alice = someone(1);
    alice.learn(&mut t);
    let transport = RequestedTransport::new(17);
    let md5 = PasswordAlgorithmValue::MD5;
    let shorter = PasswordAlgorithms::new(&[md5]);
    let chosen = PasswordAlgorithm::new(md5);
    for attributes in [
        &[&transport as &dyn AttributeWrite, &shorter, &chosen][..],
        &[&transport, &chosen],
        &[&transport, &shorter],
    ] {
        let m = alice.request(ALLOCATE, TransactionId::from(9), attributes);
        t.input(Input::Message(alice.client, &m));
        assert_eq!(Reply(t.to_clients.pop_front().unwrap().1).code(), 400);
    }
    // Truncated within its second entry.
    let cut = RawAttribute::new(PasswordAlgorithms::TYPE, &[0, 2, 0, 0, 0, 1]);
    let m = alice.request(
        ALLOCATE,
        TransactionId::from(9),
        &[&transport, &cut, &chosen],
    );
    t.input(Input::Message(alice.client, &m));
    assert_eq!(Reply(t.to_clients.pop_front().unwrap().1).code(), 400);
}

#[test]
fn another_user_cannot_take_an_allocation_over() {
    let mut t = Test::new();
    let mut alice = someone(1);
    alice.allocate(&mut t);
    let mut bob = someone(1).named("bob", "builder");
    bob.nonce = alice.nonce.clone();
    bob.ids += 1000;
    assert_eq!(bob.refresh(&mut t, 0).code(), 441);
    assert_eq!(bob.permit(&mut t, &[PEER]), 441);
    assert_eq!(t.server.allocations(), 1);
}

#[test]
fn a_repeated_request_has_the_same_answer() {
    let mut t = Test::new();
    let mut alice = someone(1);
    alice.learn(&mut t);
    let id = TransactionId::from(77);
    let transport = RequestedTransport::new(17);
    let first = alice.send_as(&mut t, ALLOCATE, id, &[&transport]).unwrap();
    let again = alice.send_as(&mut t, ALLOCATE, id, &[&transport]).unwrap();
    assert_eq!(first.0, again.0);
    assert_eq!(t.server.allocations(), 1);
    assert_eq!(alice.allocate(&mut t).code(), 437);
}

#[test]
fn quotas() {
    let limits = |l: TurnLimits| l.allocations(4).per_user(2).per_address(3);
    let mut t = Test::with(|c| {
        let l = limits(c.limits.clone());
        c.limits(l)
    });
    let mut first = someone(1);
    assert_eq!(first.allocate(&mut t).code(), 0);
    assert_eq!(someone(2).allocate(&mut t).code(), 0);
    assert_eq!(someone(3).allocate(&mut t).code(), 486);
    // Time-limited names count as one user, whatever their expiry.
    let carol = |n, more: u64| {
        let user = format!("{}:carol", UNIX + more);
        let password = rest_password(b"north", &user);
        someone(n).named(&user, &password)
    };
    let at = |mut s: Someone, port| {
        s.client.remote.set_port(port);
        s
    };
    assert_eq!(at(carol(9, 100), 1).allocate(&mut t).code(), 0);
    let mut last = at(carol(9, 200), 2);
    assert_eq!(last.allocate(&mut t).code(), 0);
    assert_eq!(at(carol(9, 300), 3).allocate(&mut t).code(), 486);
    assert_eq!(
        someone(8).named("bob", "builder").allocate(&mut t).code(),
        508
    );
    // Released allocations can be allocated again.
    last.refresh(&mut t, 0);
    assert_eq!(
        at(someone(9).named("bob", "builder"), 4)
            .allocate(&mut t)
            .code(),
        0
    );
    first.refresh(&mut t, 0);
    assert_eq!(
        at(someone(9).named("bob", "builder"), 5)
            .allocate(&mut t)
            .code(),
        0
    );
    assert_eq!(
        at(someone(9).named("bob", "builder"), 6)
            .allocate(&mut t)
            .code(),
        486
    );
    t.wait(700 * S);
    assert!(t.is_empty());
}

#[test]
fn an_address_has_its_quota_too() {
    let mut t = Test::with(|c| {
        let l = c.limits.clone().per_address(2);
        c.limits(l)
    });
    let v6 = |n: u16| {
        let mut s = someone(1);
        s.client.remote = SocketAddr::new(format!("2606::{n}").parse().unwrap(), n);
        s
    };
    assert_eq!(v6(1).allocate(&mut t).code(), 0);
    assert_eq!(v6(2).allocate(&mut t).code(), 0);
    assert_eq!(v6(3).allocate(&mut t).code(), 486);
    assert_eq!(someone(1).allocate(&mut t).code(), 0);
}

#[test]
fn permissions_and_channels_are_limited() {
    let mut t = Test::with(|c| {
        let l = c.limits.clone().permissions(3);
        c.limits(l)
    });
    let mut alice = someone(1);
    alice.allocate(&mut t);
    assert_eq!(
        alice.permit(&mut t, &["1.0.0.1:1", "1.0.0.2:1", "1.0.0.2:2"]),
        0
    );
    assert_eq!(alice.permit(&mut t, &["1.0.0.3:1", "1.0.0.4:1"]), 508);
    // All or none.
    t.peer_sends("1.0.0.3:1", b"x");
    assert!(t.to_clients.is_empty());
    assert_eq!(alice.permit(&mut t, &["1.0.0.3:1"]), 0);
    for n in 0..3 {
        assert_eq!(
            alice.bind(&mut t, 0x4000 + n, &format!("1.0.0.1:{}", n + 1)),
            0
        );
    }
    assert_eq!(alice.bind(&mut t, 0x4003, "1.0.0.1:4"), 508);
    // A channel number has one peer, and a peer one number.
    assert_eq!(alice.bind(&mut t, 0x4000, "1.0.0.1:2"), 400);
    assert_eq!(alice.bind(&mut t, 0x4009, "1.0.0.1:1"), 400);
    assert_eq!(alice.bind(&mut t, 0x4000, "1.0.0.1:1"), 0);
    assert_eq!(alice.bind(&mut t, 0x3fff, "1.0.0.1:9"), 400);
    assert_eq!(alice.bind(&mut t, 0x8000, "1.0.0.1:9"), 400);
    // They expire, and there is room again.
    t.wait(599 * S);
    alice.refresh(&mut t, 3600);
    t.wait(2 * S);
    assert_eq!(alice.bind(&mut t, 0x4009, "1.0.0.9:1"), 0);
}

/// CVE-2026-27624: see also `addresses.rs`, which lists the forms.
#[test]
fn cve_2026_27624_forbidden_peers_are_forbidden_in_every_form() {
    let mut t = Test::new();
    let mut alice = someone(1);
    alice.learn(&mut t);
    alice.allocate_with(&mut t, |_| {
        vec![boxed(AdditionalAddressFamily::new(AddressFamily::IPV6))]
    });
    assert_eq!(t.open.len(), 2);
    let mut count = 0;
    for ip in [
        "127.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::ffff:8.8.8.8]",
    ] {
        let peer = format!("{ip}:80");
        assert_eq!(alice.permit(&mut t, &[&peer]), 403, "{ip}");
        assert_eq!(alice.permit(&mut t, &[PEER, &peer]), 403, "{ip}");
        assert_eq!(alice.bind(&mut t, 0x4000, &peer), 403, "{ip}");
        alice.indicate(&mut t, &peer, b"in");
        count += 3;
    }
    assert!(t.to_peers.is_empty());
    assert_eq!(t.server.stats().forbidden_peers, count);
    // Refused together, so even the valid one is not permitted.
    alice.indicate(&mut t, PEER, b"in");
    assert!(t.to_peers.is_empty());
    assert_eq!(alice.permit(&mut t, &["[2606::1]:80", PEER]), 0);
}

#[test]
fn allowed_peers_are_reached() {
    let policy = PeerPolicy::default().allow("127.0.0.0/8".parse().unwrap());
    let mut t = Test::with(|c| c.peers(policy));
    let mut alice = someone(1);
    alice.allocate(&mut t);
    assert_eq!(alice.permit(&mut t, &["127.0.0.1:80"]), 0);
    assert_eq!(alice.permit(&mut t, &["10.0.0.1:80"]), 403);
}

#[test]
fn families() {
    let mut t = Test::new();
    let family = |f| move |_: TransactionId| vec![boxed(RequestedAddressFamily::new(f))];
    let mut alice = someone(1);
    alice.learn(&mut t);
    let reply = alice.allocate_with(&mut t, family(AddressFamily::IPV6));
    assert!(reply.relayed().is_ipv6());
    assert_eq!(alice.permit(&mut t, &[PEER]), 443);
    assert_eq!(alice.permit(&mut t, &["[2606::1]:80"]), 0);
    alice.indicate(&mut t, "[2606::1]:80", b"six");
    assert_eq!(t.to_peers.pop_front().unwrap().2, b"six");
    t.peer_sends("[2606::1]:80", b"six");
    assert_eq!(t.to_clients.len(), 1);
    t.to_clients.clear();
    alice.refresh(&mut t, 0);

    // Both families; then one of them is released.
    let additional =
        |_: TransactionId| vec![boxed(AdditionalAddressFamily::new(AddressFamily::IPV6))];
    assert_eq!(alice.allocate_with(&mut t, additional).code(), 0);
    assert_eq!(t.open.len(), 2);
    assert_eq!(alice.permit(&mut t, &[PEER, "[2606::1]:80"]), 0);
    let v4_only = |_: TransactionId| {
        vec![
            boxed(Lifetime::new(0)),
            boxed(RequestedAddressFamily::new(AddressFamily::IPV4)),
        ]
    };
    assert_eq!(alice.send(&mut t, REFRESH, v4_only).unwrap().code(), 0);
    assert_eq!(t.open.len(), 1);
    assert_eq!(alice.send(&mut t, REFRESH, v4_only).unwrap().code(), 443);
    assert_eq!(alice.permit(&mut t, &[PEER]), 443);
    alice.refresh(&mut t, 0);
    assert!(t.is_empty());

    // Without IPv6.
    t.has_ipv6 = false;
    let reply = alice.allocate_with(&mut t, additional);
    assert_eq!(
        reply
            .message()
            .attribute::<AddressErrorCode>()
            .unwrap()
            .family(),
        AddressFamily::IPV6
    );
    assert!(reply.relayed().is_ipv4());
    alice.refresh(&mut t, 0);
    assert_eq!(
        alice
            .allocate_with(&mut t, family(AddressFamily::IPV6))
            .code(),
        508
    );
    assert!(t.is_empty());
    let v4 = |_: TransactionId| {
        let raw = RawAttribute::new(AdditionalAddressFamily::TYPE, &[1, 0, 0, 0]);
        vec![boxed(raw)]
    };
    assert_eq!(alice.allocate_with(&mut t, v4).code(), 400);
}

#[test]
fn even_ports_and_reservations() {
    let mut t = Test::new();
    let mut alice = someone(1);
    alice.learn(&mut t);
    let reply = alice.allocate_with(&mut t, |_| vec![boxed(EvenPort::new(true))]);
    let token = reply
        .message()
        .attribute::<ReservationToken>()
        .unwrap()
        .token();
    assert_eq!(t.open[0].2, RelayPort::EvenAndNext(token));
    let mut next = someone(2);
    next.learn(&mut t);
    let with = |_: TransactionId| vec![boxed(ReservationToken::new(token))];
    assert_eq!(next.allocate_with(&mut t, with).code(), 0);
    assert_eq!(t.open[1].2, RelayPort::Reserved(token));
    next.refresh(&mut t, 0);
    // A token is valid once, and expires.
    assert_eq!(next.allocate_with(&mut t, with).code(), 508);
    let mut third = someone(3);
    third.learn(&mut t);
    third.allocate_with(&mut t, |_| vec![boxed(EvenPort::new(true))]);
    assert_eq!(t.server.reservations.len(), 1);
    t.wait(31 * S);
    assert_eq!(t.dropped_reservations.len(), 1);
    assert_eq!(t.server.reservations.len(), 0);
    assert_eq!(
        next.allocate_with(&mut t, |_| vec![boxed(EvenPort::new(false))])
            .code(),
        0
    );
    assert_eq!(t.open[2].2, RelayPort::Even);
}

/// S9: a reserved port uses a socket, also after the allocation that reserved it was released.
#[test]
fn reserved_ports_count_for_the_user_and_the_address() {
    let mut t = Test::with(|c| {
        let l = c.limits.clone().per_user(100).per_address(5);
        c.limits(l)
    });
    let at = |n: u16| {
        let mut s = someone(1);
        s.client.remote.set_port(n);
        s
    };
    let mut codes = Vec::new();
    for n in 1..=10 {
        let mut client = at(n);
        client.learn(&mut t);
        let reply = client.allocate_with(&mut t, |_| vec![boxed(EvenPort::new(true))]);
        codes.push(reply.code());
        client.refresh(&mut t, 0);
    }
    assert_eq!(codes, [0, 0, 0, 0, 486, 486, 486, 486, 486, 486]);
    assert_eq!(t.server.reservations.len(), 4);
    // One more allocation is within the limit, and other clients are unaffected.
    let mut last = at(20);
    assert_eq!(last.allocate(&mut t).code(), 0);
    assert_eq!(at(21).allocate(&mut t).code(), 486);
    assert_eq!(someone(2).allocate(&mut t).code(), 0);
    // Reservations expire after 30 s, and one that is used no longer counts.
    t.wait(31 * S);
    let mut client = at(30);
    client.learn(&mut t);
    let reply = client.allocate_with(&mut t, |_| vec![boxed(EvenPort::new(true))]);
    let token = reply
        .message()
        .attribute::<ReservationToken>()
        .unwrap()
        .token();
    assert_eq!(at(31).allocate(&mut t).code(), 0);
    assert_eq!(at(32).allocate(&mut t).code(), 0);
    assert_eq!(at(33).allocate(&mut t).code(), 486);
    let mut next = at(34);
    next.learn(&mut t);
    let with = |_: TransactionId| vec![boxed(ReservationToken::new(token))];
    assert_eq!(next.allocate_with(&mut t, with).code(), 0);
    assert_eq!(t.server.per_address.total(), 6);
    t.wait(700 * S);
    assert!(t.is_empty());
}

#[test]
fn what_is_not_to_be_had_is_said() {
    let mut t = Test::new();
    let mut alice = someone(1);
    alice.learn(&mut t);
    assert_eq!(
        alice.send(&mut t, ALLOCATE, |_| Vec::new()).unwrap().code(),
        400
    );
    assert_eq!(
        alice
            .send(&mut t, ALLOCATE, |_| vec![boxed(RequestedTransport::new(
                6
            ))])
            .unwrap()
            .code(),
        442
    );
    let unknown =
        |_: TransactionId| vec![boxed(RawAttribute::new(AttributeType::new(0x7abc), &[1]))];
    let reply = alice.allocate_with(&mut t, unknown);
    assert_eq!(reply.code(), 420);
    let unknown = reply.message().attribute::<UnknownAttributes>().unwrap();
    assert!(unknown.has_attribute(AttributeType::new(0x7abc)));
    assert_eq!(alice.refresh(&mut t, 600).code(), 437);
    alice.allocate(&mut t);
    assert_eq!(
        alice
            .send(&mut t, CREATE_PERMISSION, |_| Vec::new())
            .unwrap()
            .code(),
        400
    );
    assert_eq!(
        alice
            .send(&mut t, CHANNEL_BIND, |_| Vec::new())
            .unwrap()
            .code(),
        400
    );
}

#[test]
fn bandwidth_is_limited_both_ways() {
    let mut t = Test::with(|c| {
        let l = c.limits.clone().bytes_per_second(Some(100_000));
        c.limits(l)
    });
    let mut alice = someone(1);
    alice.allocate(&mut t);
    alice.bind(&mut t, 0x4000, PEER);
    let m = frame::channel_data(0x4000, &[0; 1000], false);
    // Ten seconds at 10,000 datagrams per second, of which 100 per second pass, and a burst of 100.
    for _ in 0..10_000 {
        t.now += Duration::from_millis(1);
        t.input(Input::Message(alice.client, &m));
        t.peer_sends(PEER, &[0; 1000]);
    }
    let (up, down) = (t.to_peers.len(), t.to_clients.len());
    assert!((1090..=1110).contains(&up), "{up}");
    assert!((1090..=1110).contains(&down), "{down}");
    assert_eq!(t.server.stats().over_bandwidth as usize, 20_000 - up - down);
}

#[test]
fn an_unproved_address_gets_no_more_than_it_sent_and_an_allowance() {
    let mut t = Test::new();
    let (mut received, mut sent) = (0, 0);
    for n in 0..60_000u32 {
        // A forged source, a thousand times per second for a minute, with the shortest requests.
        t.now += Duration::from_millis(1);
        let method = if n % 2 == 0 { ALLOCATE } else { BINDING };
        let m = answer::begin(
            MessageClass::Request,
            method,
            TransactionId::from(u128::from(n)),
        )
        .finish();
        received += m.len();
        t.input(Input::Message(client(1), &m));
        sent += t.to_clients.drain(..).map(|(_, m)| m.len()).sum::<usize>();
    }
    let allowance = 16_384 + 60 * 4_096;
    assert!(sent <= received + allowance, "{sent} {received}");
    assert!(t.server.stats().unanswered > 0);
    assert!(t.is_empty());
    // Authenticated clients are answered all the same.
    let mut alice = someone(2);
    assert_eq!(alice.allocate(&mut t).code(), 0);
    let mut neighbour = someone(2);
    neighbour.client = client(1);
    neighbour.nonce = Some(t.server.auth.nonce(client(1).remote, t.now));
    assert_eq!(neighbour.allocate(&mut t).code(), 0);
}

#[test]
fn a_stream_takes_its_allocation_along() {
    let mut t = Test::new();
    let mut alice = someone(1);
    alice.client.link = Link::Stream(3);
    assert_eq!(alice.allocate(&mut t).code(), 0);
    alice.bind(&mut t, 0x4000, PEER);
    t.peer_sends(PEER, b"abcde");
    // Padded, as streams require.
    assert_eq!(t.to_clients.pop_front().unwrap().1.len(), 12);
    t.input(Input::Closed(alice.client));
    assert!(t.is_empty());
}

#[test]
fn without_credentials_there_is_stun_only() {
    let mut t = Test::with(|c| c.credentials(Credentials::default()));
    assert_eq!(
        someone(1)
            .send(&mut t, BINDING, |_| Vec::new())
            .unwrap()
            .code(),
        0
    );
    assert_eq!(someone(1).allocate_with(&mut t, |_| Vec::new()).code(), 403);
}

#[test]
fn a_relay_that_opens_too_late_is_closed_again() {
    let mut t = Test::new();
    let mut alice = someone(1);
    alice.client.link = Link::Stream(1);
    alice.learn(&mut t);
    let m = alice.request(
        ALLOCATE,
        TransactionId::from(9),
        &[&RequestedTransport::new(17)],
    );
    t.server
        .handle_input(Input::Message(alice.client, &m), t.now);
    let Output::OpenRelay { relay, .. } = t.server.poll_output() else {
        panic!()
    };
    t.server.handle_input(Input::Closed(alice.client), t.now);
    t.server.handle_input(
        Input::RelayOpened(relay, Ok("9.9.9.9:1".parse().unwrap())),
        t.now,
    );
    assert_eq!(t.server.poll_output(), Output::CloseRelay(relay));
    assert!(t.is_empty());
}

#[test]
fn no_input_hurts() {
    let mut t = Test::new();
    let mut alice = someone(1);
    alice.names_algorithm = true;
    alice.allocate(&mut t);
    alice.bind(&mut t, 0x4000, PEER);
    let id = TransactionId::from(9);
    let peer = XorPeerAddress::new(PEER.parse().unwrap(), id);
    let seeds = [
        alice.request(
            ALLOCATE,
            id,
            &[&RequestedTransport::new(17), &EvenPort::new(true)],
        ),
        alice.request(
            REFRESH,
            id,
            &[
                &Lifetime::new(10),
                &RequestedAddressFamily::new(AddressFamily::IPV4),
            ],
        ),
        alice.request(CREATE_PERMISSION, id, &[&peer]),
        alice.request(CHANNEL_BIND, id, &[&ChannelNumber::new(0x4000), &peer]),
        frame::channel_data(0x4000, b"data", false),
        frame::data_indication(id, PEER.parse().unwrap(), b"data"),
    ];
    let mut random = 1u64;
    let mut next = |n: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % n
    };
    for _ in 0..100_000 {
        let mut m = seeds[next(seeds.len())].clone();
        for _ in 0..next(4) {
            let at = next(m.len());
            m[at] = next(256) as u8;
        }
        m.truncate(m.len() - if next(3) == 0 { next(m.len()) } else { 0 });
        t.input(Input::Message(client(1 + next(2) as u8), &m));
        t.to_clients.clear();
        t.to_peers.clear();
    }
    assert!(t.server.allocations() <= 1);
}

#[test]
fn channels_of_older_clients_carry_too() {
    let mut t = Test::new();
    let mut alice = someone(1);
    alice.allocate(&mut t);
    assert_eq!(alice.bind(&mut t, 0x7fff, PEER), 0);
    let m = frame::channel_data(0x7fff, b"old", false);
    t.input(Input::Message(alice.client, &m));
    assert_eq!(t.to_peers.pop_front().unwrap().2, b"old");
    t.peer_sends(PEER, b"old");
    assert_eq!(t.to_clients.pop_front().unwrap().1, m);
}

#[test]
fn what_waits_to_be_sent_has_a_limit() {
    let mut t = Test::new();
    let mut alice = someone(1);
    alice.allocate(&mut t);
    alice.bind(&mut t, 0x4000, PEER);
    let m = frame::channel_data(0x4000, &[0; 100], false);
    let (relay, source) = (t.open[0].0, PEER.parse().unwrap());
    // The output is not taken.
    for _ in 0..3_000 {
        let contents = &[0; 100];
        let from_peer = Input::Datagram {
            relay,
            source,
            contents,
        };
        t.server.handle_input(from_peer, t.now);
        t.server
            .handle_input(Input::Message(alice.client, &m), t.now);
    }
    assert_eq!(t.server.stats().over_queue, 6_000 - 4_096);
    t.drain();
    assert_eq!(t.to_peers.len() + t.to_clients.len(), 4_096);
    // There is room again.
    t.input(Input::Message(alice.client, &m));
    assert_eq!(t.to_peers.len() + t.to_clients.len(), 4_097);
}
