//! Plays a video file as many times in parallel as a page wants: each click adds or removes a track, and renegotiates.
//!
//!     ffmpeg -i film.mp4 -an -c:v libvpx -b:v 1M -g 60 video.ivf
//!     cargo run --example play_from_disk_renegotiation -- --video video.ivf
//!
//! The page makes one offer, for a data channel. Through it the page sends its requests, and the program its offers: no
//! server is needed any more.

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use callers::Callers;
use looprtc::driver::{EventLoop, LoopConfig, PeerId, PeerMut};
use looprtc::proto::peer::{
    ChannelId, ConnectionState, Direction, MediaKind, Message, PeerConfig, PeerError, PeerEvent,
    TransceiverConfig, TransceiverId,
};
use looprtc::proto::signal::SignalMessage;
use show::{File, Show};

#[path = "support/callers.rs"]
mod callers;
#[path = "support/options.rs"]
mod options;
#[path = "support/show.rs"]
mod show;

const HELP: &str = "\
play_from_disk_renegotiation: play a file as often as a page wants

  --video FILE      IVF (VP8, VP9, AV1), or a byte stream (H.264, H.265)
  --http HOST:PORT  where the page is served [localhost:8080]";

/// Maximum number of videos per page.
const MAX_VIDEOS: usize = 8;

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    let options = options::options(HELP, [("http", "localhost:8080"), ("video", "")]);
    match options.and_then(|options| options.map_or(Ok(()), |[http, video]| run(&http, &video))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(http: &str, video: &str) -> Result<(), Box<dyn Error>> {
    if video.is_empty() {
        return Err(format!("nothing to play\n\n{HELP}").into());
    }
    let files = [File::read(video)?];
    let mut net = EventLoop::new(LoopConfig::default())?;
    let page = include_str!("pages/play_from_disk_renegotiation.html");
    let mut callers = Callers::serve(&mut net, http, page)?;
    let config = PeerConfig::default();
    let mut viewers: HashMap<PeerId, Viewer> = HashMap::new();
    loop {
        let now = Instant::now();
        let due = viewers
            .iter_mut()
            .filter_map(|(id, viewer)| viewer.play(&mut net, *id, &files, now));
        let timeout = due
            .min()
            .map(|due| due.saturating_duration_since(Instant::now()));
        if let Some((id, event)) = net.next_event(callers.wait(timeout))? {
            callers.handle_event(&mut net, id, &event);
            if let (Some(viewer), Ok(peer)) = (viewers.get_mut(&id), net.peer(id))
                && let Err(error) = viewer.handle_event(peer, &event, &files)
            {
                eprintln!("Peer {id}: {error}");
            }
            if event == PeerEvent::ConnectionStateChange(ConnectionState::Closed) {
                viewers.remove(&id);
            }
        }
        callers.answer(&mut net, &config, |_, id| {
            viewers.insert(id, Viewer::default());
            Ok(())
        });
    }
}

/// A page with its videos.
#[derive(Default)]
struct Viewer {
    channel: Option<ChannelId>,
    videos: Vec<(TransceiverId, Show)>,
}

impl Viewer {
    fn play(
        &mut self,
        net: &mut EventLoop,
        id: PeerId,
        files: &[File],
        now: Instant,
    ) -> Option<Instant> {
        let videos = self.videos.iter_mut();
        videos
            .filter_map(|(_, show)| show.play(net, id, files, now))
            .min()
    }

    fn handle_event(
        &mut self,
        mut peer: PeerMut<'_>,
        event: &PeerEvent,
        files: &[File],
    ) -> Result<(), Box<dyn Error>> {
        for (_, show) in &mut self.videos {
            show.handle_event(&mut peer, files, event);
        }
        match event {
            PeerEvent::ChannelOpen(channel) => self.channel = Some(*channel),
            PeerEvent::ChannelMessage { message, .. } => match message {
                Message::Text(text) if text == "add" => self.add(peer, files)?,
                Message::Text(text) if text == "remove" => self.remove(peer)?,
                Message::Text(answer) => {
                    let answer = SignalMessage::parse_description(answer.as_bytes())?;
                    peer.receive(answer)?;
                }
                Message::Binary(_) => return Err("only text is understood".into()),
            },
            PeerEvent::NegotiationNeeded => {
                if let Some(channel) = self.channel {
                    let offer = peer.negotiate()?;
                    peer.send_text(channel, &offer.to_json())?;
                }
            }
            PeerEvent::TrackBound { .. } => {
                println!("Peer {}: {} videos", peer.id(), self.videos.len());
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds a video. An event reports that negotiation is needed.
    fn add(&mut self, mut peer: PeerMut<'_>, files: &[File]) -> Result<(), PeerError> {
        if self.videos.len() == MAX_VIDEOS {
            return Ok(());
        }
        let track = TransceiverConfig::default()
            .direction(Direction::SendOnly)
            .codecs(files.iter().map(|file| file.codec));
        let transceiver = peer.add_transceiver(MediaKind::Video, track)?;
        let show = Show::new(files, vec![transceiver]);
        self.videos.push((transceiver, show));
        Ok(())
    }

    /// Removes the last video. Its m-line stays, rejected: an inactive one could be reused, but Chromium (156) displays
    /// nothing of it then.
    fn remove(&mut self, mut peer: PeerMut<'_>) -> Result<(), PeerError> {
        if let Some((transceiver, _)) = self.videos.pop() {
            peer.stop_transceiver(transceiver)?;
            println!("Peer {}: {} videos", peer.id(), self.videos.len());
        }
        Ok(())
    }
}
