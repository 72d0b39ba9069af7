//! ICE checks as other implementations send them: with required attributes missing, and with unknown ones.

use looprtc::proto::net::Transmit;
use looprtc::proto::peer::{ChannelConfig, IceCandidateInit, PeerConfig};
use looprtc::testing::{Link, Node, Simulation};
use turn_types::stun::attribute::{
    AttributeType, ErrorCode, RawAttribute, UnknownAttributes, Username,
};
use turn_types::stun::message::{
    BINDING, IntegrityAlgorithm, IntegrityKey, Message, MessageWrite, MessageWriteExt,
    MessageWriteVec, ShortTermCredentials,
};

use crate::common::{connected, create};

struct Session {
    sim: Simulation,
    from: Node,
    to: Node,
}

impl Session {
    fn new() -> Self {
        let mut sim = Simulation::new(1, Link::default());
        let (from, to) = sim.pair_with(PeerConfig::default(), PeerConfig::default());
        create(&mut sim, from, ChannelConfig::new("data"));
        connected(&mut sim, from, to);
        Self { sim, from, to }
    }

    fn attribute(&self, node: Node, name: &str) -> String {
        let sdp = self.sim.peer(node).local_description().expect("one").sdp;
        let start = format!("a={name}:");
        let mut lines = sdp.lines();
        let found = lines.find_map(|line| line.strip_prefix(start.as_str()));
        found.expect(name).to_owned()
    }

    fn key(&self) -> IntegrityKey {
        ShortTermCredentials::new(self.attribute(self.to, "ice-pwd")).make_key()
    }

    /// Sends a check with the right password and these attributes; returns the responses.
    fn check(&mut self, priority: bool, unknown: &[u16]) -> Vec<Transmit> {
        let mut check = Message::builder_request(BINDING, MessageWriteVec::new());
        let username = format!(
            "{}:{}",
            self.attribute(self.to, "ice-ufrag"),
            self.attribute(self.from, "ice-ufrag")
        );
        check
            .add_attribute(&Username::new(&username).expect("short"))
            .expect("room");
        if priority {
            let value = RawAttribute::new(AttributeType::new(0x0024), &[0, 1, 2, 3]);
            check.add_attribute(&value).expect("room");
        }
        for kind in unknown {
            let value = RawAttribute::new(AttributeType::new(*kind), &[1, 2, 3]);
            check.add_attribute(&value).expect("room");
        }
        check
            .add_message_integrity_with_key(&self.key(), IntegrityAlgorithm::Sha1)
            .expect("room");
        check.add_fingerprint().expect("room");
        let check = check.finish();
        let id = check[8..20].to_vec();
        let source = self.sim.address(self.from);
        self.sim.record();
        self.sim.forge(source, self.to, check);
        self.sim.run_for(50);
        let mut sent = self.sim.recorded();
        sent.retain(|t| t.destination == source && t.contents.get(8..20) == Some(&id[..]));
        sent
    }
}

#[test]
fn a_check_without_priority_is_answered() {
    let mut session = Session::new();
    let answers = session.check(false, &[]);
    assert_eq!(answers.len(), 1);
    let answer = Message::from_bytes(&answers[0].contents).expect("STUN");
    assert!(answer.has_class(turn_types::stun::message::MessageClass::Success));
    answer
        .validate_integrity_with_key(&session.key())
        .expect("signed");
}

#[test]
fn an_attribute_that_nobody_knows_is_named() {
    let mut session = Session::new();
    // Unknown attributes above 0x8000 may be ignored.
    let answers = session.check(true, &[0x8777]);
    let answer = Message::from_bytes(&answers[0].contents).expect("STUN");
    assert!(answer.has_class(turn_types::stun::message::MessageClass::Success));
    for priority in [true, false] {
        let answers = session.check(priority, &[0x7777, 0x0033, 0x7777]);
        assert_eq!(answers.len(), 1);
        let answer = Message::from_bytes(&answers[0].contents).expect("STUN");
        assert!(answer.has_class(turn_types::stun::message::MessageClass::Error));
        let code = answer.attribute::<ErrorCode>().expect("an error");
        assert_eq!(code.code(), 420);
        let unknown = answer.attribute::<UnknownAttributes>().expect("a list");
        let is_named = |kind| unknown.has_attribute(AttributeType::new(kind));
        assert!(is_named(0x7777) && is_named(0x0033) && !is_named(0x0024));
        answer
            .validate_integrity_with_key(&session.key())
            .expect("signed");
    }
}

#[test]
fn errors_about_attributes_are_few() {
    let mut session = Session::new();
    let mut answered = 0;
    let mut bytes = 0;
    for _ in 0..100 {
        // Time hardly advances: 50 ms each.
        let answers = session.check(true, &(0x4000..0x4080).collect::<Vec<_>>());
        answered += answers.len();
        bytes += answers.iter().map(|t| t.contents.len()).sum::<usize>();
    }
    assert!((40..=60).contains(&answered), "{answered} in 5 s");
    assert!(bytes <= 100 * answered, "{bytes} in {answered}");
}

/// A description cannot make us send to our own machine, to many addresses at once, or to nobody.
#[test]
fn addresses_of_no_peer_are_not_checked() {
    for (loopback, take, used) in [
        (false, None, 1),
        (true, None, 3),
        (true, Some(false), 1),
        (false, Some(true), 3),
    ] {
        let mut sim = Simulation::new(1, Link::default());
        let config = PeerConfig::default()
            .include_loopback(loopback)
            .take_loopback(take);
        let (a, b) = sim.pair_with(config, PeerConfig::default());
        create(&mut sim, a, ChannelConfig::new("data"));
        connected(&mut sim, a, b);
        let before = sim.peer(a).stats().candidates;
        for ip in [
            "192.0.2.1",
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:0.0.0.0",
            "224.0.0.251",
            "239.1.2.3",
            "255.255.255.255",
            "240.0.0.1",
            "ff02::fb",
        ] {
            let line = format!("candidate:1 1 udp 2130706431 {ip} 9 typ host");
            let init = IceCandidateInit::new(line);
            sim.with(a, |p, now| p.add_ice_candidate(Some(&init), now))
                .expect("well formed");
        }
        let counts = sim.peer(a).stats().candidates;
        assert_eq!(counts.applied - before.applied, used, "{loopback} {take:?}");
        assert_eq!(counts.unusable - before.unusable, 12 - used);
    }
}

/// Without the password there is no response.
#[test]
fn strangers_get_no_error() {
    let mut session = Session::new();
    let (to, from) = (session.to, session.sim.address(session.from));
    session.sim.record();
    for body in [&[0x77, 0x77, 0, 0][..], &[]] {
        let mut check = vec![0, 1, 0, body.len() as u8, 0x21, 0x12, 0xA4, 0x42];
        check.extend([9; 12]);
        check.extend(body);
        session.sim.forge(from, to, check);
        session.sim.run_for(50);
    }
    let sent = session.sim.recorded();
    assert!(
        !sent
            .iter()
            .any(|t| t.contents.get(8..20) == Some(&[9; 12][..]))
    );
}
