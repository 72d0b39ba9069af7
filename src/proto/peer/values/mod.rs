//! The values that applications give to a peer and get from it: configuration, errors, states and events, and what these
//! consist of. They know nothing of the machines that use them.

mod channel;
mod codec;
mod config;
mod direction;
mod error;
mod event;
mod extensions;
mod frame;
mod packet;
mod rtcp;
mod state;
mod stats;
mod track;

use std::sync::Arc;

pub(super) use self::channel::MAX_STREAM_ID;
pub use self::channel::{ChannelConfig, ChannelId, ChannelInfo, ChannelState};
pub use self::codec::{CodecParameters, Codecs, MediaKind};
pub use self::config::{CandidatePolicy, Limits, PeerConfig, Politeness, Timing};
pub use self::direction::Direction;
pub use self::error::PeerError;
pub(crate) use self::error::panic_text;
pub use self::event::{Message, PeerEvent};
pub(super) use self::extensions::{ExtensionValues, Opaque, playout_delay};
pub use self::extensions::{HeaderExtensions, PLAYOUT_DELAY, VideoOrientation};
pub use self::frame::{EncodedFrame, FrameTime, KeyframeRequestKind, ReceivedFrame, SenderReport};
pub use self::packet::{MediaMode, ReceivedPacket, RtpPacket};
pub(super) use self::rtcp::missing;
pub use self::rtcp::{ReceptionReport, RtcpPacket};
pub use self::state::{ConnectionState, IceConnectionState, IceGatheringState, SignalingState};
pub use self::stats::{ReceivedStats, SentStats, TrackStats};
pub use self::track::{
    BandwidthEstimate, RemoteTrack, TransceiverConfig, TransceiverId, TransceiverInfo,
};

/// Data of a frame or packet, shared by many peers.
pub(super) type Bytes = Arc<[u8]>;
