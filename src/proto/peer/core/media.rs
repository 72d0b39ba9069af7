//! Media that str0m reports: frames, packets, and what RTCP says about them. Payloads are shared, not copied.

use std::time::{Instant, SystemTime};

use str0m::Event;
use str0m::bwe::BweKind;
use str0m::media::{Frequency, KeyframeRequestKind as CoreKind, MediaData, MediaTime};
use str0m::rtp::rtcp::SenderInfo;
use str0m::rtp::{RawPacket, RtpPacket};

use super::super::values::{
    Bytes, HeaderExtensions, KeyframeRequestKind, ReceivedStats, RtcpPacket, SentStats,
};
use super::codecs::codec_of;
use super::names::{Mid, Rid};
use super::{extensions, rtcp};
use crate::proto::media::Codec;

/// A report about media.
#[allow(clippy::large_enum_variant)] // A box would be an allocation for each packet.
pub(in super::super) enum MediaEvent {
    Frame(CoreFrame),
    Packet(CorePacket),
    /// An estimate of the bandwidth for sending, in bits per second.
    Bandwidth {
        bits_per_second: u64,
        can_probe: bool,
    },
    /// The maximum that the remote peer wants to receive, in bits per second.
    Remb {
        mid: Mid,
        bits_per_second: u64,
    },
    /// Statistics of a sent layer, without the jitter that the remote peer reports, which is in ticks.
    Sent {
        mid: Mid,
        stats: SentStats,
        jitter: Option<u32>,
    },
    /// Statistics of a received layer, without its jitter, which is in ticks.
    Received {
        mid: Mid,
        stats: ReceivedStats,
        jitter: u32,
    },
    Rtcp(RtcpPacket),
    KeyframeRequest {
        mid: Mid,
        rid: Option<Rid>,
        kind: KeyframeRequestKind,
    },
    SenderReport {
        mid: Mid,
        rid: Option<Rid>,
        clock: SenderClock,
        packets: u32,
        bytes: u32,
    },
    /// A received stream has become silent, or has resumed.
    Paused {
        mid: Mid,
        rid: Option<Rid>,
        is_paused: bool,
    },
}

/// A received frame, or a piece of one.
#[derive(Debug)]
pub(in super::super) struct CoreFrame {
    pub mid: Mid,
    pub rid: Option<Rid>,
    pub codec: Codec,
    pub payload_type: u8,
    /// Media time in ticks of the codec's RTP clock.
    pub ticks: u64,
    /// Arrival time of the first packet.
    pub received: Instant,
    /// Extended sequence numbers of the first and the last packet.
    pub numbers: (u64, u64),
    /// Set if nothing is missing before it.
    pub is_contiguous: bool,
    /// Set if it is a keyframe of a video codec.
    pub is_keyframe: bool,
    pub clock: Option<SenderClock>,
    pub data: Bytes,
}

/// A received packet, decrypted.
pub(in super::super) struct CorePacket {
    pub ssrc: u32,
    /// Extended sequence number.
    pub number: u64,
    pub payload_type: u8,
    pub timestamp: u32,
    pub marker: bool,
    pub extensions: HeaderExtensions,
    pub payload: Bytes,
    pub clock: Option<SenderClock>,
    pub received: Instant,
}

/// The sender's clocks in a report of it (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct SenderClock {
    pub wallclock: SystemTime,
    /// The RTP timestamp that corresponds to `wallclock`.
    pub rtp_timestamp: u32,
}

/// Translates an event about media; `None` if it is of no use.
pub(super) fn translate(event: Event) -> Option<MediaEvent> {
    Some(match event {
        Event::MediaData(data) => MediaEvent::Frame(frame(data)?),
        Event::RtpPacket(packet) => MediaEvent::Packet(self::packet(packet)),
        Event::EgressBitrateEstimate(kind) => bandwidth(&kind)?,
        Event::MediaEgressStats(stats) => MediaEvent::Sent {
            mid: Mid(stats.mid),
            jitter: stats.remote.as_ref().map(|r| r.jitter),
            stats: rtcp::sent_stats(&stats),
        },
        Event::MediaIngressStats(stats) => MediaEvent::Received {
            mid: Mid(stats.mid),
            jitter: stats.jitter,
            stats: rtcp::received_stats(&stats),
        },
        Event::RawPacket(raw) => match *raw {
            RawPacket::RtcpRx(rtcp) => MediaEvent::Rtcp(rtcp::from_core(&rtcp)),
            _ => return None,
        },
        Event::KeyframeRequest(request) => MediaEvent::KeyframeRequest {
            mid: Mid(request.mid),
            rid: request.rid.map(Rid),
            kind: match request.kind {
                CoreKind::Pli => KeyframeRequestKind::Pli,
                CoreKind::Fir => KeyframeRequestKind::Fir,
            },
        },
        Event::SenderFeedback(report) => MediaEvent::SenderReport {
            mid: Mid(report.mid),
            rid: report.rid.map(Rid),
            clock: clock(&report.sender_info),
            packets: report.sender_info.sender_packet_count,
            bytes: report.sender_info.sender_octet_count,
        },
        Event::StreamPaused(paused) => MediaEvent::Paused {
            mid: Mid(paused.mid),
            rid: paused.rid.map(Rid),
            is_paused: paused.paused,
        },
        other => {
            log::trace!("unused event of the core: {other:?}");
            return None;
        }
    })
}

fn frame(data: MediaData) -> Option<CoreFrame> {
    let codec = codec_of(data.params.spec().codec)?;
    Some(CoreFrame {
        mid: Mid(data.mid),
        rid: data.rid.map(Rid),
        codec,
        payload_type: *data.pt,
        ticks: ticks_at(data.time, codec.clock_rate()),
        received: data.network_time,
        numbers: (**data.seq_range.start(), **data.seq_range.end()),
        is_contiguous: data.contiguous,
        is_keyframe: data.is_keyframe(),
        clock: data.last_sender_info.as_ref().map(clock),
        data: data.data,
    })
}

fn packet(packet: RtpPacket) -> CorePacket {
    CorePacket {
        ssrc: *packet.header.ssrc,
        number: *packet.seq_no,
        payload_type: *packet.header.payload_type,
        timestamp: packet.header.timestamp,
        marker: packet.header.marker,
        extensions: extensions::from_core(&packet.header.ext_vals),
        payload: packet.payload,
        clock: packet.last_sender_info.as_ref().map(clock),
        received: packet.timestamp,
    }
}

fn bandwidth(kind: &BweKind) -> Option<MediaEvent> {
    Some(match kind {
        BweKind::Twcc {
            estimate,
            can_probe,
        } => MediaEvent::Bandwidth {
            bits_per_second: estimate.as_u64(),
            can_probe: *can_probe,
        },
        BweKind::Remb { estimate, mid } => MediaEvent::Remb {
            mid: Mid(*mid),
            bits_per_second: estimate.as_u64(),
        },
        _ => return None,
    })
}

fn clock(info: &SenderInfo) -> SenderClock {
    SenderClock {
        wallclock: info.ntp_time,
        rtp_timestamp: info.rtp_time.numer() as u32,
    }
}

/// Converts one of the core's times to ticks of a clock.
fn ticks_at(time: MediaTime, rate: u32) -> u64 {
    Frequency::new(rate).map_or(0, |frequency| time.rebase(frequency).numer())
}
