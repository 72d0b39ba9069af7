//! Saves the camera and microphone of a browser page to files.
//!
//!     cargo run --example save_to_disk -- --dir /tmp      # then open http://localhost:8080
//!
//! Nothing is decoded or encoded: VP8, VP9 and AV1 are written to IVF, H.264 to a byte stream, Opus to Ogg. The files
//! are complete when the page stops or disconnects, and on Ctrl-C; if this program is killed, at most the last second
//! is lost.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use callers::Callers;
use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::media::Codec;
use looprtc::proto::peer::{Codecs, ConnectionState, PeerConfig, PeerEvent};
use saved::Saved;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[path = "support/callers.rs"]
mod callers;
#[path = "support/options.rs"]
mod options;
#[path = "support/saved.rs"]
mod saved;

const HELP: &str = "\
save_to_disk: save what a browser page sends

  --dir DIR         where the files go [.]
  --http HOST:PORT  where the page is served [localhost:8080]";

/// Codecs that can be written to a file without decoding.
const CODECS: [Codec; 5] = [Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264, Codec::Opus];

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    let options = options::options(HELP, [("http", "localhost:8080"), ("dir", ".")]);
    match options.and_then(|options| options.map_or(Ok(()), |[http, dir]| run(&http, &dir))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(http: &str, dir: &str) -> Result<(), Box<dyn Error>> {
    let mut net = EventLoop::new(LoopConfig::default())?;
    let mut callers = Callers::serve(&mut net, http, include_str!("pages/save_to_disk.html"))?;
    let stop = stop_on_signal(&net)?;
    let config = PeerConfig::default().codecs(Codecs::only(CODECS));
    // The files of each peer, by codec.
    let mut saved: HashMap<PeerId, HashMap<Codec, Saved>> = HashMap::new();
    while !stop.load(Ordering::Relaxed) {
        if let Some((id, event)) = net.next_event(callers.wait(None))? {
            callers.handle_event(&mut net, id, &event);
            match event {
                PeerEvent::Frame(frame) => {
                    let file = match saved.entry(id).or_default().entry(frame.codec) {
                        Entry::Occupied(there) => there.into_mut(),
                        Entry::Vacant(none) => {
                            none.insert(Saved::create(Path::new(dir), frame.codec)?)
                        }
                    };
                    file.write(&frame)?;
                }
                PeerEvent::ConnectionStateChange(state) => {
                    let is_over = [ConnectionState::Closed, ConnectionState::Failed];
                    if is_over.contains(&state) {
                        let files = saved.remove(&id).unwrap_or_default();
                        files.into_values().try_for_each(Saved::finish)?;
                    }
                }
                _ => {}
            }
        }
        // A peer without tracks of its own only receives.
        callers.answer(&mut net, &config, |_, _| Ok(()));
    }
    let files = saved.into_values().flat_map(HashMap::into_values);
    Ok(files.into_iter().try_for_each(Saved::finish)?)
}

/// Returns a flag that is set when the program is asked to end, which also wakes the loop.
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
