//! Media with real peers: in both directions at once, with either side as the offerer.

use std::time::{Duration, SystemTime};

use looprtc::proto::peer::{Codec, ConnectionState, MediaKind, PeerConfig};
use serde_json::{Value, json};

use crate::call::{Call, Offerer};
use crate::child::RealPeer;
use crate::clips;
use crate::media::Line;
use crate::scenario::{Profile, ready};

/// Duration of media. Video has 30 frames per second, audio 50.
const PLAY: Duration = Duration::from_secs(3);

/// Number of frames in flight when counting ends.
const REST: Duration = Duration::from_millis(700);

/// Media capabilities of a peer.
#[derive(Debug, Clone, Copy)]
pub struct Player {
    pub profile: Profile,
    /// Minimum fraction of our frames that it counts as decoded.
    pub decodes: f64,
    /// Set if it sends our clips unchanged, and reports checksums of received frames.
    pub exact: bool,
    /// Set if its sender reports contain the time.
    pub tells_time: bool,
    /// Set if it can be told to request a keyframe.
    pub asks: bool,
    /// By FIR, too.
    pub asks_by_fir: bool,
    /// Set if a removed track can be sent again.
    pub changes_back: bool,
    /// Fraction of all frames that it decodes with 5 % loss and retransmissions.
    pub under_loss: f64,
    /// Set if it rejects an m-line that we reject.
    pub gives_up: bool,
}

impl Player {
    pub const fn new(profile: Profile) -> Self {
        Self {
            profile,
            decodes: 0.98,
            exact: false,
            tells_time: true,
            asks: false,
            asks_by_fir: false,
            changes_back: true,
            gives_up: true,
            under_loss: 0.9,
        }
    }
}

/// Its statistics of streams, in W3C's terms.
#[derive(Debug)]
pub struct Stats(Value);

impl Stats {
    fn find(&self, kind: &str, media: MediaKind) -> &Value {
        let all = self.0["stats"].as_array().map_or(&[][..], Vec::as_slice);
        let media = media.to_string();
        let found = all
            .iter()
            .find(|s| s["type"] == kind && (s["kind"] == *media || s["mediaType"] == *media));
        found.unwrap_or(&Value::Null)
    }

    /// A statistic of their stream; 0 if they do not report it.
    pub fn number(&self, kind: &str, media: MediaKind, name: &str) -> f64 {
        self.find(kind, media)[name].as_f64().unwrap_or_default()
    }

    /// Number of these RTCP packets that they received about their own media (reported by pion).
    pub fn rtcp(&self, media: MediaKind, name: &str) -> u64 {
        self.find("outbound-rtp", media)["rtcp"][name]
            .as_u64()
            .unwrap_or_default()
    }

    /// All of them.
    pub fn heard(&self, media: MediaKind) -> &Value {
        &self.find("outbound-rtp", media)["rtcp"]
    }

    /// Number of frames that they have decoded, or counted after the decoder.
    pub fn decoded(&self, media: MediaKind) -> u64 {
        let counted = self.0["counted"][media.to_string()].as_u64();
        let said = self.find("inbound-rtp", media)["framesDecoded"].as_u64();
        said.or(counted).unwrap_or_default()
    }

    fn hashes(&self, media: MediaKind) -> Vec<String> {
        let list = self.find("inbound-rtp", media)["hashes"].as_array();
        let list = list.map_or(&[][..], Vec::as_slice).iter();
        list.filter_map(|h| h.as_str().map(str::to_owned)).collect()
    }
}

pub fn stats(call: &mut Call) -> Stats {
    call.theirs.say(&json!({"type": "media-stats"}));
    Stats(call.wait_report("media-stats", &[]))
}

