//! The two interfaces behind which each kind of source is one file in `sources/`.
//!
//! A [`Kind`] is a source as it was configured: nothing is open yet. A [`Source`] is one that runs. The stream around it
//! starts it when somebody watches, stops it some seconds after the last viewer, tries again later each time it fails, and
//! keeps the state that people see. A source does the rest: it owns its threads, sockets or peer, is handed the time,
//! datagrams and events of its peer, and is polled for what has come of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::StreamsConfig;
use crate::driver::peers::Queued;
use crate::driver::{Datagram, EventLoop, PeerId, UdpId};
use crate::proto::media::Codec;
use crate::proto::peer::{MediaKind, MediaMode, PeerConfig, PeerEvent};

/// Where a stream comes from.
///
/// As text, `name=URL` ([`parse`](Self::parse)) or the URL alone ([`FromStr`](std::str::FromStr)):
///
/// | URL | what |
/// |---|---|
/// | `testcard:` | the test card that is built in |
/// | `film.webm`, `file:film.webm` | a file: MP4, Matroska, WebM, IVF, H.264 and H.265 byte streams, Ogg Opus, WAV with G.711 |
/// | `film.ivf,film.ogg` | pictures and sound of one stream; a second file with pictures in another codec is offered to those who cannot decode the first |
/// | `-` | the standard input, live: IVF, a byte stream, Ogg Opus, WAV |
/// | `pipe:PATH` | the same from a named pipe |
/// | `rtp:camera.sdp` | plain RTP, as an SDP file describes it |
/// | `rtp://0.0.0.0:5004?codec=vp8` | plain RTP that comes to this address; `pt=96` takes that payload type only, `from=192.0.2.1` that sender only. Several, joined by commas, are one stream |
/// | `whip:` | what a publisher sends by WHIP |
/// | `whep:https://example.org/whep/cam` | what another server shows by WHEP; behind it `#token=SECRET`, if it asks for one |
///
/// A file is played over and over; with `?once` behind it, once for each time that somebody comes to watch.
/// A pipe is live: it is read whether or not anybody watches, and each frame counts from the moment it arrives.
/// With `?paced` (or `?file`) behind it, it is read at the pace of its own timestamps, and only while somebody watches.
/// Bare G.711 or G.722 does not say what it is: `?codec=pcmu` behind a file or pipe does. A name
/// has 1 to 64 letters, digits, `.`, `_` and `-`.
///
/// ```
/// # use looprtc::server::streams::SourceConfig;
/// let (name, source) = SourceConfig::parse("film=film.ivf,film.ogg?once")?;
/// assert_eq!(name, "film");
/// let (_, camera) = SourceConfig::parse("cam=rtp://0.0.0.0:5004?codec=h264&pt=96")?;
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

    /// Makes a file play over and over, or once for each time that somebody comes to watch, whatever its text says. Other
    /// sources stay as they are.
    #[must_use]
    pub fn repeat(self, repeat: bool) -> Self {
        self.0.repeat(repeat).unwrap_or(self)
    }

    /// Returns the directories of its files, each with the separator behind it: what others need not know of this machine.
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
    /// Describes the source for people, without anything that may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.describe())
    }
}

/// When a source runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    /// While somebody watches, and for [`StreamsConfig::grace`] after that.
    OnDemand,
    /// From the beginning, and again after each failure, whether or not anybody watches.
    Always,
    /// While a publisher is there: see [`Kind::publish`].
    Published,
}

/// A source as it was configured.
pub(super) trait Kind: fmt::Debug + Send + Sync {
    /// Describes it for people, without anything that may be a secret.
    fn describe(&self) -> String;

    /// Returns the files it names.
    fn paths(&self) -> Vec<&Path> {
        Vec::new()
    }

    /// Returns the mode of its viewers' peers: frames that are read, or RTP packets that arrive.
    fn media_mode(&self) -> MediaMode {
        MediaMode::Packets
    }

    /// Returns when it runs. Asked once.
    fn runs(&self) -> Runs {
        Runs::OnDemand
    }

    /// Returns `true` if its codecs are known only once media arrives, and may change from then on.
    fn may_change_codecs(&self) -> bool {
        false
    }

    /// Returns `true` if it reads the standard input: that can be opened once, and by one stream.
    fn is_standard_input(&self) -> bool {
        false
    }

