//! RTP packets through peers: rewritten, repaired, forwarded.

use std::collections::BTreeSet;
use std::time::Duration;

use looprtc::proto::media::JitterConfig;
use looprtc::proto::peer::{
    BandwidthEstimate, Codec, ConnectionState, EncodedFrame, HeaderExtensions, KeyframeRequestKind,
    MediaKind, MediaMode, PeerConfig, PeerError, PeerEvent, ReceivedPacket, RtpPacket,
    TransceiverConfig, TransceiverId,
};
use looprtc::testing::{Link, Node, Simulation};

use crate::common::{connected, state};

const DEPENDENCY_DESCRIPTOR: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
const CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";

fn packets() -> PeerConfig {
    PeerConfig::default()
        .media_mode(MediaMode::Packets)
        .header_extensions(vec![DEPENDENCY_DESCRIPTOR.into(), CAPTURE_TIME.into()])
}

/// Two connected peers in packet mode, the first of which sends video to the second.
fn pair(sim: &mut Simulation) -> [(Node, TransceiverId); 2] {
    let (a, b) = sim.pair_with(packets(), packets());
    let config = TransceiverConfig::default().codecs([Codec::Vp8]);
    let ours = sim
        .with(a, |peer, now| peer.add_track(MediaKind::Video, config, now))
        .unwrap();
    connected(sim, a, b);
    sim.run_for(500);
    let theirs = sim.peer(b).transceivers()[0].id;
    [(a, ours), (b, theirs)]
}

fn packet(ssrc: u32, n: u16) -> RtpPacket {
    let payload = [0x10, (n >> 8) as u8, n as u8, 7].repeat(200);
    RtpPacket::new(ssrc, n, u32::from(n) * 3000, payload)
}

fn write(sim: &mut Simulation, node: Node, id: TransceiverId, packet: &RtpPacket) {
    sim.with(node, |peer, now| peer.write_rtp(id, packet, now))
        .unwrap();
}

fn received(sim: &mut Simulation, node: Node) -> Vec<ReceivedPacket> {
    std::iter::from_fn(|| sim.next_event(node))
        .filter_map(|event| match event {
            PeerEvent::Packet(packet) => Some(packet),
            _ => None,
        })
        .collect()
}

fn numbers(packets: &[ReceivedPacket]) -> BTreeSet<u64> {
    packets.iter().map(|p| p.sequence_number).collect()
}

#[test]
fn a_packet_arrives_as_it_was_but_for_its_numbers() {
    let mut sim = Simulation::new(1, Link::default());
    let [(a, ours), (b, _)] = pair(&mut sim);
    let mut extensions = HeaderExtensions::default();
    extensions.set_raw(DEPENDENCY_DESCRIPTOR, &[1, 2, 3]);
    extensions.set_raw("urn:not-negotiated", &[9]);
    let sent = packet(77, 65_535).marker(true).extensions(extensions);
    write(&mut sim, a, ours, &sent);
    write(&mut sim, a, ours, &packet(77, 0));
    sim.run_for(300);
    let got = received(&mut sim, b);
    let [first, second] = &got[..] else {
        panic!("{got:?}")
    };
    assert_eq!(first.payload, sent.payload);
    assert_eq!(first.codec, Codec::Vp8);
    assert_ne!(first.ssrc, 77);
    assert!(first.marker && !second.marker);
    assert_eq!(second.sequence_number, first.sequence_number + 1);
    assert_eq!(first.timestamp, sent.timestamp);
    let raw = first.extensions.raw(DEPENDENCY_DESCRIPTOR);
    assert_eq!(raw, Some(&[1, 2, 3][..]));
    assert_eq!(first.extensions.raw("urn:not-negotiated"), None);
    assert!(second.extensions.is_empty());
}

#[test]
fn sound_keeps_its_level() {
    let mut sim = Simulation::new(2, Link::default());
    let (a, b) = sim.pair_with(packets(), packets());
    let ours = sim
        .with(a, |peer, now| {
            peer.add_track(MediaKind::Audio, TransceiverConfig::default(), now)
        })
        .unwrap();
    connected(&mut sim, a, b);
    sim.run_for(500);
    let mut extensions = HeaderExtensions::default();
    extensions.set_audio_level(42, true);
    let sound = RtpPacket::new(1, 1, 960, vec![1; 100]).extensions(extensions);
    write(&mut sim, a, ours, &sound);
    sim.run_for(200);
    let got = received(&mut sim, b);
    assert_eq!(got[0].extensions.audio_level(), Some((42, true)));
}

