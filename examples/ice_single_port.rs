//! Ten connections on one UDP port.
//!
//!     cargo run --example ice_single_port            # then open http://localhost:8080
//!
//! Peers of an event loop share one port unless they request their own, so all it takes is naming the port: one port to
//! open in a firewall, one forwarding rule, one socket to poll. Datagrams are assigned to peers by their source
//! address, once that is validated, and before that by the ufrag in the STUN message. Each peer sends the time of day
//! (UTC) on its channel every three seconds.

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
ice_single_port: many connections over one UDP port

  --http HOST:PORT     where the page is served [localhost:8080]
  --port PORT          the UDP port of all connections [8443]
  --interval SECONDS   pause between the lines sent [3]";

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
    // The one port, for IPv4 and IPv6, of every peer that does not request its own.
    let mut net = EventLoop::new(LoopConfig::default().port(options.port))?;
    println!("Listening for WebRTC traffic at UDP port {}", options.port);

    // The page is served on this thread: the loop wakes up for its requests.
    let page = include_str!("pages/ice_single_port.html");
    let page = Page::serve(&mut net, &options.http, page)?;
    println!("Open {} in a browser", page.url());
    // Offers that wait for an answer, and open channels.
    let mut waiting: HashMap<PeerId, Ask> = HashMap::new();
    let mut channels: Vec<(PeerId, ChannelId)> = Vec::new();
    let mut tick = Instant::now() + options.interval;
    loop {
        let timeout = tick.saturating_duration_since(Instant::now());
        if let Some((id, event)) = net.next_event(page.wait(Some(timeout)))? {
            match event {
                // All candidates are gathered, so the answer can be sent.
                PeerEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                    let answer = net.peer(id).ok().and_then(|p| p.local_description());
                    if let (Some(ask), Some(answer)) = (waiting.remove(&id), answer) {
                        ask.reply(&answer.to_json(), None);
                    }
                }
                PeerEvent::IceCandidateError(why) => eprintln!("Peer {id}: {why}"),
                PeerEvent::IceConnectionStateChange(state) => {
                    let path = net.peer(id).ok().and_then(|peer| peer.stats().path);
                    match path {
                        Some((here, there)) => {
                            println!("Peer {id}: ICE {state}, {here} to {there}")
                        }
                        None => println!("Peer {id}: ICE {state}"),
                    }
                }
                PeerEvent::ConnectionStateChange(ConnectionState::Closed) => {
                    waiting.remove(&id);
                }
                PeerEvent::ChannelOpen(channel) => {
                    channels.push((id, channel));
                    send_time(&mut net, id, channel)?;
                }
                PeerEvent::ChannelClosed(channel) => channels.retain(|c| *c != (id, channel)),
                PeerEvent::Error(error) => eprintln!("Peer {id}: {error}"),
                _ => {}
            }
        }
        for ask in page.asked() {
            if ask.path != "/offer" {
                ask.refuse(404, "offers go to /offer");
                continue;
            }
            match on_offer(&mut net, &ask) {
                Ok(id) => drop(waiting.insert(id, ask)),
                Err(why) => ask.refuse(400, why),
            }
        }
        if Instant::now() >= tick {
            tick += options.interval;
            for (id, channel) in &channels {
                send_time(&mut net, *id, *channel)?;
            }
        }
    }
}

/// Creates a peer for this offer. Its answer is complete when all candidates are gathered.
fn on_offer(net: &mut EventLoop, ask: &Ask) -> Result<PeerId, Box<dyn Error>> {
    let offer = SignalMessage::parse_description(&ask.body)?;
    // Loopback, so that it works on a machine without a network.
    let id = net.add_peer(PeerConfig::default().include_loopback(true))?;
    if let Err(error) = net.peer(id)?.receive(offer) {
        net.peer(id)?.close();
        return Err(error.into());
    }
    Ok(id)
}

fn send_time(net: &mut EventLoop, id: PeerId, channel: ChannelId) -> Result<(), Box<dyn Error>> {
    let s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() % 86_400;
    let text = format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
    // Peer or channel may have closed just now; an event reports it.
    if let Ok(mut peer) = net.peer(id) {
        let _ = peer.send_text(channel, &text);
    }
    Ok(())
}

struct Options {
    http: String,
    port: u16,
    interval: Duration,
}

impl Options {
    /// Returns `None` if only help was requested.
    fn from_args() -> Result<Option<Self>, Box<dyn Error>> {
        use lexopt::prelude::*;
        let mut options = Self {
            http: "localhost:8080".into(),
            port: 8443,
            interval: Duration::from_secs(3),
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("http") => options.http = parser.value()?.string()?,
                Long("port") => options.port = parser.value()?.parse()?,
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
