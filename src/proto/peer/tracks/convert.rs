//! Conversions between the core's types and ours: codecs, directions, RTCP and statistics.

use std::time::{Duration, Instant};

use str0m::RtcConfig;
use str0m::format::{Codec as CoreCodec, PayloadParams};
use str0m::rtp::RawPacket;
use str0m::rtp::rtcp::{ReceptionReport as CoreReport, ReportList, Rtcp};
use str0m::stats::{MediaEgressStats, MediaIngressStats};

use super::codec::{CodecParameters, Codecs, MediaKind};
use super::direction::Direction;
use super::rtcp::{ReceptionReport, RtcpPacket, missing};
use super::stats::{ReceivedStats, SentStats};
use super::{Codec, Tracks};

/// Names of m-lines and of layers, which are short and copied.
pub(super) use str0m::media::{Mid, Rid};

/// Returns the codec for one of the core's; `None` if it is not offered.
pub(super) fn codec_of_core(codec: CoreCodec) -> Option<Codec> {
    Some(match codec {
        CoreCodec::Vp8 => Codec::Vp8,
        CoreCodec::Vp9 => Codec::Vp9,
        CoreCodec::Av1 => Codec::Av1,
        CoreCodec::H264 => Codec::H264,
        CoreCodec::H265 => Codec::H265,
        CoreCodec::Opus => Codec::Opus,
        CoreCodec::PCMU => Codec::Pcmu,
        CoreCodec::PCMA => Codec::Pcma,
        CoreCodec::G722 => Codec::G722,
        _ => return None,
    })
}

impl MediaKind {
    pub(super) fn to_core(self) -> str0m::media::MediaKind {
        match self {
            Self::Audio => str0m::media::MediaKind::Audio,
            Self::Video => str0m::media::MediaKind::Video,
        }
    }
}

impl Direction {
    pub(super) fn to_core(self) -> str0m::media::Direction {
        use str0m::media::Direction as Core;
        match self {
            Self::SendRecv => Core::SendRecv,
            Self::SendOnly => Core::SendOnly,
            Self::RecvOnly => Core::RecvOnly,
            Self::Inactive => Core::Inactive,
        }
    }
}

impl Codecs {
    /// Enables these codecs in the core.
    pub(in super::super) fn configure(&self, core: RtcConfig) -> RtcConfig {
        let mut core = core.clear_codecs();
        for codec in self.iter() {
            core = match codec {
                Codec::Vp8 => core.enable_vp8(true),
                Codec::Vp9 => core.enable_vp9(true),
                Codec::Av1 => core.enable_av1(true),
                Codec::H264 => core.enable_h264(true),
                Codec::H265 => core.enable_h265(true),
                Codec::Opus => core.enable_opus(true, false),
                Codec::Pcmu => core.enable_pcmu(true, false),
                Codec::Pcma => core.enable_pcma(true, false),
                Codec::G722 => core.enable_g722(true, false),
            };
        }
        core
    }
}

impl CodecParameters {
    pub(super) fn from_core(params: &PayloadParams) -> Option<Self> {
        let spec = params.spec();
        let codec = codec_of_core(spec.codec)?;
        let is_h264 = codec == Codec::H264;
        Some(Self {
            codec,
            payload_type: *params.pt(),
            clock_rate: codec.clock_rate(),
            channels: match MediaKind::of(codec) {
                MediaKind::Audio => spec.channels.unwrap_or(1),
                MediaKind::Video => 0,
            },
            sdp_fmtp_line: spec.format.to_string(),
            profile_level_id: spec.format.profile_level_id.filter(|_| is_h264),
            packetization_mode: spec.format.packetization_mode.filter(|_| is_h264),
        })
    }
}

/// Returns the received RTCP in a raw packet of the core's; `None` for other packets.
pub(in super::super) fn of_raw(raw: &RawPacket) -> Option<RtcpPacket> {
    match raw {
        RawPacket::RtcpRx(rtcp) => Some(from_core(rtcp)),
        _ => None,
    }
}

fn from_core(rtcp: &Rtcp) -> RtcpPacket {
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

impl SentStats {
    fn from_core(core: &MediaEgressStats, rate: u32) -> Self {
        Self {
            rid: core.rid.map(|r| r.to_string()),
            packets: core.packets,
            bytes: core.bytes,
            nacks: core.nacks,
            plis: core.plis,
            firs: core.firs,
            round_trip_time: core.rtt,
            fraction_lost: core.loss,
            remote_packets_lost: core.remote.as_ref().map(|r| r.packets_lost),
            remote_jitter: core.remote.as_ref().map(|r| of_ticks(r.jitter, rate)),
        }
    }
}

impl ReceivedStats {
    fn from_core(core: &MediaIngressStats, rate: u32) -> Self {
        Self {
            rid: core.rid.map(|r| r.to_string()),
            packets: core.packets,
            bytes: core.bytes,
            nacks: core.nacks,
            plis: core.plis,
            firs: core.firs,
            jitter: of_ticks(core.jitter, rate),
            round_trip_time: core.rtt,
            fraction_lost: core.loss,
            jitter_buffer: None,
        }
    }
}

fn of_ticks(ticks: u32, rate: u32) -> Duration {
    Duration::from_secs(ticks.into()) / rate.max(1)
}

impl Tracks {
    pub fn on_sent_stats(&mut self, core: &MediaEgressStats, now: Instant) {
        if let Some(t) = self.by_core_mid(core.mid) {
            let stats = SentStats::from_core(core, t.line.clock_rate());
            t.sender.learn(stats, now);
        }
    }

    pub fn on_received_stats(&mut self, core: &MediaIngressStats) {
        if let Some(t) = self.by_core_mid(core.mid) {
            let stats = ReceivedStats::from_core(core, t.line.clock_rate());
            t.receiver.learn(stats);
        }
    }
}
