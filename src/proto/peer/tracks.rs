//! Tracks: media sent and received over RTP (W3C WebRTC §5).
//!
//! A *transceiver* is an m-line with both its directions. Its sending side is a local track, and is *bound*
//! ([`PeerEvent::TrackBound`]) once the codec is negotiated and the connection is established;
//! [`Peer::write_frame`](super::Peer::write_frame) then accepts encoded frames. Its receiving side starts with
//! [`PeerEvent::Track`] and delivers [`PeerEvent::Frame`]s.
//!
//! ```text
//!   add_track / add_transceiver ─► NegotiationNeeded ─► offer, answer ─► TrackBound ─► write_frame …
//!                                     their offer ─► Track ─► Frame, Frame, … ─► TrackRemoved
//! ```

mod bitrate;
mod clock;
mod codec;
mod config;
mod convert;
mod direction;
mod extensions;
mod frame;
mod history;
mod hold;
mod line;
mod negotiate;
mod packet;
mod pieces;
mod playout;
mod receiver;
mod rewrite;
mod rtcp;
mod sdp;
mod sender;
mod stats;
mod transceiver;
mod unannounced;

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::{Rtc, RtcConfig};

use super::config::{Limits, PeerConfig};
use super::error::PeerError;
use super::state::PeerEvent;

pub use self::bitrate::BandwidthEstimate;
pub use self::clock::FrameTime;
pub use self::codec::{CodecParameters, Codecs, MediaKind};
pub use self::config::TransceiverConfig;
use self::config::{check_config, check_id};
use self::convert::Mid;
pub use self::direction::Direction;
pub use self::extensions::{HeaderExtensions, PLAYOUT_DELAY, VideoOrientation};
pub use self::frame::{EncodedFrame, KeyframeRequestKind, ReceivedFrame, SenderReport};
pub use self::packet::{MediaMode, ReceivedPacket, RtpPacket};
pub use self::rtcp::{ReceptionReport, RtcpPacket};
use self::sdp::PayloadTypes;
pub(super) use self::sdp::{RemoteMedia, check_media, remote_media};
pub use self::stats::{ReceivedStats, SentStats, TrackStats};
use self::transceiver::Transceiver;
pub use crate::proto::media::Codec;

pub(super) use self::bitrate::set_desired as set_desired_bitrate;
pub(super) use self::convert::of_raw;
pub(super) use self::frame::wrong_mode;
pub(super) use self::negotiate::wake_inactive;
pub(super) use self::packet::{Incoming, MAX_UNSENT_PACKETS, check_size, ssrc_of};

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

/// State of the peer needed for one call.
pub(super) struct Context<'a> {
    pub core: &'a mut Rtc,
    pub config: &'a PeerConfig,
    pub now: Instant,
    pub events: &'a mut Vec<PeerEvent>,
    /// The core's mids that differ from those on the wire, with the latter.
    pub mids: &'a [(String, String)],
    /// Set once the DTLS handshake has finished.
    pub is_connected: bool,
    /// Round-trip time of the connection; `None` before it was measured.
    pub round_trip: Option<Duration>,
}

impl Context<'_> {
    /// Returns the mid of an m-line on the wire.
    fn wire_mid(&self, id: &str) -> String {
        let known = self.mids.iter().find(|(known, _)| known == id);
        known.map_or(id, |(_, mid)| mid).to_owned()
    }
}

