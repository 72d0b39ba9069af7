//! Tracks: frames over bad networks, and every change in mid-session.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use looprtc::proto::peer::{
    Codec, Codecs, ConnectionState, Direction, EncodedFrame, KeyframeRequestKind, MediaKind,
    PeerConfig, PeerError, PeerEvent, ReceivedFrame, RemoteTrack, SdpType, SessionDescription,
    SignalingState, TransceiverConfig, TransceiverId, TransceiverInfo,
};
use looprtc::testing::{Link, Node, Rng, Simulation};

use crate::common::{connected, without_names_of_streams};

/// Events of a peer about tracks.
#[derive(Debug, Default)]
struct Tracks {
    remote: Vec<RemoteTrack>,
    removed: Vec<TransceiverId>,
    bound: Vec<(TransceiverId, Codec)>,
    unbound: Vec<TransceiverId>,
    stopped: Vec<TransceiverId>,
    frames: HashMap<TransceiverId, Vec<ReceivedFrame>>,
    keyframes: Vec<(TransceiverId, KeyframeRequestKind)>,
    reports: usize,
    needed: usize,
    errors: Vec<PeerError>,
}

impl Tracks {
    fn take(&mut self, sim: &mut Simulation, node: Node) {
        while let Some(event) = sim.next_event(node) {
            match event {
                PeerEvent::Track(track) => self.remote.push(track),
                PeerEvent::TrackRemoved(id) => self.removed.push(id),
                PeerEvent::TrackBound { transceiver, codec } => {
                    self.bound.push((transceiver, codec.codec));
                }
                PeerEvent::TrackUnbound(id) => self.unbound.push(id),
                PeerEvent::TransceiverStopped(id) => self.stopped.push(id),
                PeerEvent::Frame(f) => self.frames.entry(f.transceiver).or_default().push(f),
                PeerEvent::KeyframeRequest {
                    transceiver, kind, ..
                } => self.keyframes.push((transceiver, kind)),
                PeerEvent::SenderReport(_) => self.reports += 1,
                PeerEvent::NegotiationNeeded => self.needed += 1,
                PeerEvent::Error(e) => self.errors.push(e),
                _ => {}
            }
        }
    }

    fn of(sim: &mut Simulation, node: Node) -> Self {
        let mut tracks = Self::default();
        tracks.take(sim, node);
        tracks
    }
}

fn add_track(
    sim: &mut Simulation,
    node: Node,
    kind: MediaKind,
    config: TransceiverConfig,
) -> TransceiverId {
    sim.with(node, |peer, now| peer.add_track(kind, config, now))
        .unwrap()
}

fn video(codec: Codec) -> TransceiverConfig {
    TransceiverConfig::default().codecs([codec])
}

fn info(sim: &Simulation, node: Node, id: TransceiverId) -> TransceiverInfo {
    sim.peer(node).transceiver(id).expect("a transceiver")
}

/// A frame whose first bytes tell VP8 whether it is a keyframe, and the test its number.
fn frame(rng: &mut Rng, number: u32, size: usize, is_key: bool) -> Arc<[u8]> {
    let mut data = vec![0; size.max(16)];
    for byte in &mut data {
        *byte = rng.next_u64() as u8;
    }
    data[0] = u8::from(!is_key);
    data[4..8].copy_from_slice(&number.to_be_bytes());
    data.into()
}

fn number(data: &[u8]) -> u32 {
    u32::from_be_bytes(data[4..8].try_into().unwrap())
}

fn send(
    sim: &mut Simulation,
    node: Node,
    id: TransceiverId,
    data: &Arc<[u8]>,
    time: Duration,
) -> Result<(), PeerError> {
    let frame = EncodedFrame::new(data.clone(), time);
    sim.with(node, |peer, now| peer.write_frame(id, &frame, now))
}

/// Returns the frames that must have arrived. A loss is detected by the frames before and after it: the first and the
/// last frame may get lost for good.
fn but_ends<'a>(got: &[&ReceivedFrame], sent: &'a [Arc<[u8]>]) -> &'a [Arc<[u8]>] {
    let first = number(&got.first().expect("a frame").data) as usize;
    assert!(first <= 1, "the first to come is frame {first}");
    let missing = sent.len() - first - got.len();
    assert!(missing <= 1, "{missing} missing");
    &sent[first..first + got.len()]
}

const FRAME: Duration = Duration::from_millis(33);

