//! Retransmitted packets that the core drops.
//!
//! The core treats a packet more than a hundred behind the latest one as a duplicate, and so drops retransmissions over
//! a long path (docs/upstream.md). Where packets are forwarded, such retransmissions (RFC 4588) are decrypted here.

use std::time::Instant;

use super::super::core::{Core, CoreMedia, CorePacket};
use super::super::crypto::{CryptoProvider, Srtp};
use super::super::values::HeaderExtensions;
use super::Feedback;

/// Maximum number of RTX streams that are tracked.
const MAX_STREAMS: usize = 32;

/// The keys and counters needed to decrypt retransmissions.
#[derive(Debug, Default)]
pub(super) struct Late {
    srtp: Option<Srtp>,
    /// SSRCs, with the highest extended sequence number of each.
    numbers: Vec<(u32, u64)>,
}

/// A packet of an RTX stream.
#[derive(Debug)]
pub(in super::super) struct Retransmission {
    ssrc: u32,
    /// Payload type of the packet in it.
    payload_type: u8,
    index: u64,
    header: usize,
}

/// A retransmitted packet that was missing before it was passed to the core.
#[derive(Debug)]
pub(in super::super) struct Repair {
    /// SSRC of the stream it belongs to.
    main: u32,
    found: Retransmission,
}

impl Late {
    /// Returns the packet index: sequence number with rollovers (RFC 3711 §3.3.1). Based on unauthenticated headers: a
    /// forged one can prevent the decryption of a retransmission, but nothing else.
    fn index(&mut self, ssrc: u32, number: u16) -> u64 {
        let Some(at) = self.numbers.iter().position(|(s, _)| *s == ssrc) else {
            if self.numbers.len() >= MAX_STREAMS {
                self.numbers.remove(0);
            }
            self.numbers.push((ssrc, number.into()));
            return number.into();
        };
        let highest = &mut self.numbers[at].1;
        let ahead = i64::from(number.wrapping_sub(*highest as u16).cast_signed());
        let index = highest.checked_add_signed(ahead).unwrap_or(number.into());
        *highest = (*highest).max(index);
        index
    }
}

impl Feedback {
    /// Inspects a datagram before the core does: is it a retransmission while packets are missing?
    pub fn retransmission_in(&mut self, datagram: &[u8], core: &Core) -> Option<Retransmission> {
        let [128..=191, second, a, b, ..] = datagram else {
            return None;
        };
        let payload_type = core.type_repaired_by(second & 127)?;
        let ssrc = u32::from_be_bytes(*datagram.get(8..)?.first_chunk()?);
        let index = self.late.index(ssrc, u16::from_be_bytes([*a, *b]));
        self.losses.deadline()?;
        Some(Retransmission {
            ssrc,
            payload_type,
            index,
            header: header_length(datagram)?,
        })
    }

    /// Returns a retransmission that may be too late for the core, with the stream it belongs to.
    pub fn repair_of(&self, found: Retransmission, core: &mut CoreMedia<'_>) -> Option<Repair> {
        let is_repaired = |main: &u32| core.rtx_of(*main) == Some(found.ssrc);
        let main = self.losses.streams().find(is_repaired)?;
        Some(Repair { main, found })
    }

    /// Returns the packet in a repair that the core has received and dropped; `None` if it is not missing any more.
    pub fn open_late(
        &mut self,
        repair: &Repair,
        datagram: &[u8],
        provider: &CryptoProvider,
        now: Instant,
    ) -> Option<CorePacket> {
        self.losses.deadline()?;
        if self.late.srtp.is_none() {
            self.late.srtp = self.keys.as_ref()?.receiving(provider);
        }
        let srtp = self.late.srtp.as_mut()?;
        let mut payload = srtp.open(datagram, repair.found.header, repair.found.index)?;
        if datagram[0] & 0x20 != 0 {
            let padding = payload.last().copied().unwrap_or_default();
            payload.truncate(payload.len().saturating_sub(padding.into()));
        }
        let (number, payload) = payload.split_first_chunk()?;
        let number = u16::from_be_bytes(*number);
        let number = self.losses.missing(repair.main, number)?;
        let timestamp = datagram.get(4..)?.first_chunk()?;
        Some(CorePacket {
            ssrc: repair.main,
            number,
            payload_type: repair.found.payload_type,
            timestamp: u32::from_be_bytes(*timestamp),
            marker: datagram[1] & 0x80 != 0,
            extensions: HeaderExtensions::EMPTY,
            payload: payload.into(),
            clock: None,
            received: now,
        })
    }
}

/// Returns the length of an RTP header with its sources and extensions (RFC 3550 §5.1, §5.3.1); `None` if the packet is
/// too short.
fn header_length(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let fixed = 12 + 4 * usize::from(first & 15);
    let length = match first & 0x10 {
        0 => fixed,
        _ => {
            let words = packet.get(fixed + 2..)?.first_chunk()?;
            fixed + 4 + 4 * usize::from(u16::from_be_bytes(*words))
        }
    };
    (length <= packet.len()).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_roll_over() {
        let mut late = Late::default();
        assert_eq!(late.index(1, 65_534), 65_534);
        assert_eq!(late.index(1, 1), 65_537);
        assert_eq!(late.index(1, 65_535), 65_535);
        assert_eq!(late.index(1, 2), 65_538);
        assert_eq!(late.index(2, 5), 5);
        assert_eq!(late.index(2, 65_535), 65_535, "before its first: as it is");
        for ssrc in 0..100 {
            late.index(ssrc, 1);
        }
        assert_eq!(late.numbers.len(), MAX_STREAMS);
    }

    #[test]
    fn headers_are_as_long_as_they_say() {
        let mut packet = vec![0x80; 40];
        assert_eq!(header_length(&packet), Some(12));
        packet[0] = 0x92;
        packet[22..24].copy_from_slice(&[0, 2]);
        assert_eq!(header_length(&packet), Some(32));
        assert_eq!(header_length(&packet[..31]), None);
        assert_eq!(header_length(&packet[..23]), None);
        assert_eq!(header_length(&[]), None);
    }
}
