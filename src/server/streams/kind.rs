//! The two interfaces of sources; each kind of source implements them in one file in `sources/`.
//!
//! A [`Kind`] is a source as configured: nothing is open yet. A [`Source`] is a running one. The stream that owns it
//! starts it for the first viewer, stops it some seconds after the last one, restarts it with growing delays after
//! failures, and keeps the state that people see. The source does the rest: it owns its threads, sockets or peer, is
//! handed the time, datagrams and the events of its peer, and is polled for media and events.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::StreamsConfig;
use crate::driver::shared_media::SharedMedia;
use crate::driver::{Datagram, EventLoop, PeerId, TcpEvent, TcpId, UdpId};
use crate::proto::media::Codec;
use crate::proto::peer::{MediaKind, MediaMode, PeerConfig, PeerEvent};
use crate::proto::rtsp::Quirks;

/// Configuration of a stream's source.
///
/// Its text form is `name=URL` ([`parse`](Self::parse)), or the URL alone ([`FromStr`](std::str::FromStr)):
///
/// | URL | source |
/// |---|---|
/// | `testcard:` | the built-in test card |
/// | `film.webm`, `file:film.webm` | a file: MP4, Matroska, WebM, IVF, H.264 and H.265 byte streams, Ogg Opus, WAV with G.711 |
/// | `film.ivf,film.ogg` | video and audio of one stream; a second video file in another codec is for viewers that cannot decode the first one |
/// | `-` | the standard input, live: IVF, a byte stream, Ogg Opus, WAV |
/// | `pipe:PATH` | the same formats from a named pipe |
/// | `rtsp://user:password@host/path` | an RTSP camera; `rtsps:` with TLS. Settings stand behind a `#`: see below |
/// | `rtp:camera.sdp` | plain RTP, described by an SDP file |
/// | `rtp://0.0.0.0:5004?codec=vp8` | plain RTP received at this address; `pt=96` accepts that payload type only, `from=192.0.2.1` that sender only. Several, separated by commas, form one stream |
/// | `whip:` | a publisher over WHIP |
/// | `whep:https://example.org/whep/cam` | a stream of another server, over WHEP; append `#token=SECRET` if the server requires a bearer token |
///
/// A file loops; with `?once` it plays once each time a first viewer joins. A pipe is live: it is read whether or not
/// there are viewers, and frames are timed by their arrival. With `?paced` (or `?file`) it is read at the pace of its
/// timestamps, and only while there are viewers. Files and pipes of bare G.711 or G.722 need their codec:
/// `?codec=pcmu`. A name has 1 to 64 letters, digits, `.`, `_` and `-`.
///
/// A camera is connected to while there are viewers, once for all of them. Signs in a password need no escaping. The
/// settings behind the `#` are separated by `&`:
///
/// | setting | meaning |
/// |---|---|
/// | `sub=/path`, `sub=rtsp://…` | a second, smaller stream: see [`Streams::choose`](super::Streams::choose). An `&` in it that is followed by the name of a setting is written `%26` |
/// | `always` | stay connected, whether or not there are viewers |
/// | `audio=off`, `video=off` | leave it out |
/// | `transport=tcp,udp` | the default: media in the connection, or else by UDP; there is `multicast`, too |
/// | `fingerprint=AB:CD:…`, `insecure` | for `rtsps:`: accept the certificate with this SHA-256 only, or any |
/// | `user-file=`, `password-file=`, `user-env=`, `password-env=` | credentials from files or the environment, read at each start |
///
/// ```
/// # use looprtc::server::streams::SourceConfig;
/// let (name, source) = SourceConfig::parse("film=film.ivf,film.ogg?once")?;
/// assert_eq!(name, "film");
/// let (_, camera) = SourceConfig::parse("cam=rtp://0.0.0.0:5004?codec=h264&pt=96")?;
/// let (_, camera) = SourceConfig::parse("yard=rtsp://admin:p@ss@cam.lan/1#sub=/2&audio=off")?;
/// assert_eq!(camera.to_string(), "camera, rtsp://cam.lan/1");
/// assert!("rtp://0.0.0.0".parse::<SourceConfig>().is_err());
/// # Ok::<(), looprtc::server::streams::SourceError>(())
/// ```
#[derive(Debug, Clone)]
pub struct SourceConfig(Arc<dyn Kind>);

impl SourceConfig {
    pub(super) fn new(kind: impl Kind + 'static) -> Self {
        Self(Arc::new(kind))
    }

    pub(super) fn kind(&self) -> &dyn Kind {
        &*self.0
    }

    /// Returns `true` if the stream waits for a publisher.
    pub fn is_published(&self) -> bool {
        self.0.runs() == Runs::Published
    }

