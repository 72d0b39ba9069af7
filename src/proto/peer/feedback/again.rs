//! Retransmission of lost packets in their original form.
//!
//! The core retransmits in a separate stream only (RTX, RFC 4588). Some implementations, such as pion 3, request lost
//! packets (RFC 4585 §6.2.1) and expect the same packet again. Packets with such payload types are therefore kept, in
//! sealed form.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::crypto::{CryptoProvider, Srtcp};
use super::{Feedback, compound, is_rtcp};

/// Maximum number of packets kept per peer, and for how long.
const MAX_KEPT: usize = 256;
const MAX_AGE: Duration = Duration::from_secs(1);

/// Minimum interval between transmissions of a packet.
const PAUSE: Duration = Duration::from_millis(20);
const MAX_TIMES: u8 = 5;

/// Sent packets that may be requested again.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// Payload types of video without an RTX stream.
    types: Vec<u8>,
    kept: VecDeque<Kept>,
    srtcp: Option<Srtcp>,
}

#[derive(Debug)]
struct Kept {
    ssrc: u32,
    number: u16,
    first: Instant,
    last: Instant,
    times: u8,
    packet: Vec<u8>,
}

impl Again {
    /// Sets the payload types after a negotiation.
    pub fn set_types(&mut self, types: Vec<u8>) {
        self.types = types;
        if self.types.is_empty() {
            self.kept = VecDeque::new();
        }
    }

    /// Records an outgoing sealed RTP packet.
    pub fn leaves(&mut self, packet: &[u8], now: Instant) {
        let [_, second, a, b, ..] = packet else {
            return;
        };
        if !self.types.contains(&(second & 127)) {
            return;
        }
        let Some(ssrc) = packet.get(8..).and_then(|s| s.first_chunk()) else {
            return;
        };
        let is_old = |kept: &Kept| now.saturating_duration_since(kept.first) >= MAX_AGE;
        while self.kept.len() >= MAX_KEPT || self.kept.front().is_some_and(is_old) {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept {
            ssrc: u32::from_be_bytes(*ssrc),
            number: u16::from_be_bytes([*a, *b]),
            first: now,
            last: now,
            times: 0,
            packet: packet.to_vec(),
        });
    }

    /// Returns the packet, if it may be sent again.
    fn take(&mut self, ssrc: u32, number: u16, now: Instant) -> Option<Vec<u8>> {
        let mut kept = self.kept.iter_mut();
        let found = kept.find(|k| k.ssrc == ssrc && k.number == number)?;
        let is_due = found.times == 0 || now.saturating_duration_since(found.last) >= PAUSE;
        if !is_due || found.times >= MAX_TIMES {
            return None;
        }
        found.times += 1;
        found.last = now;
        Some(found.packet.clone())
    }
}

impl Feedback {
    /// Returns the packets that a NACK in this datagram requests, unless the core serves them. `can_send`: there is a path.
    pub fn asked_again(
        &mut self,
        datagram: &[u8],
        provider: &CryptoProvider,
        can_send: bool,
        now: Instant,
    ) -> Vec<Vec<u8>> {
        let again = &mut self.again;
        if again.kept.is_empty() || !is_rtcp(datagram) {
            return Vec::new();
        }
        if again.srtcp.is_none() {
            let keys = self.keys.as_ref();
            again.srtcp = keys.and_then(|keys| keys.reports(provider));
        }
        let plain = again.srtcp.as_mut().and_then(|srtcp| srtcp.open(datagram));
        let Some(plain) = plain.filter(|_| can_send) else {
            return Vec::new();
        };
        compound::asked_for(&plain)
            .filter_map(|(ssrc, number)| again.take(ssrc, number, now))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payload_type: u8, number: u16) -> Vec<u8> {
        let mut packet = vec![0x80, payload_type];
        packet.extend(number.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0, 0, 0, 7, 1, 2, 3]);
        packet
    }

    #[test]
    fn what_was_sent_lately_is_sent_again_a_few_times() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut again = Again::default();
        again.leaves(&packet(96, 1), begun);
        assert!(again.kept.is_empty());
        again.set_types(vec![96]);
        again.leaves(&packet(96 | 0x80, 1), begun);
        again.leaves(&packet(97, 2), begun);
        assert_eq!(again.take(7, 1, at(1)), Some(packet(96 | 0x80, 1)));
        assert_eq!(again.take(7, 1, at(10)), None, "it is under way");
        assert_eq!(again.take(7, 2, at(10)), None, "not of this kind");
        assert_eq!(again.take(8, 1, at(100)), None, "of nobody");
        let more = (2..20).filter(|n| again.take(7, 1, at(20 * n)).is_some());
        assert_eq!(more.count(), usize::from(MAX_TIMES) - 1);
        again.leaves(&packet(96, 3), at(999));
        assert_eq!(again.kept.len(), 2);
        again.leaves(&packet(96, 4), at(1000));
        assert_eq!(again.kept.len(), 2, "too old");
        for number in 0..2 * MAX_KEPT as u16 {
            again.leaves(&packet(96, number), at(1001));
        }
        assert_eq!(again.kept.len(), MAX_KEPT);
        again.set_types(vec![]);
        assert!(again.kept.is_empty());
    }
}
