//! Named streams: files, pipes, plain RTP, publishers; each for any number of viewers.
//!
//! A stream has a name and a [source](SourceConfig). The source is started with the first viewer and stopped some
//! seconds after the last; a live pipe is read all the time. A source that fails is started again, later each time. Whoever comes sees the first picture
//! at once: the latest keyframe and what follows it is kept, or the publisher is asked for one.
//!
//! ```text
//!   file ─────── thread ─► queue ─► pacer ─┐                    ┌─► viewer (a peer)
//!   live pipe ── thread ─► queue ──────────┤                    │
//!   plain RTP ── handle_datagram ──────────┼─► feed ─► tracks ──┼─► viewer
//!   publisher ── handle_peer_event ────────┘   keyframe and     └─► viewer
//!                                              what follows
//! ```
//!
//! Of HTTP it knows nothing. Whoever has the peers makes one for a viewer, with
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
//! // Somebody asks for it, by whatever signaling.
//! let mode = streams.media_mode("card").ok_or("no such stream")?;
//! let viewer = net.add_peer(PeerConfig::default().media_mode(mode))?;
//! streams.add_viewer(&mut net, "card", viewer)?;
//! // … its offer is taken and answered …
//! loop {
//!     let wait = streams.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
//!     if let Some((peer, event)) = net.next_event(wait)? {
//!         streams.handle_peer_event(&mut net, peer, &event);
//!     }
//!     while let Some(datagram) = net.poll_datagram() {
//!         streams.handle_datagram(&mut net, &datagram);
//!     }
//!     streams.handle_timeout(&mut net, Instant::now());
//!     while let Some(event) = streams.poll_event() {
//!         println!("{event}");
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`handle_timeout`](Streams::handle_timeout) belongs into every round: threads that read files wake the loop,
//! which then says nothing.

mod cache;
mod config;
mod health;
mod info;
mod keyframes;
mod kind;
mod notices;
mod play;
mod publisher;
mod source;
mod sources;
mod stream;
mod tracks;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use slab::Slab;

use self::kind::{Context, Outcome};
use self::stream::Stream;
use crate::driver::{Datagram, EventLoop, PeerId};
use crate::proto::media::Codec;
use crate::proto::peer::{
    ConnectionState, MediaKind, MediaMode, PeerConfig, PeerEvent, SignalingState,
    TransceiverConfig, TransceiverId,
};

pub use self::config::StreamsConfig;
pub use self::info::{
    StreamError, StreamEvent, StreamInfo, StreamState, StreamStats, ViewerStats, ViewerTrack,
};
pub use self::kind::SourceConfig;
pub use self::source::SourceError;
pub use self::sources::RtpInput;

/// Events that were not taken; the oldest go first.
const MAX_EVENTS: usize = 1024;

#[derive(Debug, Clone, Copy)]
enum Role {
    Viewer { stream: usize, since: Instant },
    Publisher { stream: usize },
}

