use turn_types::attribute::{ChannelNumber, XorPeerAddress};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH};
use turn_types::stun::attribute::{
    MessageIntegritySha256, Nonce, PasswordAlgorithmValue, PasswordAlgorithms, Realm, Username,
};
use turn_types::stun::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, MessageWriteVec, Method,
};
use turn_types::stun::prelude::{AttributeStaticType, MessageWrite, MessageWriteExt};

use super::frame::FIRST_CHANNEL;
use super::*;

const S: Duration = Duration::from_secs(1);

fn relayed() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 50_000))
}

fn peer(n: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, n], 4000))
}

/// A client under test; the test plays its server.
struct Test {
    client: TurnClient,
    now: Instant,
    realm: &'static str,
    nonce: &'static str,
    algorithm: IntegrityAlgorithm,
    sent: VecDeque<Vec<u8>>,
    said: Vec<TurnOutput>,
}

impl Test {
    fn new() -> Self {
        let now = Instant::now();
        let config = TurnConfig {
            username: "me".into(),
            password: "secret".into(),
            ipv4: true,
            ipv6: true,
            stream: false,
            seed: Some(1),
        };
        let mut test = Self {
            client: TurnClient::new(config, now),
            now,
            realm: "here",
            nonce: "n1",
            algorithm: IntegrityAlgorithm::Sha1,
            sent: VecDeque::new(),
            said: Vec::new(),
        };
        test.drain();
        test
    }

    fn allocated() -> Self {
        let mut test = Self::new();
        test.challenge(401);
        test.allocate(600);
        assert_eq!(
            test.said.pop(),
            Some(TurnOutput::Allocated(vec![relayed()]))
        );
        test
    }

    fn drain(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                TurnOutput::Transmit(message) => self.sent.push_back(message),
                other => self.said.push(other),
            }
        }
    }

    /// Takes the next request and checks its method and, after a challenge, its signature.
    fn request(&mut self, method: Method) -> Vec<u8> {
        let contents = self.sent.pop_front().expect("a request");
        let message = Message::from_bytes(&contents).unwrap();
        assert_eq!(message.method(), method);
        contents
    }

    fn credentials(&self) -> turn_types::stun::message::IntegrityKey {
        LongTermKeyCredentials::new("me".into(), "secret".into(), self.realm.into())
            .make_key(self.algorithm)
    }

    fn assert_signed(&self, contents: &[u8]) {
        let message = Message::from_bytes(contents).unwrap();
        let by = message.validate_integrity_with_key(&self.credentials());
        assert_eq!(by.unwrap(), self.algorithm);
        assert_eq!(message.attribute::<Username>().unwrap().username(), "me");
        assert_eq!(message.attribute::<Nonce>().unwrap().nonce(), self.nonce);
        assert_eq!(message.attribute::<Realm>().unwrap().realm(), self.realm);
    }

    fn receive(&mut self, message: &[u8]) {
        assert_eq!(self.client.handle_message(message, self.now), None);
        self.drain();
    }

    /// Answers the next request with a challenge.
    fn challenge(&mut self, code: u16) {
        let contents = self.sent.pop_front().expect("a request");
        let mut m = error_to(&contents, code);
        m.add_attribute(&Realm::new(self.realm).unwrap()).unwrap();
        m.add_attribute(&Nonce::new(self.nonce).unwrap()).unwrap();
        if self.algorithm == IntegrityAlgorithm::Sha256 {
            let all = [PasswordAlgorithmValue::MD5, PasswordAlgorithmValue::SHA256];
            m.add_attribute(&PasswordAlgorithms::new(&all)).unwrap();
        }
        self.receive(&m.finish());
    }

    /// Answers a request with a signed success response.
    fn succeed(&mut self, to: &[u8], add: impl Fn(&mut MessageWriteVec, &Message<'_>)) {
        let message = Message::from_bytes(to).unwrap();
        let mut m = Message::builder_success(&message, MessageWriteVec::new());
        add(&mut m, &message);
        m.add_message_integrity_with_key(&self.credentials(), self.algorithm)
            .unwrap();
        self.receive(&m.finish());
    }

    fn allocate(&mut self, seconds: u32) {
        let request = self.request(ALLOCATE);
        self.assert_signed(&request);
        self.succeed(&request, |m, to| {
            let address = XorRelayedAddress::new(relayed(), to.transaction_id());
            m.add_attribute(&address).unwrap();
            m.add_attribute(&Lifetime::new(seconds)).unwrap();
        });
    }

    fn refuse(&mut self, to: &[u8], code: u16) {
        let mut m = error_to(to, code);
        m.add_message_integrity_with_key(&self.credentials(), self.algorithm)
            .unwrap();
        self.receive(&m.finish());
    }

    fn send(&mut self, to: SocketAddr, contents: &[u8]) -> bool {
        let sent = self.client.send(to, contents, self.now);
        self.drain();
        sent
    }

    /// Advances the clock and handles timeouts.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.client.deadline().filter(|at| *at <= end) {
            assert!(at >= self.now, "a deadline that has been");
            self.now = at;
            self.client.handle_timeout(at);
            self.drain();
        }
        self.now = end;
    }

    /// Advances the clock until this request is sent; keepalives are dropped.
    fn pass_until(&mut self, method: Method) -> Vec<u8> {
        for _ in 0..10_000 {
            if let Some(contents) = self.sent.pop_front() {
                if Message::from_bytes(&contents).is_ok_and(|m| m.method() == method) {
                    return contents;
                }
                continue;
            }
            let next = self.client.deadline().expect("something to come");
            self.pass(next - self.now);
        }
        panic!("no such request");
    }
}