/// Connects with a track of each codec, in both directions. `None` if the peer is not installed.
pub fn connect(
    player: &Player,
    offerer: Offerer,
    config: PeerConfig,
    codecs: &[Codec],
    start: impl FnOnce(&str, &str, &[&str]) -> RealPeer,
) -> Option<Call> {
    let mut call = begin(player, offerer, config, codecs, start)?;
    established(&mut call, codecs);
    Some(call)
}

/// The first half of [`connect`]: nothing was sent yet.
pub fn begin(
    player: &Player,
    offerer: Offerer,
    config: PeerConfig,
    codecs: &[Codec],
    start: impl FnOnce(&str, &str, &[&str]) -> RealPeer,
) -> Option<Call> {
    if !ready(&player.profile) {
        return None;
    }
    // Made before the peer starts, which may read them.
    codecs.iter().for_each(|codec| drop(clips::clip(*codec)));
    let media: Vec<String> = codecs
        .iter()
        .map(|c| format!("{}:{}", MediaKind::of(*c), c.name()))
        .collect();
    let media = media.join(",");
    let clips = clips::directory();
    let clips = clips.to_str().expect("a path in UTF-8");
    let mut args = vec!["--media", &media];
    if player.exact {
        args.extend(["--clips", clips]);
    }
    args.extend(player.profile.args);
    let name = player.profile.name;
    Some(Call::start_with(
        start, name, &args, offerer, config, codecs,
    ))
}

/// The second half: media flows.
pub fn established(call: &mut Call, codecs: &[Codec]) {
    call.wait_state(ConnectionState::Connected);
    for codec in codecs {
        let kind = MediaKind::of(*codec);
        call.wait(&format!("{codec} to be bound"), |call| {
            call.media.line(kind).bound.as_ref().map(drop)
        });
    }
}

/// Sends a clip of each codec to them, and receives theirs.
pub fn both_ways(player: &Player, offerer: Offerer, config: PeerConfig, codecs: &[Codec]) {
    let Some(mut call) = connect(player, offerer, config, codecs, RealPeer::start) else {
        return;
    };
    for codec in codecs {
        let kind = MediaKind::of(*codec);
        call.wait(&format!("{codec} from them"), |call| {
            let line = call.media.line(kind);
            (line.span() >= PLAY && line.sent.len() >= PLAY.as_secs() as usize * 30).then_some(())
        });
    }
    for line in &mut call.media.lines {
        line.silent = true;
    }
    // Media sent by now arrives a moment later.
    let before = stats(&mut call);
    call.run_for(REST);
    let after = stats(&mut call);
    for codec in codecs {
        to_them(&mut call, player, *codec, &after);
        from_them(&mut call, player, *codec, &before);
    }
    call.close();
    call.wait_state(ConnectionState::Closed);
}

/// Number of frames that a browser may miss at the start: those sent before its own handshake is over are dropped, and it
/// asks for a keyframe then.
const BEFORE_THEY_ARE_READY: usize = 3;

/// At least 98 % of our frames are decoded, or received unchanged.
fn to_them(call: &mut Call, player: &Player, codec: Codec, stats: &Stats) {
    let kind = MediaKind::of(codec);
    let sent = call.media.line(kind).sent.clone();
    if !player.exact {
        if kind == MediaKind::Audio {
            return sound_to_them(call, codec, stats);
        }
        let decoded = stats.decoded(kind);
        let early = call.media.line(kind).before_asked;
        let due = sent.len() - early.min(BEFORE_THEY_ARE_READY);
        if (decoded as f64) < due as f64 * player.decodes {
            call.fail(&format!(
                "{codec}: of {} frames, {early} of them early, they decoded {decoded}: {stats:?}",
                sent.len()
            ));
        }
        return;
    }
    let got = stats.hashes(kind);
    let mut left = sent.iter();
    let unknown = got.iter().find(|hash| !left.any(|s| s == *hash));
    // Only the next frame shows that one is complete, so the last may still be held.
    if unknown.is_some() || got.len() * 100 < (sent.len() - 1) * 98 {
        call.fail(&format!(
            "{codec}: of {} frames they got {}; not sent, or out of order: {unknown:?}\n{sent:?}\n{got:?}",
            sent.len(),
            got.len(),
        ));
    }
}

