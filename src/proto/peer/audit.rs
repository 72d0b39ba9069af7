//! Checks a peer's state against its limits; called by tests and fuzzing after each step.

use std::time::Duration;

use super::core::MAX_HELD;
use super::{Limits, Peer};

/// Time for which a closed peer releases its allocations.
const FAREWELL: Duration = Duration::from_secs(5);

impl Peer {
    /// Returns the limits it was configured with.
    #[doc(hidden)]
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// Checks that everything is within its limit, and that a closed peer is empty. Call it on a drained peer.
    #[doc(hidden)]
    pub fn audit(&self) -> Result<(), String> {
        let limits = &self.config.limits;
        let mut counts = vec![
            ("outputs of a drained peer", self.out.len(), 0),
            ("events of a drained peer", self.out.events.len(), 0),
            ("channels", self.channels.len(), limits.max_channels),
            (
                "datagrams before an answer",
                self.core.early_len(),
                MAX_HELD,
            ),
        ];
        counts.extend(self.path.audit());
        counts.extend(self.session.audit());
        counts.extend(self.channels.audit(limits));
        counts.extend(self.tracks.audit(limits));
        if self.is_closed() {
            // Everything must be empty.
            counts.iter_mut().for_each(|(_, _, limit)| *limit = 0);
        }
        if let Some((what, count, limit)) = counts.into_iter().find(|(_, n, max)| n > max) {
            let closed = if self.is_closed() {
                " of a closed peer"
            } else {
                ""
            };
            return Err(format!("{count} {what}{closed}, and the limit is {limit}"));
        }
        match self.deadline() {
            Some(at) if at <= self.now => Err("the next timeout has been".into()),
            Some(at) if self.is_closed() && at > self.now + FAREWELL => {
                Err("a closed peer has a timer for later".into())
            }
            _ => Ok(()),
        }
    }
}
