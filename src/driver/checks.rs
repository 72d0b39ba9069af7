//! Limit on unanswered ICE checks.
//!
//! A remote description names the addresses that checks are sent to, so an attacker can make a server send to arbitrary
//! hosts. Answered checks are free, and so is an address that has answered recently. All others share a budget per IP
//! address and for the whole loop; checks beyond it are not sent. The core treats them as lost and retries, and a real
//! remote peer proves itself: our response to its check needs no budget.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Time for which an address that has answered is free, equal to the lifetime of consent (RFC 7675 §5.1).
const FREE_FOR: Duration = Duration::from_secs(30);

/// Maximum number of addresses remembered as having answered; further ones use the budget.
const MAX_FREE: usize = 65_536;

/// Time in which an exhausted budget is refilled.
const WHOLE_AFTER: Duration = Duration::from_secs(16);

/// One address may use this fraction of the total budget.
const SHARE: u32 = 8;

/// Number of IP addresses whose budgets are kept before refilled ones are removed.
const MIN_ROOM: usize = 1024;

/// Budgets for unanswered checks, in total and by destination.
#[derive(Debug)]
pub(super) struct Checks {
    most: u32,
    all: Budget,
    each: HashMap<IpAddr, Budget>,
    answered: HashMap<SocketAddr, Instant>,
}

/// A token bucket.
#[derive(Debug, Clone, Copy)]
struct Budget {
    /// When it is full again.
    whole_at: Instant,
}

impl Budget {
    /// Takes one token of at most `most`. Returns `false` if there is none.
    fn take(&mut self, most: u32, now: Instant) -> bool {
        let one = WHOLE_AFTER / most.max(1);
        let after = self.whole_at.max(now) + one;
        let has_one = after <= now + WHOLE_AFTER;
        if has_one {
            self.whole_at = after;
        }
        has_one
    }

    fn give_back(&mut self, most: u32) {
        let before = self.whole_at.checked_sub(WHOLE_AFTER / most.max(1));
        self.whole_at = before.unwrap_or(self.whole_at);
    }
}

impl Checks {
    /// Creates budgets of `most` unanswered checks, and an eighth of it per IP address.
    pub fn new(most: u32, now: Instant) -> Self {
        Self {
            most,
            all: Budget { whole_at: now },
            each: HashMap::new(),
            answered: HashMap::new(),
        }
    }

    /// Returns `true` if a check may be sent to this address, and counts it.
    pub fn allows(&mut self, to: SocketAddr, now: Instant) -> bool {
        if self.is_free(to, now) {
            return true;
        }
        let share = (self.most / SHARE).max(1);
        if self.each.len() >= 2 * MIN_ROOM {
            self.each.retain(|_, budget| budget.whole_at > now);
        }
        let whole = Budget { whole_at: now };
        let each = self.each.entry(to.ip().to_canonical()).or_insert(whole);
        if !each.take(share, now) {
            return false;
        }
        if !self.all.take(self.most, now) {
            each.give_back(share);
            return false;
        }
        true
    }

    /// Records that a check to this address was answered.
    pub fn answered(&mut self, by: SocketAddr, now: Instant) {
        if !self.is_free(by, now) {
            self.all.give_back(self.most);
            let share = (self.most / SHARE).max(1);
            if let Some(each) = self.each.get_mut(&by.ip().to_canonical()) {
                each.give_back(share);
            }
        }
        if self.answered.len() >= MAX_FREE {
            self.answered.retain(|_, at| now < *at + FREE_FOR);
        }
        if self.answered.len() < MAX_FREE || self.answered.contains_key(&by) {
            self.answered.insert(by, now);
        }
    }

    fn is_free(&self, address: SocketAddr, now: Instant) -> bool {
        let at = self.answered.get(&address);
        at.is_some_and(|at| now < *at + FREE_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], port))
    }

    #[test]
    fn one_address_gets_its_share_and_all_together_the_whole() {
        let t = Instant::now();
        let mut checks = Checks::new(800, t);
        let sent = |checks: &mut Checks, host, now| {
            (0..1000)
                .filter(|p| checks.allows(addr(host, *p), now))
                .count()
        };
        assert_eq!(sent(&mut checks, 1, t), 100);
        assert_eq!(sent(&mut checks, 1, t), 0);
        let all: usize = (2..100).map(|host| sent(&mut checks, host, t)).sum();
        assert_eq!(all, 700);
        // One second refills a sixteenth.
        let later = t + Duration::from_secs(1);
        assert_eq!(sent(&mut checks, 1, later), 6);
        let whole = t + 3 * WHOLE_AFTER;
        assert_eq!(sent(&mut checks, 1, whole), 100);
    }

    /// Ten thousand checks that are answered cost nothing.
    #[test]
    fn what_is_answered_is_free() {
        let t = Instant::now();
        let mut checks = Checks::new(800, t);
        for port in 0..10_000 {
            assert!(checks.allows(addr(1, port), t), "{port}");
            checks.answered(addr(1, port), t);
        }
        for _ in 0..1000 {
            assert!(checks.allows(addr(1, 5), t));
        }
        // But it expires.
        let later = t + FREE_FOR;
        let sent = (0..1000)
            .filter(|_| checks.allows(addr(1, 5), later))
            .count();
        assert_eq!(sent, 100);
    }

    #[test]
    fn memory_is_bounded() {
        let t = Instant::now();
        let mut checks = Checks::new(1 << 20, t);
        for n in 0..100_000_u32 {
            let to = SocketAddr::from((n.to_be_bytes(), 1));
            let now = t + Duration::from_millis(n.into());
            assert!(checks.allows(to, now));
            checks.answered(to, now);
        }
        assert!(checks.each.len() <= 2 * MIN_ROOM, "{}", checks.each.len());
        assert!(checks.answered.len() <= MAX_FREE);
    }
}
