//! Quotas per client, shared by all services.
//!
//! A client is an IPv4 address or an IPv6 /64 network ([`client_of`]), or a user. [`Held`] limits what a client has at
//! a time (sessions, participants, connections, relays), [`Rates`] limits how often it does something (offers, wrong
//! tokens). Neither reads the clock, and both are bounded: `Held` by what is held, `Rates` by [`Rates::MOST`] clients.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub(crate) use crate::proto::net::client_of;

/// Counts what each client holds. Clients that hold nothing use no memory.
#[derive(Debug, Clone)]
pub(crate) struct Held<K> {
    most: usize,
    counts: HashMap<K, usize>,
}

impl<K: Eq + Hash> Held<K> {
    /// Creates counters that allow each client `most` at a time.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            counts: HashMap::new(),
        }
    }

    /// Returns the number that a client holds.
    pub fn count<Q: Eq + Hash + ?Sized>(&self, client: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.counts.get(client).copied().unwrap_or(0)
    }

    /// Returns `true` if a client may hold one more.
    pub fn has_room<Q: Eq + Hash + ?Sized>(&self, client: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.has_room_for(client, 1)
    }

    /// Returns `true` if a client may hold `more` more.
    pub fn has_room_for<Q: Eq + Hash + ?Sized>(&self, client: &Q, more: usize) -> bool
    where
        K: Borrow<Q>,
    {
        self.count(client).saturating_add(more) <= self.most
    }

    /// Counts one more, regardless of the limit.
    pub fn take(&mut self, client: K) {
        *self.counts.entry(client).or_default() += 1;
    }

    /// Counts one less.
    pub fn give_back<Q: Eq + Hash + ?Sized>(&mut self, client: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some(count) = self.counts.get_mut(client) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(client);
            }
        }
    }

    /// Returns the total of all clients.
    #[cfg(any(test, feature = "testing"))]
    pub fn total(&self) -> usize {
        self.counts.values().sum()
    }
}

/// Limits the rate of each client: a burst, and then a steady rate.
#[derive(Debug, Clone)]
pub(crate) struct Rates {
    /// Interval of the steady rate.
    each: Duration,
    /// Time to recover from a full burst.
    burst: Duration,
    /// The time at which each client will have recovered its full burst.
    full_at: HashMap<IpAddr, Instant>,
}

impl Rates {
    /// Maximum number of clients remembered. Beyond it, those closest to recovery are removed.
    pub const MOST: usize = 4096;

    /// Creates limits that allow `burst` at once, and one more per interval `each`.
    pub fn new(burst: u32, each: Duration) -> Self {
        Self {
            each,
            burst: each.saturating_mul(burst.max(1)),
            full_at: HashMap::new(),
        }
    }

    /// Returns the time a client has to wait until something of this cost is within its limit; `None` if it already is.
    /// A cost above the burst counts as a full burst.
    pub fn wait(&self, client: IpAddr, cost: u32, now: Instant) -> Option<Duration> {
        let full_at = self.full_at.get(&client).copied().unwrap_or(now).max(now);
        let cost = self.each.saturating_mul(cost).min(self.burst);
        let excess = (full_at + cost).saturating_duration_since(now + self.burst);
        (excess > Duration::ZERO).then_some(excess)
    }

    /// Counts something of this cost, at most up to the wait for a full burst.
    pub fn spend(&mut self, client: IpAddr, cost: u32, now: Instant) {
        if self.full_at.len() >= Self::MOST && !self.full_at.contains_key(&client) {
            self.forget(now);
        }
        let full_at = self.full_at.entry(client).or_insert(now);
        let next = (*full_at).max(now) + self.each.saturating_mul(cost).min(self.burst);
        *full_at = next.min(now + self.burst);
    }

    /// Counts something if it is within the limit, or returns the time to wait.
    pub fn try_spend(&mut self, client: IpAddr, cost: u32, now: Instant) -> Result<(), Duration> {
        match self.wait(client, cost, now) {
            Some(wait) => Err(wait),
            None => {
                self.spend(client, cost, now);
                Ok(())
            }
        }
    }

    /// Removes clients with a full burst; if that is not enough, the half that is closest to it.
    fn forget(&mut self, now: Instant) {
        self.full_at.retain(|_, at| *at > now);
        if self.full_at.len() < Self::MOST {
            return;
        }
        let mut times: Vec<Instant> = self.full_at.values().copied().collect();
        let middle = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(middle);
        let middle = *middle;
        self.full_at.retain(|_, at| *at > middle);
    }

    #[cfg(test)]
    pub fn remembered(&self) -> usize {
        self.full_at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4((0x0A00_0000 + n).into())
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        let of = |text: &str| client_of(text.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }

    #[test]
    fn what_is_held_is_limited_and_leaves_nothing_behind() {
        let mut held = Held::new(2);
        held.take(v4(1));
        held.take(v4(1));
        assert!(!held.has_room(&v4(1)) && held.has_room(&v4(2)));
        held.give_back(&v4(1));
        assert!(held.has_room(&v4(1)));
        held.give_back(&v4(1));
        held.give_back(&v4(1));
        assert_eq!((held.total(), held.counts.len()), (0, 0));
    }

    #[test]
    fn a_burst_and_then_a_rate_for_each_client() {
        let t0 = Instant::now();
        let mut rates = Rates::new(3, Duration::from_secs(2));
        for _ in 0..3 {
            assert_eq!(rates.try_spend(v4(1), 1, t0), Ok(()));
        }
        assert_eq!(
            rates.try_spend(v4(1), 1, t0),
            Err(Duration::from_secs(2)),
            "the fourth waits for one to come back"
        );
        assert_eq!(rates.try_spend(v4(2), 3, t0), Ok(()), "others do not");
        assert_eq!(rates.try_spend(v4(2), 1, t0), Err(Duration::from_secs(2)));
        let later = t0 + Duration::from_secs(2);
        assert_eq!(rates.try_spend(v4(1), 1, later), Ok(()));
        assert_eq!(
            rates.try_spend(v4(1), 2, later),
            Err(Duration::from_secs(4))
        );
        // A cost above the burst is possible, but only with the whole burst.
        assert_eq!(rates.try_spend(v4(3), 100, t0), Ok(()));
        assert_eq!(rates.try_spend(v4(3), 1, t0), Err(Duration::from_secs(2)));
        // However much is counted, the full burst recovers in its time.
        for _ in 0..100 {
            rates.spend(v4(4), 1, t0);
        }
        assert_eq!(
            rates.wait(v4(4), 3, t0 + Duration::from_secs(6)),
            None,
            "a burst takes three times two seconds"
        );
    }

    #[test]
    fn a_flood_of_clients_is_no_memory_and_does_not_forget_the_latest() {
        let t0 = Instant::now();
        let mut rates = Rates::new(2, Duration::from_secs(60));
        for n in 0..5 * Rates::MOST as u32 {
            let now = t0 + Duration::from_millis(u64::from(n));
            rates.spend(v4(n), 2, now);
            assert!(rates.remembered() <= Rates::MOST);
            assert!(rates.wait(v4(n), 1, now).is_some());
        }
        let later = t0 + Duration::from_secs(600);
        rates.spend(v4(1), 2, later);
        let kept = rates.full_at.values().filter(|at| **at > later).count();
        assert_eq!(kept, 1);
    }
}
