//! Limits of a peer that no other test covers: excess input is refused, and the session continues. `docs/limits.md` has
//! the table of all limits.

use std::time::Duration;

use looprtc::proto::peer::{
    ChannelConfig, ChannelId, EncodedFrame, IceCandidateInit, Limits, MAX_RECEIVE_MESSAGE,
    MediaKind, PeerConfig, PeerError, PeerEvent, SessionDescription, TransceiverConfig,
};
use looprtc::testing::{Link, Node, Simulation};

use crate::common::{Log, PATIENCE, connected, create, pair_with_channel};

fn limits(change: impl FnOnce(&mut Limits)) -> PeerConfig {
    let mut limits = Limits::default();
    change(&mut limits);
    PeerConfig::default().limits(limits)
}

/// `max_remote_candidates`: further ones in a generation are counted and ignored; a new generation starts over.
#[test]
fn remote_candidates_of_one_generation() {
    let mut sim = Simulation::new(31, Link::default());
    let config = limits(|l| l.max_remote_candidates = 20);
    let (a, b) = sim.pair_with(config, PeerConfig::default());
    pair_with_channel(&mut sim, a, b);
    let flood = |sim: &mut Simulation| {
        let before = sim.peer(a).stats().candidates;
        for n in 0..50 {
            let line = format!("candidate:1 1 udp 5 198.51.100.{n} 9 typ host");
            let init = IceCandidateInit::new(line);
            sim.with(a, |p, now| p.add_ice_candidate(Some(&init), now))
                .unwrap();
        }
        let after = sim.peer(a).stats().candidates;
        (
            after.applied - before.applied,
            after.over_limit - before.over_limit,
        )
    };
    // The real ones of the remote peer were accepted before.
    let (applied, over) = flood(&mut sim);
    assert!((1..20).contains(&applied), "{applied}");
    assert_eq!(applied + over, 50);
    assert_eq!(flood(&mut sim), (0, 50));
    sim.with(b, |p, now| p.restart_ice(now)).unwrap();
    sim.run_for(5_000);
    connected(&mut sim, a, b);
    let (applied, _) = flood(&mut sim);
    assert!(applied > 0, "there is room in the next generation");
}

/// Remote candidates with host names: 32 wait to be resolved, further ones are dropped.
#[test]
fn names_that_wait_to_be_resolved() {
    let mut sim = Simulation::new(32, Link::default());
    let (a, b) = sim.pair();
    pair_with_channel(&mut sim, a, b);
    for n in 0..40 {
        let name = format!("6f6b5c1e-5f0f-4e6c-9f33-9a0c8d3b2a{n:02}.local");
        let init = IceCandidateInit::new(format!("candidate:1 1 udp 5 {name} 9 typ host"));
        sim.with(a, |p, now| p.add_ice_candidate(Some(&init), now))
            .unwrap();
    }
    assert_eq!(sim.peer(a).stats().candidates.unusable, 8);
}

/// `max_m_lines`: of our own transceivers, and of an offer.
#[test]
fn m_lines() {
    let mut sim = Simulation::new(33, Link::default());
    let b = sim.add(limits(|l| l.max_m_lines = 3));
    let is_limit = |e: &PeerError| {
        matches!(
            e,
            PeerError::LimitReached {
                limit: "max_m_lines",
                ..
            }
        )
    };
    for n in 0..5 {
        let track = TransceiverConfig::default();
        let added = sim.with(b, |p, now| p.add_track(MediaKind::Audio, track, now));
        assert_eq!(added.is_ok(), n < 3);
        assert!(added.err().iter().all(is_limit));
    }
    let a = sim.add(PeerConfig::default());
    let b = sim.add(limits(|l| l.max_m_lines = 3));
    for _ in 0..4 {
        let track = TransceiverConfig::default();
        sim.with(a, |p, now| p.add_track(MediaKind::Audio, track, now))
            .unwrap();
    }
    let offer = sim.with(a, |p, now| p.negotiate(now)).unwrap();
    let refused = sim.with(b, |p, now| p.receive(offer, now)).unwrap_err();
    assert!(is_limit(&refused), "{refused}");
}

/// `max_frame_size`; a refused frame has no side effects.
#[test]
fn frames_that_are_sent() {
    let mut sim = Simulation::new(35, Link::default());
    let config = limits(|l| l.max_frame_size = 10_000);
    let (a, b) = sim.pair_with(config, PeerConfig::default());
    let track = sim
        .with(a, |p, now| {
            p.add_track(MediaKind::Video, TransceiverConfig::default(), now)
        })
        .unwrap();
    connected(&mut sim, a, b);
    for (size, fits) in [(10_000, true), (10_001, false), (9_999, true)] {
        let frame = EncodedFrame::new(vec![0; size], Duration::from_millis(size as u64));
        let written = sim.with(a, |p, now| p.write_frame(track, &frame, now));
        assert_eq!(written.is_ok(), fits, "{size}");
        if let Err(e) = written {
            assert!(e.to_string().contains("max_frame_size"), "{e}");
        }
    }
}

/// A whole session description, not only its parser: `max_sdp_size`.
#[test]
fn size_of_a_description() {
    let mut sim = Simulation::new(36, Link::default());
    let a = sim.add(PeerConfig::default());
    create(&mut sim, a, ChannelConfig::new("x"));
    let offer = sim.with(a, |p, now| p.negotiate(now)).unwrap();
    let room = 256 * 1024 - offer.sdp.len();
    // Few lines, which have a limit of their own.
    let line = format!("a=x:{}\r\n", "y".repeat(994));
    for (more, fits) in [(room, true), (room + line.len(), false)] {
        let filler = line.repeat(more / line.len());
        let sdp = format!("{}{filler}", offer.sdp);
        let b = sim.add(PeerConfig::default());
        let taken = sim.with(b, |p, now| p.receive(SessionDescription::offer(sdp), now));
        assert_eq!(taken.is_ok(), fits, "{:?}", taken.err());
    }
}

