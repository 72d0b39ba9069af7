//! Servers that other people wrote: that they are there, and what they offer.

use std::process::Command;

use super::cameras::RealCamera;

/// Returns the codecs that ffprobe sees, sorted.
fn probe(url: &str, transport: &str) -> String {
    let run = Command::new("timeout")
        .args(["20", "ffprobe", "-v", "error", "-rtsp_transport", transport])
        .args(["-show_entries", "stream=codec_name", "-of", "csv=p=0", url])
        .output()
        .expect("ffprobe (tests/setup installs it)");
    let said = String::from_utf8_lossy(&run.stdout);
    let mut codecs: Vec<_> = said.split_ascii_whitespace().collect();
    codecs.sort_unstable();
    format!(
        "{}{}",
        codecs.join(" "),
        String::from_utf8_lossy(&run.stderr)
    )
}

#[test]
fn gstreamer_counts_what_it_sends() {
    let Some(mut camera) = RealCamera::gst("--audio aac --auth digest", None) else {
        return;
    };
    assert_eq!(camera.counts().video, 0, "nobody has asked");
    assert_eq!(probe(&camera.url(), "tcp"), "aac h264");
    let counts = camera.counts();
    assert!(
        counts.video > 5 && counts.keys > 0 && counts.audio > 5,
        "{counts:?}"
    );
    let all = camera.frames_between(0.0, 1e15);
    assert!(all >= counts.video, "{all} of {counts:?}");
}

#[test]
fn gstreamer_speaks_tls() {
    let options = "--tls CERTIFICATE --audio l16";
    let Some(camera) = RealCamera::gst(options, None) else {
        return;
    };
    assert_eq!(probe(&camera.url(), "tcp"), "h264 pcm_s16be");
}

#[test]
fn vlc_serves() {
    let Some(camera) = RealCamera::vlc() else {
        return;
    };
    assert_eq!(probe(&camera.url(), "udp").split(' ').next(), Some("aac"));
}

#[test]
fn rtsp_server_perl_serves() {
    let Some(camera) = RealCamera::perl() else {
        return;
    };
    assert_eq!(probe(&camera.url(), "udp"), "h264 pcm_alaw");
}
