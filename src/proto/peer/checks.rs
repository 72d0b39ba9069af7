//! Valid ICE checks that the core does not accept: answered or corrected here.
//!
//! The core refuses a check without PRIORITY, which RFC 8445 §7.1.1 requires but older FFmpeg omits; other
//! implementations accept it. It also ignores unknown attributes, for which RFC 8489 §6.3.1 requires an error 420 that
//! lists them.

use std::time::{Duration, Instant};

use super::Peer;
use super::ends::Ends;
use crate::proto::ice::stun;
use crate::proto::net::Received;

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

impl Peer {
    /// Returns the message with a PRIORITY added, if it is a check with our password that has none.
    pub(super) fn with_priority(&self, message: &[u8]) -> Option<Vec<u8>> {
        let key = self.local_creds.pass.as_bytes();
        if !stun::lacks_priority(message) || !self.is_signed(message, key) {
            return None;
        }
        let mut builder = stun::Builder::like(message)?;
        builder.attribute(stun::PRIORITY, &DEFAULT_PRIORITY.to_be_bytes());
        Some(self.sign(builder, key))
    }

    /// Answers a verified check with an error if it has unknown comprehension-required attributes. Returns `true` if it
    /// did.
    pub(super) fn refuse_unknown(&mut self, received: &Received<'_>, ends: Ends) -> bool {
        let unknown = stun::unknown_attributes(received.contents);
        if unknown.is_empty() {
            return false;
        }
        if self.unknown_errors.allows(self.now)
            && let Some(mut builder) =
                stun::Builder::error(received.contents, 420, "Unknown Attribute")
        {
            let types: Vec<u8> = unknown.iter().flat_map(|t| t.to_be_bytes()).collect();
            builder.attribute(stun::UNKNOWN_ATTRIBUTES, &types);
            let answer = self.sign(builder, self.local_creds.pass.as_bytes());
            self.send_on(ends, answer);
        }
        true
    }

    fn sign(&self, builder: stun::Builder, key: &[u8]) -> Vec<u8> {
        let hmac = self.core.provider().sha1_hmac_provider;
        builder.sign(|data| hmac.sha1_hmac(key, data))
    }

    fn is_signed(&self, message: &[u8], key: &[u8]) -> bool {
        let hmac = self.core.provider().sha1_hmac_provider;
        stun::is_signed(message, |data| hmac.sha1_hmac(key, data))
    }
}