    /// Makes a file loop (`true`), or play once each time a first viewer joins (`false`), regardless of its text form.
    /// Other sources are not changed.
    #[must_use]
    pub fn repeat(self, repeat: bool) -> Self {
        self.0.repeat(repeat).unwrap_or(self)
    }

    /// Returns `true` if the source names no file of this machine.
    pub(crate) fn names_no_files(&self) -> bool {
        self.0.paths().is_empty() && !self.0.is_standard_input()
    }

    /// Returns the directories of the source's files, each with a trailing separator, to be removed from texts for
    /// other users.
    pub(super) fn directories(&self) -> Vec<String> {
        let directory = |path: PathBuf| {
            let all = path.display().to_string();
            let name = path.file_name()?.to_string_lossy().into_owned();
            let directory = all.strip_suffix(&name)?;
            (!directory.is_empty()).then(|| directory.to_owned())
        };
        let paths = self.0.paths().into_iter().map(Path::to_path_buf);
        paths.filter_map(directory).collect()
    }
}

impl fmt::Display for SourceConfig {
    /// Describes the source for people, without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.describe())
    }
}

/// When a source runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    /// While there are viewers, and for [`StreamsConfig::grace`] after the last one.
    OnDemand,
    /// From the beginning, and again after each failure, whether or not there are viewers.
    Always,
    /// While there is a publisher: see [`Kind::publish`].
    Published,
}

/// A source as configured.
pub(super) trait Kind: fmt::Debug + Send + Sync {
    /// Describes the source for people, without secrets.
    fn describe(&self) -> String;

    /// Returns the files that the source names.
    fn paths(&self) -> Vec<&Path> {
        Vec::new()
    }

    /// Returns the media mode for the peers of viewers: frames if they are read, RTP packets if those are received.
    fn media_mode(&self) -> MediaMode {
        MediaMode::Packets
    }

    /// Returns when the source runs. Called once.
    fn runs(&self) -> Runs {
        Runs::OnDemand
    }

    /// Returns `true` if the codecs are unknown until media arrives, and may change after that.
    fn may_change_codecs(&self) -> bool {
        false
    }

    /// Returns the maximum number of bytes cached for new viewers, per codec.
    fn max_kept_bytes(&self, config: &StreamsConfig) -> usize {
        config.max_kept_bytes
    }

    /// Returns another stream of the same source with lower quality, which is started on its own; see
    /// [`Streams::choose`](super::Streams::choose).
    fn sub(&self) -> Option<SourceConfig> {
        None
    }

    /// Returns `true` if the source reads the standard input, which only one stream can open, and only once.
    fn is_standard_input(&self) -> bool {
        false
    }

    /// Determines the contents before there are viewers, so that they are offered the right codecs; `None` if that is
    /// impossible.
    fn probe(&self) -> Option<Result<Contents, String>> {
        None
    }

