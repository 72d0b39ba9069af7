//! RTP sender: packets of changing sources, sent as one continuous stream.

use std::time::{Duration, Instant, SystemTime};

use super::packet::{Packet, PacketError};
use super::rtcp::{SenderInfo, ntp_of, write_bye, write_sender_report};
use super::sdp_file::StreamDescription;

/// Interval of sender reports. RFC 3550 §6.2 has 5 s; players synchronize sooner with 1 s.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Weight of a packet in the clock estimate: a packet delayed by 100 ms moves it by 0.4 ms.
const SMOOTHING: f64 = 1.0 / 256.0;

/// Configuration of an [`RtpSender`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtpSenderConfig {
    /// SSRC of the outgoing stream.
    pub ssrc: u32,
    /// Payload type that the receiver expects: 0 to 127.
    pub payload_type: u8,
    /// RTP clock rate, in Hz.
    pub clock_rate: u32,
    /// CNAME, shared by streams with the same clock so that players synchronize them (RFC 3550 §6.5.1). Default:
    /// `looprtc`.
    pub cname: String,
}

impl RtpSenderConfig {
    /// Creates a configuration. Choose a random SSRC if several senders send to one receiver.
    pub fn new(ssrc: u32, payload_type: u8, clock_rate: u32) -> Self {
        Self {
            ssrc,
            payload_type,
            clock_rate: clock_rate.max(1),
            cname: "looprtc".into(),
        }
    }

    /// Creates a configuration for a stream of an SDP file. Its SSRC is its port number, which differs for each stream
    /// of a receiver; that is enough if nothing else sends there.
    pub fn for_stream(stream: &StreamDescription) -> Self {
        let ssrc = stream.address.port().into();
        Self::new(ssrc, stream.payload_type, stream.clock_rate)
    }

    /// Sets [`cname`](Self::cname).
    #[must_use]
    pub fn cname(mut self, cname: impl Into<String>) -> Self {
        self.cname = cname.into();
        self
    }
}

/// Writes one RTP stream and its sender reports. A new source continues the stream: sequence numbers and timestamps
/// follow those of the previous source.
#[derive(Debug)]
pub struct RtpSender {
    config: RtpSenderConfig,
    source: Option<Source>,
    packets: u32,
    bytes: u32,
    reported: Option<Instant>,
}

/// State of the current source.
#[derive(Debug)]
struct Source {
    ssrc: u32,
    /// Offset from the source's sequence numbers to those of the stream.
    sequence_offset: u16,
    timestamp_offset: u32,
    /// The highest sequence number sent, and its timestamp.
    sequence: u16,
    timestamp: u32,
    /// Average arrival time for this timestamp.
    at: Instant,
}

impl RtpSender {
    /// Creates a stream that has not sent anything.
    pub fn new(config: RtpSenderConfig) -> Self {
        Self {
            config,
            source: None,
            packets: 0,
            bytes: 0,
            reported: None,
        }
    }

    /// Returns the datagram for a packet that arrived at `received`. Payload type and SSRC are replaced by the
    /// stream's; a change of the packet's SSRC means a new source. Extension and contributing sources are removed:
    /// their meaning was negotiated elsewhere.
    ///
    /// # Errors
    ///
    /// Returns an error if the configured payload type is above 127.
    pub fn write(
        &mut self,
        packet: &Packet<'_>,
        received: Instant,
    ) -> Result<Vec<u8>, PacketError> {
        let rate = f64::from(self.config.clock_rate);
        let source = match &mut self.source {
            Some(source) if source.ssrc == packet.ssrc => source,
            before => before.insert(Source::after(before.as_ref(), packet, received, rate)),
        };
        let sequence_number = packet.sequence_number.wrapping_add(source.sequence_offset);
        let timestamp = packet.timestamp.wrapping_add(source.timestamp_offset);
        source.follow(sequence_number, timestamp, received, rate);
        let datagram = Packet::new(
            self.config.payload_type,
            sequence_number,
            timestamp,
            self.config.ssrc,
            packet.payload,
        );
        let datagram = Packet {
            marker: packet.marker,
            ..datagram
        }
        .to_bytes()?;
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(packet.payload.len() as u32);
        Ok(datagram)
    }

    /// Returns a sender report if one is due: after the first packet, then every second. Send it to the receiver's RTCP
    /// port; players need it to synchronize audio and video. `wallclock` is the current time of day.
    pub fn report(&mut self, now: Instant, wallclock: SystemTime) -> Option<Vec<u8>> {
        let is_due = self
            .reported
            .is_none_or(|at| now.saturating_duration_since(at) >= REPORT_INTERVAL);
        if !is_due {
            return None;
        }
        let info = self.info(now, wallclock)?;
        self.reported = Some(now);
        Some(write_sender_report(&info, &self.config.cname))
    }

    /// Returns the last compound packet with BYE; `None` if nothing was sent.
    pub fn bye(&mut self, now: Instant, wallclock: SystemTime) -> Option<Vec<u8>> {
        let info = self.info(now, wallclock)?;
        Some(write_bye(&info, &self.config.cname))
    }

    fn info(&self, now: Instant, wallclock: SystemTime) -> Option<SenderInfo> {
        let source = self.source.as_ref()?;
        let age = now.saturating_duration_since(source.at).as_secs_f64();
        let ticks = (age * f64::from(self.config.clock_rate)).round();
        Some(SenderInfo {
            ssrc: self.config.ssrc,
            ntp: ntp_of(wallclock),
            // The timestamp that a packet arriving now would have on average.
            rtp_timestamp: source.timestamp.wrapping_add(ticks as u32),
            packets: self.packets,
            bytes: self.bytes,
        })
    }
}

