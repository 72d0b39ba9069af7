//! Sources that run without viewers: for a moment, to learn what they send, or for as long as somebody wants them ready.

use std::time::Instant;

use super::{StreamError, StreamState, Streams};
use crate::driver::EventLoop;
use crate::driver::shared_media::SharedMedia;
use crate::proto::media::Codec;

/// Knowledge of a stream's codecs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// There is no such stream.
    Unknown,
    /// These are its codecs, video first.
    Ready(Vec<Codec>),
    /// The source has failed, for this reason.
    Failed(String),
    /// Nothing yet.
    Waiting,
}

impl Streams {
    /// Starts the source of a stream as if a viewer had come. It is stopped after
    /// [`StreamsConfig::grace`](super::StreamsConfig::grace) unless one does.
    ///
    /// # Errors
    ///
    /// Returns [`StreamError::NoSuchStream`].
    pub(crate) fn wake(&mut self, net: &mut EventLoop, name: &str) -> Result<(), StreamError> {
        let key = self.key(name)?;
        self.with(net, key, |stream, ctx| stream.wake(ctx));
        Ok(())
    }

    /// Keeps the source of a stream running without viewers, or no longer does.
    ///
    /// # Errors
    ///
    /// Returns [`StreamError::NoSuchStream`].
    pub(crate) fn keep(
        &mut self,
        net: &mut EventLoop,
        name: &str,
        is_kept: bool,
    ) -> Result<(), StreamError> {
        let key = self.key(name)?;
        self.with(net, key, |stream, ctx| stream.keep(ctx, is_kept));
        Ok(())
    }

    /// Stops the source of a stream and starts it again if it was running or is wanted. Viewers stay.
    ///
    /// # Errors
    ///
    /// Returns [`StreamError::NoSuchStream`].
    pub(crate) fn restart(&mut self, net: &mut EventLoop, name: &str) -> Result<(), StreamError> {
        let key = self.key(name)?;
        self.with(net, key, |stream, ctx| stream.restart(ctx));
        Ok(())
    }

    /// Returns what is known of the codecs of a stream.
    pub(crate) fn readiness(&self, name: &str) -> Readiness {
        let stream = self.names.get(name).and_then(|key| self.streams.get(*key));
        let Some(stream) = stream else {
            return Readiness::Unknown;
        };
        match (stream.settled_codecs(), stream.info(Instant::now())) {
            (codecs, _) if !codecs.is_empty() => Readiness::Ready(codecs),
            (_, info) => match info.state.clone() {
                StreamState::Failed { why, .. } => {
                    Readiness::Failed(info.without_directories(&why))
                }
                _ => Readiness::Waiting,
            },
        }
    }

    /// Returns the latest keyframe of a codec: an access unit in the form of [`Codec`]. `None` if there is none, or the
    /// source sends packets.
    pub(crate) fn keyframe(&self, name: &str, codec: Codec) -> Option<Vec<u8>> {
        let stream = self.streams.get(*self.names.get(name)?)?;
        let mut tracks = stream.tracks.iter();
        match tracks.find_map(|track| track.keyframe(codec))? {
            SharedMedia::Frame(frame) => Some(frame.data.to_vec()),
            SharedMedia::Packet(_) => None,
        }
    }
}
