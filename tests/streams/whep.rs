//! WHEP sources: the streams of another server.
#![allow(dead_code, reason = "the server has more than is used here")]

use std::time::Duration;

use looprtc::proto::peer::Codec::{Opus, Vp8};
use looprtc::server::streams::{StreamState, StreamsConfig};

use crate::stage::Stage;
use server::{Server, Setup};

#[path = "../whip/server.rs"]
mod server;

#[test]
fn another_servers_stream_is_shown_and_again_when_that_was_killed() {
    let far = Server::start(Setup::default());
    let address = far.address;
    let config = StreamsConfig::default()
        .grace(Duration::from_millis(200))
        .max_backoff(Duration::from_secs(1));
    let mut stage = Stage::new(config)
        .with(&format!("far=whep:{}", far.url("/whep/card")))
        .with(&format!("none=whep:{}", far.url("/whep/none")));
    assert_eq!(far.stats().viewers, 0, "nobody watches yet");
    let viewer = stage.watch("far", &[Vp8, Opus]).unwrap();
    let late = {
        stage.until("pictures and sound", |stage| {
            let client = stage.client(viewer);
            client.of(Vp8).len() > 40 && client.of(Opus).len() > 40
        });
        stage.watch("far", &[Vp8, Opus]).unwrap()
    };
    stage.until("a picture for another", |stage| {
        !stage.client(late).of(Vp8).is_empty()
    });
    assert_eq!(far.stats().viewers, 1, "it is fetched once for both");
    assert!(stage.client(late).of(Vp8)[0].keyframe);

    stage.watch("none", &[Vp8]).unwrap();
    stage.until("a refusal", |stage| {
        matches!(stage.state("none"), StreamState::Failed { why, .. } if why.contains("404"))
    });

    drop(far);
    stage.until("it is noticed", |stage| {
        matches!(stage.state("far"), StreamState::Failed { .. })
    });
    let had = stage.client(viewer).of(Vp8).len();
    let far = Server::start(Setup {
        address: Some(address),
        ..Setup::default()
    });
    stage.until("it goes on", |stage| {
        stage.client(viewer).of(Vp8).len() > had + 30
    });
    let client = stage.client(viewer);
    assert!(client.of(Vp8).is_sorted_by(|a, b| a.time < b.time));
    // The last viewer has left: the session at the other server is ended, too.
    for client in [viewer, late] {
        stage.leave(client);
    }
    stage.until("idle", |stage| stage.state("far") == StreamState::Idle);
    far.until("no session", |stats| stats.viewers == 0);
}
