//! One stream: its source, its state, its viewers.

mod published;
mod viewers;

use std::time::{Duration, Instant};

use super::clip::Clip;
use super::clips::Clips;
use super::config::StreamsConfig;
use super::health::{Fault, Health};
use super::info::{StreamInfo, StreamState, StreamStats};
use super::keyframes::begins_keyframe;
use super::notices::Notices;
use super::publisher::Publisher;
use super::reader::{self, Contents, Input};
use super::rtp::{self, RtpInputs};
use super::source::SourceConfig;
use super::tracks::{Track, shared_frame};
use super::whep;
use crate::driver::peers::Queued;
use crate::driver::{Datagram, EventLoop, PeerId, UdpId};
use crate::proto::media::Codec;
use crate::proto::peer::{EncodedFrame, MediaKind, MediaMode, PeerConfig, RtpPacket};
use crate::server::token::Token;
use crate::signaling::whip::{WhipClient, WhipEvent};

/// A source that has played for this long has not just failed to start.
const PROVEN: Duration = Duration::from_secs(10);

/// How long a path to another server may be silent, once that is noticed. By then an ICE restart has been tried.
const LOST: Duration = Duration::from_secs(5);

/// Sessions with other servers that are waited for while they end.
const MAX_FAREWELLS: usize = 4;

/// A stream, by name.
#[derive(Debug)]
pub(super) struct Stream {
    pub name: String,
    pub source: SourceConfig,
    /// A pipe that is read whether or not anybody watches.
    is_live: bool,
    /// When a live pipe is opened for the first time.
    begin_at: Option<Instant>,
    /// The standard input has come to its end, or cannot be read: it cannot be opened again.
    is_spent: bool,
    state: StreamState,
    notices: Notices,
    /// Of the video of a live source.
    health: Health,
    /// The state has changed, and was not told.
    pub is_news: bool,
    running: Option<Running>,
    /// Pictures, sound.
    pub tracks: [Track; 2],
    viewers: usize,
    /// Nobody has watched since.
    empty_since: Option<Instant>,
    /// Failures one after the other.
    failures: u32,
    live_since: Option<Instant>,
    publisher: Option<Publisher>,
    /// Whether viewers wait for a keyframe was looked at then.
    looked: Option<Instant>,
    /// When the other server, which is silent, is given up.
    lost_at: Option<Instant>,
    /// Sessions with other servers that are being ended.
    farewells: Vec<WhipClient>,
    /// Counted apart from the tracks.
    stats: StreamStats,
}

#[derive(Debug)]
enum Running {
    Clips(Box<Clips>),
    /// A pipe that nobody watches; it cannot be opened again.
    Paused(Box<Clips>),
    Rtp(Box<RtpInputs>),
    Whep(Box<WhipClient>),
}

/// What is the same for all streams.
pub(super) struct Context<'a> {
    pub net: &'a mut EventLoop,
    pub config: &'a StreamsConfig,
    /// What the times of frames count from.
    pub epoch: Instant,
    pub now: Instant,
    /// What a peer that watches another server is made with.
    pub peer: &'a PeerConfig,
    pub outcome: News,
}

/// What has come of something, for all streams.
#[derive(Default)]
pub(super) struct News {
    /// Viewers that cannot decode what comes.
    pub undecodable: Vec<(PeerId, MediaKind, Codec)>,
    /// Of these, those that may be able to, but were answered with the codec of another publisher: they have to ask anew.
    pub outdated: Vec<PeerId>,
    /// Peers of our own that the stream has now.
    pub joined: Vec<PeerId>,
}

fn index_of(kind: MediaKind) -> usize {
    match kind {
        MediaKind::Video => 0,
        MediaKind::Audio => 1,
    }
}

