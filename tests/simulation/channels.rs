//! Data channels: every mode, every way to close, every limit.

use std::collections::HashSet;

use looprtc::proto::peer::{
    ChannelConfig, ChannelId, ChannelState, ConnectionState, Limits, Message, PeerConfig,
    PeerError, PeerEvent,
};
use looprtc::testing::{Link, Node, Rng, Simulation};

use crate::common::{Log, connected, create, pair_with_channel, state};

fn lossy(loss: f64) -> Link {
    Link::default().loss(loss).duplicate(0.05).delay(10, 25)
}

fn send(sim: &mut Simulation, node: Node, channel: ChannelId, bytes: &[u8]) {
    sim.with(node, |p, now| p.send_binary(channel, bytes, now))
        .expect("taken");
}

fn binary(log: &Log, channel: ChannelId) -> Vec<Vec<u8>> {
    let bytes = |m: &Message| match m {
        Message::Binary(b) => b.clone(),
        Message::Text(t) => panic!("text {t:?}"),
    };
    log.on(channel).iter().map(bytes).collect()
}

#[test]
fn every_reliability_mode_both_ways() {
    let configs = [
        ChannelConfig::new("reliable"),
        ChannelConfig::new("unordered").ordered(false),
        ChannelConfig::new("retransmits 0").max_retransmits(0),
        ChannelConfig::new("retransmits 3")
            .max_retransmits(3)
            .ordered(false),
        ChannelConfig::new("lifetime").max_packet_lifetime(100),
        ChannelConfig::new("lifetime, unordered")
            .max_packet_lifetime(100)
            .ordered(false),
        ChannelConfig::new("protocol").protocol("chat.example"),
        ChannelConfig::new("žluťoučký kůň 🐎").protocol("ünï"),
        ChannelConfig::new(""),
    ];
    let mut sim = Simulation::new(1, lossy(0.1));
    let (a, b) = sim.pair();
    let ours: Vec<ChannelId> = configs
        .iter()
        .map(|c| create(&mut sim, a, c.clone()))
        .collect();
    connected(&mut sim, a, b);
    sim.run_for(60_000);
    let (mut log_a, mut log_b) = (Log::of(&mut sim, a), Log::of(&mut sim, b));
    assert_eq!(log_b.opened.len(), configs.len());
    assert_eq!(log_b.remote.len(), configs.len());
    // The remote announcement has all properties that it was created with.
    let theirs: Vec<ChannelId> = configs
        .iter()
        .map(|c| {
            let is_it = |id: &&ChannelId| sim.with(b, |p, _| p.channel(**id).unwrap().config) == *c;
            *log_b
                .remote
                .iter()
                .find(is_it)
                .unwrap_or_else(|| panic!("no {c:?}"))
        })
        .collect();
    for n in 0..100u8 {
        for (x, y) in ours.iter().zip(&theirs) {
            send(&mut sim, a, *x, &[n; 40]);
            send(&mut sim, b, *y, &[n; 200]);
        }
        sim.run_for(100);
    }
    sim.run_for(60_000);
    log_a.take(&mut sim, a);
    log_b.take(&mut sim, b);
    for (i, config) in configs.iter().enumerate() {
        for (log, channel, len) in [(&log_a, ours[i], 200), (&log_b, theirs[i], 40)] {
            let got: Vec<u8> = binary(log, channel)
                .iter()
                .map(|b| {
                    assert_eq!(b.len(), len);
                    assert!(b.iter().all(|x| *x == b[0]));
                    b[0]
                })
                .collect();
            let label = &config.label;
            assert_eq!(
                got.iter().collect::<HashSet<_>>().len(),
                got.len(),
                "{label}: twice"
            );
            if config.ordered {
                assert!(got.is_sorted(), "{label}: {got:?}");
            }
            if config.max_retransmits.is_none() && config.max_packet_lifetime.is_none() {
                assert_eq!(got.len(), 100, "{label}");
            } else {
                assert!(got.len() > 50, "{label}: {}", got.len());
            }
        }
        assert_eq!(sim.peer(a).buffered_amount(ours[i]), 0);
        assert_eq!(sim.peer(b).buffered_amount(theirs[i]), 0);
    }
}

