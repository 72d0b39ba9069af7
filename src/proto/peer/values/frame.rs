//! Frames, sent and received, and what is said about them.

use std::time::{Duration, Instant, SystemTime};

use super::Bytes;
use super::track::TransceiverId;
use crate::proto::media::Codec;

/// A media time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameTime {
    /// A duration from an arbitrary origin.
    Media(Duration),
    /// Ticks of the codec's RTP clock, extended beyond 32 bits.
    Ticks(u64),
}

impl From<Duration> for FrameTime {
    fn from(time: Duration) -> Self {
        Self::Media(time)
    }
}

/// A frame to send: a video frame or an audio packet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodedFrame {
    /// The encoded data: see [`Codec`] for its form. Clones share it.
    pub data: Bytes,
    /// Presentation time, from an arbitrary origin.
    pub time: FrameTime,
    /// The instant that `time` refers to, for synchronization of tracks; `None`: now.
    pub wallclock: Option<Instant>,
    /// The simulcast layer, if any.
    pub rid: Option<String>,
}

impl EncodedFrame {
    /// Creates a frame with this media time.
    pub fn new(data: impl Into<Bytes>, time: impl Into<FrameTime>) -> Self {
        Self {
            data: data.into(),
            time: time.into(),
            wallclock: None,
            rid: None,
        }
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

/// A received frame, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedFrame {
    /// The transceiver.
    pub transceiver: TransceiverId,
    /// The simulcast layer, if any.
    pub rid: Option<String>,
    /// The codec.
    pub codec: Codec,
    /// RTP payload type.
    pub payload_type: u8,
    /// Media time, from an origin chosen by the sender.
    pub time: Duration,
    /// Media time in ticks of the codec's RTP clock, extended beyond 32 bits.
    pub rtp_timestamp: u64,
    /// Arrival time of its first packet.
    pub received: Instant,
    /// Capture time by the sender's clock; `None` before a sender report was received (RFC 3550 §6.4.1).
    pub captured: Option<SystemTime>,
    /// Set if nothing is missing between the previous frame and this one.
    pub contiguous: bool,
    /// Set if a decoder can start with this frame. Always set for audio.
    pub keyframe: bool,
    /// The encoded data.
    pub data: Bytes,
}

impl ReceivedFrame {
    /// Converts to a frame that can be sent, with the same data and time.
    pub fn to_encoded(&self) -> EncodedFrame {
        EncodedFrame::new(self.data.clone(), FrameTime::Ticks(self.rtp_timestamp))
            .wallclock(self.received)
    }
}

/// Kind of a keyframe request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyframeRequestKind {
    /// Picture loss indication (RFC 4585 §6.3.1).
    Pli,
    /// Full intra request (RFC 5104 §4.3.1).
    Fir,
}

/// A sender report: the sender's clocks and counters (RFC 3550 §6.4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SenderReport {
    /// The transceiver.
    pub transceiver: TransceiverId,
    /// The simulcast layer, if any.
    pub rid: Option<String>,
    /// The sender's wall clock.
    pub wallclock: SystemTime,
    /// The RTP timestamp that corresponds to [`wallclock`](Self::wallclock).
    pub rtp_timestamp: u32,
    /// Number of packets sent so far.
    pub packets: u32,
    /// Number of payload bytes sent so far.
    pub bytes: u32,
}
