//! Rate limits.

use std::time::{Duration, Instant};

/// A token bucket: a burst, and then a steady rate per second.
#[derive(Debug, Clone)]
pub(crate) struct RateLimit {
    burst: u32,
    /// Interval of the steady rate.
    each: Duration,
    /// When the bucket is full again.
    full_at: Instant,
}

impl RateLimit {
    pub fn new(burst: u32, a_second: u32, now: Instant) -> Self {
        Self {
            burst: burst.max(1),
            each: Duration::from_secs(1) / a_second.max(1),
            full_at: now,
        }
    }

    /// Returns `true` if one more is within the limit, and counts it.
    pub fn allows(&mut self, now: Instant) -> bool {
        let next = self.full_at.max(now) + self.each;
        let allowed = next <= now + self.each * self.burst;
        if allowed {
            self.full_at = next;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_a_rate() {
        let t0 = Instant::now();
        let mut limit = RateLimit::new(3, 10, t0);
        let allowed = |limit: &mut RateLimit, now| (0..10).filter(|_| limit.allows(now)).count();
        assert_eq!(allowed(&mut limit, t0), 3);
        assert_eq!(allowed(&mut limit, t0 + Duration::from_millis(99)), 0);
        assert_eq!(allowed(&mut limit, t0 + Duration::from_millis(200)), 2);
        assert_eq!(allowed(&mut limit, t0 + Duration::from_secs(60)), 3);
    }
}
