//! Media control with real peers: keyframe requests, changes of direction, and no common codec.

use std::time::{Duration, Instant};

use looprtc::proto::peer::{
    BandwidthEstimate, Codec, Codecs, ConnectionState, Direction, KeyframeRequestKind, MediaKind,
    PeerConfig, PeerError,
};
use serde_json::json;

use crate::call::{Call, Offerer};
use crate::child::RealPeer;
use crate::scenario::hello;
use crate::tracks::{Player, begin, connect, established, stats};

const VIDEO: MediaKind = MediaKind::Video;

/// A receiver that needs a keyframe requests one, and gets it.
pub fn keyframes(player: &Player, config: PeerConfig, codec: Codec) {
    let codecs = [codec];
    let begun = begin(player, Offerer::RealPeer, config, &codecs, RealPeer::start);
    let Some(mut call) = begun else {
        return;
    };
    if !player.asks {
        call.media.line(VIDEO).skip_keyframe();
    }
    established(&mut call, &codecs);
    call.wait("pictures from them", |call| {
        (call.media.line(VIDEO).received.len() > 15).then_some(())
    });
    we_ask(&mut call, KeyframeRequestKind::Pli);
    we_ask(&mut call, KeyframeRequestKind::Fir);
    they_ask(&mut call, player);
}

fn we_ask(call: &mut Call, kind: KeyframeRequestKind) {
    // libwebrtc sends none within 300 ms of another.
    call.run_for(Duration::from_millis(500));
    let id = call.media.line(VIDEO).id;
    let asked = Instant::now();
    if let Err(e) = call.peer().request_keyframe(id, None, kind) {
        call.fail(&format!("asking for a keyframe by {kind:?}: {e}"));
    }
    // By themselves they send at most one in two seconds, libwebrtc none at all.
    call.wait(&format!("a keyframe asked for by {kind:?}"), |call| {
        let mut frames = call.media.line(VIDEO).received.iter();
        frames
            .any(|f| f.keyframe && f.received > asked)
            .then_some(())
    });
    if asked.elapsed() > Duration::from_millis(1500) {
        call.fail(&format!(
            "a keyframe by {kind:?} took {:?}",
            asked.elapsed()
        ));
    }
}

/// On request, if they can be told to; the others request one because their first frame was no keyframe.
fn they_ask(call: &mut Call, player: &Player) {
    let mut kinds = vec![("pli", KeyframeRequestKind::Pli)];
    if player.asks_by_fir {
        kinds.push(("fir", KeyframeRequestKind::Fir));
    }
    for (how, kind) in kinds {
        let asks = json!({"type": "request-keyframe", "kind": "video", "how": how});
        if player.asks {
            call.theirs.say(&asks);
        }
        call.wait(&format!("a request for a keyframe by {how}"), |call| {
            let asked = &call.media.line(VIDEO).asked;
            let before = asked.iter().find(|(k, _)| *k == kind)?.1;
            (call.media.line(VIDEO).keyframe_sent > Some(before)).then_some(())
        });
    }
    // It is decoded, and so are the following frames.
    if !player.exact {
        let before = stats(call).decoded(VIDEO);
        call.run_for(Duration::from_millis(1000));
        let after = stats(call).decoded(VIDEO);
        if after < before + 20 {
            call.fail(&format!(
                "{before} frames decoded, and a second later {after}"
            ));
        }
    }
}

/// Each side limits the other's bitrate (REMB).
pub fn bitrates(player: &Player, config: PeerConfig) {
    let codecs = [Codec::Vp8];
    let begun = begin(player, Offerer::RealPeer, config, &codecs, RealPeer::start);
    let Some(mut call) = begun else {
        return;
    };
    established(&mut call, &codecs);
    flows_here(&mut call);
    call.theirs
        .say(&json!({"type": "remb", "kind": "video", "bitrate": 300_000}));
    let wanted = call.wait("their REMB", |call| {
        let id = call.media.line(VIDEO).id;
        call.media.estimates.iter().find_map(|e| match e {
            BandwidthEstimate::Remb {
                transceiver,
                bits_per_second,
            } if *transceiver == id => Some(*bits_per_second),
            _ => None,
        })
    });
    // 18 bits of mantissa.
    if !(299_000..=301_000).contains(&wanted) {
        call.fail(&format!("300,000 bits a second came as {wanted}"));
    }
    let id = call.media.line(VIDEO).id;
    if let Err(e) = call.peer().request_bitrate(id, None, 500_000) {
        call.fail(&format!("REMB: {e}"));
    }
    call.run_for(Duration::from_millis(500));
    let heard = stats(&mut call).rtcp(VIDEO, "ReceiverEstimatedMaximumBitrate");
    if heard == 0 {
        call.fail("our REMB was not heard");
    }
}

