//! Real pages watch and publish.

use std::collections::HashMap;
use std::error::Error;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::peer::{IceGatheringState, MediaMode, PeerConfig, PeerEvent};
use looprtc::proto::signal::SignalMessage;
use looprtc::server::streams::{SourceConfig, Streams, StreamsConfig};

#[path = "../support/chromium.rs"]
mod chromium;
#[path = "../../examples/support/page.rs"]
mod page;
use page::{Ask, Page};

/// A server of streams; pages ask it with `POST /watch/NAME` and `POST /publish/NAME`.
struct Server {
    net: EventLoop,
    streams: Streams,
    page: Page,
    waiting: HashMap<PeerId, Ask>,
}

impl Server {
    /// Starts one on a thread of its own, where it runs until the process ends. Returns the URL of its page.
    fn start(sources: &[&str]) -> String {
        let sources: Vec<String> = sources.iter().map(|&s| s.to_owned()).collect();
        let (started, url) = channel();
        thread::spawn(move || {
            let server = Self::new(&sources);
            started.send(server.page.url().to_owned()).unwrap();
            server.run();
        });
        url.recv().unwrap()
    }

    fn new(sources: &[String]) -> Self {
        let mut net = EventLoop::new(LoopConfig::default()).unwrap();
        let mut streams = Streams::new(StreamsConfig::default());
        for source in sources {
            let (name, source) = SourceConfig::parse(source).unwrap();
            streams.add(&name, source).unwrap();
        }
        let html = include_str!("page.html");
        let page = Page::serve(&mut net, "127.0.0.1:0", html).unwrap();
        Self {
            net,
            streams,
            page,
            waiting: HashMap::new(),
        }
    }

    fn run(mut self) {
        loop {
            let deadline = self.streams.next_deadline();
            let wait = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if let Some((peer, event)) = self.net.next_event(self.page.wait(wait)).unwrap() {
                self.streams.handle_peer_event(&mut self.net, peer, &event);
                self.reply(peer, &event);
            }
            self.streams.handle_timeout(&mut self.net, Instant::now());
            while let Some(event) = self.streams.poll_event() {
                println!("{event}");
            }
            for ask in self.page.asked() {
                match self.answer(&ask) {
                    Ok(peer) => drop(self.waiting.insert(peer, ask)),
                    Err(why) => ask.refuse(409, why),
                }
            }
        }
    }

    fn answer(&mut self, ask: &Ask) -> Result<PeerId, Box<dyn Error>> {
        let offer = SignalMessage::parse_description(&ask.body)?;
        let mut path = ask.path.trim_start_matches('/').splitn(2, '/');
        let (verb, name) = (path.next().unwrap_or(""), path.next().unwrap_or(""));
        let mode = match verb {
            "watch" => self.streams.media_mode(name).ok_or("no such stream")?,
            _ => MediaMode::Packets,
        };
        let config = PeerConfig::default().include_loopback(true);
        let id = self.net.add_peer(config.media_mode(mode))?;
        // As with WHIP and WHEP, the offer comes first.
        let mut peer = self.net.peer(id)?;
        peer.set_remote_description(offer)?;
        let taken = match verb {
            "watch" => self.streams.add_viewer(&mut self.net, name, id),
            _ => self.streams.add_publisher(&mut self.net, name, id),
        };
        let mut peer = self.net.peer(id)?;
        if let Err(error) = taken {
            peer.close();
            return Err(error.into());
        }
        peer.set_local_description(None)?;
        Ok(id)
    }

    fn reply(&mut self, peer: PeerId, event: &PeerEvent) {
        let is_complete = matches!(
            event,
            PeerEvent::IceGatheringStateChange(IceGatheringState::Complete)
        );
        if !is_complete {
            return;
        }
        let answer = self.net.peer(peer).ok().and_then(|p| p.local_description());
        if let (Some(ask), Some(answer)) = (self.waiting.remove(&peer), answer) {
            ask.reply(&answer.to_json(), None);
        }
    }
}

/// One test at a time: they measure time.
#[test]
fn pages_watch_and_publish() {
    let dir = std::env::temp_dir().join(format!("looprtc-film-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let film = dir.join("film.ivf");
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i"])
        .args([
            "testsrc2=size=320x180:rate=30:duration=12",
            "-c:v",
            "libvpx",
        ])
        .args([
            "-deadline",
            "realtime",
            "-cpu-used",
            "8",
            "-b:v",
            "300k",
            "-g",
            "300",
        ])
        .arg(&film)
        .status();
    assert!(made.is_ok_and(|s| s.success()), "ffmpeg does not work");
    let film = format!("film={}", film.display());
    let url = Server::start(&["card=testcard:", "cam=whip:", &film]);
    chromium::in_real_time("streams", &url);
    std::fs::remove_dir_all(&dir).unwrap();
}