/// A pair with a video track in each direction on one m-line.
fn video_pair(sim: &mut Simulation) -> [(Node, TransceiverId); 2] {
    let (a, b) = sim.pair();
    let ours = add_track(sim, a, MediaKind::Video, video(Codec::Vp8));
    let theirs = add_track(sim, b, MediaKind::Video, video(Codec::Vp8));
    connected(sim, a, b);
    sim.run_for(2000);
    [(a, ours), (b, theirs)]
}

fn frames_cross(seed: u64, link: Link, largest: u64) {
    let mut sim = Simulation::new(seed, link);
    let mut rng = Rng::new(seed);
    let ends = video_pair(&mut sim);
    let mut sent: [Vec<Arc<[u8]>>; 2] = Default::default();
    for n in 0..300 {
        for (end, (node, id)) in ends.iter().enumerate() {
            let size = 100 + rng.below(largest) as usize;
            let data = frame(&mut rng, n, size, n == 0);
            send(&mut sim, *node, *id, &data, FRAME * n).unwrap();
            sent[end].push(data);
        }
        sim.run_for(33);
    }
    sim.run_for(5000);
    for (end, (node, id)) in ends.iter().enumerate() {
        let got = Tracks::of(&mut sim, *node);
        let frames = got.frames.get(id).map_or(&[][..], Vec::as_slice);
        let all: Vec<&ReceivedFrame> = frames.iter().collect();
        let expected = but_ends(&all, &sent[1 - end]);
        let missed = number(&expected[0]);
        for (n, (frame, data)) in frames.iter().zip(expected).enumerate() {
            assert!(frame.data == *data, "seed {seed}: frame {n} differs");
            let is_first = n == 0;
            assert!(
                frame.contiguous || is_first,
                "seed {seed}: before frame {n}"
            );
            assert_eq!(frame.keyframe, n == 0 && missed == 0);
            let since = frame.rtp_timestamp - frames[0].rtp_timestamp;
            assert_eq!(since, n as u64 * 33 * 90);
        }
        assert!(got.errors.is_empty(), "{:?}", got.errors);
        assert!(got.reports > 0);
        let captured = frames.last().unwrap().captured;
        assert!(captured.is_some(), "the sender's clock is known by now");
    }
}

#[test]
fn frames_cross_a_good_network() {
    frames_cross(1, Link::default(), 60_000);
}

#[test]
fn frames_cross_a_bad_network_whole_and_in_order() {
    for seed in 2..6 {
        let link = Link::default().loss(0.05).delay(30, 20);
        frames_cross(seed, link, 8_000);
    }
}

#[test]
fn a_keyframe_is_asked_for_after_a_loss_that_is_not_made_good() {
    let mut sim = Simulation::new(3, Link::default());
    let mut rng = Rng::new(3);
    let [(a, ours), (b, theirs)] = video_pair(&mut sim);
    let mut got = Tracks::default();
    let mut asked = Tracks::default();
    let mut wants_key = true;
    let mut keyframes = 0;
    for n in 0..400 {
        let from = sim.address(a);
        match n {
            // Longer than anything is kept for retransmission.
            100 => sim.set_filter(move |t| t.source != from || t.contents[0] < 4),
            250 => sim.clear_filter(),
            _ => {}
        }
        let data = frame(&mut rng, n, 3000, wants_key);
        keyframes += u32::from(std::mem::take(&mut wants_key));
        send(&mut sim, a, ours, &data, FRAME * n).unwrap();
        sim.run_for(33);
        asked.take(&mut sim, a);
        wants_key |= !std::mem::take(&mut asked.keyframes).is_empty();
    }
    sim.run_for(3000);
    got.take(&mut sim, b);
    let frames = &got.frames[&theirs];
    assert!((2..6).contains(&keyframes), "{keyframes} keyframes");
    let gap = frames.iter().position(|f| !f.contiguous).expect("a gap");
    let next = frames[gap..].iter().find(|f| f.keyframe);
    let next = number(&next.expect("a keyframe after it").data);
    assert!((250..330).contains(&next), "{next}");
    assert_eq!(number(&frames.last().unwrap().data), 399);
    let in_order = frames
        .windows(2)
        .all(|w| number(&w[0].data) < number(&w[1].data));
    assert!(in_order);
}

