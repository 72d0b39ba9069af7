//! pion-to-pion, answering side: interoperates with pion's `pion-to-pion/offer` and with `pion_to_pion_offer` beside
//! this file.
//!
//!     cargo run --example pion_to_pion_answer        # in one terminal
//!     cargo run --example pion_to_pion_offer         # in another; either may be first
//!
//! It waits for an offer, answers it, and then sends a random text every few seconds on each data channel that the
//! remote peer opens. Ends with an error if the connection fails.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::peer::{ChannelId, ConnectionState, PeerConfig, PeerEvent};
use looprtc::signaling::pion::{Flow, PionConfig, PionSignaling, Role};

const HELP: &str = "\
pion-to-pion, the answering end

  --offer-address HOST:PORT    where the other end listens [localhost:50000]
  --answer-address HOST:PORT   where this end listens [:60000, which is every interface]
  --flow FLOW                  how the answer travels [trickle]:
                                 trickle       by a post of its own, as pion has it
                                 response      in the response to the offer
                               An offer with candidates in it is answered in the response, with
                               candidates in it, in any case.
  --interval SECONDS           pause between texts [5]
  --loopback                   offer loopback addresses too (needed without any network)

RUST_LOG=debug shows what happens underneath.";

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    let options = match Options::from_args() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}; --help tells what there is");
            return ExitCode::from(2);
        }
    };
    match answer(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn answer(options: Options) -> Result<(), Box<dyn Error>> {
    // One loop with one peer.
    let mut net = EventLoop::new(LoopConfig::default())?;
    let peer = net.add_peer(PeerConfig::default().include_loopback(options.loopback))?;

    // Waits for the offer and answers it. Its threads wake the loop when a message arrives.
    let mut signaling = PionSignaling::start(&mut net, peer, options.signaling)?;

    // The open channels with their names, and the time of the next text on each.
    let mut channels: Vec<(ChannelId, String, Instant)> = Vec::new();
    loop {
        let due = channels.iter().map(|(_, _, due)| *due).min();
        let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
        // `None` when the time is up, or when signaling woke the loop.
        let event = net.next_event(wait)?;
        signaling.on_turn(&mut net, event.as_ref())?;

        match event.map(|(_, event)| event) {
            Some(PeerEvent::ConnectionStateChange(state)) => {
                println!("Peer Connection State has changed: {state}");
                match state {
                    ConnectionState::Failed => {
                        println!("Peer Connection has gone to failed exiting");
                        return Err("the connection was lost, or never came about".into());
                    }
                    // Closed by the remote peer.
                    ConnectionState::Closed => return Ok(()),
                    _ => {}
                }
            }
            Some(PeerEvent::DataChannel(channel)) => {
                let (label, id) = name(&mut net, peer, channel);
                println!("New DataChannel {label} {id}");
            }
            Some(PeerEvent::ChannelOpen(channel)) => {
                let (label, id) = name(&mut net, peer, channel);
                println!(
                    "Data channel '{label}'-'{id}' open. Random messages will now be sent to any \
                     connected DataChannels every {} seconds",
                    options.interval.as_secs_f64()
                );
                channels.push((channel, label, Instant::now() + options.interval));
            }
            Some(PeerEvent::ChannelMessage { channel, message }) => {
                let (label, _) = name(&mut net, peer, channel);
                let text = String::from_utf8_lossy(message.as_bytes());
                println!("Message from DataChannel '{label}': '{text}'");
            }
            Some(PeerEvent::ChannelClosed(channel)) => {
                channels.retain(|(open, ..)| *open != channel)
            }
            Some(PeerEvent::Error(error)) => eprintln!("{error}"),
            _ => {}
        }

        for (channel, _, due) in &mut channels {
            if *due <= Instant::now() {
                let text = random_text();
                println!("Sending '{text}'");
                net.peer(peer)?.send_text(*channel, &text)?;
                *due = Instant::now() + options.interval;
            }
        }
    }
}

/// Returns a channel's label and stream id.
fn name(net: &mut EventLoop, peer: PeerId, channel: ChannelId) -> (String, u16) {
    let info = net
        .peer(peer)
        .ok()
        .and_then(|mut peer| peer.channel(channel));
    info.map_or_else(Default::default, |info| {
        (info.config.label, info.stream_id.unwrap_or_default())
    })
}

/// Returns fifteen random letters.
fn random_text() -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    // Each `RandomState` hashes differently, which is random enough to distinguish texts.
    let letter = |_| LETTERS[RandomState::new().hash_one(0) as usize % LETTERS.len()];
    (0..15).map(letter).map(char::from).collect()
}

struct Options {
    signaling: PionConfig,
    interval: Duration,
    loopback: bool,
}

impl Options {
    /// Returns `None` if only help was requested.
    fn from_args() -> Result<Option<Self>, Box<dyn Error>> {
        use lexopt::prelude::*;
        let mut signaling = PionConfig::new(Role::Answer);
        let (mut interval, mut loopback) = (Duration::from_secs(5), false);
        // Go's flags have one dash instead of two; accept both.
        let args = std::env::args()
            .skip(1)
            .map(|arg| match arg.strip_prefix('-') {
                Some(flag) if flag.len() > 1 && !flag.starts_with('-') => format!("--{flag}"),
                _ => arg,
            });
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            match arg {
                Long("offer-address") => signaling.offer_address = parser.value()?.parse()?,
                Long("answer-address") => signaling.answer_address = parser.value()?.parse()?,
                Long("flow") => signaling.flow = parser.value()?.parse::<Flow>()?,
                Long("interval") => {
                    interval = Duration::try_from_secs_f64(parser.value()?.parse()?)?;
                }
                Long("loopback") => loopback = true,
                Short('h') | Long("help") => {
                    println!("{HELP}");
                    return Ok(None);
                }
                _ => return Err(arg.unexpected().into()),
            }
        }
        Ok(Some(Self {
            signaling,
            interval,
            loopback,
        }))
    }
}
