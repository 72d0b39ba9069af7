//! A session for a camera's loudspeaker, fed by the microphone of a browser.

use std::time::Instant;

use super::session::{Machine, Step};
use crate::proto::media::Codec;
use crate::proto::rtsp::{Input, Quirks, RtspClientConfig, Talk, TalkOutput};
use crate::server::streams::kind::Contents;

/// A [`Talk`] as the machine of a session: it has no tracks, and announces them when the camera listens.
#[derive(Debug)]
pub(super) struct Talking {
    talk: Talk,
    now: Instant,
}

impl Talking {
    pub fn new(config: RtspClientConfig, now: Instant) -> Self {
        let talk = Talk::new(config);
        Self { talk, now }
    }
}

impl Machine for Talking {
    fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        self.now = now;
        self.talk.handle_input(input, now);
    }

    fn poll_output(&mut self) -> Step {
        match self.talk.poll_output(self.now) {
            TalkOutput::Wire(output) => Step::Wire(output),
            TalkOutput::Ready => Step::Tracks(Contents::default()),
            TalkOutput::Ended(why) => Step::Ended(why),
            TalkOutput::Timeout(at) => Step::Timeout(at),
        }
    }

    fn add_quirks(&self, to: &mut Quirks) {
        to.add(self.talk.quirks());
    }

    fn close(&mut self, now: Instant) {
        self.now = now;
        self.talk.close(now);
    }

    fn speak(&mut self, codec: Codec, timestamp: u32, payload: &[u8]) {
        // What is said before the camera listens is lost, as it would be in a call.
        let _ = self.talk.speak(codec, timestamp, payload);
    }
}