fn error_to(contents: &[u8], code: u16) -> MessageWriteVec {
    let message = Message::from_bytes(contents).unwrap();
    let mut m = Message::builder_error(&message, MessageWriteVec::new());
    let error = ErrorCode::builder(code).reason("why").build().unwrap();
    m.add_attribute(&error).unwrap();
    m
}

#[test]
fn allocates_by_the_long_term_credential() {
    let mut test = Test::new();
    let first = Message::from_bytes(&test.sent[0]).unwrap();
    assert!(!first.has_attribute(Username::TYPE));
    test.challenge(401);
    test.allocate(600);
    assert_eq!(test.said, [TurnOutput::Allocated(vec![relayed()])]);
}

#[test]
fn sha_256_where_the_server_knows_it() {
    let mut test = Test::new();
    test.algorithm = IntegrityAlgorithm::Sha256;
    // The cookie, and the feature bit for password algorithms.
    test.nonce = "obMatJos2gAAArest";
    test.challenge(401);
    let request = Message::from_bytes(&test.sent[0]).unwrap();
    assert!(request.has_attribute(MessageIntegritySha256::TYPE));
    let offered = request.attribute::<PasswordAlgorithms>().unwrap();
    assert_eq!(offered.algorithms().len(), 2);
    test.allocate(600);
    assert_eq!(test.said.len(), 1);
}

#[test]
fn algorithms_that_were_cut_out_are_missed() {
    let mut test = Test::new();
    test.nonce = "obMatJos2gAAArest";
    test.challenge(401);
    let [TurnOutput::Failed(401, why)] = &test.said[..] else {
        panic!("{:?}", test.said)
    };
    assert!(why.contains("missing"), "{why}");
}

#[test]
fn a_wrong_credential_is_not_repeated() {
    let mut test = Test::new();
    test.challenge(401);
    test.challenge(401);
    assert_eq!(test.said, [TurnOutput::Failed(401, "why".into())]);
    assert!(test.sent.is_empty() && test.client.is_closed());
}