/// Sending stops and resumes by a change of direction, from either side; then the m-line is rejected, and the
/// connection continues without it.
pub fn directions(player: &Player, offerer: Offerer, config: PeerConfig) {
    let codecs = [Codec::Vp8];
    let Some(mut call) = connect(player, offerer, config, &codecs, RealPeer::start) else {
        return;
    };
    let id = call.media.line(VIDEO).id;
    flows_here(&mut call);
    for (direction, is_bound) in [(Direction::RecvOnly, false), (Direction::SendRecv, true)] {
        if let Err(e) = call.peer().set_direction(id, direction) {
            call.fail(&format!("{direction}: {e}"));
        }
        call.offer();
        call.wait(&format!("{direction} on our side"), |call| {
            let current = call
                .peer()
                .transceiver(id)
                .and_then(|t| t.current_direction);
            let is = call.media.line(VIDEO).bound.is_some();
            (is == is_bound && current == Some(direction)).then_some(())
        });
        flows_here(&mut call);
    }
    flows_there(&mut call);
    theirs_change(&mut call, player);
    if !player.gives_up {
        return;
    }
    if let Err(e) = call.peer().stop_transceiver(id) {
        call.fail(&format!("stopping: {e}"));
    }
    call.offer();
    call.wait("the m-line to be gone", |call| {
        call.peer().transceivers().is_empty().then_some(())
    });
    if let Some(e) = &call.error {
        call.fail(&format!("an error: {e}"));
    }
    hello(&mut call, "interop");
    call.close();
    call.wait_state(ConnectionState::Closed);
}

fn theirs_change(call: &mut Call, player: &Player) {
    let (tracks, removed) = (
        call.media.line(VIDEO).tracks.len(),
        call.media.line(VIDEO).removed,
    );
    let change = |call: &mut Call, direction: &str| {
        call.theirs
            .say(&json!({"type": "direction", "kind": "video", "direction": direction}));
        call.theirs.say(&json!({"type": "offer"}));
    };
    change(call, "recvonly");
    call.wait("their track to be removed", |call| {
        (call.media.line(VIDEO).removed > removed).then_some(())
    });
    flows_there(call);
    if player.changes_back {
        change(call, "sendrecv");
        call.wait("their track to be back", |call| {
            (call.media.line(VIDEO).tracks.len() > tracks).then_some(())
        });
        flows_here(call);
    }
}

fn flows_here(call: &mut Call) {
    let before = call.media.line(VIDEO).received.len();
    call.wait("pictures from them", |call| {
        (call.media.line(VIDEO).received.len() > before + 10).then_some(())
    });
}

fn flows_there(call: &mut Call) {
    let before = stats(call).number("inbound-rtp", VIDEO, "packetsReceived");
    call.run_for(Duration::from_millis(500));
    let after = stats(call).number("inbound-rtp", VIDEO, "packetsReceived");
    // libwebrtc restarts when its receiver does.
    let grown = if after < before {
        after
    } else {
        after - before
    };
    if grown < 10.0 {
        call.fail(&format!("{before} packets, and later {after}"));
    }
}

/// We only support a codec that they do not: the answerer reports it, with both lists.
pub fn no_common_codec(player: &Player, offerer: Offerer, ours: Codec, theirs: Codec) {
    let config = PeerConfig::default().codecs(Codecs::only([ours, Codec::Opus]));
    if !crate::scenario::ready(&player.profile) {
        return;
    }
    drop(crate::clips::clip(theirs));
    let clips = crate::clips::directory();
    let media = format!("video:{}", theirs.name());
    let mut args = vec!["--media", media.as_str()];
    if player.exact {
        args.extend(["--clips", clips.to_str().expect("a path in UTF-8")]);
    }
    let mut call = Call::start_with(
        RealPeer::start,
        player.profile.name,
        &args,
        offerer,
        config,
        &[ours],
    );
    call.wait_open("interop");
    let error = call.wait("the error", |call| call.error.clone());
    let text = error.to_string();
    let names_ours = text.contains(ours.name());
    let is_right = match (&error, offerer) {
        (PeerError::TrackRejected { .. }, Offerer::Looprtc) => names_ours,
        (PeerError::NoCommonCodec { .. }, Offerer::RealPeer) => {
            names_ours && text.contains(theirs.name())
        }
        _ => false,
    };
    if !is_right {
        call.fail(&format!("another error: {text}"));
    }
    hello(&mut call, "interop");
}