#[test]
fn a_keyframe_can_be_asked_for_in_both_ways() {
    let mut sim = Simulation::new(4, Link::default());
    let mut rng = Rng::new(4);
    let [(a, ours), (b, theirs)] = video_pair(&mut sim);
    let data = frame(&mut rng, 0, 500, true);
    send(&mut sim, a, ours, &data, Duration::ZERO).unwrap();
    sim.run_for(200);
    for kind in [KeyframeRequestKind::Pli, KeyframeRequestKind::Fir] {
        sim.with(b, |peer, now| {
            peer.request_keyframe(theirs, None, kind, now)
        })
        .unwrap();
        sim.run_for(500);
        let asked = Tracks::of(&mut sim, a).keyframes;
        assert_eq!(asked, [(ours, kind)]);
    }
    let layer = sim.with(b, |peer, now| {
        peer.request_keyframe(theirs, Some("none"), KeyframeRequestKind::Pli, now)
    });
    assert!(matches!(layer, Err(PeerError::BadTrack(_))), "{layer:?}");
}

#[test]
fn one_m_line_takes_the_tracks_of_both_sides() {
    let mut sim = Simulation::new(5, Link::default());
    let (a, b) = loners(&mut sim);
    let config = TransceiverConfig::default().ids("camera", "front");
    let ours = add_track(&mut sim, a, MediaKind::Video, config);
    let sound = add_track(&mut sim, a, MediaKind::Audio, TransceiverConfig::default());
    // Added before their offer arrives, so the track uses the offer's m-line (RFC 8829 §5.10); the transceiver does
    // not.
    let config = TransceiverConfig::default;
    let own = sim
        .with(b, |p, now| {
            p.add_transceiver(MediaKind::Audio, config(), now)
        })
        .unwrap();
    let theirs = add_track(&mut sim, b, MediaKind::Video, config());
    let offer = sim.with(a, |p, now| p.negotiate(now)).unwrap();
    assert_eq!(offer.sdp.matches("a=msid:camera front").count(), 1);
    let answer = sim
        .with(b, |p, now| p.receive(offer, now))
        .unwrap()
        .unwrap();
    let name = info(&sim, b, theirs).local_ids;
    let msid = format!("a=msid:{} {}", name.0, name.1);
    assert!(answer.sdp.contains(&msid), "{}", answer.sdp);
    assert!(!answer.sdp.contains("camera"), "{}", answer.sdp);
    sim.with(a, |p, now| p.receive(answer, now)).unwrap();
    let (said_a, said_b) = (Tracks::of(&mut sim, a), Tracks::of(&mut sim, b));
    assert_eq!(said_a.errors, []);
    assert_eq!(said_b.errors, []);
    let [video, audio] = &said_b.remote[..] else {
        panic!("{:?}", said_b.remote)
    };
    assert_eq!((video.transceiver, video.kind), (theirs, MediaKind::Video));
    assert_eq!(video.stream_ids, ["camera"]);
    assert_eq!(video.track_id.as_deref(), Some("front"));
    assert!(video.codecs.iter().any(|c| c.codec == Codec::H264));
    assert!(audio.transceiver != own);
    assert_eq!(
        audio.codecs[0].to_string(),
        "opus/48000/2 (minptime=10;useinbandfec=1)"
    );
    assert_eq!(said_a.remote.len(), 1);
    assert_eq!(said_a.remote[0].track_id, Some(name.1));
    let current = |id| info(&sim, a, id).current_direction;
    assert_eq!(current(ours), Some(Direction::SendRecv));
    assert_eq!(current(sound), Some(Direction::SendOnly));
    assert_eq!(info(&sim, b, own).mid, None);
    assert!(said_b.needed > 0);
    let offer = sim.with(b, |p, now| p.negotiate(now)).unwrap();
    let answer = sim
        .with(a, |p, now| p.receive(offer, now))
        .unwrap()
        .unwrap();
    sim.with(b, |p, now| p.receive(answer, now)).unwrap();
    assert_eq!(sim.peer(a).transceivers().len(), 3);
    assert_eq!(
        info(&sim, b, own).current_direction,
        Some(Direction::SendOnly)
    );
}