/// Applies the media part of the configuration to the core.
pub(super) fn configure(core: RtcConfig, config: &PeerConfig) -> Result<RtcConfig, PeerError> {
    let core = core.set_rtp_mode(config.media_mode == MediaMode::Packets);
    extensions::configure(config.codecs.configure(core), &config.header_extensions)
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
        let found = self.list.iter_mut().find(|t| t.id() == id);
        found.ok_or(PeerError::NoSuchTransceiver)
    }

    /// Returns the transceiver of an m-line.
    pub fn id_of(&self, mid: Mid) -> Option<TransceiverId> {
        let found = self.list.iter().find(|t| t.line.mid() == Some(mid));
        found.map(Transceiver::id)
    }

    fn by_core_mid(&mut self, mid: Mid) -> Option<&mut Transceiver> {
        self.list.iter_mut().find(|t| t.line.mid() == Some(mid))
    }

    fn by_mid(&mut self, mid: &str) -> Option<&mut Transceiver> {
        let mut list = self.list.iter_mut();
        list.find(|t| t.line.mid().as_deref() == Some(mid))
    }

    /// Returns the m-line of a transceiver, or an error before it has one.
    fn mid_of(&mut self, id: TransceiverId) -> Result<Mid, PeerError> {
        let mid = self.find(id)?.line.mid();
        mid.ok_or_else(|| PeerError::BadTrack("it is not negotiated yet".into()))
    }

    /// Adds a transceiver.
    pub fn add(
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
        self.list
            .push(Transceiver::new(id, kind, config, &self.name));
        Ok(id)
    }

    /// Adds a local track, on a free transceiver or on a new one.
    pub fn add_track(
        &mut self,
        kind: MediaKind,
        config: TransceiverConfig,
        limits: &Limits,
    ) -> Result<TransceiverId, PeerError> {
        check_config(kind, &config, &self.known)?;
        let mut list = self.list.iter_mut();
        if let Some(free) = list.find(|t| t.kind() == kind && t.is_free()) {
            free.take_track(&config);
            return Ok(free.id());
        }
        let direction = config.direction.with_sending(true);
        let id = self.add(kind, config.direction(direction), limits)?;
        self.find(id)?.line.made_by_add_track();
        Ok(id)
    }

    pub fn remove_track(
        &mut self,
        id: TransceiverId,
        context: &mut Context<'_>,
    ) -> Result<(), PeerError> {
        self.find(id)?.remove_track();
        self.update_bound(context);
        Ok(())
    }

    pub fn replace_track(
        &mut self,
        id: TransceiverId,
        codec: Option<Codec>,
        context: &mut Context<'_>,
    ) -> Result<(), PeerError> {
        self.find(id)?.replace_source(codec)?;
        self.update_bound(context);
        Ok(())
    }

    pub fn set_direction(
        &mut self,
        id: TransceiverId,
        direction: Direction,
    ) -> Result<(), PeerError> {
        self.find(id)?.set_direction(direction)
    }

    pub fn prefer(&mut self, id: TransceiverId, codecs: &[Codec]) -> Result<(), PeerError> {
        let mut list = self.list.iter_mut();
        let found = list.find(|t| t.id() == id);
        let found = found.ok_or(PeerError::NoSuchTransceiver)?;
        found.prefer(codecs, &self.known)
    }

    pub fn pause(&mut self, id: TransceiverId, paused: bool) -> Result<(), PeerError> {
        self.find(id)?.sender.pause(paused);
        Ok(())
    }

    /// Stops a transceiver: at once here, and for the remote peer with the next negotiation.
    pub fn stop(&mut self, id: TransceiverId, context: &mut Context<'_>) -> Result<(), PeerError> {
        let found = self.find(id)?;
        found.stop();
        if let Some(mid) = found.line.mid() {
            context.core.sdp_api().stop_media(mid);
        } else if found.line.is_unheard_of() {
            self.list.retain(|t| t.id() != id);
            context.events.push(PeerEvent::TransceiverStopped(id));
        }
        self.update_bound(context);
        self.update_receiving(context);
        Ok(())
    }

    /// Changes the ids of a local track. A track that is not being sent gets a new SSRC.
    pub fn set_ids(
        &mut self,
        id: TransceiverId,
        stream: &str,
        track: &str,
        core: &mut Rtc,
    ) -> Result<(), PeerError> {
        check_id(stream)?;
        check_id(track)?;
        let found = self.find(id)?;
        if !found.sender.set_ids(stream, track) {
            return Ok(());
        }
        found.line.changed();
        let is_idle = !found.line.current().is_some_and(Direction::is_sending);
        let mid = found.line.mid();
        if let Some(mid) = mid.filter(|_| is_idle && !found.sender.is_layered()) {
            // The next offer declares another SSRC.
            found.sender.forget_tuning();
            let mut api = core.direct_api();
            let ssrc = api.stream_tx_by_mid(mid, None).map(|stream| stream.ssrc());
            ssrc.map(|ssrc| api.remove_stream_tx(ssrc));
        }
        Ok(())
    }

    /// Returns information about a transceiver, with the core's mid.
    pub fn info(&self, id: TransceiverId) -> Option<TransceiverInfo> {
        let found = self.list.iter().find(|t| t.id() == id);
        found.map(Transceiver::info)
    }

    /// Iterates over information about all transceivers, in the order of their creation.
    pub fn infos(&self) -> impl Iterator<Item = TransceiverInfo> + '_ {
        self.list.iter().map(Transceiver::info)
    }
}

/// Interval at which a keyframe request is repeated.
const KEYFRAME_PATIENCE: Duration = Duration::from_millis(300);

/// Maximum number of layers per track whose state is tracked; further ones are received without it.
const MAX_LAYERS: usize = 16;

/// Data of a frame or packet to send, shared by many peers.
type Bytes = Arc<[u8]>;
