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

mod bitrate;
mod codec;
mod config;
mod direction;
pub(super) mod extensions;
mod frame;
mod history;
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

use super::Peer;
use super::config::{Limits, PeerConfig};
use super::error::PeerError;
use super::state::PeerEvent;

pub use self::bitrate::BandwidthEstimate;
pub use self::codec::{CodecParameters, Codecs, MediaKind};
pub use self::config::TransceiverConfig;
use self::config::{check_config, check_preferences};
pub use self::direction::Direction;
pub use self::extensions::{HeaderExtensions, VideoOrientation};
pub use self::frame::{EncodedFrame, FrameTime, KeyframeRequestKind, ReceivedFrame, SenderReport};
pub use self::packet::{MediaMode, ReceivedPacket, RtpPacket};
pub use self::rtcp::{ReceptionReport, RtcpPacket};
use self::sdp::PayloadTypes;
pub(super) use self::sdp::{check_mids, remote_media};
pub use self::stats::{ReceivedStats, SentStats, TrackStats};
pub use crate::proto::media::Codec;

/// Names a transceiver of a peer. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransceiverId(u32);

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

impl Peer {
    /// Adds a transceiver (W3C §5.1 `addTransceiver`): a new m-line in the next offer
    /// ([`PeerEvent::NegotiationNeeded`]).
    ///
    /// # Errors
    ///
    /// [`PeerError::BadTrack`], [`PeerError::LimitReached`], [`PeerError::Closed`].
    pub fn add_transceiver(
        &mut self,
        kind: MediaKind,
        config: TransceiverConfig,
        now: Instant,
    ) -> Result<TransceiverId, PeerError> {
        self.begin(now)?;
        let id = self.tracks.add(kind, config, &self.config.limits)?;
        self.check_negotiation_needed();
        Ok(id)
    }

    /// Adds a track to send (W3C §5.1 `addTrack`): on a transceiver that has none and has never sent, or
    /// on a new one, which takes an m-line of the other side's next offer if there is one of its kind.
    /// The direction in `config` counts for a new transceiver, and sending is added to it.
    ///
    /// # Errors
    ///
    /// As [`add_transceiver`](Self::add_transceiver).
    pub fn add_track(
        &mut self,
        kind: MediaKind,
        config: TransceiverConfig,
        now: Instant,
    ) -> Result<TransceiverId, PeerError> {
        self.begin(now)?;
        check_config(kind, &config, &self.tracks.known)?;
        let free = self.tracks.list.iter_mut().find(|t| {
            t.kind == kind && !t.has_track && !t.has_sent && !t.stopping && t.offered.is_none()
        });
        let id = match free {
            Some(transceiver) => {
                transceiver.has_track = true;
                transceiver.direction = transceiver.direction.with_sending(true);
                transceiver.stereo |= config.stereo;
                if let Some(stream) = config.stream_id {
                    transceiver.stream_id = stream;
                }
                if let Some(track) = config.track_id {
                    transceiver.track_id = track;
                }
                if !config.codecs.is_empty() {
                    transceiver.preferred = config.codecs;
                    transceiver.preference += 1;
                }
                transceiver.id
            }
            None => {
                let direction = config.direction.with_sending(true);
                let config = config.direction(direction);
                let id = self.tracks.add(kind, config, &self.config.limits)?;
                self.tracks.find(id)?.by_add_track = true;
                id
            }
        };
        self.check_negotiation_needed();
        Ok(id)
    }

    /// Stops sending on a transceiver (W3C §5.1 `removeTrack`); what it receives goes on. It is unbound
    /// at once; the other side is told by the next offer. [`add_track`](Self::add_track) does not use it
    /// again; [`set_direction`](Self::set_direction) does.
    ///
    /// # Errors
    ///
    /// [`PeerError::NoSuchTransceiver`], [`PeerError::Closed`].
    pub fn remove_track(
        &mut self,
        transceiver: TransceiverId,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        let found = self.tracks.find(transceiver)?;
        found.has_track = false;
        found.direction = found.direction.with_sending(false);
        self.update_bound();
        self.check_negotiation_needed();
        Ok(())
    }