    /// Starts the source for the `run`-th time, counted from 0. Errors are sentences for people; the stream retries
    /// later.
    fn start(&self, ctx: &mut Context<'_>, run: u32) -> Result<Box<dyn Source>, String>;

    /// Creates a source from a publisher's peer; `None` if nobody can publish to this kind.
    fn publish(&self, peer: PeerId, now: Instant) -> Option<Box<dyn Source>> {
        let _ = (peer, now);
        None
    }

    /// Returns `true` if peers can try to [`talk`](Self::talk) to the source.
    fn is_talkable(&self) -> bool {
        false
    }

    /// Starts a session that plays a peer's microphone where the source is. It has no media; its tracks are announced
    /// when the peer is heard. Errors are sentences for people.
    fn talk(&self, ctx: &mut Context<'_>, peer: PeerId) -> Result<Box<dyn Source>, String> {
        let _ = (ctx, peer);
        Err("nobody can talk to this source".into())
    }

    /// Returns the same source, looping or played once; `None` if it is not a file.
    fn repeat(&self, repeat: bool) -> Option<SourceConfig> {
        let _ = repeat;
        None
    }
}

/// A running source.
pub(super) trait Source: fmt::Debug + Send {
    /// Returns the next event; `None` if there is none for now. The source is polled after each other call, and
    /// whenever the loop was woken.
    fn poll(&mut self, ctx: &mut Context<'_>) -> Option<SourceEvent>;

    /// Performs work whose deadline has passed.
    fn handle_timeout(&mut self, ctx: &mut Context<'_>) {
        let _ = ctx;
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) or [`poll`](Self::poll) has work to do.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Returns `true` if the socket belongs to this source.
    fn has_socket(&self, socket: UdpId) -> bool {
        let _ = socket;
        false
    }

    /// Handles a datagram received on one of the source's sockets.
    fn handle_datagram(&mut self, ctx: &mut Context<'_>, datagram: &Datagram) {
        let _ = (ctx, datagram);
    }

    /// Returns `true` if the connection belongs to this source.
    fn has_tcp(&self, connection: TcpId) -> bool {
        let _ = connection;
        false
    }

    /// Handles an event of one of the source's connections.
    fn handle_tcp(&mut self, ctx: &mut Context<'_>, event: &TcpEvent) {
        let _ = (ctx, event);
    }

    /// Returns the peer that the media comes from, if any.
    fn peer(&self) -> Option<PeerId> {
        None
    }

    /// Handles an event of the source's peer.
    fn handle_peer_event(&mut self, ctx: &mut Context<'_>, event: &PeerEvent) {
        let _ = (ctx, event);
    }

    /// Returns `true` if the source's peer has been silent for `patience`, so that another publisher may replace it.
    fn is_silent(&self, patience: Duration, now: Instant) -> bool {
        let _ = (patience, now);
        false
    }

    /// Adds the faults that were tolerated since the source was started.
    fn add_quirks(&self, to: &mut Quirks) {
        let _ = to;
    }

    /// Requests a keyframe from the sender, at most once per [`StreamsConfig::keyframe_interval`].
    fn want_keyframe(&mut self, ctx: &mut Context<'_>) {
        let _ = ctx;
    }

    /// Stops the source and closes its sockets: there are no viewers, it has failed, or its stream is removed.
    fn stop(self: Box<Self>, net: &mut EventLoop) -> Stopped;

    /// Returns `true` once a source that was [`Ending`](Stopped::Ending) needs no more time.
    fn is_over(&self) -> bool {
        true
    }

    /// Releases the sockets of a source that is [`Ending`](Stopped::Ending) and gets no more time.
    fn abandon(&mut self, net: &mut EventLoop) {
        let _ = net;
    }
}

/// Remainder of a stopped source.
#[derive(Debug)]
pub(super) enum Stopped {
    /// Nothing.
    Gone,
    /// The source cannot be reopened, and continues with the next viewer.
    Paused(Box<dyn Source>),
    /// The source still has to end a session with another server: it receives timeouts and events until
    /// [`is_over`](Source::is_over).
    Ending(Box<dyn Source>),
}

/// An event of a source.
#[derive(Debug)]
pub(super) enum SourceEvent {
    /// The source's tracks have changed to these. Tracks that [may change](Kind::may_change_codecs) need not be
    /// announced.
    Tracks(Contents),
    /// A remark about the source, for people.
    Note(String),
    Media(Media),
    /// The source pauses until the next writer opens the pipe.
    Pause,
    /// Incoming data is invalid, for this reason; the source continues and may recover.
    Trouble(String),
    /// Everything was played.
    Ended,
    /// The source has failed, for this reason. The stream stops it and restarts it later.
    Failed(String),
    /// The source has failed, for this reason, and is not restarted before this time has passed.
    Refused {
        why: String,
        again_in: Duration,
    },
}

/// A frame or packet.
#[derive(Debug)]
pub(super) struct Media {
    pub codec: Codec,
    pub content: SharedMedia,
    /// Set if a keyframe starts in it.
    pub is_key: bool,
    pub live: Live,
}

/// Condition for reporting a stream as live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Live {
    /// Any media has arrived: keyframes can be requested from the sender.
    AtOnce,
    /// A keyframe has arrived.
    WithKeyframe,
    /// A keyframe with parameter sets has arrived; if none does for a while, a fault is reported.
    WhenDecodable { lacks_sets: bool },
}

/// The contents of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Codecs of the tracks.
    pub codecs: Vec<Codec>,
    /// Remarks about parts that are left out or interpreted differently than written.
    pub notes: Vec<String>,
}

/// State shared by all streams, passed to each call.
pub(super) struct Context<'a> {
    pub net: &'a mut EventLoop,
    pub config: &'a StreamsConfig,
    /// The instant from which frame times count.
    pub epoch: Instant,
    pub now: Instant,
    /// The configuration of peers that watch another server.
    pub peer: &'a PeerConfig,
    pub outcome: Outcome,
}

/// Results of an operation on a stream.
#[derive(Default)]
pub(super) struct Outcome {
    /// Viewers that cannot decode the stream.
    pub undecodable: Vec<(PeerId, MediaKind, Codec)>,
    /// Viewers among these that may be able to, but were answered with the codec of an earlier publisher: they have to
    /// connect again.
    pub outdated: Vec<PeerId>,
    /// Peers created by a source, whose events are passed to the stream.
    pub joined: Vec<PeerId>,
    /// Number of keyframe requests sent.
    pub keyframes_asked: u64,
}