#[test]
fn text_binary_and_empty_keep_their_kind_and_order() {
    let mut sim = Simulation::new(2, lossy(0.2));
    let (a, b) = sim.pair();
    let (ca, cb) = pair_with_channel(&mut sim, a, b);
    let mut rng = Rng::new(2);
    let mut sent = vec![];
    for n in 0..300 {
        let message = match rng.below(5) {
            0 => Message::Text(String::new()),
            1 => Message::Binary(vec![]),
            2 => Message::Text(format!("n {n} \u{ff}\u{fe}")),
            3 => Message::Binary(vec![[0xFF, 0xFE, 0, 1][rng.below(4) as usize]]),
            _ => Message::Binary(vec![n as u8; rng.below(4_000) as usize]),
        };
        for (node, channel) in [(a, ca), (b, cb)] {
            sim.with(node, |p, now| match &message {
                Message::Text(t) => p.send_text(channel, t, now),
                Message::Binary(d) => p.send_binary(channel, d, now),
            })
            .unwrap();
        }
        sent.push(message);
        sim.run_for(rng.below(30));
    }
    sim.run_for(120_000);
    assert_eq!(Log::of(&mut sim, a).on(ca), sent);
    assert_eq!(Log::of(&mut sim, b).on(cb), sent);
}

#[test]
fn large_messages_and_the_limit_of_the_other_side() {
    let mut sim = Simulation::new(3, lossy(0.05));
    let (a, b) = sim.pair();
    let (ca, cb) = pair_with_channel(&mut sim, a, b);
    assert_eq!(sim.peer(a).max_message_size(), 256 * 1024);
    let mut rng = Rng::new(3);
    let big: Vec<u8> = (0..256 * 1024).map(|_| rng.next_u64() as u8).collect();
    send(&mut sim, a, ca, &big);
    send(&mut sim, b, cb, &big);
    let over = sim.with(a, |p, now| p.send_binary(ca, &vec![0; 256 * 1024 + 1], now));
    assert_eq!(
        over,
        Err(PeerError::MessageTooLarge {
            size: 256 * 1024 + 1,
            limit: 256 * 1024
        })
    );
    sim.run_for(600_000);
    assert!(binary(&Log::of(&mut sim, a), ca) == std::slice::from_ref(&big));
    assert_eq!(binary(&Log::of(&mut sim, b), cb), [big]);

    // A peer with a small maximum message size, and one without a limit.
    for (announced, limit) in [("1000", 1_000), ("0", 2 << 20), ("1", 1)] {
        let mut sim = Simulation::new(4, Link::default());
        let a = sim.add(PeerConfig::default());
        let b = sim.add(PeerConfig::default());
        let channel = create(&mut sim, a, ChannelConfig::new("x"));
        let offer = sim.with(a, |p, now| p.negotiate(now)).unwrap();
        let mut answer = sim
            .with(b, |p, now| p.receive(offer, now))
            .unwrap()
            .unwrap();
        let from = "a=max-message-size:262144";
        assert!(answer.sdp.contains(from));
        answer.sdp = answer
            .sdp
            .replace(from, &format!("a=max-message-size:{announced}"));
        sim.with(a, |p, now| p.receive(answer, now)).unwrap();
        carry_candidates(&mut sim, a, b);
        sim.run_for(3_000);
        assert_eq!(sim.peer(a).max_message_size(), limit);
        assert_eq!(state(&sim, a), ConnectionState::Connected);
        if limit == 1_000 {
            send(&mut sim, a, channel, &[7; 1_000]);
            let over = sim.with(a, |p, now| p.send_binary(channel, &[7; 1_001], now));
            assert!(matches!(
                over,
                Err(PeerError::MessageTooLarge { limit: 1_000, .. })
            ));
            sim.run_for(1_000);
            let log = Log::of(&mut sim, b);
            assert_eq!(binary(&log, log.opened[0]), [vec![7; 1_000]]);
        }
    }
}