#[test]
fn sources_change_without_a_break() {
    let mut sim = Simulation::new(3, Link::default());
    let [(a, ours), (b, _)] = pair(&mut sim);
    for (ssrc, from) in [(1, 100u16), (2, 40_000), (1, 7)] {
        for n in from..from + 10 {
            write(&mut sim, a, ours, &packet(ssrc, n));
            // The same packet again is not sent: SRTP must not encrypt one number twice.
            write(&mut sim, a, ours, &packet(ssrc, n));
            sim.run_for(33);
        }
    }
    sim.run_for(300);
    let got = received(&mut sim, b);
    assert_eq!(got.len(), 30);
    for pair in got.windows(2) {
        assert_eq!(pair[1].sequence_number, pair[0].sequence_number + 1);
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert!((2900..3100).contains(&step), "{step}");
    }
}

#[test]
fn what_is_lost_is_sent_again() {
    for seed in 0..4 {
        let link = Link::default().loss(0.05).delay(20, 10);
        let mut sim = Simulation::new(seed, link);
        let [(a, ours), (b, _)] = pair(&mut sim);
        let mut got = Vec::new();
        for n in 0..1000 {
            write(&mut sim, a, ours, &packet(5, n));
            sim.run_for(10);
            got.append(&mut received(&mut sim, b));
        }
        sim.run_for(2000);
        got.append(&mut received(&mut sim, b));
        let numbers = numbers(&got);
        assert_eq!(numbers.len(), got.len(), "seed {seed}: each once");
        let (first, last) = (numbers.first().unwrap(), numbers.last().unwrap());
        let missing = last - first + 1 - numbers.len() as u64;
        assert_eq!(missing, 0, "seed {seed}");
        assert!(got.len() >= 995, "seed {seed}: {}", got.len());
    }
}

#[test]
fn a_gap_of_the_source_is_a_gap() {
    let mut sim = Simulation::new(5, Link::default());
    let [(a, ours), (b, _)] = pair(&mut sim);
    for n in [1, 2, 5, 4] {
        write(&mut sim, a, ours, &packet(5, n));
        sim.run_for(10);
    }
    sim.run_for(300);
    let got = received(&mut sim, b);
    let first = got[0].sequence_number;
    let numbers: Vec<u64> = got.iter().map(|p| p.sequence_number - first).collect();
    assert_eq!(numbers, [0, 1, 4, 3]);
}

#[test]
fn a_received_packet_is_sent_on() {
    let mut sim = Simulation::new(6, Link::default());
    let [(a, ours), (b, _)] = pair(&mut sim);
    let [(c, onward), (d, last)] = pair(&mut sim);
    let mut asked = 0;
    let mut got = Vec::new();
    for n in 0..100 {
        write(&mut sim, a, ours, &packet(5, n));
        sim.run_for(20);
        for packet in received(&mut sim, b) {
            write(&mut sim, c, onward, &packet.to_packet());
        }
        got.append(&mut received(&mut sim, d));
        if n == 50 {
            let kind = KeyframeRequestKind::Pli;
            sim.with(d, |peer, now| peer.request_keyframe(last, None, kind, now))
                .unwrap();
        }
        while let Some(event) = sim.next_event(c) {
            asked += u32::from(matches!(event, PeerEvent::KeyframeRequest { .. }));
        }
    }
    sim.run_for(500);
    got.append(&mut received(&mut sim, d));
    assert_eq!(got.len(), 100);
    for (n, p) in got.iter().enumerate() {
        assert_eq!(p.payload, packet(5, n as u16).payload);
    }
    assert_eq!(asked, 1);
    assert!(got.last().unwrap().captured.is_some());
}

