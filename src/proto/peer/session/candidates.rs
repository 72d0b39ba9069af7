//! The pending-candidate queue: candidates that arrive too early are held, in order, and never lost.
//!
//! ```text
//!  local:   gathered ──► our offer unanswered? ──yes──► held ──answer──► reported, in order
//!                              └─no─────────────────────────────────────► reported
//!  remote:  received ──► ufrag of the description in effect, or none ──► to the ICE agent
//!                   ├─► ufrag of an earlier generation ────────────────► dropped, counted
//!                   └─► no description yet, or an unknown ufrag ────────► held ──description──► again
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::proto::ice::IceCandidate;

/// Maximum number of earlier generations remembered: enough for a restart per second over 16 seconds. Candidates of
/// older ones are held until they are displaced.
const MAX_OLD_GENERATIONS: usize = 16;

/// Maximum number of candidates without a ufrag that are remembered, and for how long.
const MAX_BARE: usize = 16;
const EARLY: Duration = Duration::from_secs(2);

/// Counters of the pending-candidate queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CandidateCounts {
    /// Local candidates currently held.
    pub local_held: usize,
    /// Remote candidates currently held.
    pub remote_held: usize,
    /// Local candidates dropped because the queue was full.
    pub local_dropped: u64,
    /// Remote candidates dropped because the queue was full.
    pub remote_dropped: u64,
    /// Remote candidates dropped because their ICE generation is over.
    pub stale: u64,
    /// Remote candidates passed to the ICE agent.
    pub applied: u64,
    /// Remote candidates beyond the limit of one generation.
    pub over_limit: u64,
    /// Remote candidates that cannot be used: a name that is not resolved yet, TCP, RTCP.
    pub unusable: u64,
}

/// The pending-candidate queue in both directions.
#[derive(Debug)]
pub struct PendingCandidates {
    max_local: usize,
    max_remote: usize,
    local: VecDeque<Option<IceCandidate>>,
    remote: VecDeque<IceCandidate>,
    generation: Option<String>,
    gone_by: VecDeque<String>,
    /// Candidates without a ufrag and their arrival times: one that arrives just before a new description may belong to
    /// it.
    bare: VecDeque<(Instant, IceCandidate)>,
    pub(super) counts: CandidateCounts,
}

/// What to do with a remote candidate.
#[derive(Debug, PartialEq, Eq)]
pub enum Remote {
    /// Pass it to the ICE agent.
    Apply(Box<IceCandidate>),
    /// It is held until its description arrives.
    Held,
    /// Its generation is over.
    Stale,
}

impl PendingCandidates {
    /// Creates an empty queue with a limit for each direction.
    pub fn new(max_local: usize, max_remote: usize) -> Self {
        Self {
            max_local,
            max_remote,
            local: VecDeque::new(),
            remote: VecDeque::new(),
            generation: None,
            gone_by: VecDeque::new(),
            bare: VecDeque::new(),
            counts: CandidateCounts::default(),
        }
    }

    /// Holds a local candidate, or the end of candidates (`None`).
    pub fn hold_local(&mut self, candidate: Option<IceCandidate>) {
        // The end mark is always kept, because the remote peer may be waiting for it.
        if candidate.is_some() && self.local.len() >= self.max_local {
            self.counts.local_dropped += 1;
            return;
        }
        self.local.push_back(candidate);
        self.counts.local_held = self.local.len();
    }

    /// Returns the held local candidates, in the order they were gathered.
    pub fn release_local(&mut self) -> impl Iterator<Item = Option<IceCandidate>> + use<> {
        self.counts.local_held = 0;
        std::mem::take(&mut self.local).into_iter()
    }

    /// Drops held local candidates of a generation that was rolled back.
    pub fn drop_local(&mut self, ufrag: &str) {
        self.local.retain(|c| match c {
            Some(c) => c.username_fragment.as_deref() != Some(ufrag),
            None => false,
        });
        self.counts.local_held = self.local.len();
    }

