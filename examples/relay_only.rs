//! Two peers that connect through a TURN server only: neither learns the other one's address, and they connect where
//! nothing else gets through.
//!
//! ```text
//! cargo run --example relay_only -- turn:turn.example.org user password
//! ```
//!
//! Over TCP with `turn:turn.example.org?transport=tcp`, over TLS with `turns:turn.example.org:443`. To try it without a
//! server, run coturn (which may relay to loopback here because both peers are on this machine):
//!
//! ```text
//! turnserver -n --no-cli --listening-ip=127.0.0.1 --relay-ip=127.0.0.1 --allow-loopback-peers \
//!     --lt-cred-mech --user=user:password --realm=example.org
//! cargo run --example relay_only -- turn:127.0.0.1 user password
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig};
use looprtc::proto::ice::{IceServer, IceTransportPolicy};
use looprtc::proto::peer::{
    ChannelConfig, IceGatheringState, Message, PeerConfig, PeerEvent, Politeness,
};

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, user, password] = &arguments[..] else {
        return Err("usage: relay_only URL USER PASSWORD".into());
    };
    let config = PeerConfig::default()
        .ice_servers(vec![IceServer::turn(url, user, password)])
        .ice_transport_policy(IceTransportPolicy::Relay);

    // Two peers in one loop stand for two machines; signaling is passed directly.
    let mut net = EventLoop::new(LoopConfig::default())?;
    let here = net.add_peer(config.clone())?;
    let there = net.add_peer(config.politeness(Politeness::Impolite))?;
    net.peer(here)?
        .create_data_channel(ChannelConfig::new("data"))?;
    let name = |id| if id == here { "here" } else { "there" };

    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        let Some((id, event)) = net.next_event(Some(Duration::from_secs(1)))? else {
            continue;
        };
        let other = if id == here { there } else { here };
        match event {
            PeerEvent::NegotiationNeeded => {
                let offer = net.peer(id)?.negotiate()?;
                if let Some(answer) = net.peer(other)?.receive(offer)? {
                    net.peer(id)?.receive(answer)?;
                }
            }
            PeerEvent::IceCandidate(Some(candidate)) => {
                println!("{}: {candidate}", name(id));
                let init = candidate.to_init();
                net.peer(other)?.add_ice_candidate(Some(&init))?;
            }
            // The server, its error, and what to check.
            PeerEvent::IceCandidateError(error) => eprintln!("{}: {error}", name(id)),
            PeerEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                println!("{}: gathering is complete", name(id));
            }
            PeerEvent::ChannelOpen(channel) if id == here => {
                net.peer(here)?.send_text(channel, "hello from somewhere")?;
            }
            PeerEvent::ChannelMessage { message, .. } => {
                let Message::Text(text) = message else {
                    continue;
                };
                println!("{}: {text:?}", name(id));
                if let Some((local, remote)) = net.peer(id)?.stats().path {
                    println!("{}: by way of {local} and {remote}", name(id));
                }
                // Releases the allocations.
                net.shutdown(Duration::from_secs(2))?;
                return Ok(());
            }
            PeerEvent::Error(error) => return Err(error.into()),
            _ => {}
        }
    }
    Err("no path within 30 s".into())
}
