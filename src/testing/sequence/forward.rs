//! Two peers of two pairs that are one application: what one of them receives is sent by the other.

use super::step::{Kind, Promise};
use super::world::World;
use crate::proto::peer::{
    KeyframeRequestKind, MediaKind, Message, PeerError, ReceivedFrame, ReceivedPacket,
    TransceiverId,
};

impl World {
    /// Opens a channel and a track on either pair.
    pub(super) fn prepare_to_forward(&mut self) {
        self.open(2, Promise::Reliable);
        for side in [0, 2] {
            self.add_track(side, Kind::Video, None, 0);
        }
    }

    /// Returns the peer that forwards what this side receives, if any.
    pub(super) fn passes_to(&self, side: usize) -> Option<usize> {
        (self.forwards && matches!(side, 1 | 2)).then_some(side ^ 3)
    }

    pub(super) fn on_media(&mut self, side: usize, rid: Option<&str>, data: &[u8]) {
        let from = Self::partner(side);
        self.media.received(from, data);
        self.report.layers += u64::from(rid.is_some());
        // The original sender is at the far end of the other pair.
        let is_passed_on = self.forwards && self.media.is_passed_on(from ^ 2, data);
        self.report.forwarded += u64::from(is_passed_on);
    }

    /// Sends a message on the first open channel.
    pub(super) fn pass_on_message(&mut self, to: usize, message: Message) {
        let mut flows = self.flows.list.iter();
        let found = flows.position(|f| f.from == to && self.flows.is_open(to, f.channel));
        let Some(at) = found else {
            return;
        };
        let channel = self.flows.list[at].channel;
        let sent = self.with(to, |p, now| match &message {
            Message::Text(text) => p.send_text(channel, text, now),
            Message::Binary(data) => p.send_binary(channel, data, now),
        });
        match sent {
            Ok(()) => {
                self.flows.list[at].accept(message);
                self.report.forwarded += 1;
            }
            Err(
                PeerError::Closed
                | PeerError::NoSuchChannel
                | PeerError::MessageTooLarge { .. }
                | PeerError::BufferFull { .. },
            ) => {}
            Err(error) => panic!("a message to pass on: {error}"),
        }
    }

    pub(super) fn pass_on_frame(&mut self, from: usize, to: usize, frame: &ReceivedFrame) {
        let rid = frame.rid.as_deref();
        if let Some(track) = self.way_out(from, to, frame.transceiver, rid) {
            let mut on = frame.to_encoded();
            on.rid = None;
            let written = self.with(to, |p, now| p.write_frame(track, &on, now));
            self.passed_on(to, track, &frame.data, written);
        }
    }

    pub(super) fn pass_on_packet(&mut self, from: usize, to: usize, packet: &ReceivedPacket) {
        let rid = packet.rid.as_deref();
        if let Some(track) = self.way_out(from, to, packet.transceiver, rid) {
            let on = packet.to_packet();
            let written = self.with(to, |p, now| p.write_rtp(track, &on, now));
            self.passed_on(to, track, &packet.payload, written);
        }
    }

    fn passed_on(
        &mut self,
        to: usize,
        track: TransceiverId,
        data: &[u8],
        written: Result<(), PeerError>,
    ) {
        match written {
            Ok(()) => self.media.wrote((to, track, 0), data),
            Err(
                PeerError::Closed
                | PeerError::TrackNotBound
                | PeerError::NoSuchTransceiver
                | PeerError::MessageTooLarge { .. }
                | PeerError::BufferFull { .. },
            ) => {}
            Err(error) => panic!("{} bytes of media to pass on: {error}", data.len()),
        }
    }

    /// Returns the first bound track of the same kind. Only the first layer is forwarded.
    fn way_out(
        &self,
        from: usize,
        to: usize,
        track: TransceiverId,
        rid: Option<&str>,
    ) -> Option<TransceiverId> {
        let kind = self.kind(from, track)?;
        let peer = self.sim.peer(self.seats[to].node);
        let mut tracks = peer.transceivers().into_iter();
        let found = tracks
            .find(|t| t.kind == kind && t.codec.is_some() && !self.media.has_layers(to, t.id))?;
        matches!(rid, None | Some("f")).then_some(found.id)
    }

    fn kind(&self, side: usize, track: TransceiverId) -> Option<MediaKind> {
        let peer = self.sim.peer(self.seats[side].node);
        peer.transceiver(track).map(|t| t.kind)
    }

    /// Passes on a keyframe request to all senders.
    pub(super) fn pass_on_keyframe_request(&mut self, to: usize) {
        let peer = self.sim.peer(self.seats[to].node);
        let mut tracks = peer.transceivers().into_iter();
        let Some(track) = tracks.find(|t| t.kind == MediaKind::Video) else {
            return;
        };
        let kind = KeyframeRequestKind::Pli;
        let asked = self.with(to, |p, now| p.request_keyframe(track.id, None, kind, now));
        assert!(
            matches!(
                asked,
                Ok(()) | Err(PeerError::BadTrack(_) | PeerError::Closed)
            ),
            "{asked:?}"
        );
    }
}