    /// Another source for a track that is being sent (W3C §5.2 `replaceTrack`): no negotiation. The times
    /// of its frames may begin anywhere; they are continued from those before. With another codec
    /// [`PeerEvent::TrackBound`] follows.
    ///
    /// # Errors
    ///
    /// [`PeerError::BadTrack`] when that codec has not been negotiated for this transceiver: add another
    /// one, or change [`set_codec_preferences`](Self::set_codec_preferences), and negotiate;
    /// [`PeerError::NoSuchTransceiver`], [`PeerError::Closed`].
    pub fn replace_track(
        &mut self,
        transceiver: TransceiverId,
        codec: Option<Codec>,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        let found = self.tracks.find(transceiver)?;
        if let Some(codec) = codec {
            let is_agreed = found.codecs.iter().any(|c| c.codec == codec);
            if !is_agreed {
                let agreed: Vec<&str> = found.codecs.iter().map(|c| c.codec.name()).collect();
                return Err(PeerError::BadTrack(format!(
                    "{codec} was not negotiated here, only: {}",
                    agreed.join(", ")
                )));
            }
            found.chosen = Some(codec);
        }
        found.restart_source();
        self.update_bound();
        Ok(())
    }

    /// Changes what is wanted of a transceiver (W3C §5.4 `direction`). It takes effect with the next
    /// negotiation.
    ///
    /// # Errors
    ///
    /// [`PeerError::NoSuchTransceiver`], [`PeerError::Closed`].
    pub fn set_direction(
        &mut self,
        transceiver: TransceiverId,
        direction: Direction,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        let found = self.tracks.find(transceiver)?;
        if found.stopping {
            return Err(PeerError::BadTrack("the transceiver is stopped".into()));
        }
        found.direction = direction;
        found.has_track |= direction.is_sending();
        self.check_negotiation_needed();
        Ok(())
    }

    /// Changes the codecs wanted (W3C §5.4 `setCodecPreferences`), the best first; empty: all. It takes
    /// effect with the next negotiation; what was rejected for this m-line before stays so.
    ///
    /// # Errors
    ///
    /// [`PeerError::BadTrack`], [`PeerError::NoSuchTransceiver`], [`PeerError::Closed`].
    pub fn set_codec_preferences(
        &mut self,
        transceiver: TransceiverId,
        codecs: &[Codec],
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        let known = self.tracks.known.clone();
        let found = self.tracks.find(transceiver)?;
        check_preferences(found.kind, codecs, &known)?;
        if found.preferred != codecs {
            found.preferred = codecs.to_vec();
            found.preference += 1;
        }
        self.check_negotiation_needed();
        Ok(())
    }

    /// Stops a transceiver for good (W3C §5.4 `stop`): at once here, and for the other side with the next
    /// negotiation, which rejects its m-line. [`PeerEvent::TransceiverStopped`] follows.
    ///
    /// Chromium and libwebrtc take the rejection of the first m-line of a bundle for that of all, and end
    /// the connection. Where they may be on the other side, set the direction of the first one to
    /// [`Direction::Inactive`] instead.
    ///
    /// # Errors
    ///
    /// [`PeerError::NoSuchTransceiver`], [`PeerError::Closed`].
    pub fn stop_transceiver(
        &mut self,
        transceiver: TransceiverId,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        let found = self.tracks.find(transceiver)?;
        found.stopping = true;
        found.has_track = false;
        found.direction = Direction::Inactive;
        if let Some(mid) = found.mid {
            self.rtc.sdp_api().stop_media(mid);
        } else if found.offered.is_none() {
            self.tracks.list.retain(|t| t.id != transceiver);
            self.event(PeerEvent::TransceiverStopped(transceiver));
        }
        self.update_bound();
        self.update_receiving();
        self.check_negotiation_needed();
        Ok(())
    }

