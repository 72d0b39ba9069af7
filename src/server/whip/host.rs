//! Whose media it is: what a [`WhipServer`](super::WhipServer) asks of the streams beneath it.

use std::fmt;
use std::time::Duration;

use crate::driver::{EventLoop, PeerId};
use crate::proto::peer::{MediaMode, PeerEvent};

/// Named streams that peers publish and watch. A program with media of its own implements this; `streams` of
/// this crate does.
pub trait StreamHost {
    /// Whether a stream of this name can be published, and nobody does. Asked before a peer is made.
    ///
    /// # Errors
    ///
    /// A [`Refusal`].
    fn check_publish(&mut self, name: &str) -> Result<(), Refusal>;

    /// This peer publishes the stream from now on. It has the publisher's offer, and is not answered yet.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]; the peer is closed then.
    fn publish(&mut self, net: &mut EventLoop, name: &str, peer: PeerId) -> Result<(), Refusal>;

    /// Whether the stream can be watched now, and in which mode its viewers' peers are made. Starts it if need
    /// be. Asked before a peer is made, and again after [`Refusal::Starting`].
    ///
    /// # Errors
    ///
    /// A [`Refusal`].
    fn check_view(&mut self, net: &mut EventLoop, name: &str) -> Result<MediaMode, Refusal>;

    /// This peer watches the stream from now on. It has the viewer's offer; its tracks are added here, and then
    /// it is answered.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]; the peer is closed then.
    fn view(&mut self, net: &mut EventLoop, name: &str, peer: PeerId) -> Result<(), Refusal>;

    /// What a peer that publishes or watches has to say; the last is that it is closed.
    fn handle_peer_event(&mut self, net: &mut EventLoop, peer: PeerId, event: &PeerEvent);
}

/// Why a stream cannot be published or watched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such stream. 404.
    Unknown,
    /// It is there, but not published this way (a file, say). 409.
    NotPublishable,
    /// Somebody publishes it already. 409.
    Busy,
    /// Nobody publishes it now, so there is nothing to watch. 409 with `Retry-After`.
    NotLive {
        /// When it is worth asking again.
        retry_after: Duration,
    },
    /// It is being started: ask again when something has happened. The client's request waits.
    Starting,
    /// It has failed: why, and when it is tried again. 503 with `Retry-After`.
    Failed {
        /// What happened.
        why: String,
        /// When it is worth asking again.
        retry_after: Duration,
    },
    /// There are as many viewers as may be. 503 with `Retry-After`.
    Full,
    /// The offer does not go with the stream: which codec is wanted, say. 422.
    Unsuitable(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("there is no such stream"),
            Self::NotPublishable => {
                f.write_str("the stream has a source of its own; it is not published")
            }
            Self::Busy => f.write_str("somebody publishes this stream already"),
            Self::NotLive { .. } => f.write_str("nobody publishes this stream now"),
            Self::Starting => f.write_str("the stream is being started"),
            Self::Failed { why, .. } => write!(f, "the stream has failed: {why}"),
            Self::Full => f.write_str("the stream has as many viewers as it may have"),
            Self::Unsuitable(why) => write!(f, "the offer does not suit the stream: {why}"),
        }
    }
}

impl std::error::Error for Refusal {}
