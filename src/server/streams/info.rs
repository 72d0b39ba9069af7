//! State, viewers and errors of streams.

use std::fmt;
use std::time::{Duration, Instant};

use crate::driver::PeerId;
use crate::proto::media::Codec;
use crate::proto::peer::{MediaKind, PeerError};
use crate::proto::rtsp::Quirk;

/// State of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamState {
    /// There are no viewers; the source is started for the first one.
    Idle,
    /// The source was started, for a viewer or because it is a live pipe, but nothing has arrived yet.
    Starting,
    /// Media is playing.
    Live,
    /// The stream waits for a publisher.
    Waiting,
    /// The source has failed.
    Failed {
        /// The reason.
        why: String,
        /// Time of the next attempt, while there are viewers; `None`: with the next viewer.
        retry_at: Option<Instant>,
    },
    /// The source has ended: a file played once, or a pipe. A file starts over with the next viewer.
    Ended,
}

impl StreamState {
    /// Returns the state in one word: `idle`, `starting`, `live`, `waiting`, `failed` or `ended`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Live => "live",
            Self::Waiting => "waiting",
            Self::Failed { .. } => "failed",
            Self::Ended => "ended",
        }
    }
}

/// Properties, state and statistics of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// The stream's name.
    pub name: String,
    /// Description of the source, for people; without secrets.
    pub source: String,
    /// Local directories that [`source`](Self::source) and the reason of a failure mention.
    pub(crate) directories: Vec<String>,
    /// The current state.
    pub state: StreamState,
    /// Number of viewers.
    pub viewers: usize,
    /// Codecs of the stream, as far as known: video first.
    pub codecs: Vec<Codec>,
    /// Remarks for people about parts of the source that are left out, damaged, or interpreted differently than
    /// written; at most 16.
    pub notes: Vec<String>,
    /// Faults of the camera that were tolerated since the stream was added, and how often each was met, in the order of
    /// their numbers; empty for other sources.
    pub quirks: Vec<(Quirk, u32)>,
    /// The statistics.
    pub stats: StreamStats,
    /// A second stream with lower quality, if the source has one: see [`Streams::choose`](super::Streams::choose). It
    /// has viewers and statistics of its own.
    pub sub: Option<Box<StreamInfo>>,
    /// State of talking to the source; `None` if nobody can.
    pub talk: Option<TalkState>,
}

impl StreamInfo {
    /// Returns a text about this stream with directories removed from file names, for readers who need not know them.
    pub(crate) fn without_directories(&self, text: &str) -> String {
        // The longest first: one may be a prefix of another.
        let mut directories: Vec<&str> = self.directories.iter().map(String::as_str).collect();
        directories.sort_by_key(|directory| std::cmp::Reverse(directory.len()));
        let without = |text: String, directory: &str| text.replace(directory, "");
        directories.into_iter().fold(text.to_owned(), without)
    }
}

/// State of two-way audio with a camera: one peer's microphone is heard there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TalkState {
    /// Nobody talks. Whether the camera has a loudspeaker turns out when somebody does.
    Free,
    /// Somebody wants to talk; the camera does not listen yet.
    Starting,
    /// Somebody talks.
    Talking,
    /// The latest talker was not heard, or no longer. The next one may try again.
    Failed {
        /// The reason.
        why: String,
    },
}

impl TalkState {
    /// Returns the state in one word: `free`, `starting`, `talking` or `failed`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Starting => "starting",
            Self::Talking => "talking",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Statistics of a stream since it was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StreamStats {
    /// Packets received, or frames read.
    pub packets: u64,
    /// Payload bytes of these.
    pub bytes: u64,
    /// Current bitrate in bits per second, averaged over a second.
    pub bitrate: u64,
    /// Keyframes received or read.
    pub keyframes: u64,
    /// Packets or frames sent to viewers, counted per viewer.
    pub sent: u64,
    /// Keyframe requests of viewers.
    pub keyframe_requests: u64,
    /// Keyframe requests to the publisher.
    pub keyframes_asked: u64,
    /// Number of times that the source was started, or a publisher came.
    pub starts: u64,
    /// Number of failures.
    pub failures: u64,
    /// Total number of viewers so far.
    pub viewers_total: u64,
}

/// Statistics of a viewer. For its network, see [`Peer::track_stats`](crate::proto::peer::Peer::track_stats).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ViewerStats {
    /// The viewer's peer.
    pub peer: PeerId,
    /// The stream that it watches.
    pub stream: String,
    /// When it joined.
    pub since: Instant,
    /// Time from then until its first media was sent; `None` before.
    pub first_sent_after: Option<Duration>,
    /// Its tracks, video first.
    pub tracks: Vec<ViewerTrack>,
}

