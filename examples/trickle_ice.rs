//! Offer and answer cross at once; addresses follow one by one, as each side finds them.
//!
//!     cargo run --example trickle_ice -- --stun stun:stun.example.org    # then open http://localhost:8080
//!
//! A connection that waits for all candidates waits for the slowest server. With trickle ICE (RFC 8838) checks
//! begin with the first pair of addresses. The page posts what it finds, and asks for what this program
//! finds; each is shown when it comes.

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::ice::IceServer;
use looprtc::proto::peer::{CandidatePolicy, ChannelId, ConnectionState, PeerConfig, PeerEvent};
use looprtc::proto::signal::SignalMessage;
use options::options;
use page::{Ask, Page};

#[path = "support/options.rs"]
mod options;
#[path = "support/page.rs"]
mod page;

const HELP: &str = "\
trickle_ice: exchange candidates as they are found

  --stun URL        a STUN server, as stun:stun.example.org [none]
  --http HOST:PORT  where the page is served [localhost:8080]";

/// What was found for a page, and how much of it the page has got.
#[derive(Default)]
struct Found {
    candidates: Vec<serde_json::Value>,
    given: usize,
    /// The page has asked for more than there is.
    asking: Option<Ask>,
}

impl Found {
    /// Answers the page if there is something new: candidates in W3C's form, `null` at the end.
    fn give(&mut self) {
        if self.given < self.candidates.len()
            && let Some(ask) = self.asking.take()
        {
            let new = &self.candidates[self.given..];
            ask.reply(&serde_json::json!(new).to_string(), None);
            self.given = self.candidates.len();
        }
    }
}

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    let known = [("stun", ""), ("http", "localhost:8080")];
    let run = options(HELP, known).and_then(|o| o.map_or(Ok(()), |[stun, http]| run(&stun, &http)));
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(stun: &str, http: &str) -> Result<(), Box<dyn Error>> {
    let mut net = EventLoop::new(LoopConfig::default())?;
    let page = Page::serve(&mut net, http, include_str!("pages/trickle_ice.html"))?;
    println!("Open {} in a browser", page.url());
    // The page can take candidates from the moment it has our answer; it asks for them.
    let mut config = PeerConfig::default()
        .include_loopback(true)
        .candidates(CandidatePolicy::Immediately);
    if !stun.is_empty() {
        config = config.ice_servers(vec![IceServer::stun(stun)]);
    }
    let mut found: HashMap<PeerId, Found> = HashMap::new();
    let mut channels: Vec<(PeerId, ChannelId)> = Vec::new();
    let mut tick = Instant::now();
    loop {
        let wait = tick.saturating_duration_since(Instant::now());
        if let Some((id, event)) = net.next_event(page.wait(Some(wait)))? {
            match event {
                PeerEvent::IceCandidate(candidate) => {
                    let shown = candidate.as_ref().map(ToString::to_string);
                    println!("Peer {id}: found {}", shown.as_deref().unwrap_or("no more"));
                    let found = found.entry(id).or_default();
                    let json = candidate.map(|c| c.to_init().to_json());
                    let value = json.and_then(|json| serde_json::from_str(&json).ok());
                    found.candidates.push(value.unwrap_or_default());
                    found.give();
                }
                PeerEvent::IceCandidateError(error) => eprintln!("Peer {id}: {error}"),
                PeerEvent::ChannelOpen(channel) => channels.push((id, channel)),
                PeerEvent::ConnectionStateChange(state) => {
                    println!("Peer {id}: connection {state}");
                    if state == ConnectionState::Closed {
                        found.remove(&id);
                        channels.retain(|(peer, _)| *peer != id);
                    }
                }
                PeerEvent::Error(error) => eprintln!("Peer {id}: {error}"),
                _ => {}
            }
        }
        for ask in page.asked() {
            on_ask(&mut net, &config, ask, &mut found);
        }
        if tick <= Instant::now() {
            tick += Duration::from_secs(1);
            for (id, channel) in &channels {
                // It may have closed just now; the event that says so is on the way.
                if let Ok(mut peer) = net.peer(*id) {
                    let _ = peer.send_text(*channel, "still here");
                }
            }
        }
    }
}

/// `/offer` makes a peer, which is answered at once and told where candidates go: a body posted there is a
/// candidate of the page's, without one the page asks for ours.
fn on_ask(net: &mut EventLoop, config: &PeerConfig, ask: Ask, found: &mut HashMap<PeerId, Found>) {
    if ask.path == "/offer" {
        match answer(net, config, &ask.body) {
            Ok((id, answer)) => ask.reply(&answer, Some(format!("/candidates/{id}"))),
            Err(why) => ask.refuse(400, why),
        }
        return;
    }
    let mut peers = net.peer_ids().into_iter();
    let Some(id) = peers.find(|id| ask.path == format!("/candidates/{id}")) else {
        return ask.refuse(404, "this connection is gone");
    };
    if ask.body.is_empty() {
        let found = found.entry(id).or_default();
        found.asking = Some(ask);
        return found.give();
    }
    match take_candidate(net, id, &ask.body) {
        Ok(()) => ask.reply("{}", None),
        Err(why) => ask.refuse(400, why),
    }
}

fn answer(
    net: &mut EventLoop,
    config: &PeerConfig,
    body: &[u8],
) -> Result<(PeerId, String), Box<dyn Error>> {
    let offer = SignalMessage::parse_description(body)?;
    let id = net.add_peer(config.clone())?;
    match net.peer(id)?.receive(offer) {
        Ok(Some(answer)) => Ok((id, answer.to_json())),
        Ok(None) => Err("this was no offer".into()),
        Err(error) => {
            net.peer(id)?.close();
            Err(error.into())
        }
    }
}

/// A candidate of the page's, or that there will be no more.
fn take_candidate(net: &mut EventLoop, id: PeerId, body: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut peer = net.peer(id)?;
    match SignalMessage::parse_candidate(body)? {
        SignalMessage::Candidate(candidate) => {
            println!("Peer {id}: was given {}", candidate.candidate);
            peer.add_ice_candidate(Some(&candidate))?;
        }
        _ => peer.add_ice_candidate(None)?,
    }
    Ok(())
}
