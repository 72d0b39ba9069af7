//! What keeps the server from being used against others: rates.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::server::quota::client_of;

/// Bytes a second, with a burst of one second's worth, but of one large datagram at least.
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

    /// Whether so many bytes may pass now.
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

/// How many addresses are remembered.
const MAX_ADDRESSES: usize = 65_536;

/// How often those that have their whole allowance again are forgotten, at most.
const SWEEP: Duration = Duration::from_secs(1);

/// Bytes that are sent to addresses that have proved nothing: as many as came from there, and a fixed
/// allowance. STUN needs that, since its answers are longer than its questions; nobody can make a flood of it.
#[derive(Debug)]
pub(super) struct Courtesy {
    /// Bytes above those that were received, in all at once.
    burst: f64,
    /// Bytes a second that come to it again.
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

    /// Whether an answer of so many bytes may go to this address, from which `received` bytes came with the
    /// question.
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
        // A clock that seems to go back takes nothing away.
        assert!(!bucket.take(100_000, 1_000, now));
        // A small rate still lets a large datagram through.
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
        // 1,000 at once and 250 each second.
        assert!(sent <= received + 1000 + 2500, "{sent} {received}");
        assert!(sent >= received, "{sent} {received}");
        // A neighbour is not concerned; somebody in the same IPv6 network is.
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
        // They are forgotten when they have their allowance again.
        let later = now + Duration::from_secs(10);
        assert!(courtesy.permits("255.0.0.1".parse().unwrap(), 20, 100, later));
        assert_eq!(courtesy.known.len(), 1);
    }
}
