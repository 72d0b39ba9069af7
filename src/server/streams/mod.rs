//! Named streams from files, pipes, plain RTP or publishers, each for any number of viewers.
//!
//! A stream has a name and a [source](SourceConfig). The source is started for the first viewer and stopped some
//! seconds after the last one; a live pipe is read all the time. A failed source is restarted, with growing delays. New
//! viewers see a frame at once: the latest keyframe and what follows it is cached, or the publisher is asked for one.
//!
//! ```text
//!   file ─────── thread ─► queue ─► pacer ─┐                    ┌─► viewer (a peer)
//!   live pipe ── thread ─► queue ──────────┤                    │
//!   plain RTP ── handle_datagram ──────────┼─► feed ─► tracks ──┼─► viewer
//!   publisher ── handle_peer_event ────────┘   keyframe and     └─► viewer
//!                                              what follows
//! ```
//!
//! This module does not know HTTP. The owner of the peers creates one for each viewer, with
//! [`media_mode`](Streams::media_mode), calls [`add_viewer`](Streams::add_viewer) and negotiates; and passes on all
//! events of all peers:
//!
//! ```no_run
//! # use std::time::Instant;
//! # use looprtc::driver::{EventLoop, LoopConfig};
//! # use looprtc::proto::peer::PeerConfig;
//! use looprtc::server::streams::{SourceConfig, Streams, StreamsConfig};
//!
//! let mut net = EventLoop::new(LoopConfig::default())?;
//! let mut streams = Streams::new(StreamsConfig::default());
//! let (name, source) = SourceConfig::parse("card=testcard:")?;
//! streams.add(&name, source)?;
//! // A viewer asks for it, by whatever signaling.
//! let mode = streams.media_mode("card").ok_or("no such stream")?;
//! let viewer = net.add_peer(PeerConfig::default().media_mode(mode))?;
//! streams.add_viewer(&mut net, "card", viewer)?;
//! // … its offer is received and answered …
//! loop {
//!     let wait = streams.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
//!     if let Some((peer, event)) = net.next_event(wait)? {
//!         streams.handle_peer_event(&mut net, peer, &event);
//!     }
//!     while let Some(datagram) = net.poll_datagram() {
//!         streams.handle_datagram(&mut net, &datagram);
//!     }
//!     while let Some(event) = net.poll_tcp() {
//!         streams.handle_tcp(&mut net, &event);
//!     }
//!     streams.handle_timeout(&mut net, Instant::now());
//!     while let Some(event) = streams.poll_event() {
//!         println!("{event}");
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Call [`handle_timeout`](Streams::handle_timeout) in every iteration: threads that read files wake the loop, which
//! then returns no event.

mod audience;
mod cache;
mod config;
mod health;
mod info;
mod kind;
mod notices;
mod play;
mod publisher;
mod quality;
mod ready;
mod source;
mod sources;
mod stream;
mod tracks;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use slab::Slab;

use self::kind::{Context, Outcome};
use self::stream::Stream;
use crate::driver::{Datagram, EventLoop, PeerId, TcpEvent};
use crate::proto::media::Codec;
use crate::proto::peer::{ConnectionState, MediaMode, PeerConfig, PeerEvent};

pub use self::config::StreamsConfig;
pub use self::info::{
    StreamError, StreamEvent, StreamInfo, StreamState, StreamStats, TalkState, ViewerStats,
    ViewerTrack,
};
pub use self::kind::SourceConfig;
pub use self::quality::{Quality, Wish};
pub(crate) use self::ready::Readiness;
pub use self::source::SourceError;
pub(crate) use self::source::check_name;
pub(crate) use self::sources::CameraSettings;
pub use self::sources::RtpInput;

/// Maximum number of queued events; the oldest are dropped first.
const MAX_EVENTS: usize = 1024;

#[derive(Debug, Clone, Copy)]
enum Role {
    Viewer { stream: usize, since: Instant },
    Publisher { stream: usize },
    Talker { stream: usize },
}

impl Role {
    fn stream(self) -> usize {
        match self {
            Self::Viewer { stream, .. } | Self::Publisher { stream } | Self::Talker { stream } => {
                stream
            }
        }
    }
}