#[test]
fn a_new_nonce_and_realm_are_taken() {
    let mut test = Test::new();
    test.challenge(401);
    (test.nonce, test.realm) = ("n2", "there");
    test.challenge(438);
    test.allocate(600);
    assert_eq!(test.said.len(), 1);
}

#[test]
fn a_nonce_that_changes_without_end_comes_to_an_end() {
    let mut test = Test::new();
    test.challenge(401);
    for _ in 0..MAX_CHALLENGES {
        if test.said.is_empty() {
            test.challenge(438);
        }
    }
    assert_eq!(test.said, [TurnOutput::Failed(438, "why".into())]);
}

#[test]
fn refusals_keep_their_code() {
    for code in [400, 403, 437, 441, 442, 486, 500, 508] {
        let mut test = Test::new();
        test.challenge(401);
        let request = test.request(ALLOCATE);
        test.refuse(&request, code);
        assert_eq!(test.said, [TurnOutput::Failed(code, "why".into())]);
        assert_eq!(test.client.deadline(), None);
    }
}

#[test]
fn try_alternate_says_where() {
    let mut test = Test::new();
    let request = test.request(ALLOCATE);
    let mut m = error_to(&request, 300);
    let other = SocketAddr::from(([192, 0, 2, 9], 3478));
    m.add_attribute(&AlternateServer::new(other)).unwrap();
    test.receive(&m.finish());
    assert_eq!(test.said, [TurnOutput::Redirected(other)]);
}

#[test]
fn a_silent_server_is_given_up() {
    let mut test = Test::new();
    test.pass(Duration::from_secs(60));
    assert_eq!(test.sent.len(), 7);
    assert!(matches!(&test.said[..], [TurnOutput::Failed(701, _)]));
}

#[test]
fn an_allocation_is_refreshed_before_it_runs_out() {
    for (lifetime, at) in [(600, 540), (3600, 3540), (100, 50), (4, 2)] {
        let mut test = Test::new();
        test.challenge(401);
        test.allocate(lifetime);
        let start = test.now;
        let request = test.pass_until(REFRESH);
        assert_eq!(test.now - start, at * S);
        test.succeed(&request, |m, _| {
            m.add_attribute(&Lifetime::new(lifetime)).unwrap();
        });
        test.pass_until(REFRESH);
        assert_eq!(test.now - start, 2 * at * S);
    }
}

#[test]
fn an_allocation_that_the_server_has_forgotten_is_lost() {
    let mut test = Test::allocated();
    let request = test.pass_until(REFRESH);
    // Unsigned errors are ignored: anybody could send one.
    test.receive(&error_to(&request, 437).finish());
    assert_eq!(test.said, []);
    test.refuse(&request, 437);
    assert_eq!(test.said, [TurnOutput::Lost(437, "why".into())]);
    assert!(!test.send(peer(1), b"x"));
}

#[test]
fn a_server_that_says_nothing_is_asked_whether_it_knows_us() {
    let mut test = Test::allocated();
    let wants_refresh = |test: &mut Test| {
        test.send(peer(1), b"is anybody there?");
        let requests = std::mem::take(&mut test.sent);
        requests
            .iter()
            .any(|r| Message::from_bytes(r).is_ok_and(|m| m.method() == REFRESH))
    };
    test.pass(Duration::from_secs(2));
    assert!(!wants_refresh(&mut test), "that is not long");
    test.pass(Duration::from_secs(2));
    assert!(wants_refresh(&mut test), "silent for 4 s");
    test.pass(Duration::from_millis(100));
    assert!(!wants_refresh(&mut test), "it has been asked");
}

#[test]
fn a_server_that_dies_is_noticed() {
    let mut test = Test::allocated();
    let start = test.now;
    test.pass(Duration::from_secs(900));
    assert!(
        matches!(&test.said[..], [TurnOutput::Lost(701, _)]),
        "{:?}",
        test.said
    );
    // Besides keepalives and the refresh, at most one probe per second.
    assert!(test.sent.len() < 100, "{}", test.sent.len());
    assert!(test.now - start <= 900 * S);
}