/// For peers whose signaling is transferred by the test: passes all waiting candidates, in both directions.
fn carry_candidates(sim: &mut Simulation, a: Node, b: Node) {
    for (from, to) in [(a, b), (b, a)] {
        let log = Log::of(sim, from);
        for event in log.all {
            if let PeerEvent::IceCandidate(Some(c)) = event {
                let init = looprtc::proto::peer::IceCandidateInit::new(c.to_sdp_line());
                sim.with(to, |p, now| p.add_ice_candidate(Some(&init), now))
                    .unwrap();
            }
        }
    }
}

/// Refused, with an event when to retry; in the end everything has arrived once and in order.
#[test]
fn back_pressure_loses_nothing() {
    let limits = Limits::default();
    let config = PeerConfig::default().limits({
        let mut l = limits;
        l.max_send_buffer = 300_000;
        l
    });
    let mut sim = Simulation::new(5, lossy(0.05));
    let (a, b) = sim.pair_with(config.clone(), config);
    let (ca, cb) = pair_with_channel(&mut sim, a, b);
    let mut log_a = Log::default();
    let mut log_b = Log::default();
    let (mut next, mut refused, mut lows) = (0u32, 0, 0);
    const COUNT: u32 = 3_000;
    let mut waiting = false;
    for _ in 0..200_000 {
        while !waiting && next < COUNT {
            let mut message = next.to_be_bytes().to_vec();
            message.resize(4 + (next as usize * 37) % 3_000, 9);
            match sim.with(a, |p, now| p.send_binary(ca, &message, now)) {
                Ok(()) => next += 1,
                Err(PeerError::BufferFull { buffered, limit }) => {
                    assert!(buffered <= limit && limit == 300_000);
                    refused += 1;
                    waiting = true;
                }
                Err(e) => panic!("{e}"),
            }
        }
        sim.run_for(20);
        log_a.take(&mut sim, a);
        if !log_a.low.is_empty() {
            lows += log_a.low.len();
            log_a.low.clear();
            waiting = false;
        }
        log_b.take(&mut sim, b);
        if log_b.on(cb).len() == COUNT as usize {
            break;
        }
    }
    let got: Vec<u32> = binary(&log_b, cb)
        .iter()
        .map(|m| u32::from_be_bytes(m[..4].try_into().unwrap()))
        .collect();
    assert_eq!(got, (0..COUNT).collect::<Vec<_>>());
    assert!(
        refused > 3 && lows >= refused,
        "{refused} refused, {lows} low events"
    );
}

#[test]
fn the_low_event_comes_when_the_threshold_is_crossed() {
    let mut sim = Simulation::new(6, Link::default());
    let (a, b) = sim.pair();
    let (ca, _) = pair_with_channel(&mut sim, a, b);
    sim.with(a, |p, _| p.set_buffered_amount_low_threshold(ca, 50_000))
        .unwrap();
    // Never above it: no event.
    send(&mut sim, a, ca, &[0; 50_000]);
    sim.run_for(5_000);
    assert!(Log::of(&mut sim, a).low.is_empty());
    // Above it: one event, at the crossing.
    for _ in 0..4 {
        send(&mut sim, a, ca, &[0; 50_000]);
    }
    assert_eq!(sim.peer(a).buffered_amount(ca), 200_000);
    let crossed = sim.run_until(10_000, |sim| sim.peer(a).buffered_amount(ca) <= 50_000);
    assert!(crossed);
    assert_eq!(Log::of(&mut sim, a).low, [ca]);
    sim.run_for(5_000);
    assert!(Log::of(&mut sim, a).low.is_empty());
    // 0, the default: when everything is acknowledged.
    sim.with(a, |p, _| p.set_buffered_amount_low_threshold(ca, 0))
        .unwrap();
    send(&mut sim, a, ca, &[0; 10]);
    sim.run_for(1_000);
    assert_eq!(Log::of(&mut sim, a).low, [ca]);
    // And not for a closed channel.
    assert_eq!(
        sim.with(a, |p, _| p.set_buffered_amount_low_threshold(ca, 1)),
        Ok(())
    );
}

