//! What the application does with transceivers (W3C WebRTC §5.1).

use std::time::Instant;

use super::super::Peer;
use super::super::error::PeerError;
use super::*;

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
        found.map(|t| self.info_of(t))
    }

    /// All transceivers that are not stopped, in the order they were made.
    pub fn transceivers(&self) -> Vec<TransceiverInfo> {
        let list = self.tracks.list.iter();
        list.map(|t| self.info_of(t)).collect()
    }

    /// With the mid that the other side knows.
    fn info_of(&self, transceiver: &Transceiver) -> TransceiverInfo {
        let mut info = transceiver.info();
        info.mid = info.mid.map(|id| self.negotiation.wire_mid(&id));
        info
    }
}
