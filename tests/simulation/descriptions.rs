//! Descriptions of other implementations: mids of any form, unknown kinds of media, and their effects on a session that
//! continues.

use std::time::Duration;

use looprtc::proto::peer::{
    Codec, Direction, EncodedFrame, MediaKind, PeerEvent, RemoteTrack, SdpType, SessionDescription,
    TransceiverConfig,
};
use looprtc::testing::{Link, Node, Simulation};

use crate::common::connected;

/// Transforms the text of a description.
fn changed(
    mut description: SessionDescription,
    from: &[String],
    to: &[String],
) -> SessionDescription {
    let lines = description.sdp.lines().map(|line| {
        let mut line = line.to_owned();
        for (from, to) in from.iter().zip(to) {
            if line == format!("a=mid:{from}") {
                line = format!("a=mid:{to}");
            } else if let Some(group) = line.strip_prefix("a=group:BUNDLE ") {
                let mids = group
                    .split(' ')
                    .map(|mid| if mid == from { to } else { mid });
                line = format!("a=group:BUNDLE {}", mids.collect::<Vec<_>>().join(" "));
            }
        }
        line + "\r\n"
    });
    description.sdp = lines.collect();
    description
}

fn mids(description: &SessionDescription) -> Vec<String> {
    let lines = description.sdp.lines();
    lines
        .filter_map(|l| l.strip_prefix("a=mid:"))
        .map(str::to_owned)
        .collect()
}

fn pass_candidates(sim: &mut Simulation, from: Node, to: Node, sdp_mid: &str) -> Vec<RemoteTrack> {
    let mut remote = Vec::new();
    while let Some(event) = sim.next_event(from) {
        match event {
            PeerEvent::IceCandidate(Some(candidate)) => {
                let init = candidate.to_init();
                assert_eq!(init.sdp_mid.as_deref(), Some(sdp_mid));
                sim.with(to, |p, now| p.add_ice_candidate(Some(&init), now))
                    .unwrap();
            }
            PeerEvent::Track(track) => remote.push(track),
            _ => {}
        }
    }
    remote
}

/// Mids that the core cannot represent (RFC 8866 allows any token): the application, candidates and descriptions use
/// them unchanged, media flows in both directions, and continues after a renegotiation started by the remote peer.
#[test]
fn mids_of_any_form_are_everywhere_what_they_are_on_the_wire() {
    let long = [
        "{5f6c3a10-0000-4000-8000-000000000001}".to_owned(),
        "video-main.seventeen+characters".to_owned(),
    ];
    let mut sim = Simulation::new(51, Link::default());
    let (a, b) = (sim.add(Default::default()), sim.add(Default::default()));
    let config = || TransceiverConfig::default();
    let add = |sim: &mut Simulation, node, kind| {
        sim.with(node, |p, now| p.add_track(kind, config(), now))
            .unwrap()
    };
    let ours = [
        add(&mut sim, a, MediaKind::Audio),
        add(&mut sim, a, MediaKind::Video),
    ];
    let theirs = [
        add(&mut sim, b, MediaKind::Audio),
        add(&mut sim, b, MediaKind::Video),
    ];
    let offer = sim.with(a, |p, now| p.negotiate(now)).unwrap();
    let short = mids(&offer);
    assert_eq!(short.len(), 2);
    let offer = changed(offer, &short, &long);
    let answer = sim
        .with(b, |p, now| p.receive(offer, now))
        .unwrap()
        .unwrap();
    assert_eq!(mids(&answer), long);
    assert!(
        answer
            .sdp
            .contains(&format!("a=group:BUNDLE {} {}\r\n", long[0], long[1]))
    );
    assert!(!answer.sdp.contains("hdrext:sdes:mid"), "{}", answer.sdp);
    sim.with(a, |p, now| p.receive(changed(answer, &long, &short), now))
        .unwrap();
    pass_candidates(&mut sim, a, b, &short[0]);
    let remote = pass_candidates(&mut sim, b, a, &long[0]);
    let named: Vec<&str> = remote.iter().map(|t| t.mid.as_str()).collect();
    assert_eq!(named, long);
    for (id, mid) in theirs.iter().zip(&long) {
        assert_eq!(
            sim.peer(b).transceiver(*id).unwrap().mid.as_deref(),
            Some(mid.as_str())
        );
    }
    connected(&mut sim, a, b);
    let talk = |sim: &mut Simulation, from: u32| {
        let mut got = [[0; 2]; 2];
        for n in from..from + 50 {
            for (node, tracks) in [(a, ours), (b, theirs)] {
                for id in tracks {
                    let data = vec![u8::from(n > 0); 80];
                    let frame = EncodedFrame::new(data, Duration::from_millis(20) * n);
                    sim.with(node, |p, now| p.write_frame(id, &frame, now))
                        .unwrap();
                }
            }
            sim.run_for(20);
        }
        sim.run_for(500);
        for (side, (node, tracks)) in [(a, ours), (b, theirs)].into_iter().enumerate() {
            while let Some(event) = sim.next_event(node) {
                if let PeerEvent::Frame(frame) = event {
                    let at = tracks
                        .iter()
                        .position(|id| *id == frame.transceiver)
                        .unwrap();
                    got[side][at] += 1;
                }
            }
        }
        assert!(got.iter().flatten().all(|frames| *frames > 40), "{got:?}");
    };
    talk(&mut sim, 0);
    // The side with the unusual names offers: its m-lines have the mids on the wire.
    let offer = sim.with(b, |p, now| {
        p.restart_ice(now)?;
        p.negotiate(now)
    });
    let offer = offer.unwrap();
    assert_eq!(mids(&offer), long);
    let answer = sim.with(a, |p, now| p.receive(changed(offer, &long, &short), now));
    let answer = changed(answer.unwrap().unwrap(), &short, &long);
    sim.with(b, |p, now| p.receive(answer, now)).unwrap();
    pass_candidates(&mut sim, a, b, &short[0]);
    pass_candidates(&mut sim, b, a, &long[0]);
    sim.run_for(2000);
    talk(&mut sim, 50);
}

