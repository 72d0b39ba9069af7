//! Access to a peer of a loop.

use std::time::Instant;

use super::EventLoop;
use super::peers::PeerId;
use crate::proto::ice::IceServer;
use crate::proto::peer::{
    ChannelConfig, ChannelId, ChannelInfo, Codec, Direction, EncodedFrame, IceCandidateInit,
    KeyframeRequestKind, MediaKind, Peer, PeerError, RtpPacket, SessionDescription,
    TransceiverConfig, TransceiverId,
};

/// A borrowed peer of a loop. Its methods are those of [`Peer`], called with the loop's time; see there. Derefs to
/// [`Peer`] for read access.
pub struct PeerMut<'a> {
    pub(super) net: &'a mut EventLoop,
    pub(super) id: PeerId,
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// The errors of the [`Peer`] method of the same name.
        pub fn $name(&mut self, $($arg: $type),*) -> Result<$ret, PeerError> {
            self.run(|peer, now| peer.$name($($arg,)* now))?
        }
    )*};
}

impl PeerMut<'_> {
    verbs! {
        /// See [`Peer::create_offer`].
        create_offer() -> SessionDescription;
        /// See [`Peer::create_answer`].
        create_answer() -> SessionDescription;
        /// See [`Peer::set_local_description`].
        set_local_description(description: Option<SessionDescription>) -> ();
        /// See [`Peer::set_remote_description`].
        set_remote_description(description: SessionDescription) -> ();
        /// See [`Peer::add_ice_candidate`].
        add_ice_candidate(candidate: Option<&IceCandidateInit>) -> ();
        /// See [`Peer::negotiate`].
        negotiate() -> SessionDescription;
        /// See [`Peer::receive`].
        receive(description: SessionDescription) -> Option<SessionDescription>;
        /// See [`Peer::add_ice_servers`].
        add_ice_servers(servers: &[IceServer]) -> ();
        /// See [`Peer::restart_ice`].
        restart_ice() -> ();
        /// See [`Peer::create_data_channel`].
        create_data_channel(config: ChannelConfig) -> ChannelId;
        /// See [`Peer::send_text`].
        send_text(channel: ChannelId, text: &str) -> ();
        /// See [`Peer::send_binary`].
        send_binary(channel: ChannelId, data: &[u8]) -> ();
        /// See [`Peer::close_data_channel`].
        close_data_channel(channel: ChannelId) -> ();
        /// See [`Peer::add_transceiver`].
        add_transceiver(kind: MediaKind, config: TransceiverConfig) -> TransceiverId;
        /// See [`Peer::add_track`].
        add_track(kind: MediaKind, config: TransceiverConfig) -> TransceiverId;
        /// See [`Peer::remove_track`].
        remove_track(transceiver: TransceiverId) -> ();
        /// See [`Peer::replace_track`].
        replace_track(transceiver: TransceiverId, codec: Option<Codec>) -> ();
        /// See [`Peer::set_direction`].
        set_direction(transceiver: TransceiverId, direction: Direction) -> ();
        /// See [`Peer::set_track_ids`].
        set_track_ids(transceiver: TransceiverId, stream: &str, track: &str) -> ();
        /// See [`Peer::set_codec_preferences`].
        set_codec_preferences(transceiver: TransceiverId, codecs: &[Codec]) -> ();
        /// See [`Peer::stop_transceiver`].
        stop_transceiver(transceiver: TransceiverId) -> ();
        /// See [`Peer::set_track_paused`].
        set_track_paused(transceiver: TransceiverId, paused: bool) -> ();
        /// See [`Peer::write_frame`].
        write_frame(transceiver: TransceiverId, frame: &EncodedFrame) -> ();
        /// See [`Peer::write_rtp`].
        write_rtp(transceiver: TransceiverId, packet: &RtpPacket) -> ();
        /// See [`Peer::set_desired_bitrate`].
        set_desired_bitrate(bits_per_second: u64) -> ();
        /// See [`Peer::request_bitrate`].
        request_bitrate(transceiver: TransceiverId, rid: Option<&str>, bits_per_second: u64) -> ();
        /// See [`Peer::request_keyframe`].
        request_keyframe(transceiver: TransceiverId, rid: Option<&str>, kind: KeyframeRequestKind) -> ();
    }

    /// See [`Peer::set_buffered_amount_low_threshold`].
    ///
    /// # Errors
    ///
    /// The same as that method.
    pub fn set_buffered_amount_low_threshold(
        &mut self,
        channel: ChannelId,
        bytes: usize,
    ) -> Result<(), PeerError> {
        self.run(|peer, _| peer.set_buffered_amount_low_threshold(channel, bytes))?
    }

    /// See [`Peer::channel`].
    pub fn channel(&mut self, channel: ChannelId) -> Option<ChannelInfo> {
        self.run(|peer, _| peer.channel(channel)).ok().flatten()
    }

    /// See [`Peer::close`]. The peer is removed with its *closed* event.
    pub fn close(&mut self) {
        // A peer that panicked is closed as well.
        let _ = self.run(|peer, now| peer.close(now));
    }

    /// Returns the peer's id.
    pub fn id(&self) -> PeerId {
        self.id
    }

    fn run<R>(&mut self, f: impl FnOnce(&mut Peer, Instant) -> R) -> Result<R, PeerError> {
        let index = self.id.index();
        let Some(entry) = self.net.peers.entries.get_mut(index) else {
            return Err(PeerError::Closed);
        };
        let now = Instant::now();
        let result = entry.fenced(|peer| f(peer, now));
        if !entry.touched {
            entry.touched = true;
            self.net.touched.push(index);
        }
        result.ok_or_else(|| PeerError::Core("the peer panicked; it is closed".into()))
    }
}

impl std::ops::Deref for PeerMut<'_> {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        // `EventLoop::peer` has found the entry, and the loop has been borrowed since.
        &self.net.peers.entries[self.id.index()].peer
    }
}
