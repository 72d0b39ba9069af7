//! Bearer tokens (RFC 6750), compared in constant time and kept out of logs.

use std::fmt;
use std::hint::black_box;

use turn_types::stun::message::TransactionId;

/// A secret that clients present.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Creates a token. An empty one matches nothing.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Creates an unpredictable token: 192 bits of the operating system's randomness, in hexadecimal.
    pub(crate) fn random() -> Self {
        let random = || u128::from(TransactionId::generate());
        Self(format!("{:024x}{:024x}", random(), random()))
    }

    /// Returns `true` if this is the secret. The time depends on the length of `shown` only.
    #[must_use]
    pub fn matches(&self, shown: &str) -> bool {
        let secret = self.0.as_bytes();
        let mut differs = u8::from(secret.len() != shown.len()) | u8::from(secret.is_empty());
        for (index, byte) in shown.bytes().enumerate() {
            let expected = secret.get(index % secret.len().max(1)).unwrap_or(&0);
            differs = black_box(differs | (expected ^ byte));
        }
        black_box(differs) == 0
    }

    /// Returns the secret, which must not appear in logs, errors and pages.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

/// Omits the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ones_differ() {
        let (a, b) = (Token::random(), Token::random());
        assert_eq!(a.expose().len(), 48);
        assert_ne!(a, b);
    }

    #[test]
    fn only_the_secret() {
        let token = Token::new("wonderland");
        assert!(token.matches("wonderland"));
        for other in ["", "w", "wonderlanc", "wonderlandwonderland", "wonderland "] {
            assert!(!token.matches(other), "{other:?}");
        }
        assert!(!Token::new("").matches(""));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