    /// Pauses sending or goes on: meanwhile frames are accepted and dropped. No negotiation; the other
    /// side sees that nothing comes.
    ///
    /// # Errors
    ///
    /// [`PeerError::NoSuchTransceiver`], [`PeerError::Closed`].
    pub fn set_track_paused(
        &mut self,
        transceiver: TransceiverId,
        paused: bool,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        self.tracks.find(transceiver)?.paused = paused;
        Ok(())
    }

    /// Sends a frame on a bound track. It goes out when the peer is polled. Frames share their bytes
    /// between peers: one track can feed many.
    ///
    /// # Errors
    ///
    /// [`PeerError::TrackNotBound`] before [`PeerEvent::TrackBound`] and after
    /// [`PeerEvent::TrackUnbound`]; [`PeerError::LimitReached`] for a frame over
    /// [`Limits::max_frame_size`]; [`PeerError::MessageTooLarge`] for sound that does not fit into one packet (the
    /// MTU less 16 bytes), as there are no fragments of it; [`PeerError::BufferFull`] when the path carries less than is written; [`PeerError::BadTrack`] for a layer that was not negotiated;
    /// [`PeerError::NoSuchTransceiver`], [`PeerError::Closed`].
    pub fn write_frame(
        &mut self,
        transceiver: TransceiverId,
        frame: &EncodedFrame,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        self.refresh_core_time();
        self.send_frame(transceiver, frame)
    }

    /// Sends an RTP packet on a bound transceiver, of a peer in [`MediaMode::Packets`]. SSRC, payload type,
    /// sequence number and timestamp become those of that peer. It goes out when the peer is polled. What
    /// has been sent already, or comes much too late (256 packets), is left out.
    ///
    /// # Errors
    ///
    /// [`PeerError::TrackNotBound`] before [`PeerEvent::TrackBound`] and after
    /// [`PeerEvent::TrackUnbound`]; [`PeerError::MessageTooLarge`] for a payload above 1,460 bytes;
    /// [`PeerError::LimitReached`] when 4,096 packets have not been polled; [`PeerError::BufferFull`] when the
    /// path carries less than is written; [`PeerError::BadTrack`] for a layer that was not negotiated or a peer in
    /// [`MediaMode::Frames`]; [`PeerError::NoSuchTransceiver`], [`PeerError::Closed`].
    pub fn write_rtp(
        &mut self,
        transceiver: TransceiverId,
        packet: &RtpPacket,
        now: Instant,
    ) -> Result<(), PeerError> {
        if self.is_closed() {
            return Err(PeerError::Closed);
        }
        if self.config.media_mode != MediaMode::Packets {
            return Err(frame::wrong_mode("Packets"));
        }
        self.advance(now);
        self.send_packet(transceiver, packet)
    }

    /// Asks the other side for a keyframe (RFC 4585 §6.3.1, RFC 5104 §4.3.1) of a layer, or of the only
    /// one. A frame that could not be had whole is asked for without this.
    ///
    /// # Errors
    ///
    /// [`PeerError::BadTrack`] when nothing is received there or that kind was not negotiated;
    /// [`PeerError::NoSuchTransceiver`], [`PeerError::Closed`].
    pub fn request_keyframe(
        &mut self,
        transceiver: TransceiverId,
        rid: Option<&str>,
        kind: KeyframeRequestKind,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        let mid = self.tracks.find(transceiver)?.mid;
        let mid = mid.ok_or_else(|| PeerError::BadTrack("it is not negotiated yet".into()))?;
        self.ask_for_keyframe(mid, rid, kind)
    }

    /// What is known of a transceiver; `None` when there is none of that name (any more).
    pub fn transceiver(&self, id: TransceiverId) -> Option<TransceiverInfo> {
        let found = self.tracks.list.iter().find(|t| t.id == id);
        found.map(Transceiver::info)
    }

    /// All transceivers that are not stopped, in the order they were made.
    pub fn transceivers(&self) -> Vec<TransceiverInfo> {
        self.tracks.list.iter().map(Transceiver::info).collect()
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