impl Stream {
    pub fn new(name: String, source: SourceConfig) -> Self {
        let state = match source.is_published() {
            true => StreamState::Waiting,
            false => StreamState::Idle,
        };
        let is_input = matches!(source, SourceConfig::Pipe { path: None, .. });
        let is_live = source.is_live() && !(is_input && reader::is_input_a_file());
        let mut stream = Self {
            name,
            source,
            is_live,
            begin_at: is_live.then(Instant::now),
            is_spent: false,
            state,
            notices: Notices::default(),
            health: Health::default(),
            is_news: false,
            running: None,
            tracks: [MediaKind::Video, MediaKind::Audio].map(Track::new),
            viewers: 0,
            empty_since: None,
            failures: 0,
            live_since: None,
            publisher: None,
            looked: None,
            lost_at: None,
            farewells: Vec::new(),
            stats: StreamStats::default(),
        };
        stream.probe();
        stream
    }

    /// What a viewer's peer is to be made with.
    pub fn media_mode(&self) -> MediaMode {
        match self.source {
            SourceConfig::TestCard | SourceConfig::Files { .. } | SourceConfig::Pipe { .. } => {
                MediaMode::Frames
            }
            _ => MediaMode::Packets,
        }
    }

    fn input(&self) -> Option<Input> {
        match &self.source {
            SourceConfig::TestCard => Some(Input::Card),
            SourceConfig::Files {
                paths,
                repeat,
                codec,
            } => Some(Input::Files {
                paths: paths.clone(),
                repeat: *repeat,
                codec: *codec,
            }),
            SourceConfig::Pipe { path, codec, .. } => Some(Input::Pipe {
                path: path.clone(),
                codec: *codec,
                live: self.is_live,
            }),
            _ => None,
        }
    }

