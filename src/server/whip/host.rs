//! Whose media it is: what a [`WhipServer`](super::WhipServer) asks of the streams beneath it.

use std::fmt;
use std::time::Duration;

use super::Kind;
use crate::driver::{EventLoop, PeerId};
use crate::proto::media::Codec;
use crate::proto::peer::{MediaMode, PeerEvent};
use crate::server::streams::{StreamError, Streams};

/// Named streams that peers publish and watch: [`Streams`], or what a program has of its own.
pub trait StreamHost {
    /// Whether somebody may come to this stream now, and what the peer is to be made with. Asked before there is a
    /// peer.
    ///
    /// # Errors
    ///
    /// A [`Refusal`].
    fn admit(&mut self, kind: Kind, name: &str) -> Result<MediaMode, Refusal>;

    /// This peer publishes or watches the stream from now on. It has the client's offer. A viewer's tracks are added here,
    /// and then it is answered; a publisher's answer has been made.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]; the peer is closed then.
    fn join(
        &mut self,
        net: &mut EventLoop,
        kind: Kind,
        name: &str,
        peer: PeerId,
    ) -> Result<(), Refusal>;

    /// Returns the codecs in which this stream is sent to viewers now, as far as they are known. A viewer whose offer has
    /// none of them is refused. Default: nothing is known.
    fn codecs(&self, name: &str) -> Vec<Codec> {
        let _ = name;
        Vec::new()
    }

    /// What a peer that publishes or watches has to say; the last is that it is closed.
    fn handle_peer_event(&mut self, net: &mut EventLoop, peer: PeerId, event: &PeerEvent);
}

impl StreamHost for Streams {
    fn admit(&mut self, kind: Kind, name: &str) -> Result<MediaMode, Refusal> {
        let viewers = self.media_mode(name).ok_or(Refusal::Unknown)?;
        match kind {
            Kind::View => Ok(viewers),
            Kind::Publish if self.is_published(name) => Ok(MediaMode::Packets),
            Kind::Publish => Err(Refusal::NotPublishable),
        }
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

/// Why a stream cannot be published or watched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such stream. 404.
    Unknown,
    /// It is there, but not published this way (a file, say). 403.
    NotPublishable,
    /// Somebody publishes it already. 409 with `Retry-After`.
    Busy,
    /// There is nothing to watch now. 409 with `Retry-After`.
    NotLive {
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
            Self::Busy => f.write_str("somebody else is publishing this stream"),
            Self::NotLive { .. } => f.write_str("there is nothing to watch now"),
            Self::Full => f.write_str("there are as many viewers as there may be"),
            Self::Unsuitable(why) => write!(f, "the offer does not suit the stream: {why}"),
        }
    }
}

impl std::error::Error for Refusal {}
