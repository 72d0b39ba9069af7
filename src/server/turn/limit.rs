//! Rate limits that prevent abuse of the server against third parties.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::server::quota::client_of;

/// Token bucket in bytes per second, with a burst of one second's worth, but at least one large datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    bytes: f64,
    filled: Instant,
}

impl Bucket {
    pub fn new(rate: u64, now: Instant) -> Self {
        Self {
            bytes: burst(rate),
            filled: now,
        }
    }

    /// Returns `true` if `bytes` may pass now.
    pub fn take(&mut self, rate: u64, bytes: usize, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        self.bytes = (self.bytes + passed * rate as f64).min(burst(rate));
        let bytes = bytes as f64;
        if self.bytes < bytes {
            return false;
        }
        self.bytes -= bytes;
        true
    }
}

fn burst(rate: u64) -> f64 {
    rate.max(65_535) as f64
}

/// Maximum number of addresses remembered.
const MAX_ADDRESSES: usize = 65_536;

/// Minimum interval between removals of addresses whose allowance is restored.
const SWEEP: Duration = Duration::from_secs(1);

/// Limits bytes sent to unauthenticated addresses to the number received from them plus an allowance. STUN needs the
/// allowance because its responses are longer than its requests; the limit prevents reflected floods.
#[derive(Debug)]
pub(super) struct Courtesy {
    /// Total allowance beyond the bytes received.
    burst: f64,
    /// Restored bytes per second.
    rate: f64,
    known: HashMap<IpAddr, (f64, Instant)>,
    swept: Instant,
}

impl Courtesy {
    pub fn new(burst: u32, now: Instant) -> Self {
        Self {
            burst: burst.into(),
            rate: f64::from(burst) / 4.0,
            known: HashMap::new(),
            swept: now,
        }
    }

    /// Returns `true` if a response of `answer` bytes may be sent to this address, from which a request of `received`
    /// bytes came.
    pub fn permits(&mut self, ip: IpAddr, received: usize, answer: usize, now: Instant) -> bool {
        let ip = client_of(ip);
        if self.known.len() >= MAX_ADDRESSES && !self.known.contains_key(&ip) {
            self.sweep(now);
            if self.known.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let (left, at) = self.known.entry(ip).or_insert((self.burst, now));
        let passed = now.saturating_duration_since(*at).as_secs_f64();
        *at = now;
        *left = (*left + passed * self.rate + received as f64).min(self.burst + received as f64);
        let answer = answer as f64;
        let may = *left >= answer;
        if may {
            *left -= answer;
        }
        *left = left.min(self.burst);
        may
    }

    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        let (burst, rate) = (self.burst, self.rate);
        self.known.retain(|_, (left, at)| {
            *left + now.saturating_duration_since(*at).as_secs_f64() * rate < burst
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_by_the_clock() {
        let now = Instant::now();
        let mut bucket = Bucket::new(100_000, now);
        assert!(bucket.take(100_000, 100_000, now));
        assert!(!bucket.take(100_000, 1, now));
        let later = now + Duration::from_millis(500);
        assert!(bucket.take(100_000, 50_000, later));
        assert!(!bucket.take(100_000, 1_000, later));
        // A clock that goes back takes nothing away.
        assert!(!bucket.take(100_000, 1_000, now));
        // A small rate still passes one large datagram.
        assert!(Bucket::new(10, now).take(10, 65_000, now));
    }

    #[test]
    fn no_more_than_what_came_and_the_allowance() {
        let start = Instant::now();
        let mut courtesy = Courtesy::new(1000, start);
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let (mut received, mut sent) = (0, 0);
        for millisecond in 0..10_000 {
            received += 28;
            if courtesy.permits(ip, 28, 100, start + Duration::from_millis(millisecond)) {
                sent += 100;
            }
        }
        // 1,000 at once and 250 per second.
        assert!(sent <= received + 1000 + 2500, "{sent} {received}");
        assert!(sent >= received, "{sent} {received}");
        // Other addresses are unaffected; those in the same IPv6 network are not.
        assert!(courtesy.permits("192.0.2.2".parse().unwrap(), 28, 100, start));
        assert!(courtesy.permits("2001:db8::1".parse().unwrap(), 28, 1000, start));
        assert!(!courtesy.permits("2001:db8::2".parse().unwrap(), 28, 1000, start));
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let now = Instant::now();
        let mut courtesy = Courtesy::new(100, now);
        for n in 0..2 * MAX_ADDRESSES as u32 {
            let ip = std::net::Ipv4Addr::from(n).into();
            assert_eq!(
                courtesy.permits(ip, 20, 100, now),
                (n as usize) < MAX_ADDRESSES
            );
        }
        assert_eq!(courtesy.known.len(), MAX_ADDRESSES);
        // Addresses are removed once their allowance is restored.
        let later = now + Duration::from_secs(10);
        assert!(courtesy.permits("255.0.0.1".parse().unwrap(), 20, 100, later));
        assert_eq!(courtesy.known.len(), 1);
    }
}
