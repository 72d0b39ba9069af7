//! What playing a file or a pipe comes to, step by step.

use std::time::Instant;

use super::reader::Contents;
use crate::proto::media::{Codec, Frame};

/// What [`Clips::poll`](super::clips::Clips::poll) says.
#[derive(Debug)]
pub(super) enum Clip {
    /// The tracks are these from now on.
    Tracks(Contents),
    /// Something about the source that people should know.
    Note(String),
    /// To be sent now.
    Frame {
        codec: Codec,
        frame: Frame,
        /// When it was due.
        due: Instant,
    },
    /// Nothing to do until then, or until the loop is woken.
    Wait(Option<Instant>),
    /// The writer of a named pipe has ended; the next one is waited for.
    Pause,
    /// The pipe's writer sent what cannot be read, for this reason; the next one is waited for.
    Trouble(String),
    /// All has been played.
    Ended,
    /// It cannot be read.
    Failed(String),
}