#[test]
fn data_waits_for_its_permission_and_then_takes_a_channel() {
    let mut test = Test::allocated();
    // Looks like a connectivity check: only the first byte is read.
    let check = [0, 1, 2, 3];
    assert!(test.send(peer(1), &check));
    assert!(test.send(peer(1), b"data"));
    let permission = test.request(CREATE_PERMISSION);
    test.assert_signed(&permission);
    assert!(test.sent.is_empty());
    let asked = Message::from_bytes(&permission).unwrap();
    let asked = asked
        .attribute::<XorPeerAddress>()
        .unwrap()
        .addr(asked.transaction_id());
    assert_eq!(asked.ip(), peer(1).ip());
    test.succeed(&permission, |_, _| {});
    assert_eq!(test.sent.len(), 2);
    test.sent.clear();
    // Checks alone bind no channel.
    assert!(test.send(peer(1), &check));
    assert_eq!(test.sent.len(), 1);
    test.sent.clear();
    assert!(test.send(peer(1), b"more data"));
    assert_eq!(test.sent.pop_front().unwrap()[..2], [0, 0x16]);
    let bind = test.request(CHANNEL_BIND);
    let number = Message::from_bytes(&bind)
        .unwrap()
        .attribute::<ChannelNumber>()
        .unwrap()
        .channel();
    assert_eq!(number, FIRST_CHANNEL);
    // ChannelData is ignored before the channel is bound.
    let data = frame::channel_data(FIRST_CHANNEL, b"early", false);
    assert_eq!(test.client.handle_message(&data, test.now), None);
    test.succeed(&bind, |_, _| {});
    assert!(test.send(peer(1), b"fast"));
    assert_eq!(
        test.sent.pop_front().unwrap(),
        frame::channel_data(FIRST_CHANNEL, b"fast", false)
    );
    let data = frame::channel_data(FIRST_CHANNEL, b"late", false);
    let (from, range) = test.client.handle_message(&data, test.now).unwrap();
    assert_eq!((from, &data[range]), (peer(1), &b"late"[..]));
}

#[test]
fn only_whom_we_sent_to_may_send() {
    let mut test = Test::allocated();
    test.send(peer(1), b"x");
    let permission = test.request(CREATE_PERMISSION);
    test.succeed(&permission, |_, _| {});
    let data = |from: SocketAddr| {
        let mut m = frame::send_indication(TransactionIds::new(None).next(), from, b"hi");
        m[1] = 0x17;
        m
    };
    assert!(
        test.client
            .handle_message(&data(peer(1)), test.now)
            .is_some()
    );
    assert!(
        test.client
            .handle_message(&data(peer(2)), test.now)
            .is_none()
    );
}

#[test]
fn a_refused_permission_is_said_once_and_asked_for_later() {
    let mut test = Test::allocated();
    assert!(test.send(peer(1), b"x"));
    let request = test.request(CREATE_PERMISSION);
    test.refuse(&request, 403);
    let refused = TurnOutput::Refused(peer(1).ip(), 403, "why".into());
    assert_eq!(test.said, [refused]);
    assert!(!test.send(peer(1), b"x"));
    assert!(test.sent.is_empty());
    test.pass(61 * S);
    test.sent.clear();
    assert!(test.send(peer(1), b"x"));
    test.request(CREATE_PERMISSION);
}

