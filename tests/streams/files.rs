//! The test card, files and pipes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use looprtc::proto::peer::Codec::{self, H264, Opus, Vp8, Vp9};
use looprtc::server::streams::{StreamError, StreamState, StreamsConfig};

use crate::stage::Stage;

fn clip(name: &str) -> String {
    format!("{}/tests/data/media/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn card() -> Stage {
    Stage::new(StreamsConfig::default()).with("card=testcard:")
}

/// Frames arrive with increasing times and nothing missing, starting with a keyframe.
fn check(stage: &Stage, viewer: looprtc::driver::PeerId, codec: Codec) {
    let client = stage.client(viewer);
    let frames = client.of(codec);
    assert!(frames[0].keyframe, "the first is a keyframe");
    assert_eq!(client.decodable(codec), frames.len());
    let times: Vec<_> = frames.iter().map(|f| (f.time, f.received)).collect();
    assert!(times.is_sorted_by(|a, b| a.0 < b.0), "{times:?}");
}

#[test]
fn each_viewer_has_the_card_in_a_codec_that_it_knows() {
    let mut stage = card();
    assert_eq!(stage.state("card"), StreamState::Idle);
    let old = stage.watch("card", &[H264, Opus]).unwrap();
    let new = stage.watch("card", &[Vp8, Opus]).unwrap();
    stage.until("two seconds of it", |stage| {
        let has = |viewer, codec| stage.client(viewer).of(codec).len() > 50;
        has(old, H264) && has(new, Vp8) && has(old, Opus) && has(new, Opus)
    });
    check(&stage, old, H264);
    check(&stage, new, Vp8);
    let info = stage.streams.info("card").unwrap();
    assert_eq!(info.state, StreamState::Live);
    assert_eq!(info.viewers, 2);
    assert_eq!(info.codecs, [Vp8, H264, Opus]);
    assert!(info.stats.bitrate > 50_000, "{:?}", info.stats);
    let server = stage.client(old).server;
    let viewer = stage.streams.viewer_stats(server).unwrap();
    assert_eq!(viewer.tracks[0].codec, Some(H264));
    assert!(viewer.tracks[0].sent > 50 && viewer.tracks[0].bytes > 1000);
}

#[test]
fn who_comes_late_sees_the_latest_keyframe_and_what_follows_at_once() {
    let mut stage = card();
    let first = stage.watch("card", &[Vp8, Opus]).unwrap();
    // Halfway between two keyframes.
    stage.until("half a second behind a keyframe", |stage| {
        let frames = stage.client(first).of(Vp8);
        frames.len() > 30
            && !frames[frames.len().saturating_sub(13)..]
                .iter()
                .any(|f| f.keyframe)
    });
    let late = stage.watch("card", &[Vp8, Opus]).unwrap();
    stage.until("a picture", |stage| !stage.client(late).of(Vp8).is_empty());
    let client = stage.client(late);
    let waited = client.of(Vp8)[0].received - client.connected.unwrap();
    println!("the first picture came {waited:?} after the connection stood");
    stage.until("a second of it", |stage| {
        stage.client(late).of(Vp8).len() > 30
    });
    check(&stage, late, Vp8);
    // Earlier frames take no time: the times of everything older than the join fit into it.
    let frames = stage.client(late).of(Vp8);
    let ahead = |index: usize| frames[index].time - frames[0].time;
    let burst = frames
        .iter()
        .take_while(|f| f.received - frames[0].received < Duration::from_millis(10));
    let burst = burst.count();
    assert!(burst > 5, "{burst} pictures at once");
    assert!(
        ahead(burst - 1) < Duration::from_millis(60),
        "{:?}",
        ahead(burst - 1)
    );
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

#[test]
fn the_source_stops_after_the_last_viewer_and_begins_again() {
    let config = StreamsConfig::default().grace(Duration::from_millis(300));
    let mut stage = Stage::new(config).with("card=testcard:");
    for round in 1..=2 {
        let viewer = stage.watch("card", &[Vp8, Opus]).unwrap();
        stage.until("a picture", |stage| {
            !stage.client(viewer).of(Vp8).is_empty()
        });
        stage.leave(viewer);
        stage.until("idle", |stage| stage.state("card") == StreamState::Idle);
        let info = stage.streams.info("card").unwrap();
        assert_eq!((info.viewers, info.stats.starts), (0, round));
        assert_eq!(stage.streams.next_deadline(), None, "nothing is left to do");
    }
}

#[test]
fn all_formats() {
    let sources: [(String, &[Codec]); 6] = [
        (
            format!("{},{}", clip("vp8.ivf"), clip("stereo60.ogg")),
            &[Vp8, Opus],
        ),
        (clip("vp9.ivf"), &[Vp9]),
        (clip("plain.h264"), &[H264]),
        (clip("movie.webm"), &[]),
        (clip("movie.mp4"), &[]),
        (clip("mulaw.wav"), &[Codec::Pcmu]),
    ];
    let mut stage = Stage::new(StreamsConfig::default());
    let mut viewers = Vec::new();
    for (index, (source, codecs)) in sources.iter().enumerate() {
        let name = format!("s{index}");
        stage = stage.with(&format!("{name}={source}"));
        let found = stage.streams.info(&name).unwrap().codecs;
        assert!(!found.is_empty(), "{source}");
        assert!(codecs.is_empty() || found == *codecs, "{source}: {found:?}");
        let viewer = stage.watch(&name, &found).unwrap();
        viewers.push((viewer, found, source));
    }
    // Looped: the clips are short.
    stage.until("three seconds of each", |stage| {
        viewers.iter().all(|(viewer, codecs, _)| {
            let client = stage.client(*viewer);
            codecs.iter().all(|codec| {
                let frames = client.of(*codec);
                let span = frames.first().zip(frames.last());
                span.is_some_and(|(a, b)| b.time - a.time > Duration::from_secs(3))
            })
        })
    });
    for (viewer, codecs, _) in &viewers {
        codecs
            .iter()
            .for_each(|codec| check(&stage, *viewer, *codec));
    }
}

#[test]
fn once_is_once() {
    let source = format!("film={}?once", clip("vp8.ivf"));
    let mut stage = Stage::new(StreamsConfig::default()).with(&source);
    let viewer = stage.watch("film", &[Vp8]).unwrap();
    stage.until("the end", |stage| stage.state("film") == StreamState::Ended);
    stage.run_for(Duration::from_millis(300));
    let seen = stage.client(viewer).of(Vp8).len();
    assert!(seen > 0);
    // A second viewer joins, and the file starts over; for the first viewer, too.
    let other = stage.watch("film", &[Vp8]).unwrap();
    stage.until("the second time", |stage| {
        stage.client(other).of(Vp8).len() >= seen / 2 && stage.client(viewer).of(Vp8).len() > seen
    });
    check(&stage, viewer, Vp8);
}

#[test]
fn a_file_that_is_not_there_is_tried_again() {
    let dir = std::env::temp_dir().join(format!("looprtc-streams-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path: PathBuf = dir.join("late.ivf");
    let _ = std::fs::remove_file(&path);
    let config = StreamsConfig::default().min_backoff(Duration::from_millis(100));
    let mut stage = Stage::new(config).with(&format!("late={}", path.display()));
    let failed = |stage: &Stage| match stage.state("late") {
        StreamState::Failed { why, retry_at } => Some((why, retry_at)),
        _ => None,
    };
    let (why, retry_at) = failed(&stage).unwrap();
    assert!(why.contains("late.ivf: No such file"), "{why}");
    assert_eq!(retry_at, None, "nobody watches");
    let viewer = stage.watch("late", &[Vp8, Opus]).unwrap();
    stage.until("two failures", |stage| {
        stage.streams.info("late").unwrap().stats.failures >= 2
    });
    let (_, retry_at) = failed(&stage).unwrap();
    assert!(retry_at.unwrap() > Instant::now() - Duration::from_secs(1));
    std::fs::copy(clip("vp8.ivf"), &path).unwrap();
    stage.until("pictures", |stage| stage.client(viewer).of(Vp8).len() > 5);
    check(&stage, viewer, Vp8);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn pipes_are_read_without_holding_anybody_up() {
    for pace in ["", "?paced"] {
        pipe_is_read_without_holding_anybody_up(pace);
    }
}

fn pipe_is_read_without_holding_anybody_up(pace: &str) {
    // Each mode has a pipe of its own: a reader waits for the next writer as long as its pipe exists.
    let name = format!("looprtc-pipe-{}{}", std::process::id(), pace.len());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.is_ok_and(|s| s.success()), "mkfifo does not work");
    let mut stage = card().with(&format!("pipe=pipe:{}{pace}", path.display()));
    let viewer = stage.watch("pipe", &[Vp8, Opus]).unwrap();
    let other = stage.watch("card", &[Vp8]).unwrap();
    stage.until("the card", |stage| stage.client(other).of(Vp8).len() > 25);
    assert_eq!(stage.state("pipe"), StreamState::Starting);
    // Two writers, one after the other.
    for _ in 0..2 {
        let had = stage.client(viewer).of(Vp8).len();
        let (to, from) = (path.clone(), clip("vp8.ivf"));
        let writer = std::thread::spawn(move || std::fs::copy(from, to).unwrap());
        stage.until("pictures", |stage| {
            stage.client(viewer).of(Vp8).len() > had + 5
        });
        writer.join().unwrap();
    }
    check(&stage, viewer, Vp8);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn limits_and_names() {
    let config = StreamsConfig::default()
        .max_viewers_per_stream(1)
        .max_viewers(2)
        .max_streams(3);
    let mut stage = Stage::new(config)
        .with("a=testcard:")
        .with("b=testcard:")
        .with("c=testcard:");
    let limit = |error| match error {
        StreamError::LimitReached { limit, .. } => limit,
        other => panic!("{other}"),
    };
    let again = stage.streams.add("a", "testcard:".parse().unwrap());
    assert_eq!(again, Err(StreamError::NameTaken("a".into())));
    let more = stage.streams.add("d", "testcard:".parse().unwrap());
    assert_eq!(limit(more.unwrap_err()), "max_streams");
    stage.watch("a", &[Vp8]).unwrap();
    let second = stage.watch("a", &[Vp8]).unwrap_err();
    assert_eq!(limit(second), "max_viewers_per_stream");
    let b = stage.watch("b", &[Vp8]).unwrap();
    assert_eq!(limit(stage.watch("c", &[Vp8]).unwrap_err()), "max_viewers");
    let none = stage.watch("x", &[Vp8]).unwrap_err();
    assert_eq!(none, StreamError::NoSuchStream("x".into()));
    stage.leave(b);
    stage.until("room", |stage| stage.streams.viewer_count() == 1);
    stage.watch("c", &[Vp8]).unwrap();
    let (net, streams) = (&mut stage.net, &mut stage.streams);
    assert_eq!(streams.remove(net, "c").unwrap().len(), 1);
    assert_eq!(streams.viewer_count(), 1);
    assert_eq!(streams.list().count(), 2);
}
