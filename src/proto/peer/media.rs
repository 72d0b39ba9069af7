//! Public methods of transceivers (W3C WebRTC §5.1), and the wiring of [`Tracks`] to the rest of the peer.

mod wiring;

use std::time::Instant;

use super::tracks::{Context, MAX_UNSENT_PACKETS, Tracks, check_size, wrong_mode};
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
        let limits = &self.config.limits;
        let id = self.tracks.add_track(kind, config, limits)?;
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
        self.media(|tracks, context| tracks.remove_track(transceiver, context))?;
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
        self.media(|tracks, context| tracks.replace_track(transceiver, codec, context))
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
        self.tracks.set_direction(transceiver, direction)?;
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
        self.tracks.prefer(transceiver, codecs)?;
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
        self.media(|tracks, context| tracks.stop(transceiver, context))?;
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
        self.tracks.pause(transceiver, paused)
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
        if self.media(|tracks, context| tracks.send_frame(transceiver, frame, context))? {
            // The core packetizes in its timeout.
            self.core_timeout();
        }
        Ok(())
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
            return Err(wrong_mode("Packets"));
        }
        self.advance(now);
        check_size(packet)?;
        if self.core.unsent() >= MAX_UNSENT_PACKETS || self.out.len() >= MAX_UNSENT_PACKETS {
            return Err(PeerError::LimitReached {
                limit: "unsent packets of a peer",
                value: MAX_UNSENT_PACKETS,
            });
        }
        if self.media(|tracks, context| tracks.send_packet(transceiver, packet, context))? {
            self.core.note_written();
        }
        Ok(())
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
        self.media(|tracks, context| tracks.request_keyframe(transceiver, rid, kind, context))
    }

    /// Sets the stream id and the track id of a local track, from the next negotiation on (W3C §5.2 `setStreams`). This
    /// allows giving an unused m-line ([`Direction::Inactive`]) to another source; it then gets another SSRC as well,
    /// without which Chromium displays nothing.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::BadTrack`] unless both ids have 1 to 64 token characters, [`PeerError::NoSuchTransceiver`],
    /// or [`PeerError::Closed`].
    pub fn set_track_ids(
        &mut self,
        transceiver: TransceiverId,
        stream: &str,
        track: &str,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        self.tracks
            .set_ids(transceiver, stream, track, &mut self.core.media())?;
        self.check_negotiation_needed();
        Ok(())
    }

    /// Sets the bitrate that the application would like to send to this peer, in bits per second. The estimate is
    /// raised up to that by probing, and not beyond. Has no effect without
    /// [`PeerConfig::bandwidth_estimation`](super::PeerConfig::bandwidth_estimation).
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::Closed`].
    pub fn set_desired_bitrate(
        &mut self,
        bits_per_second: u64,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        self.core.media().set_desired_bitrate(bits_per_second);
        Ok(())
    }

    /// Requests a maximum bitrate for a received track from the remote peer (REMB, draft-alvestrand-rmcat-remb).
    /// Browsers comply.
    ///
    /// # Errors
    ///
    /// Returns [`PeerError::BadTrack`] if nothing was received there, [`PeerError::NoSuchTransceiver`], or
    /// [`PeerError::Closed`].
    pub fn request_bitrate(
        &mut self,
        transceiver: TransceiverId,
        rid: Option<&str>,
        bits_per_second: u64,
        now: Instant,
    ) -> Result<(), PeerError> {
        self.begin(now)?;
        self.tracks
            .request_bitrate(transceiver, rid, bits_per_second, &mut self.core.media())
    }

    /// Returns statistics of a transceiver's media, as of the last [interval](super::PeerConfig::stats_interval),
    /// except for those of the jitter buffer, which are current; `None` if it does not exist.
    pub fn track_stats(&self, id: TransceiverId) -> Option<TrackStats> {
        let mut stats = self.tracks.stats(id)?;
        stats.repair_delay = self.feedback.repair_delay(self.now);
        Some(stats)
    }

    /// Returns properties and state of a transceiver; `None` if it does not exist or has been stopped.
    pub fn transceiver(&self, id: TransceiverId) -> Option<TransceiverInfo> {
        let info = self.tracks.info(id)?;
        Some(self.with_wire_mid(info))
    }

    /// Returns all transceivers that are not stopped, in order of creation.
    pub fn transceivers(&self) -> Vec<TransceiverInfo> {
        let infos = self.tracks.infos();
        infos.map(|info| self.with_wire_mid(info)).collect()
    }

    /// Returns the transceiver's properties with the mid on the wire.
    fn with_wire_mid(&self, mut info: TransceiverInfo) -> TransceiverInfo {
        info.mid = info.mid.map(|id| self.session.wire_mid(&id));
        info
    }

    /// Calls `body` with the tracks and the state of this peer that they need.
    fn media<R>(&mut self, body: impl FnOnce(&mut Tracks, &mut Context<'_>) -> R) -> R {
        let is_connected = self.core.is_connected();
        let mut context = Context {
            core: self.core.media(),
            config: &self.config,
            now: self.now,
            events: &mut self.out.events,
            mids: self.session.mids(),
            is_connected,
            round_trip: self.stats.round_trip_time,
        };
        body(&mut self.tracks, &mut context)
    }
}