/// Data sent before `close` arrives before the channel closes, on a bad network, from either side.
#[test]
fn closing_sends_what_is_buffered() {
    for seed in 0..20 {
        let mut sim = Simulation::new(seed, lossy(0.15));
        let (a, b) = sim.pair();
        let (ca, cb) = pair_with_channel(&mut sim, a, b);
        let [(from, out), (to, into)] = if seed % 2 == 0 {
            [(a, ca), (b, cb)]
        } else {
            [(b, cb), (a, ca)]
        };
        for n in 0..40u8 {
            send(&mut sim, from, out, &vec![n; 2_500]);
        }
        sim.with(from, |p, now| p.close_data_channel(out, now))
            .unwrap();
        let info = sim.with(from, |p, _| p.channel(out)).expect("closing");
        assert_eq!(info.state, ChannelState::Closing);
        let more = sim.with(from, |p, now| p.send_text(out, "late", now));
        assert!(more.is_err());
        // Closing twice is allowed.
        sim.with(from, |p, now| p.close_data_channel(out, now))
            .unwrap();
        sim.run_for(120_000);
        let log = Log::of(&mut sim, to);
        let got: Vec<u8> = binary(&log, into).iter().map(|m| m[0]).collect();
        assert_eq!(got, (0..40).collect::<Vec<u8>>(), "seed {seed}");
        assert_eq!(log.closed, [into], "seed {seed}");
        let last = log
            .all
            .iter()
            .rposition(|e| matches!(e, PeerEvent::ChannelMessage { .. }));
        let closed = log
            .all
            .iter()
            .position(|e| matches!(e, PeerEvent::ChannelClosed(_)));
        assert!(last < closed);
        assert_eq!(Log::of(&mut sim, from).closed, [out]);
        for node in [a, b] {
            assert!(sim.peer(node).channels().is_empty());
            assert_eq!(sim.peer(node).total_buffered_amount(), 0);
            assert_eq!(
                state(&sim, node),
                ConnectionState::Connected,
                "{seed} {:?}",
                log.errors
            );
        }
    }
}

/// Both sides close the same channel at once, with data in flight both ways.
#[test]
fn both_sides_close_at_once() {
    for seed in 0..20 {
        let mut sim = Simulation::new(seed, lossy(0.1));
        let (a, b) = sim.pair();
        let (ca, cb) = pair_with_channel(&mut sim, a, b);
        for n in 0..10u8 {
            send(&mut sim, a, ca, &[n; 3_000]);
            send(&mut sim, b, cb, &[n; 3_000]);
        }
        sim.with(a, |p, now| p.close_data_channel(ca, now)).unwrap();
        sim.with(b, |p, now| p.close_data_channel(cb, now)).unwrap();
        sim.run_for(60_000);
        for (node, channel) in [(a, ca), (b, cb)] {
            let log = Log::of(&mut sim, node);
            assert_eq!(log.closed, [channel], "seed {seed}");
            assert!(sim.peer(node).channels().is_empty());
            assert_eq!(sim.peer(node).total_buffered_amount(), 0);
        }
        // And another can be opened.
        create(&mut sim, a, ChannelConfig::new("again"));
        sim.run_for(20_000);
        assert_eq!(Log::of(&mut sim, b).opened.len(), 1, "seed {seed}");
    }
}

