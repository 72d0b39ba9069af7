//! Peers that publish, as over WHIP.

use std::time::{Duration, Instant};

use looprtc::driver::PeerId;
use looprtc::proto::peer::Codec::{H264, Opus, Vp8};
use looprtc::proto::peer::{Codec, KeyframeRequestKind};
use looprtc::server::streams::{StreamError, StreamEvent, StreamState, StreamsConfig};

use crate::stage::Stage;

fn stage() -> Stage {
    Stage::new(StreamsConfig::default()).with("cam=whip:")
}

fn pictures(stage: &Stage, viewer: PeerId, codec: Codec) -> usize {
    stage.client(viewer).of(codec).len()
}

#[test]
fn a_publisher_is_seen_by_all_also_by_those_who_come_late() {
    let mut stage = stage();
    assert_eq!(stage.state("cam"), StreamState::Waiting);
    let early = stage.watch("cam", &[Vp8, Opus]).unwrap();
    stage.run_for(Duration::from_millis(200));
    let publisher = stage.publish("cam", &[Vp8, Opus]).unwrap();
    stage.until("a second of it", |stage| pictures(stage, early, Vp8) > 25);
    let late = stage.watch("cam", &[Vp8, Opus]).unwrap();
    stage.until("sound and pictures", |stage| {
        pictures(stage, late, Vp8) > 40 && pictures(stage, late, Opus) > 40
    });
    for viewer in [early, late] {
        let client = stage.client(viewer);
        assert!(client.of(Vp8)[0].keyframe);
        assert_eq!(client.decodable(Vp8), client.of(Vp8).len());
    }
    let client = stage.client(late);
    let waited = client.of(Vp8)[0].received - client.connected.unwrap();
    println!("the first picture came {waited:?} after the connection stood");
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    let info = stage.streams.info("cam").unwrap();
    assert_eq!(
        (info.state, info.codecs),
        (StreamState::Live, vec![Vp8, Opus])
    );
    // Another publisher is refused while this one sends.
    let second = stage.publish("cam", &[Vp8, Opus]).unwrap_err();
    assert_eq!(second, StreamError::HasPublisher("cam".into()));
    stage.leave(publisher);
    stage.until("waiting", |stage| {
        stage.state("cam") == StreamState::Waiting
    });
}

#[test]
fn viewers_stay_when_the_publisher_goes_and_comes_back() {
    let mut stage = stage();
    let viewer = stage.watch("cam", &[Vp8, Opus]).unwrap();
    for _ in 0..3 {
        let had = pictures(&stage, viewer, Vp8);
        let publisher = stage.publish("cam", &[Vp8, Opus]).unwrap();
        stage.until("pictures", |stage| pictures(stage, viewer, Vp8) > had + 30);
        stage.leave(publisher);
        stage.until("waiting", |stage| {
            stage.state("cam") == StreamState::Waiting
        });
    }
    let client = stage.client(viewer);
    let frames = client.of(Vp8);
    assert!(frames.is_sorted_by(|a, b| a.time < b.time));
    // Each time it continued with a keyframe.
    assert!(
        client.decodable(Vp8) + 5 > frames.len(),
        "{} of {}",
        client.decodable(Vp8),
        frames.len()
    );
    assert!(stage.closed.iter().all(|peer| *peer != viewer));
}

#[test]
fn a_publisher_that_is_silent_is_replaced() {
    let config = StreamsConfig::default().publisher_patience(Duration::from_millis(500));
    let mut stage = Stage::new(config).with("cam=whip:");
    let viewer = stage.watch("cam", &[Vp8, Opus]).unwrap();
    let first = stage.publish("cam", &[Vp8, Opus]).unwrap();
    stage.until("pictures", |stage| pictures(stage, viewer, Vp8) > 5);
    // It is still connected, but sends nothing.
    stage.studio.remove_viewer(&mut stage.net, first);
    let server = stage.streams.publisher("cam").unwrap();
    stage.run_for(Duration::from_millis(800));
    let had = pictures(&stage, viewer, Vp8);
    stage.publish("cam", &[Vp8, Opus]).unwrap();
    stage.until("pictures", |stage| pictures(stage, viewer, Vp8) > had + 5);
    assert_ne!(stage.streams.publisher("cam"), Some(server));
    stage.until("the old one closed", |stage| stage.closed.contains(&server));
}