#[test]
fn permissions_and_channels_in_use_are_refreshed_and_others_let_go() {
    let mut test = Test::allocated();
    for n in [1, 2] {
        test.send(peer(n), b"data");
        let request = test.request(CREATE_PERMISSION);
        test.succeed(&request, |_, _| {});
        test.sent.clear();
    }
    test.send(peer(1), b"data");
    test.sent.pop_front();
    let bind = test.request(CHANNEL_BIND);
    test.succeed(&bind, |_, _| {});
    let start = test.now;
    let mut refreshed = Vec::new();
    while test.now < start + 1300 * S {
        test.send(peer(1), b"data");
        test.pass(S);
        for contents in std::mem::take(&mut test.sent) {
            let Ok(message) = Message::from_bytes(&contents) else {
                continue;
            };
            let method = message.method();
            if [CREATE_PERMISSION, CHANNEL_BIND, REFRESH].contains(&method) {
                let about = message.attribute::<XorPeerAddress>();
                let about = about.map(|a| a.addr(message.transaction_id()).ip());
                refreshed.push((method, about.ok()));
                test.succeed(&contents, |_, _| {});
            }
        }
    }
    let count = |method, n| {
        let what = (method, Some(peer(n).ip()));
        refreshed.iter().filter(|r| **r == what).count()
    };
    assert_eq!(count(CHANNEL_BIND, 1), 2);
    assert!(
        (4..=6).contains(&count(CREATE_PERMISSION, 1)),
        "{refreshed:?}"
    );
    // Used when it was created; not since.
    assert_eq!(count(CREATE_PERMISSION, 2), 1);
    assert_eq!(test.said, []);
}

#[test]
fn limits_hold() {
    let mut test = Test::allocated();
    for n in 0..=255 {
        test.send(peer(n), b"x");
    }
    assert_eq!(test.sent.len(), 100);
    let waiting = test.client.requests.len();
    assert_eq!(waiting, 100);
    assert!(!test.send(peer(1), &[0; 65_500]));
}

#[test]
fn it_is_given_back_whatever_the_nonce() {
    let mut test = Test::allocated();
    test.client.release(test.now);
    test.drain();
    test.nonce = "n2";
    test.challenge(438);
    let request = test.request(REFRESH);
    test.assert_signed(&request);
    let lifetime = Message::from_bytes(&request)
        .unwrap()
        .attribute::<Lifetime>()
        .unwrap()
        .seconds();
    assert_eq!(lifetime, 0);
    assert!(!test.client.is_closed());
    test.succeed(&request, |_, _| {});
    assert!(test.client.is_closed());
    // An allocation that never existed needs no release.
    let mut test = Test::new();
    test.sent.clear();
    test.client.release(test.now);
    test.drain();
    assert!(test.client.is_closed() && test.sent.is_empty());
}

#[test]
fn junk_changes_nothing() {
    let mut test = Test::allocated();
    let request = test.pass_until(REFRESH);
    let message = Message::from_bytes(&request).unwrap();
    let mut m = Message::builder_success(&message, MessageWriteVec::new());
    m.add_message_integrity_with_key(&test.credentials(), test.algorithm)
        .unwrap();
    let good = m.finish();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            test.client.handle_message(&bad, test.now);
            test.client.handle_message(&good[..at], test.now);
            assert_eq!(
                test.client.requests.len(),
                1,
                "byte {at} bit {bit}: {bad:?}"
            );
        }
    }
    test.drain();
    assert_eq!((test.said.len(), test.client.requests.len()), (0, 1));
}

/// A client that gives up while the response is on its way leaves no allocation behind.
#[test]
fn what_is_asked_for_is_given_back() {
    let mut test = Test::new();
    // Nothing can have been allocated without credentials.
    test.client.release(test.now);
    assert!(test.client.is_closed());
    let mut test = Test::new();
    test.challenge(401);
    test.request(ALLOCATE);
    test.client.release(test.now);
    test.drain();
    let release = test.request(REFRESH);
    test.assert_signed(&release);
    let message = Message::from_bytes(&release).unwrap();
    let lifetime = message.attribute::<turn_types::attribute::Lifetime>();
    assert_eq!(lifetime.unwrap().seconds(), 0);
    assert!(!test.client.is_closed());
    // There was no allocation.
    test.refuse(&release, 437);
    assert!(test.client.is_closed());
}