/// Stream ids are reused: hundreds of channels, one after the other, from both sides, with data.
#[test]
fn hundreds_of_channels_one_after_the_other() {
    for loss in [0.1] {
        let _ = env_logger::try_init();
        let mut sim = Simulation::new(7, Link::default().loss(loss).delay(2, 3));
        let (a, b) = sim.pair();
        pair_with_channel(&mut sim, a, b);
        let mut ids = HashSet::new();
        let mut flaps = 0;
        let rounds = if loss > 0.0 { 60 } else { 300 };
        for n in 0..rounds {
            let [from, to] = if n % 3 == 0 { [b, a] } else { [a, b] };
            let label = format!("c{n}");
            let ours = create(&mut sim, from, ChannelConfig::new(&label));
            let mut log = Log::default();
            for _ in 0..600 {
                sim.run_for(50);
                log.take(&mut sim, to);
                if !log.opened.is_empty() {
                    break;
                }
            }
            assert!(!log.opened.is_empty(), "{label}: not open");
            for _ in 0..600 {
                if Log::of(&mut sim, from).opened.contains(&ours) {
                    break;
                }
                sim.run_for(50);
            }
            // On a bad network the first attempt may collide with the reset of the channel that had its stream id
            // before; it is then opened again, and the remote peer sees both.
            log.take(&mut sim, to);
            let theirs = *log
                .opened
                .iter()
                .find(|c| !log.closed.contains(c))
                .unwrap_or_else(|| panic!("{label}: not open: {log:?}"));
            flaps += log.opened.len() - 1;
            let info = sim.with(from, |p, _| p.channel(ours)).expect("open");
            ids.insert(info.stream_id.expect("known when open"));
            send(&mut sim, from, ours, label.as_bytes());
            // The announcement of the channel does not count as the application's bytes.
            assert_eq!(sim.peer(from).buffered_amount(ours), label.len());
            assert_eq!(sim.peer(from).total_buffered_amount(), label.len());
            // Closed by one side, then by the other.
            let closer = if n % 2 == 0 {
                (from, ours)
            } else {
                (to, theirs)
            };
            if n % 2 == 1 {
                // Data in flight when the receiver closes is lost; so it waits.
                sim.run_until(30_000, |sim| sim.peer(from).total_buffered_amount() == 0);
                sim.run_for(100);
            }
            sim.with(closer.0, |p, now| p.close_data_channel(closer.1, now))
                .unwrap();
            let gone = sim.run_until(60_000, |sim| {
                sim.peer(from).channels().len() == 1 && sim.peer(to).channels().len() == 1
            });
            assert!(gone, "{label}: not closed");
            log.take(&mut sim, to);
            assert_eq!(binary(&log, theirs), [label.as_bytes()], "{label}");
        }
        assert!(flaps < rounds / 5, "{flaps} of {rounds} opened twice");
        assert!(
            loss > 0.0 || flaps == 0,
            "{flaps} opened twice without a loss"
        );
        assert!(
            ids.len() < rounds / 2,
            "{} ids for {rounds} channels",
            ids.len()
        );
    }
}

#[test]
fn five_hundred_channels_at_once() {
    let mut sim = Simulation::new(8, Link::default().loss(0.02));
    let (a, b) = sim.pair();
    for n in 0..500 {
        create(
            &mut sim,
            if n % 2 == 0 { a } else { b },
            ChannelConfig::new(format!("{n}")),
        );
    }
    connected(&mut sim, a, b);
    let (mut log_a, mut log_b) = (Log::default(), Log::default());
    for _ in 0..1_000 {
        sim.run_for(100);
        log_a.take(&mut sim, a);
        log_b.take(&mut sim, b);
        if log_a.opened.len() == 500 && log_b.opened.len() == 500 {
            break;
        }
    }
    assert_eq!((log_a.opened.len(), log_b.opened.len()), (500, 500));
    for channel in sim.peer(a).channels() {
        let label = sim.with(a, |p, _| p.channel(channel).unwrap().config.label);
        sim.with(a, |p, now| p.send_text(channel, &label, now))
            .unwrap();
    }
    sim.run_for(60_000);
    log_b.take(&mut sim, b);
    for channel in sim.peer(b).channels() {
        let label = sim.with(b, |p, _| p.channel(channel).unwrap().config.label);
        assert_eq!(log_b.on(channel), [Message::Text(label)]);
    }
    for channel in sim.peer(a).channels() {
        sim.with(a, |p, now| p.close_data_channel(channel, now))
            .unwrap();
    }
    let gone = sim.run_until(120_000, |sim| {
        sim.peer(a).channels().is_empty() && sim.peer(b).channels().is_empty()
    });
    assert!(
        gone,
        "{} {}",
        sim.peer(a).channels().len(),
        sim.peer(b).channels().len()
    );
}