/// The streams of a server. See the [module](self).
#[derive(Debug)]
pub struct Streams {
    config: StreamsConfig,
    streams: Slab<Stream>,
    names: BTreeMap<String, usize>,
    peers: HashMap<PeerId, Role>,
    viewers: usize,
    events: VecDeque<StreamEvent>,
    epoch: Instant,
    peer: PeerConfig,
}

impl Streams {
    /// Creates a set without streams.
    pub fn new(config: StreamsConfig) -> Self {
        Self {
            config,
            streams: Slab::new(),
            names: BTreeMap::new(),
            peers: HashMap::new(),
            viewers: 0,
            events: VecDeque::new(),
            epoch: Instant::now(),
            peer: PeerConfig::default(),
        }
    }

    /// Sets the configuration of peers that play streams of other servers (WHEP): ICE servers, addresses.
    #[must_use]
    pub fn pull_with(mut self, config: PeerConfig) -> Self {
        self.peer = config;
        self
    }

    /// Adds a stream. Files are probed at once, to know what to offer to viewers; one that cannot be read is not an
    /// error here, but makes the stream [`Failed`](StreamState::Failed), and is tried again with the first viewer.
    ///
    /// # Errors
    ///
    /// Returns [`StreamError::BadName`], [`StreamError::NameTaken`], [`StreamError::InputTaken`] or
    /// [`StreamError::LimitReached`].
    pub fn add(&mut self, name: &str, source: SourceConfig) -> Result<(), StreamError> {
        source::check_name(name).map_err(StreamError::BadName)?;
        if self.names.contains_key(name) {
            return Err(StreamError::NameTaken(name.to_owned()));
        }
        let sub = source.kind().sub();
        let after = self.streams.len() + usize::from(sub.is_some());
        check_limit("max_streams", after, self.config.max_streams)?;
        let is_input = |s: &SourceConfig| s.kind().is_standard_input();
        if is_input(&source) && self.streams.iter().any(|(_, s)| is_input(&s.source)) {
            return Err(StreamError::InputTaken);
        }
        self.insert(name.to_owned(), source);
        if let Some(sub) = sub {
            self.insert(quality::sub_of(name), sub);
        }
        Ok(())
    }

    /// Returns `true` if another stream can be added.
    pub(crate) fn has_room(&self) -> bool {
        self.streams.len() < self.config.max_streams
    }

    /// Starts the source of a stream that has no viewers as if one had come and gone, so that its state tells whether it
    /// works. Does nothing for other streams.
    pub(crate) fn try_out(&mut self, net: &mut EventLoop, name: &str) {
        if let Ok(key) = self.key(name) {
            self.with(net, key, Stream::try_out);
        }
    }

    fn insert(&mut self, name: String, source: SourceConfig) {
        let key = self.streams.insert(Stream::new(name.clone(), source));
        self.names.insert(name, key);
    }

    /// Removes a stream. Its viewers and its publisher receive nothing any more and no longer belong to it. Returns
    /// their peers, which the caller has to close. A session with another server is still ended.
    ///
    /// # Errors
    ///
    /// Returns [`StreamError::NoSuchStream`].
    pub fn remove(&mut self, net: &mut EventLoop, name: &str) -> Result<Vec<PeerId>, StreamError> {
        let key = self.key(name)?;
        let sub = self.key(&quality::sub_of(name));
        let mut gone = self.remove_one(net, name, key);
        if let Ok(key) = sub {
            gone.extend(self.remove_one(net, &quality::sub_of(name), key));
        }
        Ok(gone)
    }

    fn remove_one(&mut self, net: &mut EventLoop, name: &str, key: usize) -> Vec<PeerId> {
        self.names.remove(name);
        let stream = &mut self.streams[key];
        stream.stop(net, StreamState::Idle);
        stream.hang_up(net);
        self.viewers -= stream.viewers().min(self.viewers);
        let ending = stream.retire();
        let mut gone = Vec::new();
        self.peers.retain(|peer, role| {
            let stays = role.stream() != key || ending.contains(peer);
            if !stays {
                gone.push(*peer);
            }
            stays
        });
        self.forget_retired(key);
        gone
    }

