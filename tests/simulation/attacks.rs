//! Known attacks on other implementations, by name. Each test documents the original flaw, and what has to hold here;
//! `docs/limits.md` lists them together with those tested elsewhere.

use std::net::SocketAddr;
use std::time::Instant;

use looprtc::proto::net::Transmit;
use looprtc::proto::peer::{
    Certificate, ChannelConfig, ConnectionState, CryptoBackend, DtlsVersion, MediaKind, MediaMode,
    PeerConfig, PeerEvent, SessionDescription, TransceiverConfig,
};
use looprtc::proto::rtp::{Packet, RtpSource, RtpSourceConfig, SourceEvent};
use looprtc::testing::{Link, Node, Simulation};
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::common::{Log, connected, create, pair_with_channel, state};

fn stranger() -> SocketAddr {
    "203.0.113.66:6666".parse().unwrap()
}

fn is_client_hello(datagram: &[u8]) -> bool {
    matches!(datagram, [22, ..]) && datagram.get(13) == Some(&1)
}

/// Records that only a session with keys can have: application data of DTLS 1.2, anything encrypted of 1.3.
fn is_protected(datagram: &[u8]) -> bool {
    matches!(datagram, [23 | 0x20..=0x3f, ..])
}

/// Returns everything that two peers send while they connect and exchange data.
fn session(dtls: DtlsVersion) -> Vec<Vec<u8>> {
    let mut sim = Simulation::new(91, Link::default());
    sim.record();
    let config = PeerConfig::default().dtls(dtls);
    let (a, b) = sim.pair_with(config.clone(), config);
    let (channel, _) = pair_with_channel(&mut sim, a, b);
    sim.with(a, |p, now| p.send_binary(channel, &[1; 3_000], now))
        .unwrap();
    sim.run_for(1_000);
    sim.recorded().into_iter().map(|t| t.contents).collect()
}

/// Attacks used against other implementations during the handshake: a ClientHello unchanged, one that offers only
/// TLS_NULL_WITH_NULL_NULL, a truncated one, an unexpected ServerHello, fatal alerts.
fn handshake_attacks(dtls: DtlsVersion) -> Vec<Vec<u8>> {
    let session = session(dtls);
    let hello = session
        .iter()
        .find(|d| is_client_hello(d))
        .expect("a hello");
    let mut all = vec![hello.clone(), null_hello(hello)];
    all.push(hello[..hello.len() / 2].to_vec());
    let server = session
        .iter()
        .find(|d| d[0] == 22 && d.get(13) == Some(&2))
        .expect("a ServerHello");
    all.push(server.clone());
    for description in [0, 40, 47, 71, 80] {
        let level = if description == 0 { 1 } else { 2 };
        all.push(vec![
            21,
            254,
            253,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            9,
            0,
            2,
            level,
            description,
        ]);
    }
    all
}

/// The same ClientHello with TLS_NULL_WITH_NULL_NULL (0, 0) in the place of each of its cipher suites.
fn null_hello(hello: &[u8]) -> Vec<u8> {
    // Record 13, handshake 12, version 2, random 32; then session id and cookie, each with a length.
    let mut hello = hello.to_vec();
    let mut at = 13 + 12 + 2 + 32;
    at += 1 + usize::from(hello[at]);
    at += 1 + usize::from(hello[at]);
    let length = usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    hello[at + 2..at + 2 + length].fill(0);
    hello
}

fn both_connected(sim: &Simulation, a: Node, b: Node) -> bool {
    [a, b]
        .iter()
        .all(|n| state(sim, *n) == ConnectionState::Connected)
}

