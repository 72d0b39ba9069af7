//! What the core tells about media.

use str0m::Event;

use super::super::Peer;

impl Peer {
    pub(in super::super) fn on_media_event(&mut self, event: Event) {
        match event {
            Event::MediaData(data) => self.on_media_data(data),
            Event::RtpPacket(packet) => self.on_rtp_packet(packet),
            Event::EgressBitrateEstimate(kind) => self.on_bandwidth(&kind),
            Event::MediaEgressStats(stats) => self.on_sent_stats(&stats),
            Event::MediaIngressStats(stats) => self.on_received_stats(&stats),
            Event::RawPacket(raw) => self.on_raw_packet(&raw),
            Event::KeyframeRequest(request) => self.on_keyframe_request(&request),
            Event::SenderFeedback(report) => self.on_sender_report(&report),
            Event::StreamPaused(p) => self.on_stream_paused(p.mid, p.rid, p.paused),
            other => log::trace!("unused event of the core: {other:?}"),
        }
    }
}
