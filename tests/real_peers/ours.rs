//! Our side: an event loop with one peer.

use std::time::Duration;

use looprtc::driver::{EventLoop, LoopConfig, PeerId, PeerMut};
use looprtc::proto::peer::{PeerConfig, PeerEvent};

pub struct Ours {
    net: EventLoop,
    id: PeerId,
}

impl Ours {
    pub fn new(config: PeerConfig) -> Self {
        // Logs of lower layers are printed when RUST_LOG is set.
        let _ = env_logger::builder().is_test(true).try_init();
        let mut net = EventLoop::new(LoopConfig::default()).expect("a loop");
        let id = net.add_peer(config).expect("a peer");
        Self { net, id }
    }

    /// Returns the peer; `None` once it is closed.
    pub fn peer(&mut self) -> Option<PeerMut<'_>> {
        self.net.peer(self.id).ok()
    }

    /// Returns the next event, if one occurs within this time.
    pub fn event(&mut self, wait: Duration) -> Option<PeerEvent> {
        let event = self.net.next_event(Some(wait)).expect("the loop goes on");
        event.map(|(_, event)| event)
    }
}
