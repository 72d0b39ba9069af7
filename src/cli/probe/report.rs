//! The report of a probe, for people and for programs.

use looprtc::proto::peer::MediaKind;
use looprtc::proto::rtp::MediaFormat;
use serde_json::{Value, json};

use super::advice::{Plays, advice, plays};
use super::observed::{Observed, Track};

/// Prints the report.
pub fn print(observed: &Observed) {
    say!("{}", observed.url);
    if let Some(described) = &observed.described {
        let names = [&described.name, &described.tool];
        let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
        if !names.is_empty() {
            say!("  calls itself {}", names.join(", "));
        }
    }
    if let (Some(described), Some(first)) = (observed.described_after, observed.first_frame_after) {
        let by = observed.transport.map_or("?", |transport| transport.name());
        say!(
            "  answered after {:.2} s, first frame after {:.2} s, by {by}",
            described.as_secs_f64(),
            first.as_secs_f64()
        );
    }
    for note in &observed.notes {
        say!("  {note}");
    }
    for track in &observed.tracks {
        print_track(track);
    }
    let left_out = observed.described.as_ref().map_or(&[][..], |d| &d.left_out);
    section("Not used", left_out.iter().cloned());
    let quirks = observed.quirks.met();
    section(
        "Tolerated",
        quirks.map(|(quirk, count)| format!("{quirk}: {} ({count}×)", quirk.about())),
    );
    section("Browsers", observed.tracks.iter().map(verdict));
    section(
        "Change in the camera's settings",
        advice(observed).into_iter(),
    );
}

fn section(title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        say!("");
        say!("{title}");
    }
    for line in lines {
        say!("  {line}");
    }
}

fn print_track(track: &Track) {
    say!("");
    say!("{}", title(track));
    let mut figures = Vec::new();
    if let Some(rate) = track.frame_rate().filter(|_| is_video(track)) {
        let stated = track.track.frame_rate;
        let stated = stated.map_or(String::new(), |stated| format!(" ({stated} described)"));
        figures.push(format!("{rate:.1} frames/s{stated}"));
    }
    if let Some(rate) = track.bit_rate() {
        figures.push(bit_rate(rate));
    }
    figures.push(format!("{} frames", track.frames));
    say!("  {}", figures.join(", "));
    if is_video(track) && !matches!(track.track.format, MediaFormat::Jpeg { .. }) {
        let keyframes = match track.longest_group {
            Some((frames, time)) => format!(
                "a keyframe each {frames} frames, {:.1} s, at most",
                time.as_secs_f64()
            ),
            None if track.keyframes == 1 => "one keyframe".into(),
            None => "no keyframe".into(),
        };
        let order = match track.reordered {
            0 => "no B-frames".into(),
            count => format!("B-frames ({count} of {})", track.frames),
        };
        say!(
            "  {keyframes}; the largest has {} kB; {order}",
            track.largest_keyframe.div_ceil(1000)
        );
    }
    let Some(stats) = &track.stats else {
        return;
    };
    if let Some(drift) = stats.drift_ppm {
        say!("  clock: {drift:+.0} parts per million against this machine's");
    }
    let unpack = &stats.unpack;
    if unpack.lost + unpack.damaged + unpack.waiting + unpack.malformed > 0 {
        say!(
            "  {} packets lost, {} unreadable; {} frames damaged, {} left out until a keyframe",
            unpack.lost,
            unpack.malformed,
            unpack.damaged,
            unpack.waiting
        );
    }
}

fn is_video(track: &Track) -> bool {
    track.track.kind == MediaKind::Video
}

fn bit_rate(rate: f64) -> String {
    match rate {
        1e6.. => format!("{:.1} Mbit/s", rate / 1e6),
        _ => format!("{:.0} kbit/s", rate / 1e3),
    }
}

