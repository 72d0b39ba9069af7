//! Serves the page of an example, takes the offers that it posts, and answers each when all candidates are
//! gathered.

use std::collections::HashMap;
use std::error::Error;
use std::sync::mpsc::Receiver;

use looprtc::driver::{EventLoop, PeerId};
use looprtc::proto::peer::{IceGatheringState, PeerConfig, PeerEvent};
use looprtc::proto::signal::SignalMessage;

use super::page::{self, Ask};

pub struct Offers {
    asked: Receiver<Ask>,
    waiting: HashMap<PeerId, Ask>,
}

impl Offers {
    /// Serves `page` at `http`, a host and a port, and says where.
    pub fn serve(http: &str, page: &'static str, net: &EventLoop) -> Result<Self, Box<dyn Error>> {
        let (url, asked) = page::serve(http, page, net.handle())?;
        println!("Open {url} in a browser");
        let waiting = HashMap::new();
        Ok(Self { asked, waiting })
    }

    /// Makes a peer for each offer that was posted to one of these paths. `prepare` gets it before the offer
    /// does, to add tracks that take the offer's m-lines.
    pub fn take(
        &mut self,
        net: &mut EventLoop,
        config: &PeerConfig,
        paths: &[&str],
        mut prepare: impl FnMut(&mut EventLoop, PeerId, &str) -> Result<(), Box<dyn Error>>,
    ) {
        for ask in self.asked.try_iter() {
            if !paths.contains(&ask.path.as_str()) {
                let why = format!("offers go to {}", paths.join(" or "));
                ask.refuse("404 Not Found", why);
                continue;
            }
            match answer(net, config, &ask, &mut prepare) {
                Ok(id) => drop(self.waiting.insert(id, ask)),
                Err(why) => ask.refuse("400 Bad Request", why),
            }
        }
    }

    /// Is told of every event: answers what is gathered, and says how the connection is.
    pub fn handle_event(&mut self, net: &mut EventLoop, id: PeerId, event: &PeerEvent) {
        match event {
            PeerEvent::IceGatheringStateChange(IceGatheringState::Complete) => {
                let answer = net.peer(id).ok().and_then(|p| p.local_description());
                if let Some(ask) = self.waiting.remove(&id) {
                    ask.reply(&answer.map(|a| a.to_json()).unwrap_or_default(), None);
                }
            }
            PeerEvent::ConnectionStateChange(state) => println!("Peer {id}: connection {state}"),
            PeerEvent::Error(error) => eprintln!("Peer {id}: {error}"),
            _ => {}
        }
    }
}

fn answer(
    net: &mut EventLoop,
    config: &PeerConfig,
    ask: &Ask,
    prepare: &mut impl FnMut(&mut EventLoop, PeerId, &str) -> Result<(), Box<dyn Error>>,
) -> Result<PeerId, Box<dyn Error>> {
    let offer = SignalMessage::parse_description(&ask.body)?;
    let id = net.add_peer(config.clone())?;
    let answer = || -> Result<(), Box<dyn Error>> {
        prepare(net, id, &ask.path)?;
        net.peer(id)?.receive(offer)?;
        Ok(())
    };
    if let Err(why) = answer() {
        if let Ok(mut peer) = net.peer(id) {
            peer.close();
        }
        return Err(why);
    }
    Ok(id)
}
