//! A hash of everything that was sent, for comparing two runs.

use std::time::Duration;

use crate::proto::net::Transmit;

/// FNV-1a hash of the values that identify a run.
pub(super) struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    /// Returns the hash so far.
    pub fn hash(&self) -> u64 {
        self.0
    }

    /// Adds a datagram that was sent at this time since the start.
    pub fn note(&mut self, elapsed: Duration, transmit: &Transmit) {
        self.eat(u64::try_from(elapsed.as_micros()).unwrap_or(0));
        self.eat(u64::from(transmit.destination.port()));
        // The first byte distinguishes STUN from other protocols (RFC 7983).
        // A Send indication counts as its payload.
        let is_stun = matches!(&transmit.contents[..], [b, ..] if *b < 4)
            && !transmit.contents.starts_with(&[0, 0x16]);
        self.eat(match is_stun {
            true => transmit.contents.len() as u64,
            false => 0,
        });
    }

    fn eat(&mut self, value: u64) {
        for byte in value.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