#[test]
fn layers_are_told_apart() {
    let mut sim = Simulation::new(7, Link::default());
    let (a, b) = sim.pair_with(packets(), packets());
    let config = TransceiverConfig::default()
        .codecs([Codec::Vp8])
        .send_rids(["q", "h", "f"]);
    let ours = sim
        .with(a, |peer, now| peer.add_track(MediaKind::Video, config, now))
        .unwrap();
    connected(&mut sim, a, b);
    sim.run_for(500);
    for n in 0..50 {
        for (ssrc, rid) in [(1, "q"), (2, "h"), (3, "f")] {
            write(&mut sim, a, ours, &packet(ssrc, n).rid(rid));
        }
        sim.run_for(20);
    }
    sim.run_for(300);
    let got = received(&mut sim, b);
    for rid in ["q", "h", "f"] {
        let of = got.iter().filter(|p| p.rid.as_deref() == Some(rid));
        assert_eq!(of.count(), 50, "{rid}");
    }
    let theirs = sim.peer(b).transceivers()[0].id;
    let mut ask = |rid| {
        let kind = KeyframeRequestKind::Pli;
        sim.with(b, |peer, now| peer.request_keyframe(theirs, rid, kind, now))
    };
    ask(Some("h")).unwrap();
    assert!(matches!(ask(Some("x")), Err(PeerError::BadTrack(_))));
    sim.run_for(300);
    let rids: Vec<Option<String>> = std::iter::from_fn(|| sim.next_event(a))
        .filter_map(|e| match e {
            PeerEvent::KeyframeRequest { rid, .. } => Some(rid),
            _ => None,
        })
        .collect();
    assert_eq!(rids, [Some("h".into())]);
    let no_layer = sim.with(a, |peer, now| peer.write_rtp(ours, &packet(1, 60), now));
    assert!(
        matches!(no_layer, Err(PeerError::BadTrack(_))),
        "{no_layer:?}"
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut sim = Simulation::new(8, Link::default());
    let [(a, ours), (b, theirs)] = pair(&mut sim);
    let large = RtpPacket::new(1, 1, 1, vec![0; 1461]);
    let refused = sim.with(a, |peer, now| peer.write_rtp(ours, &large, now));
    assert!(matches!(refused, Err(PeerError::MessageTooLarge { .. })));
    // The largest payload that Chromium sends: RTP packets of 1,200 bytes with one extension.
    let browsers = RtpPacket::new(1, 2, 1, vec![0; 1200 - 20]);
    let passed_on = sim.with(a, |peer, now| peer.write_rtp(ours, &browsers, now));
    assert_eq!(passed_on, Ok(()));
    let frame = EncodedFrame::new(vec![0; 10], Duration::ZERO);
    let refused = sim.with(a, |peer, now| peer.write_frame(ours, &frame, now));
    assert!(matches!(refused, Err(PeerError::BadTrack(_))));
    let refused = sim.with(b, |peer, now| peer.write_rtp(theirs, &packet(1, 1), now));
    assert_eq!(refused, Err(PeerError::TrackNotBound));
    let full = sim.with(a, |peer, now| {
        (0..u16::MAX).find_map(|n| peer.write_rtp(ours, &packet(1, n), now).err())
    });
    assert!(matches!(full, Some(PeerError::LimitReached { .. })));
    sim.run_for(1000);
    assert!(received(&mut sim, b).len() > 1000, "and goes on");
    let (c, d) = sim.pair();
    let id = sim
        .with(c, |peer, now| {
            peer.add_track(MediaKind::Video, TransceiverConfig::default(), now)
        })
        .unwrap();
    connected(&mut sim, c, d);
    let refused = sim.with(c, |peer, now| peer.write_rtp(id, &packet(1, 1), now));
    assert!(matches!(refused, Err(PeerError::BadTrack(_))));
}

/// Arrival times vary by 60 ms; the application gets packets evenly and in order.
#[test]
fn the_jitter_buffer_smooths() {
    let link = Link::default().delay(20, 60);
    let mut sim = Simulation::new(9, link);
    let counting = packets().stats_interval(Some(Duration::from_secs(1)));
    let smooth = counting.clone().jitter_buffer(Some(JitterConfig::new(1)));
    let (a, b) = sim.pair_with(counting, smooth);
    let config = TransceiverConfig::default().codecs([Codec::Vp8]);
    let ours = sim
        .with(a, |peer, now| peer.add_track(MediaKind::Video, config, now))
        .unwrap();
    connected(&mut sim, a, b);
    sim.run_for(500);
    let mut given = Vec::new();
    for n in 0..500 {
        let packet = RtpPacket::new(1, n, u32::from(n) * 1800, vec![0x10; 900]);
        write(&mut sim, a, ours, &packet);
        for _ in 0..20 {
            sim.run_for(1);
            let now = sim.now();
            given.extend(received(&mut sim, b).into_iter().map(|p| (p, now)));
        }
    }
    assert!(given.len() > 480, "{}", given.len());
    let settled = &given[200..];
    for pair in settled.windows(2) {
        assert_eq!(pair[1].0.sequence_number, pair[0].0.sequence_number + 1);
        let step = pair[1].1 - pair[0].1;
        assert!(step <= Duration::from_millis(30), "{step:?}");
    }
    let theirs = sim.peer(b).transceivers()[0].id;
    let stats = sim.peer(b).track_stats(theirs).unwrap();
    let [received] = &stats.received[..] else {
        panic!("{stats:?}")
    };
    assert!(received.packets > 480 && received.jitter > Duration::from_millis(5));
    let jitter = received.jitter_buffer.unwrap();
    let delay = jitter.delay.as_millis();
    assert!((30..=120).contains(&delay), "{delay} ms");
    let mean = jitter.total_delay / u32::try_from(jitter.emitted).unwrap();
    assert!((10..=90).contains(&mean.as_millis()), "{mean:?}");
    let stats = sim.peer(a).track_stats(ours).unwrap();
    assert!(stats.sent[0].packets >= 490, "{stats:?}");
    assert!(stats.sent[0].round_trip_time.is_some());
}

/// The remote peer's arrival times show the capacity of the path, and REMB its limit.
#[test]
fn the_path_is_measured() {
    let link = Link::default().delay(20, 1);
    let mut sim = Simulation::new(10, link);
    let measuring = packets().bandwidth_estimation(Some(1_000_000));
    let (a, b) = sim.pair_with(measuring, packets());
    let config = TransceiverConfig::default().codecs([Codec::Vp8]);
    let ours = sim
        .with(a, |peer, now| peer.add_track(MediaKind::Video, config, now))
        .unwrap();
    connected(&mut sim, a, b);
    sim.with(a, |peer, now| peer.set_desired_bitrate(4_000_000, now))
        .unwrap();
    let (mut measured, mut wanted) = (Vec::new(), None);
    let mut got = 0;
    for n in 0..1500u16 {
        if n % 10 == 0 && n > 100 {
            // A large frame every 200 ms: it is spread over time, not lost.
            for part in 0..20 {
                let at = (n / 10) * 20 + part;
                let packet = RtpPacket::new(1, at, u32::from(n) * 1800, vec![0x10; 1000]);
                write(&mut sim, a, ours, &packet);
            }
        }
        sim.run_for(20);
        got += received(&mut sim, b).len();
        if n == 1000 {
            let theirs = sim.peer(b).transceivers()[0].id;
            sim.with(b, |peer, now| {
                peer.request_bitrate(theirs, None, 300_000, now)
            })
            .unwrap();
        }
        while let Some(event) = sim.next_event(a) {
            match event {
                PeerEvent::BandwidthEstimate(BandwidthEstimate::TransportCc {
                    bits_per_second,
                    ..
                }) => measured.push(bits_per_second),
                PeerEvent::BandwidthEstimate(remb) => wanted = Some(remb.bits_per_second()),
                PeerEvent::Error(e) => panic!("{e}"),
                _ => {}
            }
        }
    }
    sim.run_for(1000);
    got += received(&mut sim, b).len();
    // Packets that the very first one overtook are before the stream's beginning.
    assert!(got >= 139 * 20 - 3, "{got}");
    assert!(measured.iter().max() > Some(&2_000_000), "{measured:?}");
    let last = sim.peer(a).stats().available_outgoing_bitrate;
    assert!(last > Some(2_000_000), "{last:?}");
    let wanted = wanted.expect("REMB");
    assert!((290_000..=310_000).contains(&wanted), "{wanted}");
    assert_eq!(state(&sim, a), ConnectionState::Connected);
}

#[test]
fn what_the_path_does_not_carry_does_not_pile_up() {
    let mut sim = Simulation::new(11, Link::default());
    // The core sends faster than it should before anything waits for long; the limit is for the excess.
    let mut slow = packets().bandwidth_estimation(Some(300_000));
    slow.limits.max_media_buffer = 20_000;
    let (a, b) = sim.pair_with(slow, packets());
    let config = TransceiverConfig::default().codecs([Codec::Vp8]);
    let ours = sim
        .with(a, |peer, now| peer.add_track(MediaKind::Video, config, now))
        .unwrap();
    connected(&mut sim, a, b);
    sim.run_for(500);
    // No reports arrive, so there is nothing to estimate from.
    let from = sim.address(b);
    sim.set_filter(move |t| t.source != from);
    let mut refused = 0;
    for n in 0..3000 {
        let written = sim.with(a, |peer, now| peer.write_rtp(ours, &packet(1, n), now));
        match written {
            Ok(()) => {}
            Err(PeerError::BufferFull { buffered, limit }) => {
                assert!(buffered < limit + 100_000, "{buffered}");
                refused += 1;
            }
            Err(e) => panic!("{e}"),
        }
        sim.run_for(1);
    }
    assert!(refused > 100, "{refused}");
}

/// A source that never sends a packet: it is requested once per round trip, and reported lost after two.
#[test]
fn what_is_lost_for_good_is_told_after_two_round_trips() {
    for (delay, told) in [(5, 250..=300), (40, 250..=300), (150, 640..=800)] {
        let mut sim = Simulation::new(9, Link::default().delay(delay, 0));
        let [(a, ours), (b, theirs)] = pair(&mut sim);
        // A packet that is lost and repaired shows the round-trip time.
        for n in (0..40).filter(|n| *n != 20) {
            write(&mut sim, a, ours, &packet(5, n));
            sim.run_for(10);
        }
        sim.run_for(3000);
        while sim.next_event(b).is_some() {}
        let begun = sim.elapsed_ms();
        let mut lost = None;
        for n in 41..300 {
            write(&mut sim, a, ours, &packet(5, n));
            sim.run_for(10);
            while let Some(event) = sim.next_event(b) {
                if let PeerEvent::PacketsLost { transceiver, rid } = event {
                    assert_eq!((transceiver, rid), (theirs, None));
                    assert!(lost.is_none(), "told twice");
                    lost = Some(sim.elapsed_ms() - begun);
                }
            }
        }
        let after = lost.expect("it is told") - delay;
        assert!(
            told.contains(&after),
            "{delay} ms away: told after {after} ms"
        );
    }
}

/// Returns the number of NACKs, by packet type, that the receiver sends in the two seconds after a loss.
#[test]
fn a_lost_packet_is_asked_for_once_in_a_round_trip() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    for (delay, expected) in [(50, 8..=16), (200, 2..=5)] {
        let mut sim = Simulation::new(11, Link::default().delay(delay, 0));
        let [(a, ours), (b, _)] = pair(&mut sim);
        let asked = Arc::new(AtomicU32::new(0));
        let (count, from) = (asked.clone(), sim.address(b));
        sim.set_filter(move |transmit| {
            // The first packet of SRTCP is unencrypted up to its SSRC: transport feedback, NACK.
            let is_nack = matches!(transmit.contents[..], [0x81, 205, ..]);
            if transmit.source == from && is_nack {
                count.fetch_add(1, Ordering::Relaxed);
            }
            true
        });
        // The source has lost packet 20; nobody has it.
        for n in (0..200).filter(|n| *n != 20) {
            write(&mut sim, a, ours, &packet(5, n));
            sim.run_for(10);
        }
        sim.run_for(1000);
        let asked = asked.load(Ordering::Relaxed);
        assert!(
            expected.contains(&asked),
            "{delay} ms away: asked {asked} times"
        );
    }
}