#[test]
fn every_codec_carries_frames() {
    for codec in Codecs::default().iter() {
        let mut sim = Simulation::new(6, Link::default());
        let (a, b) = sim.pair();
        let config = TransceiverConfig::default().codecs([codec]);
        let ours = add_track(&mut sim, a, MediaKind::of(codec), config);
        connected(&mut sim, a, b);
        sim.run_for(500);
        let bound = info(&sim, a, ours).codec.expect("bound");
        assert_eq!(bound.codec, codec);
        assert_eq!(bound.clock_rate, codec.clock_rate());
        let payload: Vec<u8> = match codec {
            // An IDR slice; a temporal delimiter is not sent over RTP, so a frame OBU of AV1.
            Codec::H264 => [&[0, 0, 0, 1, 0x65][..], &[0x5a; 3000]].concat(),
            Codec::H265 => [&[0, 0, 0, 1, 0x26, 1][..], &[0x5a; 3000]].concat(),
            Codec::Av1 => [&[0x32, 100][..], &[0x5a; 100]].concat(),
            Codec::Vp8 | Codec::Vp9 => vec![0x80; 3000],
            _ => vec![0x5a; 160],
        };
        let data: Arc<[u8]> = payload.into();
        for n in 0..10 {
            send(&mut sim, a, ours, &data, Duration::from_millis(20) * n).unwrap();
            sim.run_for(20);
        }
        sim.run_for(1500);
        let got = Tracks::of(&mut sim, b);
        assert_eq!(got.errors, []);
        let frames: Vec<&ReceivedFrame> = got.frames.values().flatten().collect();
        assert_eq!(frames.len(), 10, "{codec}");
        for (n, f) in frames.iter().enumerate() {
            assert_eq!(f.codec, codec);
            assert_eq!(f.data.len(), data.len(), "{codec}");
            let since = f.time - frames[0].time;
            assert_eq!(since, Duration::from_millis(20) * n as u32, "{codec}");
        }
    }
}

#[test]
fn a_track_comes_and_goes_in_mid_session() {
    let mut sim = Simulation::new(7, Link::default());
    let mut rng = Rng::new(7);
    let [(a, ours), (b, theirs)] = video_pair(&mut sim);
    Tracks::of(&mut sim, a);
    Tracks::of(&mut sim, b);
    let data = frame(&mut rng, 1, 1000, true);

    // Removed: b is notified, and b's own media continues.
    sim.with(a, |peer, now| peer.remove_track(ours, now))
        .unwrap();
    assert_eq!(Tracks::of(&mut sim, a).unbound, [ours]);
    assert_eq!(
        send(&mut sim, a, ours, &data, Duration::ZERO),
        Err(PeerError::TrackNotBound)
    );
    sim.run_for(1000);
    assert_eq!(Tracks::of(&mut sim, b).removed, [theirs]);
    assert_eq!(
        info(&sim, a, ours).current_direction,
        Some(Direction::RecvOnly)
    );
    send(&mut sim, b, theirs, &data, Duration::ZERO).unwrap();
    sim.run_for(1000);
    assert_eq!(Tracks::of(&mut sim, a).frames[&ours].len(), 1);

    // Restored; for the remote peer it is a track again.
    sim.with(a, |peer, now| {
        peer.set_direction(ours, Direction::SendRecv, now)
    })
    .unwrap();
    sim.run_for(1000);
    assert_eq!(Tracks::of(&mut sim, a).bound, [(ours, Codec::Vp8)]);
    assert_eq!(Tracks::of(&mut sim, b).remote.len(), 1);
    send(&mut sim, a, ours, &data, Duration::ZERO).unwrap();
    sim.run_for(1000);
    assert_eq!(Tracks::of(&mut sim, b).frames[&theirs].len(), 1);

    // Every direction, wanted by either side, is negotiated and has the expected effect.
    let all = [
        Direction::Inactive,
        Direction::SendOnly,
        Direction::RecvOnly,
        Direction::SendRecv,
    ];
    let mut time = Duration::from_secs(1);
    for (wanted_a, wanted_b) in all.iter().flat_map(|x| all.iter().map(move |y| (*x, *y))) {
        sim.with(a, |p, now| p.set_direction(ours, wanted_a, now))
            .unwrap();
        sim.run_for(1000);
        sim.with(b, |p, now| p.set_direction(theirs, wanted_b, now))
            .unwrap();
        sim.run_for(1000);
        let agreed = wanted_a.and(wanted_b.reversed());
        let case = format!("{wanted_a} and {wanted_b}");
        let (ia, ib) = (info(&sim, a, ours), info(&sim, b, theirs));
        assert_eq!(ia.current_direction, Some(agreed), "{case}");
        assert_eq!(ib.current_direction, Some(agreed.reversed()), "{case}");
        Tracks::of(&mut sim, a);
        Tracks::of(&mut sim, b);
        time += Duration::from_secs(1);
        let from_a = send(&mut sim, a, ours, &data, time).is_ok();
        let from_b = send(&mut sim, b, theirs, &data, time).is_ok();
        assert_eq!(
            (from_a, from_b),
            (agreed.is_sending(), agreed.is_receiving()),
            "{case}"
        );
        sim.run_for(1000);
        let (at_a, at_b) = (Tracks::of(&mut sim, a), Tracks::of(&mut sim, b));
        assert_eq!(at_b.frames.contains_key(&theirs), from_a, "{case}");
        assert_eq!(at_a.frames.contains_key(&ours), from_b, "{case}");
    }

    // Stopped for good, on both sides, by either of them.
    sim.with(b, |peer, now| peer.stop_transceiver(theirs, now))
        .unwrap();
    sim.run_for(1000);
    assert_eq!(Tracks::of(&mut sim, a).stopped, [ours]);
    assert_eq!(Tracks::of(&mut sim, b).stopped, [theirs]);
    assert!(sim.peer(a).transceivers().is_empty());
    assert_eq!(
        send(&mut sim, a, ours, &data, time),
        Err(PeerError::NoSuchTransceiver)
    );
    // And the connection continues without any m-line in use, and with new ones.
    let again = add_track(&mut sim, a, MediaKind::Video, video(Codec::Vp9));
    sim.run_for(1000);
    assert_eq!(Tracks::of(&mut sim, a).bound, [(again, Codec::Vp9)]);
    send(&mut sim, a, again, &frame(&mut rng, 0, 500, true), time).unwrap();
    sim.run_for(1000);
    assert_eq!(Tracks::of(&mut sim, b).frames.len(), 1);
}

