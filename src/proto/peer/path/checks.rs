//! Valid ICE checks that the core does not handle: answered here, or completed for it.
//!
//! The core refuses a check without PRIORITY, which RFC 8445 §7.1.1 requires and older FFmpeg versions omit; other
//! implementations answer it. It also ignores unknown attributes, which RFC 8489 §6.3.1 requires to be listed in an
//! error 420.

use std::time::{Duration, Instant};

use crate::proto::ice::stun;

/// Priority assumed for a check without PRIORITY: a peer-reflexive candidate of the first interface (RFC 8445 §5.1.2).
const DEFAULT_PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// Maximum number of 420 errors that a peer sends per second. They help implementers only.
const MAX_ERRORS: u32 = 10;

/// Number of errors sent in the current second.
#[derive(Debug, Default)]
pub(super) struct Errors {
    since: Option<Instant>,
    sent: u32,
}

impl Errors {
    fn allows(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|t| now >= t + Duration::from_secs(1)) {
            (self.since, self.sent) = (Some(now), 0);
        }
        self.sent += 1;
        self.sent <= MAX_ERRORS
    }
}

/// Returns the message with a PRIORITY added, if it is a correctly signed check without one.
pub(super) fn with_priority(
    message: &[u8],
    hmac: impl Fn(&[&[u8]]) -> [u8; 20],
) -> Option<Vec<u8>> {
    if !stun::lacks_priority(message) || !stun::is_signed(message, &hmac) {
        return None;
    }
    let mut builder = stun::Builder::like(message)?;
    builder.attribute(stun::PRIORITY, &DEFAULT_PRIORITY.to_be_bytes());
    Some(builder.sign(hmac))
}

/// Result of a verified check.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Understood {
    /// All attributes are known.
    Yes,
    /// It has unknown attributes, and this is the response, unless too many were sent lately.
    No(Option<Vec<u8>>),
}

/// Answers a verified check that has unknown attributes.
pub(super) fn understand(
    message: &[u8],
    errors: &mut Errors,
    hmac: impl Fn(&[&[u8]]) -> [u8; 20],
    now: Instant,
) -> Understood {
    let unknown = stun::unknown_attributes(message);
    if unknown.is_empty() {
        return Understood::Yes;
    }
    if !errors.allows(now) {
        return Understood::No(None);
    }
    let builder = stun::Builder::error(message, 420, "Unknown Attribute");
    Understood::No(builder.map(|mut builder| {
        let types: Vec<u8> = unknown.iter().flat_map(|t| t.to_be_bytes()).collect();
        builder.attribute(stun::UNKNOWN_ATTRIBUTES, &types);
        builder.sign(hmac)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_limited_by_the_second() {
        let t0 = Instant::now();
        let mut errors = Errors::default();
        let allowed = (0..100).filter(|_| errors.allows(t0)).count();
        assert_eq!(allowed, MAX_ERRORS as usize);
        assert!(errors.allows(t0 + Duration::from_secs(1)));
    }
}
