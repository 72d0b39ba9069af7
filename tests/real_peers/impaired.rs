//! Media with real peers over a bad link, made of network namespaces (tests/interop/netlab).

use std::time::{Duration, Instant};

use looprtc::proto::media::JitterConfig;
use looprtc::proto::peer::{BandwidthEstimate, Codec, MediaKind, PeerConfig};

use crate::call::{Call, Offerer};
use crate::child::{self, RealPeer};
use crate::media::Line;
use crate::tracks::{Player, Stats, begin, established, stats};

const VIDEO: MediaKind = MediaKind::Video;

/// A gap this long between frames is a freeze.
const FREEZE: Duration = Duration::from_millis(200);

/// Number of initial frames that are ignored: connecting over a bad link takes a while, and players first adapt their
/// delay.
const SETTLING: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy)]
pub struct BadLink {
    /// Loss in percent, each way.
    pub loss: f64,
    /// Delay each way, in milliseconds.
    pub delay: u32,
    /// Maximum additional delay, in milliseconds.
    pub jitter: u32,
    /// Duplication in percent.
    pub reorder: f64,
}

impl BadLink {
    pub fn args(self) -> Vec<String> {
        vec![
            self.loss.to_string(),
            self.delay.to_string(),
            self.jitter.to_string(),
            self.reorder.to_string(),
            "7".to_owned(),
        ]
    }
}

/// Statistics of a player for one stream.
#[derive(Debug, Default)]
pub struct Outcome {
    pub shown: f64,
    pub freezes: f64,
    /// Milliseconds.
    pub frozen: f64,
    /// Milliseconds, on average.
    buffered: f64,
    nacks: f64,
    resent: f64,
    plis: f64,
}

/// Returns `true` if bad links are available. If not, reports it, and fails the test in CI.
pub fn ready() -> bool {
    let Err(why) = child::bad_link_check() else {
        return true;
    };
    assert!(std::env::var_os("CI").is_none(), "NOT TESTED: {why}");
    let _ = std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("\n########## NOT TESTED over a bad link: {why} ##########\n\n"),
    );
    false
}

/// Exchanges video for this long.
fn play(
    player: &Player,
    codec: Codec,
    link: BadLink,
    time: Duration,
) -> Option<(Call, Stats, Stats)> {
    let config = PeerConfig::default()
        .stats_interval(Some(Duration::from_millis(500)))
        .jitter_buffer(Some(JitterConfig::new(90_000)));
    // Only Chromium's feedback is examined; the others get everything at once.
    let config = match player.profile.name {
        "chromium" => config.bandwidth_estimation(Some(2_000_000)),
        _ => config,
    };
    let start = |name: &str, role: &str, args: &[&str]| {
        RealPeer::start_behind(&link.args(), name, role, args)
    };
    let codecs = [codec];
    let mut call = begin(player, Offerer::RealPeer, config, &codecs, start)?;
    established(&mut call, &codecs);
    call.run_for(SETTLING);
    let before = stats(&mut call);
    call.run_for(time);
    let after = stats(&mut call);
    Some((call, before, after))
}

/// What they received from us between two moments.
fn theirs(before: &Stats, after: &Stats) -> Outcome {
    let grown = |name| {
        let at = |stats: &Stats| stats.number("inbound-rtp", VIDEO, name);
        at(after) - at(before)
    };
    Outcome {
        shown: (after.decoded(VIDEO) - before.decoded(VIDEO)) as f64,
        freezes: grown("freezeCount"),
        frozen: grown("totalFreezesDuration") * 1000.0,
        buffered: grown("jitterBufferDelay") / grown("jitterBufferEmittedCount").max(1.0) * 1000.0,
        nacks: grown("nackCount"),
        resent: grown("retransmittedPacketsReceived"),
        plis: grown("pliCount"),
    }
}

/// What we received from them since that moment.
pub fn ours(line: &Line, since: Instant) -> Outcome {
    let frames = line.received.iter().zip(&line.came);
    let mut shown: Vec<Instant> = Vec::new();
    let mut held = 0.0;
    let mut decodable = false;
    for (frame, came) in frames {
        decodable = frame.keyframe || decodable && frame.contiguous;
        if decodable && *came >= since {
            shown.push(*came);
            held += came.duration_since(frame.received).as_secs_f64() * 1000.0;
        }
    }
    let gaps = shown
        .windows(2)
        .map(|w| w[1] - w[0])
        .filter(|gap| *gap > FREEZE);
    let gaps: Vec<f64> = gaps.map(|gap| gap.as_secs_f64() * 1000.0).collect();
    Outcome {
        shown: shown.len() as f64,
        freezes: gaps.len() as f64,
        frozen: gaps.iter().fold(0.0, |sum, gap| sum + gap),
        buffered: held / (shown.len().max(1) as f64),
        ..Outcome::default()
    }
}

/// 5 % loss and 50 ms of jitter: losses are reported and repaired both ways, and nothing freezes.
///
/// A packet, its retransmission, and the next requests may all get lost: the test is repeated once by chance, which is
/// reported.
pub fn repaired(player: &Player, codec: Codec) {
    if !ready() {
        return;
    }
    for is_last in [false, true] {
        let Some((call, wrong, story)) = repaired_once(player, codec) else {
            return;
        };
        if wrong.is_empty() {
            return;
        }
        let failed = format!("{}\n{story}", wrong.join("; "));
        if is_last {
            call.fail(&failed);
        }
        println!("Once more, for this time {failed}");
    }
}

