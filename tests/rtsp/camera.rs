//! Cameras as machines against every script, in virtual time: whole frames, the right ones, in time.

use std::time::{Duration, Instant};

use looprtc::proto::peer::MediaKind;
use looprtc::proto::rtsp::{Camera, CameraConfig, CameraEvent, CameraFrame, Quirk};
use looprtc::testing::camera::behaviour::{Audio, Video};
use looprtc::testing::camera::film::{SILENCE, audio_clock, fingerprint, split};
use looprtc::testing::camera::stage::Stage;
use looprtc::testing::camera::{Behaviour, Expect, SCRIPTS, Script};

use super::client::config;

/// Time that a camera is watched.
const WATCHED: Duration = Duration::from_secs(12);

/// A frame is given out within this time.
const LATEST: Duration = Duration::from_secs(1);

pub fn stage(script: &Script, behaviour: Behaviour, seed: u64) -> Stage<Camera> {
    let config = CameraConfig::new(config(script, seed));
    Stage::new(seed, behaviour, |now| Camera::new(config, now))
}

/// Output of a camera.
#[derive(Default)]
struct Seen {
    video: Vec<(Instant, CameraFrame)>,
    audio: Vec<CameraFrame>,
    /// The sentence at the end.
    ended: Option<String>,
}

impl Seen {
    fn of(stage: &mut Stage<Camera>) -> Self {
        let mut seen = Self::default();
        let mut kinds = Vec::new();
        for (at, event) in stage.events.drain(..) {
            match event {
                CameraEvent::Tracks(tracks, _) => {
                    kinds = tracks.iter().map(|track| track.kind).collect();
                }
                CameraEvent::Frame { track, frame } if kinds[track] == MediaKind::Video => {
                    seen.video.push((at, frame));
                }
                CameraEvent::Frame { frame, .. } => seen.audio.push(frame),
                CameraEvent::Ended(why) => {
                    seen.ended = Some(why.map_or("it was closed".to_owned(), |e| e.to_string()));
                }
                _ => {}
            }
        }
        seen
    }
}

/// Compares frames with the pictures that were sent. Returns how many of the latter have arrived, how many were skipped
/// between two that have, and how many frames are none of them.
fn compare(stage: &Stage<Camera>, frames: &[(Instant, CameraFrame)], is_h265: bool) -> [usize; 3] {
    let sent: Vec<_> = stage.log().latest.iter().collect();
    let (mut next, mut arrived, mut skipped, mut unknown) = (0, 0, 0, 0);
    for (at, frame) in frames {
        // The film repeats itself: what is old is not meant.
        while sent
            .get(next)
            .is_some_and(|picture| picture.at + LATEST < *at)
        {
            next += 1;
            skipped += usize::from(arrived > 0);
        }
        let print = fingerprint(split(&frame.data).into_iter(), is_h265);
        let is_it = |n: &usize| sent[*n].at <= *at && sent[*n].fingerprint == print;
        let mut ahead = next..sent.len();
        // Of several starts, the client's is the latest.
        let found = match arrived {
            0 => ahead.rfind(is_it),
            _ => ahead.find(is_it),
        };
        match found {
            Some(n) => {
                if arrived > 0 {
                    skipped += n - next;
                }
                arrived += 1;
                next = n + 1;
            }
            None => unknown += 1,
        }
    }
    [arrived, skipped, unknown]
}

