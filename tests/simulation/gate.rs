//! Datagrams from an address that ICE has not validated never reach DTLS, SRTP or SCTP, and those that do reach them
//! cannot end a session.

use std::net::SocketAddr;

use looprtc::proto::net::Transmit;
use looprtc::proto::peer::{
    ChannelConfig, Codec, ConnectionState, DtlsVersion, EncodedFrame, MediaKind, PeerConfig,
    PeerEvent, TransceiverConfig,
};
use looprtc::testing::{Link, Node, Rng, Simulation};

use crate::common::{Log, connected, create, pair_with_channel, state, without_names_of_streams};

const THIRD: &str = "203.0.113.9:4444";

fn third() -> SocketAddr {
    THIRD.parse().unwrap()
}

/// Returns everything that a connection sends during establishment and afterwards.
fn captured(dtls: DtlsVersion) -> Vec<Transmit> {
    let mut sim = Simulation::new(77, Link::default());
    sim.record();
    let config = PeerConfig::default().dtls(dtls);
    let (a, b) = sim.pair_with(config.clone(), config);
    let (ca, _) = pair_with_channel(&mut sim, a, b);
    sim.with(a, |p, now| p.send_binary(ca, &[1; 5_000], now))
        .unwrap();
    sim.run_for(1_000);
    sim.recorded()
}

/// Datagrams that an attacker could send: real ones of another session, and junk of every class (RFC 7983).
fn forgeries(dtls: DtlsVersion) -> Vec<Vec<u8>> {
    let session = captured(dtls);
    let hello = session
        .iter()
        .find(|t| t.contents[0] == 22 && t.contents[13] == 1)
        .expect("a ClientHello");
    let mut all = vec![hello.contents.clone()];
    all.extend(session.iter().map(|t| t.contents.clone()));
    let mut rng = Rng::new(1);
    for first in 0..=255u8 {
        let mut junk: Vec<u8> = (0..rng.below(200) + 1)
            .map(|_| rng.next_u64() as u8)
            .collect();
        junk[0] = first;
        all.push(junk);
    }
    // RTP, RTCP, an alert "close_notify", an empty record, one byte.
    all.push([&[0x80, 96][..], &[0; 60]].concat());
    all.push([&[0x80, 200][..], &[0; 60]].concat());
    all.push(vec![21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0]);
    all.push(vec![21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40]);
    all.push(vec![23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0]);
    all.push(vec![20]);
    all
}

fn talk(sim: &mut Simulation, a: Node, b: Node) {
    for (from, to) in [(a, b), (b, a)] {
        let channel = sim.peer(from).channels()[0];
        sim.with(from, |p, now| p.send_text(channel, "hello", now))
            .expect("open");
        sim.run_for(5_000);
        let got = Log::of(sim, to);
        assert_eq!(got.messages.values().map(Vec::len).sum::<usize>(), 1);
        assert!(got.errors.is_empty(), "{:?}", got.errors);
        assert_eq!(state(sim, to), ConnectionState::Connected);
    }
}

#[test]
fn forged_datagrams_from_a_third_address() {
    for dtls in [DtlsVersion::V1_2, DtlsVersion::Auto] {
        let forgeries = forgeries(dtls);
        let mut sim = Simulation::new(1, Link::default().delay(20, 0));
        let config = PeerConfig::default().dtls(dtls);
        let (a, b) = sim.pair_with(config.clone(), config);
        create(&mut sim, a, ChannelConfig::new("x"));
        // During the whole establishment, then during the session.
        let mut sent = 0;
        for round in 0..400 {
            for to in [a, b] {
                for n in 0..3 {
                    let forged = &forgeries[(round * 3 + n) % forgeries.len()];
                    sim.forge(third(), to, forged.clone());
                    // Above all the ClientHello.
                    sim.forge(third(), to, forgeries[0].clone());
                    sent += 2;
                }
            }
            sim.run_for(1);
        }
        connected(&mut sim, a, b);
        sim.run_for(5_000);
        talk(&mut sim, a, b);
        let stats = [sim.peer(a).stats(), sim.peer(b).stats()];
        let dropped: u64 = stats
            .iter()
            .map(|s| s.unvalidated_dropped + s.stun_rejected + s.malformed_dropped)
            .sum();
        assert_eq!(dropped, sent, "{stats:?}");
        for node in [a, b] {
            assert!(sim.peer(node).validated_addresses().all(|x| x != third()));
            assert_eq!(sim.peer(node).stats().core_errors, 0);
        }
    }
}