/// The streams that a server offers. See the [module](self).
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
    /// No streams yet.
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

    /// What the peers are made with that watch other servers for us (WHEP): ICE servers, addresses.
    #[must_use]
    pub fn pull_with(mut self, config: PeerConfig) -> Self {
        self.peer = config;
        self
    }

    /// Adds a stream. Files are looked into at once, to know what viewers are to be offered; one that cannot be
    /// read is no error here, but [`Failed`](StreamState::Failed), and is tried again with the first viewer.
    ///
    /// # Errors
    ///
    /// [`StreamError::BadName`], [`StreamError::NameTaken`], [`StreamError::InputTaken`],
    /// [`StreamError::LimitReached`].
    pub fn add(&mut self, name: &str, source: SourceConfig) -> Result<(), StreamError> {
        source::check_name(name).map_err(StreamError::BadName)?;
        if self.names.contains_key(name) {
            return Err(StreamError::NameTaken(name.to_owned()));
        }
        check_limit("max_streams", self.streams.len(), self.config.max_streams)?;
        let is_input = |s: &SourceConfig| s.kind().is_standard_input();
        if is_input(&source) && self.streams.iter().any(|(_, s)| is_input(&s.source)) {
            return Err(StreamError::InputTaken);
        }
        let stream = Stream::new(name.to_owned(), source);
        let key = self.streams.insert(stream);
        self.names.insert(name.to_owned(), key);
        Ok(())
    }

    /// Ends a stream. Its viewers and its publisher are sent nothing any more and do not belong to it; to close
    /// them is left to whoever made them: who they are is returned.
    ///
    /// # Errors
    ///
    /// [`StreamError::NoSuchStream`].
    pub fn remove(&mut self, net: &mut EventLoop, name: &str) -> Result<Vec<PeerId>, StreamError> {
        let key = self.key(name)?;
        self.names.remove(name);
        let mut stream = self.streams.remove(key);
        stream.stop(net, StreamState::Idle);
        let mut gone = Vec::new();
        self.peers.retain(|peer, role| {
            let (Role::Viewer { stream, .. } | Role::Publisher { stream }) = *role;
            if stream == key {
                gone.push(*peer);
            }
            stream != key
        });
        self.viewers -= stream.viewers().min(self.viewers);
        Ok(gone)
    }

    /// All streams, by name.
    pub fn list(&self) -> impl Iterator<Item = StreamInfo> + '_ {
        let now = Instant::now();
        self.names
            .values()
            .filter_map(move |key| self.streams.get(*key).map(|s| s.info(now)))
    }

    /// One stream.
    pub fn info(&self, name: &str) -> Option<StreamInfo> {
        let stream = self.streams.get(*self.names.get(name)?)?;
        Some(stream.info(Instant::now()))
    }

    /// What the peer of a viewer of this stream is to be made with
    /// ([`PeerConfig::media_mode`](crate::proto::peer::PeerConfig::media_mode)); that of a publisher always has
    /// [`MediaMode::Packets`].
    pub fn media_mode(&self, name: &str) -> Option<MediaMode> {
        let stream = self.streams.get(*self.names.get(name)?)?;
        Some(stream.media_mode())
    }

    /// Returns the codecs of a stream that will not change while nobody else comes to publish it: empty where they are not
    /// known yet, or there is no such stream.
    pub(crate) fn settled_codecs(&self, name: &str) -> Vec<Codec> {
        let stream = self.names.get(name).and_then(|key| self.streams.get(*key));
        stream.map_or_else(Vec::new, |s| s.settled_codecs())
    }

    /// Whether a publisher may come to this stream: it is one for publishers.
    pub fn is_published(&self, name: &str) -> bool {
        let stream = self.names.get(name).and_then(|key| self.streams.get(*key));
        stream.is_some_and(|s| s.source.is_published())
    }

    /// Adds the tracks of this stream to a peer, and sends them to it as soon as it is connected. A negotiation follows:
    /// the peer is to answer an offer, which it has or has not been given yet, or to make one.
    ///
    /// # Errors
    ///
    /// [`StreamError::NoSuchStream`], [`StreamError::LimitReached`], [`StreamError::PeerTaken`],
    /// [`StreamError::Peer`].
    pub fn add_viewer(
        &mut self,
        net: &mut EventLoop,
        name: &str,
        peer: PeerId,
    ) -> Result<(), StreamError> {
        let key = self.key(name)?;
        if self.peers.contains_key(&peer) {
            return Err(StreamError::PeerTaken);
        }
        let stream = &mut self.streams[key];
        check_limit("max_viewers", self.viewers, self.config.max_viewers)?;
        let limit = self.config.max_viewers_per_stream;
        check_limit("max_viewers_per_stream", stream.viewers(), limit)?;
        let tracks = add_tracks(net, peer, stream.viewer_tracks())?;
        let now = Instant::now();
        let mut ctx = context(net, &self.config, self.epoch, &self.peer, now);
        stream.add_viewer(&mut ctx, peer, tracks);
        let role = Role::Viewer {
            stream: key,
            since: now,
        };
        self.peers.insert(peer, role);
        self.viewers += 1;
        let news = ctx.outcome;
        self.tell(net, key, news);
        Ok(())
    }

    /// Takes a viewer away; its tracks are removed from the peer, if that is not closed. Nothing happens when it is
    /// none.
    pub fn remove_viewer(&mut self, net: &mut EventLoop, peer: PeerId) {
        let Some(Role::Viewer { stream: key, .. }) = self.peers.get(&peer).copied() else {
            return;
        };
        self.peers.remove(&peer);
        self.viewers = self.viewers.saturating_sub(1);
        let stream = &mut self.streams[key];
        for track in &stream.tracks {
            let leg = track.leg(peer).map(|leg| leg.transceiver);
            if let (Some(transceiver), Ok(mut peer)) = (leg, net.peer(peer)) {
                // A peer that is closed sends it no more either.
                let _ = peer.remove_track(transceiver);
            }
        }
        stream.remove_viewer(peer, Instant::now());
    }

    /// Makes this peer, which has [`MediaMode::Packets`], the source of a stream. What it sends, of each kind the
    /// first track that comes, goes to all viewers.
    ///
    /// One that is there already is replaced when nothing has come of it for
    /// [`publisher_patience`](StreamsConfig::publisher_patience); its peer is then closed.
    ///
    /// # Errors
    ///
    /// [`StreamError::NoSuchStream`], [`StreamError::NotPublished`], [`StreamError::HasPublisher`],
    /// [`StreamError::PeerTaken`].
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

    /// The peer publishes no more; the stream waits for another one, and so do its viewers. Nothing happens when
    /// it is none.
    pub fn remove_publisher(&mut self, net: &mut EventLoop, peer: PeerId) {
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

    /// Whether the peer watches or publishes here.
    pub fn owns(&self, peer: PeerId) -> bool {
        self.peers.contains_key(&peer)
    }

    /// Tells of an event of a peer, any peer.
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
        }
    }

    /// Takes a datagram that has come to a socket of the application
    /// ([`EventLoop::poll_datagram`]). Whether it was for a stream.
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

    /// Does what is due: sends frames, starts and stops sources, asks for keyframes. To be called when
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
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        let all = self.streams.iter();
        all.filter_map(|(_, s)| s.next_deadline(&self.config)).min()
    }

    /// What has happened since. 1,024 events are kept.
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    /// Viewers of all streams together.
    pub fn viewer_count(&self) -> usize {
        self.viewers
    }

    /// What is known of a viewer; `None`: it is none.
    pub fn viewer_stats(&self, peer: PeerId) -> Option<ViewerStats> {
        let Some(Role::Viewer { stream, since }) = self.peers.get(&peer).copied() else {
            return None;
        };
        let stream = self.streams.get(stream)?;
        let legs = stream
            .tracks
            .iter()
            .filter_map(|t| Some((t.kind, t.leg(peer)?)));
        let first = legs.clone().filter_map(|(_, leg)| leg.first_sent).min();
        Some(ViewerStats {
            peer,
            stream: stream.name.clone(),
            since,
            first_sent_after: first.map(|at| at.saturating_duration_since(since)),
            tracks: legs.map(|(kind, leg)| leg.stats(kind)).collect(),
        })
    }

    /// Who watches a stream.
    pub fn viewers(&self, name: &str) -> Vec<PeerId> {
        let Some(key) = self.names.get(name) else {
            return Vec::new();
        };
        let of = |(peer, role): (&PeerId, &Role)| match role {
            Role::Viewer { stream, .. } if stream == key => Some(*peer),
            _ => None,
        };
        self.peers.iter().filter_map(of).collect()
    }

    /// Who publishes a stream.
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

    /// Makes events of what has become of a stream.
    fn tell(&mut self, net: &mut EventLoop, key: usize, news: Outcome) {
        for peer in news.joined {
            self.peers.insert(peer, Role::Publisher { stream: key });
        }
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.stats.keyframes_asked += news.keyframes_asked;
        let mut events = Vec::new();
        if std::mem::take(&mut stream.is_news) {
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

/// Adds all of these to a peer, or none. Of a peer that has an offer already only what that asks for.
fn add_tracks(
    net: &mut EventLoop,
    peer: PeerId,
    tracks: Vec<(MediaKind, TransceiverConfig)>,
) -> Result<Vec<(MediaKind, TransceiverId)>, StreamError> {
    let closed = |_| StreamError::Peer(crate::proto::peer::PeerError::Closed);
    let mut peer = net.peer(peer).map_err(closed)?;
    let has_offer = peer.signaling_state() == SignalingState::HaveRemoteOffer;
    let mut added = Vec::new();
    for (kind, config) in tracks {
        let asked = peer.transceivers().iter().any(|t| t.kind == kind);
        if has_offer && !asked {
            continue;
        }
        match peer.add_track(kind, config) {
            Ok(transceiver) => added.push((kind, transceiver)),
            Err(error) => {
                for (_, transceiver) in added {
                    // It was added a moment ago.
                    let _ = peer.remove_track(transceiver);
                }
                return Err(error.into());
            }
        }
    }
    Ok(added)
}
