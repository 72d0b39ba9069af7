//! Randomness for values that others must not guess: credentials, transaction ids, session ids.

use rand::RngCore;

/// A source of random bits: the operating system's, or a fixed sequence for repeatable runs.
///
/// The former is ChaCha, seeded by the operating system and reseeded with use; past output does not reveal future
/// output. The latter is SplitMix64 and not secret: for simulations only.
#[derive(Debug)]
pub(crate) struct Random(Option<u64>);

impl Random {
    /// Creates a source: with a seed, a repeatable sequence; otherwise the operating system's randomness.
    pub fn new(seed: Option<u64>) -> Self {
        Self(seed)
    }

    /// Returns 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let Some(state) = &mut self.0 else {
            return rand::rng().next_u64();
        };
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns `len` random `ice-char` characters (RFC 8839 §5.4) with 5 random bits each.
    pub fn text(&mut self, len: usize) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        (0..len)
            .map(|_| char::from(ALPHABET[(self.bits() % 32) as usize]))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself_and_the_system_does_not() {
        let draw = |seed| Random::new(seed).text(24);
        assert_eq!(draw(Some(7)), draw(Some(7)));
        assert_ne!(draw(Some(7)), draw(Some(8)));
        assert_ne!(draw(None), draw(None));
    }
}
