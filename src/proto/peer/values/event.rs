//! The events of a peer.

use super::channel::ChannelId;
use super::codec::CodecParameters;
use super::error::PeerError;
use super::frame::{KeyframeRequestKind, ReceivedFrame, SenderReport};
use super::packet::ReceivedPacket;
use super::rtcp::RtcpPacket;
use super::state::{ConnectionState, IceConnectionState, IceGatheringState, SignalingState};
use super::track::{BandwidthEstimate, RemoteTrack, TransceiverId};
use crate::proto::ice::{IceCandidate, IceCandidateError};

/// An event of a peer for the application.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// A change needs the remote peer's agreement: make an offer ([`Peer::negotiate`](super::super::Peer::negotiate)).
    NegotiationNeeded,
    /// The [`SignalingState`] has changed.
    SignalingStateChange(SignalingState),
    /// The [`IceGatheringState`] has changed.
    IceGatheringStateChange(IceGatheringState),
    /// A local candidate to send to the remote peer; `None` marks the end of candidates in this generation (RFC 8838
    /// §13).
    IceCandidate(Option<IceCandidate>),
    /// A source of candidates failed; contains the server, the reason and what to check.
    IceCandidateError(IceCandidateError),
    /// The [`IceConnectionState`] has changed.
    IceConnectionStateChange(IceConnectionState),
    /// The [`ConnectionState`] has changed.
    ConnectionStateChange(ConnectionState),
    /// The remote peer has created a channel. [`ChannelOpen`](Self::ChannelOpen) follows.
    DataChannel(ChannelId),
    /// A channel, local or remote, is ready to send and receive.
    ChannelOpen(ChannelId),
    /// A message was received.
    ChannelMessage {
        /// The channel.
        channel: ChannelId,
        /// The message.
        message: Message,
    },
    /// The number of bytes buffered for sending has fallen to the channel's low threshold.
    ChannelBufferedAmountLow(ChannelId),
    /// The channel is closed, by either side or with the connection.
    ChannelClosed(ChannelId),
    /// The remote peer sends a track.
    Track(RemoteTrack),
    /// The remote peer no longer sends this track. It may return as [`Track`](Self::Track).
    TrackRemoved(TransceiverId),
    /// A received stream has been silent for a while, or has resumed (W3C `mute`, `unmute`).
    TrackMuted {
        /// The transceiver.
        transceiver: TransceiverId,
        /// The simulcast layer, if any.
        rid: Option<String>,
        /// `true` if it is silent, `false` if it has resumed.
        muted: bool,
    },
    /// A frame was received.
    Frame(ReceivedFrame),
    /// A packet was received ([`MediaMode::Packets`](super::MediaMode::Packets)).
    Packet(ReceivedPacket),
    /// Packets of a video track are missing and were not repaired within two round trips and 250 ms, or too many are
    /// missing to be repaired ([`MediaMode::Packets`](super::MediaMode::Packets)). They are requested until they are
    /// 1.5 s old, but a [keyframe](super::super::Peer::request_keyframe) may arrive sooner. Repeated for packets that become
    /// late afterwards.
    PacketsLost {
        /// The transceiver.
        transceiver: TransceiverId,
        /// The simulcast layer, if any.
        rid: Option<String>,
    },
    /// A local track can be [written to](super::super::Peer::write_frame) from now on, with this codec. Repeated when the
    /// codec changes.
    TrackBound {
        /// The transceiver.
        transceiver: TransceiverId,
        /// The codec for its frames.
        codec: CodecParameters,
    },
    /// A local track can no longer be written to.
    TrackUnbound(TransceiverId),
    /// The remote peer requests a keyframe of a local track.
    KeyframeRequest {
        /// The transceiver.
        transceiver: TransceiverId,
        /// The simulcast layer, if any.
        rid: Option<String>,
        /// The kind of request.
        kind: KeyframeRequestKind,
    },
    /// A new estimate of the bandwidth available for sending.
    BandwidthEstimate(BandwidthEstimate),
    /// An RTCP packet was received; reported only if [`rtcp_events`](super::PeerConfig::rtcp_events) is set.
    Rtcp(RtcpPacket),
    /// A sender report of the remote peer, with its clocks.
    SenderReport(SenderReport),
    /// A transceiver has ended: stopped by either side, rejected, or closed with the connection.
    TransceiverStopped(TransceiverId),
    /// An asynchronous error: the reason why the connection is about to fail or close, or what the remote peer does not
    /// accept. A normal close has none.
    Error(PeerError),
}

/// A data channel message (RFC 8831 §6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text. Text from the remote peer that is not valid UTF-8 is reported as [`Binary`](Self::Binary).
    Text(String),
    /// Binary data.
    Binary(Vec<u8>),
}

impl Message {
    /// Returns the payload of either kind.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    pub(in super::super) fn received(binary: bool, data: Vec<u8>) -> Self {
        if binary {
            return Self::Binary(data);
        }
        String::from_utf8(data).map_or_else(|e| Self::Binary(e.into_bytes()), Self::Text)
    }
}
