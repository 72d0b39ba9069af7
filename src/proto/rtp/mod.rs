//! RTP outside of WebRTC: plain packets over UDP, to and from ffmpeg, GStreamer, cameras and players.
//!
//! Receiving: an [`SdpFile`] describes the streams, and an [`RtpSource`] takes datagrams and returns the packets of one
//! sender at a time. Sending: an [`RtpSender`] turns packets into datagrams and sender reports, and an [`SdpFile`]
//! tells a player how to receive them.
//!
//! ```text
//!   datagrams ─► RtpSource ─► SourcePacket ─► the peers
//!   the peer  ─► RtpSender ─► datagrams, sender reports        SdpFile ─► for ffplay, VLC, ffmpeg
//! ```
//!
//! Cameras: an [`Unpacker`] turns the packets of a [`MediaFormat`] into access units ([`Unit`]), and a [`Timeline`] gives the
//! units of all tracks comparable times.
//!
//! Nothing here is encrypted or authenticated: anyone who can reach the port can send to it. Bind it to loopback or to
//! a trusted network, and restrict the sender ([`RtpSourceConfig::from`]).

pub(crate) mod base64;
mod format;
mod h264;
mod h265;
mod packet;
mod parameter_sets;
mod rtcp;
mod sdp_file;
mod sender;
mod sets;
mod source;
mod timeline;
mod unpack;

pub use format::{AacFormat, AuHeader, MediaFormat};
pub use h264::H264ParameterSets;
pub use h265::H265ParameterSets;
#[cfg(any(feature = "testing", test))]
pub(crate) use packet::is_rtcp;
pub use packet::{Packet, PacketError};
pub use parameter_sets::ParameterSets;
pub use rtcp::SenderInfo;
pub(crate) use rtcp::{SenderPacket, read_rtcp};
pub use sdp_file::{SdpFile, SdpFileError, StreamDescription};
pub use sender::{RtpSender, RtpSenderConfig};
pub(crate) use sets::parameter;
pub use source::{Ignored, RtpSource, RtpSourceConfig, RtpSourceStats, SourceEvent, SourcePacket};
pub use timeline::{FrameStamp, Timeline, TimelineStats};
pub use unpack::{Unit, UnpackLimits, UnpackStats, Unpacker, VideoInfo};
