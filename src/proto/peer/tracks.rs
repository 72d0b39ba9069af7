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
mod config;
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
mod sdp;
mod sender;
mod stats;
mod transceiver;
mod unannounced;

use std::time::{Duration, Instant};

use self::config::{check_config, check_id};
use self::sdp::PayloadTypes;
use self::transceiver::Transceiver;
use super::core::{CoreMedia, Mid, Rid};
use super::values::{
    CodecParameters, Codecs, Direction, Limits, MediaKind, MediaMode, PeerConfig, PeerError,
    PeerEvent, ReceivedStats, RemoteTrack, SentStats, TransceiverConfig, TransceiverId,
    TransceiverInfo,
};
use crate::proto::media::Codec;

pub(super) use self::frame::wrong_mode;
pub(super) use self::negotiate::wake_inactive;
pub(super) use self::packet::{MAX_UNSENT_PACKETS, check_size, ssrc_of};
pub(super) use self::sdp::{RemoteMedia, check_media, remote_media};

/// State of the peer needed for one call.
pub(super) struct Context<'a> {
    pub core: CoreMedia<'a>,
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
            context.core.stop(mid);
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
        core: &mut CoreMedia<'_>,
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
            core.remove_sender(mid);
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
