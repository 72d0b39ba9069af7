//! One browser page publishes, any number of pages watch.
//!
//!     cargo run --example broadcast      # then open http://localhost:8080, twice
//!
//! RTP packets are forwarded as they arrive, rewritten for each page. When a page misses a frame, or has just joined,
//! the publisher is asked for a keyframe.

use std::error::Error;
use std::process::ExitCode;

use callers::Callers;
use looprtc::driver::{EventLoop, LocalTrack, LocalTrackEvent, LoopConfig, PeerId};
use looprtc::proto::media::Codec;
use looprtc::proto::peer::{
    Codecs, ConnectionState, KeyframeRequestKind, MediaKind, MediaMode, PeerConfig, PeerEvent,
    TransceiverConfig, TransceiverId,
};

#[path = "support/callers.rs"]
mod callers;
#[path = "support/options.rs"]
mod options;

const HELP: &str = "\
broadcast: one page publishes, others watch

  --http HOST:PORT  where the page is served [localhost:8080]";

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    let options = options::options(HELP, [("http", "localhost:8080")]);
    match options.and_then(|options| options.map_or(Ok(()), |[http]| run(&http))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(http: &str) -> Result<(), Box<dyn Error>> {
    let mut net = EventLoop::new(LoopConfig::default())?;
    let mut callers = Callers::serve(&mut net, http, include_str!("pages/broadcast.html"))?;
    // All peers use the same codecs, so that each can decode what another one sends.
    let config = PeerConfig::default()
        .media_mode(MediaMode::Packets)
        .codecs(Codecs::only([Codec::Vp8, Codec::Opus]));
    let mut show = Show {
        publisher: None,
        tracks: [MediaKind::Video, MediaKind::Audio].map(|kind| Part {
            kind,
            from: None,
            to: LocalTrack::new(kind, TransceiverConfig::default()),
        }),
    };
    loop {
        if let Some((id, event)) = net.next_event(callers.wait(None))? {
            callers.handle_event(&mut net, id, &event);
            show.handle_event(&mut net, id, &event);
        }
        // A publisher's m-lines go one way only, so it does not get its own media back.
        callers.answer(&mut net, &config, |net, id| show.add(net, id));
    }
}

/// The broadcast.
struct Show {
    publisher: Option<PeerId>,
    tracks: [Part; 2],
}

/// Its video, or its audio.
struct Part {
    kind: MediaKind,
    /// The publisher's transceiver.
    from: Option<TransceiverId>,
    to: LocalTrack,
}

impl Show {
    /// Adds the tracks to a new page.
    fn add(&mut self, net: &mut EventLoop, id: PeerId) -> Result<(), Box<dyn Error>> {
        for part in &mut self.tracks {
            part.to.add_to(net, id)?;
        }
        Ok(())
    }

    /// Makes this peer the publisher. A previous one is closed.
    fn publish(&mut self, net: &mut EventLoop, id: PeerId) {
        let old = self.publisher.replace(id).filter(|old| *old != id);
        if let Some(mut old) = old.and_then(|old| net.peer(old).ok()) {
            old.close();
        }
    }

    fn handle_event(&mut self, net: &mut EventLoop, id: PeerId, event: &PeerEvent) {
        for part in &mut self.tracks {
            match part.to.handle_event(id, event) {
                Some(LocalTrackEvent::KeyframeRequest(kind)) => part.ask(net, self.publisher, kind),
                Some(LocalTrackEvent::Bound(_)) => {
                    part.ask(net, self.publisher, KeyframeRequestKind::Pli);
                }
                _ => {}
            }
        }
        if let PeerEvent::Track(_) = event {
            self.publish(net, id);
        }
        if self.publisher != Some(id) {
            return;
        }
        match event {
            PeerEvent::Track(track) => {
                println!("Peer {id}: publishes {}", track.kind);
                let part = self.tracks.iter_mut().find(|p| p.kind == track.kind);
                part.into_iter()
                    .for_each(|p| p.from = Some(track.transceiver));
            }
            PeerEvent::Packet(packet) => {
                let from = Some(packet.transceiver);
                if let Some(part) = self.tracks.iter().find(|p| p.from == from) {
                    part.to.write_rtp(net, &packet.to_packet());
                }
            }
            PeerEvent::ConnectionStateChange(ConnectionState::Closed) => self.publisher = None,
            _ => {}
        }
    }
}

impl Part {
    /// Requests a keyframe from the publisher, if there is one.
    fn ask(&self, net: &mut EventLoop, publisher: Option<PeerId>, kind: KeyframeRequestKind) {
        let publisher = publisher.filter(|_| self.kind == MediaKind::Video);
        if let (Some(id), Some(from)) = (publisher, self.from) {
            let asked = net
                .peer(id)
                .map(|mut p| p.request_keyframe(from, None, kind));
            log::debug!("a keyframe is asked for: {asked:?}");
        }
    }
}
