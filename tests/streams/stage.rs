//! A loop with a set of streams, viewers and publishers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::net::PortPolicy;
use looprtc::proto::peer::{
    Codec, Codecs, ConnectionState, Direction, IceCandidateInit, MediaKind, MediaMode, PeerConfig,
    PeerEvent, Politeness, ReceivedFrame, TransceiverConfig,
};
use looprtc::server::streams::{
    SourceConfig, StreamError, StreamEvent, StreamState, Streams, StreamsConfig,
};

/// Time limit for anything that has to happen, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Stage {
    pub net: EventLoop,
    pub streams: Streams,
    /// The media that publishers send.
    pub studio: Streams,
    pub events: Vec<StreamEvent>,
    /// The remote end of each peer.
    others: HashMap<PeerId, PeerId>,
    pub clients: HashMap<PeerId, Client>,
    pub closed: Vec<PeerId>,
}

/// Media received by a viewer.
#[derive(Debug)]
pub struct Client {
    /// The peer at the server's end.
    pub server: PeerId,
    pub connected: Option<Instant>,
    pub frames: Vec<ReceivedFrame>,
}

impl Client {
    pub fn of(&self, codec: Codec) -> Vec<&ReceivedFrame> {
        self.frames.iter().filter(|f| f.codec == codec).collect()
    }

    /// Number of decodable frames: from a keyframe on, with nothing missing.
    pub fn decodable(&self, codec: Codec) -> usize {
        let mut good = false;
        let each = self.of(codec).into_iter().map(|frame| {
            good = frame.keyframe || (good && frame.contiguous);
            good
        });
        each.filter(|good| *good).count()
    }
}

impl Stage {
    pub fn new(config: StreamsConfig) -> Self {
        let _ = env_logger::Builder::from_default_env()
            .is_test(false)
            .try_init();
        let mut studio = Streams::new(StreamsConfig::default());
        studio.add("card", SourceConfig::test_card()).unwrap();
        Self {
            net: EventLoop::new(LoopConfig::default()).unwrap(),
            streams: Streams::new(config).pull_with(PeerConfig::default().include_loopback(true)),
            studio,
            events: Vec::new(),
            others: HashMap::new(),
            clients: HashMap::new(),
            closed: Vec::new(),
        }
    }

    /// Adds a stream, given as `name=URL`.
    pub fn with(mut self, source: &str) -> Self {
        let (name, source) = SourceConfig::parse(source).unwrap();
        self.streams.add(&name, source).unwrap();
        self
    }

    pub fn state(&self, name: &str) -> StreamState {
        self.streams.info(name).unwrap().state
    }

    fn pair(&mut self, client: PeerConfig, server: PeerConfig) -> (PeerId, PeerId) {
        let (client, server) = (client.include_loopback(true), server.include_loopback(true));
        let client = client
            .port(PortPolicy::Own)
            .politeness(Politeness::Impolite);
        let client = self.net.add_peer(client).unwrap();
        let server = self.net.add_peer(server).unwrap();
        self.others.insert(client, server);
        self.others.insert(server, client);
        (client, server)
    }

    fn negotiate(&mut self, from: PeerId) {
        let to = self.others[&from];
        let offer = self.net.peer(from).unwrap().negotiate().unwrap();
        let answer = self.net.peer(to).unwrap().receive(offer).unwrap();
        let answer = answer.expect("an answer");
        self.net.peer(from).unwrap().receive(answer).unwrap();
    }

    /// Adds a viewer of this stream that supports these codecs.
    pub fn watch(&mut self, name: &str, codecs: &[Codec]) -> Result<PeerId, StreamError> {
        let mode = self.streams.media_mode(name).unwrap_or_default();
        let config = PeerConfig::default().codecs(Codecs::only(codecs.iter().copied()));
        let (client, server) = self.pair(config, PeerConfig::default().media_mode(mode));
        if let Err(error) = self.streams.add_viewer(&mut self.net, name, server) {
            self.leave(client);
            return Err(error);
        }
        for kind in [MediaKind::Video, MediaKind::Audio] {
            if codecs.iter().any(|c| MediaKind::of(*c) == kind) {
                let config = TransceiverConfig::default().direction(Direction::RecvOnly);
                let mut peer = self.net.peer(client).unwrap();
                peer.add_transceiver(kind, config).unwrap();
            }
        }
        let state = Client {
            server,
            connected: None,
            frames: Vec::new(),
        };
        self.clients.insert(client, state);
        self.negotiate(client);
        Ok(client)
    }

