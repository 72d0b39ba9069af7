//! RTP outside of WebRTC: plain packets over UDP, from and to ffmpeg, GStreamer, cameras and players.
//!
//! In: an [`SdpFile`] says what comes and where, an [`RtpSource`] takes the datagrams and gives out the
//! packets of one sender, whoever that is at the time. Out: an [`RtpSender`] makes datagrams of packets and
//! reports on them, and an [`SdpFile`] tells a player how to receive them.
//!
//! ```text
//!   datagrams ─► RtpSource ─► SourcePacket ─► the peers
//!   the peer  ─► RtpSender ─► datagrams, sender reports        SdpFile ─► for ffplay, VLC, ffmpeg
//! ```
//!
//! Nothing here is encrypted or authenticated: who can reach the port can send to it. Bind it to loopback, or
//! to a network that is trusted, and name the sender ([`RtpSourceConfig::from`]).

pub(crate) mod base64;
mod h264;
mod h265;
mod packet;
mod parameter_sets;
mod rtcp;
mod sdp_file;
mod sender;
mod source;

pub use h264::H264ParameterSets;
pub use h265::H265ParameterSets;
pub use packet::{Packet, PacketError, is_rtcp};
pub use parameter_sets::ParameterSets;
pub use rtcp::{RtcpPacket, SenderInfo, read_rtcp, write_bye, write_sender_report};
pub use sdp_file::{SdpFile, SdpFileError, StreamDescription};
pub use sender::{RtpSender, RtpSenderConfig};
pub use source::{Ignored, RtpSource, RtpSourceConfig, RtpSourceStats, SourceEvent, SourcePacket};