#[test]
fn a_source_is_replaced_without_negotiation() {
    let mut sim = Simulation::new(8, Link::default());
    let mut rng = Rng::new(8);
    let (a, b) = sim.pair();
    let config = TransceiverConfig::default().codecs([Codec::Vp8, Codec::Vp9]);
    let ours = add_track(&mut sim, a, MediaKind::Video, config);
    connected(&mut sim, a, b);
    sim.run_for(500);
    let mut said = Tracks::of(&mut sim, a);
    assert_eq!(said.bound, [(ours, Codec::Vp8)]);
    let offers = sim.peer(a).local_description().unwrap().sdp;
    let mut n = 0;
    for codec in [None, Some(Codec::Vp9), Some(Codec::Vp9), Some(Codec::Vp8)] {
        for i in 0..20 {
            let data = frame(&mut rng, n, 900, true);
            // Each source starts at a time of its own.
            let own = Duration::from_secs(u64::from(n / 20) * 7 % 5) + FRAME * i;
            n += 1;
            send(&mut sim, a, ours, &data, own).unwrap();
            sim.run_for(33);
        }
        sim.with(a, |peer, now| peer.replace_track(ours, codec, now))
            .unwrap();
    }
    sim.run_for(2000);
    said.take(&mut sim, a);
    let order: Vec<Codec> = said.bound.iter().map(|b| b.1).collect();
    assert_eq!(order, [Codec::Vp8, Codec::Vp9, Codec::Vp8]);
    assert_eq!(sim.peer(a).local_description().unwrap().sdp, offers);
    let got = Tracks::of(&mut sim, b);
    let frames: Vec<_> = got.frames.values().flatten().collect();
    assert_eq!(frames.len(), 80);
    for pair in frames.windows(2) {
        let step = (pair[1].time - pair[0].time).as_millis();
        assert!((30..=37).contains(&step), "{step} ms between frames");
    }
    let h264 = sim.with(a, |p, now| p.replace_track(ours, Some(Codec::H264), now));
    let Err(PeerError::BadTrack(why)) = h264 else {
        panic!("{h264:?}")
    };
    assert!(why.contains("only: VP8, VP9"), "{why}");

    // While paused, nothing arrives, and the time advances.
    sim.with(a, |p, now| p.set_track_paused(ours, true, now))
        .unwrap();
    let data = frame(&mut rng, n, 900, true);
    send(&mut sim, a, ours, &data, FRAME * 100).unwrap();
    sim.run_for(1000);
    assert!(Tracks::of(&mut sim, b).frames.is_empty());
}

#[test]
fn one_track_feeds_several_peers() {
    let mut sim = Simulation::new(9, Link::default().loss(0.02));
    let mut rng = Rng::new(9);
    let mut ends = Vec::new();
    for _ in 0..5 {
        let (a, b) = sim.pair();
        let ours = add_track(&mut sim, a, MediaKind::Video, video(Codec::Vp8));
        connected(&mut sim, a, b);
        ends.push((a, ours, b));
    }
    sim.run_for(3000);
    let mut sent = Vec::new();
    for n in 0..60 {
        let data = frame(&mut rng, n, 5000, n == 0);
        for (a, ours, _) in &ends {
            send(&mut sim, *a, *ours, &data, FRAME * n).unwrap();
        }
        sent.push(data);
        sim.run_for(33);
    }
    sim.run_for(3000);
    for (_, _, b) in ends {
        let got = Tracks::of(&mut sim, b);
        let frames: Vec<_> = got.frames.values().flatten().collect();
        let expected = but_ends(&frames, &sent);
        assert!(frames.iter().zip(expected).all(|(f, s)| f.data == *s));
    }
}