fn judge(script: &Script, seed: u64) -> Result<(), String> {
    let behaviour = script.behaviour();
    let media = behaviour.media;
    let is_h265 = media.video == Video::H265;
    let mut stage = stage(script, behaviour.clone(), seed);
    let start = stage.now();
    stage.run(WATCHED);
    let seen = Seen::of(&mut stage);
    match (script.expect, seen.ended) {
        (Expect::Ends(text), Some(said)) if said.contains(text) => return counted(script, &stage),
        (Expect::Ends(text), said) => return Err(format!("{said:?} instead of {text:?}")),
        (_, Some(said)) => return Err(format!("it ended: {said}")),
        (_, None) => {}
    }
    let [arrived, skipped, unknown] = compare(&stage, &seen.video, is_h265);
    let sent = stage.log().pictures as usize;
    let figures = format!("{arrived} of {sent} arrived, {skipped} skipped, {unknown} unknown");
    // A late start, by the change of a transport, costs up to 3 s, and each start up to a keyframe.
    let least = match script.settings {
        "transport=udp" => sent * 2 / 3,
        _ => sent * 9 / 10,
    };
    match script.expect {
        Expect::All if arrived < least || skipped > 0 || unknown > 0 => return Err(figures),
        Expect::Most if arrived < sent / 4 || unknown > 0 => return Err(figures),
        _ => {}
    }
    if seen.video.first().is_some_and(|(_, frame)| !frame.is_key) {
        return Err("it does not begin with a keyframe".to_owned());
    }
    for frames in [
        seen.video.iter().map(|(_, f)| f).collect(),
        seen.audio.iter().collect(),
    ] {
        let frames: Vec<&CameraFrame> = frames;
        if !frames.is_sorted_by(|a, b| a.time < b.time) {
            return Err("time goes back".to_owned());
        }
        let late = frames.last().map(|f| (f.arrived - start).abs_diff(f.time));
        // With the wrong rate, time is that of arrival; otherwise it may begin with the first packet.
        if late.is_some_and(|late| late > Duration::from_millis(1500)) {
            return Err(format!("the latest frame's time is {late:?} off"));
        }
    }
    listen(media.audio, &seen.audio)?;
    if !stage.log().complaints.is_empty() {
        return Err(format!(
            "the camera complains: {:?}",
            stage.log().complaints
        ));
    }
    stage.with(|camera, now| camera.close(now));
    stage.run(Duration::from_secs(3));
    counted(script, &stage)
}

/// Checks that there is as much audio as expected.
fn listen(audio: Audio, frames: &[CameraFrame]) -> Result<(), String> {
    let Some((ticks, rate)) = audio_clock(audio).filter(|_| audio != Audio::G726) else {
        return Ok(());
    };
    let packets = WATCHED.as_secs_f64() * f64::from(rate) / f64::from(ticks);
    if (frames.len() as f64) < packets * 0.9 {
        return Err(format!("{} frames of audio of {packets}", frames.len()));
    }
    let is_aac = matches!(audio, Audio::Aac(_));
    match frames.iter().find(|frame| is_aac && *frame.data != SILENCE) {
        Some(frame) => Err(format!("not the audio that was sent: {:02x?}", frame.data)),
        None => Ok(()),
    }
}

fn counted(script: &Script, stage: &Stage<Camera>) -> Result<(), String> {
    let quirk = Quirk::from_number(script.number).expect("it exists");
    let quirks = stage.client.quirks();
    match script.counted && quirks.of(quirk) == 0 {
        true => Err(format!("not counted: {quirks:?}")),
        false => Ok(()),
    }
}

#[test]
fn cameras_with_every_quirk_are_seen() {
    let only = std::env::var("LOOPRTC_QUIRK").ok();
    let only: Option<u8> = only.and_then(|n| n.parse().ok());
    let mut failed = Vec::new();
    for script in SCRIPTS
        .iter()
        .filter(|s| only.is_none_or(|n| n == s.number))
    {
        for seed in 1..=2 {
            if let Err(why) = judge(script, seed) {
                let Script {
                    number,
                    name,
                    about,
                    ..
                } = script;
                failed.push(format!("{number} {name}, {about}: {why}"));
                break;
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// Frames of a camera without faults, and no tolerance for it.
#[test]
fn a_good_camera_needs_no_tolerance() {
    let mut behaviour = Behaviour::default();
    behaviour.media.audio = Audio::Pcma;
    let mut stage = stage(&SCRIPTS[0], behaviour, 7);
    stage.run(Duration::from_secs(60));
    let quirks = stage.client.quirks();
    assert_eq!(quirks.met().count(), 0, "{quirks:?}");
    let seen = Seen::of(&mut stage);
    let [arrived, skipped, unknown] = compare(&stage, &seen.video, false);
    assert!(
        arrived + 2 > stage.log().pictures as usize,
        "{arrived} of {}",
        stage.log().pictures
    );
    assert_eq!((skipped, unknown), (0, 0));
    assert!(
        seen.video
            .iter()
            .all(|(_, frame)| !frame.discontinuity || frame.is_key)
    );
}