/// Returns a track in one line.
fn title(track: &Track) -> String {
    let name = track.track.format.name();
    if is_video(track) {
        return match &track.video {
            Some(video) => {
                let profile = format!(" {}", video.profile);
                format!(
                    "Video: {name}{}, {}×{}",
                    profile.trim_end(),
                    video.width,
                    video.height
                )
            }
            None => format!("Video: {name}"),
        };
    }
    let (rate, channels) = match (&track.aac, &track.track.format) {
        (Some(config), _) => (config.sample_rate, config.channels),
        (
            None,
            MediaFormat::Pcmu {
                clock_rate,
                channels,
            }
            | MediaFormat::Pcma {
                clock_rate,
                channels,
            }
            | MediaFormat::L16 {
                clock_rate,
                channels,
                ..
            },
        ) => (*clock_rate, *channels),
        (None, MediaFormat::G722) => (16_000, 1),
        _ => (track.track.clock_rate, 0),
    };
    let channels = match channels {
        0 => String::new(),
        1 => ", mono".into(),
        2 => ", stereo".into(),
        many => format!(", {many} channels"),
    };
    format!("Audio: {name}, {rate} Hz{channels}")
}

/// Returns what browsers make of a track, in one line.
fn verdict(track: &Track) -> String {
    let kind = if is_video(track) { "video" } else { "audio" };
    match plays(track) {
        Plays::Yes => format!("{kind}: all play it"),
        Plays::Converted(to) => format!("{kind}: all play it, converted to {to}"),
        Plays::Some(which) => format!("{kind}: some play {which}"),
        Plays::No(why) => format!("{kind}: none plays it by WebRTC: {why}"),
    }
}

/// Returns the report for programs.
pub fn as_json(observed: &Observed) -> Value {
    let described = observed.described.as_ref();
    let quirks = observed.quirks.met().map(|(quirk, count)| {
        json!({"number": quirk.number(), "name": quirk.name(), "about": quirk.about(), "count": count})
    });
    json!({
        "url": observed.url,
        "name": described.and_then(|d| d.name.clone()),
        "tool": described.and_then(|d| d.tool.clone()),
        "transport": observed.transport.map(|transport| transport.name()),
        "described_after": observed.described_after.map(|time| time.as_secs_f64()),
        "first_frame_after": observed.first_frame_after.map(|time| time.as_secs_f64()),
        "tracks": observed.tracks.iter().map(track_as_json).collect::<Vec<_>>(),
        "left_out": described.map(|d| d.left_out.clone()).unwrap_or_default(),
        "quirks": quirks.collect::<Vec<_>>(),
        "notes": observed.notes,
        "advice": advice(observed),
    })
}

fn track_as_json(track: &Track) -> Value {
    let (plays, remark) = match plays(track) {
        Plays::Yes => ("yes", None),
        Plays::Converted(to) => ("converted", Some(to)),
        Plays::Some(which) => ("some", Some(which)),
        Plays::No(why) => ("no", Some(why)),
    };
    let stats = track.stats.as_ref();
    json!({
        "kind": track.track.kind.to_string(),
        "codec": track.track.format.name(),
        "title": title(track),
        "clock_rate": track.track.clock_rate,
        "width": track.video.as_ref().map(|video| video.width),
        "height": track.video.as_ref().map(|video| video.height),
        "codec_string": track.video.as_ref().map(|video| video.codec_string.clone()).filter(|codec| !codec.is_empty())
            .or_else(|| track.aac.as_ref().map(|aac| aac.codec_string())),
        "frames": track.frames,
        "frame_rate": track.frame_rate().filter(|_| is_video(track)),
        "described_frame_rate": track.track.frame_rate,
        "bit_rate": track.bit_rate(),
        "keyframes": track.keyframes,
        "keyframe_distance_frames": track.longest_group.map(|(frames, _)| frames),
        "keyframe_distance": track.longest_group.map(|(_, time)| time.as_secs_f64()),
        "b_frames": track.reordered,
        "discontinuities": track.discontinuities,
        "drift_ppm": stats.and_then(|stats| stats.drift_ppm),
        "packets": stats.map(|stats| stats.unpack.packets),
        "packets_lost": stats.map(|stats| stats.unpack.lost),
        "plays": plays,
        "remark": remark,
    })
}