#[test]
fn without_a_common_codec_both_lists_are_named() {
    let mut sim = Simulation::new(10, Link::default());
    let know = |codecs: &[Codec]| PeerConfig::default().codecs(Codecs::only(codecs.to_vec()));
    let (a, b) = sim.pair_with(
        know(&[Codec::Vp8, Codec::Vp9, Codec::Opus]),
        know(&[Codec::H264, Codec::Opus]),
    );
    let ours = add_track(&mut sim, a, MediaKind::Video, TransceiverConfig::default());
    let sound = add_track(&mut sim, a, MediaKind::Audio, TransceiverConfig::default());
    connected(&mut sim, a, b);
    sim.run_for(500);
    let (said_a, said_b) = (Tracks::of(&mut sim, a), Tracks::of(&mut sim, b));
    let [error] = &said_b.errors[..] else {
        panic!("{:?}", said_b.errors)
    };
    let text = error.to_string();
    assert!(
        text.contains("this side knows H264; the other side offers VP8, VP9"),
        "{text}"
    );
    let text = said_a.errors[0].to_string();
    assert!(
        text.contains("rejects video") && text.contains("VP8, VP9"),
        "{text}"
    );
    assert_eq!(said_a.stopped, [ours]);
    // The audio is not affected by it.
    assert_eq!(said_a.bound, [(sound, Codec::Opus)]);
    let data: Arc<[u8]> = vec![1; 100].into();
    send(&mut sim, a, sound, &data, Duration::ZERO).unwrap();
    sim.run_for(1000);
    assert_eq!(Tracks::of(&mut sim, b).frames.len(), 1);
    // Invalid calls are refused with a reason.
    let wrong = sim.with(a, |peer, now| {
        peer.add_track(MediaKind::Audio, video(Codec::Vp8), now)
    });
    assert!(matches!(wrong, Err(PeerError::BadTrack(_))), "{wrong:?}");
}

/// Two peers without signaling.
fn loners(sim: &mut Simulation) -> (Node, Node) {
    (
        sim.add(PeerConfig::default()),
        sim.add(PeerConfig::default()),
    )
}

#[test]
fn rollback_loses_no_transceiver() {
    let mut sim = Simulation::new(11, Link::default());
    let (a, b) = loners(&mut sim);
    let ours = add_track(&mut sim, a, MediaKind::Video, TransceiverConfig::default());
    let theirs = add_track(&mut sim, b, MediaKind::Video, TransceiverConfig::default());
    let first = sim.with(a, |p, now| p.negotiate(now)).unwrap();
    let rollback = || SessionDescription {
        kind: SdpType::Rollback,
        sdp: String::new(),
    };
    sim.with(a, |p, now| p.set_local_description(Some(rollback()), now))
        .unwrap();
    assert_eq!(info(&sim, a, ours).mid, None);
    assert!(Tracks::of(&mut sim, a).needed >= 1);

    // Their previous offer, applied and rolled back: its transceivers are gone, existing ones are not.
    sim.with(b, |p, now| p.set_remote_description(first.clone(), now))
        .unwrap();
    assert!(info(&sim, b, theirs).mid.is_some());
    sim.with(b, |p, now| p.set_remote_description(rollback(), now))
        .unwrap();
    assert_eq!(info(&sim, b, theirs).mid, None);
    assert_eq!(sim.peer(b).transceivers().len(), 1);

    // Offers collide; the polite side's track finds the m-line of the other's offer.
    let offer_b = sim.with(b, |p, now| p.negotiate(now)).unwrap();
    sim.with(a, |p, now| p.negotiate(now)).unwrap();
    let answer = sim
        .with(a, |p, now| p.receive(offer_b, now))
        .unwrap()
        .unwrap();
    sim.with(b, |p, now| p.receive(answer, now)).unwrap();
    for (node, id) in [(a, ours), (b, theirs)] {
        assert_eq!(sim.peer(node).transceivers().len(), 1);
        assert_eq!(
            info(&sim, node, id).current_direction,
            Some(Direction::SendRecv)
        );
        assert_eq!(sim.peer(node).signaling_state(), SignalingState::Stable);
    }
    // No further offer is needed.
    Tracks::of(&mut sim, a);
    sim.run_for(10);
    assert_eq!(Tracks::of(&mut sim, a).needed, 0);
}

