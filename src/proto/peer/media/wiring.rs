//! Wiring of [`Tracks`](super::Tracks) and [`Feedback`](super::super::feedback::Feedback) to the core's events and to the
//! other parts of the peer.

use super::super::core::{CorePacket, MediaEvent, PendingOffer};
use super::super::ends::Ends;
use super::super::feedback::{self, Feedback, Repair, is_rtcp};
use super::super::tracks::{RemoteMedia, ssrc_of, wake_inactive};
use super::super::values::{BandwidthEstimate, ConnectionState, MediaMode, PeerEvent};
use super::Peer;

impl Peer {
    /// Handles a media event of the core.
    pub(in super::super) fn on_media_event(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Frame(frame) => self.media(|tracks, ctx| tracks.on_piece(frame, ctx)),
            MediaEvent::Packet(packet) => self.on_packet(packet),
            MediaEvent::Bandwidth {
                bits_per_second,
                can_probe,
            } => {
                self.stats.available_outgoing_bitrate = Some(bits_per_second);
                self.on_bandwidth(BandwidthEstimate::TransportCc {
                    bits_per_second,
                    can_probe,
                });
            }
            MediaEvent::Remb {
                mid,
                bits_per_second,
            } => {
                if let Some(transceiver) = self.tracks.id_of(mid) {
                    self.on_bandwidth(BandwidthEstimate::Remb {
                        transceiver,
                        bits_per_second,
                    });
                }
            }
            MediaEvent::Sent { mid, stats, jitter } => {
                self.tracks.on_sent_stats(mid, stats, jitter, self.now);
            }
            MediaEvent::Received { mid, stats, jitter } => {
                self.tracks.on_received_stats(mid, stats, jitter);
            }
            MediaEvent::Rtcp(rtcp) => self.out.events.push(PeerEvent::Rtcp(rtcp)),
            MediaEvent::KeyframeRequest { mid, rid, kind } => {
                self.media(|tracks, ctx| tracks.on_keyframe_request(mid, rid, kind, ctx));
            }
            MediaEvent::SenderReport {
                mid,
                rid,
                clock,
                packets,
                bytes,
            } => {
                let counts = (packets, bytes);
                self.media(|tracks, ctx| tracks.on_sender_report(mid, rid, clock, counts, ctx));
            }
            MediaEvent::Paused {
                mid,
                rid,
                is_paused,
            } => {
                self.media(|tracks, ctx| tracks.on_stream_paused(mid, rid, is_paused, ctx));
            }
        }
    }

    fn on_bandwidth(&mut self, estimate: BandwidthEstimate) {
        self.out.event(PeerEvent::BandwidthEstimate(estimate));
    }

    /// Reports which tracks can be written to, and which no longer can.
    pub(in super::super) fn update_bound(&mut self) {
        self.media(|tracks, context| tracks.update_bound(context));
    }

    /// Gives out received media that has been held for long enough.
    pub(in super::super) fn release_due(&mut self) {
        self.tracks.release_due(self.now, &mut self.out.events);
    }

    /// See [`Tracks::without_offered`](super::Tracks::without_offered).
    pub(in super::super) fn without_offered_media(
        &mut self,
        pending: PendingOffer,
    ) -> Option<PendingOffer> {
        self.media(|tracks, context| tracks.without_offered(pending, context))
    }

    /// Ends our pending offer without keeping anything of it.
    pub(in super::super) fn forget_offered_media(&mut self) {
        self.tracks.forget_offered(&mut self.out.events);
    }

    /// Declares SSRCs in our offer for sending on remote m-lines.
    pub(in super::super) fn declare_senders(&mut self) {
        self.tracks.declare_senders(&mut self.core.media());
    }

    /// Re-enables sending on a local m-line that has been inactive, which the core would refuse.
    pub(in super::super) fn wake_inactive(&mut self, media: &[RemoteMedia]) {
        wake_inactive(&mut self.core.media(), media);
    }

    /// Updates the transceivers after the core has applied a remote offer.
    pub(in super::super) fn tracks_answered(&mut self, text: &str, media: &[RemoteMedia]) {
        self.media(|tracks, context| tracks.answered(text, media, context));
        self.keep_for_those_without_rtx();
    }

    /// Updates the transceivers after the core has applied a remote answer.
    pub(in super::super) fn tracks_accepted(&mut self, text: &str, media: &[RemoteMedia]) {
        self.media(|tracks, context| tracks.accepted(text, media, context));
        self.keep_for_those_without_rtx();
    }

    fn keep_for_those_without_rtx(&mut self) {
        let types = self.core.types_without_rtx();
        let types = self.tracks.agreed_video_types(types);
        self.feedback.set_types_without_rtx(types);
    }

    /// Records an outgoing datagram that may have to be sent again, if it is RTP.
    pub(in super::super) fn packet_leaves(&mut self, datagram: &[u8]) {
        if let Some(ssrc) = ssrc_of(datagram) {
            self.tracks.leaves(ssrc, self.now);
            self.feedback.leaves(datagram, self.now);
        }
    }

    /// Returns the datagrams to send in place of one from the core: see
    /// [`Feedback::rewritten`](feedback::Feedback::rewritten).
    pub(in super::super) fn rewritten(&mut self, datagram: Vec<u8>) -> Vec<Vec<u8>> {
        if !is_rtcp(&datagram) {
            return vec![datagram];
        }
        self.feedback(|feedback, context| feedback.rewritten(datagram, context))
    }

    /// Calls `body` with the feedback and the state of this peer that it needs.
    fn feedback<R>(
        &mut self,
        body: impl FnOnce(&mut Feedback, &mut feedback::Context<'_>) -> R,
    ) -> R {
        let tracks = &self.tracks;
        let (core, provider) = self.core.media_and_provider();
        let mut context = feedback::Context {
            core,
            provider,
            line: &|mid| tracks.id_of(mid),
        };
        body(&mut self.feedback, &mut context)
    }

    /// Records an outgoing connectivity check of ours.
    pub(in super::super) fn check_leaves(&mut self, stun: &[u8]) {
        self.feedback.check_leaves(stun, self.now);
    }

    /// Handles a verified response to a check.
    pub(in super::super) fn check_answered(&mut self, stun: &[u8]) {
        self.feedback.check_answered(stun, self.now);
    }

    /// Requests lost packets that are due, and reports those that are late.
    pub(in super::super) fn losses_due(&mut self) {
        if self.feedback.deadline().is_none_or(|at| at > self.now) {
            return;
        }
        let is_connected = self.state == ConnectionState::Connected;
        let path = self.path.in_use().filter(|_| is_connected);
        let now = self.now;
        let due = self.feedback(|feedback, context| feedback.due(now, path.is_some(), context));
        for packet in due.packets {
            if let Some(path) = path {
                self.send_on(path, packet);
            }
        }
        self.out.events.extend(due.lost);
    }

    /// Sends the packets that a NACK in this datagram requests, if the core does not.
    pub(in super::super) fn send_again(&mut self, datagram: &[u8], path: Option<Ends>) {
        let asked =
            self.feedback
                .asked_again(datagram, self.core.provider(), path.is_some(), self.now);
        for packet in asked {
            if let Some(path) = path {
                self.send_on(path, packet);
            }
        }
    }

    /// Inspects a datagram before the core does, which could not assign its stream.
    pub(in super::super) fn place_stream(&mut self, datagram: &[u8]) -> Option<u32> {
        self.tracks
            .unplaced(datagram)?
            .place(&mut self.core.media())
    }

    /// Handles that the core has seen the first packet of a stream.
    pub(in super::super) fn confirm_stream(&mut self, ssrc: u32) {
        self.tracks.confirm_stream(ssrc, &mut self.core.media());
    }

    /// Inspects a datagram before the core does, for a retransmission that may be too late for it.
    pub(in super::super) fn repair_in(&mut self, datagram: &[u8]) -> Option<Repair> {
        if self.config.media_mode != MediaMode::Packets {
            return None;
        }
        let found = self.feedback.retransmission_in(datagram, &self.core)?;
        self.feedback.repair_of(found, &mut self.core.media())
    }

    /// Called after the core was given the datagram. If the packet is still missing, the core has dropped it.
    pub(in super::super) fn deliver_late(&mut self, repair: &Repair, datagram: &[u8]) {
        let (provider, now) = (self.core.provider(), self.now);
        let late = self.feedback.open_late(repair, datagram, provider, now);
        if let Some(packet) = late {
            self.core.touch();
            self.on_packet(packet);
        }
    }

    fn on_packet(&mut self, packet: CorePacket) {
        let followed = self.media(|tracks, context| tracks.on_packet(packet, context));
        if let Some((ssrc, number)) = followed {
            self.feedback.packet_came(ssrc, number, self.now);
        }
    }
}