/// A long path and many packets: a retransmission arrives when the core already counts the packet as received
/// (docs/upstream.md).
#[test]
fn a_repair_is_taken_however_many_packets_came_before_it() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    let mut sim = Simulation::new(13, Link::default().delay(200, 0));
    let [(a, ours), (b, _)] = pair(&mut sim);
    let sent = Arc::new(AtomicU32::new(0));
    let (count, from) = (sent.clone(), sim.address(a));
    let mut repairs = None;
    sim.set_filter(move |transmit| {
        let [128..=191, kind @ (0..=191 | 224..), ..] = transmit.contents[..] else {
            return true;
        };
        if transmit.source != from {
            return true;
        }
        // The first payload type is the video's; packets with another one are retransmissions.
        let kind = kind & 127;
        if *repairs.get_or_insert(kind) != kind {
            return true;
        }
        // The hundredth packet, and the corresponding one two hundred packets later.
        !matches!(count.fetch_add(1, Ordering::Relaxed), 100 | 300)
    });
    let mut got = Vec::new();
    for n in 0..600 {
        write(&mut sim, a, ours, &packet(5, n));
        sim.run_for(2);
        got.append(&mut received(&mut sim, b));
    }
    sim.run_for(2000);
    got.append(&mut received(&mut sim, b));
    assert_eq!(sent.load(Ordering::Relaxed), 600);
    let numbers = numbers(&got);
    assert_eq!(numbers.len(), got.len(), "each once");
    assert_eq!(got.len(), 600);
    let first = *numbers.first().unwrap();
    let late = got.iter().position(|p| p.sequence_number == first + 100);
    assert!(late > Some(250), "it came as {late:?}");
    let late = &got[late.unwrap()];
    assert_eq!(late.payload, packet(5, 100).payload);
    assert_eq!(late.timestamp, packet(5, 100).timestamp);
}
