//! Statistics of a stream received over UDP, for receiver reports (RFC 3550 §6.4.2, appendices A.1 and A.3).

use std::time::Instant;

const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;

/// Reception statistics of one stream. A new SSRC starts them anew.
#[derive(Debug, Default)]
pub(super) struct Reception {
    source: Option<Source>,
}

#[derive(Debug)]
struct Source {
    ssrc: u32,
    first: u32,
    /// Highest sequence number, with the number of wraps in the upper half.
    highest: u32,
    received: u32,
    expected_before: u32,
    received_before: u32,
    /// Interarrival jitter times 16, in units of the RTP clock.
    jitter: u32,
    transit: Option<u32>,
    /// Middle of the NTP time of the last sender report, and when it arrived.
    report: Option<(u32, Instant)>,
}

impl Reception {
    /// Takes an RTP packet; anything else is ignored. `clock` is the time in units of the RTP clock.
    pub fn on_rtp(&mut self, packet: &[u8], clock: u32) {
        let [first, _, s1, s0, t3, t2, t1, t0, a, b, c, d, ..] = *packet else {
            return;
        };
        if first >> 6 != 2 {
            return;
        }
        let sequence = u16::from_be_bytes([s1, s0]);
        let ssrc = u32::from_be_bytes([a, b, c, d]);
        let source = match &mut self.source {
            Some(source) if source.ssrc == ssrc => source,
            other => other.insert(Source::new(ssrc, sequence)),
        };
        // The low half of the highest number so far.
        let ahead = sequence.wrapping_sub(source.highest as u16);
        if ahead < 0x8000 {
            source.highest = source.highest.wrapping_add(u32::from(ahead));
        }
        source.received = source.received.wrapping_add(1);
        let transit = clock.wrapping_sub(u32::from_be_bytes([t3, t2, t1, t0]));
        if let Some(before) = source.transit.replace(transit) {
            let difference = (transit.wrapping_sub(before) as i32)
                .unsigned_abs()
                .min(1 << 24);
            let decay = (source.jitter + 8) >> 4;
            source.jitter = (source.jitter + difference).saturating_sub(decay);
        }
    }

    /// Takes an RTCP packet: remembers a sender report that it begins with.
    pub fn on_rtcp(&mut self, packet: &[u8], now: Instant) {
        let [_, 200, _, _, a, b, c, d, _, _, n3, n2, n1, n0, ..] = *packet else {
            return;
        };
        let ssrc = u32::from_be_bytes([a, b, c, d]);
        if let Some(source) = self.source.as_mut().filter(|s| s.ssrc == ssrc) {
            source.report = Some((u32::from_be_bytes([n3, n2, n1, n0]), now));
        }
    }

    /// Writes a compound packet: a receiver report and a CNAME.
    pub fn report(&mut self, own: u32, now: Instant) -> Vec<u8> {
        let block = self.source.as_mut().map(|source| source.block(now));
        let mut packet = match &block {
            Some(_) => vec![0x81, RECEIVER_REPORT, 0, 7],
            None => vec![0x80, RECEIVER_REPORT, 0, 1],
        };
        packet.extend(own.to_be_bytes());
        packet.extend(block.into_iter().flatten());
        // A CNAME of one character (RFC 3550 §6.5.1), the end of the list, and padding.
        packet.extend([0x81, SOURCE_DESCRIPTION, 0, 2]);
        packet.extend(own.to_be_bytes());
        packet.extend([1, 1, b'-', 0]);
        packet
    }
}

impl Source {
    fn new(ssrc: u32, sequence: u16) -> Self {
        Self {
            ssrc,
            first: u32::from(sequence),
            highest: u32::from(sequence),
            received: 0,
            expected_before: 0,
            received_before: 0,
            jitter: 0,
            transit: None,
            report: None,
        }
    }

    fn block(&mut self, now: Instant) -> [u8; 24] {
        let expected = self.highest.wrapping_sub(self.first).wrapping_add(1);
        let lost = expected.wrapping_sub(self.received) as i32;
        let interval = expected.wrapping_sub(self.expected_before);
        let received = self.received.wrapping_sub(self.received_before);
        (self.expected_before, self.received_before) = (expected, self.received);
        let fraction = match interval.checked_sub(received) {
            // At most 255 of 256.
            Some(lost) if interval > 0 => {
                (u64::from(lost) * 256 / u64::from(interval)).min(255) as u8
            }
            _ => 0,
        };
        let (last, delay) = match self.report {
            Some((middle, at)) => {
                let delay = now.saturating_duration_since(at).as_secs_f64() * 65_536.0;
                // Saturates; the time since a report is seconds.
                (middle, delay as u32)
            }
            None => (0, 0),
        };
        let mut block = [0; 24];
        let words = [
            self.ssrc,
            u32::from(fraction) << 24 | (lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff),
            self.highest,
            self.jitter >> 4,
            last,
            delay,
        ];
        for (place, word) in block.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn packet(sequence: u16, timestamp: u32) -> Vec<u8> {
        let packet = crate::proto::rtp::Packet::new(96, sequence, timestamp, 7, &[1]);
        packet.to_bytes().unwrap()
    }

    #[test]
    fn losses_and_wraps_are_reported() {
        let now = Instant::now();
        let mut reception = Reception::default();
        assert_eq!(reception.report(1, now).len(), 8 + 12);
        for sequence in [65_534, 65_535, 1, 2] {
            reception.on_rtp(&packet(sequence, 0), 0);
        }
        let report = reception.report(1, now + Duration::from_secs(1));
        assert_eq!(report.len(), 32 + 12);
        assert_eq!(report[8..12], 7u32.to_be_bytes());
        // One of five is lost: 51 of 256.
        assert_eq!(report[12..16], [51, 0, 0, 1]);
        assert_eq!(report[16..20], 65_538u32.to_be_bytes());
        // Nothing since.
        let report = reception.report(1, now);
        assert_eq!(report[12..16], [0, 0, 0, 1]);
        reception.on_rtcp(&[0x80, 200, 0, 6, 0, 0, 0, 7, 0, 0, 1, 2, 3, 4, 0, 0], now);
        let report = reception.report(1, now + Duration::from_secs(2));
        assert_eq!(report[24..32], [1, 2, 3, 4, 0, 2, 0, 0]);
        reception.on_rtp(&[0x80, 1], 0);
    }
}