/// The same with the validated source address, which can be spoofed.
#[test]
fn forged_datagrams_from_the_validated_address() {
    for dtls in [DtlsVersion::V1_2, DtlsVersion::Auto] {
        let forgeries = forgeries(dtls);
        let mut sim = Simulation::new(2, Link::default());
        let config = PeerConfig::default().dtls(dtls);
        let (a, b) = sim.pair_with(config.clone(), config);
        pair_with_channel(&mut sim, a, b);
        for (n, forged) in forgeries.iter().enumerate() {
            let (from, to) = if n % 2 == 0 { (a, b) } else { (b, a) };
            let from = sim.address(from);
            sim.forge(from, to, forged.clone());
            if n % 50 == 0 {
                sim.run_for(10);
            }
        }
        sim.run_for(5_000);
        talk(&mut sim, a, b);
        sim.run_for(60_000);
        talk(&mut sim, a, b);
    }
}

/// And during the handshake: it may take longer, but succeeds.
#[test]
fn junk_from_the_validated_address_during_the_handshake() {
    for dtls in [DtlsVersion::V1_2, DtlsVersion::Auto] {
        // Except for unprotected handshake messages: those could have any effect, RFC 6347 §4.1.2.7.
        let forgeries: Vec<Vec<u8>> = forgeries(dtls)
            .into_iter()
            .filter(|f| ![20, 21, 22].contains(&f[0]))
            .collect();
        let mut sim = Simulation::new(3, Link::default().delay(20, 0));
        let config = PeerConfig::default().dtls(dtls);
        let (a, b) = sim.pair_with(config.clone(), config);
        create(&mut sim, a, ChannelConfig::new("x"));
        for round in 0..300 {
            for (from, to) in [(a, b), (b, a)] {
                let from = sim.address(from);
                sim.forge(from, to, forgeries[round % forgeries.len()].clone());
            }
            sim.run_for(1);
        }
        connected(&mut sim, a, b);
        sim.run_for(5_000);
        talk(&mut sim, a, b);
    }
}

/// STUN messages of another session, with a wrong password, and with the right user name but no integrity.
#[test]
fn stun_with_a_wrong_password() {
    let mut sim = Simulation::new(4, Link::default());
    sim.record();
    let (a, b) = sim.pair();
    pair_with_channel(&mut sim, a, b);
    let mut requests: Vec<Vec<u8>> = sim
        .recorded()
        .into_iter()
        .map(|t| t.contents)
        .filter(|c| c[0] < 4)
        .collect();
    for request in &mut requests {
        // The last 8 bytes are the fingerprint, the 20 before it the integrity.
        let at = request.len() - 20;
        request[at] ^= 1;
    }
    let before = sim.peer(b).stats();
    for request in &requests {
        sim.forge(third(), b, request.clone());
    }
    sim.run_for(100);
    let after = sim.peer(b).stats();
    let refused = after.stun_rejected + after.malformed_dropped;
    assert_eq!(
        refused - before.stun_rejected - before.malformed_dropped,
        requests.len() as u64
    );
    assert!(sim.peer(b).validated_addresses().all(|x| x != third()));
    talk(&mut sim, a, b);
}

/// An attacker on the path replays valid requests from an address of its own. The integrity is valid, so the address
/// counts as validated, like one that a NAT has changed; but the session keeps its path, and DTLS accepts nothing from
/// the attacker.
#[test]
fn replayed_stun_from_another_address() {
    let mut sim = Simulation::new(5, Link::default());
    sim.record();
    let config = PeerConfig::default().restart_after_disconnected(None);
    let (a, b) = sim.pair_with(config.clone(), config);
    pair_with_channel(&mut sim, a, b);
    let to_b = sim.address(b);
    let requests: Vec<Vec<u8>> = sim
        .recorded()
        .into_iter()
        .filter(|t| t.destination == to_b && t.contents[..2] == [0, 1])
        .map(|t| t.contents)
        .collect();
    assert!(!requests.is_empty());
    let path = sim.peer(b).stats().path;
    for _ in 0..20 {
        for request in &requests {
            sim.forge(third(), b, request.clone());
        }
        sim.run_for(1_000);
    }
    sim.record();
    talk(&mut sim, a, b);
    assert_eq!(sim.peer(b).stats().path, path, "data goes where it went");
    let astray = |t: &&Transmit| t.destination == third() && t.contents[0] > 3;
    assert_eq!(sim.recorded().iter().filter(astray).count(), 0);
    // Now that it is validated: junk of all classes from that address.
    for forged in forgeries(DtlsVersion::V1_2) {
        sim.forge(third(), b, forged);
    }
    sim.run_for(40_000);
    talk(&mut sim, a, b);
    // And it does not keep a dead session alive for long: consent needs responses to our own checks.
    sim.unplug(a, true);
    for _ in 0..60 {
        for request in &requests {
            sim.forge(third(), b, request.clone());
        }
        sim.run_for(1_000);
    }
    assert_eq!(state(&sim, b), ConnectionState::Failed);
}

