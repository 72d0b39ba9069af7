//! This program makes the offer and creates the data channel; a browser page answers.
//!
//!     cargo run --example data_channels_create              # then open http://localhost:8080
//!     cargo run --example data_channels_create -- --paste   # offer and answer by copy and paste
//!
//! `data_channels` with the roles swapped: the page requests an offer, and gets the path for its answer. A random text
//! is sent to the page every five seconds, and received texts are printed.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::peer::{
    ChannelConfig, ChannelId, ConnectionState, IceGatheringState, PeerConfig, PeerEvent,
};
use looprtc::proto::signal::SignalMessage;

#[path = "support/page.rs"]
mod page;
use page::{Ask, Page};

const HELP: &str = "\
data_channels_create: offer a data channel to a browser page

  --http HOST:PORT     where the page is served [localhost:8080]
  --paste              print the offer as base64, and take the answer from standard input
  --interval SECONDS   pause between texts [5]";

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

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut net = EventLoop::new(LoopConfig::default())?;
    let page = include_str!("pages/data_channels_create.html");
    let page = Page::serve(&mut net, &options.http, page)?;
    let url = page.url();
    if options.paste {
        add_peer(&mut net)?;
    } else {
        println!("Open {url} in a browser");
    }
    // Pages that wait for an offer, peers that wait for an answer, and channels with the time of their next text.
    let mut waiting: HashMap<PeerId, Ask> = HashMap::new();
    let mut offered: VecDeque<PeerId> = VecDeque::new();
    let mut channels: Vec<(PeerId, ChannelId, Instant)> = Vec::new();
    loop {
        let due = channels.iter().map(|(.., due)| *due).min();
        let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
        if let Some((id, event)) = net.next_event(page.wait(timeout))? {
            match event {
                // The new channel has to be offered (later offers cannot reach the page). Gathering starts …
                PeerEvent::NegotiationNeeded if net.peer(id)?.local_description().is_none() => {
                    net.peer(id)?.negotiate()?;
                }
                // … and now all candidates are in the offer.
                PeerEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                    let offer = net.peer(id).ok().and_then(|p| p.local_description());
                    let offer = offer.map(|o| o.to_json()).unwrap_or_default();
                    match waiting.remove(&id) {
                        Some(ask) => ask.reply(&offer, Some(format!("/answer/{id}"))),
                        None => {
                            println!("Open {url}#paste in a browser, and give it this offer:");
                            println!("{}", BASE64_STANDARD.encode(offer));
                            println!("Paste the page's answer here:");
                            let line = page.read_line()?;
                            accept(&mut net, id, &BASE64_STANDARD.decode(line.trim())?)?;
                        }
                    }
                }
                PeerEvent::ConnectionStateChange(state) => {
                    // A failed peer closes by itself after a while.
                    println!("Peer {id}: connection {state}");
                    let is_over =
                        matches!(state, ConnectionState::Failed | ConnectionState::Closed);
                    if options.paste && is_over {
                        return Ok(());
                    }
                }
                PeerEvent::ChannelOpen(channel) => {
                    println!("Peer {id}: data channel open");
                    channels.push((id, channel, Instant::now() + options.interval));
                }
                PeerEvent::ChannelMessage { message, .. } => {
                    let text = String::from_utf8_lossy(message.as_bytes());
                    println!("Peer {id}: '{text}'");
                }
                PeerEvent::ChannelClosed(channel) => {
                    channels.retain(|(peer, c, _)| (*peer, *c) != (id, channel));
                }
                PeerEvent::Error(error) => eprintln!("Peer {id}: {error}"),
                _ => {}
            }
        }
        for ask in page.asked() {
            if ask.path == "/offer" {
                let id = add_peer(&mut net)?;
                waiting.insert(id, ask);
                // An unanswered offer would stay forever, so their number is limited.
                offered.push_back(id);
                if offered.len() > 16 {
                    let oldest = offered.pop_front().unwrap_or(id);
                    net.peer(oldest)?.close();
                }
                continue;
            }
            let known = offered
                .iter()
                .find(|id| ask.path == format!("/answer/{id}"));
            let Some(id) = known.copied() else {
                ask.refuse(404, "this offer does not wait for an answer");
                continue;
            };
            match accept(&mut net, id, &ask.body) {
                Ok(()) => {
                    offered.retain(|o| *o != id);
                    ask.reply("{}", None);
                }
                Err(why) => ask.refuse(400, why),
            }
        }
        for (id, channel, due) in &mut channels {
            if *due <= Instant::now() {
                let text = random_text();
                println!("Sending '{text}'");
                // Peer or channel may have closed just now; an event reports it.
                if let Ok(mut peer) = net.peer(*id) {
                    let _ = peer.send_text(*channel, &text);
                }
                *due += options.interval;
            }
        }
    }
}

/// Creates a peer with a channel, which causes `NegotiationNeeded`.
fn add_peer(net: &mut EventLoop) -> Result<PeerId, Box<dyn Error>> {
    // Loopback, so that it works on a machine without a network.
    let id = net.add_peer(PeerConfig::default().include_loopback(true))?;
    net.peer(id)?
        .create_data_channel(ChannelConfig::new("data"))?;
    Ok(id)
}

/// Applies the page's answer. An invalid one changes nothing, so that a valid one may follow.
fn accept(net: &mut EventLoop, id: PeerId, answer: &[u8]) -> Result<(), Box<dyn Error>> {
    let answer = SignalMessage::parse_description(answer)?;
    Ok(net.peer(id)?.set_remote_description(answer)?)
}

/// Returns fifteen random letters. Each `RandomState` hashes differently, which is random enough for a text.
fn random_text() -> String {
    let letter = || b'a' + (RandomState::new().hash_one(0) % 26) as u8;
    (0..15).map(|_| char::from(letter())).collect()
}

struct Options {
    http: String,
    paste: bool,
    interval: Duration,
}

impl Options {
    /// Returns `None` if only help was requested.
    fn from_args() -> Result<Option<Self>, Box<dyn Error>> {
        use lexopt::prelude::*;
        let mut options = Self {
            http: "localhost:8080".into(),
            paste: false,
            interval: Duration::from_secs(5),
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("http") => options.http = parser.value()?.string()?,
                Long("paste") => options.paste = true,
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
