//! Plays a video that only those can see who have the key: frames are encrypted here, and decrypted by the
//! page (encoded transforms).
//!
//!     ffmpeg -i film.mp4 -an -c:v libvpx -b:v 1M -g 60 video.ivf
//!     cargo run --example insertable_streams -- --video video.ivf --key secret
//!
//! What lies between, say a server that passes packets on, sees what it needs and no more. The cipher is
//! one for showing, XOR; the place for a real one (SFrame, RFC 9605) is the same.

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::media::{Codec, Frame};
use looprtc::proto::peer::{MediaKind, PeerConfig, PeerEvent, TransceiverConfig};
use offers::Offers;
use show::{File, Show};

#[path = "support/offers.rs"]
mod offers;
#[path = "support/options.rs"]
mod options;
#[path = "support/page.rs"]
mod page;
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
    let file = File::read(video, |frame| encrypt(frame, key.as_bytes()))?;
    if file.codec != Codec::Vp8 {
        return Err(format!("{video}: {}, and not VP8", file.codec).into());
    }
    let files = [file];
    let mut net = EventLoop::new(LoopConfig::default())?;
    let mut offers = Offers::serve(http, include_str!("pages/insertable_streams.html"), &net)?;
    let config = PeerConfig::default().include_loopback(true);
    let mut shows: HashMap<PeerId, Show> = HashMap::new();
    loop {
        let now = Instant::now();
        let due = shows
            .iter_mut()
            .filter_map(|(id, show)| show.play(&mut net, *id, &files, now));
        let timeout = due
            .min()
            .map(|due| due.saturating_duration_since(Instant::now()));
        if let Some((id, event)) = net.next_event(timeout)? {
            offers.handle_event(&mut net, id, &event);
            match event {
                PeerEvent::TrackBound { transceiver, .. } => {
                    shows.entry(id).and_modify(|show| show.begin(transceiver));
                }
                PeerEvent::TrackUnbound(_) => drop(shows.remove(&id)),
                _ => {}
            }
        }
        offers.take(&mut net, &config, &["/offer"], |net, id, _| {
            let track = TransceiverConfig::default().codecs([Codec::Vp8]);
            let track = net.peer(id)?.add_track(MediaKind::Video, track)?;
            shows.insert(id, Show::new(&files, vec![track]));
            Ok(())
        });
    }
}

/// All but what tells a keyframe and its size (RFC 6386 §9.1): both ends read that from the packets.
/// Twice makes it plain again.
fn encrypt(frame: &mut Frame, key: &[u8]) {
    let in_clear = if frame.keyframe { 10 } else { 3 };
    let bytes = frame.data.iter_mut().skip(in_clear);
    for (byte, key) in bytes.zip(key.iter().cycle()) {
        *byte ^= key;
    }
}
