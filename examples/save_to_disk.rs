//! Saves camera and microphone of a browser page to files.
//!
//!     cargo run --example save_to_disk -- --dir /tmp      # then open http://localhost:8080
//!
//! Nothing is decoded or encoded: VP8, VP9 and AV1 go into IVF, H.264 into a byte stream, Opus into Ogg. The
//! files are whole when the page stops or goes away, and on Ctrl-C; and good to the last second if this
//! program is killed.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::media::Codec;
use looprtc::proto::peer::{Codecs, ConnectionState, IceGatheringState, PeerConfig, PeerEvent};
use looprtc::proto::signal::SignalMessage;
use page::Ask;
use saved::Saved;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[path = "support/page.rs"]
mod page;
#[path = "support/saved.rs"]
mod saved;

const HELP: &str = "\
save_to_disk: save what a browser page sends

  --dir DIR         where the files go [.]
  --http HOST:PORT  where the page is served [localhost:8080]";

/// What goes into a file without being decoded.
const CODECS: [Codec; 5] = [Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264, Codec::Opus];

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    match options().and_then(|options| options.map_or(Ok(()), |(http, dir)| run(&http, &dir))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(http: &str, dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut net = EventLoop::new(LoopConfig::default())?;
    let page = include_str!("pages/save_to_disk.html");
    let (url, asked) = page::serve(http, page, net.handle())?;
    println!("Open {url} in a browser");
    let stop = stop_on_signal(&net)?;
    let mut waiting: HashMap<PeerId, Ask> = HashMap::new();
    // A peer's files: one for each codec that it sends.
    let mut saved: HashMap<PeerId, HashMap<Codec, Saved>> = HashMap::new();
    while !stop.load(Ordering::Relaxed) {
        if let Some((id, event)) = net.next_event(None)? {
            match event {
                PeerEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                    let answer = net.peer(id).ok().and_then(|p| p.local_description());
                    if let Some(ask) = waiting.remove(&id) {
                        ask.reply(&answer.map(|a| a.to_json()).unwrap_or_default(), None);
                    }
                }
                PeerEvent::Frame(frame) => {
                    let files = saved.entry(id).or_default();
                    if !files.contains_key(&frame.codec) {
                        files.insert(frame.codec, Saved::create(dir, frame.codec)?);
                    }
                    if let Some(file) = files.get_mut(&frame.codec) {
                        file.write(&frame)?;
                    }
                }
                PeerEvent::ConnectionStateChange(state) => {
                    println!("Peer {id}: connection {state}");
                    let is_over = [ConnectionState::Closed, ConnectionState::Failed];
                    if is_over.contains(&state) {
                        let files = saved.remove(&id).unwrap_or_default();
                        files.into_values().try_for_each(Saved::finish)?;
                    }
                }
                PeerEvent::Error(error) => eprintln!("Peer {id}: {error}"),
                _ => {}
            }
        }
        for ask in asked.try_iter() {
            if ask.path != "/offer" {
                ask.refuse("404 Not Found", "offers go to /offer");
                continue;
            }
            match answer(&mut net, &ask.body) {
                Ok(id) => drop(waiting.insert(id, ask)),
                Err(why) => ask.refuse("400 Bad Request", why),
            }
        }
    }
    let files = saved.into_values().flat_map(HashMap::into_values);
    Ok(files.into_iter().try_for_each(Saved::finish)?)
}

/// A new peer for this offer. It adds no tracks of its own, and so only receives.
fn answer(net: &mut EventLoop, body: &[u8]) -> Result<PeerId, Box<dyn Error>> {
    let offer = SignalMessage::parse_description(body)?;
    let config = PeerConfig::default().codecs(Codecs::only(CODECS));
    let id = net.add_peer(config.include_loopback(true))?;
    let mut peer = net.peer(id)?;
    if let Err(error) = peer.receive(offer) {
        peer.close();
        return Err(error.into());
    }
    Ok(id)
}

/// Set when the program is asked to end; that wakes the loop.
fn stop_on_signal(net: &EventLoop) -> Result<Arc<AtomicBool>, Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    let (mut signals, handle) = (Signals::new([SIGINT, SIGTERM])?, net.handle());
    let to_set = stop.clone();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            to_set.store(true, Ordering::Relaxed);
            handle.wake();
        }
    });
    Ok(stop)
}

/// `None` when only help was asked for.
fn options() -> Result<Option<(String, PathBuf)>, Box<dyn Error>> {
    use lexopt::prelude::*;
    let (mut http, mut dir) = ("localhost:8080".to_owned(), PathBuf::from("."));
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("http") => http = parser.value()?.string()?,
            Long("dir") => dir = parser.value()?.into(),
            Long("help") | Short('h') => {
                println!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some((http, dir)))
}