/// Connects while `attack` is injected every millisecond. Returns the time it took, in milliseconds.
fn connect_under(
    sim: &mut Simulation,
    (a, b): (Node, Node),
    mut attack: impl FnMut(&mut Simulation, usize),
) -> usize {
    create(sim, a, ChannelConfig::new("x"));
    for millisecond in 0..20_000 {
        if both_connected(sim, a, b) {
            return millisecond;
        }
        attack(sim, millisecond);
        sim.run_for(1);
    }
    panic!("{:?} {:?}", sim.peer(a), sim.peer(b));
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

/// CVE-2023-49786 (Asterisk), CVE-2023-51443 (FreeSWITCH), and the same in RTPEngine: the first ClientHello was
/// answered, whatever its source. An attacker who sent one to the media port, best with an unsupported cipher suite,
/// ended calls before they started.
///
/// Here: datagrams from an address that ICE has not validated do not reach DTLS. The handshake is neither ended nor
/// delayed by a millisecond, and the attacker gets no response.
#[test]
fn cve_2023_49786_a_strangers_client_hello_wins_no_race() {
    for dtls in [DtlsVersion::V1_2, DtlsVersion::Auto] {
        let attacks = handshake_attacks(dtls);
        let begin = || {
            let mut sim = Simulation::new(92, Link::default().delay(20, 0));
            sim.record();
            let config = PeerConfig::default().dtls(dtls);
            let pair = sim.pair_with(config.clone(), config);
            (sim, pair)
        };
        let (mut quiet, pair) = begin();
        let undisturbed = connect_under(&mut quiet, pair, |_, _| {});

        let (mut sim, (a, b)) = begin();
        let mut thrown = 0;
        let disturbed = connect_under(&mut sim, (a, b), |sim, _| {
            for to in [a, b] {
                for attack in &attacks {
                    sim.forge(stranger(), to, attack.clone());
                    thrown += 1;
                }
            }
        });
        assert_eq!(disturbed, undisturbed, "{dtls:?}");
        sim.run_for(5_000);
        talk(&mut sim, a, b);
        let dropped = [a, b].map(|n| sim.peer(n).stats().unvalidated_dropped);
        assert_eq!(dropped.iter().sum::<u64>(), thrown, "{dtls:?}");
        let answered = |t: &Transmit| t.destination == stranger();
        assert!(!sim.recorded().iter().any(answered), "{dtls:?}");
    }
}

/// The same with the spoofed address of the remote peer, which an attacker knows from the candidates, or guesses. Until
/// ICE has validated that address, it has no effect.
#[test]
fn cve_2023_49786_nor_one_under_the_other_sides_address_that_comes_too_early() {
    for dtls in [DtlsVersion::V1_2, DtlsVersion::Auto] {
        let attacks = handshake_attacks(dtls);
        let mut sim = Simulation::new(93, Link::default().delay(20, 0));
        let config = PeerConfig::default().dtls(dtls);
        let (a, b) = sim.pair_with(config.clone(), config);
        let mut thrown = 0;
        connect_under(&mut sim, (a, b), |sim, _| {
            for (from, to) in [(a, b), (b, a)] {
                let from = sim.address(from);
                if sim.peer(to).validated_addresses().all(|x| x != from) {
                    for attack in &attacks {
                        sim.forge(from, to, attack.clone());
                        thrown += 1;
                    }
                }
            }
        });
        let dropped = [a, b].map(|n| sim.peer(n).stats().unvalidated_dropped);
        assert!(thrown > 0);
        // A forged datagram in the very millisecond of the validation arrives before it, or after.
        assert!(dropped.iter().sum::<u64>() + 4 * attacks.len() as u64 >= thrown);
        sim.run_for(5_000);
        talk(&mut sim, a, b);
    }
}

/// Passes each side the other's description, modified by `between`, and all candidates.
fn signal(
    sim: &mut Simulation,
    (a, b): (Node, Node),
    between: impl Fn(Node, SessionDescription) -> SessionDescription,
) {
    let offer = sim.with(a, |p, now| p.negotiate(now)).unwrap();
    let answer = sim.with(b, |p, now| p.receive(between(b, offer), now));
    let answer = between(a, answer.unwrap().unwrap());
    sim.with(a, |p, now| p.receive(answer, now)).unwrap();
    for (from, to) in [(a, b), (b, a)] {
        while let Some(event) = sim.next_event(from) {
            if let PeerEvent::IceCandidate(Some(candidate)) = event {
                let init = candidate.to_init();
                sim.with(to, |p, now| p.add_ice_candidate(Some(&init), now))
                    .unwrap();
            }
        }
    }
}

/// Returns the description with another certificate's fingerprint.
fn with_other_fingerprint(mut description: SessionDescription) -> SessionDescription {
    let name = "a=fingerprint:sha-256 ";
    let lines = description.sdp.lines().map(|line| {
        let Some(value) = line.strip_prefix(name) else {
            return line.to_string();
        };
        let first = if value.starts_with("00") { "FF" } else { "00" };
        format!("{name}{first}{}", &value[2..])
    });
    let changed = lines.collect::<Vec<_>>().join("\r\n") + "\r\n";
    assert_ne!(description.sdp, changed);
    description.sdp = changed;
    description
}

/// CVE-2021-28681 (pion): if the certificate did not match the description, the state became `failed`, but the DTLS
/// association stayed open, and data went through it. GHSA-qwfw-ggxw-577c (ex_webrtc): the DTLS client did not check
/// the fingerprint at all.
///
/// Here: whichever side is the client, a peer that receives an unexpected certificate never connects, opens no channel,
/// delivers and sends no data, reports the reason, and is closed and freed.
#[test]
fn cve_2021_28681_after_a_fingerprint_mismatch_nothing_is_open() {
    for dtls in [DtlsVersion::V1_2, DtlsVersion::V1_3, DtlsVersion::Auto] {
        // The answerer is the client.
        for deceived_is_client in [false, true] {
            let mut sim = Simulation::new(94, Link::default());
            let config = PeerConfig::default().dtls(dtls);
            let (a, b) = (sim.add(config.clone()), sim.add(config));
            let (deceived, other) = if deceived_is_client { (b, a) } else { (a, b) };
            // Negotiated out of band, so that each side could send as soon as there is an association.
            let channels =
                [a, b].map(|n| create(&mut sim, n, ChannelConfig::new("x").negotiated(7)));
            let channel = channels[usize::from(deceived == b)];
            signal(&mut sim, (a, b), |to, description| {
                if to == deceived {
                    with_other_fingerprint(description)
                } else {
                    description
                }
            });
            sim.record();
            let what = format!("{dtls:?}, the client is deceived: {deceived_is_client}");
            for _ in 0..2_000 {
                for (node, channel) in [(a, channels[0]), (b, channels[1])] {
                    let _ = sim.with(node, |p, now| p.send_text(channel, "secret", now));
                }
                sim.run_for(10);
                assert_ne!(state(&sim, deceived), ConnectionState::Connected, "{what}");
            }
            let log = Log::of(&mut sim, deceived);
            assert!(!log.states.contains(&ConnectionState::Connected), "{what}");
            assert!(log.opened.is_empty() && log.messages.is_empty(), "{what}");
            let said = |e: &String| e.contains("DTLS handshake") && e.contains("fingerprint");
            assert!(log.errors.iter().any(said), "{what}: {:?}", log.errors);
            let end = [ConnectionState::Failed, ConnectionState::Closed];
            assert!(log.states.ends_with(&end), "{what}: {:?}", log.states);
            let late = sim.with(deceived, |p, now| p.send_text(channel, "secret", now));
            assert!(late.is_err(), "{what}");
            assert!(sim.peer(deceived).channels().is_empty(), "{what}");
            // Nothing of it was delivered at the remote peer, and after the end nothing was sent at all.
            assert!(Log::of(&mut sim, other).messages.is_empty(), "{what}");
            let from = sim.address(deceived);
            sim.recorded();
            sim.run_for(60_000);
            let sent = sim.recorded();
            assert!(!sent.iter().any(|t| t.source == from), "{what}");
            assert!(
                !sent
                    .iter()
                    .any(|t| is_protected(&t.contents) && t.source == from)
            );
        }
    }
}

/// RFC 8122 §5: any supported hash function is sufficient, alone or beside others; and each is compared.
#[test]
fn certificates_are_known_by_any_function_and_by_no_wrong_hash() {
    fn hex(bytes: &[u8]) -> String {
        let bytes: Vec<String> = bytes.iter().map(|b| format!("{b:02X}")).collect();
        bytes.join(":")
    }
    let backend = CryptoBackend::default_backend().unwrap();
    let certificate = Certificate::generate(backend).unwrap();
    let der = certificate.der().0;
    let [sha_256, sha_384, sha_512] = [
        format!("sha-256 {}", hex(&Sha256::digest(der))),
        format!("sha-384 {}", hex(&Sha384::digest(der))),
        format!("SHA-512 {}", hex(&Sha512::digest(der)).to_lowercase()),
    ];
    let wrong = |right: &String| right[..right.len() - 2].to_owned() + "00";
    let sha_1 = format!("sha-1 {}", hex(&[7; 20]));
    let cases = [
        (vec![sha_384.clone()], true),
        (vec![sha_512.clone()], true),
        (vec![sha_1, sha_512.clone()], true),
        (vec![wrong(&sha_256), sha_256.clone()], true),
        (vec![wrong(&sha_512), sha_256], true),
        (vec![wrong(&sha_384)], false),
        (vec![wrong(&sha_512)], false),
        (vec![wrong(&sha_512), wrong(&sha_384)], false),
    ];
    for dtls in [DtlsVersion::V1_2, DtlsVersion::V1_3] {
        for (fingerprints, is_right) in &cases {
            for told_is_client in [false, true] {
                let mut sim = Simulation::new(96, Link::default());
                let config = PeerConfig::default().dtls(dtls);
                let known = config.clone().certificate(Some(certificate.clone()));
                let (a, b) = match told_is_client {
                    true => (sim.add(known), sim.add(config)),
                    false => (sim.add(config), sim.add(known)),
                };
                let told = if told_is_client { b } else { a };
                create(&mut sim, a, ChannelConfig::new("x"));
                signal(&mut sim, (a, b), |to, mut description| {
                    if to == told {
                        let all = fingerprints
                            .iter()
                            .map(|f| format!("a=fingerprint:{f}\r\n"));
                        let all: String = all.collect();
                        let lines = description.sdp.lines().map(|line| {
                            match line.starts_with("a=fingerprint:") {
                                true => all.clone(),
                                false => format!("{line}\r\n"),
                            }
                        });
                        description.sdp = lines.collect();
                    }
                    description
                });
                let what = format!("{dtls:?}, {fingerprints:?}, client: {told_is_client}");
                if *is_right {
                    connected(&mut sim, a, b);
                    continue;
                }
                sim.run_for(20_000);
                let log = Log::of(&mut sim, told);
                assert!(!log.states.contains(&ConnectionState::Connected), "{what}");
                assert!(log.opened.is_empty(), "{what}");
                let said = |e: &String| e.contains("DTLS handshake") && e.contains("fingerprint");
                assert!(log.errors.iter().any(said), "{what}: {:?}", log.errors);
            }
        }
    }
}

/// Positions of the lengths in a STUN message: that of the message, and those of the attributes up to and including
/// MESSAGE-INTEGRITY, which does not protect anything after it (RFC 8489 §14.5).
fn lengths_of(message: &[u8]) -> Vec<usize> {
    let mut at = 20;
    let mut all = vec![2];
    while at + 4 <= message.len() {
        all.push(at + 2);
        let length = usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
        if message[at..at + 2] == [0, 8] {
            break;
        }
        at += 4 + length.next_multiple_of(4);
    }
    all
}

/// All false values of its lengths, and the message truncated at every byte, with its length unchanged and corrected.
fn length_lies(message: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for at in lengths_of(message) {
        let length = u16::from_be_bytes([message[at], message[at + 1]]);
        let near = (-8..=8).map(|d: i16| length.wrapping_add_signed(d));
        let far = [0, 1, 3, 0x7fff, 0x8000, 0xfffc, 0xfffe, 0xffff];
        for lie in near.chain(far).filter(|lie| *lie != length) {
            let mut lied = message.to_vec();
            lied[at..at + 2].copy_from_slice(&lie.to_be_bytes());
            all.push(lied);
        }
    }
    for cut in 1..message.len() {
        all.push(message[..cut].to_vec());
        if let Some(rest) = cut.checked_sub(20) {
            let mut short = message[..cut].to_vec();
            short[2..4].copy_from_slice(&(rest as u16).to_be_bytes());
            // A message that ends after its integrity is complete.
            let whole = [28, 32].contains(&(message.len() - cut)) && rest % 4 == 0;
            if !whole && message.len() - cut > 8 {
                all.push(short);
            }
        }
    }
    all
}

/// CVE-2026-54909: a parser trusted the lengths in a STUN message, of itself or of its attributes, and read beyond its
/// end.
///
/// Here: real checks with the right password and any false length are all refused. They are counted, validate no
/// address, and the session continues. The same is tested for the TURN server and the STUN client in
/// `server/turn/machine/tests.rs::no_input_hurts` and `proto/ice/turn/tests.rs::junk_changes_nothing`.
#[test]
fn cve_2026_54909_lies_about_lengths_in_stun_are_refused() {
    let mut sim = Simulation::new(95, Link::default());
    sim.record();
    let (a, b) = sim.pair();
    pair_with_channel(&mut sim, a, b);
    let to_b = sim.address(b);
    let mut checks: Vec<Vec<u8>> = sim
        .recorded()
        .into_iter()
        .filter(|t| t.destination == to_b && t.contents[0] < 2)
        .map(|t| t.contents)
        .collect();
    // Requests and responses differ in their attributes; further ones of each kind add nothing.
    checks.sort_by_key(|c| (c[0], c[1], c.len()));
    checks.dedup_by_key(|c| (c[0], c[1], c.len()));
    assert!(checks.iter().any(|c| c[..2] == [0, 1]));
    assert!(checks.iter().any(|c| c[..2] == [1, 1]));
    let refused = |sim: &Simulation| {
        let stats = sim.peer(b).stats();
        stats.malformed_dropped + stats.stun_rejected
    };
    for check in &checks {
        for lie in length_lies(check) {
            let before = refused(&sim);
            sim.forge(stranger(), b, lie.clone());
            // It arrives at once; a millisecond later real ones may arrive as well, which are never refused.
            sim.run_for(0);
            sim.run_for(1);
            assert_eq!(refused(&sim), before + 1, "{lie:02x?}");
        }
    }
    assert!(sim.peer(b).validated_addresses().all(|x| x != stranger()));
    talk(&mut sim, a, b);
}

/// CVE-2025-49140 (pion/interceptor): an RTP packet whose last byte counts more padding than there is payload caused a
/// negative length, and a panic, in a forwarding server.
///
/// Here: such packets are refused where plain RTP is received, and all others are forwarded to a peer without their
/// padding. Each count from 0 to 255 is tested for each size of payload up to 16 in `proto/rtp/packet.rs`
/// (`padding_longer_than_the_packet_cve_2025_49140`).
#[test]
fn cve_2025_49140_padding_is_not_believed_on_its_way_to_a_peer() {
    let mut sim = Simulation::new(96, Link::default());
    let config = PeerConfig::default().media_mode(MediaMode::Packets);
    let (a, b) = sim.pair_with(config.clone(), config);
    let ours = sim.with(a, |p, now| {
        p.add_track(MediaKind::Video, TransceiverConfig::default(), now)
    });
    let ours = ours.unwrap();
    connected(&mut sim, a, b);
    sim.run_for(500);
    let mut source = RtpSource::new(RtpSourceConfig::default());
    let (mut fitting, mut refused) = (0, 0);
    let mut arrived = 0;
    for padding in 0..=255u8 {
        for payload in [1, 2, 100, 255] {
            let contents = vec![padding; payload];
            let number = fitting as u16;
            let mut bytes = Packet::new(96, number, 3000 * fitting, 5, &contents)
                .to_bytes()
                .unwrap();
            bytes[0] |= 0x20;
            let fits = (1..=payload).contains(&usize::from(padding));
            let taken = source.handle_input(stranger(), &bytes, sim.now());
            assert_eq!(taken.is_ok(), fits, "padding {padding} in {payload} bytes");
            if !fits {
                refused += 1;
                continue;
            }
            fitting += 1;
            while let Some(event) = source.poll() {
                let SourceEvent::Packet(packet) = event else {
                    continue;
                };
                assert_eq!(packet.payload.len(), payload - usize::from(padding));
                let written = sim.with(a, |p, now| p.write_rtp(ours, &packet.to_packet(), now));
                assert_eq!(written, Ok(()));
            }
            sim.run_for(5);
            while let Some(event) = sim.next_event(b) {
                arrived += u32::from(matches!(event, PeerEvent::Packet(_)));
            }
        }
    }
    sim.run_for(1_000);
    while let Some(event) = sim.next_event(b) {
        arrived += u32::from(matches!(event, PeerEvent::Packet(_)));
    }
    assert!(refused > 500 && fitting > 300, "{refused} {fitting}");
    assert!(arrived > 0 && arrived <= fitting, "{arrived} of {fitting}");
    assert!(both_connected(&sim, a, b));
}

/// The same in SRTP: anybody on the path can change the padding bit and the count, but authentication fails then (RFC
/// 3711 §3.3): the packets are dropped, and the session continues.
#[test]
fn cve_2025_49140_padding_in_srtp_is_authenticated() {
    let mut sim = Simulation::new(97, Link::default());
    let config = PeerConfig::default().media_mode(MediaMode::Packets);
    let (a, b) = sim.pair_with(config.clone(), config);
    let ours = sim.with(a, |p, now| {
        p.add_track(MediaKind::Video, TransceiverConfig::default(), now)
    });
    let ours = ours.unwrap();
    connected(&mut sim, a, b);
    sim.run_for(500);
    sim.record();
    let from = sim.address(a);
    let mut arrived = 0;
    for n in 0..100u16 {
        let packet = Packet::new(96, n, 3000 * u32::from(n), 5, &[9; 50]);
        let mut source = RtpSource::new(RtpSourceConfig::default());
        source
            .handle_input(stranger(), &packet.to_bytes().unwrap(), Instant::now())
            .unwrap();
        while let Some(event) = source.poll() {
            if let SourceEvent::Packet(packet) = event {
                sim.with(a, |p, now| p.write_rtp(ours, &packet.to_packet(), now))
                    .unwrap();
            }
        }
        sim.run_for(1);
        // The original is in flight; the changed copy overtakes it.
        let media: Vec<Transmit> = sim.recorded();
        for sent in media
            .iter()
            .filter(|t| t.source == from && t.contents[0] >> 6 == 2 && t.contents[1] & 0x7f < 64)
            .take(1)
        {
            for padding in [0, 1, 60, 255] {
                let mut changed = sent.contents.clone();
                changed[0] |= 0x20;
                *changed.last_mut().unwrap() = padding;
                sim.forge(from, b, changed);
            }
        }
        sim.run_for(20);
        while let Some(event) = sim.next_event(b) {
            if let PeerEvent::Packet(packet) = event {
                assert_eq!(&packet.payload[..], [9; 50]);
                arrived += 1;
            }
        }
    }
    assert_eq!(arrived, 100);
    assert!(both_connected(&sim, a, b));
}

/// Related to CVE-2023-49786: an unprotected alert with the spoofed address of the remote peer, in the middle of the
/// handshake. It is not authenticated (RFC 6347 §4.1.2.7), so a `close_notify` does not end the handshake, nor the
/// session later.
#[test]
fn alerts_in_the_clear_end_no_handshake() {
    for dtls in [DtlsVersion::V1_2, DtlsVersion::V1_3, DtlsVersion::Auto] {
        for alert in [[1, 0], [2, 0], [2, 40], [2, 47], [2, 80]] {
            let mut sim = Simulation::new(98, Link::default().delay(20, 0));
            let config = PeerConfig::default().dtls(dtls);
            let (a, b) = sim.pair_with(config.clone(), config);
            let mut thrown = 0;
            connect_under(&mut sim, (a, b), |sim, _| {
                for (from, to) in [(a, b), (b, a)] {
                    let from = sim.address(from);
                    if sim.peer(to).validated_addresses().any(|x| x == from) {
                        let header = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2];
                        sim.forge(from, to, [&header[..], &alert].concat());
                        thrown += 1;
                    }
                }
            });
            assert!(thrown > 50, "{thrown}");
            sim.run_for(100_000);
            assert!(both_connected(&sim, a, b), "{dtls:?} {alert:?}");
            for node in [a, b] {
                Log::of(&mut sim, node);
            }
            talk(&mut sim, a, b);
        }
    }
}
