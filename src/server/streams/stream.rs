//! A stream: its source, its state, its viewers.

mod published;
mod quirks;
mod ready;
mod retired;
mod talk;
mod viewers;

use std::time::{Duration, Instant};

use super::config::StreamsConfig;
use super::health::{Fault, Health};
use super::info::{StreamInfo, StreamState, StreamStats};
use super::kind::{
    Contents, Context, Live, Media, Runs, Source, SourceConfig, SourceEvent, Stopped,
};
use super::notices::Notices;
use super::tracks::Track;
use crate::driver::{Datagram, EventLoop, TcpEvent, TcpId, UdpId};
use crate::proto::media::Codec;
use crate::proto::peer::{MediaKind, MediaMode};
use crate::proto::rtsp::Quirks;

/// Playback time after which a start counts as successful.
const PROVEN: Duration = Duration::from_secs(10);

/// Maximum number of stopped sources that are still ending their sessions.
const MAX_ENDING: usize = 4;

/// Interval of checks for viewers that still wait for a keyframe: the request, or its answer, may have been lost.
const LOOK: Duration = Duration::from_secs(1);

/// A stream, by name.
#[derive(Debug)]
pub(super) struct Stream {
    pub name: String,
    pub source: SourceConfig,
    runs: Runs,
    /// When a source that always runs is started for the first time.
    begin_at: Option<Instant>,
    /// Set once the source has ended and cannot be reopened.
    is_spent: bool,
    /// Set once the stream is removed; it only ends its sessions.
    is_retired: bool,
    state: StreamState,
    notices: Notices,
    /// Health of a live source's video.
    health: Health,
    /// Set if the state has changed and was not reported.
    pub is_news: bool,
    running: Option<Box<dyn Source>>,
    /// A source that cannot be reopened, while there are no viewers.
    paused: Option<Box<dyn Source>>,
    /// Stopped sources that are still ending their sessions.
    ending: Vec<Box<dyn Source>>,
    /// The session that talks to the camera.
    talker: talk::Talker,
    /// Video, audio.
    pub tracks: [Track; 2],
    viewers: usize,
    /// Time since which there are no viewers.
    empty_since: Option<Instant>,
    /// The source runs without viewers, too.
    is_kept: bool,
    /// Number of consecutive failures.
    failures: u32,
    live_since: Option<Instant>,
    /// When it was last checked whether viewers wait for a keyframe.
    looked: Option<Instant>,
    /// Faults tolerated in sessions that are over.
    quirks: Quirks,
    /// Statistics, except for those of the tracks.
    pub stats: StreamStats,
}

fn index_of(kind: MediaKind) -> usize {
    match kind {
        MediaKind::Video => 0,
        MediaKind::Audio => 1,
    }
}

impl Stream {
    pub fn new(name: String, source: SourceConfig) -> Self {
        let runs = source.kind().runs();
        let state = match runs {
            Runs::Published => StreamState::Waiting,
            Runs::OnDemand | Runs::Always => StreamState::Idle,
        };
        let mut stream = Self {
            name,
            source,
            runs,
            begin_at: (runs == Runs::Always).then(Instant::now),
            is_spent: false,
            is_retired: false,
            state,
            notices: Notices::default(),
            health: Health::default(),
            is_news: false,
            running: None,
            paused: None,
            ending: Vec::new(),
            talker: talk::Talker::default(),
            tracks: [MediaKind::Video, MediaKind::Audio].map(Track::new),
            viewers: 0,
            empty_since: None,
            is_kept: false,
            failures: 0,
            live_since: None,
            looked: None,
            quirks: Quirks::default(),
            stats: StreamStats::default(),
        };
        stream.probe();
        stream
    }

    /// Returns the mode of a viewer's peer.
    pub fn media_mode(&self) -> MediaMode {
        self.source.kind().media_mode()
    }

    /// Determines the contents of the source before there are viewers, so that they are offered the right codecs.
    fn probe(&mut self) {
        match self.source.kind().probe() {
            None => {}
            Some(Ok(contents)) => self.set_contents(contents),
            Some(Err(why)) => {
                self.log_failure(&why, None);
                self.set_state(StreamState::Failed {
                    why,
                    retry_at: None,
                });
            }
        }
    }

    fn set_contents(&mut self, contents: Contents) {
        self.set_codecs(&contents.codecs);
        contents.notes.into_iter().for_each(|note| self.note(note));
    }

