//! Streams that come and go while the server runs: tried when they are added, and ended when they are removed.

use std::time::Duration;

use super::{Context, Stream};
use crate::driver::PeerId;
use crate::server::streams::info::StreamState;
use crate::server::streams::kind::Runs;

/// Time for which a source runs to be tried, in addition to [`StreamsConfig::grace`](crate::server::streams::StreamsConfig):
/// long enough for a camera that is slow to answer.
const TRIAL: Duration = Duration::from_secs(10);

impl Stream {
    /// Starts the source without viewers, for a while.
    pub fn try_out(&mut self, ctx: &mut Context<'_>) {
        let is_stopped = matches!(self.state, StreamState::Idle | StreamState::Failed { .. });
        let is_free = self.runs == Runs::OnDemand && self.viewers == 0 && self.running.is_none();
        if is_stopped && is_free && !self.is_spent {
            self.empty_since = Some(ctx.now + TRIAL);
            self.start(ctx);
        }
    }

    /// Removes the stream, which was stopped. Returns the peers of its sessions that still have to end.
    pub fn retire(&mut self) -> Vec<PeerId> {
        self.is_retired = true;
        self.paused = None;
        self.begin_at = None;
        self.empty_since = None;
        let ending = self.ending.iter();
        ending.filter_map(|source| source.peer()).collect()
    }

    pub fn is_retired(&self) -> bool {
        self.is_retired
    }

    /// Returns `true` if nothing is left of a removed stream.
    pub fn is_over(&self) -> bool {
        self.is_retired && self.ending.is_empty()
    }
}
