//! Packets sent into a dead path are repeated on the new one.
//!
//! SCTP retransmits unacknowledged data after 1 s, then 2, 4, 8 … s (RFC 9260 §6.3.3), and does not notice a new path.
//! Without this module, a path found after 1.1 s would carry nothing before the third second. The last few DTLS
//! datagrams are therefore kept while anything is unacknowledged. For the remote peer they are the missing data, or
//! duplicates, which DTLS drops (RFC 9147 §4.5.1). Its acknowledgements restart the association.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::ends::Ends;

/// Maximum number of datagrams kept: enough to show the remote peer a gap, few enough for any path.
const MAX_KEPT: usize = 16;

/// Times of repetition after the first response on a new path. More than once, because the remote peer may not accept
/// them before its own check has succeeded, or its acknowledgements may be lost; until the association retransmits
/// itself.
const TIMES: [Duration; 7] = [
    Duration::from_millis(20),
    Duration::from_millis(120),
    Duration::from_millis(400),
    Duration::from_millis(700),
    Duration::from_millis(1000),
    Duration::from_millis(1500),
    Duration::from_millis(2000),
];

/// The last datagrams, and when to repeat them.
#[derive(Debug, Default)]
pub(super) struct Resend {
    kept: VecDeque<Vec<u8>>,
    /// Set while a path is sought: the next one that answers is used.
    armed: bool,
    /// Set once the remote peer is heard on it.
    is_heard: bool,
    /// The path used before.
    before: Option<Ends>,
    /// The path that answered, when, and how often it was used for this.
    found: Option<Found>,
}

#[derive(Debug, Clone, Copy)]
struct Found {
    ends: Ends,
    at: Instant,
    times: usize,
}

impl Resend {
    /// Keeps a sent datagram, in place of the oldest.
    pub fn keep(&mut self, contents: &[u8]) {
        if self.kept.len() >= MAX_KEPT {
            let is_due = self.found.is_some_and(|f| f.times < TIMES.len());
            if (self.armed && self.is_heard) || is_due {
                // Acknowledgements of data on the new path must not displace lost data.
                return;
            }
            self.kept.pop_front();
        }
        self.kept.push_back(contents.to_vec());
    }

    /// Returns the kept datagrams, in the order they were sent.
    pub fn kept(&self) -> Vec<Vec<u8>> {
        self.kept.iter().cloned().collect()
    }

    /// Returns the path used before another one was sought.
    pub fn before(&self) -> Option<Ends> {
        self.before
    }

    /// Drops everything once it is acknowledged.
    pub fn forget(&mut self) {
        if !self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
    }

    /// Starts recording: the path is silent, or another one is sought.
    pub fn arm(&mut self, before: Option<Ends>) {
        self.armed = true;
        self.is_heard = false;
        self.before = before;
        self.found = None;
    }

    /// Records that data which has to be acknowledged arrived on this path.
    pub fn heard(&mut self, ends: Ends) {
        self.is_heard |= self.armed && self.before != Some(ends);
    }

    /// Records that this path has answered a check.
    pub fn answered(&mut self, ends: Ends, now: Instant) {
        if std::mem::take(&mut self.armed) {
            self.found = Some(Found {
                ends,
                at: now,
                times: 0,
            });
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        let found = self.found.filter(|_| !self.kept.is_empty())?;
        Some(found.at + *TIMES.get(found.times)?)
    }

    /// Returns the path to repeat on, if it is time.
    pub fn due(&mut self, now: Instant) -> Option<Ends> {
        if self.deadline().is_none_or(|at| now < at) {
            return None;
        }
        let found = self.found.as_mut()?;
        while TIMES.get(found.times).is_some_and(|t| now >= found.at + *t) {
            found.times += 1;
        }
        Some(found.ends)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::proto::net::Protocol;

    fn ends(here: u8, there: u8) -> Ends {
        let address = |n| SocketAddr::from(([192, 0, 2, n], 1));
        Ends {
            protocol: Protocol::Udp,
            local: address(here),
            remote: address(there),
        }
    }

    #[test]
    fn again_and_again_on_the_first_path_that_answers() {
        let t0 = Instant::now();
        let ms = |n| t0 + Duration::from_millis(n);
        let mut r = Resend::default();
        r.keep(&[20]);
        r.answered(ends(1, 2), t0);
        assert_eq!(r.deadline(), None, "nothing is looked for");
        r.arm(None);
        assert_eq!(r.deadline(), None, "nothing has answered");
        r.answered(ends(1, 2), t0);
        r.answered(ends(3, 4), ms(1));
        assert_eq!(r.deadline(), Some(ms(20)));
        assert_eq!(r.due(ms(19)), None);
        assert_eq!(r.due(ms(20)), Some(ends(1, 2)));
        assert_eq!(r.due(ms(21)), None);
        // Late: the missed times are combined into one.
        assert_eq!(r.due(ms(500)), Some(ends(1, 2)));
        for n in [700, 1000, 1500, 2000] {
            assert_eq!(r.deadline(), Some(ms(n)));
            assert_eq!(r.due(ms(n)), Some(ends(1, 2)));
        }
        assert_eq!(r.deadline(), None);
        r.arm(None);
        r.answered(ends(3, 4), ms(600));
        r.forget();
        assert_eq!(r.deadline(), None, "nothing is missing");
    }

    #[test]
    fn only_the_last_are_kept() {
        let mut r = Resend::default();
        for n in 0..100u8 {
            r.keep(&[n]);
        }
        assert_eq!(r.kept.len(), MAX_KEPT);
        assert_eq!(r.kept.back(), Some(&vec![99]));
        // Only until the remote peer is heard on another path and the remaining ones are sent.
        let (old, new) = (ends(1, 2), ends(1, 3));
        r.arm(Some(old));
        r.heard(old);
        r.keep(&[99]);
        r.heard(new);
        r.keep(&[100]);
        let t0 = Instant::now();
        r.answered(ends(1, 2), t0);
        r.keep(&[101]);
        assert_eq!(r.kept.back(), Some(&vec![99]));
        r.due(t0 + TIMES[6]);
        r.keep(&[102]);
        assert_eq!(r.kept.back(), Some(&vec![102]));
    }
}