    /// Forgets a removed stream once its sessions with other servers have ended.
    fn forget_retired(&mut self, key: usize) {
        if self.streams.get(key).is_some_and(Stream::is_over) {
            self.streams.remove(key);
            self.peers.retain(|_, role| role.stream() != key);
        }
    }

    /// Iterates over all streams, by name. A second stream is in the [`sub`](StreamInfo::sub) of the main one.
    pub fn list(&self) -> impl Iterator<Item = StreamInfo> + '_ {
        let main = self.names.keys().filter(|name| !quality::is_sub(name));
        main.filter_map(|name| self.info(name))
    }

    /// Returns a stream; `None` if it does not exist.
    pub fn info(&self, name: &str) -> Option<StreamInfo> {
        let stream = self.streams.get(*self.names.get(name)?)?;
        let mut info = stream.info(Instant::now());
        info.sub = self.info(&quality::sub_of(name)).map(Box::new);
        info.talk.take_if(|_| quality::is_sub(name));
        Some(info)
    }

    /// Returns the [`PeerConfig::media_mode`](crate::proto::peer::PeerConfig::media_mode) for viewers of this stream; a
    /// publisher always needs [`MediaMode::Packets`].
    pub fn media_mode(&self, name: &str) -> Option<MediaMode> {
        let stream = self.streams.get(*self.names.get(name)?)?;
        Some(stream.media_mode())
    }

    /// Returns the codecs of a stream that will not change until another publisher comes: empty if they are not known
    /// yet, or there is no such stream.
    pub(crate) fn settled_codecs(&self, name: &str) -> Vec<Codec> {
        let stream = self.names.get(name).and_then(|key| self.streams.get(*key));
        stream.map_or_else(Vec::new, |s| s.settled_codecs())
    }

    /// Returns `true` if the stream comes from a camera that a peer may talk to: as its publisher, with audio in PCMU or
    /// PCMA. Whether it has a loudspeaker turns out then.
    pub fn is_talkable(&self, name: &str) -> bool {
        let stream = self.names.get(name).and_then(|key| self.streams.get(*key));
        stream.is_some_and(|s| s.is_talkable()) && !quality::is_sub(name)
    }

    /// Returns `true` if the stream accepts a publisher.
    pub fn is_published(&self, name: &str) -> bool {
        let stream = self.names.get(name).and_then(|key| self.streams.get(*key));
        stream.is_some_and(|s| s.source.is_published())
    }

    /// Makes this peer, which must be in [`MediaMode::Packets`], the source of a stream. The first track of each kind
    /// that it sends goes to all viewers. If the stream [comes from a camera](Self::is_talkable), the peer talks to it
    /// instead: its audio is played there. A camera that refuses has the peer closed; the reason is in
    /// [`StreamInfo::talk`].
    ///
    /// An existing publisher is replaced if it has been silent for
    /// [`publisher_patience`](StreamsConfig::publisher_patience); its peer is then closed.
    ///
    /// # Errors
    ///
    /// Returns [`StreamError::NoSuchStream`], [`StreamError::NotPublished`], [`StreamError::HasPublisher`],
    /// [`StreamError::HasTalker`] or [`StreamError::PeerTaken`].
    pub fn add_publisher(
        &mut self,
        net: &mut EventLoop,
        name: &str,
        peer: PeerId,
    ) -> Result<(), StreamError> {
        let key = self.key(name)?;
        if self.peers.contains_key(&peer) {
            return Err(StreamError::PeerTaken);
        }
        if self.is_talkable(name) {
            return self.add_talker(net, key, peer);
        }
        let now = Instant::now();
        let stream = &mut self.streams[key];
        if !stream.source.is_published() {
            return Err(StreamError::NotPublished(name.to_owned()));
        }
        if !stream.is_vacant(self.config.publisher_patience, now) {
            return Err(StreamError::HasPublisher(name.to_owned()));
        }
        if let Some(old) = stream.publisher() {
            self.peers.remove(&old);
            if let Ok(mut old) = net.peer(old) {
                old.close();
            }
        }
        self.peers.insert(peer, Role::Publisher { stream: key });
        self.with(net, key, |stream, ctx| stream.set_publisher(ctx, peer));
        Ok(())
    }

    fn add_talker(
        &mut self,
        net: &mut EventLoop,
        key: usize,
        peer: PeerId,
    ) -> Result<(), StreamError> {
        let stream = &self.streams[key];
        if !stream.may_talk(self.config.publisher_patience, Instant::now()) {
            return Err(StreamError::HasTalker(stream.name.clone()));
        }
        if let Some(old) = stream.talker() {
            self.peers.remove(&old);
            if let Ok(mut old) = net.peer(old) {
                old.close();
            }
        }
        self.peers.insert(peer, Role::Talker { stream: key });
        self.with(net, key, |stream, ctx| stream.talk(ctx, peer));
        Ok(())
    }

    /// Removes a publisher; the stream and its viewers wait for another one. Or removes a talker; the camera is told.
    /// Does nothing for other peers.
    pub fn remove_publisher(&mut self, net: &mut EventLoop, peer: PeerId) {
        if let Some(Role::Talker { stream: key }) = self.peers.get(&peer).copied() {
            self.peers.remove(&peer);
            self.with(net, key, |stream, ctx| {
                if stream.talker() == Some(peer) {
                    stream.hang_up(ctx.net);
                }
            });
            return;
        }
        let Some(Role::Publisher { stream: key }) = self.peers.get(&peer).copied() else {
            return;
        };
        self.peers.remove(&peer);
        let stream = &mut self.streams[key];
        if stream.publisher() == Some(peer) {
            stream.remove_publisher(Instant::now());
        }
        self.tell(net, key, Outcome::default());
    }

    /// Returns `true` if the peer watches or publishes a stream.
    pub fn owns(&self, peer: PeerId) -> bool {
        self.peers.contains_key(&peer)
    }

    /// Handles an event of any peer; events of other peers are ignored.
    pub fn handle_peer_event(&mut self, net: &mut EventLoop, peer: PeerId, event: &PeerEvent) {
        let Some(role) = self.peers.get(&peer).copied() else {
            return;
        };
        let is_closed = matches!(
            event,
            PeerEvent::ConnectionStateChange(ConnectionState::Closed)
        );
        match role {
            Role::Viewer { .. } if is_closed => self.remove_viewer(net, peer),
            Role::Viewer { stream, .. } => {
                self.with(net, stream, |stream, ctx| {
                    stream.handle_viewer(ctx, peer, event);
                });
            }
            Role::Publisher { stream } => {
                self.with(net, stream, |stream, ctx| {
                    stream.handle_publisher(ctx, peer, event);
                });
                if is_closed {
                    self.remove_publisher(net, peer);
                }
            }
            Role::Talker { .. } if is_closed => self.remove_publisher(net, peer),
            Role::Talker { stream } => {
                self.with(net, stream, |stream, ctx| stream.handle_talker(ctx, event));
            }
        }
    }

    /// Handles a datagram received on a socket of the application ([`EventLoop::poll_datagram`]). Returns `true` if it
    /// belongs to a stream.
    pub fn handle_datagram(&mut self, net: &mut EventLoop, datagram: &Datagram) -> bool {
        let mut streams = self.streams.iter();
        let Some((key, _)) = streams.find(|(_, s)| s.has_socket(datagram.socket)) else {
            return false;
        };
        self.with(net, key, |stream, ctx| {
            stream.handle_datagram(ctx, datagram)
        });
        true
    }

    /// Handles an event of a connection of the application ([`EventLoop::poll_tcp`]). Returns `true` if it belongs to a
    /// stream.
    pub fn handle_tcp(&mut self, net: &mut EventLoop, event: &TcpEvent) -> bool {
        let mut streams = self.streams.iter();
        let Some((key, _)) = streams.find(|(_, s)| s.has_tcp(event.socket)) else {
            return false;
        };
        self.with(net, key, |stream, ctx| stream.handle_tcp(ctx, event));
        true
    }

    /// Stops all sources. Cameras are told, without waiting for their answer; the loop sends it in its
    /// [`shutdown`](EventLoop::shutdown).
    pub fn close(&mut self, net: &mut EventLoop) {
        for (_, stream) in &mut self.streams {
            stream.stop(net, StreamState::Idle);
            stream.hang_up(net);
            stream.abandon(net);
        }
    }

    /// Does what is due: sends frames, starts and stops sources, requests keyframes. Call it when
    /// [`next_deadline`](Self::next_deadline) has come, and whenever the loop was woken.
    pub fn handle_timeout(&mut self, net: &mut EventLoop, now: Instant) {
        for key in 0..self.streams.capacity() {
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            let mut ctx = context(net, &self.config, self.epoch, &self.peer, now);
            stream.handle_timeout(&mut ctx);
            let news = ctx.outcome;
            self.tell(net, key, news);
            self.forget_retired(key);
        }
    }

    /// Returns the time by which [`handle_timeout`](Self::handle_timeout) has to be called, if any.
    pub fn next_deadline(&self) -> Option<Instant> {
        let all = self.streams.iter();
        all.filter_map(|(_, s)| s.next_deadline(&self.config)).min()
    }

    /// Returns the next event, if any. At most 1,024 are queued.
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    /// Returns the publisher of a stream, if there is one.
    pub fn publisher(&self, name: &str) -> Option<PeerId> {
        let stream = self.streams.get(*self.names.get(name)?)?;
        stream.publisher()
    }

    fn key(&self, name: &str) -> Result<usize, StreamError> {
        let key = self.names.get(name).copied();
        key.ok_or_else(|| StreamError::NoSuchStream(name.to_owned()))
    }

    fn with(
        &mut self,
        net: &mut EventLoop,
        key: usize,
        act: impl FnOnce(&mut Stream, &mut Context<'_>),
    ) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        let mut ctx = context(net, &self.config, self.epoch, &self.peer, Instant::now());
        act(stream, &mut ctx);
        let news = ctx.outcome;
        self.tell(net, key, news);
    }

    /// Converts changes of a stream to events.
    fn tell(&mut self, net: &mut EventLoop, key: usize, news: Outcome) {
        for peer in news.joined {
            self.peers.insert(peer, Role::Publisher { stream: key });
        }
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.stats.keyframes_asked += news.keyframes_asked;
        let mut events = Vec::new();
        if std::mem::take(&mut stream.is_news) && !stream.is_retired() {
            events.push(StreamEvent::StateChange {
                stream: stream.name.clone(),
            });
        }
        for (peer, kind, codec) in news.undecodable {
            let track = stream.tracks.iter().find(|t| t.kind == kind);
            let transceiver = track.and_then(|t| t.leg(peer)).map(|leg| leg.transceiver);
            let agreed = net.peer(peer).map(|p| p.transceivers()).unwrap_or_default();
            let of_it = agreed.iter().find(|t| Some(t.id) == transceiver);
            let mut agreed: Vec<_> = of_it
                .iter()
                .flat_map(|t| &t.codecs)
                .map(|c| c.codec)
                .collect();
            agreed.dedup();
            let event = StreamEvent::Undecodable {
                peer,
                stream: stream.name.clone(),
                kind,
                codec,
                agreed,
            };
            crate::seldom::seldom!(warn, "{event}");
            events.push(event);
        }
        for peer in news.outdated {
            if let Ok(mut peer) = net.peer(peer) {
                peer.close();
            }
        }
        for event in events {
            if self.events.len() >= MAX_EVENTS {
                self.events.pop_front();
            }
            self.events.push_back(event);
        }
    }
}

fn context<'a>(
    net: &'a mut EventLoop,
    config: &'a StreamsConfig,
    epoch: Instant,
    peer: &'a PeerConfig,
    now: Instant,
) -> Context<'a> {
    Context {
        net,
        config,
        epoch,
        now,
        peer,
        outcome: Outcome::default(),
    }
}

fn check_limit(limit: &'static str, used: usize, value: usize) -> Result<(), StreamError> {
    match used < value {
        true => Ok(()),
        false => Err(StreamError::LimitReached { limit, value }),
    }
}
