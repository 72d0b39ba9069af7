//! The latest statistics of each layer.

use std::time::{Duration, Instant};

use super::super::values::TrackStats;
use super::{MAX_LAYERS, Mid, ReceivedStats, SentStats, Tracks, TransceiverId};

/// Replaces the statistics of a layer, or adds it.
pub(super) fn put<T>(list: &mut Vec<T>, new: T, is_same: impl Fn(&T, &T) -> bool) {
    match list.iter().position(|old| is_same(old, &new)) {
        Some(index) => list[index] = new,
        None if list.len() < MAX_LAYERS => list.push(new),
        None => {}
    }
}

impl Tracks {
    /// Updates the statistics of a sent layer. `jitter` is what the remote peer reports, in ticks.
    pub fn on_sent_stats(
        &mut self,
        mid: Mid,
        mut stats: SentStats,
        jitter: Option<u32>,
        now: Instant,
    ) {
        if let Some(t) = self.by_core_mid(mid) {
            let rate = t.line.clock_rate();
            stats.remote_jitter = jitter.map(|ticks| of_ticks(ticks, rate));
            t.sender.learn(stats, now);
        }
    }

    /// Updates the statistics of a received layer. `jitter` is in ticks.
    pub fn on_received_stats(&mut self, mid: Mid, mut stats: ReceivedStats, jitter: u32) {
        if let Some(t) = self.by_core_mid(mid) {
            stats.jitter = of_ticks(jitter, t.line.clock_rate());
            t.receiver.learn(stats);
        }
    }

    /// Returns the statistics of a transceiver, without [`repair_delay`](TrackStats::repair_delay).
    pub fn stats(&self, id: TransceiverId) -> Option<TrackStats> {
        let found = self.list.iter().find(|t| t.id() == id)?;
        let mut received = found.receiver.stats().to_vec();
        for layer in &mut received {
            layer.jitter_buffer = found.receiver.playout.stats(layer.rid.as_deref());
        }
        Some(TrackStats {
            sent: found.sender.stats().to_vec(),
            received,
            repair_delay: None,
        })
    }
}

fn of_ticks(ticks: u32, rate: u32) -> Duration {
    Duration::from_secs(ticks.into()) / rate.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_beyond_the_limit_are_not_looked_after() {
        let mut list = Vec::new();
        for n in 0..2 * MAX_LAYERS {
            put(&mut list, (n, 1), |a, b| a.0 == b.0);
        }
        assert_eq!(list.len(), MAX_LAYERS);
        // Existing entries are updated.
        put(&mut list, (3, 2), |a, b| a.0 == b.0);
        assert_eq!((list.len(), list[3]), (MAX_LAYERS, (3, 2)));
    }
}
