//! Wiring of [`Tracks`](super::Tracks) and [`Feedback`](super::super::feedback::Feedback) to the core's events and to the
//! other parts of the peer.

use str0m::Event;
use str0m::bwe::BweKind;
use str0m::change::SdpPendingOffer;

use super::super::ends::Ends;
use super::super::feedback::{self, Feedback, Repair, is_rtcp};
use super::super::state::{ConnectionState, PeerEvent};
use super::super::tracks::{
    BandwidthEstimate, Incoming, MediaMode, RemoteMedia, of_raw, ssrc_of, wake_inactive,
};
use super::Peer;

impl Peer {
    /// Handles a media event of the core.
    pub(in super::super) fn on_media_event(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::MediaData(data) => self.media(|tracks, ctx| tracks.on_media_data(data, ctx)),
            Event::RtpPacket(packet) => {
                let followed = self.media(|tracks, ctx| tracks.on_rtp_packet(packet, ctx));
                self.packet_came(followed);
            }
            Event::EgressBitrateEstimate(kind) => self.on_bandwidth(&kind),
            Event::MediaEgressStats(stats) => self.tracks.on_sent_stats(&stats, now),
            Event::MediaIngressStats(stats) => self.tracks.on_received_stats(&stats),
            Event::RawPacket(raw) => {
                let rtcp = of_raw(&raw).map(PeerEvent::Rtcp);
                self.out.events.extend(rtcp);
            }
            Event::KeyframeRequest(request) => {
                self.media(|tracks, ctx| tracks.on_keyframe_request(&request, ctx));
            }
            Event::SenderFeedback(report) => {
                self.media(|tracks, ctx| tracks.on_sender_report(&report, ctx));
            }
            Event::StreamPaused(p) => {
                self.media(|tracks, ctx| tracks.on_stream_paused(p.mid, p.rid, p.paused, ctx));
            }
            other => log::trace!("unused event of the core: {other:?}"),
        }
    }

    fn on_bandwidth(&mut self, kind: &BweKind) {
        let Some(estimate) = self.tracks.estimate(kind) else {
            return;
        };
        if let BandwidthEstimate::TransportCc {
            bits_per_second, ..
        } = estimate
        {
            self.stats.available_outgoing_bitrate = Some(bits_per_second);
        }
        self.out.event(PeerEvent::BandwidthEstimate(estimate));
    }

    /// Tracks the losses of a received packet, given by its SSRC and number.
    fn packet_came(&mut self, packet: Option<(u32, u64)>) {
        if let Some((ssrc, number)) = packet {
            self.feedback.packet_came(ssrc, number, self.now);
        }
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
        pending: SdpPendingOffer,
    ) -> Option<SdpPendingOffer> {
        self.media(|tracks, context| tracks.without_offered(pending, context))
    }

    /// Ends our pending offer without keeping anything of it.
    pub(in super::super) fn forget_offered_media(&mut self) {
        self.tracks.forget_offered(&mut self.out.events);
    }

    /// Declares SSRCs in our offer for sending on remote m-lines.
    pub(in super::super) fn declare_senders(&mut self) {
        self.tracks.declare_senders(&mut self.core.change());
    }

    /// Re-enables sending on a local m-line that has been inactive, which the core would refuse.
    pub(in super::super) fn wake_inactive(&mut self, media: &[RemoteMedia]) {
        wake_inactive(&mut self.core.change(), media);
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
        let types = self.tracks.types_without_rtx(&self.core);
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
        let (mut core, provider) = self.core.with_provider();
        let mut context = feedback::Context {
            core: &mut core,
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
            .place(&mut self.core.change())
    }

    /// Handles that the core has seen the first packet of a stream.
    pub(in super::super) fn confirm_stream(&mut self, ssrc: u32) {
        self.tracks.confirm_stream(ssrc, &mut self.core.change());
    }

    /// Inspects a datagram before the core does, for a retransmission that may be too late for it.
    pub(in super::super) fn repair_in(&mut self, datagram: &[u8]) -> Option<Repair> {
        if self.config.media_mode != MediaMode::Packets {
            return None;
        }
        let found = self.feedback.retransmission_in(datagram, &self.core)?;
        self.feedback.repair_of(found, &mut self.core.change())
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

    fn on_packet(&mut self, packet: Incoming<'_>) {
        let followed = self.media(|tracks, context| tracks.on_packet(packet, context));
        self.packet_came(followed);
    }
}
