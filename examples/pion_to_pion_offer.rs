//! pion-to-pion, offering side: interoperates with pion's `pion-to-pion/answer` and with `pion_to_pion_answer` beside
//! this file.
//!
//!     cargo run --example pion_to_pion_answer        # in one terminal
//!     cargo run --example pion_to_pion_offer         # in another; either may be first
//!
//! Offer, answer and candidates are exchanged by HTTP; then a data channel named `data` carries a random text every few
//! seconds in both directions. Ends with an error if the connection fails.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig};
use looprtc::proto::peer::{ChannelConfig, ConnectionState, PeerConfig, PeerEvent};
use looprtc::signaling::pion::{Flow, PionConfig, PionSignaling, Role};

const HELP: &str = "\
pion-to-pion, the offering end

  --offer-address HOST:PORT    where this end listens [:50000, which is every interface]
  --answer-address HOST:PORT   where the other end listens [127.0.0.1:60000]
  --flow FLOW                  how the candidates travel [trickle]:
                                 trickle       one post each, as pion has it
                                 one-exchange  inside offer and answer; this end listens nowhere
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
    match offer(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn offer(options: Options) -> Result<(), Box<dyn Error>> {
    // One loop with one peer and one channel, which opens once they are connected.
    let mut net = EventLoop::new(LoopConfig::default())?;
    let peer = net.add_peer(PeerConfig::default().include_loopback(options.loopback))?;
    let channel = net
        .peer(peer)?
        .create_data_channel(ChannelConfig::new("data"))?;

    // Makes the offer and posts it. Its threads wake the loop when a message arrives.
    let mut signaling = PionSignaling::start(&mut net, peer, options.signaling)?;

    // Time of the next text; `None` before the channel is open.
    let mut due: Option<Instant> = None;
    loop {
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
            Some(PeerEvent::ChannelOpen(channel)) => {
                let id = net
                    .peer(peer)?
                    .channel(channel)
                    .and_then(|info| info.stream_id);
                println!(
                    "Data channel 'data'-'{}' open. Random messages will now be sent to any \
                     connected DataChannels every {} seconds",
                    id.unwrap_or_default(),
                    options.interval.as_secs_f64()
                );
                due = Some(Instant::now() + options.interval);
            }
            Some(PeerEvent::ChannelMessage { message, .. }) => {
                let text = String::from_utf8_lossy(message.as_bytes());
                println!("Message from DataChannel 'data': '{text}'");
            }
            Some(PeerEvent::ChannelClosed(_)) => due = None,
            Some(PeerEvent::Error(error)) => eprintln!("{error}"),
            _ => {}
        }

        if due.is_some_and(|due| due <= Instant::now()) {
            let text = random_text();
            println!("Sending '{text}'");
            net.peer(peer)?.send_text(channel, &text)?;
            due = Some(Instant::now() + options.interval);
        }
    }
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
        let mut signaling = PionConfig::new(Role::Offer);
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