    fn note(&mut self, note: String) {
        self.is_news |= self.notices.note(&self.name, note);
    }

    /// Returns `true` if the source has to run.
    fn is_wanted(&self) -> bool {
        self.viewers > 0 || self.is_kept || self.runs == Runs::Always
    }

    fn log_failure(&mut self, why: &str, again_in: Option<Duration>) {
        self.notices.failed(&self.name, why, again_in);
    }

    fn set_codecs(&mut self, codecs: &[Codec]) {
        for track in &mut self.tracks {
            track.set_codecs(codecs);
        }
    }

    fn set_state(&mut self, state: StreamState) {
        if self.state != state {
            log::debug!("stream {}: {}", self.name, state.as_str());
            self.state = state;
            self.is_news = true;
        }
    }

    fn codecs(&self) -> Vec<Codec> {
        let feeds = self.tracks.iter().flat_map(|t| &t.feeds);
        feeds.map(|f| f.codec).collect()
    }

    pub fn info(&self, now: Instant) -> StreamInfo {
        let sum = |of: fn(&Track) -> u64| self.tracks.iter().map(of).sum();
        StreamInfo {
            name: self.name.clone(),
            source: self.source.to_string(),
            directories: self.source.directories(),
            state: self.state.clone(),
            viewers: self.viewers,
            codecs: self.codecs(),
            notes: self.notices.notes().to_vec(),
            quirks: self.quirks().met().collect(),
            stats: StreamStats {
                packets: sum(|t| t.packets),
                bytes: sum(|t| t.bytes),
                bitrate: self.tracks.iter().map(|t| t.bitrate(now)).sum(),
                keyframes: sum(|t| t.keyframes),
                sent: sum(|t| t.sent),
                keyframe_requests: sum(|t| t.keyframe_requests),
                ..self.stats
            },
            sub: None,
            talk: self.talk_state(),
        }
    }

    fn start(&mut self, ctx: &mut Context<'_>) {
        self.begin_at = None;
        let run = self.stats.starts as u32;
        let started = match self.paused.take() {
            Some(paused) => Ok(paused),
            None => self.source.kind().start(ctx, run),
        };
        match started {
            Ok(source) => self.run(ctx, source),
            Err(why) => {
                self.stats.starts += 1;
                self.live_since = None;
                self.fail(ctx, why, Duration::ZERO);
            }
        }
    }

    /// Takes over a source that was started.
    fn run(&mut self, ctx: &mut Context<'_>, source: Box<dyn Source>) {
        self.stats.starts += 1;
        self.live_since = None;
        self.looked = None;
        self.health = Health::default();
        self.running = Some(source);
        self.set_state(StreamState::Starting);
        for track in &mut self.tracks {
            track.restart(ctx.now);
        }
        self.reconnect(ctx);
        self.poll(ctx);
    }

    /// Stops the source, because there are no viewers or the stream is removed.
    pub fn stop(&mut self, net: &mut EventLoop, state: StreamState) {
        if let Some(source) = self.running.take() {
            self.end_session(net, source);
        }
        let now = Instant::now();
        for track in &mut self.tracks {
            track.restart(now);
        }
        self.set_state(state);
    }

    /// Stops a source; what it still has to do is done later.
    fn end_session(&mut self, net: &mut EventLoop, source: Box<dyn Source>) {
        let mut ended = self.quirks.clone();
        source.add_quirks(&mut ended);
        match source.stop(net) {
            Stopped::Gone => self.quirks = ended,
            Stopped::Paused(source) => self.paused = Some(source),
            Stopped::Ending(source) => {
                // There is more than one only if sessions end very slowly.
                if self.ending.len() >= MAX_ENDING {
                    let mut oldest = self.ending.remove(0);
                    oldest.add_quirks(&mut self.quirks);
                    oldest.abandon(net);
                }
                self.ending.push(source);
            }
        }
    }