/// Returns the failures, and the figures.
fn repaired_once(player: &Player, codec: Codec) -> Option<(Call, Vec<&'static str>, String)> {
    let link = BadLink {
        loss: 5.0,
        delay: 5,
        jitter: 50,
        reorder: 1.0,
    };
    let time = Duration::from_secs(8);
    let begun = Instant::now();
    let (mut call, before, after) = play(player, codec, link, time)?;
    let since = Instant::now() - time;
    let id = call.media.line(VIDEO).id;
    let theirs = theirs(&before, &after);
    let here = ours(call.media.line(VIDEO), since);
    let Some(counted) = call.peer().track_stats(id) else {
        call.fail("there are no statistics of ours");
    };
    let story = format!(
        "{} over {link:?} after {:?}\n there: {theirs:?}\n here: {here:?}\n we count {counted:?}\n estimates {:?}\n they heard {}\n",
        player.profile.name,
        begun.elapsed(),
        call.media.estimates.last(),
        after.heard(VIDEO),
    );
    println!("{story}");
    let Some((sent, received)) = counted.sent.first().zip(counted.received.first()) else {
        call.fail(&format!("no statistics: {story}"));
    };
    let expected = time.as_secs_f64() * 30.0;
    let claimed = |stats: &Stats| stats.number("outbound-rtp", VIDEO, "framesSent");
    let claimed = claimed(&after) - claimed(&before);
    let mut wrong = Vec::new();
    let mut must = |is: bool, what| {
        if !is {
            wrong.push(what);
        }
    };
    must(sent.nacks > 0, "they never asked us to send again");
    must(
        sent.round_trip_time.is_some(),
        "no receiver report of theirs",
    );
    must(
        sent.remote_packets_lost.is_some_and(|n| n > 0),
        "they report no loss",
    );
    must(received.nacks > 0, "we never asked them to send again");
    must(here.frozen <= 250.0, "what came here froze");
    must(here.shown >= claimed * 0.9, "not all came here");
    if player.exact {
        // Without RTX: they expect a retransmission in its original form, or they would continue to request it.
        must(sent.nacks < 50, "they asked again and again");
        must(
            after.rtcp(VIDEO, "report blocks") > 0,
            "no receiver report of ours",
        );
        must(
            after.rtcp(VIDEO, "TransportLayerNack") > 0,
            "no NACK of ours",
        );
    } else {
        must(
            theirs.shown >= expected * player.under_loss,
            "they did not decode all",
        );
        // By default libwebrtc delays about 100 ms, less than two retransmissions take.
        let allowed = if player.profile.name == "chromium" {
            0.0
        } else {
            600.0
        };
        must(theirs.frozen <= allowed, "it froze there");
    }
    if player.profile.name == "chromium" {
        must(theirs.resent > 0.0, "nothing that was sent again came");
        let feedback = call.media.estimates.iter();
        let is_cc = |e: &&BandwidthEstimate| matches!(e, BandwidthEstimate::TransportCc { .. });
        must(
            feedback.filter(is_cc).count() > 0,
            "no transport-wide feedback",
        );
        must(
            after.number("remote-inbound-rtp", VIDEO, "roundTripTime") > 0.0,
            "no receiver report of ours",
        );
        must(
            after.number("outbound-rtp", VIDEO, "nackCount") > 0.0,
            "no NACK of ours",
        );
        must(
            after.number("outbound-rtp", VIDEO, "retransmittedPacketsSent") > 0.0,
            "they sent nothing again",
        );
    }
    Some((call, wrong, story))
}

/// Prints every combination as a table. Takes minutes: only with LOOPRTC_MATRIX set.
pub fn matrix(player: &Player) {
    if std::env::var_os("LOOPRTC_MATRIX").is_none() || !ready() {
        return;
    }
    let time = Duration::from_secs(15);
    println!(
        "| loss | jitter | reordered | shown there | freezes there | buffer there | NACK / again / PLI there | shown here | freezes here | buffer here |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for loss in [0.0, 1.0, 5.0, 10.0] {
        for jitter in [20, 50, 100] {
            let link = BadLink {
                loss,
                delay: 20,
                jitter,
                reorder: 1.0,
            };
            let Some((mut call, before, after)) = play(player, Codec::Vp8, link, time) else {
                return;
            };
            let theirs = theirs(&before, &after);
            let here = ours(call.media.line(VIDEO), Instant::now() - time);
            println!(
                "| {loss} % | {jitter} ms | 1 % | {} | {} ({:.0} ms) | {:.0} ms | {} / {} / {} | {} | {} ({:.0} ms) | {:.0} ms |",
                theirs.shown,
                theirs.freezes,
                theirs.frozen,
                theirs.buffered,
                theirs.nacks,
                theirs.resent,
                theirs.plis,
                here.shown,
                here.freezes,
                here.frozen,
                here.buffered,
            );
        }
    }
}
