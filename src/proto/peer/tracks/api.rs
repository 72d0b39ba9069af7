//! Public methods of transceivers (W3C WebRTC §5.1).

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
    /// Returns [`PeerError::BadTrack`], [`PeerError::LimitReached`] or [`PeerError::Closed`].
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

    /// Adds a local track (W3C §5.1 `addTrack`): on a transceiver that has none and has never sent, or on a new one,
    /// which takes an m-line of the next remote offer if there is one of its kind. The direction in `config` applies to
    /// a new transceiver, with sending added to it.
    ///
    /// # Errors
    ///
    /// The same as [`add_transceiver`](Self::add_transceiver).
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

    /// Stops sending on a transceiver (W3C §5.1 `removeTrack`); receiving continues. It is unbound at once; the remote
    /// peer learns it from the next offer. [`add_track`](Self::add_track) does not reuse the transceiver;
    /// [`set_direction`](Self::set_direction) does.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::NoSuchTransceiver`] or [`PeerError::Closed`].
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

    /// Replaces the source of a local track without negotiation (W3C §5.2 `replaceTrack`). Frame times of the new
    /// source may start anywhere; they continue those of the previous one. With another codec,
    /// [`PeerEvent::TrackBound`] follows.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::BadTrack`] if the codec was not negotiated for this transceiver: add another one, or call
    /// [`set_codec_preferences`](Self::set_codec_preferences), and negotiate. Returns [`PeerError::NoSuchTransceiver`]
    /// or [`PeerError::Closed`].
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

    /// Sets the wanted direction of a transceiver (W3C §5.4 `direction`). Takes effect with the next negotiation.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::NoSuchTransceiver`] or [`PeerError::Closed`].
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

    /// Sets the wanted codecs (W3C §5.4 `setCodecPreferences`), the preferred first; empty for all. Takes effect with
    /// the next negotiation; codecs rejected for this m-line before stay rejected.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::BadTrack`], [`PeerError::NoSuchTransceiver`] or [`PeerError::Closed`].
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

    /// Stops a transceiver for good (W3C §5.4 `stop`): at once here, and for the remote peer with the next negotiation,
    /// which rejects its m-line. [`PeerEvent::TransceiverStopped`] follows.
    ///
    /// Chromium and libwebrtc take the rejection of the first m-line of a bundle for that of all, and end the
    /// connection. If the remote peer may be one of them, set the direction of the first transceiver to
    /// [`Direction::Inactive`] instead.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::NoSuchTransceiver`] or [`PeerError::Closed`].
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
            self.core.sdp_api().stop_media(mid);
        } else if found.offered.is_none() {
            self.tracks.list.retain(|t| t.id != transceiver);
            self.event(PeerEvent::TransceiverStopped(transceiver));
        }
        self.update_bound();
        self.update_receiving();
        self.check_negotiation_needed();
        Ok(())
    }

    /// Pauses or resumes sending: while paused, frames are accepted and dropped. No negotiation; the remote peer only
    /// sees that nothing arrives.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::NoSuchTransceiver`] or [`PeerError::Closed`].
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

    /// Sends a frame on a bound track. It is sent when the peer is polled. The frame's data is shared, so one frame can
    /// be sent to many peers without copies.
    ///
    /// # Errors
    ///
    /// - [`PeerError::TrackNotBound`] before [`PeerEvent::TrackBound`] and after [`PeerEvent::TrackUnbound`].
    /// - [`PeerError::LimitReached`] for a frame larger than [`Limits::max_frame_size`].
    /// - [`PeerError::MessageTooLarge`] for audio that does not fit into one packet (the MTU less 16 bytes), because
    ///   audio is not fragmented.
    /// - [`PeerError::BufferFull`] if more is written than the path carries.
    /// - [`PeerError::BadTrack`] for a layer that was not negotiated.
    /// - [`PeerError::NoSuchTransceiver`] or [`PeerError::Closed`].
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

    /// Sends an RTP packet on a bound transceiver of a peer in [`MediaMode::Packets`]. SSRC, payload type, sequence
    /// number and timestamp are rewritten for that peer. It is sent when the peer is polled. A duplicate, or a packet
    /// more than 256 packets late, is dropped.
    ///
    /// # Errors
    ///
    /// - [`PeerError::TrackNotBound`] before [`PeerEvent::TrackBound`] and after [`PeerEvent::TrackUnbound`].
    /// - [`PeerError::MessageTooLarge`] for a payload larger than 1,460 bytes.
    /// - [`PeerError::LimitReached`] if 4,096 packets have not been polled.
    /// - [`PeerError::BufferFull`] if more is written than the path carries.
    /// - [`PeerError::BadTrack`] for a layer that was not negotiated, or a peer in [`MediaMode::Frames`].
    /// - [`PeerError::NoSuchTransceiver`] or [`PeerError::Closed`].
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

    /// Requests a keyframe from the remote peer (RFC 4585 §6.3.1, RFC 5104 §4.3.1), of a layer or of the only one.
    /// Incomplete frames cause a request automatically.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::BadTrack`] if nothing is received there or that kind of request was not negotiated,
    /// [`PeerError::NoSuchTransceiver`], or [`PeerError::Closed`].
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

    /// Returns properties and state of a transceiver; `None` if it does not exist or has been stopped.
    pub fn transceiver(&self, id: TransceiverId) -> Option<TransceiverInfo> {
        let found = self.tracks.list.iter().find(|t| t.id == id);
        found.map(|t| self.info_of(t))
    }

    /// Returns all transceivers that are not stopped, in order of creation.
    pub fn transceivers(&self) -> Vec<TransceiverInfo> {
        let list = self.tracks.list.iter();
        list.map(|t| self.info_of(t)).collect()
    }

    /// Returns the transceiver's properties with the mid on the wire.
    fn info_of(&self, transceiver: &Transceiver) -> TransceiverInfo {
        let mut info = transceiver.info();
        info.mid = info.mid.map(|id| self.negotiation.wire_mid(&id));
        info
    }
}
