//! Pages that connect with an offer: each becomes a peer, and is answered when its candidates are gathered.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use looprtc::driver::{EventLoop, PeerId};
use looprtc::proto::peer::{IceGatheringState, PeerConfig, PeerEvent};
use looprtc::proto::signal::SignalMessage;

use page::{Ask, Page};

#[path = "page.rs"]
mod page;

pub struct Callers {
    page: Page,
    waiting: HashMap<PeerId, Ask>,
}

impl Callers {
    /// Serves the page, and prints its address.
    pub fn serve(
        net: &mut EventLoop,
        address: &str,
        html: &'static str,
    ) -> Result<Self, Box<dyn Error>> {
        let page = Page::serve(net, address, html)?;
        println!("Open {} in a browser", page.url());
        Ok(Self {
            page,
            waiting: HashMap::new(),
        })
    }

    /// Returns how long the loop may wait: at most `timeout`, and not beyond the page's next deadline.
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Duration> {
        self.page.wait(timeout)
    }

    /// Creates peers for the pages that connect. `prepare` is called for each before its offer is applied.
    pub fn answer(
        &mut self,
        net: &mut EventLoop,
        config: &PeerConfig,
        mut prepare: impl FnMut(&mut EventLoop, PeerId) -> Result<(), Box<dyn Error>>,
    ) {
        for ask in self.page.asked() {
            if ask.path != "/offer" {
                ask.refuse(404, "offers go to /offer");
                continue;
            }
            match answer(net, &ask.body, config, &mut prepare) {
                Ok(id) => drop(self.waiting.insert(id, ask)),
                Err(why) => ask.refuse(400, why),
            }
        }
    }

    /// Answers when a peer is ready, and prints its state.
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
    body: &[u8],
    config: &PeerConfig,
    prepare: &mut impl FnMut(&mut EventLoop, PeerId) -> Result<(), Box<dyn Error>>,
) -> Result<PeerId, Box<dyn Error>> {
    let offer = SignalMessage::parse_description(body)?;
    let id = net.add_peer(config.clone().include_loopback(true))?;
    let result = prepare(net, id).and_then(|()| Ok(net.peer(id)?.receive(offer)?));
    if result.is_err() {
        net.peer(id)?.close();
    }
    result.map(|_| id)
}
