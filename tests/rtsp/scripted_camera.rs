//! The scripted camera itself, with clients that other people wrote: it has to be a camera before its faults mean anything.

use std::process::Command;
use std::sync::Mutex;
use std::thread;

use looprtc::testing::camera::sockets::CameraOnSockets;
use looprtc::testing::camera::{Behaviour, SCRIPTS};

/// Pulls frames with ffmpeg. Returns what it says.
fn ffmpeg(camera: &CameraOnSockets, transport: &str, frames: u32) -> Result<(), String> {
    let run = Command::new("timeout")
        .args([
            "20",
            "ffmpeg",
            "-nostdin",
            "-v",
            "error",
            "-rtsp_transport",
            transport,
        ])
        .args(["-probesize", "200k", "-analyzeduration", "1M"])
        .args([
            "-i",
            &camera.url(),
            "-map",
            "0:v",
            "-frames:v",
            &frames.to_string(),
        ])
        .args(["-f", "null", "-"])
        .output();
    let run = run.map_err(|e| format!("ffmpeg (tests/setup installs it): {e}"))?;
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    match run.status.success() {
        true if !said.contains("error while decoding") => Ok(()),
        _ => Err(said),
    }
}

#[test]
fn ffmpeg_plays_the_tame_scripts() {
    let next = Mutex::new(SCRIPTS.iter().filter(|script| script.tame));
    let failed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let script = next.lock().unwrap().next();
            let Some(script) = script else { return };
            let camera = CameraOnSockets::start(script.behaviour()).unwrap();
            if let Err(why) = ffmpeg(&camera, "tcp", 40) {
                let mut failed = failed.lock().unwrap();
                failed.push(format!(
                    "{} {}, {}: {why}",
                    script.number, script.name, script.about
                ));
            }
        }
    };
    // They wait for pictures most of the time.
    thread::scope(|scope| (0..8).for_each(|_| _ = scope.spawn(work)));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn ffmpeg_plays_it_over_udp() {
    let camera = CameraOnSockets::start(Behaviour::default()).unwrap();
    ffmpeg(&camera, "udp", 40).unwrap();
}
