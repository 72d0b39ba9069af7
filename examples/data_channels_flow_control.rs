//! Sends from one peer to another as fast as possible, without filling memory.
//!
//!     cargo run --release --example data_channels_flow_control
//!
//! Two peers in one loop. The sender fills the channel's buffer up to 1 MiB, then stops and waits for the event that
//! says that the buffer has drained to 512 KiB. The receiver prints the throughput every second. The channel is
//! unordered and unreliable: what the network loses is not retransmitted, but nothing in the buffer is lost.

use std::error::Error;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, PeerId, PeerMut};
use looprtc::proto::net::PortPolicy;
use looprtc::proto::peer::{
    ChannelConfig, ChannelId, ConnectionState, IceCandidateInit, PeerConfig, PeerError, PeerEvent,
    Politeness,
};

/// Sending resumes when the buffered amount has fallen to this many bytes …
const BUFFERED_AMOUNT_LOW: usize = 512 * 1024;
/// … and stops before it would exceed this many.
const MAX_BUFFERED_AMOUNT: usize = 1024 * 1024;

const MESSAGE: [u8; 1024] = [0; 1024];

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    let Some(seconds) = seconds_from_args()? else {
        return Ok(());
    };
    let mut net = EventLoop::new(LoopConfig::default())?;

    // On a shared port, datagrams are assigned to peers by their remote address. Both of these peers would send from
    // the same port to itself, so one gets its own. Loopback, so that no network is needed.
    let config = PeerConfig::default().include_loopback(true);
    let sender = net.add_peer(config.clone().port(PortPolicy::Own))?;
    let receiver = net.add_peer(config.politeness(Politeness::Impolite))?;

    let unreliable = ChannelConfig::new("data").ordered(false).max_retransmits(0);
    let mut peer = net.peer(sender)?;
    let channel = peer.create_data_channel(unreliable)?;
    peer.set_buffered_amount_low_threshold(channel, BUFFERED_AMOUNT_LOW)?;

    // Counted by the receiver.
    let mut since: Option<Instant> = None;
    let mut tick = Instant::now();
    let (mut total, mut last_second) = (0, 0);
    loop {
        let timeout = since.map(|_| tick.saturating_duration_since(Instant::now()));
        if let Some((id, event)) = net.next_event(timeout)? {
            match event {
                // Fill the buffer again, but no more.
                PeerEvent::ChannelOpen(_) if id == sender => {
                    println!(
                        "Channel open. Sending {} byte messages as fast as they go",
                        MESSAGE.len()
                    );
                    fill(&mut net.peer(sender)?, channel)?;
                }
                PeerEvent::ChannelBufferedAmountLow(_) => fill(&mut net.peer(sender)?, channel)?,

                PeerEvent::ChannelOpen(_) => {
                    println!("Channel open. Receiving");
                    since = Some(Instant::now());
                    tick = Instant::now() + Duration::from_secs(1);
                }
                PeerEvent::ChannelMessage { message, .. } => {
                    last_second += message.as_bytes().len();
                }

                // Both peers are here, so offer, answer and candidates are passed directly.
                PeerEvent::NegotiationNeeded => {
                    let offer = net.peer(id)?.negotiate()?;
                    let answer = net.peer(receiver)?.receive(offer)?;
                    if let Some(answer) = answer {
                        net.peer(id)?.receive(answer)?;
                    }
                }
                PeerEvent::IceCandidate(Some(candidate)) => {
                    let other = if id == sender { receiver } else { sender };
                    let candidate = IceCandidateInit::new(candidate.to_string());
                    net.peer(other)?.add_ice_candidate(Some(&candidate))?;
                }

                PeerEvent::ConnectionStateChange(state) => {
                    println!("Connection of the {} {state}", name(id, sender));
                    if state == ConnectionState::Failed {
                        return Err("the connection failed".into());
                    }
                }
                PeerEvent::Error(error) => eprintln!("{}: {error}", name(id, sender)),
                _ => {}
            }
        }
        let Some(since) = since.filter(|_| Instant::now() >= tick) else {
            continue;
        };
        total += last_second;
        println!(
            "Throughput: {:.1} Mbit/s in the last second, {:.1} Mbit/s on average",
            megabits(last_second),
            megabits(total) / since.elapsed().as_secs_f64()
        );
        last_second = 0;
        tick += Duration::from_secs(1);
        if since.elapsed() >= seconds {
            // Closes both gracefully; what is still in the buffer is discarded.
            return Ok(net.shutdown(Duration::ZERO)?);
        }
    }
}

/// Sends messages until the buffer is full.
fn fill(peer: &mut PeerMut<'_>, channel: ChannelId) -> Result<(), PeerError> {
    while peer.buffered_amount(channel) + MESSAGE.len() <= MAX_BUFFERED_AMOUNT {
        peer.send_binary(channel, &MESSAGE)?;
    }
    Ok(())
}

fn name(id: PeerId, sender: PeerId) -> &'static str {
    if id == sender { "sender" } else { "receiver" }
}

fn megabits(bytes: usize) -> f64 {
    bytes as f64 * 8.0 / 1e6
}

/// Returns the duration; `None` if only help was requested.
fn seconds_from_args() -> Result<Option<Duration>, Box<dyn Error>> {
    use lexopt::prelude::*;
    let mut seconds = Duration::MAX;
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("seconds") => seconds = Duration::from_secs(parser.value()?.parse()?),
            Long("help") | Short('h') => {
                println!(
                    "data_channels_flow_control [--seconds N]   stop after this many seconds [default: never]"
                );
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(seconds))
}
