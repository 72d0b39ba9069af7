//! What is known of streams, their viewers, and what went wrong.

use std::fmt;
use std::time::{Duration, Instant};

use crate::driver::PeerId;
use crate::proto::media::Codec;
use crate::proto::peer::{MediaKind, PeerError};

/// How a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamState {
    /// Nobody watches; the source is started when somebody comes.
    Idle,
    /// Nothing has come from the source yet, though it was started: somebody watches, or it is a live pipe.
    Starting,
    /// It plays.
    Live,
    /// No publisher is there.
    Waiting,
    /// The source does not work.
    Failed {
        /// Why, in words.
        why: String,
        /// When it is tried again, while somebody watches; `None`: with the next viewer.
        retry_at: Option<Instant>,
    },
    /// What is played once, or a pipe, has come to its end; a file begins again with the next viewer.
    Ended,
}

impl StreamState {
    /// In one word: `idle`, `starting`, `live`, `waiting`, `failed` or `ended`.
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

/// What is known of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// Where it comes from, for people; without secrets.
    pub source: String,
    /// Directories of this machine that [`source`](Self::source) and the state's reason name.
    pub(crate) directories: Vec<String>,
    /// How it is.
    pub state: StreamState,
    /// How many watch.
    pub viewers: usize,
    /// What it is encoded with, as far as that is known: pictures first.
    pub codecs: Vec<Codec>,
    /// Parts of the source that are left out, damaged, or read differently than written, in sentences for people; 16 at
    /// most.
    pub notes: Vec<String>,
    /// What has been counted.
    pub stats: StreamStats,
}

impl StreamInfo {
    /// Returns a text about this stream with the names of files only, for those who need not know where they are.
    pub(crate) fn without_directories(&self, text: &str) -> String {
        // The longest first: one may be the beginning of another.
        let mut directories: Vec<&str> = self.directories.iter().map(String::as_str).collect();
        directories.sort_by_key(|directory| std::cmp::Reverse(directory.len()));
        let without = |text: String, directory: &str| text.replace(directory, "");
        directories.into_iter().fold(text.to_owned(), without)
    }
}

/// What has been counted of a stream since it was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StreamStats {
    /// Packets that have come, or frames that were read.
    pub packets: u64,
    /// Bytes of payload of these.
    pub bytes: u64,
    /// Bits a second that come now, averaged over a second.
    pub bitrate: u64,
    /// Keyframes among them.
    pub keyframes: u64,
    /// Packets, or frames, given to viewers; each counts for each viewer.
    pub sent: u64,
    /// Keyframes that viewers have asked for.
    pub keyframe_requests: u64,
    /// Keyframes that the publisher was asked for.
    pub keyframes_asked: u64,
    /// Times the source was started, or a publisher came.
    pub starts: u64,
    /// Times it failed.
    pub failures: u64,
    /// Viewers so far.
    pub viewers_total: u64,
}

/// What is known of a viewer. What its network does, tells
/// [`Peer::track_stats`](crate::proto::peer::Peer::track_stats).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ViewerStats {
    /// Which peer.
    pub peer: PeerId,
    /// What it watches.
    pub stream: String,
    /// Since when.
    pub since: Instant,
    /// How long after that the first of its media was sent.
    pub first_sent_after: Option<Duration>,
    /// Its tracks, pictures first.
    pub tracks: Vec<ViewerTrack>,
}

/// A track of a viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ViewerTrack {
    /// Sound or pictures.
    pub kind: MediaKind,
    /// In what it is sent; `None`: it is not connected, or cannot decode the stream.
    pub codec: Option<Codec>,
    /// Packets, or frames, sent.
    pub sent: u64,
    /// Bytes of payload of these.
    pub bytes: u64,
    /// Keyframes it has asked for.
    pub keyframe_requests: u64,
}

/// What has happened to a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEvent {
    /// It is in another state now: see [`Streams::info`](super::Streams::info).
    StateChange {
        /// Which.
        stream: String,
    },
    /// A viewer cannot decode what comes: it did not agree to that codec. It stays, and is sent what else there is;
    /// with a new negotiation, or another publisher, it may get it. One that was answered with the codec of a publisher
    /// before this one only is closed, so that it asks anew.
    Undecodable {
        /// Who.
        peer: PeerId,
        /// What it watches.
        stream: String,
        /// Sound or pictures.
        kind: MediaKind,
        /// What comes.
        codec: Codec,
        /// What the viewer has agreed to.
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

/// Why something cannot be done with a stream.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum StreamError {
    /// There is none of this name.
    NoSuchStream(String),
    /// There is one of this name already.
    NameTaken(String),
    /// This cannot be a name.
    BadName(String),
    /// Another stream reads the standard input already.
    InputTaken,
    /// A limit of [`StreamsConfig`](super::StreamsConfig).
    LimitReached {
        /// Which.
        limit: &'static str,
        /// Its value.
        value: usize,
    },
    /// This peer watches or publishes already.
    PeerTaken,
    /// Nobody can publish to this stream: it has a source of its own.
    NotPublished(String),
    /// Somebody publishes there.
    HasPublisher(String),
    /// The peer does not take the tracks.
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

/// Bits a second, averaged over about one.
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

    /// Nothing for two seconds is nothing.
    pub fn rate(&self, now: Instant) -> u64 {
        let is_fresh = |(since, _): (Instant, u64)| {
            now.saturating_duration_since(since) < Duration::from_secs(2)
        };
        self.window
            .filter(|w| is_fresh(*w))
            .map_or(0, |_| self.rate)
    }
}
