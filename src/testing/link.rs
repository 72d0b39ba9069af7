//! What a simulated network does to datagrams, and the numbers it is decided by.

/// A small, fast, seeded generator (SplitMix64). Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(pub(super) u64);

impl Rng {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n` (0 for `n` = 0).
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next_u64() % n }
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        // 53 bits: all that an f64 can tell apart.
        ((self.next_u64() >> 11) as f64) / ((1u64 << 53) as f64) < probability
    }
}

/// What the network does to each datagram.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Link {
    /// The probability that it is lost.
    pub loss: f64,
    /// The probability that it arrives twice.
    pub duplicate: f64,
    /// The probability that a byte of it is another one when it arrives. UDP's checksum is too weak to find all.
    pub corrupt: f64,
    /// How long it takes, in milliseconds.
    pub delay_ms: u64,
    /// How much longer at most, in milliseconds; differences reorder.
    pub jitter_ms: u64,
}

impl Default for Link {
    /// 10 ms, and nothing is lost.
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
    /// Sets [`loss`](Self::loss).
    #[must_use]
    pub fn loss(mut self, probability: f64) -> Self {
        self.loss = probability;
        self
    }

    /// Sets [`duplicate`](Self::duplicate).
    #[must_use]
    pub fn duplicate(mut self, probability: f64) -> Self {
        self.duplicate = probability;
        self
    }

    /// Sets [`corrupt`](Self::corrupt).
    #[must_use]
    pub fn corrupt(mut self, probability: f64) -> Self {
        self.corrupt = probability;
        self
    }

    /// Sets [`delay_ms`](Self::delay_ms) and [`jitter_ms`](Self::jitter_ms).
    #[must_use]
    pub fn delay(mut self, delay_ms: u64, jitter_ms: u64) -> Self {
        self.delay_ms = delay_ms;
        self.jitter_ms = jitter_ms;
        self
    }
}
