//! A page without a browser: a peer whose offer is sent with `POST /offer`, and the media it receives.

use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::peer::{
    Codec, Direction, IceGatheringState, KeyframeRequestKind, MediaKind, PeerConfig, PeerEvent,
    TransceiverConfig, TransceiverId,
};
use looprtc::proto::signal::SignalMessage;

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Watching {
    net: EventLoop,
    peer: PeerId,
    video: TransceiverId,
}

impl Watching {
    /// Watches the stream at this URL.
    pub fn begin(url: &str) -> Self {
        let mut net = EventLoop::new(LoopConfig::default()).unwrap();
        let peer = net
            .add_peer(PeerConfig::default().include_loopback(true))
            .unwrap();
        let config = TransceiverConfig::default()
            .direction(Direction::RecvOnly)
            .codecs([Codec::Vp8]);
        let mut us = net.peer(peer).unwrap();
        let video = us.add_transceiver(MediaKind::Video, config).unwrap();
        us.negotiate().unwrap();
        let mut watching = Self { net, peer, video };
        watching.until("candidates", |event| {
            *event == PeerEvent::IceGatheringStateChange(IceGatheringState::Complete)
        });
        let mut us = watching.net.peer(watching.peer).unwrap();
        let offer = us.local_description().unwrap().to_json();
        let response = ureq::post(format!("{}/offer", url.trim_end_matches('/')))
            .header("content-type", "application/json")
            .send(&offer);
        let answer = response.unwrap().body_mut().read_to_string().unwrap();
        let answer = SignalMessage::parse_description(answer.as_bytes()).unwrap();
        us.receive(answer).unwrap();
        watching
    }

    fn until(&mut self, what: &str, mut is_it: impl FnMut(&PeerEvent) -> bool) -> Duration {
        let begun = Instant::now();
        loop {
            let left = PATIENCE.checked_sub(begun.elapsed());
            let left = left.unwrap_or_else(|| panic!("waited in vain for {what}"));
            if let Some((_, event)) = self.net.next_event(Some(left)).unwrap()
                && is_it(&event)
            {
                return begun.elapsed();
            }
        }
    }

    /// Waits for this many frames.
    pub fn frames(&mut self, count: usize) {
        let mut came = 0;
        self.until("frames", |event| {
            came += usize::from(matches!(event, PeerEvent::Frame(_)));
            came >= count
        });
    }

    /// Requests a keyframe, and returns the time until it arrives.
    pub fn keyframe(&mut self) -> Duration {
        let mut us = self.net.peer(self.peer).unwrap();
        us.request_keyframe(self.video, None, KeyframeRequestKind::Pli)
            .unwrap();
        self.until(
            "a keyframe",
            |event| matches!(event, PeerEvent::Frame(frame) if frame.keyframe),
        )
    }
}