    /// Handles a remote candidate.
    pub fn remote(&mut self, candidate: IceCandidate) -> Remote {
        match self.place(&candidate) {
            Place::Now => Remote::Apply(Box::new(candidate)),
            Place::Stale => {
                self.counts.stale += 1;
                Remote::Stale
            }
            Place::Later => {
                if self.remote.len() >= self.max_remote {
                    self.remote.pop_front();
                    self.counts.remote_dropped += 1;
                }
                if self.max_remote > 0 {
                    self.remote.push_back(candidate);
                }
                self.counts.remote_held = self.remote.len();
                Remote::Held
            }
        }
    }

    /// Sets the ufrag of the remote description in effect. Returns the candidates that waited for it, in order.
    pub fn set_generation(&mut self, ufrag: &str) -> Vec<IceCandidate> {
        if self.generation.as_deref() != Some(ufrag)
            && let Some(old) = self.generation.replace(ufrag.to_owned())
        {
            if self.gone_by.len() >= MAX_OLD_GENERATIONS {
                self.gone_by.pop_front();
            }
            self.gone_by.push_back(old);
        }
        let mut ready = Vec::new();
        for candidate in std::mem::take(&mut self.remote) {
            match self.place(&candidate) {
                Place::Now => ready.push(candidate),
                Place::Stale => self.counts.stale += 1,
                Place::Later => self.remote.push_back(candidate),
            }
        }
        self.counts.remote_held = self.remote.len();
        ready
    }

    /// Remembers a remote candidate without a ufrag. It is applied to the description in effect as well: pion 3 starts
    /// gathering when it creates an offer with an ICE restart, so its candidates arrive before that offer.
    pub fn note_bare(&mut self, candidate: &IceCandidate, now: Instant) {
        if self.bare.len() >= MAX_BARE {
            self.bare.pop_front();
        }
        self.bare.push_back((now, candidate.clone()));
    }

    /// Returns the candidates without a ufrag that may belong to a new description of this generation, although they
    /// arrived before it; none for the first generation, for which they are held anyway.
    pub fn take_early(&mut self, ufrag: &str, now: Instant) -> Vec<IceCandidate> {
        if self.generation.as_deref().is_none_or(|g| g == ufrag) {
            return Vec::new();
        }
        let bare = std::mem::take(&mut self.bare).into_iter();
        let early = bare.filter(|(at, _)| now < *at + EARLY);
        early.map(|(_, candidate)| candidate).collect()
    }

    /// Counts remote candidates that cannot be used here.
    pub fn count_unusable(&mut self, number: u64) {
        self.counts.unusable += number;
    }

    /// Counts a remote candidate over the limit of one generation.
    pub fn count_over_limit(&mut self) {
        self.counts.over_limit += 1;
    }

    /// Clears everything but the counters.
    pub fn clear(&mut self) {
        let counts = CandidateCounts {
            local_held: 0,
            remote_held: 0,
            ..self.counts
        };
        *self = Self {
            counts,
            ..Self::new(self.max_local, self.max_remote)
        };
    }

    #[cfg(any(test, feature = "testing"))]
    pub fn audit(&self) -> [(&'static str, usize, usize); 4] {
        [
            // The end mark is kept beyond the limit.
            (
                "local candidates held",
                self.local.len(),
                self.max_local + 1,
            ),
            ("remote candidates held", self.remote.len(), self.max_remote),
            (
                "generations gone by",
                self.gone_by.len(),
                MAX_OLD_GENERATIONS,
            ),
            ("candidates without a ufrag", self.bare.len(), MAX_BARE),
        ]
    }

    fn place(&self, candidate: &IceCandidate) -> Place {
        let Some(generation) = &self.generation else {
            return Place::Later;
        };
        match &candidate.username_fragment {
            // A bare line, as sent by pion, belongs to the description in effect.
            None => Place::Now,
            Some(ufrag) if ufrag == generation => Place::Now,
            Some(ufrag) if self.gone_by.contains(ufrag) => Place::Stale,
            Some(_) => Place::Later,
        }
    }
}

enum Place {
    Now,
    Later,
    Stale,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(port: u16, ufrag: Option<&str>) -> IceCandidate {
        let mut c =
            IceCandidate::parse(&format!("candidate:1 1 udp 1 192.0.2.1 {port} typ host")).unwrap();
        c.username_fragment = ufrag.map(Into::into);
        c
    }

