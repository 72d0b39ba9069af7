//! Plays an end-to-end encrypted video: frames are encrypted here, and decrypted by the page (encoded transforms) with
//! the same key.
//!
//!     ffmpeg -i film.mp4 -an -c:v libvpx -b:v 1M -g 60 video.ivf
//!     cargo run --example insertable_streams -- --video video.ivf --key secret
//!
//! A server in between that forwards packets sees only what it needs. The cipher, XOR, is for demonstration; a real one
//! (SFrame, RFC 9605) takes the same place.

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use callers::Callers;
use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::media::Codec;
use looprtc::proto::peer::{MediaKind, PeerConfig, PeerEvent, TransceiverConfig};
use show::{File, Show};

#[path = "support/callers.rs"]
mod callers;
#[path = "support/options.rs"]
mod options;
#[path = "support/show.rs"]
mod show;

const HELP: &str = "\
insertable_streams: play an encrypted file to a browser page

  --video FILE      IVF with VP8
  --key TEXT        what it is encrypted with [looprtc]
  --http HOST:PORT  where the page is served [localhost:8080]";

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    let known = [
        ("http", "localhost:8080"),
        ("video", ""),
        ("key", "looprtc"),
    ];
    let run = |[http, video, key]: [String; 3]| run(&http, &video, &key);
    match options::options(HELP, known).and_then(|options| options.map_or(Ok(()), run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(http: &str, video: &str, key: &str) -> Result<(), Box<dyn Error>> {
    if video.is_empty() || key.is_empty() {
        return Err(format!("a video and a key are needed\n\n{HELP}").into());
    }
    let mut file = File::read(video)?;
    if file.codec != Codec::Vp8 {
        return Err(format!("{video}: {}, and not VP8", file.codec).into());
    }
    for (frame, data) in &mut file.frames {
        *data = encrypt(frame.keyframe, data, key.as_bytes());
    }
    let files = [file];
    let mut net = EventLoop::new(LoopConfig::default())?;
    let mut callers = Callers::serve(
        &mut net,
        http,
        include_str!("pages/insertable_streams.html"),
    )?;
    let config = PeerConfig::default();
    let mut shows: HashMap<PeerId, Show> = HashMap::new();
    loop {
        let now = Instant::now();
        let due = shows
            .iter_mut()
            .filter_map(|(id, show)| show.play(&mut net, *id, &files, now));
        let timeout = due
            .min()
            .map(|due| due.saturating_duration_since(Instant::now()));
        if let Some((id, event)) = net.next_event(callers.wait(timeout))? {
            callers.handle_event(&mut net, id, &event);
            if let (Some(show), Ok(mut peer)) = (shows.get_mut(&id), net.peer(id)) {
                show.handle_event(&mut peer, &files, &event);
            }
            if let PeerEvent::TrackUnbound(_) = event {
                shows.remove(&id);
            }
        }
        callers.answer(&mut net, &config, |net, id| {
            let track = TransceiverConfig::default().codecs([Codec::Vp8]);
            let track = net.peer(id)?.add_track(MediaKind::Video, track)?;
            shows.insert(id, Show::new(&files, vec![track]));
            Ok(())
        });
    }
}

/// Encrypts a frame, except for the bytes that identify a keyframe and its size (RFC 6386 §9.1), which both ends read
/// from the packets. Applied twice it restores the plain frame.
fn encrypt(keyframe: bool, data: &[u8], key: &[u8]) -> Arc<[u8]> {
    let clear = data.len().min(if keyframe { 10 } else { 3 });
    let keys = [0].iter().cycle().take(clear).chain(key.iter().cycle());
    data.iter()
        .zip(keys)
        .map(|(byte, key)| byte ^ key)
        .collect()
}
