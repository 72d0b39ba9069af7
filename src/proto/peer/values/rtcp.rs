//! Received RTCP, for diagnostics (RFC 3550 §6, RFC 4585, RFC 5104). The peer handles it by itself; nothing depends on
//! what an application does with these events.

use std::fmt;
use std::time::SystemTime;

/// A received RTCP packet. Compound packets are reported as their parts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RtcpPacket {
    /// A sender report: the sender's clocks, and its reception (RFC 3550 §6.4.1).
    SenderReport {
        /// SSRC of the sender.
        ssrc: u32,
        /// The sender's wall clock.
        wallclock: SystemTime,
        /// The RTP timestamp that corresponds to `wallclock`.
        rtp_timestamp: u32,
        /// Number of packets sent so far.
        packets: u32,
        /// Number of payload bytes sent so far.
        bytes: u32,
        /// Its reception of our streams.
        reports: Vec<ReceptionReport>,
    },
    /// A receiver report (RFC 3550 §6.4.2).
    ReceiverReport {
        /// SSRC of the sender.
        ssrc: u32,
        /// Its reception of our streams.
        reports: Vec<ReceptionReport>,
    },
    /// A source description (RFC 3550 §6.5).
    SourceDescription {
        /// The SSRCs described.
        ssrcs: Vec<u32>,
    },
    /// BYE: sources that have ended (RFC 3550 §6.6).
    Goodbye {
        /// The codec.
        ssrcs: Vec<u32>,
    },
    /// NACK: packets of ours that are missing (RFC 4585 §6.2.1).
    Nack {
        /// SSRC of the stream.
        ssrc: u32,
        /// The missing sequence numbers.
        missing: Vec<u16>,
    },
    /// Picture loss indication (RFC 4585 §6.3.1).
    PictureLoss {
        /// SSRC of the stream.
        ssrc: u32,
    },
    /// Full intra request: a keyframe is needed (RFC 5104 §4.3.1).
    FullIntraRequest {
        /// SSRCs of the streams.
        ssrcs: Vec<u32>,
    },
    /// Arrival times of packets (transport-wide congestion control).
    TransportCc {
        /// The first transport-wide sequence number in the report.
        base_sequence: u16,
        /// Number of packets in the report.
        packets: u16,
    },
    /// Maximum bitrate requested by the remote peer (REMB).
    Remb {
        /// Returns the bitrate, in bits per second.
        bits_per_second: u64,
    },
    /// Extended reports (RFC 3611).
    ExtendedReport {
        /// SSRC of the sender.
        ssrc: u32,
        /// Number of blocks.
        blocks: usize,
    },
    /// Application layer feedback (RFC 4585 §6.4).
    ApplicationFeedback {
        /// SSRC of the stream.
        ssrc: u32,
        /// The content.
        payload: Vec<u8>,
    },
}

/// Reception of one of our streams (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceptionReport {
    /// SSRC of the stream.
    pub ssrc: u32,
    /// Fraction of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Total number of packets lost, in 24 bits.
    pub packets_lost: u32,
    /// The highest sequence number received, extended above 16 bits.
    pub highest_sequence: u32,
    /// Interarrival jitter, in ticks of the stream's clock.
    pub jitter: u32,
}

impl fmt::Display for RtcpPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SenderReport {
                ssrc,
                rtp_timestamp,
                packets,
                bytes,
                reports,
                ..
            } => {
                write!(
                    f,
                    "sender report of {ssrc:08x}: timestamp {rtp_timestamp}, {packets} packets, {bytes} bytes"
                )?;
                reports.iter().try_for_each(|r| write!(f, "; {r}"))
            }
            Self::ReceiverReport { ssrc, reports } => {
                write!(f, "receiver report of {ssrc:08x}")?;
                reports.iter().try_for_each(|r| write!(f, "; {r}"))
            }
            Self::SourceDescription { ssrcs } => write!(f, "source description of {}", Hex(ssrcs)),
            Self::Goodbye { ssrcs } => write!(f, "goodbye of {}", Hex(ssrcs)),
            Self::Nack { ssrc, missing } => write!(f, "NACK of {ssrc:08x}: {missing:?}"),
            Self::PictureLoss { ssrc } => write!(f, "picture loss of {ssrc:08x}"),
            Self::FullIntraRequest { ssrcs } => write!(f, "full intra request of {}", Hex(ssrcs)),
            Self::TransportCc {
                base_sequence,
                packets,
            } => write!(
                f,
                "transport-wide feedback on {packets} packets from {base_sequence}"
            ),
            Self::Remb { bits_per_second } => {
                write!(
                    f,
                    "receiver takes at most {} kbit/s",
                    bits_per_second / 1000
                )
            }
            Self::ExtendedReport { ssrc, blocks } => {
                write!(f, "extended report of {ssrc:08x}: {blocks} blocks")
            }
            Self::ApplicationFeedback { ssrc, payload } => {
                write!(
                    f,
                    "application feedback on {ssrc:08x}: {} bytes",
                    payload.len()
                )
            }
        }
    }
}

impl fmt::Display for ReceptionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:08x} lost {:.1} % lately, {} in all, jitter {}",
            self.ssrc,
            f32::from(self.fraction_lost) / 2.56,
            self.packets_lost,
            self.jitter
        )
    }
}

struct Hex<'a>(&'a [u32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, ssrc) in self.0.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{ssrc:08x}")?;
        }
        Ok(())
    }
}

/// Iterates over a number and those after it whose bit is set in the mask (RFC 4585 §6.2.1).
pub(in super::super) fn missing(first: u16, mask: u16) -> impl Iterator<Item = u16> {
    let others = (0..16).filter(move |bit| mask & (1 << bit) != 0);
    std::iter::once(first).chain(others.map(move |bit| first.wrapping_add(bit + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing() {
        let all: Vec<u16> = missing(65_535, 0b1000_0000_0000_0101).collect();
        assert_eq!(all, [65_535, 0, 2, 15]);
        let nack = RtcpPacket::Nack {
            ssrc: 1,
            missing: all,
        };
        assert_eq!(nack.to_string(), "NACK of 00000001: [65535, 0, 2, 15]");
    }
}
