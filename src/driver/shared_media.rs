//! Media that several peers are sent: it is in memory once.

use std::sync::Arc;

use crate::proto::peer::{EncodedFrame, RtpPacket};

/// Media of a track, shared by the peers that it is sent to.
#[derive(Debug, Clone)]
pub(crate) enum SharedMedia {
    Packet(Arc<RtpPacket>),
    Frame(Arc<EncodedFrame>),
}

impl SharedMedia {
    /// Returns the size of the payload, in bytes.
    #[cfg(feature = "server")]
    pub fn size(&self) -> usize {
        match self {
            Self::Packet(packet) => packet.payload.len(),
            Self::Frame(frame) => frame.data.len(),
        }
    }
}