    /// Stops the source and schedules the next attempt, not before `at_least` has passed.
    fn fail(&mut self, ctx: &mut Context<'_>, why: String, at_least: Duration) {
        let has_proven = |since: Instant| ctx.now.saturating_duration_since(since) >= PROVEN;
        if self.live_since.take().is_some_and(has_proven) {
            self.failures = 0;
        }
        let (min, max) = (ctx.config.min_backoff, ctx.config.max_backoff);
        let wait = min.saturating_mul(1 << self.failures.min(16)).min(max);
        let wait = wait.max(at_least);
        self.failures = self.failures.saturating_add(1);
        self.stats.failures += 1;
        self.log_failure(&why, Some(wait));
        self.stop(
            ctx.net,
            StreamState::Failed {
                why,
                retry_at: Some(ctx.now + wait),
            },
        );
        // A failed source is reopened if possible.
        self.paused = None;
        self.spend();
    }

    /// Handles the end of the standard input, which cannot be reopened: the state stays.
    fn spend(&mut self) {
        if !self.source.kind().is_standard_input() {
            return;
        }
        (self.is_spent, self.paused) = (true, None);
        if let StreamState::Failed { retry_at, .. } = &mut self.state {
            *retry_at = None;
        }
    }

    /// Handles incoming media: the stream is live, unless nobody can decode it.
    fn has_come(&mut self, codec: Codec, is_key: bool, live: Live, now: Instant) {
        let (lacks_sets, fault) = match live {
            Live::AtOnce => return self.live(now),
            Live::WithKeyframe => (false, None),
            Live::WhenDecodable { lacks_sets } if codec.is_video() => {
                let fault = self.health.note(codec, is_key, lacks_sets, now);
                (lacks_sets, fault)
            }
            Live::WhenDecodable { .. } => (false, None),
        };
        match fault {
            Some(Fault::Undecodable(why)) => self.trouble(why),
            Some(Fault::Rare(note)) => self.note(note),
            None => {
                let has_video = self
                    .tracks
                    .iter()
                    .any(|t| t.kind == MediaKind::Video && !t.feeds.is_empty());
                let can_begin = match codec.is_video() {
                    true => is_key && !lacks_sets,
                    false => !has_video,
                };
                if can_begin || !self.is_blind() {
                    self.live(now);
                }
            }
        }
    }

    /// Returns `true` if the incoming media cannot be decoded; it is still read, because it may improve.
    fn is_blind(&self) -> bool {
        self.running.is_some() && matches!(self.state, StreamState::Failed { .. })
    }

    /// Handles invalid data from the writer of a named pipe; the next one may do better.
    fn trouble(&mut self, why: String) {
        self.stats.failures += 1;
        self.log_failure(&why, None);
        self.set_state(StreamState::Failed {
            why,
            retry_at: None,
        });
    }

    fn live(&mut self, now: Instant) {
        if self.state != StreamState::Live {
            self.notices.recovered();
            self.live_since.get_or_insert(now);
            self.set_state(StreamState::Live);
        }
    }

    /// Performs work whose deadline has passed.
    pub fn handle_timeout(&mut self, ctx: &mut Context<'_>) {
        if self
            .empty_since
            .is_some_and(|at| at + ctx.config.grace <= ctx.now)
        {
            self.empty_since = None;
            // A failed stream keeps its reason until a viewer joins.
            match &self.state {
                StreamState::Failed { why, .. } => {
                    let why = why.clone();
                    self.set_state(StreamState::Failed {
                        why,
                        retry_at: None,
                    });
                }
                _ if self.runs == Runs::OnDemand && !self.is_wanted() && self.running.is_some() => {
                    self.stop(ctx.net, StreamState::Idle);
                }
                _ => {}
            }
        }
        if let StreamState::Failed {
            retry_at: Some(at), ..
        } = self.state
            && at <= ctx.now
            && self.is_wanted()
        {
            self.start(ctx);
        }
        if self.begin_at.take_if(|at| *at <= ctx.now).is_some() {
            self.start(ctx);
        }
        self.ending.retain_mut(|source| {
            source.handle_timeout(ctx);
            let is_over = source.is_over();
            if is_over {
                source.add_quirks(&mut self.quirks);
            }
            !is_over
        });
        for track in &mut self.tracks {
            track.flush(ctx.net, ctx.now);
        }
        if let Some(source) = &mut self.running {
            source.handle_timeout(ctx);
        }
        if let Some(session) = &mut self.talker.session {
            session.handle_timeout(ctx);
        }
        self.poll(ctx);
    }

