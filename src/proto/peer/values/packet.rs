//! RTP packets, sent and received.

use std::time::{Instant, SystemTime};

use super::Bytes;
use super::extensions::HeaderExtensions;
use super::track::TransceiverId;
use crate::proto::media::Codec;

/// Form in which media is written and received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaMode {
    /// Whole frames: [`Peer::write_frame`](super::super::Peer::write_frame),
    /// [`PeerEvent::Frame`](super::PeerEvent::Frame). Packets that are lost and not repaired are left out.
    #[default]
    Frames,
    /// Unchanged RTP packets: [`Peer::write_rtp`](super::super::Peer::write_rtp),
    /// [`PeerEvent::Packet`](super::PeerEvent::Packet). For forwarding: packets are not reordered, and do not wait for
    /// missing ones.
    Packets,
}

/// An RTP packet to send. SSRC, payload type, sequence number and timestamp are those of its source; they are rewritten
/// for each peer it is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtpPacket {
    /// SSRC of the source. When it changes, the stream continues with the new source.
    pub ssrc: u32,
    /// Sequence number. Packets of one source keep their order and their gaps.
    pub sequence_number: u16,
    /// Timestamp in ticks of the codec's RTP clock.
    pub timestamp: u32,
    /// Marker bit: the last packet of a video frame, or the first audio packet after silence.
    pub marker: bool,
    /// End-to-end header extensions.
    pub extensions: HeaderExtensions,
    /// Payload without padding. Clones share it.
    pub payload: Bytes,
    /// The instant that `timestamp` refers to, for synchronization of tracks; `None`: now.
    pub wallclock: Option<Instant>,
    /// The simulcast layer, if any.
    pub rid: Option<String>,
}

impl RtpPacket {
    /// Creates a packet of this source.
    pub fn new(ssrc: u32, sequence_number: u16, timestamp: u32, payload: impl Into<Bytes>) -> Self {
        Self {
            ssrc,
            sequence_number,
            timestamp,
            marker: false,
            extensions: HeaderExtensions::EMPTY,
            payload: payload.into(),
            wallclock: None,
            rid: None,
        }
    }

    /// Sets [`marker`](Self::marker).
    #[must_use]
    pub fn marker(mut self, marker: bool) -> Self {
        self.marker = marker;
        self
    }

    /// Sets [`extensions`](Self::extensions).
    #[must_use]
    pub fn extensions(mut self, extensions: HeaderExtensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// Sets [`wallclock`](Self::wallclock).
    #[must_use]
    pub fn wallclock(mut self, wallclock: Instant) -> Self {
        self.wallclock = Some(wallclock);
        self
    }

    /// Sets [`rid`](Self::rid).
    #[must_use]
    pub fn rid(mut self, rid: impl Into<String>) -> Self {
        self.rid = Some(rid.into());
        self
    }
}

/// A received RTP packet, decrypted. Each packet is reported once; a retransmitted one (RFC 4588) is restored to its
/// original form.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedPacket {
    /// The transceiver.
    pub transceiver: TransceiverId,
    /// The simulcast layer, if any.
    pub rid: Option<String>,
    /// The codec.
    pub codec: Codec,
    /// RTP payload type.
    pub payload_type: u8,
    /// SSRC of the source.
    pub ssrc: u32,
    /// Sequence number, extended beyond 16 bits.
    pub sequence_number: u64,
    /// Timestamp in ticks of the codec's RTP clock.
    pub timestamp: u32,
    /// Marker bit: the last packet of a video frame, or the first audio packet after silence.
    pub marker: bool,
    /// End-to-end header extensions.
    pub extensions: HeaderExtensions,
    /// Payload without padding. Clones share it.
    pub payload: Bytes,
    /// Arrival time.
    pub received: Instant,
    /// Capture time by the sender's clock; `None` before a sender report was received (RFC 3550 §6.4.1).
    pub captured: Option<SystemTime>,
}

impl ReceivedPacket {
    /// Converts to a packet that can be sent, without its layer.
    pub fn to_packet(&self) -> RtpPacket {
        RtpPacket {
            ssrc: self.ssrc,
            sequence_number: self.sequence_number as u16,
            timestamp: self.timestamp,
            marker: self.marker,
            extensions: self.extensions.clone(),
            payload: self.payload.clone(),
            wallclock: Some(self.received),
            rid: None,
        }
    }
}