/// Two peers, the first of which was told that the second accepts messages of any size (RFC 8841 §6), or behaves as if
/// it had been; and a channel from the one to the other.
fn one_that_sends_what_it_likes(seed: u64) -> (Simulation, [Node; 2], [ChannelId; 2]) {
    let mut sim = Simulation::new(seed, Link::default());
    let (a, b) = (
        sim.add(PeerConfig::default()),
        sim.add(PeerConfig::default()),
    );
    let channel = create(&mut sim, a, ChannelConfig::new("x"));
    let offer = sim.with(a, |p, now| p.negotiate(now)).unwrap();
    let answer = sim.with(b, |p, now| p.receive(offer, now));
    let mut answer = answer.unwrap().unwrap();
    let announced = "a=max-message-size:262144";
    assert!(answer.sdp.contains(announced));
    answer.sdp = answer.sdp.replace(announced, "a=max-message-size:0");
    sim.with(a, |p, now| p.receive(answer, now)).unwrap();
    for (from, to) in [(a, b), (b, a)] {
        for event in Log::of(&mut sim, from).all {
            if let PeerEvent::IceCandidate(Some(c)) = event {
                let init = c.to_init();
                sim.with(to, |p, now| p.add_ice_candidate(Some(&init), now))
                    .unwrap();
            }
        }
    }
    connected(&mut sim, a, b);
    sim.with(a, |p, now| p.send_text(channel, "before", now))
        .ok();
    sim.run_for(2_000);
    let log = Log::of(&mut sim, b);
    (sim, [a, b], [channel, log.opened[0]])
}

/// [`MAX_RECEIVE_MESSAGE`]: a peer that ignores our announced limit. Its message does not accumulate without bound,
/// nothing of it is delivered, and the session ends: a part of a reliable stream cannot be left out.
#[test]
fn a_message_larger_than_was_announced() {
    for (size, fits) in [
        (MAX_RECEIVE_MESSAGE, true),
        (MAX_RECEIVE_MESSAGE + 1, false),
        (1_500_000, false),
    ] {
        let (mut sim, [a, b], [ours, theirs]) = one_that_sends_what_it_likes(37);
        let sent = sim.with(a, |p, now| p.send_binary(ours, &vec![7; size], now));
        assert_eq!(sent, Ok(()), "{size}");
        sim.run_for(PATIENCE);
        let log = Log::of(&mut sim, b);
        assert_eq!(log.on(theirs).len(), usize::from(fits), "{size}");
        assert_eq!(sim.peer(b).is_closed(), !fits, "{size}");
    }
}

/// A message larger than the send buffer is refused at once, even if the remote peer has no limit: it would wait
/// forever.
#[test]
fn messages_that_can_never_be_sent() {
    let (mut sim, [a, _], [ours, _]) = one_that_sends_what_it_likes(38);
    let limit = sim.peer(a).max_message_size();
    assert_eq!(limit, 2 << 20);
    let refused = sim.with(a, |p, now| p.send_binary(ours, &vec![7; limit + 1], now));
    assert_eq!(
        refused,
        Err(PeerError::MessageTooLarge {
            size: limit + 1,
            limit
        })
    );
    assert_eq!(sim.peer(a).total_buffered_amount(), 0);
    // One at the limit is sent.
    sim.record();
    let taken = sim.with(a, |p, now| p.send_binary(ours, &vec![7; limit], now));
    assert_eq!(taken, Ok(()));
    sim.run_for(100);
    let sent: usize = sim.recorded().iter().map(|t| t.contents.len()).sum();
    assert!(sent > 4_000, "{sent}");
}

/// docs/limits.md: every test it names exists, and every setting `max_…` has a row.
#[test]
fn the_tables_are_true() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/limits.md")).unwrap();
    let mut named = 0;
    for code in page.split('`').skip(1).step_by(2) {
        let Some((file, test)) = code.split_once(".rs::") else {
            continue;
        };
        let below = if file.starts_with("tests/") {
            ""
        } else {
            "src/"
        };
        let path = root.join(format!("{below}{file}.rs"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{code}: {e}"));
        assert!(text.contains(&format!("fn {test}(")), "{code}");
        named += 1;
    }
    assert!(named > 100, "{named} tests");
    for file in [
        "src/proto/peer/values/config.rs",
        "src/proto/ice/gather_config.rs",
        "src/proto/media/jitter.rs",
        "src/proto/media/mod.rs",
        "src/driver/config.rs",
        "src/signaling/http/mod.rs",
        "src/signaling/client.rs",
        "src/server/door/config.rs",
        "src/server/whip/config.rs",
        "src/server/streams/config.rs",
        "src/server/rooms/config.rs",
        "src/server/calls/mod.rs",
        "src/server/gateway/config.rs",
        "src/server/turn/config.rs",
    ] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        for line in text.lines() {
            let setting = line.trim().strip_prefix("pub max_");
            let name = setting.and_then(|rest| rest.split_once(':')).map(|x| x.0);
            let Some(name) = name.map(|name| format!("max_{name}")) else {
                continue;
            };
            assert!(page.contains(&format!("{name}`")), "{name} of {file}");
        }
    }
}
