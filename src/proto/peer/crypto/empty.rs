//! Empty messages, which the core cannot send.
//!
//! SCTP has no empty DATA chunk, so an empty message is sent as one zero byte with a payload protocol identifier of its
//! own (RFC 8831 §6.6: 56 for text, 57 for binary). The core reads that form, but writes no chunk for an empty message.
//! A peer therefore writes a placeholder, one byte that no text consists of, which is replaced in the SCTP packet on
//! its way into DTLS, where retransmissions pass as well.

use std::borrow::Cow;

use crc::{CRC_32_ISCSI, Crc, Table};

/// Placeholder for an empty text message, written as text. It is not UTF-8, so no real text equals it.
pub(in super::super) const EMPTY_TEXT: &[u8] = &[0xFF];
/// Placeholder for an empty binary message, also written as text.
pub(in super::super) const EMPTY_BINARY: &[u8] = &[0xFE];

const HEADER: usize = 12;
const DATA_HEADER: usize = 16;
const DATA: u8 = 0;
/// Beginning and end of a message in one chunk.
const WHOLE: u8 = 0b11;
const PPID_STRING: [u8; 4] = 51u32.to_be_bytes();
const PPID_STRING_EMPTY: [u8; 4] = 56u32.to_be_bytes();
const PPID_BINARY_EMPTY: [u8; 4] = 57u32.to_be_bytes();

static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Returns the packet with placeholders replaced.
pub(super) fn put_right(packet: &[u8]) -> Cow<'_, [u8]> {
    if placeholders(packet).next().is_none() {
        return Cow::Borrowed(packet);
    }
    let mut packet = packet.to_vec();
    let found: Vec<usize> = placeholders(&packet).collect();
    for at in found {
        let is_text = packet[at + DATA_HEADER] == EMPTY_TEXT[0];
        let ppid = if is_text {
            PPID_STRING_EMPTY
        } else {
            PPID_BINARY_EMPTY
        };
        packet[at + 12..at + 16].copy_from_slice(&ppid);
        packet[at + DATA_HEADER] = 0;
    }
    // A zero checksum means that there is none (RFC 9653 §5).
    if packet[8..HEADER] != [0; 4] {
        packet[8..HEADER].fill(0);
        let sum = CRC32C.checksum(&packet);
        packet[8..HEADER].copy_from_slice(&sum.to_le_bytes());
    }
    Cow::Owned(packet)
}

/// Iterates over the positions of chunks with a placeholder in an SCTP packet (RFC 9260 §3).
fn placeholders(packet: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut at = HEADER;
    std::iter::from_fn(move || {
        loop {
            let chunk = packet.get(at..)?;
            let length = usize::from(u16::from_be_bytes([*chunk.get(2)?, *chunk.get(3)?]));
            let start = at;
            at += length.max(4).next_multiple_of(4);
            let is_placeholder = chunk[0] == DATA
                && chunk[1] & WHOLE == WHOLE
                && length == DATA_HEADER + 1
                && chunk.get(12..16) == Some(&PPID_STRING)
                && chunk
                    .get(16)
                    .is_some_and(|b| [*b] == EMPTY_TEXT || [*b] == EMPTY_BINARY);
            if is_placeholder {
                return Some(start);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(chunks: &[(u32, &[u8])]) -> Vec<u8> {
        let mut p = vec![0x13, 0x88, 0x13, 0x88, 1, 2, 3, 4, 0, 0, 0, 0];
        for (ppid, data) in chunks {
            p.extend([DATA, WHOLE]);
            p.extend((16 + data.len() as u16).to_be_bytes());
            p.extend([0, 0, 0, 9, 0, 1, 0, 2]);
            p.extend(ppid.to_be_bytes());
            p.extend(*data);
            p.resize(p.len().next_multiple_of(4), 0);
        }
        let sum = CRC32C.checksum(&p);
        p[8..12].copy_from_slice(&sum.to_le_bytes());
        p
    }

    #[test]
    fn placeholders_become_empty_messages() {
        let sent = put_right(&packet(&[
            (51, b"hello"),
            (51, EMPTY_TEXT),
            (53, &[0xFF]),
            (51, EMPTY_BINARY),
        ]))
        .into_owned();
        assert_eq!(
            sent,
            packet(&[(51, b"hello"), (56, &[0]), (53, &[0xFF]), (57, &[0])])
        );
    }

    #[test]
    fn all_else_passes_untouched() {
        for chunks in [&[(51, &b"a"[..])][..], &[(53, &[0xFE])], &[]] {
            let p = packet(chunks);
            assert!(matches!(put_right(&p), Cow::Borrowed(_)));
        }
        let whole = packet(&[(51, EMPTY_TEXT)]);
        for cut in 0..whole.len() - 3 {
            assert_eq!(put_right(&whole[..cut]), &whole[..cut]);
        }
    }
}
