//! A stream whose source runs without viewers.

use super::{Context, Stream, StreamState};
use crate::server::streams::kind::Runs;

impl Stream {
    /// Starts the source, and stops it after the grace period unless a viewer comes.
    pub fn wake(&mut self, ctx: &mut Context<'_>) {
        if self.viewers == 0 {
            // A source that is being tried may have more time.
            let until = self.empty_since.map_or(ctx.now, |at| at.max(ctx.now));
            self.empty_since = Some(until);
        }
        self.begin(ctx);
    }

    /// Sets whether the source runs without viewers.
    pub fn keep(&mut self, ctx: &mut Context<'_>, is_kept: bool) {
        self.is_kept = is_kept;
        self.wake(ctx);
    }

    /// Stops the source, and starts it again if it was running or has to run.
    pub fn restart(&mut self, ctx: &mut Context<'_>) {
        if self.runs == Runs::Published {
            // Only its publisher can begin anew.
            return;
        }
        let was_running = self.running.is_some();
        self.stop(ctx.net, StreamState::Idle);
        self.paused = None;
        if was_running || self.is_wanted() {
            self.begin(ctx);
        }
    }
}
