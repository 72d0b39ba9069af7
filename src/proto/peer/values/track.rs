//! Transceivers: how they are made, and what they are.

use super::codec::{CodecParameters, MediaKind};
use super::direction::Direction;
use crate::proto::media::Codec;

/// Identifies a transceiver within its peer. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransceiverId(pub(in super::super) u32);

impl TransceiverId {
    pub(in super::super) fn number(self) -> u32 {
        self.0
    }
}

/// Properties and state of a transceiver.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransceiverInfo {
    /// The id of the transceiver.
    pub id: TransceiverId,
    /// Audio or video.
    pub kind: MediaKind,
    /// The mid of its m-line; `None` before it is negotiated.
    pub mid: Option<String>,
    /// The wanted direction.
    pub direction: Direction,
    /// The negotiated direction (W3C `currentDirection`).
    pub current_direction: Option<Direction>,
    /// The stream id and the track id of the local track.
    pub local_ids: (String, String),
    /// The codec for sending; `None` while it is not bound.
    pub codec: Option<CodecParameters>,
    /// All negotiated codecs, in order of preference.
    pub codecs: Vec<CodecParameters>,
    /// Set while sending is paused.
    pub paused: bool,
    /// Set while it is being stopped.
    pub stopping: bool,
    /// Number of frames sent, and of their bytes.
    pub sent: (u64, u64),
    /// Number of frames received, and of their bytes.
    pub received: (u64, u64),
}

/// A track of the remote peer (W3C `RTCTrackEvent`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteTrack {
    /// The transceiver that receives it.
    pub transceiver: TransceiverId,
    /// The mid of its m-line.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// The codecs that may be used; the remote peer may switch between them.
    pub codecs: Vec<CodecParameters>,
    /// Ids of the streams it belongs to. Tracks of one stream are to be played in sync.
    pub stream_ids: Vec<String>,
    /// The track id, if there is one.
    pub track_id: Option<String>,
    /// The simulcast layers; empty if there is a single one.
    pub rids: Vec<String>,
}

/// Initial configuration of a transceiver (W3C `RTCRtpTransceiverInit`).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TransceiverConfig {
    /// Wanted direction. Default: [`Direction::SendRecv`].
    pub direction: Direction,
    /// Stream id; tracks of one stream are played in sync. `None`: a generated id shared by all tracks of this peer.
    pub stream_id: Option<String>,
    /// Track id. `None`: a generated id.
    pub track_id: Option<String>,
    /// Wanted codecs, the preferred first (W3C `setCodecPreferences`). Empty: all of the peer's.
    pub codecs: Vec<Codec>,
    /// Simulcast layers offered for sending (RFC 8853), with names of letters and digits. Empty: a single stream.
    pub send_rids: Vec<String>,
    /// Simulcast layers requested for receiving (RFC 8853), with names as in `send_rids`. The remote peer may decline;
    /// [`RemoteTrack::rids`](super::RemoteTrack::rids) has the layers it sends. For an m-line that only receives.
    pub recv_rids: Vec<String>,
    /// Opus in stereo: `stereo=1` requests it from the remote peer, `sprop-stereo=1` announces it for sending (RFC 7587
    /// §6.1). Browsers play announced stereo in stereo, and send it on request. Off by default; stereo audio can be
    /// sent all the same, but may be played in mono.
    pub stereo: bool,
}

impl TransceiverConfig {
    /// Sets [`direction`](Self::direction).
    #[must_use]
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Sets [`stream_id`](Self::stream_id) and [`track_id`](Self::track_id).
    #[must_use]
    pub fn ids(mut self, stream: impl Into<String>, track: impl Into<String>) -> Self {
        self.stream_id = Some(stream.into());
        self.track_id = Some(track.into());
        self
    }

    /// Sets [`codecs`](Self::codecs).
    #[must_use]
    pub fn codecs(mut self, codecs: impl IntoIterator<Item = Codec>) -> Self {
        self.codecs = codecs.into_iter().collect();
        self
    }

    /// Sets [`stereo`](Self::stereo).
    #[must_use]
    pub fn stereo(mut self, stereo: bool) -> Self {
        self.stereo = stereo;
        self
    }

    /// Sets [`send_rids`](Self::send_rids).
    #[must_use]
    pub fn send_rids<S: Into<String>>(mut self, rids: impl IntoIterator<Item = S>) -> Self {
        self.send_rids = rids.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`recv_rids`](Self::recv_rids).
    #[must_use]
    pub fn recv_rids<S: Into<String>>(mut self, rids: impl IntoIterator<Item = S>) -> Self {
        self.recv_rids = rids.into_iter().map(Into::into).collect();
        self
    }
}

/// Bandwidth available for sending, in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BandwidthEstimate {
    /// Estimate for everything sent to this peer, computed here from the arrival times that the remote peer reports
    /// (transport-wide congestion control). Reported if
    /// [`PeerConfig::bandwidth_estimation`](super::super::PeerConfig::bandwidth_estimation) is set.
    TransportCc {
        /// The estimate.
        bits_per_second: u64,
        /// `true` if probing, which briefly sends more than is needed, could find more.
        can_probe: bool,
    },
    /// Maximum bitrate requested by the remote peer (REMB), for a track or for all.
    Remb {
        /// The track it was reported for.
        transceiver: TransceiverId,
        /// The requested maximum.
        bits_per_second: u64,
    },
}

impl BandwidthEstimate {
    /// Returns the bitrate, in bits per second.
    pub fn bits_per_second(&self) -> u64 {
        match self {
            Self::TransportCc {
                bits_per_second, ..
            }
            | Self::Remb {
                bits_per_second, ..
            } => *bits_per_second,
        }
    }
}
