//! Janus, a media server: its echo test, its video room, and both over a link that loses packets.
//!
//! It gathers no candidates on loopback interfaces, so it always lives in a network namespace (`netlab`).

use std::time::{Duration, Instant};

use looprtc::proto::peer::Codec::{Opus, Vp8};
use looprtc::proto::peer::{ConnectionState, MediaKind, Message, PeerConfig};

use crate::call::{Call, Offerer};
use crate::child::RealPeer;
use crate::impaired::{BadLink, Outcome, ours, ready};
use crate::scenario::{self, Profile};
use crate::tracks::{Player, begin, established};

const JANUS: Player = Player::new(Profile::new("janus"));

const GOOD: BadLink = BadLink {
    loss: 0.0,
    delay: 0,
    jitter: 0,
    reorder: 0.0,
};

/// 2 % each way, 80 ms round-trip time.
const LOSSY: BadLink = BadLink {
    loss: 2.0,
    delay: 40,
    jitter: 0,
    reorder: 0.0,
};

/// A call with audio, video and a data channel in which we offer. `None` if Janus is not installed.
fn call(link: BadLink, plugin: &str) -> Option<Call> {
    if !ready() || !scenario::ready(&JANUS.profile) {
        return None;
    }
    let codecs = [Vp8, Opus];
    let start = |name: &str, role: &str, args: &[&str]| {
        let args = [args, &["--plugin", plugin]].concat();
        RealPeer::start_behind(&link.args(), name, role, &args)
    };
    let config = PeerConfig::default().stats_interval(Some(Duration::from_millis(500)));
    let mut call = begin(&JANUS, Offerer::Looprtc, config, &codecs, start)?;
    established(&mut call, &codecs);
    Some(call)
}

fn frames(call: &mut Call, kind: MediaKind, count: usize) {
    call.wait(&format!("{count} frames of {kind} from Janus"), |call| {
        (call.media.line(kind).received.len() >= count).then_some(())
    });
}

/// Returns what was received of our video in this time.
fn watch(call: &mut Call, time: Duration) -> Outcome {
    let since = Instant::now();
    call.run_for(time);
    ours(call.media.line(MediaKind::Video), since)
}

#[test]
fn what_is_sent_to_the_echo_test_comes_back() {
    let Some(mut call) = call(GOOD, "echotest") else {
        return;
    };
    frames(&mut call, MediaKind::Audio, 100);
    frames(&mut call, MediaKind::Video, 60);
    call.wait_open("interop");
    call.send("interop", &Message::Text("to Janus".into()));
    let echo = call.wait_message("interop");
    assert!(
        matches!(&echo, Message::Text(text) if text.contains("to Janus")),
        "{echo:?}"
    );
    let seen = watch(&mut call, Duration::from_secs(3));
    assert!(seen.shown >= 85.0 && seen.freezes == 0.0, "{seen:?}");
    call.close();
    call.wait_state(ConnectionState::Closed);
}

#[test]
fn what_is_published_in_a_video_room_is_received_from_it() {
    let Some(mut publisher) = call(GOOD, "videoroom") else {
        return;
    };
    let url = publisher.wait_report("janus", &[])["url"].clone();
    let url = url.as_str().expect("a URL").to_owned();
    publisher.run_for(Duration::from_secs(1));
    let start = |name: &str, role: &str, args: &[&str]| {
        let args = [args, &["--janus", &url]].concat();
        RealPeer::start(name, role, &args)
    };
    let config = PeerConfig::default();
    // It sends nothing of its own.
    let subscriber = begin(&JANUS, Offerer::RealPeer, config, &[], start);
    let mut subscriber = subscriber.expect("it is installed: the publisher is there");
    let mut has = |kind: MediaKind, count: usize| {
        let until = Instant::now() + Duration::from_secs(20);
        let came = |call: &mut Call| {
            let lines = call.media.lines.iter();
            lines
                .filter(|l| MediaKind::of(l.codec) == kind)
                .map(|l| l.received.len())
                .sum::<usize>()
        };
        while came(&mut subscriber) < count {
            if Instant::now() >= until {
                subscriber.fail(&format!("no {kind} from the room"));
            }
            publisher.turn();
            subscriber.turn();
        }
    };
    has(MediaKind::Audio, 100);
    has(MediaKind::Video, 60);
    let line = subscriber.media.line(MediaKind::Video);
    assert!(line.received[0].keyframe);
    let whole = line.received.iter().filter(|f| f.contiguous).count();
    assert!(whole + 2 >= line.received.len(), "{whole} whole ones");
}

/// Losses in both directions are repaired: reports use the SSRC of their m-line; otherwise Janus does not learn the
/// round-trip time of the video, and keeps nothing for retransmission.
#[test]
fn losses_are_made_good_both_ways() {
    let time: u64 =
        std::env::var("LOOPRTC_LOSS_SECONDS").map_or(10, |s| s.parse().expect("seconds"));
    for is_last in [false, true] {
        let Some(mut call) = call(LOSSY, "echotest") else {
            return;
        };
        frames(&mut call, MediaKind::Video, 60);
        call.run_for(Duration::from_secs(2));
        let seen = watch(&mut call, Duration::from_secs(time));
        println!("echo over {LOSSY:?} in {time} s: {seen:?}");
        let is_good = seen.shown >= time as f64 * 28.0 && seen.frozen <= 600.0;
        if is_good {
            return;
        }
        // A packet, its retransmission and the requests may all get lost.
        assert!(!is_last, "{seen:?}");
    }
}
