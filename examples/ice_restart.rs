//! A browser page restarts ICE as often as you like; the channel continues.
//!
//!     cargo run --example ice_restart                # then open http://localhost:8080
//!
//! An ICE restart finds a new path (new credentials, new checks) for a connection that keeps its encryption and its
//! channels, for example after a network change. The page makes all offers, the first and the following ones; this
//! program sends numbered lines on the channel, and the page counts how many have arrived and whether one is missing.

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::peer::{ChannelId, ConnectionState, IceGatheringState, PeerConfig, PeerEvent};
use looprtc::proto::signal::SignalMessage;

#[path = "support/page.rs"]
mod page;
use page::{Ask, Page};

const HELP: &str = "\
ice_restart: find a new path under a living connection

  --http HOST:PORT     where the page is served [localhost:8080]
  --interval SECONDS   pause between the lines sent [1]";

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    match Options::from_args().and_then(|options| options.map_or(Ok(()), run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// An open channel, the number of lines sent, and the time of the next one.
struct Sender {
    peer: PeerId,
    channel: ChannelId,
    lines: u64,
    due: Instant,
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut net = EventLoop::new(LoopConfig::default())?;
    // The page is served on this thread: the loop wakes up for its requests.
    let page = include_str!("pages/ice_restart.html");
    let page = Page::serve(&mut net, &options.http, page)?;
    println!("Open {} in a browser", page.url());
    // Pages that wait for an answer.
    let mut waiting: HashMap<PeerId, Ask> = HashMap::new();
    let mut senders: Vec<Sender> = Vec::new();
    loop {
        let due = senders.iter().map(|s| s.due).min();
        let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
        if let Some((id, event)) = net.next_event(page.wait(timeout))? {
            match event {
                // Reported for the first offer, and again for each restart.
                PeerEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                    reply(&mut net, id, waiting.remove(&id));
                }
                PeerEvent::IceConnectionStateChange(state) => {
                    let path = net.peer(id).ok().and_then(|peer| peer.stats().path);
                    match path {
                        Some((here, there)) => {
                            println!("Peer {id}: ICE {state}, {here} to {there}")
                        }
                        None => println!("Peer {id}: ICE {state}"),
                    }
                }
                // A failed connection is kept for a minute: a restart may recover it.
                PeerEvent::ConnectionStateChange(ConnectionState::Closed) => {
                    waiting.remove(&id);
                    senders.retain(|s| s.peer != id);
                }
                PeerEvent::ChannelOpen(channel) => {
                    senders.push(Sender {
                        peer: id,
                        channel,
                        lines: 0,
                        due: Instant::now(),
                    });
                }
                PeerEvent::ChannelClosed(channel) => {
                    senders.retain(|s| (s.peer, s.channel) != (id, channel));
                }
                PeerEvent::Error(error) => eprintln!("Peer {id}: {error}"),
                _ => {}
            }
        }
        for ask in page.asked() {
            match on_offer(&mut net, &ask) {
                // An offer without a restart gathers nothing, and can be answered at once.
                Ok(id) if is_gathered(&mut net, id) => reply(&mut net, id, Some(ask)),
                Ok(id) => drop(waiting.insert(id, ask)),
                Err(why) => ask.refuse(400, why),
            }
        }
        for sender in &mut senders {
            if sender.due <= Instant::now() {
                sender.lines += 1;
                sender.due += options.interval;
                let text = format!("{} at {}", sender.lines, utc());
                // Peer or channel may have closed just now; an event reports it.
                if let Ok(mut peer) = net.peer(sender.peer) {
                    let _ = peer.send_text(sender.channel, &text);
                }
            }
        }
    }
}

/// An offer to `/offer` creates a peer; one to `/offer/<peer>` is for an existing peer.
fn on_offer(net: &mut EventLoop, ask: &Ask) -> Result<PeerId, Box<dyn Error>> {
    let offer = SignalMessage::parse_description(&ask.body)?;
    if ask.path == "/offer" {
        // Loopback, so that it works on a machine without a network.
        let id = net.add_peer(PeerConfig::default().include_loopback(true))?;
        if let Err(error) = net.peer(id)?.receive(offer) {
            net.peer(id)?.close();
            return Err(error.into());
        }
        return Ok(id);
    }
    let mut peers = net.peer_ids().into_iter();
    let id = peers
        .find(|id| ask.path == format!("/offer/{id}"))
        .ok_or("this connection is gone")?;
    net.peer(id)?.receive(offer)?;
    println!("Peer {id}: sent a new offer");
    Ok(id)
}

fn is_gathered(net: &mut EventLoop, id: PeerId) -> bool {
    net.peer(id)
        .is_ok_and(|peer| peer.ice_gathering_state() == IceGatheringState::Complete)
}

/// Sends the answer with all candidates, and the path for the page's next offer.
fn reply(net: &mut EventLoop, id: PeerId, ask: Option<Ask>) {
    let answer = net.peer(id).ok().and_then(|peer| peer.local_description());
    if let (Some(ask), Some(answer)) = (ask, answer) {
        ask.reply(&answer.to_json(), Some(format!("/offer/{id}")));
    }
}

/// Returns the time of day.
fn utc() -> String {
    let s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
        % 86_400;
    format!("{:02}:{:02}:{:02} UTC", s / 3600, s / 60 % 60, s % 60)
}

struct Options {
    http: String,
    interval: Duration,
}

impl Options {
    /// Returns `None` if only help was requested.
    fn from_args() -> Result<Option<Self>, Box<dyn Error>> {
        use lexopt::prelude::*;
        let mut options = Self {
            http: "localhost:8080".into(),
            interval: Duration::from_secs(1),
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("http") => options.http = parser.value()?.string()?,
                Long("interval") => {
                    options.interval = Duration::try_from_secs_f64(parser.value()?.parse()?)?;
                }
                Long("help") | Short('h') => {
                    println!("{HELP}");
                    return Ok(None);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(options))
    }
}
