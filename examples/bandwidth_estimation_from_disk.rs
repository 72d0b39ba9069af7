//! Plays a film in several qualities: each page gets the best one that its path can carry at the moment.
//!
//!     for rate in 300k 1M 2.5M; do
//!         ffmpeg -i film.mp4 -an -c:v libvpx -b:v $rate -g 30 film-$rate.ivf
//!     done
//!     cargo run --example bandwidth_estimation_from_disk -- film-300k.ivf film-1M.ivf film-2.5M.ivf
//!
//! The peer estimates the bandwidth from the arrival times that the page reports (transport-wide congestion control),
//! and probes for more while more is wanted. Qualities are switched at keyframes, which must be at the same times in
//! all files: hence `-g 30`.

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use callers::Callers;
use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::peer::{
    BandwidthEstimate, ChannelId, MediaKind, PeerConfig, PeerEvent, TransceiverConfig,
};
use qualities::{MARGIN, Quality, Viewer};

#[path = "support/callers.rs"]
mod callers;
#[path = "support/qualities.rs"]
mod qualities;

const HELP: &str = "\
bandwidth_estimation_from_disk FILE FILE...: play the best quality that the path carries

  FILE...           one film, each file of another quality, all of one codec
  --http HOST:PORT  where the page is served [localhost:8080]";

fn run(http: &str, paths: &[String]) -> Result<(), Box<dyn Error>> {
    let qualities = paths.iter().map(|path| Quality::read(path));
    let mut qualities: Vec<Quality> = qualities.collect::<Result<_, _>>()?;
    qualities.sort_by_key(|q| q.bits_per_second);
    let (least, most) = (&qualities[0], &qualities[qualities.len() - 1]);
    let wanted = (most.bits_per_second as f64 * MARGIN * MARGIN) as u64;
    let mut net = EventLoop::new(LoopConfig::default())?;
    let page = include_str!("pages/bandwidth_estimation_from_disk.html");
    let mut callers = Callers::serve(&mut net, http, page)?;
    let config = PeerConfig::default().include_loopback(true);
    let config = config.bandwidth_estimation(Some(least.bits_per_second));
    let mut viewers: HashMap<PeerId, Viewer> = HashMap::new();
    // A channel to each page, which displays the current quality and the reason.
    let mut channels: HashMap<PeerId, ChannelId> = HashMap::new();
    loop {
        let playing = viewers.iter_mut();
        let due = playing.filter_map(|(id, viewer)| viewer.play(&mut net, *id, &qualities));
        let wait = due
            .min()
            .map(|at| at.saturating_duration_since(Instant::now()));
        if let Some((id, event)) = net.next_event(callers.wait(wait))? {
            callers.handle_event(&mut net, id, &event);
            match event {
                PeerEvent::TrackBound { transceiver, .. } => {
                    viewers.insert(id, Viewer::new(transceiver, Instant::now()));
                    // Without this, nothing beyond the current rate would be probed for.
                    net.peer(id)?.set_desired_bitrate(wanted)?;
                }
                PeerEvent::KeyframeRequest { .. } => {
                    if let Some(viewer) = viewers.get_mut(&id) {
                        viewer.refresh(&mut net.peer(id)?, &qualities);
                    }
                }
                PeerEvent::ChannelOpen(channel) => drop(channels.insert(id, channel)),
                PeerEvent::BandwidthEstimate(estimate @ BandwidthEstimate::TransportCc { .. }) => {
                    let Some(viewer) = viewers.get_mut(&id) else {
                        continue;
                    };
                    let news = viewer.estimate(estimate.bits_per_second(), &qualities);
                    println!("Peer {id}: {news}");
                    if let Some(channel) = channels.get(&id) {
                        // For display only; the next text follows soon.
                        let _ = net.peer(id)?.send_text(*channel, &news);
                    }
                }
                PeerEvent::TrackUnbound(_) => drop(viewers.remove(&id)),
                PeerEvent::ChannelClosed(_) => drop(channels.remove(&id)),
                _ => {}
            }
        }
        callers.answer(&mut net, &config, |net, id| {
            let config = TransceiverConfig::default().codecs([qualities[0].file.codec]);
            net.peer(id)?.add_track(MediaKind::Video, config)?;
            Ok(())
        });
    }
}

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    match options().and_then(|o| o.map_or(Ok(()), |(http, paths)| run(&http, &paths))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The page's address, and the files.
type Options = (String, Vec<String>);

/// Returns `None` if only help was requested.
fn options() -> Result<Option<Options>, Box<dyn Error>> {
    use lexopt::prelude::*;
    let (mut http, mut paths) = ("localhost:8080".to_owned(), Vec::new());
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("http") => http = parser.value()?.string()?,
            Value(path) => paths.push(path.string()?),
            Long("help") | Short('h') => {
                println!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if paths.is_empty() {
        return Err(format!("nothing to play\n\n{HELP}").into());
    }
    Ok(Some((http, paths)))
}
