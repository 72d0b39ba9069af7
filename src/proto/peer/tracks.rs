//! Tracks: media sent and received over RTP (W3C WebRTC §5).
//!
//! A *transceiver* is an m-line with both its directions. Its sending side is a local track, which is *bound*
//! ([`PeerEvent::TrackBound`]) once the codec is negotiated and the connection is established; then
//! [`Peer::write_frame`] accepts encoded frames. Its receiving side starts with [`PeerEvent::Track`] and produces
//! [`PeerEvent::Frame`]s.
//!
//! ```text
//!   add_track / add_transceiver ─► NegotiationNeeded ─► offer, answer ─► TrackBound ─► write_frame …
//!                                    remote offer ─► Track ─► Frame, Frame, … ─► TrackRemoved
//! ```

mod api;
mod bitrate;
mod codec;
mod config;
mod direction;
mod events;
pub(super) mod extensions;
mod frame;
mod history;
mod hold;
mod negotiate;
mod packet;
mod pieces;
mod playout;
mod rewrite;
mod rtcp;
mod sdp;
mod stats;
mod unannounced;

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::RtcConfig;
use str0m::media::Mid;

use super::config::{Limits, PeerConfig};
use super::error::PeerError;
use super::state::PeerEvent;

pub use self::bitrate::BandwidthEstimate;
pub use self::codec::{CodecParameters, Codecs, MediaKind};
pub use self::config::TransceiverConfig;
use self::config::{check_config, check_preferences};
pub use self::direction::Direction;
pub use self::extensions::{HeaderExtensions, PLAYOUT_DELAY, VideoOrientation};
pub use self::frame::{EncodedFrame, FrameTime, KeyframeRequestKind, ReceivedFrame, SenderReport};
pub(super) use self::packet::Incoming;
pub use self::packet::{MediaMode, ReceivedPacket, RtpPacket};
pub use self::rtcp::{ReceptionReport, RtcpPacket};
use self::sdp::PayloadTypes;
pub(super) use self::sdp::{check_media, remote_media};
pub use self::stats::{ReceivedStats, SentStats, TrackStats};
pub use crate::proto::media::Codec;

/// Identifies a transceiver within its peer. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransceiverId(u32);