    /// Adds a publisher that sends the test card to this stream, in these codecs.
    pub fn publish(&mut self, name: &str, codecs: &[Codec]) -> Result<PeerId, StreamError> {
        let config = PeerConfig::default().codecs(Codecs::only(codecs.iter().copied()));
        let packets = PeerConfig::default().media_mode(MediaMode::Packets);
        // The card is in VP8 and H.264; a peer that supports only one of them cannot be offered both.
        let all = PeerConfig::default();
        let (client, server) = self.pair(all, packets.codecs(config.codecs));
        let added = self.streams.add_publisher(&mut self.net, name, server);
        if let Err(error) = added {
            self.leave(client);
            return Err(error);
        }
        let added = self.studio.add_viewer(&mut self.net, "card", client);
        added.expect("the card");
        self.negotiate(client);
        Ok(client)
    }

    /// Closes a peer, from its own end.
    pub fn leave(&mut self, client: PeerId) {
        if let Ok(mut peer) = self.net.peer(client) {
            peer.close();
        }
    }

    /// Handles one event, and everything that is due.
    pub fn step(&mut self, end: Instant) {
        let deadlines = [self.streams.next_deadline(), self.studio.next_deadline()];
        let until = deadlines
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(end)
            .min(end);
        let wait = until.saturating_duration_since(Instant::now());
        if let Some((peer, event)) = self.net.next_event(Some(wait)).unwrap() {
            self.route(peer, event);
        }
        while let Some(datagram) = self.net.poll_datagram() {
            self.streams.handle_datagram(&mut self.net, &datagram);
        }
        let now = Instant::now();
        self.streams.handle_timeout(&mut self.net, now);
        self.studio.handle_timeout(&mut self.net, now);
        self.events
            .extend(std::iter::from_fn(|| self.streams.poll_event()));
    }

    fn route(&mut self, peer: PeerId, event: PeerEvent) {
        self.streams.handle_peer_event(&mut self.net, peer, &event);
        self.studio.handle_peer_event(&mut self.net, peer, &event);
        match event {
            PeerEvent::IceCandidate(Some(candidate)) => {
                let other = self.others.get(&peer).copied();
                let init = IceCandidateInit::new(candidate.to_sdp_line());
                if let Some(Ok(mut other)) = other.map(|o| self.net.peer(o)) {
                    // It may be closed, with the event for that still queued.
                    let _ = other.add_ice_candidate(Some(&init));
                }
            }
            PeerEvent::Frame(frame) => {
                if let Some(client) = self.clients.get_mut(&peer) {
                    client.frames.push(frame);
                }
            }
            PeerEvent::ConnectionStateChange(ConnectionState::Connected) => {
                if let Some(client) = self.clients.get_mut(&peer) {
                    client.connected.get_or_insert_with(Instant::now);
                }
            }
            PeerEvent::ConnectionStateChange(ConnectionState::Closed) => {
                self.closed.push(peer);
                // It has said goodbye to nobody but its own side.
                if let Some(other) = self.others.remove(&peer) {
                    self.others.remove(&other);
                    self.leave(other);
                }
            }
            _ => {}
        }
    }

    /// Runs until this holds. Fails when the time limit has passed.
    pub fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            if Instant::now() >= end {
                let all: Vec<_> = self.streams.list().collect();
                panic!("{what}: not within {PATIENCE:?}: {all:#?}");
            }
            self.step(end);
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step(end);
        }
    }

    pub fn client(&self, id: PeerId) -> &Client {
        &self.clients[&id]
    }
}
