//! Received RTCP, and statistics.

use std::time::Duration;

use str0m::rtp::rtcp::{ReceptionReport as CoreReport, ReportList, Rtcp};
use str0m::stats::{MediaEgressStats, MediaIngressStats};

use super::super::values::{ReceivedStats, ReceptionReport, RtcpPacket, SentStats, missing};

/// Returns a received RTCP packet.
pub(super) fn from_core(rtcp: &Rtcp) -> RtcpPacket {
    match rtcp {
        Rtcp::SenderReport(r) => RtcpPacket::SenderReport {
            ssrc: *r.sender_info.ssrc,
            wallclock: r.sender_info.ntp_time,
            rtp_timestamp: r.sender_info.rtp_time.numer() as u32,
            packets: r.sender_info.sender_packet_count,
            bytes: r.sender_info.sender_octet_count,
            reports: reports(&r.reports),
        },
        Rtcp::ReceiverReport(r) => RtcpPacket::ReceiverReport {
            ssrc: *r.sender_ssrc,
            reports: reports(&r.reports),
        },
        Rtcp::SourceDescription(d) => RtcpPacket::SourceDescription {
            ssrcs: d.reports.iter().map(|s| *s.ssrc).collect(),
        },
        Rtcp::Goodbye(g) => RtcpPacket::Goodbye {
            ssrcs: g.reports.iter().map(|s| **s).collect(),
        },
        Rtcp::Nack(n) => RtcpPacket::Nack {
            ssrc: *n.ssrc,
            missing: n
                .reports
                .iter()
                .flat_map(|e| missing(e.pid, e.blp))
                .collect(),
        },
        Rtcp::Pli(p) => RtcpPacket::PictureLoss { ssrc: *p.ssrc },
        Rtcp::Fir(r) => RtcpPacket::FullIntraRequest {
            ssrcs: r.reports.iter().map(|e| *e.ssrc).collect(),
        },
        Rtcp::Twcc(t) => RtcpPacket::TransportCc {
            base_sequence: t.base_seq,
            packets: t.status_count,
        },
        Rtcp::Remb(r) => RtcpPacket::Remb {
            bits_per_second: r.bitrate as u64,
        },
        Rtcp::ExtendedReport(x) => RtcpPacket::ExtendedReport {
            ssrc: *x.ssrc,
            blocks: x.blocks.len(),
        },
        Rtcp::AppSpecificFeedback(a) => RtcpPacket::ApplicationFeedback {
            ssrc: *a.media_ssrc,
            payload: a.payload.to_vec(),
        },
    }
}

fn reports(core: &ReportList<CoreReport>) -> Vec<ReceptionReport> {
    core.iter()
        .map(|r| ReceptionReport {
            ssrc: *r.ssrc,
            fraction_lost: r.fraction_lost,
            packets_lost: r.packets_lost,
            highest_sequence: r.max_seq,
            jitter: r.jitter,
        })
        .collect()
}

/// Returns the statistics of a sent layer, without the jitter that the remote peer reports.
pub(super) fn sent_stats(core: &MediaEgressStats) -> SentStats {
    SentStats {
        rid: core.rid.map(|r| r.to_string()),
        packets: core.packets,
        bytes: core.bytes,
        nacks: core.nacks,
        plis: core.plis,
        firs: core.firs,
        round_trip_time: core.rtt,
        fraction_lost: core.loss,
        remote_packets_lost: core.remote.as_ref().map(|r| r.packets_lost),
        remote_jitter: None,
    }
}

/// Returns the statistics of a received layer, without its jitter.
pub(super) fn received_stats(core: &MediaIngressStats) -> ReceivedStats {
    ReceivedStats {
        rid: core.rid.map(|r| r.to_string()),
        packets: core.packets,
        bytes: core.bytes,
        nacks: core.nacks,
        plis: core.plis,
        firs: core.firs,
        jitter: Duration::ZERO,
        round_trip_time: core.rtt,
        fraction_lost: core.loss,
        jitter_buffer: None,
    }
}
