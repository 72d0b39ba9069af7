//! Output of playing a file or a pipe.

use std::time::Instant;

use crate::proto::media::{Codec, Frame};
use crate::server::streams::kind::Contents;

/// The next step.
#[derive(Debug)]
pub(super) enum Clip {
    /// These are the tracks from now on.
    Tracks(Contents),
    /// A remark about the source, for people.
    Note(String),
    /// Send this frame now.
    Frame {
        codec: Codec,
        frame: Frame,
        /// The time when it was due.
        due: Instant,
    },
    /// Nothing to do until this time, or until the loop is woken.
    Wait(Option<Instant>),
    /// The writer of a named pipe has ended; the next one may follow.
    Pause,
    /// The writer of a named pipe sent invalid data (the reason); the next one may follow.
    Trouble(String),
    /// Everything was played.
    Ended,
    /// The source cannot be read; the reason.
    Failed(String),
}