/// Streams that no description announces are assigned by payload type, a limited number of them. Packets that anybody
/// could have forged, from the validated address, do not use up these places: only packets authenticated by SRTP do.
#[test]
fn forged_streams_take_no_places() {
    let mut sim = Simulation::new(83, Link::default());
    let (a, b) = (
        sim.add(PeerConfig::default()),
        sim.add(PeerConfig::default()),
    );
    let opus = TransceiverConfig::default().codecs([Codec::Opus]);
    let track = sim.with(a, |p, now| p.add_track(MediaKind::Audio, opus, now));
    let track = track.unwrap();
    let offer = sim.with(a, |p, now| p.negotiate(now)).unwrap();
    let payload_type: u8 = {
        let line = offer.sdp.lines().find(|l| l.starts_with("m=audio"));
        line.unwrap().split(' ').nth(3).unwrap().parse().unwrap()
    };
    let answer = sim.with(b, |p, now| p.receive(without_names_of_streams(offer), now));
    let answer = without_names_of_streams(answer.unwrap().unwrap());
    sim.with(a, |p, now| p.receive(answer, now)).unwrap();
    for (from, to) in [(a, b), (b, a)] {
        while let Some(event) = sim.next_event(from) {
            if let PeerEvent::IceCandidate(Some(candidate)) = event {
                let init = candidate.to_init();
                let added = sim.with(to, |p, now| p.add_ice_candidate(Some(&init), now));
                added.unwrap();
            }
        }
    }
    connected(&mut sim, a, b);
    let from = sim.address(a);
    for n in 0..100u8 {
        // RTP of another SSRC each time (RFC 3550 §5.1), with an invalid tag.
        let header = [0x80, payload_type, 0, n, 0, 0, 0, n, 9, 9, 9, n];
        sim.forge(from, b, [&header[..], &[n; 60]].concat());
        sim.run_for(5);
    }
    for n in 0..20 {
        let time = std::time::Duration::from_millis(20 * n);
        let frame = EncodedFrame::new(vec![n as u8; 80], time);
        sim.with(a, |p, now| p.write_frame(track, &frame, now))
            .unwrap();
        sim.run_for(20);
    }
    sim.run_for(500);
    let events = std::iter::from_fn(|| sim.next_event(b));
    let frames = events.filter(|e| matches!(e, PeerEvent::Frame(_))).count();
    assert!(frames >= 19, "{frames} frames came");
}

/// Once connected, DTLS 1.3 needs no unprotected records. Hellos with other message numbers, and messages that are
/// never unprotected, from the validated address, used to stay in the core's queue, and after thirty of them nothing
/// got through any more.
#[test]
fn forged_handshake_messages_in_the_clear_stop_no_session() {
    for kind in [1, 2, 8, 11, 20, 24] {
        let mut sim = Simulation::new(84, Link::default());
        let (a, b) = sim.pair();
        let (ca, cb) = pair_with_channel(&mut sim, a, b);
        for (from, to) in [(a, b), (b, a)] {
            let from = sim.address(from);
            for number in [0, 1, 4, 5, 9] {
                // A record of epoch 0, and in it a message of one byte (RFC 9147 §4, §5.2).
                let record = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 90 + number, 0, 13];
                let message = [kind, 0, 0, 1, 0, number, 0, 0, 0, 0, 0, 1, 7];
                sim.forge(from, to, [record, message].concat());
                sim.run_for(5);
            }
        }
        for n in 0..60 {
            for (node, channel) in [(a, ca), (b, cb)] {
                sim.with(node, |p, now| p.send_binary(channel, &[n; 40], now))
                    .unwrap();
            }
            sim.run_for(30);
        }
        sim.run_for(2_000);
        for (node, channel) in [(a, ca), (b, cb)] {
            let count = Log::of(&mut sim, node).on(channel).len();
            assert_eq!(count, 60, "after forged messages of type {kind}");
        }
    }
}
