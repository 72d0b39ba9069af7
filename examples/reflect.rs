//! Returns the camera and microphone of a browser page to the page itself.
//!
//!     cargo run --example reflect      # then open http://localhost:8080
//!
//! Frames are returned unchanged: nothing is decoded. When the page misses a frame and requests a keyframe, its own
//! camera is asked for one.

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::peer::{
    IceGatheringState, MediaKind, PeerConfig, PeerEvent, TransceiverConfig,
};
use looprtc::proto::signal::SignalMessage;

#[path = "support/page.rs"]
mod page;
use page::{Ask, Page};

const HELP: &str = "\
reflect: send back what a browser page sends

  --http HOST:PORT  where the page is served [localhost:8080]";

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    match http_address().and_then(|http| http.map_or(Ok(()), |http| run(&http))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(http: &str) -> Result<(), Box<dyn Error>> {
    let mut net = EventLoop::new(LoopConfig::default())?;
    let page = include_str!("pages/reflect.html");
    let page = Page::serve(&mut net, http, page)?;
    println!("Open {} in a browser", page.url());
    let mut waiting: HashMap<PeerId, Ask> = HashMap::new();
    loop {
        if let Some((id, event)) = net.next_event(page.wait(None))? {
            match event {
                PeerEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                    let answer = net.peer(id).ok().and_then(|p| p.local_description());
                    if let Some(ask) = waiting.remove(&id) {
                        ask.reply(&answer.map(|a| a.to_json()).unwrap_or_default(), None);
                    }
                }
                PeerEvent::Track(track) => println!("Peer {id}: {} comes", track.kind),
                // An m-line goes both ways, so a frame returns where it came from. Errors are ignored: before the track
                // is bound, and after the peer has closed, nobody misses it.
                PeerEvent::Frame(frame) => {
                    let back = frame.to_encoded();
                    let _ = net
                        .peer(id)
                        .map(|mut p| p.write_frame(frame.transceiver, &back));
                }
                PeerEvent::KeyframeRequest {
                    transceiver, kind, ..
                } => {
                    let _ = net
                        .peer(id)
                        .map(|mut p| p.request_keyframe(transceiver, None, kind));
                }
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
            match answer(&mut net, &ask.body) {
                Ok(id) => drop(waiting.insert(id, ask)),
                Err(why) => ask.refuse(400, why),
            }
        }
    }
}

/// Creates a peer for this offer. Its tracks are added before, so that they use the offer's m-lines.
fn answer(net: &mut EventLoop, body: &[u8]) -> Result<PeerId, Box<dyn Error>> {
    let offer = SignalMessage::parse_description(body)?;
    let id = net.add_peer(PeerConfig::default().include_loopback(true))?;
    let mut peer = net.peer(id)?;
    for kind in [MediaKind::Video, MediaKind::Audio] {
        peer.add_track(kind, TransceiverConfig::default())?;
    }
    if let Err(error) = peer.receive(offer) {
        peer.close();
        return Err(error.into());
    }
    Ok(id)
}

/// Returns `None` if only help was requested.
fn http_address() -> Result<Option<String>, Box<dyn Error>> {
    use lexopt::prelude::*;
    let mut http = "localhost:8080".to_owned();
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("http") => http = parser.value()?.string()?,
            Long("help") | Short('h') => {
                println!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(http))
}
