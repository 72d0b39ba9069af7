//! The RTCP packets that plain RTP needs (RFC 3550 §6): sender reports, CNAME and BYE.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SENDER_REPORT: u8 = 200;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;

/// SDES item type of the CNAME.
const CNAME: u8 = 1;

/// Seconds from the NTP epoch (1900) to the Unix epoch (1970).
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// A packet of a compound packet, as far as plain RTP reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SenderPacket {
    /// A sender report: the sender's clocks and counters.
    SenderReport(SenderInfo),
    /// BYE: these SSRCs have ended; at most 31.
    Bye(Vec<u32>),
    /// Another packet type, whose content is ignored.
    Other(u8),
}

/// Sender information about one stream (§6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// The stream's SSRC.
    pub ssrc: u32,
    /// The sender's wall clock as an NTP timestamp: units of 2⁻³² seconds since 1900.
    pub ntp: u64,
    /// The RTP timestamp that corresponds to [`ntp`](Self::ntp).
    pub rtp_timestamp: u32,
    /// Number of packets sent so far; wraps.
    pub packets: u32,
    /// Number of payload bytes sent so far; wraps.
    pub bytes: u32,
}

impl SenderInfo {
    /// Returns [`ntp`](Self::ntp) as a time; `None` if it is before 1970, which means that the sender's clock is not
    /// set.
    pub fn wallclock(&self) -> Option<SystemTime> {
        let seconds = (self.ntp >> 32).checked_sub(NTP_TO_UNIX)?;
        let nanos = ((self.ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds) + Duration::from_nanos(nanos))
    }
}

/// Converts a time to an NTP timestamp; times before 1970 are raised to 1970.
pub(super) fn ntp_of(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (since.as_secs().wrapping_add(NTP_TO_UNIX) << 32) | fraction
}

/// Parses a compound packet. Stops at the first malformed packet.
pub(crate) fn read_rtcp(datagram: &[u8]) -> Vec<SenderPacket> {
    let mut packets = Vec::new();
    let mut rest = datagram;
    while let [first, kind, high, low, ..] = *rest {
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        let Some((packet, after)) = rest.split_at_checked(length) else {
            break;
        };
        if first >> 6 != 2 {
            break;
        }
        let body = &packet[4..];
        packets.push(match kind {
            SENDER_REPORT => match sender_info(body) {
                Some(info) => SenderPacket::SenderReport(info),
                None => break,
            },
            BYE => SenderPacket::Bye(words(body).take(usize::from(first & 31)).collect()),
            other => SenderPacket::Other(other),
        });
        rest = after;
    }
    packets
}

fn words(body: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let word = |chunk: &[u8]| chunk.iter().fold(0, |n, byte| n << 8 | u32::from(*byte));
    body.chunks_exact(4).map(word)
}

fn sender_info(body: &[u8]) -> Option<SenderInfo> {
    let mut words = words(body);
    Some(SenderInfo {
        ssrc: words.next()?,
        ntp: u64::from(words.next()?) << 32 | u64::from(words.next()?),
        rtp_timestamp: words.next()?,
        packets: words.next()?,
        bytes: words.next()?,
    })
}

/// Builds a compound packet with a sender report and the CNAME (§6.1 requires both). The CNAME is truncated to 255
/// bytes.
pub(super) fn write_sender_report(info: &SenderInfo, cname: &str) -> Vec<u8> {
    let mut out = vec![0x80, SENDER_REPORT, 0, 6];
    out.extend(info.ssrc.to_be_bytes());
    out.extend(info.ntp.to_be_bytes());
    for word in [info.rtp_timestamp, info.packets, info.bytes] {
        out.extend(word.to_be_bytes());
    }
    write_cname(info.ssrc, cname, &mut out);
    out
}

/// Builds the last compound packet: sender report, CNAME and BYE (§6.6).
pub(super) fn write_bye(info: &SenderInfo, cname: &str) -> Vec<u8> {
    let mut out = write_sender_report(info, cname);
    out.extend([0x81, BYE, 0, 1]);
    out.extend(info.ssrc.to_be_bytes());
    out
}

fn write_cname(ssrc: u32, cname: &str, out: &mut Vec<u8>) {
    let name = cname.get(..255).unwrap_or(cname);
    let name = name.as_bytes();
    let length = name.len().min(255);
    // The items and at least one zero that ends their list, padded to a multiple of four.
    let words = (2 + length) / 4 + 1;
    // At most 66.
    let [high, low] = (1 + words as u16).to_be_bytes();
    out.extend([0x81, SOURCE_DESCRIPTION, high, low]);
    out.extend(ssrc.to_be_bytes());
    out.extend([CNAME, length as u8]);
    out.extend(&name[..length]);
    out.extend(std::iter::repeat_n(0, 4 * words - 2 - length));
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: SenderInfo = SenderInfo {
        ssrc: 0x0102_0304,
        ntp: (NTP_TO_UNIX + 1) << 32 | 0x8000_0000,
        rtp_timestamp: 90_000,
        packets: 17,
        bytes: 20_000,
    };

    #[test]
    fn there_and_back() {
        for name in [
            "",
            "a",
            "ab",
            "abc",
            "looprtc@here",
            &"x".repeat(255),
            &"ü".repeat(200),
        ] {
            let bytes = write_bye(&INFO, name);
            assert_eq!(bytes.len() % 4, 0);
            assert!(super::super::is_rtcp(&bytes));
            let expected = [
                SenderPacket::SenderReport(INFO),
                SenderPacket::Other(SOURCE_DESCRIPTION),
                SenderPacket::Bye(vec![INFO.ssrc]),
            ];
            assert_eq!(read_rtcp(&bytes), expected, "{name}");
        }
    }

    #[test]
    fn clocks() {
        let time = UNIX_EPOCH + Duration::from_millis(1_500);
        assert_eq!(INFO.wallclock(), Some(time));
        assert_eq!(ntp_of(time), INFO.ntp);
        let unset = SenderInfo {
            ntp: 5 << 32,
            ..INFO
        };
        assert_eq!(unset.wallclock(), None);
    }

    #[test]
    fn damaged_ones() {
        let whole = write_bye(&INFO, "name");
        for length in 0..whole.len() {
            assert!(read_rtcp(&whole[..length]).len() < 3);
        }
        // A report shorter than its length field says.
        assert_eq!(read_rtcp(&[0x80, 200, 0, 1, 0, 0, 0, 1]), []);
        // A BYE whose count exceeds its sources.
        let bye = [0x9f, 203, 0, 1, 0, 0, 0, 1];
        assert_eq!(read_rtcp(&bye), [SenderPacket::Bye(vec![1])]);
        assert_eq!(read_rtcp(&[0x80, 203, 0, 0]), [SenderPacket::Bye(vec![])]);
    }
}