    /// Finds out what a file holds before anybody comes, so that viewers are offered that.
    fn probe(&mut self) {
        let contents = match (&self.source, self.input()) {
            (SourceConfig::Rtp(inputs), _) => Ok(rtp::contents(inputs, Vec::new())),
            (SourceConfig::RtpFile(path), _) => {
                rtp::read_sdp(path).map(|(inputs, notes)| rtp::contents(&inputs, notes))
            }
            (_, Some(Input::Card)) => Ok(reader::card()),
            (_, Some(input)) => reader::probe(&input),
            _ => return,
        };
        match contents {
            Ok(contents) => self.set_contents(contents),
            Err(why) => {
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
            stats: StreamStats {
                packets: sum(|t| t.packets),
                bytes: sum(|t| t.bytes),
                bitrate: self.tracks.iter().map(|t| t.bitrate(now)).sum(),
                keyframes: sum(|t| t.keyframes),
                sent: sum(|t| t.sent),
                keyframe_requests: sum(|t| t.keyframe_requests),
                ..self.stats
            },
        }
    }

    fn start(&mut self, ctx: &mut Context<'_>) {
        self.begin_at = None;
        let handle = ctx.net.handle();
        let run = self.stats.starts as u32;
        let started = match (&self.source, self.input(), self.running.take()) {
            (_, _, Some(Running::Paused(clips))) => Ok(Running::Clips(clips)),
            (_, Some(input), _) => Clips::start(input, handle, ctx.config)
                .map(|clips| Running::Clips(Box::new(clips)))
                .map_err(|e| format!("no thread to read on: {e}")),
            (SourceConfig::Rtp(inputs), ..) => RtpInputs::open(ctx.net, inputs.clone(), run)
                .map(|inputs| Running::Rtp(Box::new(inputs))),
            (SourceConfig::RtpFile(path), ..) => rtp::read_sdp(path)
                .and_then(|(inputs, _)| RtpInputs::open(ctx.net, inputs, run))
                .map(|inputs| Running::Rtp(Box::new(inputs))),
            (SourceConfig::Whep { url, token }, ..) => {
                whep::start(ctx.net, url, token.as_ref().map(Token::expose), ctx.peer)
                    .map(|client| Running::Whep(Box::new(client)))
            }
            _ => return,
        };
        self.stats.starts += 1;
        self.live_since = None;
        self.health = Health::default();
        match started {
            Ok(running) => {
                match &running {
                    Running::Rtp(inputs) => self.set_codecs(&inputs.codecs()),
                    Running::Whep(client) => {
                        self.publisher = Some(Publisher::new(client.peer(), ctx.now));
                        ctx.outcome.joined.push(client.peer());
                    }
                    _ => {}
                }
                self.running = Some(running);
                self.set_state(StreamState::Starting);
                for track in &mut self.tracks {
                    track.restart(ctx.now);
                }
                self.reconnect(ctx);
            }
            Err(why) => self.fail(ctx, why),
        }
    }

    /// Ends the source; nobody watches, or the stream is removed.
    pub fn stop(&mut self, net: &mut EventLoop, state: StreamState) {
        let is_pipe = matches!(self.source, SourceConfig::Pipe { .. });
        match self.running.take() {
            Some(Running::Clips(mut clips)) if is_pipe => {
                clips.pause();
                self.running = Some(Running::Paused(clips));
            }
            Some(Running::Rtp(inputs)) => inputs.close(net),
            Some(Running::Whep(mut client)) => {
                client.close(net);
                (self.publisher, self.lost_at) = (None, None);
                // More than one is there only when they come to an end very slowly.
                self.farewells.truncate(MAX_FAREWELLS - 1);
                self.farewells.push(*client);
            }
            other => self.running = other.filter(|r| matches!(r, Running::Paused(_))),
        }
        let now = Instant::now();
        for track in &mut self.tracks {
            track.restart(now);
        }
        self.set_state(state);
    }

    fn fail(&mut self, ctx: &mut Context<'_>, why: String) {
        let has_proven = |since: Instant| ctx.now.saturating_duration_since(since) >= PROVEN;
        if self.live_since.take().is_some_and(has_proven) {
            self.failures = 0;
        }
        let (min, max) = (ctx.config.min_backoff, ctx.config.max_backoff);
        let wait = min.saturating_mul(1 << self.failures.min(16)).min(max);
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
        // A pipe that has failed is opened again.
        self.running = None;
        self.spend();
    }

    /// The standard input cannot be opened again: its state stays as it is.
    fn spend(&mut self) {
        if !matches!(self.source, SourceConfig::Pipe { path: None, .. }) {
            return;
        }
        (self.is_spent, self.running) = (true, None);
        if let StreamState::Failed { retry_at, .. } = &mut self.state {
            *retry_at = None;
        }
    }

    /// Something has come: the stream is live, unless nobody can decode it.
    fn has_come(&mut self, codec: Codec, is_key: bool, lacks_sets: bool, now: Instant) {
        // Of a file it is known beforehand.
        let is_watched_over = codec.is_video() && !matches!(self.input(), Some(i) if !i.is_live());
        let fault = match is_watched_over {
            true => self.health.note(codec, is_key, lacks_sets, now),
            false => None,
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

    /// Returns `true` if the incoming media cannot be decoded; it is read all the same, as it may become better.
    fn is_blind(&self) -> bool {
        self.running.is_some() && matches!(self.state, StreamState::Failed { .. })
    }

    /// A writer of a named pipe sent what cannot be played; the next one may do better.
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

    /// Does what is due.
    pub fn turn(&mut self, ctx: &mut Context<'_>) {
        if self
            .empty_since
            .is_some_and(|at| at + ctx.config.grace <= ctx.now)
        {
            self.empty_since = None;
            // What has failed says why until somebody comes.
            match &self.state {
                StreamState::Failed { why, .. } => {
                    let why = why.clone();
                    self.set_state(StreamState::Failed {
                        why,
                        retry_at: None,
                    });
                }
                _ if self.is_live => {}
                _ if self.running.is_some() => self.stop(ctx.net, StreamState::Idle),
                _ => {}
            }
        }
        if let StreamState::Failed {
            retry_at: Some(at), ..
        } = self.state
            && at <= ctx.now
            && (self.viewers > 0 || self.is_live)
        {
            self.start(ctx);
        }
        if self.begin_at.take_if(|at| *at <= ctx.now).is_some() {
            self.start(ctx);
        }
        if let Some(publisher) = &mut self.publisher {
            let asked = publisher.turn(ctx.net, ctx.now);
            self.stats.keyframes_asked += u64::from(asked);
        }
        self.farewells.retain_mut(|client| {
            client.handle_timeout(ctx.net, ctx.now);
            !client.is_over()
        });
        for track in &mut self.tracks {
            track.flush(ctx.net, ctx.now);
        }
        self.play(ctx);
        self.fetch(ctx);
    }

    /// Hears what another server says.
    fn fetch(&mut self, ctx: &mut Context<'_>) {
        let Some(Running::Whep(client)) = &mut self.running else {
            return;
        };
        client.handle_timeout(ctx.net, ctx.now);
        while let Some(event) = client.poll_event() {
            if let WhipEvent::Failed(why) = event {
                return self.fail(ctx, why.to_string());
            }
        }
        if self.lost_at.is_some_and(|at| at <= ctx.now) {
            self.fail(ctx, "the other server is silent".into());
        }
    }

    /// Sends what is due of a file or pipe.
    fn play(&mut self, ctx: &mut Context<'_>) {
        loop {
            let Some(Running::Clips(clips)) = &mut self.running else {
                return;
            };
            match clips.poll(ctx.now) {
                Clip::Wait(_) => return,
                Clip::Tracks(contents) => {
                    self.set_contents(contents);
                    self.reconnect(ctx);
                }
                Clip::Note(note) => self.note(note),
                Clip::Frame { codec, frame, due } => {
                    self.has_come(codec, frame.keyframe, false, ctx.now);
                    // The schedule's moment, not ours: sound and pictures stay in step.
                    let time = due.saturating_duration_since(ctx.epoch);
                    let encoded = EncodedFrame::new(frame.data, time).wallclock(due);
                    let media = shared_frame(encoded);
                    self.write(ctx, codec, media, frame.keyframe);
                }
                Clip::Pause => self.set_state(StreamState::Starting),
                Clip::Trouble(why) => self.trouble(why),
                Clip::Ended => {
                    self.stop(ctx.net, StreamState::Ended);
                    return self.spend();
                }
                Clip::Failed(why) => return self.fail(ctx, why),
            }
        }
    }

    fn write(&mut self, ctx: &mut Context<'_>, codec: Codec, media: Queued, is_key: bool) {
        let track = &mut self.tracks[index_of(MediaKind::of(codec))];
        track.write(ctx.net, codec, media, is_key, ctx.config, ctx.now);
    }

    fn write_packet(&mut self, ctx: &mut Context<'_>, codec: Codec, packet: RtpPacket) {
        let is_key = begins_keyframe(codec, &packet.payload);
        self.write(ctx, codec, Queued::Packet(packet.into()), is_key);
    }

    /// Whether what comes to this socket is for this stream.
    pub fn has_socket(&self, socket: UdpId) -> bool {
        matches!(&self.running, Some(Running::Rtp(inputs)) if inputs.has(socket))
    }

    /// A datagram for this stream.
    pub fn handle_datagram(&mut self, ctx: &mut Context<'_>, datagram: &Datagram) {
        let Some(Running::Rtp(inputs)) = &mut self.running else {
            return;
        };
        let packets = inputs.handle_input(datagram, ctx.now);
        let video = packets
            .iter()
            .map(|(codec, _)| *codec)
            .find(|c| c.is_video());
        let lacks_sets = video.is_some_and(|codec| inputs.lacks_sets(codec));
        for (codec, packet) in packets {
            let is_key = begins_keyframe(codec, &packet.payload);
            self.has_come(codec, is_key, lacks_sets, ctx.now);
            self.write_packet(ctx, codec, packet);
        }
    }

    /// When [`turn`](Self::turn) has something to do.
    pub fn next_deadline(&self, config: &StreamsConfig) -> Option<Instant> {
        let grace = self.empty_since.map(|at| at + config.grace);
        let retry = match &self.state {
            StreamState::Failed { retry_at, .. } if self.viewers > 0 || self.is_live => *retry_at,
            _ => None,
        };
        let due = match &self.running {
            Some(Running::Clips(clips)) => clips.due(),
            Some(Running::Whep(client)) => client.next_deadline(),
            _ => None,
        };
        let ask = self.publisher.as_ref().and_then(Publisher::deadline);
        let farewells = self.farewells.iter().filter_map(WhipClient::next_deadline);
        let all = [grace, retry, ask, due, self.lost_at, self.begin_at];
        let all = all.into_iter().flatten();
        let portions = self.tracks.iter().filter_map(Track::deadline);
        all.chain(farewells).chain(portions).min()
    }
}