#[test]
fn hundreds_of_changes_and_glare_end_in_agreement() {
    for seed in 20..32 {
        let link = Link::default().loss(0.02).delay(20, 20);
        let mut sim = Simulation::new(seed, link);
        let mut rng = Rng::new(seed);
        let (a, b) = sim.pair();
        add_track(&mut sim, a, MediaKind::Video, TransceiverConfig::default());
        connected(&mut sim, a, b);
        let mut made = 0;
        for _ in 0..60 {
            let node = if rng.chance(0.5) { a } else { b };
            let list = sim.peer(node).transceivers();
            let some = list.get(rng.below(list.len() as u64) as usize).cloned();
            match (rng.below(10), some) {
                (0..3, _) if made < 25 => {
                    let kind = match rng.chance(0.5) {
                        true => MediaKind::Video,
                        false => MediaKind::Audio,
                    };
                    made += 1;
                    add_track(&mut sim, node, kind, TransceiverConfig::default());
                }
                (3, Some(t)) => {
                    let _ = sim.with(node, |p, now| p.stop_transceiver(t.id, now));
                }
                (4, Some(t)) => {
                    let _ = sim.with(node, |p, now| p.remove_track(t.id, now));
                }
                (5..9, Some(t)) => {
                    let all = [
                        Direction::SendRecv,
                        Direction::SendOnly,
                        Direction::RecvOnly,
                    ];
                    let direction = all[rng.below(3) as usize];
                    let _ = sim.with(node, |p, now| p.set_direction(t.id, direction, now));
                }
                _ => {
                    let _ = sim.with(node, |p, now| p.restart_ice(now));
                }
            }
            let wait = rng.below(80);
            sim.run_for(wait);
        }
        sim.run_for(30_000);
        let state = |sim: &Simulation| {
            let mut all = Vec::new();
            for node in [a, b] {
                assert_eq!(
                    sim.peer(node).connection_state(),
                    ConnectionState::Connected
                );
                let signaling = sim.peer(node).signaling_state();
                assert_eq!(signaling, SignalingState::Stable, "seed {seed}");
                let mut lines: Vec<_> = sim
                    .peer(node)
                    .transceivers()
                    .into_iter()
                    .map(|t| {
                        let direction = t.current_direction.expect("negotiated");
                        let flip = node == b;
                        let agreed = if flip {
                            direction.reversed()
                        } else {
                            direction
                        };
                        (t.mid.expect("an m-line"), t.kind, agreed, t.stopping)
                    })
                    .collect();
                lines.sort_by(|x, y| x.0.cmp(&y.0));
                all.push(lines);
            }
            all
        };
        let both = state(&sim);
        assert_eq!(both[0], both[1], "seed {seed}");
        assert!(!both[0].is_empty());
        for node in [a, b] {
            let said = Tracks::of(&mut sim, node);
            // One that is stopped before the answer is rejected.
            let is_rejection = |e: &PeerError| matches!(e, PeerError::TrackRejected { .. });
            let others: Vec<_> = said.errors.iter().filter(|e| !is_rejection(e)).collect();
            assert!(others.is_empty(), "seed {seed}: {others:?}");
        }
        // All negotiated media flows.
        for node in [a, b] {
            let other = if node == a { b } else { a };
            for t in sim.peer(node).transceivers() {
                let sends = t.current_direction.unwrap().is_sending();
                let Some(codec) = t.codec.filter(|_| sends) else {
                    continue;
                };
                assert!(matches!(codec.codec, Codec::Vp8 | Codec::Opus));
                for n in 0..6 {
                    let data = frame(&mut rng, n, 700, true);
                    send(&mut sim, node, t.id, &data, FRAME * n).unwrap();
                    sim.run_for(33);
                }
                sim.run_for(3000);
                let got = Tracks::of(&mut sim, other);
                let frames: usize = got.frames.values().map(Vec::len).sum();
                // The first and the last frame can get lost unnoticed.
                assert!(frames >= 4, "seed {seed}, mid {:?}: {frames}", t.mid);
            }
        }
    }
}

