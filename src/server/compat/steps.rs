//! The steps of a change that a client asks for.

use crate::server::cameras::Change;

/// Data about a stream besides its camera, not kept across restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub id: String,
    pub channel: String,
    /// Name of the stream, for people.
    pub title: String,
    /// Name of the channel, for people.
    pub label: String,
    pub debug: bool,
}

/// A step: a change of one camera, for the stream with this id.
#[derive(Debug)]
pub(super) struct Step {
    pub id: String,
    /// The work, or the reason why there is none.
    pub change: Result<Change, String>,
    /// Further data about the stream, valid once the work is done.
    pub meta: Option<Meta>,
}

/// How the end of a request is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// RTSPtoWeb: `"success"`, or the first failure, after which nothing more is done.
    Web,
    /// RTSPtoWeb: what has become of each stream.
    Many,
    /// go2rtc: nothing, or a text.
    Go2rtc,
}

/// Message of both programs for a stream that does not exist.
pub(super) const NO_STREAM: &str = "stream not found";
