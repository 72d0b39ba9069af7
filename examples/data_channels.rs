//! A browser page opens data channels to this program; text is sent in both directions.
//!
//!     cargo run --example data_channels              # then open http://localhost:8080
//!     cargo run --example data_channels -- --paste   # offer and answer by copy and paste
//!
//! The page makes the offer, which arrives by HTTP, or as base64 pasted into the terminal: candidates are not sent
//! separately, all are in offer and answer. A random text is sent on every open channel every five seconds, and
//! received texts are printed.

use std::collections::HashMap;
use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::peer::{
    ChannelId, ConnectionState, IceGatheringState, PeerConfig, PeerEvent, SessionDescription,
};
use looprtc::proto::signal::SignalMessage;

#[path = "support/page.rs"]
mod page;
use page::{Ask, Page};

const HELP: &str = "\
data_channels: talk to a browser page

  --http HOST:PORT     where the page is served [localhost:8080]
  --paste              take the offer from standard input, as base64, and print the answer
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
    // The page is served on this thread: the loop wakes up for its requests.
    let page = include_str!("pages/data_channels.html");
    let page = Page::serve(&mut net, &options.http, page)?;
    if options.paste {
        let url = page.url();
        println!("Open {url}#paste in a browser, and paste the page's offer here:");
        let line = page.read_line()?;
        answer(&mut net, &BASE64_STANDARD.decode(line.trim())?)?;
    } else {
        println!("Open {} in a browser", page.url());
    }
    // Pages that wait for an answer, and open channels with the time of their next text.
    let mut waiting: HashMap<PeerId, Ask> = HashMap::new();
    let mut channels: Vec<(PeerId, ChannelId, Instant)> = Vec::new();
    loop {
        let due = channels.iter().map(|(.., due)| *due).min();
        let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
        if let Some((id, event)) = net.next_event(page.wait(timeout))? {
            match event {
                // All candidates are gathered, so the answer can be sent.
                PeerEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                    let answer = net.peer(id).ok().and_then(|p| p.local_description());
                    let answer = answer.map(|a| a.to_json()).unwrap_or_default();
                    match waiting.remove(&id) {
                        Some(ask) => ask.reply(&answer, None),
                        None => println!("{}", BASE64_STANDARD.encode(answer)),
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
                    println!(
                        "Peer {id}: data channel '{}' open",
                        label(&mut net, id, channel)
                    );
                    channels.push((id, channel, Instant::now() + options.interval));
                }
                PeerEvent::ChannelMessage { channel, message } => {
                    let text = String::from_utf8_lossy(message.as_bytes());
                    println!("Message from '{}': '{text}'", label(&mut net, id, channel));
                }
                PeerEvent::ChannelClosed(channel) => {
                    channels.retain(|(peer, c, _)| (*peer, *c) != (id, channel));
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

/// Creates a peer for this offer. Its answer is complete when all candidates are gathered.
fn answer(net: &mut EventLoop, offer: &[u8]) -> Result<PeerId, Box<dyn Error>> {
    let offer: SessionDescription = SignalMessage::parse_description(offer)?;
    // Loopback, so that it works on a machine without a network.
    let id = net.add_peer(PeerConfig::default().include_loopback(true))?;
    if let Err(error) = net.peer(id)?.receive(offer) {
        net.peer(id)?.close();
        return Err(error.into());
    }
    Ok(id)
}

fn label(net: &mut EventLoop, id: PeerId, channel: ChannelId) -> String {
    let info = net.peer(id).ok().and_then(|mut peer| peer.channel(channel));
    info.map(|info| info.config.label).unwrap_or_default()
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
