//! Receives several tracks and sends one, which shows each of them for a while.
//!
//!     cargo run --example swap_tracks      # then open http://localhost:8080
//!
//! A picture builds upon those before it, so the swap waits for a keyframe of the next track, which its
//! sender is asked for. Times go on where they were; the page sees one stream without a break.

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use callers::Callers;
use looprtc::driver::{EventLoop, LoopConfig, PeerId, PeerMut};
use looprtc::proto::media::Codec;
use looprtc::proto::peer::{
    Codecs, ConnectionState, KeyframeRequestKind, MediaKind, PeerConfig, PeerEvent, ReceivedFrame,
    TransceiverConfig, TransceiverId,
};

#[path = "support/callers.rs"]
mod callers;
#[path = "support/options.rs"]
mod options;

const HELP: &str = "\
swap_tracks: receive several tracks, send one after the other

  --every SECONDS   how long each is shown [5]
  --http HOST:PORT  where the page is served [localhost:8080]";

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    let options = options::options(HELP, [("http", "localhost:8080"), ("every", "5")]);
    match options.and_then(|options| options.map_or(Ok(()), |[http, every]| run(&http, &every))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(http: &str, every: &str) -> Result<(), Box<dyn Error>> {
    let every = Duration::try_from_secs_f64(every.parse()?)?;
    let mut net = EventLoop::new(LoopConfig::default())?;
    let mut callers = Callers::serve(&mut net, http, include_str!("pages/swap_tracks.html"))?;
    // One codec for all, for frames go back as they came.
    let config = PeerConfig::default().codecs(Codecs::only([Codec::Vp8]));
    let mut mixers: HashMap<PeerId, Mixer> = HashMap::new();
    loop {
        let due = mixers.values().map(|mixer| mixer.swap_at).min();
        let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
        if let Some((id, event)) = net.next_event(callers.wait(wait))? {
            callers.handle_event(&mut net, id, &event);
            if let (Some(mixer), Ok(peer)) = (mixers.get_mut(&id), net.peer(id)) {
                mixer.handle_event(peer, &event)?;
            }
            if event == PeerEvent::ConnectionStateChange(ConnectionState::Closed) {
                mixers.remove(&id);
            }
        }
        for (id, mixer) in mixers
            .iter_mut()
            .filter(|(_, m)| m.swap_at <= Instant::now())
        {
            mixer.swap_at += every;
            if let Ok(peer) = net.peer(*id) {
                mixer.want_next(peer);
            }
        }
        callers.answer(&mut net, &config, |net, id| {
            // It takes the first m-line of the offer, as it is there before it.
            let track = TransceiverConfig::default();
            let to = net.peer(id)?.add_track(MediaKind::Video, track)?;
            mixers.insert(id, Mixer::new(to, Instant::now() + every));
            Ok(())
        });
    }
}

/// What is received from one page, and which of it goes back.
struct Mixer {
    from: Vec<TransceiverId>,
    to: TransceiverId,
    /// Which of `from` is shown, and which is to be.
    shown: Option<usize>,
    wanted: usize,
    swap_at: Instant,
}

impl Mixer {
    fn new(to: TransceiverId, swap_at: Instant) -> Self {
        Self {
            from: Vec::new(),
            to,
            shown: None,
            wanted: 0,
            swap_at,
        }
    }

    fn handle_event(
        &mut self,
        mut peer: PeerMut<'_>,
        event: &PeerEvent,
    ) -> Result<(), Box<dyn Error>> {
        match event {
            PeerEvent::Track(track) => self.from.push(track.transceiver),
            PeerEvent::TrackRemoved(id) => self.from.retain(|from| from != id),
            PeerEvent::TrackBound { .. } => self.want(peer, 0),
            PeerEvent::Frame(frame) => self.pass_on(peer, frame)?,
            // The page misses a picture: that is up to whoever made it.
            PeerEvent::KeyframeRequest { kind, .. } => {
                if let Some(from) = self.shown.and_then(|shown| self.from.get(shown)) {
                    peer.request_keyframe(*from, None, *kind)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn want_next(&mut self, peer: PeerMut<'_>) {
        let next = self.shown.map_or(0, |shown| shown + 1);
        self.want(peer, next % self.from.len().max(1));
    }

    fn want(&mut self, mut peer: PeerMut<'_>, wanted: usize) {
        self.wanted = wanted;
        if let Some(from) = self.from.get(wanted) {
            // Before anything has come from there nothing can be asked; what comes first is a keyframe.
            let _ = peer.request_keyframe(*from, None, KeyframeRequestKind::Pli);
        }
    }

    fn pass_on(
        &mut self,
        mut peer: PeerMut<'_>,
        frame: &ReceivedFrame,
    ) -> Result<(), Box<dyn Error>> {
        let is_bound = peer.transceiver(self.to).is_some_and(|t| t.codec.is_some());
        let from = self.from.iter().position(|id| *id == frame.transceiver);
        if from == Some(self.wanted) && from != self.shown && frame.keyframe && is_bound {
            self.shown = from;
            println!("Peer {}: shows track {}", peer.id(), self.wanted + 1);
            peer.replace_track(self.to, None)?;
        }
        if from.is_some() && from == self.shown {
            peer.write_frame(self.to, &frame.to_encoded())?;
        }
        Ok(())
    }
}
