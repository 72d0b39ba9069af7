//! Quotas for whoever causes a cost: the one module that all doors use.
//!
//! A client is an IPv4 address or an IPv6 network of 64 bits ([`client_of`]), or a user. [`Held`] limits what a client
//! has at a time (sessions, participants, connections, relays), [`Rates`] limits what it does over time (offers, wrong
//! tokens). Neither reads the clock, and both are bounded: `Held` by what is held, `Rates` by [`Rates::MOST`] clients.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub(crate) use crate::proto::net::client_of;

/// Counts what each client holds at a time. Clients that hold nothing take no memory.
#[derive(Debug, Clone)]
pub(crate) struct Held<K> {
    most: usize,
    counts: HashMap<K, usize>,
}

impl<K: Eq + Hash> Held<K> {
    /// Allows each client `most` at a time.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            counts: HashMap::new(),
        }
    }

    /// Returns how many a client holds.
    pub fn count<Q: Eq + Hash + ?Sized>(&self, client: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.counts.get(client).copied().unwrap_or(0)
    }

    /// Returns `true` if a client may have one more.
    pub fn has_room<Q: Eq + Hash + ?Sized>(&self, client: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.has_room_for(client, 1)
    }

    /// Returns `true` if a client may have so many more.
    pub fn has_room_for<Q: Eq + Hash + ?Sized>(&self, client: &Q, more: usize) -> bool
    where
        K: Borrow<Q>,
    {
        self.count(client).saturating_add(more) <= self.most
    }

    /// Counts one more, whatever the limit.
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

    /// Returns how many all clients hold together.
    #[cfg(any(test, feature = "testing"))]
    pub fn total(&self) -> usize {
        self.counts.values().sum()
    }
}

/// Limits how often each client does something: a burst, and then a steady rate.
#[derive(Debug, Clone)]
pub(crate) struct Rates {
    /// The time after which one more is allowed.
    each: Duration,
    /// The time that a whole burst takes to come back.
    burst: Duration,
    /// When each client has its whole burst again.
    full_at: HashMap<IpAddr, Instant>,
}

impl Rates {
    /// Clients that are remembered. Beyond it, those nearest to being forgotten anyway are.
    pub const MOST: usize = 4096;

    /// Allows `burst` at once, and one more after each `each`.
    pub fn new(burst: u32, each: Duration) -> Self {
        Self {
            each,
            burst: each.saturating_mul(burst.max(1)),
            full_at: HashMap::new(),
        }
    }

    /// Returns how long a client has to wait before something of this cost is within its limit; `None` if it already
    /// is. What costs more than a burst is taken for a whole burst.
    pub fn wait(&self, client: IpAddr, cost: u32, now: Instant) -> Option<Duration> {
        let full_at = self.full_at.get(&client).copied().unwrap_or(now).max(now);
        let cost = self.each.saturating_mul(cost).min(self.burst);
        let excess = (full_at + cost).saturating_duration_since(now + self.burst);
        (excess > Duration::ZERO).then_some(excess)
    }

    /// Counts something of this cost; at most as much as makes the client wait for a whole burst.
    pub fn spend(&mut self, client: IpAddr, cost: u32, now: Instant) {
        if self.full_at.len() >= Self::MOST && !self.full_at.contains_key(&client) {
            self.forget(now);
        }
        let full_at = self.full_at.entry(client).or_insert(now);
        let next = (*full_at).max(now) + self.each.saturating_mul(cost).min(self.burst);
        *full_at = next.min(now + self.burst);
    }

    /// Counts something if it is within the limit; else says how long to wait.
    pub fn try_spend(&mut self, client: IpAddr, cost: u32, now: Instant) -> Result<(), Duration> {
        match self.wait(client, cost, now) {
            Some(wait) => Err(wait),
            None => {
                self.spend(client, cost, now);
                Ok(())
            }
        }
    }

    /// Forgets clients that have their whole burst again; if that is not enough, the half that has most of it.
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
        // What costs more than a burst is possible, but alone.
        assert_eq!(rates.try_spend(v4(3), 100, t0), Ok(()));
        assert_eq!(rates.try_spend(v4(3), 1, t0), Err(Duration::from_secs(2)));
        // However much is counted, a whole burst is back after its time.
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
