//! A camera that plays: which packets are due, with which numbers and times.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::behaviour::{Behaviour, Reports, Timestamps, Video};
use super::describe::Stream;
use super::film::{self, Film, RATE};
use super::pack::{self, Payload};

/// Seconds between 1900 and 2026, for sender reports.
const WALL_CLOCK: u64 = 3_976_000_000;

/// Where a stream's packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// RTP on this channel, RTCP on the next one.
    Tcp(u8),
    /// To these two addresses.
    Udp { rtp: SocketAddr, rtcp: SocketAddr },
}

/// A stream that was set up, and its state.
#[derive(Debug)]
pub struct Lane {
    pub stream: Stream,
    /// Its number in the description.
    pub index: usize,
    pub way: Way,
    pub ssrc: u32,
    pub next_seq: u16,
    pub first_timestamp: u32,
    /// Number of pictures, or of packets' times of audio.
    pub units: u64,
    packets: u64,
    octets: u64,
    started: Option<Instant>,
    report_at: Option<Instant>,
}

/// A packet to send.
#[derive(Debug)]
pub struct Packet {
    pub is_rtcp: bool,
    pub contents: Vec<u8>,
}

/// A picture that has been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// Number, from 0.
    pub number: u64,
    /// Returns `true` if a decoder can start there.
    pub is_key: bool,
    /// When it was sent.
    pub at: Instant,
    /// Hash of its slices.
    pub fingerprint: u64,
}

impl Lane {
    pub fn new(stream: Stream, index: usize, way: Way, random: u64) -> Self {
        Self {
            stream,
            index,
            way,
            ssrc: random as u32,
            next_seq: (random >> 32) as u16,
            first_timestamp: (random >> 16) as u32,
            units: 0,
            packets: 0,
            octets: 0,
            started: None,
            report_at: None,
        }
    }

    /// Begins to play. Numbers may have been used up by early packets.
    pub fn start(&mut self, now: Instant) {
        self.started = Some(now);
        self.report_at = Some(now + Duration::from_millis(200));
    }

    /// Returns when the next packet is due.
    pub fn due(&self, behaviour: &Behaviour) -> Option<Instant> {
        let unit = self.unit_at(behaviour, self.units)?;
        Some(self.report_at.map_or(unit, |report| report.min(unit)))
    }

    fn unit_at(&self, behaviour: &Behaviour, number: u64) -> Option<Instant> {
        let started = self.started?;
        let nanos = match self.stream {
            Stream::Talk => return None,
            Stream::Video => number * 1_000_000_000 / RATE,
            Stream::Audio => {
                let (ticks, rate) = film::audio_clock(behaviour.media.audio)?;
                number * u64::from(ticks) * 1_000_000_000 / u64::from(rate)
            }
        };
        Some(started + Duration::from_nanos(nanos))
    }

    /// Returns what is due now. Pictures among it are told to `sent`.
    pub fn take(
        &mut self,
        behaviour: &Behaviour,
        film: &Film,
        now: Instant,
        sent: &mut impl FnMut(Picture),
    ) -> Vec<Packet> {
        let mut packets = Vec::new();
        if self.report_at.is_some_and(|at| at <= now) {
            self.report_at = Some(now + Duration::from_secs(1));
            packets.extend(self.report(behaviour, now));
        }
        // One at a time; whoever drives the camera comes back for the next one.
        if self
            .unit_at(behaviour, self.units)
            .is_some_and(|at| at <= now)
        {
            packets.extend(self.unit(behaviour, film, now, sent));
        }
        packets
    }

    /// Lets time pass without sending anything.
    pub fn skip(&mut self, behaviour: &Behaviour, now: Instant) {
        self.report_at = None;
        while self
            .unit_at(behaviour, self.units)
            .is_some_and(|at| at <= now)
        {
            self.units += 1;
        }
    }

    fn unit(
        &mut self,
        behaviour: &Behaviour,
        film: &Film,
        now: Instant,
        sent: &mut impl FnMut(Picture),
    ) -> Vec<Packet> {
        let number = self.units;
        self.units += 1;
        let payloads = match self.stream {
            Stream::Talk => return Vec::new(),
            Stream::Audio => sound(behaviour, number),
            Stream::Video => {
                let Some(unit) = film.unit(number) else {
                    return Vec::new();
                };
                sent(Picture {
                    number,
                    is_key: unit.is_key,
                    at: now,
                    fingerprint: unit.fingerprint(film.is_h265()),
                });
                let media = behaviour.media;
                match media.video {
                    Video::Jpeg => unit
                        .parts
                        .iter()
                        .map(|part| Payload {
                            content: part.clone(),
                            marker: true,
                        })
                        .collect(),
                    _ => pack::picture(
                        unit,
                        number,
                        film.is_h265(),
                        media.padding,
                        behaviour.packing,
                    ),
                }
            }
        };
        let timestamp = self.timestamp(behaviour, film, number);
        let payload_type = self.stream.payload_type(behaviour);
        let mut packets = Vec::new();
        for mut payload in payloads {
            payload.marker &= !behaviour.faults.endless;
            let packet = self.packet(payload_type, timestamp, payload);
            let drops = behaviour.faults.drops_each;
            if drops.is_some_and(|each| self.packets % each == each - 1) {
                continue;
            }
            packets.push(Packet {
                is_rtcp: false,
                contents: packet,
            });
        }
        packets
    }