/// A track of a viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ViewerTrack {
    /// Audio or video.
    pub kind: MediaKind,
    /// The codec sent to the viewer; `None` if it is not connected, or cannot decode the stream.
    pub codec: Option<Codec>,
    /// Packets or frames sent.
    pub sent: u64,
    /// Payload bytes of these.
    pub bytes: u64,
    /// Keyframe requests of the viewer.
    pub keyframe_requests: u64,
}

/// An event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEvent {
    /// The state has changed: see [`Streams::info`](super::Streams::info).
    StateChange {
        /// The stream's name.
        stream: String,
    },
    /// A viewer cannot decode the stream because it has not negotiated its codec. It stays, and receives the other
    /// tracks; after a renegotiation, or with another publisher, it may receive this one. A viewer whose answer had the
    /// codecs of an earlier publisher only is closed, so that it connects again.
    Undecodable {
        /// The viewer's peer.
        peer: PeerId,
        /// The stream that it watches.
        stream: String,
        /// Audio or video.
        kind: MediaKind,
        /// The codec of the stream.
        codec: Codec,
        /// The codecs that the viewer has negotiated.
        agreed: Vec<Codec>,
    },
}

impl fmt::Display for StreamEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StateChange { stream } => write!(f, "stream {stream}: another state"),
            Self::Undecodable {
                peer,
                stream,
                kind,
                codec,
                agreed,
            } => {
                let agreed: Vec<&str> = agreed.iter().map(|c| c.name()).collect();
                write!(
                    f,
                    "stream {stream}: its {kind} is {codec}, which viewer {peer} did not agree to, only: {}",
                    agreed.join(", ")
                )
            }
        }
    }
}

/// Error of an operation on streams.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum StreamError {
    /// There is no stream with this name.
    NoSuchStream(String),
    /// There is already a stream with this name.
    NameTaken(String),
    /// The name is invalid.
    BadName(String),
    /// Another stream already reads the standard input.
    InputTaken,
    /// A limit of [`StreamsConfig`](super::StreamsConfig) is reached.
    LimitReached {
        /// The limit's name.
        limit: &'static str,
        /// The limit's value.
        value: usize,
    },
    /// This peer already watches or publishes.
    PeerTaken,
    /// This stream has a source of its own, so nobody can publish to it.
    NotPublished(String),
    /// The stream already has a publisher.
    HasPublisher(String),
    /// Somebody else already talks to this camera.
    HasTalker(String),
    /// The peer refused the tracks.
    Peer(PeerError),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchStream(name) => write!(f, "there is no stream {name:?}"),
            Self::NameTaken(name) => write!(f, "there is a stream {name:?} already"),
            Self::BadName(why) => f.write_str(why),
            Self::InputTaken => f.write_str("another stream reads the standard input already"),
            Self::LimitReached { limit, value } => {
                write!(f, "the limit {limit} of {value} is reached")
            }
            Self::PeerTaken => f.write_str("this peer watches or publishes a stream already"),
            Self::NotPublished(name) => write!(
                f,
                "nobody can publish to the stream {name:?}: it has a source of its own"
            ),
            Self::HasPublisher(name) => {
                write!(f, "somebody else is publishing to the stream {name:?}")
            }
            Self::HasTalker(name) => {
                write!(f, "somebody else is talking to the camera {name:?}")
            }
            Self::Peer(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StreamError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Peer(error) => Some(error),
            _ => None,
        }
    }
}

impl From<PeerError> for StreamError {
    fn from(error: PeerError) -> Self {
        Self::Peer(error)
    }
}

/// Bitrate in bits per second, averaged over about one second.
#[derive(Debug, Default)]
pub(super) struct Meter {
    window: Option<(Instant, u64)>,
    rate: u64,
}

impl Meter {
    pub fn add(&mut self, bytes: usize, now: Instant) {
        let (since, sum) = self.window.get_or_insert((now, 0));
        let elapsed = now.saturating_duration_since(*since);
        if elapsed >= Duration::from_secs(1) {
            let bits = u128::from(*sum) * 8000 / elapsed.as_millis().max(1);
            self.rate = u64::try_from(bits).unwrap_or(u64::MAX);
            (*since, *sum) = (now, 0);
        }
        *sum += bytes as u64;
    }

    /// Returns the bitrate; 0 after two seconds without data.
    pub fn rate(&self, now: Instant) -> u64 {
        let is_fresh = |(since, _): (Instant, u64)| {
            now.saturating_duration_since(since) < Duration::from_secs(2)
        };
        self.window
            .filter(|w| is_fresh(*w))
            .map_or(0, |_| self.rate)
    }
}