impl Source {
    /// Starts a source: continues the previous one, or keeps the packet's own numbers.
    fn after(before: Option<&Self>, packet: &Packet<'_>, received: Instant, rate: f64) -> Self {
        let (sequence, timestamp) = match before {
            None => (packet.sequence_number, packet.timestamp),
            Some(old) => {
                let gap = received.saturating_duration_since(old.at).as_secs_f64() * rate;
                // Timestamps must differ even if both packets arrive at once.
                let gap = (gap.round() as u32).max(1);
                (
                    old.sequence.wrapping_add(1),
                    old.timestamp.wrapping_add(gap),
                )
            }
        };
        Self {
            ssrc: packet.ssrc,
            sequence_offset: sequence.wrapping_sub(packet.sequence_number),
            timestamp_offset: timestamp.wrapping_sub(packet.timestamp),
            sequence,
            timestamp,
            at: received,
        }
    }

    /// Updates the state with this packet if it is the newest one.
    fn follow(&mut self, sequence: u16, timestamp: u32, received: Instant, rate: f64) {
        let ahead = sequence.wrapping_sub(self.sequence);
        if ahead == 0 || ahead > u16::MAX / 2 {
            return;
        }
        self.sequence = sequence;
        // B-frames go back in time slightly.
        let ticks = timestamp.wrapping_sub(self.timestamp) as i32;
        self.timestamp = timestamp;
        let step = f64::from(ticks) / rate;
        let expected = match Duration::try_from_secs_f64(step.abs()) {
            Ok(step) if ticks >= 0 => self.at.checked_add(step),
            Ok(step) => self.at.checked_sub(step),
            Err(_) => None,
        };
        let expected = expected.unwrap_or(received);
        let late = received.saturating_duration_since(expected);
        let early = expected.saturating_duration_since(received);
        // Far off: the source has paused, or its clock jumped.
        self.at = match late.max(early) > Duration::from_secs(1) {
            true => received,
            false => expected + late.mul_f64(SMOOTHING) - early.mul_f64(SMOOTHING),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::rtcp::{SenderPacket, read_rtcp};
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn write(
        sender: &mut RtpSender,
        ssrc: u32,
        sequence: u16,
        timestamp: u32,
        at: Instant,
    ) -> (u16, u32) {
        let packet = Packet {
            marker: true,
            extension: Some((0xbede, &[1, 2, 3, 4])),
            ..Packet::new(120, sequence, timestamp, ssrc, b"payload")
        };
        let bytes = sender.write(&packet, at).unwrap();
        let sent = Packet::parse(&bytes).unwrap();
        assert_eq!(
            (sent.payload_type, sent.ssrc, sent.payload),
            (96, 77, &b"payload"[..])
        );
        assert_eq!((sent.marker, sent.extension), (true, None));
        (sent.sequence_number, sent.timestamp)
    }

    #[test]
    fn sources_are_joined_without_a_seam() {
        let mut sender = RtpSender::new(RtpSenderConfig::new(77, 96, 1000));
        let t = Instant::now();
        assert_eq!(write(&mut sender, 1, 65_534, 5, t), (65_534, 5));
        assert_eq!(write(&mut sender, 1, 0, 105, t + ms(100)), (0, 105));
        // A late packet does not change the end.
        assert_eq!(write(&mut sender, 1, 65_535, 55, t + ms(101)), (65_535, 55));
        assert_eq!(
            write(&mut sender, 2, 900, 4_000_000_000, t + ms(600)),
            (1, 605)
        );
        assert_eq!(
            write(&mut sender, 2, 902, 4_000_000_010, t + ms(610)),
            (3, 615)
        );
        assert_eq!(write(&mut sender, 3, 1, 0, t + ms(610)), (4, 616));
    }

    #[test]
    fn reports_say_what_time_it_is() {
        let mut sender = RtpSender::new(RtpSenderConfig::new(77, 96, 90_000));
        let (t, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + ms(1_000_000_000));
        assert_eq!(sender.report(t, wall), None);
        assert_eq!(sender.bye(t, wall), None);
        let mut reports = Vec::new();
        for n in 0..100u32 {
            // Every tenth packet arrives 30 ms late; the wall clock is exact.
            let late = if n % 10 == 9 { 30 } else { 0 };
            let at = t + ms(u64::from(n) * 40 + late);
            write(&mut sender, 1, n as u16, n * 3600, at);
            let bytes = sender.report(at, wall + (at - t));
            reports.extend(bytes.into_iter().flat_map(|b| read_rtcp(&b)));
        }
        let infos: Vec<SenderInfo> = reports
            .iter()
            .filter_map(|r| match r {
                SenderPacket::SenderReport(info) => Some(*info),
                _ => None,
            })
            .collect();
        assert_eq!(infos.len(), 4, "{infos:?}");
        for info in infos {
            let elapsed = info.wallclock().unwrap().duration_since(wall).unwrap();
            let off = elapsed.as_secs_f64() - f64::from(info.rtp_timestamp) / 90_000.0;
            assert!(off.abs() < 0.004, "{off} s off");
            assert_eq!(info.bytes, 7 * info.packets);
        }
        let bye = read_rtcp(&sender.bye(t, wall).unwrap());
        assert_eq!(bye.last(), Some(&SenderPacket::Bye(vec![77])));
    }
}