    #[test]
    fn local_candidates_keep_their_order() {
        let mut q = PendingCandidates::new(8, 8);
        for port in 1..=3 {
            q.hold_local(Some(candidate(port, None)));
        }
        q.hold_local(None);
        assert_eq!(q.counts.local_held, 4);
        let out: Vec<_> = q.release_local().map(|c| c.map(|c| c.port)).collect();
        assert_eq!(out, [Some(1), Some(2), Some(3), None]);
        assert_eq!(q.release_local().count(), 0);
    }

    #[test]
    fn a_full_local_queue_counts_and_keeps_the_end_mark() {
        let mut q = PendingCandidates::new(2, 8);
        for port in 1..=3 {
            q.hold_local(Some(candidate(port, None)));
        }
        q.hold_local(None);
        assert_eq!(q.counts.local_dropped, 1);
        assert_eq!(q.release_local().last(), Some(None));
    }

    #[test]
    fn what_came_just_ahead_of_a_restart_may_be_of_it() {
        let t = Instant::now();
        let mut q = PendingCandidates::new(8, 8);
        q.note_bare(&candidate(1, None), t);
        assert_eq!(q.take_early("gen1", t), [], "they wait as it is");
        q.set_generation("gen1");
        q.note_bare(&candidate(2, None), t + EARLY);
        assert_eq!(q.take_early("gen1", t + EARLY), [], "no restart");
        let early = q.take_early("gen2", t + EARLY);
        assert_eq!(early, [candidate(2, None)], "the first is of long ago");
        q.set_generation("gen2");
        assert_eq!(q.take_early("gen3", t + EARLY), []);
        for port in 0..100 {
            q.note_bare(&candidate(port, None), t);
        }
        assert_eq!(q.bare.len(), MAX_BARE);
    }

    #[test]
    fn early_remote_candidates_wait_for_their_description() {
        let mut q = PendingCandidates::new(8, 8);
        assert_eq!(q.remote(candidate(1, None)), Remote::Held);
        assert_eq!(q.remote(candidate(2, Some("gen1"))), Remote::Held);
        assert_eq!(q.remote(candidate(3, Some("gen2"))), Remote::Held);
        let ports = |v: Vec<IceCandidate>| v.iter().map(|c| c.port).collect::<Vec<_>>();
        assert_eq!(ports(q.set_generation("gen1")), [1, 2]);
        assert!(matches!(
            q.remote(candidate(4, Some("gen1"))),
            Remote::Apply(_)
        ));
        // The candidate that arrived before its ICE restart is applied after it.
        assert_eq!(ports(q.set_generation("gen2")), [3]);
        assert_eq!(q.remote(candidate(5, Some("gen1"))), Remote::Stale);
        assert_eq!(q.counts.stale, 1);
        assert_eq!(q.counts.remote_held, 0);
    }

    #[test]
    fn a_full_remote_queue_loses_the_oldest_and_counts_it() {
        let mut q = PendingCandidates::new(8, 2);
        for port in 1..=3 {
            q.remote(candidate(port, None));
        }
        assert_eq!(q.counts.remote_dropped, 1);
        let ports: Vec<_> = q.set_generation("g").iter().map(|c| c.port).collect();
        assert_eq!(ports, [2, 3]);
    }

    #[test]
    fn a_rolled_back_generation_is_not_signalled() {
        let mut q = PendingCandidates::new(8, 8);
        q.hold_local(Some(candidate(1, Some("old"))));
        q.hold_local(Some(candidate(2, Some("new"))));
        q.hold_local(None);
        q.drop_local("new");
        assert_eq!(q.release_local().count(), 1);
    }
}
