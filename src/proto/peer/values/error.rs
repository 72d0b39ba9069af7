//! Errors of a peer.

use std::any::Any;
use std::fmt;

use super::super::crypto::CryptoError;
use super::codec::MediaKind;
use super::state::SignalingState;
use crate::proto::ice::CandidateError;

/// An error of a [`Peer`](super::super::Peer).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PeerError {
    /// A configuration value is out of range.
    Config(String),
    /// The crypto backend is missing or failed to start.
    Crypto(CryptoError),
    /// The peer is closed.
    Closed,
    /// The call is not allowed in this signaling state (W3C: `InvalidStateError`).
    WrongState {
        /// The operation.
        operation: &'static str,
        /// The current signaling state.
        state: SignalingState,
    },
    /// The session description is not acceptable; nothing was changed. The text names the line or attribute.
    BadDescription(String),
    /// The candidate cannot be parsed; nothing was changed.
    BadCandidate(CandidateError),
    /// The channel does not exist, or has closed.
    NoSuchChannel,
    /// The channel is not open yet.
    ChannelNotOpen,
    /// The channel's configuration is invalid.
    BadChannel(String),
    /// The message is larger than the remote peer accepts, or an audio frame or packet does not fit into a datagram.
    MessageTooLarge {
        /// Size of the message, in bytes.
        size: usize,
        /// Maximum size, in bytes: the remote `a=max-message-size` (RFC 8841 §6), or the limit of one packet.
        limit: usize,
    },
    /// The transceiver does not exist, or has been stopped.
    NoSuchTransceiver,
    /// The transceiver cannot send now.
    TrackNotBound,
    /// The track's configuration or use is invalid.
    BadTrack(String),
    /// An m-line was rejected because the two sides have no codec in common.
    NoCommonCodec {
        /// The mid of the m-line.
        mid: String,
        /// Audio or video.
        kind: MediaKind,
        /// Codecs configured on this side.
        local: Vec<String>,
        /// Codecs in the remote description.
        remote: Vec<String>,
    },
    /// The remote peer rejected an m-line of our offer.
    TrackRejected {
        /// The mid of the m-line.
        mid: String,
        /// Audio or video.
        kind: MediaKind,
        /// The offered codecs. The remote peer does not say which it supports.
        offered: Vec<String>,
    },
    /// The send buffer is full; nothing of this message was accepted. Retry a message after
    /// [`ChannelBufferedAmountLow`](super::PeerEvent::ChannelBufferedAmountLow); skip media up to the next keyframe.
    BufferFull {
        /// Number of bytes buffered now.
        buffered: usize,
        /// The limit ([`Limits::max_send_buffer`](super::Limits::max_send_buffer),
        /// [`Limits::max_media_buffer`](super::Limits::max_media_buffer)).
        limit: usize,
    },
    /// A configured limit was reached.
    LimitReached {
        /// The limit's name in [`Limits`](super::Limits).
        limit: &'static str,
        /// The limit's value.
        value: usize,
    },
    /// The DTLS handshake failed.
    Handshake(String),
    /// No path was found, or the path in use became silent.
    IceFailed(String),
    /// The core failed and the connection was closed.
    Core(String),
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(why) => write!(f, "configuration: {why}"),
            Self::Crypto(e) => write!(f, "crypto: {e}"),
            Self::Closed => f.write_str("the peer connection is closed"),
            Self::WrongState { operation, state } => {
                write!(f, "{operation} does not fit signaling state \"{state}\"")
            }
            Self::BadDescription(why) => write!(f, "session description: {why}"),
            Self::BadCandidate(e) => e.fmt(f),
            Self::NoSuchChannel => f.write_str("no such data channel, or it has closed"),
            Self::ChannelNotOpen => {
                f.write_str("the data channel is not open yet; wait for ChannelOpen")
            }
            Self::BadChannel(why) => write!(f, "data channel: {why}"),
            Self::MessageTooLarge { size, limit } => write!(
                f,
                "{size} bytes are over the {limit} that the other side, or one packet, takes"
            ),
            Self::NoSuchTransceiver => f.write_str("no such transceiver, or it has been stopped"),
            Self::TrackNotBound => {
                f.write_str("nothing can be sent on this transceiver now; wait for TrackBound")
            }
            Self::BadTrack(why) => write!(f, "track: {why}"),
            Self::NoCommonCodec {
                mid,
                kind,
                local,
                remote,
            } => write!(
                f,
                "no {kind} codec in common (mid {mid}): this side knows {}; the other side offers {}",
                names(local),
                names(remote)
            ),
            Self::TrackRejected { mid, kind, offered } => write!(
                f,
                "the other side rejects {kind} (mid {mid}); it was offered {}",
                names(offered)
            ),
            Self::BufferFull { buffered, limit } => write!(
                f,
                "send buffer full ({buffered} of {limit} bytes); wait for ChannelBufferedAmountLow"
            ),
            Self::LimitReached { limit, value } => write!(f, "{limit} of {value} reached"),
            Self::Handshake(why) => write!(f, "DTLS handshake: {why}"),
            Self::IceFailed(why) => write!(f, "ICE: {why}"),
            Self::Core(why) => write!(f, "{why}"),
        }
    }
}

fn names(codecs: &[String]) -> String {
    match codecs {
        [] => "none".to_owned(),
        codecs => codecs.join(", "),
    }
}

/// Returns the message of a panic, if it is text.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
}

impl std::error::Error for PeerError {}

impl From<CryptoError> for PeerError {
    fn from(e: CryptoError) -> Self {
        Self::Crypto(e)
    }
}

impl From<CandidateError> for PeerError {
    fn from(e: CandidateError) -> Self {
        Self::BadCandidate(e)
    }
}
