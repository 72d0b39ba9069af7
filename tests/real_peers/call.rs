//! One connection between looprtc and a real peer: signaling, and waiting for events.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use looprtc::driver::PeerMut;
use looprtc::proto::peer::{
    ChannelConfig, ChannelId, ChannelInfo, Codec, ConnectionState, IceCandidateInit, Message,
    PeerConfig, PeerError, PeerEvent, SdpType, SessionDescription,
};
use serde_json::{Value, json};

use crate::child::RealPeer;
use crate::media::Media;
use crate::ours::Ours;

/// Time limit of a step; a browser on a busy machine is slow.
const STEP: Duration = Duration::from_secs(30);

/// Time that one iteration waits for an event of ours before it polls the remote peer.
const TURN: Duration = Duration::from_millis(2);

/// The side that creates the first offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offerer {
    Looprtc,
    RealPeer,
}

pub struct Call {
    ours: Ours,
    pub theirs: RealPeer,
    /// Open channels of ours, by label.
    channels: HashMap<String, ChannelId>,
    /// Messages received by us.
    messages: VecDeque<(String, Message)>,
    /// Labels of channels that have closed on our side.
    closed: Vec<String>,
    pub state: ConnectionState,
    /// Our media, if any.
    pub media: Media,
    /// The reason that our side reported for its end, if any.
    pub error: Option<PeerError>,
    /// The maximum message size that they announce, in bytes; 64 KiB by default (RFC 8841 §6.1).
    announced: usize,
    /// The ufrags of their descriptions, in order.
    ufrags: Vec<String>,
    /// Reports of the remote peer, except for descriptions and candidates.
    reports: VecDeque<Value>,
    /// Log of all events, printed if the test fails.
    story: Vec<String>,
    begun: Instant,
}

impl Call {
    pub fn start(name: &str, args: &[&str], offerer: Offerer, config: PeerConfig) -> Self {
        Self::start_with(RealPeer::start, name, args, offerer, config, &[])
    }

    /// Connects with a track for each of these, to a peer started in this way.
    pub fn start_with(
        start: impl FnOnce(&str, &str, &[&str]) -> RealPeer,
        name: &str,
        args: &[&str],
        offerer: Offerer,
        config: PeerConfig,
        codecs: &[Codec],
    ) -> Self {
        let role = match offerer {
            Offerer::Looprtc => "answer",
            Offerer::RealPeer => "offer",
        };
        let mut call = Self {
            ours: Ours::new(config),
            theirs: start(name, role, args),
            channels: HashMap::new(),
            messages: VecDeque::new(),
            closed: Vec::new(),
            state: ConnectionState::New,
            media: Media::default(),
            error: None,
            announced: 65536,
            ufrags: Vec::new(),
            reports: VecDeque::new(),
            story: Vec::new(),
            begun: Instant::now(),
        };
        call.media = Media::add(&mut call.peer(), codecs);
        if offerer == Offerer::Looprtc {
            call.create(ChannelConfig::new("interop"));
            call.offer();
        }
        call
    }