impl TransceiverId {
    pub(super) fn number(self) -> u32 {
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

/// Result of the last negotiation of an m-line.
#[derive(Debug, Clone, Copy)]
struct Agreed {
    /// The direction in the offer, as seen from here.
    offered: Direction,
    we_offered: bool,
    current: Direction,
    codecs_said: u32,
}

/// Tells the core what the configuration says about media.
pub(super) fn configure(core: RtcConfig, config: &PeerConfig) -> Result<RtcConfig, PeerError> {
    let core = core.set_rtp_mode(config.media_mode == MediaMode::Packets);
    extensions::configure(config.codecs.configure(core), &config.header_extensions)
}

#[derive(Debug)]
struct Transceiver {
    id: TransceiverId,
    kind: MediaKind,
    /// The m-line, once negotiated, or while a remote offer with it is unanswered.
    mid: Option<Mid>,
    /// The m-line in our unanswered offer.
    offered: Option<Mid>,
    /// The direction in our unanswered offer.
    offering: Option<Direction>,
    /// Created by a remote offer that is not answered yet.
    tentative: bool,
    direction: Direction,
    agreed: Option<Agreed>,
    /// Created by `add_track`: it may use an m-line of a remote offer.
    by_add_track: bool,
    has_track: bool,
    has_sent: bool,
    is_tuned: bool,
    stopping: bool,
    /// Both sides know that it is stopped.
    over: bool,
    stream_id: String,
    track_id: String,
    send_rids: Vec<String>,
    recv_rids: Vec<String>,
    preferred: Vec<Codec>,
    stereo: bool,
    /// Counts changes of `preferred`, and of the ids.
    preference: u32,
    codecs: Vec<CodecParameters>,
    /// The negotiated codec that the application has selected.
    chosen: Option<Codec>,
    bound: Option<CodecParameters>,
    paused: bool,
    sent: (u64, u64),
    received: (u64, u64),
    clock: frame::Clock,
    layers: Vec<packet::SentLayer>,
    repair: Vec<frame::Repair>,
    pieces: Vec<pieces::Pieces>,
    held: Vec<playout::Held>,
    stats: TrackStats,
    hold: hold::Hold,
    is_receiving: bool,
    remote_ids: (Vec<String>, Option<String>),
    remote_rids: Vec<String>,
}

/// The transceivers of a peer.
pub(super) struct Tracks {
    list: Vec<Transceiver>,
    next: u32,
    known: Codecs,
    payload_types: PayloadTypes,
    unannounced: unannounced::Unannounced,
    /// Set if transport-wide feedback is used by bandwidth estimation or the application.
    wants_feedback: bool,
    /// The extmap line of the transport-wide sequence numbers, as written by the core.
    transport_line: Option<String>,
    /// When held media is due next.
    due: Option<Instant>,
    /// Prefix of generated ids.
    name: String,
}

impl Tracks {
    pub fn new(config: &PeerConfig, name: &str) -> Self {
        Self {
            list: Vec::new(),
            next: 0,
            known: config.codecs.clone(),
            payload_types: PayloadTypes::default(),
            unannounced: unannounced::Unannounced::default(),
            wants_feedback: config.bandwidth_estimation.is_some() || config.rtcp_events,
            transport_line: None,
            due: None,
            name: format!("looprtc-{name}"),
        }
    }

    fn find(&mut self, id: TransceiverId) -> Result<&mut Transceiver, PeerError> {
        let found = self.list.iter_mut().find(|t| t.id == id);
        found.ok_or(PeerError::NoSuchTransceiver)
    }

    /// Returns the transceiver of an m-line.
    pub fn id_of(&self, mid: Mid) -> Option<TransceiverId> {
        let found = self.list.iter().find(|t| t.mid == Some(mid));
        found.map(|t| t.id)
    }

    fn by_core_mid(&mut self, mid: Mid) -> Option<&mut Transceiver> {
        self.list.iter_mut().find(|t| t.mid == Some(mid))
    }

    fn by_mid(&mut self, mid: &str) -> Option<&mut Transceiver> {
        self.list.iter_mut().find(|t| t.mid.as_deref() == Some(mid))
    }

    fn add(
        &mut self,
        kind: MediaKind,
        config: TransceiverConfig,
        limits: &Limits,
    ) -> Result<TransceiverId, PeerError> {
        if self.list.len() >= limits.max_m_lines {
            return Err(PeerError::LimitReached {
                limit: "max_m_lines",
                value: limits.max_m_lines,
            });
        }
        check_config(kind, &config, &self.known)?;
        let id = TransceiverId(self.next);
        self.next += 1;
        let name = &self.name;
        self.list.push(Transceiver {
            id,
            kind,
            mid: None,
            offered: None,
            offering: None,
            tentative: false,
            direction: config.direction,
            agreed: None,
            by_add_track: false,
            has_track: config.direction.is_sending(),
            has_sent: false,
            is_tuned: false,
            stopping: false,
            over: false,
            stream_id: config.stream_id.unwrap_or_else(|| name.clone()),
            track_id: config
                .track_id
                .unwrap_or_else(|| format!("{name}-{}", id.0)),
            send_rids: config.send_rids,
            recv_rids: config.recv_rids,
            preferred: config.codecs,
            stereo: config.stereo,
            preference: 0,
            codecs: Vec::new(),
            chosen: None,
            bound: None,
            paused: false,
            sent: (0, 0),
            received: (0, 0),
            clock: frame::Clock::default(),
            layers: Vec::new(),
            repair: Vec::new(),
            pieces: Vec::new(),
            held: Vec::new(),
            stats: TrackStats::default(),
            hold: hold::Hold::default(),
            is_receiving: false,
            remote_ids: (Vec::new(), None),
            remote_rids: Vec::new(),
        });
        Ok(id)
    }
}

impl Transceiver {
    fn info(&self) -> TransceiverInfo {
        TransceiverInfo {
            id: self.id,
            kind: self.kind,
            mid: self.mid.map(|m| m.to_string()),
            direction: self.direction,
            current_direction: self.agreed.map(|a| a.current),
            local_ids: (self.stream_id.clone(), self.track_id.clone()),
            codec: self.bound.clone(),
            codecs: self.codecs.clone(),
            paused: self.paused,
            stopping: self.stopping,
            sent: self.sent,
            received: self.received,
        }
    }

    /// Returns the codec for sending: the selected one, or the first negotiated.
    fn sending_codec(&self) -> Option<&CodecParameters> {
        let first = self.codecs.first()?.codec;
        let is_agreed = |codec: &Codec| self.codecs.iter().any(|c| c.codec == *codec);
        let codec = self.chosen.filter(is_agreed).unwrap_or(first);
        let of_it = || self.codecs.iter().filter(|c| c.codec == codec);
        // H.264 is sent in fragments, which packetization mode 0 (the default) does not allow.
        let in_fragments = of_it().find(|c| c.packetization_mode == Some(1));
        in_fragments.or_else(|| of_it().next())
    }
}

/// Interval at which a keyframe request is repeated.
const KEYFRAME_PATIENCE: Duration = Duration::from_millis(300);

/// Layers of one track that are followed; more are received, but not looked after.
const MAX_LAYERS: usize = 16;

/// What is sent: shared, so that many peers have it once.
type Bytes = Arc<[u8]>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h264_goes_out_in_fragments_where_it_may() {
        let limits = Limits::default();
        let mut tracks = Tracks::new(&PeerConfig::default(), "test");
        let id = tracks.add(MediaKind::Video, TransceiverConfig::default(), &limits);
        let transceiver = tracks.find(id.unwrap()).unwrap();
        let of = |payload_type, codec, packetization_mode| CodecParameters {
            codec,
            payload_type,
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: String::new(),
            profile_level_id: None,
            packetization_mode,
        };
        let sent_with = |t: &Transceiver| t.sending_codec().map(|c| c.payload_type);
        assert_eq!(sent_with(transceiver), None);
        transceiver.codecs = vec![
            of(96, Codec::H264, Some(0)),
            of(97, Codec::Vp8, None),
            of(98, Codec::H264, Some(1)),
            of(99, Codec::H264, Some(1)),
        ];
        assert_eq!(sent_with(transceiver), Some(98));
        transceiver.chosen = Some(Codec::Vp8);
        assert_eq!(sent_with(transceiver), Some(97));
        transceiver.chosen = Some(Codec::Av1);
        assert_eq!(sent_with(transceiver), Some(98), "the first, if not agreed");
        transceiver.codecs.truncate(2);
        assert_eq!(sent_with(transceiver), Some(96), "nothing better is there");
    }
}
