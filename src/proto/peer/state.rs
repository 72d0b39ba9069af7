//! The four state machines of a peer connection (W3C WebRTC §4.3), and their events.

use std::fmt;

use super::Dtls;
use super::channels::ChannelId;
use super::error::PeerError;
use super::tracks::{
    BandwidthEstimate, CodecParameters, KeyframeRequestKind, ReceivedFrame, ReceivedPacket,
    RemoteTrack, RtcpPacket, SenderReport, TransceiverId,
};
use crate::proto::ice::{IceCandidate, IceCandidateError};

macro_rules! named_states {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl fmt::Display for $name {
            /// The name that W3C gives it.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)* })
            }
        }
    )*};
}

named_states! {
    /// Where offer and answer stand (W3C §4.3.1).
    SignalingState {
        /// No offer is under way.
        Stable = "stable",
        /// Our offer awaits its answer.
        HaveLocalOffer = "have-local-offer",
        /// Their offer awaits our answer.
        HaveRemoteOffer = "have-remote-offer",
        /// No more.
        Closed = "closed",
    }
    /// How far gathering is (W3C §4.3.2).
    IceGatheringState {
        /// Not begun.
        New = "new",
        /// Under way.
        Gathering = "gathering",
        /// Done, for this generation.
        Complete = "complete",
    }
    /// Whether a path has been found (W3C §4.3.4).
    IceConnectionState {
        /// Not both descriptions are set yet.
        New = "new",
        /// Looking for a path.
        Checking = "checking",
        /// A path works.
        Connected = "connected",
        /// A path works and no other is being tried.
        Completed = "completed",
        /// The path has gone silent; it may come back.
        Disconnected = "disconnected",
        /// No path; only an ICE restart can help.
        Failed = "failed",
        /// No more.
        Closed = "closed",
    }
    /// ICE and DTLS together (W3C §4.3.3).
    ConnectionState {
        /// Not begun.
        New = "new",
        /// Looking for a path, or shaking hands.
        Connecting = "connecting",
        /// Ready for data.
        Connected = "connected",
        /// The path has gone silent; it may come back.
        Disconnected = "disconnected",
        /// Lost; only an ICE restart can help, and not after a failed handshake.
        Failed = "failed",
        /// No more; everything has been freed.
        Closed = "closed",
    }
}

/// What a peer tells the application.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// Something has changed that the other side must agree to: make an offer
    /// ([`Peer::negotiate`](super::Peer::negotiate)).
    NegotiationNeeded,
    /// See [`SignalingState`].
    SignalingStateChange(SignalingState),
    /// See [`IceGatheringState`].
    IceGatheringStateChange(IceGatheringState),
    /// A local candidate to be sent to the other side; `None`: there will be no more in this
    /// generation (RFC 8838 §13).
    IceCandidate(Option<IceCandidate>),
    /// A way of gathering failed: which, how, and what to check.
    IceCandidateError(IceCandidateError),
    /// See [`IceConnectionState`].
    IceConnectionStateChange(IceConnectionState),
    /// See [`ConnectionState`].
    ConnectionStateChange(ConnectionState),
    /// The other side has made a channel. [`ChannelOpen`](Self::ChannelOpen) follows.
    DataChannel(ChannelId),
    /// A channel, ours or theirs, is ready to send and receive.
    ChannelOpen(ChannelId),
    /// A message has come.
    ChannelMessage {
        /// On which channel.
        channel: ChannelId,
        /// What.
        message: Message,
    },
    /// The bytes buffered for sending have fallen to the channel's low threshold.
    ChannelBufferedAmountLow(ChannelId),
    /// The channel is closed, by either side or with the connection.
    ChannelClosed(ChannelId),
    /// The other side sends a track.
    Track(RemoteTrack),
    /// The other side does not send this track any more. It may come back as
    /// [`Track`](Self::Track).
    TrackRemoved(TransceiverId),
    /// A received stream has gone silent for a while, or goes on (W3C `mute`, `unmute`).
    TrackMuted {
        /// On which transceiver.
        transceiver: TransceiverId,
        /// Of which layer, for simulcast.
        rid: Option<String>,
        /// Whether it is silent.
        muted: bool,
    },
    /// A frame has come.
    Frame(ReceivedFrame),
    /// A packet has come ([`MediaMode::Packets`](super::MediaMode::Packets)).
    Packet(ReceivedPacket),
    /// Packets of a video track are missing and were not repaired within two round trips and 250 ms, or too many are missing
    /// to be repaired ([`MediaMode::Packets`](super::MediaMode::Packets)). They are still asked for until they are 1.5 s old,
    /// but a [keyframe](super::Peer::request_keyframe) may come sooner. Comes again for packets that are late later.
    PacketsLost {
        /// On which transceiver.
        transceiver: TransceiverId,
        /// In which layer.
        rid: Option<String>,
    },
    /// A track of ours can be [written to](super::Peer::write_frame) from now on, in this codec. Comes
    /// again when the codec changes.
    TrackBound {
        /// On which transceiver.
        transceiver: TransceiverId,
        /// What its frames are to be encoded with.
        codec: CodecParameters,
    },
    /// A track of ours cannot be written to any more.
    TrackUnbound(TransceiverId),
    /// The other side asks for a keyframe of a track of ours.
    KeyframeRequest {
        /// On which transceiver.
        transceiver: TransceiverId,
        /// Of which layer, for simulcast.
        rid: Option<String>,
        /// How it asks.
        kind: KeyframeRequestKind,
    },
    /// How much may be sent, by what is known now.
    BandwidthEstimate(BandwidthEstimate),
    /// RTCP has come, for those who [want to see it](super::PeerConfig::rtcp_events).
    Rtcp(RtcpPacket),
    /// The other side tells how its clocks go.
    SenderReport(SenderReport),
    /// A transceiver is gone: stopped by either side, rejected, or closed with the connection.
    TransceiverStopped(TransceiverId),
    /// What went wrong by itself: why the connection is about to fail or close, or what the other side
    /// does not take. A normal close has none.
    Error(PeerError),
}

/// A message of a data channel (RFC 8831 §6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text. What a peer sent as text without being UTF-8 arrives as [`Binary`](Self::Binary).
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Message {
    /// The payload, whichever kind it is.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    pub(super) fn received(binary: bool, data: Vec<u8>) -> Self {
        if binary {
            return Self::Binary(data);
        }
        String::from_utf8(data).map_or_else(|e| Self::Binary(e.into_bytes()), Self::Text)
    }
}

/// W3C WebRTC §4.3.3.
pub(super) fn connection_state(ice: IceConnectionState, dtls: Dtls) -> ConnectionState {
    use IceConnectionState as I;
    match (ice, dtls) {
        (I::Closed, _) => ConnectionState::Closed,
        (I::Failed, _) | (_, Dtls::Failed) => ConnectionState::Failed,
        (I::Disconnected, _) => ConnectionState::Disconnected,
        (I::New, _) => ConnectionState::New,
        (I::Connected | I::Completed, Dtls::Connected) => ConnectionState::Connected,
        (I::Checking | I::Connected | I::Completed, _) => ConnectionState::Connecting,
    }
}
