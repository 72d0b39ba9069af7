//! RTP packets (RFC 3550 §5.1), parsed and written with `rtp-types`.

use std::fmt;

use crate::proto::peer::ReceivedPacket;

/// Returns `true` if a datagram is RTCP rather than RTP, on a port that carries both (RFC 5761 §4: RTP payload types 64
/// to 95 with the marker bit collide with RTCP and count as such).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [first, 192..=223, ..] if first >> 6 == 2)
}

/// An RTP packet that borrows from a datagram. Its offsets were validated by [`parse`](Self::parse).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Payload type: 0 to 127.
    pub payload_type: u8,
    /// Marker bit. Its meaning depends on the payload; for video, usually the last packet of a frame.
    pub marker: bool,
    /// Sequence number; wraps.
    pub sequence_number: u16,
    /// Timestamp in ticks of the RTP clock; wraps.
    pub timestamp: u32,
    /// Synchronization source: identifies the sender's stream.
    pub ssrc: u32,
    /// Contributing sources of a mixed stream; at most 15.
    pub csrcs: Vec<u32>,
    /// Header extension: profile number and content, a multiple of four bytes (§5.3.1).
    pub extension: Option<(u16, &'a [u8])>,
    /// Payload without padding. May be empty.
    pub payload: &'a [u8],
}

/// Reason why a datagram is not an RTP packet, or why a packet cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketError(String);

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PacketError {}

impl<'a> From<&'a ReceivedPacket> for Packet<'a> {
    /// Converts a packet received by a peer, without its header extensions: their ids were negotiated with that peer
    /// only.
    fn from(received: &'a ReceivedPacket) -> Self {
        Self {
            marker: received.marker,
            ..Self::new(
                received.payload_type,
                received.sequence_number as u16,
                received.timestamp,
                received.ssrc,
                &received.payload,
            )
        }
    }
}

impl<'a> Packet<'a> {
    /// Creates a packet without marker, contributing sources and extension.
    pub fn new(
        payload_type: u8,
        sequence_number: u16,
        timestamp: u32,
        ssrc: u32,
        payload: &'a [u8],
    ) -> Self {
        Self {
            payload_type,
            marker: false,
            sequence_number,
            timestamp,
            ssrc,
            csrcs: Vec::new(),
            extension: None,
            payload,
        }
    }