#[test]
fn another_codec_goes_on_where_it_was_agreed_to_and_is_told_where_not() {
    let mut stage = stage();
    let both = stage.watch("cam", &[Vp8, H264, Opus]).unwrap();
    let one = stage.watch("cam", &[Vp8, Opus]).unwrap();
    let publisher = stage.publish("cam", &[H264, Opus]).unwrap();
    stage.until("H.264", |stage| pictures(stage, both, H264) > 10);
    let told = |stage: &Stage| {
        let mut events = stage.events.iter();
        events.any(|event| match event {
            StreamEvent::Undecodable {
                peer,
                codec,
                agreed,
                ..
            } => *peer == stage.client(one).server && *codec == H264 && *agreed == [Vp8],
            _ => false,
        })
    };
    stage.until("it is told", told);
    assert_eq!(pictures(&stage, one, Vp8), 0);
    assert!(
        pictures(&stage, one, Opus) > 0,
        "the sound is heard all the same"
    );
    stage.leave(publisher);
    stage.until("waiting", |stage| {
        stage.state("cam") == StreamState::Waiting
    });
    stage.publish("cam", &[Vp8, Opus]).unwrap();
    stage.until("VP8", |stage| {
        pictures(stage, both, Vp8) > 10 && pictures(stage, one, Vp8) > 10
    });
}

/// A viewer that joins while somebody publishes is offered that publisher's codec only. When a publisher with another
/// codec takes over, the viewer's session ends, so that it connects again.
#[test]
fn who_came_for_one_codec_asks_anew_for_another() {
    let mut stage = stage();
    let early = stage.watch("cam", &[Vp8, H264, Opus]).unwrap();
    let publisher = stage.publish("cam", &[H264, Opus]).unwrap();
    stage.until("live", |stage| pictures(stage, early, H264) > 5);
    let late = stage.watch("cam", &[Vp8, H264, Opus]).unwrap();
    stage.until("H.264", |stage| pictures(stage, late, H264) > 5);
    let agreed = stage.net.peer(late).unwrap().transceivers()[0]
        .codecs
        .iter()
        .map(|c| c.codec)
        .collect::<Vec<_>>();
    assert!(agreed.iter().all(|c| *c == H264), "{agreed:?}");
    stage.leave(publisher);
    stage.until("waiting", |stage| {
        stage.state("cam") == StreamState::Waiting
    });
    stage.publish("cam", &[Vp8, Opus]).unwrap();
    stage.until("VP8", |stage| pictures(stage, early, Vp8) > 5);
    let server = stage.client(late).server;
    stage.until("the late one's end", |stage| stage.closed.contains(&server));
    let again = stage.watch("cam", &[Vp8, H264, Opus]).unwrap();
    stage.until("VP8 again", |stage| pictures(stage, again, Vp8) > 5);
}

#[test]
fn however_many_ask_the_publisher_is_asked_seldom() {
    let mut stage = stage();
    let viewers: Vec<PeerId> = (0..5)
        .map(|_| stage.watch("cam", &[Vp8, Opus]).unwrap())
        .collect();
    stage.publish("cam", &[Vp8, Opus]).unwrap();
    stage.until("pictures for all", |stage| {
        viewers.iter().all(|v| pictures(stage, *v, Vp8) > 5)
    });
    let before = stage.streams.info("cam").unwrap().stats;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        for viewer in &viewers {
            let mut peer = stage.net.peer(*viewer).unwrap();
            let video = peer.transceivers()[0].id;
            peer.request_keyframe(video, None, KeyframeRequestKind::Pli)
                .unwrap();
        }
        stage.run_for(Duration::from_millis(40));
    }
    let after = stage.streams.info("cam").unwrap().stats;
    let wanted = after.keyframe_requests - before.keyframe_requests;
    let asked = after.keyframes_asked - before.keyframes_asked;
    println!(
        "{wanted} wanted, {asked} asked for in {:?}",
        begun.elapsed()
    );
    let most = 2 + begun.elapsed().as_millis() / 500;
    assert!(
        wanted > 20 && (1..=most).contains(&asked.into()),
        "{wanted}, {asked}"
    );
}
