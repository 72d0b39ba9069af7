//! Properties of a simulated network link, and the random numbers used for it.

/// A small, fast, seeded random number generator (SplitMix64). Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(pub(super) u64);

impl Rng {
    /// Creates a generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `n` (0 if `n` is 0).
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next_u64() % n }
    }

    /// Returns `true` with this probability (0 to 1).
    pub fn chance(&mut self, probability: f64) -> bool {
        // 53 bits, the precision of an f64.
        ((self.next_u64() >> 11) as f64) / ((1u64 << 53) as f64) < probability
    }
}

/// Properties of a network link, applied to each datagram.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Link {
    /// Probability that a datagram is lost (0 to 1).
    pub loss: f64,
    /// Probability that a datagram is duplicated (0 to 1).
    pub duplicate: f64,
    /// Probability that one byte of a datagram is changed (0 to 1). UDP's checksum does not detect all such errors.
    pub corrupt: f64,
    /// One-way delay, in milliseconds.
    pub delay_ms: u64,
    /// Maximum additional random delay, in milliseconds; differences cause reordering.
    pub jitter_ms: u64,
}

impl Default for Link {
    /// A delay of 10 ms, without losses.
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicate: 0.0,
            corrupt: 0.0,
            delay_ms: 10,
            jitter_ms: 0,
        }
    }
}

impl Link {
    /// Sets the probability of loss: see [`loss`](Self::loss).
    #[must_use]
    pub fn loss(mut self, probability: f64) -> Self {
        self.loss = probability;
        self
    }

    /// Sets the probability of duplication: see [`duplicate`](Self::duplicate).
    #[must_use]
    pub fn duplicate(mut self, probability: f64) -> Self {
        self.duplicate = probability;
        self
    }

    /// Sets the probability of corruption: see [`corrupt`](Self::corrupt).
    #[must_use]
    pub fn corrupt(mut self, probability: f64) -> Self {
        self.corrupt = probability;
        self
    }

    /// Sets the delay and the jitter: see [`delay_ms`](Self::delay_ms) and [`jitter_ms`](Self::jitter_ms).
    #[must_use]
    pub fn delay(mut self, delay_ms: u64, jitter_ms: u64) -> Self {
        self.delay_ms = delay_ms;
        self.jitter_ms = jitter_ms;
        self
    }
}
