//! Counters of the tolerated faults of a stream's camera.

use super::Stream;
use crate::proto::rtsp::Quirks;

impl Stream {
    /// Returns the faults tolerated in all sessions: those that are over, that are ending, and the current one.
    pub(super) fn quirks(&self) -> Quirks {
        let mut all = self.quirks.clone();
        for source in self.running.iter().chain(&self.ending) {
            source.add_quirks(&mut all);
        }
        all
    }
}
