//! Receives a camera in three sizes at once (simulcast), and returns each as a separate track.
//!
//!     cargo run --example simulcast      # then open http://localhost:8080
//!
//! A browser sends the larger layers only once it has found that the path can carry them.

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;

use callers::Callers;
use looprtc::driver::{EventLoop, LoopConfig, PeerId, PeerMut};
use looprtc::proto::media::Codec;
use looprtc::proto::peer::{
    Codecs, ConnectionState, MediaKind, MediaMode, PeerConfig, PeerEvent, TransceiverConfig,
    TransceiverId,
};

#[path = "support/callers.rs"]
mod callers;
#[path = "support/options.rs"]
mod options;

const HELP: &str = "\
simulcast: receive three layers, send back each of them

  --http HOST:PORT  where the page is served [localhost:8080]";

/// The page's names for the layers: quarter, half and full size.
const LAYERS: [&str; 3] = ["q", "h", "f"];

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
    let mut callers = Callers::serve(&mut net, http, include_str!("pages/simulcast.html"))?;
    // Packets are returned unchanged, in the one codec of all tracks.
    let config = PeerConfig::default()
        .media_mode(MediaMode::Packets)
        .codecs(Codecs::only([Codec::Vp8]));
    let mut mirrors: HashMap<PeerId, Mirror> = HashMap::new();
    loop {
        if let Some((id, event)) = net.next_event(callers.wait(None))? {
            callers.handle_event(&mut net, id, &event);
            if let (Some(mirror), Ok(peer)) = (mirrors.get_mut(&id), net.peer(id)) {
                mirror.handle_event(peer, &event);
            }
            if event == PeerEvent::ConnectionStateChange(ConnectionState::Closed) {
                mirrors.remove(&id);
            }
        }
        callers.answer(&mut net, &config, |net, id| {
            let mut mirror = Mirror::default();
            for layer in LAYERS {
                let track = TransceiverConfig::default().ids(layer, layer);
                let back = net.peer(id)?.add_track(MediaKind::Video, track)?;
                mirror.back.push((layer, back));
            }
            mirrors.insert(id, mirror);
            Ok(())
        });
    }
}

/// A page's camera, and the tracks on which its layers are returned.
#[derive(Default)]
struct Mirror {
    camera: Option<TransceiverId>,
    back: Vec<(&'static str, TransceiverId)>,
}

impl Mirror {
    fn handle_event(&mut self, mut peer: PeerMut<'_>, event: &PeerEvent) {
        match event {
            PeerEvent::Track(track) if !track.rids.is_empty() => {
                println!("Peer {}: sends layers {}", peer.id(), track.rids.join(", "));
                self.camera = Some(track.transceiver);
            }
            PeerEvent::Packet(packet) => {
                let rid = packet.rid.as_deref();
                if let Some((_, back)) = self.back.iter().find(|(layer, _)| Some(*layer) == rid) {
                    // Before it is bound, nobody misses it.
                    let _ = peer.write_rtp(*back, &packet.to_packet());
                }
            }
            // The page misses a frame of one layer, so that layer of the camera is asked for a keyframe.
            PeerEvent::KeyframeRequest {
                transceiver, kind, ..
            } => {
                let layer = self.back.iter().find(|(_, back)| back == transceiver);
                if let (Some((layer, _)), Some(camera)) = (layer, self.camera) {
                    // A layer that has not started cannot be asked, and starts with a keyframe.
                    let _ = peer.request_keyframe(camera, Some(layer), *kind);
                }
            }
            _ => {}
        }
    }
}