    pub fn peer(&mut self) -> PeerMut<'_> {
        if self.ours.peer().is_none() {
            // The reason for its end is still to be reported.
            while let Some(event) = self.ours.event(TURN) {
                self.on_event(event);
            }
            self.fail("our peer is closed");
        }
        self.ours.peer().expect("looked at just now")
    }

    pub fn offer(&mut self) {
        let offer = self.peer().negotiate();
        let offer = offer.unwrap_or_else(|e| self.fail(&format!("our offer: {e}")));
        self.describe(&offer);
    }

    pub fn create(&mut self, config: ChannelConfig) {
        let label = config.label.clone();
        let made = self.peer().create_data_channel(config);
        if let Err(e) = made {
            self.fail(&format!("creating {label}: {e}"));
        }
    }

    pub fn try_send(&mut self, label: &str, message: &Message) -> Result<(), PeerError> {
        let channel = self.channel(label);
        let mut peer = self.peer();
        match message {
            Message::Text(text) => peer.send_text(channel, text),
            Message::Binary(data) => peer.send_binary(channel, data),
        }
    }

    pub fn send(&mut self, label: &str, message: &Message) {
        if let Err(e) = self.try_send(label, message) {
            self.fail(&format!("sending on {label}: {e}"));
        }
    }

    pub fn close_channel(&mut self, label: &str) {
        let channel = self.channel(label);
        if let Err(e) = self.peer().close_data_channel(channel) {
            self.fail(&format!("closing {label}: {e}"));
        }
    }

    pub fn close(&mut self) {
        self.peer().close();
    }

    pub fn info(&mut self, label: &str) -> ChannelInfo {
        let channel = self.channel(label);
        let info = self.peer().channel(channel);
        info.unwrap_or_else(|| self.fail(&format!("nothing is known of channel {label}")))
    }

    fn channel(&self, label: &str) -> ChannelId {
        match self.channels.get(label) {
            Some(channel) => *channel,
            None => self.fail(&format!("channel {label} is not open")),
        }
    }

    pub fn announced_limit(&self) -> usize {
        self.announced
    }

    pub fn wait_open(&mut self, label: &str) {
        self.wait(&format!("our {label} to open"), |call| {
            call.channels.contains_key(label).then_some(())
        });
    }

    pub fn wait_message(&mut self, label: &str) -> Message {
        let (on, message) = self.wait(&format!("a message on {label}"), |call| {
            call.messages.pop_front()
        });
        if on != label {
            self.fail(&format!("a message for {label} has come on {on}"));
        }
        message
    }

    pub fn wait_closed(&mut self, label: &str) {
        self.wait(&format!("our {label} to close"), |call| {
            call.closed
                .iter()
                .any(|closed| closed == label)
                .then_some(())
        });
    }

    pub fn wait_state(&mut self, state: ConnectionState) {
        self.wait(&format!("our side to be {state:?}"), |call| {
            (call.state == state).then_some(())
        });
    }

    /// Calls `act`, then waits for the remote peer's next description, which must have a new ufrag.
    pub fn wait_restart(&mut self, begin: impl FnOnce(&mut Self)) {
        let before = self.ufrags.len();
        begin(self);
        let (old, new) = self.wait("their next description", |call| {
            let new = call.ufrags.get(before)?;
            Some((call.ufrags[before - 1].clone(), new.clone()))
        });
        if old == new {
            self.fail("their ICE credentials are still the old ones");
        }
    }

    /// Waits for a report of this type with these fields; others of the type are skipped.
    pub fn wait_report(&mut self, kind: &str, fields: &[(&str, &str)]) -> Value {
        let what = format!("their report {kind} {fields:?}");
        self.wait(&what, |call| {
            let fits = |report: &Value| {
                report["type"] == kind && fields.iter().all(|(k, v)| report[*k] == *v)
            };
            let at = call.reports.iter().position(fits)?;
            call.reports.remove(at)
        })
    }

    pub fn wait<T>(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + STEP;
        loop {
            if let Some(done) = done(self) {
                return done;
            }
            if Instant::now() >= end {
                self.fail(&format!("waited {} s for {what}", STEP.as_secs()));
            }
            self.turn();
        }
    }

    /// Runs both sides for this long.
    pub fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn();
        }
    }

    /// Runs both sides for a moment.
    pub fn turn(&mut self) {
        if let Some(mut peer) = self.ours.peer() {
            self.media.play(&mut peer);
        }
        if let Some(event) = self.ours.event(TURN) {
            self.on_event(event);
        }
        loop {
            match self.theirs.report() {
                Ok(Some(report)) => self.on_report(report),
                Ok(None) => break,
                Err(why) => self.fail(&why),
            }
        }
    }

    fn on_event(&mut self, event: PeerEvent) {
        self.media.on_event(&event);
        match &event {
            PeerEvent::Frame(_) => return,
            event => self.note("looprtc", format!("{event:?}")),
        }
        match event {
            PeerEvent::IceCandidate(candidate) => {
                let candidate = candidate.map(|c| {
                    let init = c.to_init();
                    json!({
                        "candidate": init.candidate,
                        "sdpMid": init.sdp_mid,
                        "sdpMLineIndex": init.sdp_m_line_index,
                        "usernameFragment": init.username_fragment,
                    })
                });
                self.theirs
                    .say(&json!({"type": "candidate", "candidate": candidate}));
            }
            PeerEvent::ConnectionStateChange(state) => self.state = state,
            PeerEvent::ChannelOpen(channel) => {
                let info = self.peer().channel(channel);
                let Some(info) = info else {
                    self.fail("a channel that opened is not known");
                };
                let label = info.config.label;
                self.channels.insert(label, channel);
            }
            PeerEvent::ChannelClosed(channel) => {
                let label = self.label_of(channel);
                self.closed.push(label);
            }
            PeerEvent::ChannelMessage { channel, message } => {
                let label = self.label_of(channel);
                self.messages.push_back((label, message));
            }
            PeerEvent::Error(e) => self.error = Some(e),
            _ => {}
        }
    }

    fn label_of(&self, channel: ChannelId) -> String {
        let known = self.channels.iter().find(|(_, id)| **id == channel);
        known.map_or_else(
            || "a channel that never opened".to_owned(),
            |(l, _)| l.clone(),
        )
    }

    fn on_report(&mut self, report: Value) {
        self.note("peer", report.to_string());
        match report["type"].as_str() {
            Some("description") => self.on_description(&report["description"]),
            Some("candidate") => self.on_candidate(&report["candidate"]),
            Some("error") => {
                self.fail(&format!("the peer reports an error: {}", report["message"]))
            }
            _ => self.reports.push_back(report),
        }
    }

    fn on_description(&mut self, description: &Value) {
        let kind = match description["type"].as_str() {
            Some("offer") => SdpType::Offer,
            Some("answer") => SdpType::Answer,
            other => self.fail(&format!("a description of type {other:?}")),
        };
        let sdp = description["sdp"].as_str().unwrap_or_default().to_owned();
        let ufrag = sdp.lines().find_map(|l| l.strip_prefix("a=ice-ufrag:"));
        self.ufrags.push(ufrag.unwrap_or_default().to_owned());
        let announced = sdp
            .lines()
            .find_map(|l| l.strip_prefix("a=max-message-size:"));
        self.announced = announced.map_or(65536, |n| n.trim().parse().expect("a number"));
        let description = SessionDescription { kind, sdp };
        match self.peer().receive(description) {
            Ok(Some(answer)) => self.describe(&answer),
            Ok(None) => {}
            Err(e) => self.fail(&format!("their {} is refused: {e}", kind.as_str())),
        }
    }

    fn on_candidate(&mut self, candidate: &Value) {
        // Their last candidates may cross our closing.
        if self.ours.peer().is_none() {
            return;
        }
        let init = candidate["candidate"]
            .as_str()
            .map(|line| IceCandidateInit {
                candidate: line.to_owned(),
                sdp_mid: candidate["sdpMid"].as_str().map(str::to_owned),
                sdp_m_line_index: candidate["sdpMLineIndex"]
                    .as_u64()
                    .and_then(|i| u16::try_from(i).ok()),
                username_fragment: candidate["usernameFragment"].as_str().map(str::to_owned),
            });
        let added = self.peer().add_ice_candidate(init.as_ref());
        if let Err(e) = added {
            self.fail(&format!("their candidate {candidate} is refused: {e}"));
        }
    }

    fn describe(&mut self, description: &SessionDescription) {
        self.note("looprtc", description.to_json());
        self.theirs.say(&json!({
            "type": "description",
            "description": {"type": description.kind.as_str(), "sdp": description.sdp},
        }));
    }

    fn note(&mut self, who: &str, what: String) {
        // A message of 256 KiB is not printed in full.
        let what: String = what.chars().take(2000).collect();
        let line = format!("{:7.3} {who}: {what}", self.begun.elapsed().as_secs_f64());
        self.story.push(line);
    }

    pub fn fail(&self, why: &str) -> ! {
        let last = self.story.len().saturating_sub(200);
        panic!("{why}\nWhat happened:\n{}", self.story[last..].join("\n"));
    }
}
