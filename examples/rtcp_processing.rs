//! Displays the RTCP that a browser sends with its camera: reports, lost packets, keyframe requests.
//!
//!     cargo run --example rtcp_processing        # then open http://localhost:8080
//!
//! The library handles all of it by itself; this is for inspection. What most programs need is reported by other
//! events, `SenderReport`, `KeyframeRequest`, `BandwidthEstimate`, and in `Peer::track_stats`.

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;

use callers::Callers;
use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::peer::{
    ChannelId, ConnectionState, KeyframeRequestKind, MediaKind, PeerConfig, PeerEvent,
    TransceiverConfig, TransceiverId,
};

#[path = "support/callers.rs"]
mod callers;

const HELP: &str = "\
rtcp_processing: show the RTCP of a browser page

  --http HOST:PORT  where the page is served [localhost:8080]";

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    match options().and_then(|http| http.map_or(Ok(()), |http| run(&http))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(http: &str) -> Result<(), Box<dyn Error>> {
    let mut net = EventLoop::new(LoopConfig::default())?;
    let page = include_str!("pages/rtcp_processing.html");
    let mut callers = Callers::serve(&mut net, http, page)?;
    let config = PeerConfig::default()
        .include_loopback(true)
        .rtcp_events(true);
    // A channel to each page, for the text.
    let mut channels: HashMap<PeerId, ChannelId> = HashMap::new();
    loop {
        if let Some((id, event)) = net.next_event(callers.wait(None))? {
            callers.handle_event(&mut net, id, &event);
            match event {
                PeerEvent::Rtcp(packet) => {
                    println!("Peer {id}: {packet}");
                    if let Some(channel) = channels.get(&id) {
                        // A slow page misses some, which is fine for display.
                        let _ = net.peer(id)?.send_text(*channel, &packet.to_string());
                    }
                }
                PeerEvent::ChannelOpen(channel) => drop(channels.insert(id, channel)),
                // The video is returned to the page, so that it has something to report on.
                PeerEvent::Frame(frame) => {
                    // Before the track is bound, nobody misses it.
                    let back = frame.to_encoded();
                    let _ = net.peer(id)?.write_frame(frame.transceiver, &back);
                }
                PeerEvent::KeyframeRequest { transceiver, .. } => {
                    ask_for_keyframe(&mut net, id, transceiver);
                }
                PeerEvent::ConnectionStateChange(ConnectionState::Closed) => {
                    channels.remove(&id);
                }
                _ => {}
            }
        }
        callers.answer(&mut net, &config, |net, id| {
            let config = TransceiverConfig::default();
            net.peer(id)?.add_track(MediaKind::Video, config)?;
            Ok(())
        });
    }
}

/// Passes a page's keyframe request on to the page itself, which is the source of its video.
fn ask_for_keyframe(net: &mut EventLoop, id: PeerId, transceiver: TransceiverId) {
    let kind = KeyframeRequestKind::Pli;
    if let Ok(mut peer) = net.peer(id) {
        // Fails if nothing has arrived yet; then the stream starts with a keyframe.
        let _ = peer.request_keyframe(transceiver, None, kind);
    }
}

/// Returns the page's address; `None` if only help was requested.
fn options() -> Result<Option<String>, Box<dyn Error>> {
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