/// Unusable m-lines keep their places for the whole session: in answers, and in our own offers, where new m-lines
/// follow them.
#[test]
fn unknown_m_lines_keep_their_places() {
    let mut sim = Simulation::new(52, Link::default());
    let (a, b) = (sim.add(Default::default()), sim.add(Default::default()));
    let config = TransceiverConfig::default().codecs([Codec::Vp8]);
    sim.with(a, |p, now| {
        p.add_track(MediaKind::Video, config.clone(), now)
    })
    .unwrap();
    let mut offer = sim.with(a, |p, now| p.negotiate(now)).unwrap();
    let mid = mids(&offer).remove(0);
    let text = "m=text 9 UDP/TLS/RTP/SAVP 100 101\r\na=mid:t\r\na=rtpmap:100 t140/1000\r\n";
    let image = "m=image 0 udptl t38\r\n";
    offer.sdp = offer
        .sdp
        .replace("m=video", &format!("{text}{image}m=video"));
    let bundle = format!("a=group:BUNDLE {mid}");
    offer.sdp = offer
        .sdp
        .replace(&bundle, &format!("a=group:BUNDLE t {mid}"));
    let m_lines = |sdp: &str| -> Vec<String> {
        let lines = sdp.lines().filter_map(|l| l.strip_prefix("m="));
        lines
            .map(|l| l.split(' ').take(4).collect::<Vec<_>>().join(" "))
            .collect()
    };
    let answer = sim
        .with(b, |p, now| p.receive(offer.clone(), now))
        .unwrap()
        .unwrap();
    let rejected = ["text 0 UDP/TLS/RTP/SAVP 100", "image 0 udptl t38"];
    assert_eq!(m_lines(&answer.sdp)[..2], rejected);
    assert_eq!(mids(&answer), ["t", mid.as_str()]);
    assert!(
        answer.sdp.contains(&format!("{bundle}\r\n")),
        "{}",
        answer.sdp
    );
    // Offered again, they are answered again.
    let again = sim
        .with(b, |p, now| p.receive(offer.clone(), now))
        .unwrap()
        .unwrap();
    assert_eq!(m_lines(&again.sdp), m_lines(&answer.sdp));
    // Now this side wants to send, too.
    let sound = TransceiverConfig::default().direction(Direction::SendOnly);
    sim.with(b, |p, now| p.add_track(MediaKind::Audio, sound, now))
        .unwrap();
    let ours = sim.with(b, |p, now| p.negotiate(now)).unwrap();
    assert_eq!(ours.kind, SdpType::Offer);
    let lines = m_lines(&ours.sdp);
    assert_eq!(lines[..2], rejected);
    assert!(
        lines[2].starts_with("video 9 ") && lines[3].starts_with("audio 9 "),
        "{lines:?}"
    );
    // Ours are bundled, under the names known to both; rejected ones are not.
    let new = mids(&ours).remove(3);
    assert!(
        ours.sdp
            .contains(&format!("a=group:BUNDLE {mid} {new}\r\n")),
        "{}",
        ours.sdp
    );
}