    pub fn packet(&mut self, payload_type: u8, timestamp: u32, payload: Payload) -> Vec<u8> {
        let mut packet = vec![0x80, u8::from(payload.marker) << 7 | payload_type];
        packet.extend(self.next_seq.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(&payload.content);
        self.next_seq = self.next_seq.wrapping_add(1);
        self.packets += 1;
        self.octets += payload.content.len() as u64;
        packet
    }

    fn timestamp(&self, behaviour: &Behaviour, film: &Film, number: u64) -> u32 {
        let ticks = match self.stream {
            Stream::Audio | Stream::Talk => {
                let (ticks, _) = film::audio_clock(behaviour.media.audio).unwrap_or_default();
                number * u64::from(ticks)
            }
            Stream::Video => {
                let shown = film.unit(number).map_or(0, |unit| unit.shown_after);
                let number = number.saturating_add_signed(shown);
                let frame = 90_000 / RATE;
                match behaviour.clock.timestamps {
                    _ if behaviour.faults.endless => 0,
                    Timestamps::Proper | Timestamps::Wrap => number * frame,
                    Timestamps::Equal => number / 2 * 2 * frame,
                    Timestamps::Backwards if number % 10 == 9 => {
                        (number * frame).wrapping_sub(90_000)
                    }
                    Timestamps::Backwards => number * frame,
                    Timestamps::Jump if number >= 2 * RATE => number * frame + 3600 * 90_000,
                    Timestamps::Jump => number * frame,
                    Timestamps::Slow => number * 8_000 / RATE,
                }
            }
        };
        let first = match behaviour.clock.timestamps {
            Timestamps::Wrap => 0u32.wrapping_sub(90_000),
            _ => self.first_timestamp,
        };
        // RTP's timestamps wrap around.
        first.wrapping_add(ticks as u32)
    }

    fn rate(&self, behaviour: &Behaviour) -> u32 {
        match self.stream {
            Stream::Video => 90_000,
            _ => film::audio_clock(behaviour.media.audio).map_or(8_000, |(_, rate)| rate),
        }
    }

    /// A sender report and the name of the source (RFC 3550 §6.4.1, §6.5).
    pub fn report(&self, behaviour: &Behaviour, now: Instant) -> Option<Packet> {
        let elapsed = now.saturating_duration_since(self.started.unwrap_or(now));
        let (ssrc, since) = match behaviour.clock.reports {
            Reports::Absent => return None,
            Reports::Proper => (self.ssrc, WALL_CLOCK),
            Reports::Of1970 => (self.ssrc, 2_208_988_800),
            Reports::UnknownSsrc => (!self.ssrc, WALL_CLOCK),
        };
        let seconds = (since + elapsed.as_secs()) as u32;
        let fraction = (u64::from(elapsed.subsec_nanos()) << 32) / 1_000_000_000;
        let ticks = elapsed.as_nanos() * u128::from(self.rate(behaviour)) / 1_000_000_000;
        let mut packet = vec![0x80, 200, 0, 6];
        packet.extend(ssrc.to_be_bytes());
        packet.extend(seconds.to_be_bytes());
        packet.extend((fraction as u32).to_be_bytes());
        packet.extend(
            self.first_timestamp
                .wrapping_add(ticks as u32)
                .to_be_bytes(),
        );
        packet.extend((self.packets as u32).to_be_bytes());
        packet.extend((self.octets as u32).to_be_bytes());
        packet.extend([0x81, 202, 0, 3]);
        packet.extend(ssrc.to_be_bytes());
        packet.extend(*b"\x01\x03cam\0\0\0");
        Some(Packet {
            is_rtcp: true,
            contents: packet,
        })
    }
}

fn sound(behaviour: &Behaviour, number: u64) -> Vec<Payload> {
    let pieces = film::sound(behaviour.media.audio, number);
    let last = pieces.len().saturating_sub(1);
    let marked = pieces.into_iter().enumerate().map(|(at, content)| Payload {
        content,
        marker: at == last && matches!(behaviour.media.audio, super::behaviour::Audio::Aac(_)),
    });
    marked.collect()
}
