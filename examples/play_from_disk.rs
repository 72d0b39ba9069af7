//! Plays a video and an audio file to every browser page that connects.
//!
//!     ffmpeg -i film.mp4 -an -c:v libvpx -b:v 2M -g 60 video.ivf -vn -c:a libopus audio.ogg
//!     cargo run --example play_from_disk -- --video video.ivf --audio audio.ogg
//!
//! VP8, VP9 and AV1 are read from IVF, H.264 and H.265 from byte streams, audio from Ogg Opus. Every viewer starts at
//! the beginning; the files loop. All viewers share the frames in memory.

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::peer::{
    IceGatheringState, MediaKind, PeerConfig, PeerEvent, TransceiverConfig,
};
use looprtc::proto::signal::SignalMessage;
use show::{File, Show};

#[path = "support/page.rs"]
mod page;
use page::{Ask, Page};
#[path = "support/show.rs"]
mod show;

const HELP: &str = "\
play_from_disk: play files to a browser page

  --video FILE      IVF (VP8, VP9, AV1), or a byte stream (H.264, H.265)
  --audio FILE      Ogg Opus
  --http HOST:PORT  where the page is served [localhost:8080]";

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    match Options::from_args().and_then(|options| options.map_or(Ok(()), run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let files = [&options.video, &options.audio].into_iter().flatten();
    let files: Vec<File> = files
        .map(|path| File::read(path))
        .collect::<Result<_, _>>()?;
    let mut net = EventLoop::new(LoopConfig::default())?;
    let page = include_str!("pages/play_from_disk.html");
    let page = Page::serve(&mut net, &options.http, page)?;
    println!("Open {} in a browser", page.url());
    let mut waiting: HashMap<PeerId, Ask> = HashMap::new();
    let mut shows: HashMap<PeerId, Show> = HashMap::new();
    loop {
        let now = Instant::now();
        let due = shows
            .iter_mut()
            .filter_map(|(id, show)| show.play(&mut net, *id, &files, now));
        let timeout = due
            .min()
            .map(|due| due.saturating_duration_since(Instant::now()));
        if let Some((id, event)) = net.next_event(page.wait(timeout))? {
            if let (Some(show), Ok(mut peer)) = (shows.get_mut(&id), net.peer(id)) {
                show.handle_event(&mut peer, &files, &event);
            }
            match event {
                PeerEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                    let answer = net.peer(id).ok().and_then(|p| p.local_description());
                    if let Some(ask) = waiting.remove(&id) {
                        ask.reply(&answer.map(|a| a.to_json()).unwrap_or_default(), None);
                    }
                }
                PeerEvent::TrackBound { codec, .. } => println!("Peer {id}: playing {codec}"),
                PeerEvent::TrackUnbound(_) => drop(shows.remove(&id)),
                PeerEvent::ConnectionStateChange(state) => {
                    println!("Peer {id}: connection {state}")
                }
                PeerEvent::Error(error) => eprintln!("Peer {id}: {error}"),
                _ => {}
            }
        }
        for ask in page.asked() {
            if ask.path != "/offer" {
                ask.refuse(404, "offers go to /offer");
                continue;
            }
            match answer(&mut net, &ask.body, &files) {
                Ok((id, show)) => {
                    shows.insert(id, show);
                    waiting.insert(id, ask);
                }
                Err(why) => ask.refuse(400, why),
            }
        }
    }
}

/// Creates a peer for this offer. Its tracks are added before, so that they use the offer's m-lines.
fn answer(
    net: &mut EventLoop,
    body: &[u8],
    files: &[File],
) -> Result<(PeerId, Show), Box<dyn Error>> {
    let offer = SignalMessage::parse_description(body)?;
    let id = net.add_peer(PeerConfig::default().include_loopback(true))?;
    let mut peer = net.peer(id)?;
    let mut tracks = Vec::new();
    for file in files {
        let config = TransceiverConfig::default().codecs([file.codec]);
        tracks.push(peer.add_track(MediaKind::of(file.codec), config)?);
    }
    if let Err(error) = peer.receive(offer) {
        peer.close();
        return Err(error.into());
    }
    Ok((id, Show::new(files, tracks)))
}

#[derive(Default)]
struct Options {
    http: String,
    video: Option<String>,
    audio: Option<String>,
}

impl Options {
    fn from_args() -> Result<Option<Self>, Box<dyn Error>> {
        use lexopt::prelude::*;
        let mut options = Self {
            http: "localhost:8080".into(),
            ..Self::default()
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("http") => options.http = parser.value()?.string()?,
                Long("video") => options.video = Some(parser.value()?.string()?),
                Long("audio") => options.audio = Some(parser.value()?.string()?),
                Long("help") | Short('h') => {
                    println!("{HELP}");
                    return Ok(None);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        if options.video.is_none() && options.audio.is_none() {
            return Err(format!("nothing to play\n\n{HELP}").into());
        }
        Ok(Some(options))
    }
}