#[test]
fn negotiated_ids_on_both_sides() {
    for (id_a, id_b) in [(0, 1), (65_534, 40)] {
        let mut sim = Simulation::new(9, lossy(0.1));
        let (a, b) = sim.pair();
        let mut made = vec![];
        for id in [id_a, id_b] {
            let config = ChannelConfig::new(format!("n{id}")).negotiated(id);
            let x = create(&mut sim, a, config.clone());
            let y = create(&mut sim, b, config.clone());
            made.push((x, y, id));
            let twice = sim.with(a, |p, now| p.create_data_channel(config, now));
            assert!(matches!(twice, Err(PeerError::BadChannel(_))));
        }
        let in_band = create(&mut sim, a, ChannelConfig::new("in band"));
        connected(&mut sim, a, b);
        sim.run_for(30_000);
        for (x, y, id) in &made {
            for (node, channel) in [(a, *x), (b, *y)] {
                let info = sim.with(node, |p, _| p.channel(channel)).expect("there");
                assert_eq!(info.state, ChannelState::Open, "id {id}");
                assert_eq!(info.stream_id, Some(*id));
            }
            sim.with(a, |p, now| p.send_text(*x, "to b", now)).unwrap();
            sim.with(b, |p, now| p.send_text(*y, "to a", now)).unwrap();
        }
        let other = sim
            .with(a, |p, _| p.channel(in_band))
            .unwrap()
            .stream_id
            .unwrap();
        assert!(![id_a, id_b].contains(&other));
        sim.run_for(20_000);
        let (log_a, log_b) = (Log::of(&mut sim, a), Log::of(&mut sim, b));
        // Nothing is announced for them.
        assert!(log_a.remote.is_empty());
        assert_eq!(log_b.remote.len(), 1);
        for (x, y, _) in &made {
            assert_eq!(log_a.on(*x), [Message::Text("to a".into())]);
            assert_eq!(log_b.on(*y), [Message::Text("to b".into())]);
        }
    }
}

/// Created while connected, one side a moment after the other, which has sent already.
#[test]
fn a_negotiated_id_made_later_than_the_first_message() {
    let mut sim = Simulation::new(10, Link::default());
    let (a, b) = sim.pair();
    pair_with_channel(&mut sim, a, b);
    let config = ChannelConfig::new("n").negotiated(100);
    let x = create(&mut sim, a, config.clone());
    sim.run_for(100);
    sim.with(a, |p, now| p.send_text(x, "early", now)).unwrap();
    sim.run_for(100);
    let y = create(&mut sim, b, config);
    sim.run_for(1_000);
    let info = sim.with(b, |p, _| p.channel(y)).expect("not closed");
    assert_eq!(info.state, ChannelState::Open);
    let log = Log::of(&mut sim, b);
    assert!(log.opened.contains(&y), "{log:?}");
    sim.with(b, |p, now| p.send_text(y, "to a", now)).unwrap();
    sim.with(a, |p, now| p.send_text(x, "to b", now)).unwrap();
    sim.run_for(1_000);
    assert_eq!(Log::of(&mut sim, a).on(x), [Message::Text("to a".into())]);
    assert_eq!(
        Log::of(&mut sim, b).on(y).last(),
        Some(&Message::Text("to b".into()))
    );
}

#[test]
fn a_negotiated_id_can_be_used_again() {
    let mut sim = Simulation::new(11, Link::default());
    let (a, b) = sim.pair();
    pair_with_channel(&mut sim, a, b);
    let config = ChannelConfig::new("n").negotiated(7);
    for round in 0..20 {
        let x = create(&mut sim, a, config.clone());
        let y = create(&mut sim, b, config.clone());
        sim.run_for(1_000);
        sim.with(a, |p, now| p.send_text(x, "hi", now))
            .unwrap_or_else(|e| panic!("{round}: {e}"));
        sim.run_for(500);
        assert_eq!(Log::of(&mut sim, b).on(y).len(), 1, "round {round}");
        sim.with(a, |p, now| p.close_data_channel(x, now)).unwrap();
        sim.run_for(1_000);
        assert_eq!(sim.peer(b).channels().len(), 1, "round {round}");
        assert_eq!(sim.peer(a).channels().len(), 1, "round {round}");
    }
}

