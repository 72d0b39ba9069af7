//! Advice: which tracks browsers play, and which settings of the camera to change.

use std::time::Duration;

use looprtc::proto::rtp::MediaFormat;
use looprtc::proto::rtsp::Transport;

use super::observed::{Observed, Track};

/// Distance of keyframes from which on a viewer waits for long.
const LONG_GROUP: Duration = Duration::from_millis(4500);

/// Bit rate in bit/s from which on phones and uplinks have trouble.
const HIGH_BIT_RATE: f64 = 12e6;

/// Drift in parts per million that no crystal has.
const BAD_CLOCK: f64 = 500.0;

/// Verdict on whether browsers play a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plays {
    Yes,
    /// By conversion in looprtc: to this.
    Converted(&'static str),
    /// Some do: the reason.
    Some(&'static str),
    No(&'static str),
}

/// Returns whether browsers play a track by WebRTC.
pub fn plays(track: &Track) -> Plays {
    match &track.track.format {
        MediaFormat::H264 { .. } if track.reordered > 0 => {
            Plays::No("B-frames: browsers show the pictures in the order in which they come")
        }
        MediaFormat::H264 { .. } => match track.video.as_ref().map(|video| &*video.codec_string) {
            Some(codec) if codec.starts_with("avc1.6E") || codec.starts_with("avc1.7A") => {
                Plays::No("a profile that browsers do not decode (10 bits, or 4:2:2)")
            }
            _ => Plays::Yes,
        },
        MediaFormat::H265 { .. } if track.reordered > 0 => Plays::No("B-frames in H.265"),
        MediaFormat::H265 { .. } => Plays::Some(
            "H.265: Safari 18 and later, and Chrome and Edge on machines with a hardware decoder; not Firefox",
        ),
        MediaFormat::Jpeg { .. } => Plays::No("MJPEG is not a codec of WebRTC"),
        MediaFormat::Aac(_) | MediaFormat::Latm { .. } => Plays::Converted("G.722"),
        MediaFormat::L16 { .. } => Plays::Converted("G.722 or G.711"),
        MediaFormat::Pcmu {
            clock_rate: 8_000,
            channels: 1,
        }
        | MediaFormat::Pcma {
            clock_rate: 8_000,
            channels: 1,
        }
        | MediaFormat::G722
        | MediaFormat::Opus => Plays::Yes,
        MediaFormat::Pcmu { .. } | MediaFormat::Pcma { .. } => {
            Plays::Converted("G.722 or G.711 at 8 kHz")
        }
        _ => Plays::No("not a codec of WebRTC"),
    }
}

/// Returns what to change, a sentence each.
pub fn advice(observed: &Observed) -> Vec<String> {
    let mut advice = Vec::new();
    for track in &observed.tracks {
        of_track(track, observed.transport, &mut advice);
    }
    let left_out = observed.described.iter().flat_map(|d| &d.left_out);
    advice.extend(left_out.filter(|text| text.contains("choose")).cloned());
    if observed.tracks.is_empty() && observed.described.is_some() {
        advice.push("choose H.264 for video, and G.711, Opus or AAC for audio".into());
    }
    advice
}

fn of_track(track: &Track, transport: Option<Transport>, advice: &mut Vec<String>) {
    let mut say = |text: String| advice.push(text);
    match &track.track.format {
        MediaFormat::H264 { .. } | MediaFormat::H265 { .. } if track.reordered > 0 => say(
            "turn B-frames off: often a “GOP structure” or “profile” (Baseline has none), or “low latency”".into(),
        ),
        MediaFormat::H265 { .. } => say(
            "choose H.264 for this stream, or watch the camera's second stream if that is H.264; turn “H.264+”, “H.265+” \
             and “smart codec” off"
                .into(),
        ),
        MediaFormat::Jpeg { .. } => say("choose H.264 instead of MJPEG".into()),
        MediaFormat::Aac(_) | MediaFormat::Latm { .. } | MediaFormat::L16 { .. } => say(
            "G.711 or Opus would need no conversion; AAC sounds better where it is played as it is".into(),
        ),
        _ => {}
    }
    let is_video = matches!(plays(track), Plays::Yes | Plays::Some(_) | Plays::No(_))
        && track.video.is_some()
        && !matches!(track.track.format, MediaFormat::Jpeg { .. });
    if is_video {
        let group = track.longest_group.map_or(Duration::ZERO, |(_, time)| time);
        let longest = group.max(track.since_keyframe());
        if longest > LONG_GROUP {
            say(format!(
                "set the keyframe (I-frame) interval to 2 s, that is {} frames: it is {:.1} s or more, and a viewer may wait as \
                 long for the first picture",
                (2.0 * track.frame_rate().unwrap_or(25.0)).round(),
                longest.as_secs_f64(),
            ));
        }
        if track.keyframes == 0 {
            say("no keyframe came: watch for longer (--seconds), or set the keyframe interval to 2 s".into());
        }
        if let Some(rate) = track.bit_rate().filter(|rate| *rate > HIGH_BIT_RATE) {
            let rate = rate / 1e6;
            say(format!(
                "lower the bit rate: {rate:.0} Mbit/s is more than many phones and uplinks take; 2 to 8 will do"
            ));
        }
    }
    let Some(stats) = &track.stats else {
        return;
    };
    if stats.unpack.lost > 0 {
        let by = if transport == Some(Transport::Tcp) {
            "the camera drops packets although it sends over TCP: lower its bit rate, and look for other viewers"
        } else {
            "packets are lost on the way: try --transport tcp, or a better network"
        };
        say(format!(
            "{by} ({} of {} were lost)",
            stats.unpack.lost,
            stats.unpack.packets + stats.unpack.lost
        ));
    }
    if let Some(rate) = stats.timeline.measured_rate {
        say(format!(
            "the camera states a clock of {} Hz, and it runs at {rate}: look for new firmware",
            track.track.clock_rate
        ));
    }
    if stats.timeline.jumps + stats.timeline.backward > 0 {
        say("its timestamps jump: a wrong time server may be set".into());
    }
    if let Some(drift) = stats.drift_ppm.filter(|drift| drift.abs() > BAD_CLOCK) {
        say(format!(
            "its clock is wrong by {drift:.0} parts per million, which was evened out"
        ));
    }
}