    /// Parses a datagram.
    ///
    /// # Errors
    ///
    /// Returns an error if the version is not 2, or if the contributing sources, the extension or the padding exceed
    /// the packet or overlap.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, PacketError> {
        let packet = rtp_types::RtpPacket::parse(datagram)
            .map_err(|e| PacketError(format!("no RTP packet: {e}")))?;
        // The parser's slices borrow from the parser; ours must borrow from the datagram.
        let payload_begin = packet.payload_offset();
        let payload = datagram.get(payload_begin..payload_begin + packet.payload_len());
        let extension = packet.extension().map(|(profile, data)| {
            let data = datagram.get(payload_begin - data.len()..payload_begin);
            (profile, data.unwrap_or_default())
        });
        Ok(Self {
            payload_type: packet.payload_type(),
            marker: packet.marker_bit(),
            sequence_number: packet.sequence_number(),
            timestamp: packet.timestamp(),
            ssrc: packet.ssrc(),
            csrcs: packet.csrc().collect(),
            extension,
            payload: payload.unwrap_or_default(),
        })
    }

    /// Serializes the packet, without padding.
    ///
    /// # Errors
    ///
    /// Returns an error if the payload type is above 127, there are more than 15 contributing sources, or the extension
    /// is not a multiple of four bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PacketError> {
        let mut builder = rtp_types::RtpPacketBuilder::new()
            .payload_type(self.payload_type)
            .marker_bit(self.marker)
            .sequence_number(self.sequence_number)
            .timestamp(self.timestamp)
            .ssrc(self.ssrc)
            .payload(self.payload);
        for csrc in &self.csrcs {
            builder = builder.add_csrc(*csrc);
        }
        if let Some((profile, data)) = self.extension {
            builder = builder.extension(profile, data);
        }
        builder
            .write_vec()
            .map_err(|e| PacketError(format!("writing an RTP packet: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with version 2, payload type 96, sequence number 1, timestamp 2, SSRC 3.
    fn header(first: u8) -> Vec<u8> {
        vec![first, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]
    }

    #[test]
    fn there_and_back() {
        let packet = Packet {
            marker: true,
            csrcs: vec![7, 8],
            extension: Some((0xbede, &[0x10, 0xff, 0, 0])),
            ..Packet::new(111, 65_535, u32::MAX, 0xdead_beef, b"payload")
        };
        let bytes = packet.to_bytes().unwrap();
        assert_eq!(Packet::parse(&bytes), Ok(packet));
    }

    #[test]
    fn what_cannot_be_written() {
        assert!(Packet::new(128, 0, 0, 0, b"").to_bytes().is_err());
        let uneven = Packet {
            extension: Some((1, &[1, 2, 3])),
            ..Packet::new(96, 0, 0, 0, b"")
        };
        assert!(uneven.to_bytes().is_err());
        let crowd = Packet {
            csrcs: vec![0; 16],
            ..Packet::new(96, 0, 0, 0, b"")
        };
        assert!(crowd.to_bytes().is_err());
    }

    /// The last byte states the length of the padding and is chosen by the sender. pion subtracted it from the payload
    /// unchecked, so a packet with more padding than payload crashed it remotely (CVE-2025-49140).
    #[test]
    fn padding_longer_than_the_packet_cve_2025_49140() {
        for padding in 0..=255u8 {
            for payload in 0..4usize {
                let mut bytes = header(0xa0);
                bytes.extend(std::iter::repeat_n(padding, payload));
                let parsed = Packet::parse(&bytes);
                // The last byte is the count, which includes itself.
                let fits = payload > 0 && (1..=payload).contains(&usize::from(padding));
                assert_eq!(parsed.is_ok(), fits, "padding {padding} in {payload} bytes");
                if let Ok(packet) = parsed {
                    assert_eq!(packet.payload.len(), payload - usize::from(padding));
                }
            }
        }
        // It must not reach into contributing sources or the extension either.
        let mut bytes = header(0xb1);
        bytes.extend([0, 0, 0, 9, 0xbe, 0xde, 0, 1, 1, 2, 3, 4, 2]);
        assert!(Packet::parse(&bytes).is_err());
        bytes.pop();
        bytes.push(1);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.csrcs, packet.payload), (vec![9], &[][..]));
        assert_eq!(packet.extension, Some((0xbede, &[1, 2, 3, 4][..])));
    }

    #[test]
    fn lengths_that_reach_beyond_the_end() {
        for length in 0..12 {
            assert!(Packet::parse(&header(0x80)[..length]).is_err());
        }
        assert!(Packet::parse(&header(0x40)).is_err(), "version 1");
        assert!(
            Packet::parse(&header(0x8f)).is_err(),
            "15 CSRCs, none there"
        );
        assert!(
            Packet::parse(&header(0x90)).is_err(),
            "extension, none there"
        );
        let mut bytes = header(0x90);
        bytes.extend([0xbe, 0xde, 0xff, 0xff, 1, 2, 3, 4]);
        assert!(Packet::parse(&bytes).is_err(), "extension of 256 KiB");
    }

    #[test]
    fn rtcp_is_told_apart() {
        assert!(is_rtcp(&[0x80, 200, 0, 6]));
        assert!(is_rtcp(&[0x81, 203]));
        // With marker, payload types on both sides of the range.
        assert!(!is_rtcp(&[0x80, 0x80 | 63]));
        assert!(!is_rtcp(&[0x80, 0x80 | 96]));
        assert!(!is_rtcp(&[0x00, 200]), "version 0");
        assert!(!is_rtcp(&[0x80]));
    }
}