#[test]
fn what_cannot_be_made_is_refused() {
    let mut sim = Simulation::new(12, Link::default());
    let a = sim.add(PeerConfig::default());
    let mut refused = |config: ChannelConfig| {
        sim.with(a, |p, now| p.create_data_channel(config, now))
            .expect_err("refused")
    };
    let long = "x".repeat(1_025);
    assert!(matches!(
        refused(ChannelConfig::new(&long)),
        PeerError::LimitReached { .. }
    ));
    let both = ChannelConfig::new("x".repeat(600)).protocol("y".repeat(425));
    assert!(matches!(refused(both), PeerError::LimitReached { .. }));
    let modes = ChannelConfig::new("")
        .max_retransmits(1)
        .max_packet_lifetime(1);
    assert!(matches!(refused(modes), PeerError::BadChannel(_)));
    assert!(matches!(
        refused(ChannelConfig::new("").negotiated(65_535)),
        PeerError::BadChannel(_)
    ));
    // A label at the limit arrives whole; one too large for the core is always refused.
    let mut limits = Limits::default();
    limits.max_label_size = 100_000;
    let config = PeerConfig::default().limits(limits);
    let mut sim = Simulation::new(13, Link::default());
    let (a, b) = sim.pair_with(config.clone(), config);
    let huge = sim.with(a, |p, now| {
        p.create_data_channel(ChannelConfig::new("x".repeat(50_000)), now)
    });
    assert!(huge.is_err());
    let config = ChannelConfig::new("x".repeat(600)).protocol("y".repeat(424));
    create(&mut sim, a, config.clone());
    connected(&mut sim, a, b);
    sim.run_for(2_000);
    let log = Log::of(&mut sim, b);
    assert_eq!(
        sim.with(b, |p, _| p.channel(log.remote[0])).unwrap().config,
        config
    );
}

#[test]
fn closed_before_it_opens() {
    // Before negotiation, with a pending offer, and while the association is established.
    for wait in [0, 1, 6, 12, 20, 40, 60, 80, 100, 120, 140] {
        let mut sim = Simulation::new(14, Link::default());
        let (a, b) = sim.pair();
        let keep = create(&mut sim, a, ChannelConfig::new("keep"));
        let gone: Vec<ChannelId> = (0..3)
            .map(|n| create(&mut sim, a, ChannelConfig::new(format!("gone{n}"))))
            .collect();
        sim.run_for(wait);
        for id in &gone {
            sim.with(a, |p, now| p.close_data_channel(*id, now))
                .unwrap();
        }
        connected(&mut sim, a, b);
        sim.run_for(20_000);
        let log = Log::of(&mut sim, a);
        let closed: HashSet<ChannelId> = log.closed.iter().copied().collect();
        assert_eq!(closed, gone.iter().copied().collect(), "after {wait} ms");
        assert_eq!(log.closed.len(), 3, "after {wait} ms");
        assert_eq!(sim.peer(a).channels(), [keep], "after {wait} ms");
        assert_eq!(
            sim.peer(b).channels().len(),
            1,
            "after {wait} ms: {:?}",
            Log::of(&mut sim, b)
        );
        // The very first one, which caused the offer.
        let mut sim = Simulation::new(15, Link::default());
        let (a, b) = sim.pair();
        let first = create(&mut sim, a, ChannelConfig::new("first"));
        let keep = create(&mut sim, a, ChannelConfig::new("keep"));
        sim.run_for(wait);
        sim.with(a, |p, now| p.close_data_channel(first, now))
            .unwrap();
        connected(&mut sim, a, b);
        sim.run_for(20_000);
        assert_eq!(Log::of(&mut sim, a).closed, [first], "after {wait} ms");
        assert_eq!(sim.peer(a).channels(), [keep], "after {wait} ms");
        assert_eq!(sim.peer(b).channels().len(), 1, "after {wait} ms");
    }
}

