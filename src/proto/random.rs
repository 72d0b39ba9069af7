//! Randomness for whatever others must not guess: credentials, transaction ids, session ids.

use rand::RngCore;

/// A source of random bits: the operating system's, or a known sequence for runs that are to be replayed.
///
/// The first is ChaCha, seeded by the operating system and reseeded as it is used; what was drawn says nothing about
/// what will be. The second is SplitMix64 and keeps no secret: it is for simulations alone.
#[derive(Debug)]
pub(crate) struct Random(Option<u64>);

impl Random {
    /// Draws from the operating system; with a seed, from the sequence that belongs to it.
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

    /// Returns a text of `len` characters that all stand for `ice-char` (RFC 8839 §5.4), with 5 random bits in each.
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