    /// Finds out what it holds before anybody watches, so that viewers are offered that; `None` if this cannot be known.
    fn probe(&self) -> Option<Result<Contents, String>> {
        None
    }

    /// Starts it; `run` is how often that was done before. An error is a sentence for people, and means: again later.
    fn start(&self, ctx: &mut Context<'_>, run: u32) -> Result<Box<dyn Source>, String>;

    /// Makes a source of a publisher's peer; `None` if nobody can publish.
    fn publish(&self, peer: PeerId, now: Instant) -> Option<Box<dyn Source>> {
        let _ = (peer, now);
        None
    }

    /// Returns the same source, played over and over or once; `None` if it is nothing that is played.
    fn repeat(&self, repeat: bool) -> Option<SourceConfig> {
        let _ = repeat;
        None
    }
}

/// A source that runs.
pub(super) trait Source: fmt::Debug + Send {
    /// Returns the next thing that has come or happened; `None`: nothing more for now. It is polled after each of the other
    /// calls, and whenever the loop was woken.
    fn poll(&mut self, ctx: &mut Context<'_>) -> Option<SourceEvent>;

    /// Does what is due.
    fn handle_timeout(&mut self, ctx: &mut Context<'_>) {
        let _ = ctx;
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) or [`poll`](Self::poll) has something to do.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Returns `true` if this is one of its sockets.
    fn has_socket(&self, socket: UdpId) -> bool {
        let _ = socket;
        false
    }

    /// Takes a datagram that came to one of its sockets.
    fn handle_datagram(&mut self, ctx: &mut Context<'_>, datagram: &Datagram) {
        let _ = (ctx, datagram);
    }

    /// Returns the peer that its media comes from.
    fn peer(&self) -> Option<PeerId> {
        None
    }

    /// Takes an event of its peer.
    fn handle_peer_event(&mut self, ctx: &mut Context<'_>, event: &PeerEvent) {
        let _ = (ctx, event);
    }

    /// Returns `true` if nothing has come from its peer for this long: another publisher may take its place.
    fn is_silent(&self, patience: Duration, now: Instant) -> bool {
        let _ = (patience, now);
        false
    }

    /// Asks the sender for a keyframe, at most once in [`StreamsConfig::keyframe_interval`].
    fn want_keyframe(&mut self, ctx: &mut Context<'_>) {
        let _ = ctx;
    }

    /// Stops it; nobody watches, or it has failed, or the stream is removed. It closes its sockets.
    fn stop(self: Box<Self>, net: &mut EventLoop) -> Stopped;

    /// Returns `true` once a source that was [`Ending`](Stopped::Ending) needs no more time.
    fn is_over(&self) -> bool {
        true
    }
}

/// What is left of a source that was stopped.
#[derive(Debug)]
pub(super) enum Stopped {
    /// Nothing.
    Gone,
    /// It cannot be opened anew, and goes on with the next viewer.
    Paused(Box<dyn Source>),
    /// It has to say goodbye to another server: it is handed the time and events until it [is over](Source::is_over).
    Ending(Box<dyn Source>),
}

/// What has come from a source.
#[derive(Debug)]
pub(super) enum SourceEvent {
    /// The tracks are these from now on. Tracks that [may change](Kind::may_change_codecs) need not be announced.
    Tracks(Contents),
    /// Something about the source that people should know.
    Note(String),
    Media(Media),
    /// Nothing comes for now: the next writer of a pipe is waited for.
    Pause,
    /// What comes cannot be used, for this reason; the source goes on, and may do better.
    Trouble(String),
    /// All has been played.
    Ended,
    /// The source does not work, for this reason. It is stopped, and started again later.
    Failed(String),
}

/// A frame or packet.
#[derive(Debug)]
pub(super) struct Media {
    pub codec: Codec,
    pub content: Queued,
    /// A keyframe begins in it.
    pub is_key: bool,
    pub live: Live,
}

/// When a stream counts as live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Live {
    /// As soon as anything comes: the sender is asked for keyframes.
    AtOnce,
    /// With the first keyframe.
    WithKeyframe,
    /// With the first keyframe that has parameter sets; and when none comes for long, people are told.
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

/// What is the same for all streams, and handed to each.
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
    /// Peers that a source has made: their events go to the stream.
    pub joined: Vec<PeerId>,
    /// Keyframes that senders were asked for.
    pub keyframes_asked: u64,
}