/// W3C's statistics have no frames for audio: its packets are counted.
fn sound_to_them(call: &mut Call, codec: Codec, stats: &Stats) {
    let packets = stats.number("inbound-rtp", MediaKind::Audio, "packetsReceived");
    let packets = packets.max(stats.decoded(MediaKind::Audio) as f64);
    let sent = call.media.line(MediaKind::Audio).sent.len() as f64;
    let concealed = stats.number("inbound-rtp", MediaKind::Audio, "concealmentEvents");
    if packets < sent * 0.98 || concealed > 5.0 {
        call.fail(&format!(
            "{codec}: of {sent} packets they got {packets}, with {concealed} gaps: {stats:?}"
        ));
    }
}

/// At least 98 % of their frames were received, FFmpeg decodes them, and their capture time is known.
fn from_them(call: &mut Call, player: &Player, codec: Codec, before: &Stats) {
    let kind = MediaKind::of(codec);
    let name = match kind {
        MediaKind::Video => "framesSent",
        MediaKind::Audio => "packetsSent",
    };
    let claimed = before.number("outbound-rtp", kind, name);
    let line = call.media.line(kind);
    let came = line.received.len();
    let wrong = check_frames(line, player);
    let why = match wrong {
        Some(why) => why,
        None if claimed > 0.0 && (came as f64) < claimed * 0.98 => {
            format!("they sent {claimed} and {came} are here")
        }
        None => return,
    };
    let last = line.received.last().map(|f| (f.captured, f.received));
    let reports = line.reports.clone();
    call.fail(&format!(
        "{codec} from them: {why}; the last: {last:?}; {reports:?}; {before:?}"
    ));
}

/// Returns the faults of received media.
fn check_frames(line: &Line, player: &Player) -> Option<String> {
    let frames = &line.received;
    if frames.iter().any(|f| f.codec != line.codec) {
        return Some("another codec".to_owned());
    }
    let gaps = frames.iter().skip(1).filter(|f| !f.contiguous).count();
    if gaps > 0 {
        return Some(format!("{gaps} gaps"));
    }
    let key = frames.iter().position(|f| f.keyframe)?;
    if key * 50 > frames.len() {
        return Some(format!("{key} frames before the first keyframe"));
    }
    let name = format!("{}-{}", player.profile.name, std::process::id());
    let name = format!("{name}-{:p}", line);
    let decoded = clips::decoded(line.codec, &frames[key..], &name);
    if decoded * 100 < (frames.len() - key) * 98 {
        return Some(format!("FFmpeg decodes {decoded} of {}", frames.len()));
    }
    if player.exact {
        let clip = clips::clip(line.codec);
        let known: Vec<String> = clip
            .frames
            .iter()
            .map(|f| clips::fingerprint(line.codec, f))
            .collect();
        let got = frames[key..]
            .iter()
            .map(|f| clips::fingerprint(line.codec, &f.data));
        for (n, hash) in got.enumerate() {
            if !known.contains(&hash) {
                return Some(format!("frame {n} is none of the clip: {hash}"));
            }
        }
    }
    if line.reports.is_empty() {
        return Some("no sender report".to_owned());
    }
    let last = frames.last()?;
    let Some(captured) = last.captured else {
        return Some("nobody knows when the last frame was taken".to_owned());
    };
    // Both sides have the same clock here. A frame was captured before it arrived.
    let age = SystemTime::now().duration_since(captured).ok()?;
    let here = last.received.elapsed();
    let way = age.as_secs_f64() - here.as_secs_f64();
    if player.tells_time && !(-0.1..2.0).contains(&way) {
        return Some(format!("captured {way:.3} s before it came"));
    }
    None
}