    /// Handles all events of the source, and of the talker's session.
    fn poll(&mut self, ctx: &mut Context<'_>) {
        self.poll_talker(ctx);
        while let Some(event) = self.running.as_mut().and_then(|source| source.poll(ctx)) {
            match event {
                SourceEvent::Tracks(contents) => {
                    self.set_contents(contents);
                    self.reconnect(ctx);
                }
                SourceEvent::Note(note) => self.note(note),
                SourceEvent::Media(media) => self.take(ctx, media),
                SourceEvent::Pause => self.set_state(StreamState::Starting),
                SourceEvent::Trouble(why) => self.trouble(why),
                SourceEvent::Ended => {
                    self.stop(ctx.net, StreamState::Ended);
                    return self.spend();
                }
                SourceEvent::Failed(why) => return self.fail(ctx, why, Duration::ZERO),
                SourceEvent::Refused { why, again_in } => return self.fail(ctx, why, again_in),
            }
        }
    }

    /// Sends media of the source to the viewers.
    fn take(&mut self, ctx: &mut Context<'_>, media: Media) {
        let Media {
            codec,
            content,
            is_key,
            live,
        } = media;
        self.has_come(codec, is_key, live, ctx.now);
        let index = index_of(MediaKind::of(codec));
        if self.tracks[index].feeds.iter().all(|f| f.codec != codec) {
            self.tracks[index].set_codecs(&[codec]);
            self.reconnect(ctx);
        }
        let mut config = ctx.config.clone();
        config.max_kept_bytes = self.source.kind().max_kept_bytes(ctx.config);
        let track = &mut self.tracks[index];
        track.write(ctx.net, codec, content, is_key, &config, ctx.now);
        let is_due = |at: Instant| ctx.now.saturating_duration_since(at) >= LOOK;
        if codec.is_video() && self.looked.is_none_or(is_due) {
            self.looked = Some(ctx.now);
            if self.tracks[index].wants_keyframe() {
                self.want_keyframe(ctx);
            }
        }
    }

    /// Requests a keyframe from the source.
    fn want_keyframe(&mut self, ctx: &mut Context<'_>) {
        if let Some(source) = &mut self.running {
            source.want_keyframe(ctx);
        }
    }

    /// Returns `true` if the socket belongs to the source.
    pub fn has_socket(&self, socket: UdpId) -> bool {
        let mut sources = self.running.iter().chain(&self.talker.session);
        sources.any(|source| source.has_socket(socket))
    }

    /// Handles a datagram for the source.
    pub fn handle_datagram(&mut self, ctx: &mut Context<'_>, datagram: &Datagram) {
        let mut sources = self.running.iter_mut().chain(&mut self.talker.session);
        if let Some(source) = sources.find(|source| source.has_socket(datagram.socket)) {
            source.handle_datagram(ctx, datagram);
            self.poll(ctx);
        }
    }

    /// Returns `true` if the connection belongs to the source, or to one that is ending its session.
    pub fn has_tcp(&self, connection: TcpId) -> bool {
        let sessions = self.running.iter().chain(&self.talker.session);
        let mut sources = sessions.chain(&self.ending);
        sources.any(|source| source.has_tcp(connection))
    }

    /// Handles an event of a connection.
    pub fn handle_tcp(&mut self, ctx: &mut Context<'_>, event: &TcpEvent) {
        let sessions = self.running.iter_mut().chain(&mut self.talker.session);
        let mut sources = sessions.chain(&mut self.ending);
        if let Some(source) = sources.find(|source| source.has_tcp(event.socket)) {
            source.handle_tcp(ctx, event);
            self.poll(ctx);
        }
    }

    /// Releases everything that sources use which are still ending their sessions.
    pub fn abandon(&mut self, net: &mut EventLoop) {
        for mut source in self.ending.drain(..) {
            source.abandon(net);
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) has work to do.
    pub fn next_deadline(&self, config: &StreamsConfig) -> Option<Instant> {
        let grace = self.empty_since.map(|at| at + config.grace);
        let retry = match &self.state {
            StreamState::Failed { retry_at, .. } if self.is_wanted() => *retry_at,
            _ => None,
        };
        let sessions = self.running.iter().chain(&self.talker.session);
        let sources = sessions.chain(&self.ending);
        let due = sources.filter_map(|source| source.next_deadline());
        let portions = self.tracks.iter().filter_map(Track::deadline);
        let all = [grace, retry, self.begin_at].into_iter().flatten();
        all.chain(due).chain(portions).min()
    }
}
