//! Interface between a [`WhipServer`](super::WhipServer) and the streams.

use std::fmt;
use std::time::Duration;

use super::Kind;
use crate::driver::{EventLoop, PeerId};
use crate::proto::media::Codec;
use crate::proto::peer::{Codecs, MediaMode, PeerEvent};
use crate::server::streams::{StreamError, Streams, Wish};

/// Named streams that peers publish and watch: [`Streams`], or a program's own implementation.
pub trait StreamHost {
    /// Decides whether a client may publish or watch this stream now, and returns the media mode for its peer. Called
    /// before there is a peer.
    ///
    /// # Errors
    ///
    /// Returns a [`Refusal`].
    fn admit(&mut self, kind: Kind, name: &str) -> Result<MediaMode, Refusal>;

    /// Returns the name of the stream for a viewer of `name` with this wish, if it is another one: it has the name in all
    /// other calls. Default: `None`.
    fn choose(&self, name: &str, wish: &Wish) -> Option<String> {
        let _ = (name, wish);
        None
    }

    /// Returns the codecs in which a publisher of this stream may send, if they are not all that the server is configured
    /// with. Default: `None`.
    fn takes(&self, name: &str) -> Option<Codecs> {
        let _ = name;
        None
    }

    /// Connects a peer with the stream, as publisher or viewer. The peer has the client's offer. A viewer's tracks are
    /// added here, and its answer is created afterwards; a publisher's answer was already created.
    ///
    /// # Errors
    ///
    /// Returns a [`Refusal`]; the peer is closed then.
    fn join(
        &mut self,
        net: &mut EventLoop,
        kind: Kind,
        name: &str,
        peer: PeerId,
    ) -> Result<(), Refusal>;

    /// Returns the codecs currently sent to viewers of this stream, as far as known. A viewer whose offer has none of
    /// them is refused. Default: unknown.
    fn codecs(&self, name: &str) -> Vec<Codec> {
        let _ = name;
        Vec::new()
    }

    /// Handles an event of a publisher's or viewer's peer; the last one is that it is closed.
    fn handle_peer_event(&mut self, net: &mut EventLoop, peer: PeerId, event: &PeerEvent);
}

impl StreamHost for Streams {
    fn admit(&mut self, kind: Kind, name: &str) -> Result<MediaMode, Refusal> {
        let viewers = self.media_mode(name).ok_or(Refusal::Unknown)?;
        match kind {
            Kind::View => Ok(viewers),
            Kind::Publish if self.is_published(name) || self.is_talkable(name) => {
                Ok(MediaMode::Packets)
            }
            Kind::Publish => Err(Refusal::NotPublishable),
        }
    }

    fn choose(&self, name: &str, wish: &Wish) -> Option<String> {
        Some(Streams::choose(self, name, wish)).filter(|chosen| chosen != name)
    }

    fn takes(&self, name: &str) -> Option<Codecs> {
        let is_talkable = self.is_talkable(name);
        is_talkable.then(|| Codecs::only([Codec::Pcmu, Codec::Pcma]))
    }

    fn join(
        &mut self,
        net: &mut EventLoop,
        kind: Kind,
        name: &str,
        peer: PeerId,
    ) -> Result<(), Refusal> {
        let joined = match kind {
            Kind::Publish => self.add_publisher(net, name, peer),
            Kind::View => self.add_viewer(net, name, peer),
        };
        joined.map_err(|error| match error {
            StreamError::NoSuchStream(_) => Refusal::Unknown,
            StreamError::NotPublished(_) => Refusal::NotPublishable,
            StreamError::HasPublisher(_) => Refusal::Busy,
            StreamError::HasTalker(_) => Refusal::Talking,
            StreamError::LimitReached { .. } => Refusal::Full,
            other => Refusal::Unsuitable(other.to_string()),
        })
    }

    fn codecs(&self, name: &str) -> Vec<Codec> {
        self.settled_codecs(name)
    }

    fn handle_peer_event(&mut self, net: &mut EventLoop, peer: PeerId, event: &PeerEvent) {
        Streams::handle_peer_event(self, net, peer, event);
    }
}

/// Reason why a stream cannot be published or watched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such stream. 404.
    Unknown,
    /// The stream exists, but does not accept publishers (for example a file). 403.
    NotPublishable,
    /// The stream already has a publisher. 409 with `Retry-After`.
    Busy,
    /// Somebody else already talks to the camera of the stream. 409 with `Retry-After`.
    Talking,
    /// There is nothing to watch now. 409 with `Retry-After`.
    NotLive {
        /// Time after which a retry is reasonable.
        retry_after: Duration,
    },
    /// The maximum number of viewers is reached. 503 with `Retry-After`.
    Full,
    /// The offer does not fit the stream, for example its codec; the reason. 422.
    Unsuitable(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("there is no such stream"),
            Self::NotPublishable => {
                f.write_str("the stream has a source of its own; it is not published")
            }
            Self::Busy => f.write_str("somebody else is publishing this stream"),
            Self::Talking => f.write_str("somebody else is talking to this camera"),
            Self::NotLive { .. } => f.write_str("there is nothing to watch now"),
            Self::Full => f.write_str("there are as many viewers as there may be"),
            Self::Unsuitable(why) => write!(f, "the offer does not suit the stream: {why}"),
        }
    }
}

impl std::error::Error for Refusal {}