/// An answer that has not chosen the DTLS role, or is invalid otherwise, is refused, and the offer stays pending.
#[test]
fn answers_that_do_not_fit_are_refused() {
    let mut sim = Simulation::new(53, Link::default());
    let (a, b) = (sim.add(Default::default()), sim.add(Default::default()));
    let config = TransceiverConfig::default().direction(Direction::SendOnly);
    sim.with(a, |p, now| p.add_track(MediaKind::Video, config, now))
        .unwrap();
    let offer = sim.with(a, |p, now| p.negotiate(now)).unwrap();
    let answer = sim
        .with(b, |p, now| p.receive(offer, now))
        .unwrap()
        .unwrap();
    for (from, to, says) in [
        ("a=setup:passive", "a=setup:actpass", "actpass"),
        (
            "a=recvonly",
            "a=sendrecv",
            "a=sendrecv does not answer a=sendonly",
        ),
        ("a=group:BUNDLE ", "a=group:BUNDLE x", "bundles"),
        ("m=video", "m=audio", "m=audio"),
    ] {
        let mut bad = answer.clone();
        bad.sdp = answer.sdp.replace(from, to);
        assert_ne!(bad.sdp, answer.sdp, "{from}");
        let error = sim
            .with(a, |p, now| p.receive(bad, now))
            .unwrap_err()
            .to_string();
        assert!(error.contains(says) && error.contains("line "), "{error}");
    }
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
    connected(&mut sim, a, b);
}

/// The core panics on a check with a too long ufrag. It is refused before, wherever it comes from.
#[test]
fn user_fragments_that_are_too_long_are_refused() {
    let long = |length: usize| "u".repeat(length);
    for (length, is_fine) in [(4, true), (111, true), (112, false), (256, false)] {
        let mut sim = Simulation::new(54, Link::default());
        let (a, b) = (sim.add(Default::default()), sim.add(Default::default()));
        let config = TransceiverConfig::default();
        sim.with(a, |p, now| p.add_track(MediaKind::Audio, config, now))
            .unwrap();
        let offer = sim.with(a, |p, now| p.negotiate(now)).unwrap();
        let with_ufrag = |mut description: SessionDescription| {
            let lines =
                description
                    .sdp
                    .lines()
                    .map(|line| match line.starts_with("a=ice-ufrag:") {
                        true => format!("a=ice-ufrag:{}\r\n", long(length)),
                        false => format!("{line}\r\n"),
                    });
            description.sdp = lines.collect();
            description.sdp += "a=candidate:1 1 udp 2130706431 10.0.0.99 5000 typ host\r\n";
            description
        };
        let taken = sim.with(b, |p, now| p.receive(with_ufrag(offer.clone()), now));
        let is_ufrag = |e: &dyn std::fmt::Display| e.to_string().contains("a=ice-ufrag");
        assert_eq!(taken.is_ok(), is_fine, "{taken:?}");
        assert!(
            taken.as_ref().err().is_none_or(|e| is_ufrag(e)),
            "{taken:?}"
        );
        let answer = match taken {
            Ok(answer) => answer.unwrap(),
            Err(_) => sim
                .with(b, |p, now| p.receive(offer, now))
                .unwrap()
                .unwrap(),
        };
        let taken = sim.with(a, |p, now| p.receive(with_ufrag(answer), now));
        assert_eq!(taken.is_ok(), is_fine, "{taken:?}");
        // Checks are sent, and nothing panics.
        sim.run_for(3000);
    }
}