#[test]
fn too_many_channels_from_the_other_side() {
    let mut limits = Limits::default();
    limits.max_channels = 10;
    let mut sim = Simulation::new(16, Link::default());
    let (a, b) = sim.pair_with(PeerConfig::default(), PeerConfig::default().limits(limits));
    let made: Vec<ChannelId> = (0..50)
        .map(|n| create(&mut sim, a, ChannelConfig::new(format!("{n}"))))
        .collect();
    connected(&mut sim, a, b);
    sim.run_for(60_000);
    assert_eq!(sim.peer(b).channels().len(), 10);
    let log = Log::of(&mut sim, a);
    assert_eq!(log.closed.len(), 40, "the others were reset");
    let over = sim.with(b, |p, now| {
        p.create_data_channel(ChannelConfig::new("more"), now)
    });
    assert!(matches!(
        over,
        Err(PeerError::LimitReached {
            limit: "max_channels",
            ..
        })
    ));
    // Existing channels work; and freed places can be used.
    let left: Vec<ChannelId> = made
        .iter()
        .copied()
        .filter(|c| !log.closed.contains(c))
        .collect();
    sim.with(a, |p, now| p.send_text(left[3], "hi", now))
        .unwrap();
    sim.with(a, |p, now| p.close_data_channel(left[0], now))
        .unwrap();
    sim.run_for(5_000);
    create(&mut sim, a, ChannelConfig::new("after"));
    sim.run_for(5_000);
    let log = Log::of(&mut sim, b);
    assert_eq!(log.messages.values().map(Vec::len).sum::<usize>(), 1);
    assert_eq!(log.opened.len(), 11);
}

#[test]
fn calls_on_channels_that_are_not_there() {
    let mut sim = Simulation::new(17, Link::default());
    let (a, b) = sim.pair();
    let early = create(&mut sim, a, ChannelConfig::new("x"));
    let not_open = sim.with(a, |p, now| p.send_text(early, "", now));
    assert_eq!(not_open, Err(PeerError::ChannelNotOpen));
    connected(&mut sim, a, b);
    sim.run_for(2_000);
    sim.with(a, |p, now| p.close_data_channel(early, now))
        .unwrap();
    sim.run_for(2_000);
    sim.with(a, |p, now| {
        assert_eq!(p.channel(early), None);
        assert_eq!(p.send_text(early, "", now), Err(PeerError::NoSuchChannel));
        assert_eq!(
            p.close_data_channel(early, now),
            Err(PeerError::NoSuchChannel)
        );
        assert_eq!(p.buffered_amount(early), 0);
        p.close(now);
        assert_eq!(p.send_text(early, "", now), Err(PeerError::Closed));
        assert_eq!(
            p.create_data_channel(ChannelConfig::new("x"), now),
            Err(PeerError::Closed)
        );
    });
}

/// RFC 3758: a message without a lifetime is sent once; the core would drop it before that.
#[test]
fn a_lifetime_of_nothing_sends_once() {
    for ordered in [true, false] {
        let mut sim = Simulation::new(5, Link::default().delay(20, 0));
        let (a, b) = sim.pair();
        let config = ChannelConfig::new("data")
            .ordered(ordered)
            .max_packet_lifetime(0);
        let ours = create(&mut sim, a, config);
        connected(&mut sim, a, b);
        sim.run_for(2000);
        for n in 0..20 {
            sim.with(a, |p, now| p.send_text(ours, &format!("{n}"), now))
                .expect("open");
            sim.run_for(100);
        }
        sim.run_for(2000);
        let theirs = sim.peer(b).channels()[0];
        let heard = Log::of(&mut sim, b);
        assert_eq!(heard.messages.values().map(Vec::len).sum::<usize>(), 20);
        // And in the other direction: the remote peer's channel has the same reliability.
        sim.with(b, |p, now| p.send_text(theirs, "back", now))
            .expect("open");
        sim.run_for(1000);
        let heard = Log::of(&mut sim, a);
        assert_eq!(heard.messages.values().map(Vec::len).sum::<usize>(), 1);
    }
}