/// Returns a NAL unit of H.265 with a start code.
fn h265_nal(kind: u8, size: usize, is_first_slice: bool) -> Vec<u8> {
    let mut unit = vec![
        0,
        0,
        0,
        1,
        kind << 1,
        1,
        u8::from(is_first_slice) << 7 | 0x2a,
    ];
    unit.resize(size, 0x5a);
    unit
}

#[test]
fn pictures_of_h265_come_in_one_piece() {
    let mut sim = Simulation::new(13, Link::default());
    let (a, b) = sim.pair();
    let ours = add_track(&mut sim, a, MediaKind::Video, video(Codec::H265));
    connected(&mut sim, a, b);
    sim.run_for(500);
    // VPS, SPS, PPS, a long SEI and an IDR slice: the ends of fragments are not the end of the frame.
    let key = [(32, 40), (33, 60), (34, 30), (39, 3000), (19, 5000)];
    let key: Vec<u8> = key
        .iter()
        .flat_map(|(kind, size)| h265_nal(*kind, *size, *kind == 19))
        .collect();
    let one = h265_nal(1, 4000, true);
    let two = [h265_nal(1, 3000, true), h265_nal(1, 2900, false)].concat();
    let mut sent: Vec<Arc<[u8]>> = Vec::new();
    for n in 0..30 {
        let data = match n {
            0 => &key,
            // From here on with two slices.
            10.. => &two,
            _ => &one,
        };
        sent.push(data.as_slice().into());
        send(&mut sim, a, ours, &sent[sent.len() - 1], FRAME * n).unwrap();
        sim.run_for(33);
    }
    sim.run_for(1000);
    let got = Tracks::of(&mut sim, b);
    let frames: Vec<_> = got.frames.values().flatten().collect();
    assert!(frames[0].keyframe && frames[0].data == sent[0]);
    assert!(frames[1..].iter().all(|f| !f.keyframe && f.contiguous));
    for n in 1..10 {
        assert!(frames[n].data == sent[n], "picture {n}");
    }
    // The first one with two shows that there may be two; the last one is held until the next.
    assert!([&frames[10].data[..], &frames[11].data[..]].concat() == two);
    assert_eq!(frames.len(), 30);
    for (n, frame) in frames.iter().enumerate().skip(12) {
        assert!(frame.data[..] == two, "picture {n}");
    }
}

/// Without SSRCs in descriptions and without MIDs in packets, the payload type identifies the m-line.
#[test]
fn streams_that_nobody_announced_are_placed_by_payload_type() {
    let mut sim = Simulation::new(14, Link::default().loss(0.05).delay(20, 5));
    let mut rng = Rng::new(14);
    let (a, b) = loners(&mut sim);
    let ours = add_track(&mut sim, a, MediaKind::Video, video(Codec::Vp8));
    let sound = add_track(&mut sim, a, MediaKind::Audio, TransceiverConfig::default());
    let offer = sim.with(a, |p, now| p.negotiate(now)).unwrap();
    let answer = sim.with(b, |p, now| p.receive(without_names_of_streams(offer), now));
    let answer = answer.unwrap().unwrap();
    sim.with(a, |p, now| p.receive(without_names_of_streams(answer), now))
        .unwrap();
    let mut remote = Vec::new();
    for (from, to) in [(a, b), (b, a)] {
        while let Some(event) = sim.next_event(from) {
            match event {
                PeerEvent::IceCandidate(Some(candidate)) => {
                    let init = candidate.to_init();
                    sim.with(to, |p, now| p.add_ice_candidate(Some(&init), now))
                        .unwrap();
                }
                PeerEvent::Track(track) if from == b => remote.push(track),
                _ => {}
            }
        }
    }
    connected(&mut sim, a, b);
    let mut sent = Vec::new();
    for n in 0..100 {
        let data = frame(&mut rng, n, 3000, n == 0);
        send(&mut sim, a, ours, &data, FRAME * n).unwrap();
        send(&mut sim, a, sound, &vec![0x5a; 80].into(), FRAME * n).unwrap();
        sent.push(data);
        sim.run_for(33);
    }
    sim.run_for(3000);
    let got = Tracks::of(&mut sim, b);
    let by_kind = |kind| {
        let id = remote.iter().find(|t| t.kind == kind).unwrap();
        got.frames[&id.transceiver].iter().collect::<Vec<_>>()
    };
    // Lost packets were retransmitted, in a stream that was not announced either.
    let video = by_kind(MediaKind::Video);
    assert!(
        video
            .iter()
            .zip(but_ends(&video, &sent))
            .all(|(f, s)| f.data == *s)
    );
    assert!(by_kind(MediaKind::Audio).len() > 85);
}
