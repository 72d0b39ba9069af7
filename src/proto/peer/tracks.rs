//! Tracks: what is sent and received over RTP (W3C WebRTC §5).
//!
//! A *transceiver* is an m-line with both its directions. Its sending side is a track of ours as soon as
//! it is *bound* ([`PeerEvent::TrackBound`]): the codec is agreed upon and the connection stands, and
//! [`Peer::write_frame`] takes encoded frames. Its receiving side begins with [`PeerEvent::Track`] and
//! gives [`PeerEvent::Frame`]s.
//!
//! ```text
//!   add_track / add_transceiver ─► NegotiationNeeded ─► offer, answer ─► TrackBound ─► write_frame …
//!                                     their offer ─► Track ─► Frame, Frame, … ─► TrackRemoved
//! ```

mod api;
mod bitrate;
mod codec;
mod config;
mod direction;
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

/// Names a transceiver of a peer. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransceiverId(u32);

impl TransceiverId {
    pub(super) fn number(self) -> u32 {
        self.0
    }
}

/// What is known of a transceiver.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransceiverInfo {
    /// Its name.
    pub id: TransceiverId,
    /// Sound or pictures.
    pub kind: MediaKind,
    /// Its m-line, once it has one.
    pub mid: Option<String>,
    /// What is wanted.
    pub direction: Direction,
    /// What has been agreed upon (W3C `currentDirection`).
    pub current_direction: Option<Direction>,
    /// The stream and the track that are sent.
    pub local_ids: (String, String),
    /// What frames are sent with now; `None` when it is not bound.
    pub codec: Option<CodecParameters>,
    /// Every codec agreed upon, in the order of preference.
    pub codecs: Vec<CodecParameters>,
    /// Sending is paused.
    pub paused: bool,
    /// It is being stopped.
    pub stopping: bool,
    /// Frames sent, and their bytes.
    pub sent: (u64, u64),
    /// Frames received, and their bytes.
    pub received: (u64, u64),
}

/// A track of the other side (W3C `RTCTrackEvent`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteTrack {
    /// Where its frames come from.
    pub transceiver: TransceiverId,
    /// Its m-line.
    pub mid: String,
    /// Sound or pictures.
    pub kind: MediaKind,
    /// The codecs it may come in; the other side may change between them.
    pub codecs: Vec<CodecParameters>,
    /// The streams it is in. Tracks of one stream are to be played in step.
    pub stream_ids: Vec<String>,
    /// Its name, if it was given one.
    pub track_id: Option<String>,
    /// Its layers (simulcast); empty for a single one.
    pub rids: Vec<String>,
}

/// The outcome of the last negotiation of an m-line.
#[derive(Debug, Clone, Copy)]
struct Agreed {
    /// What was said in the offer, seen from here.
    offered: Direction,
    we_offered: bool,
    current: Direction,
    codecs_said: u32,
}

#[derive(Debug)]
struct Transceiver {
    id: TransceiverId,
    kind: MediaKind,
    /// The m-line, once an offer with it was answered, or while their offer awaits our answer.
    mid: Option<Mid>,
    /// The m-line it has in our offer that is under way.
    offered: Option<Mid>,
    /// What our offer under way says.
    offering: Option<Direction>,
    /// It is there because of their offer, which is not answered yet.
    tentative: bool,
    direction: Direction,
    agreed: Option<Agreed>,
    /// Made by `add_track`: it may take an m-line of theirs.
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
    /// What the application has chosen among them.
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
    /// Somebody reads transport-wide feedback: the bandwidth estimation, or the application.
    wants_feedback: bool,
    /// The line that offers the numbers it tells of, as the core has written it.
    transport_line: Option<String>,
    /// When something held back is next to be given out.
    due: Option<Instant>,
    /// What made-up names begin with.
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

    /// The transceiver of an m-line.
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

    /// The codec it sends with: chosen, or the first agreed upon.
    fn sending_codec(&self) -> Option<&CodecParameters> {
        let first = self.codecs.first()?.codec;
        let is_agreed = |codec: &Codec| self.codecs.iter().any(|c| c.codec == *codec);
        let codec = self.chosen.filter(is_agreed).unwrap_or(first);
        let of_it = || self.codecs.iter().filter(|c| c.codec == codec);
        // H.264 goes out in fragments, which packetization mode 0 (also where none is said) has not.
        let in_fragments = of_it().find(|c| c.packetization_mode == Some(1));
        in_fragments.or_else(|| of_it().next())
    }
}

/// How long a peer waits for a keyframe that was asked for before it asks again.
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
