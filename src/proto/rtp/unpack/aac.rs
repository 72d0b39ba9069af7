//! AAC in RFC 3640, with headers of any size, and ADTS where cameras send it inside or instead (quirk 37).

use std::time::Instant;

use super::super::format::AacFormat;
use super::{Arrival, Out};
use crate::proto::media::AacConfig;
use crate::proto::media::aac_config::AdtsHeader;
use crate::proto::media::bits::Bits;

/// Maximum number of access units of a packet; further ones are dropped.
const MAX_UNITS: usize = 256;

/// Maximum size of an access unit, in bytes: 16 bits of size.
const MAX_UNIT: usize = 65_535;

/// Depacketizer of AAC.
#[derive(Debug)]
pub(super) struct AacUnpacker {
    format: AacFormat,
    clock_rate: u32,
    /// An access unit of which more is to come.
    partial: Option<Partial>,
    /// The beginning of an ADTS frame of which more is to come, with its timestamp and arrival.
    adts: Option<(Vec<u8>, u32, Instant)>,
}

#[derive(Debug)]
struct Partial {
    data: Vec<u8>,
    /// Its whole size, in bytes.
    size: usize,
    timestamp: u32,
    arrived: Instant,
}

/// The headers of a packet.
#[derive(Debug, Default)]
struct Headers {
    /// Size of each access unit in bytes, and its place in time, counted in access units from the first.
    units: Vec<(usize, u32)>,
    /// Where the first access unit begins.
    end: usize,
}

impl AacUnpacker {
    pub fn new(format: AacFormat, clock_rate: u32) -> Self {
        Self {
            format,
            clock_rate,
            partial: None,
            adts: None,
        }
    }

    pub fn config(&self) -> &AacConfig {
        &self.format.config
    }

    pub fn lose(&mut self) {
        self.partial = None;
        self.adts = None;
    }

    pub fn push(&mut self, payload: &[u8], arrival: Arrival, out: &mut Out) {
        if payload.is_empty() {
            return;
        }
        // As a length of headers, the sync word would be more than eight thousand bytes.
        if self.adts.is_some() || self.is_adts(payload) {
            out.stats.other_framing += 1;
            return self.push_adts(payload, arrival, out);
        }
        match self.headers(payload) {
            Some(headers) => self.push_units(payload, &headers, arrival, out),
            None => {
                self.partial = None;
                out.malformed();
            }
        }
    }

    /// Returns `true` if the payload begins with an ADTS frame, and not with AU headers.
    fn is_adts(&self, payload: &[u8]) -> bool {
        let bits = usize::from(u16::from_be_bytes(match payload {
            [a, b, ..] => [*a, *b],
            _ => return false,
        }));
        AdtsHeader::parse(payload).is_some() && bits.div_ceil(8) + 2 > payload.len()
    }

    /// Reads the AU header section (§3.2.1) and skips the auxiliary section (§3.2.2).
    fn headers(&self, payload: &[u8]) -> Option<Headers> {
        let fields = &self.format.header;
        let constant = usize::from(self.format.constant_size);
        let mut headers = Headers::default();
        let has_headers = [
            fields.size,
            fields.index,
            fields.index_delta,
            fields.cts_delta,
            fields.dts_delta,
            fields.random_access,
            fields.stream_state,
        ] != [0; 7];
        if has_headers {
            let (length, rest) = payload.split_first_chunk::<2>()?;
            let length = usize::from(u16::from_be_bytes(*length));
            let section = rest.get(..length.div_ceil(8))?;
            headers.end = 2 + section.len();
            self.read_headers(section, length, &mut headers)?;
        }
        if fields.auxiliary_size > 0 {
            let mut bits = Bits::new(payload.get(headers.end..)?);
            let size = bits.bits(fields.auxiliary_size.into())? as usize;
            headers.end += usize::from(fields.auxiliary_size)
                .checked_add(size)?
                .div_ceil(8);
        }
        let data = payload.len().checked_sub(headers.end)?;
        if fields.size == 0 {
            // Sizes are constant, or there is one access unit.
            let size = if constant > 0 { constant } else { data.max(1) };
            let indices: Vec<u32> = headers.units.iter().map(|(_, index)| *index).collect();
            let count = (data / size).clamp(1, MAX_UNITS) as u32;
            let index = |n: u32| indices.get(n as usize).copied().unwrap_or(n);
            headers.units = (0..count).map(|n| (size, index(n))).collect();
        }
        Some(headers)
    }

    fn read_headers(&self, section: &[u8], length: usize, headers: &mut Headers) -> Option<()> {
        let fields = &self.format.header;
        let mut bits = Bits::new(section);
        let mut index = 0u32;
        let mut left = length;
        while headers.units.len() < MAX_UNITS && left > 0 {
            let is_first = headers.units.is_empty();
            let width = if is_first {
                fields.index
            } else {
                fields.index_delta
            };
            let mut used = usize::from(fields.size) + usize::from(width);
            // Padding, which some cameras count.
            if used > left {
                break;
            }
            let size = bits.bits(fields.size.into())? as usize;
            let step = bits.bits(width.into())?;
            index = match is_first {
                true => 0,
                false => index.saturating_add(1).saturating_add(step),
            };
            for delta in [fields.cts_delta, fields.dts_delta] {
                if delta > 0 {
                    used += 1;
                    if bits.bit()? {
                        bits.skip(delta.into())?;
                        used += usize::from(delta);
                    }
                }
            }
            let rest = usize::from(fields.random_access) + usize::from(fields.stream_state);
            bits.skip(rest)?;
            used += rest;
            // All fields may be absent in all headers but the first.
            if used == 0 {
                break;
            }
            left = left.saturating_sub(used);
            headers.units.push((size, index));
        }
        Some(())
    }

    fn push_units(&mut self, payload: &[u8], headers: &Headers, arrival: Arrival, out: &mut Out) {
        let mut rest = payload.get(headers.end..).unwrap_or_default();
        if let Some(partial) = self.partial.take() {
            match headers.units[..] {
                // A fragment has one header, with the size of the whole (§3.1).
                [(size, _)] if size == partial.size && arrival.timestamp == partial.timestamp => {
                    return self.go_on(partial, rest, out);
                }
                _ => out.damage(),
            }
        }
        for (size, index) in &headers.units {
            let timestamp = arrival
                .timestamp
                .wrapping_add(index.wrapping_mul(self.ticks()));
            let Some((unit, after)) = rest.split_at_checked(*size) else {
                if headers.units.len() == 1 && !rest.is_empty() {
                    self.partial = Some(Partial {
                        data: rest.to_vec(),
                        size: *size,
                        timestamp,
                        arrived: arrival.at,
                    });
                } else {
                    out.malformed();
                }
                return;
            };
            rest = after;
            self.give_out(unit, timestamp, arrival.at, out);
        }
    }

    /// Appends a fragment.
    fn go_on(&mut self, mut partial: Partial, data: &[u8], out: &mut Out) {
        let missing = partial.size.saturating_sub(partial.data.len());
        partial.data.extend(data.iter().take(missing));
        if partial.data.len() == partial.size {
            self.give_out(&partial.data, partial.timestamp, partial.arrived, out);
        } else {
            self.partial = Some(partial);
        }
    }

    /// Takes frames with ADTS headers; the last one may go on in the next packet.
    fn push_adts(&mut self, payload: &[u8], arrival: Arrival, out: &mut Out) {
        let (mut timestamp, mut arrived) = (arrival.timestamp, arrival.at);
        let mut data = Vec::new();
        if let Some(partial) = self.adts.take() {
            (data, timestamp, arrived) = partial;
        }
        let begun_before = data.len();
        data.extend(payload);
        let mut at = 0;
        for _ in 0..MAX_UNITS {
            let rest = data.get(at..).unwrap_or_default();
            if rest.is_empty() {
                return;
            }
            let frame = match AdtsHeader::parse(rest) {
                Some(header) => rest.get(..header.frame),
                None if rest.len() < 7 && rest.first() == Some(&0xFF) => None,
                None => return out.malformed(),
            };
            let Some(frame) = frame else {
                self.adts = Some((rest.to_vec(), timestamp, arrived));
                return;
            };
            let end = at + frame.len();
            let frame = frame.to_vec();
            self.give_out(&frame, timestamp, arrived, out);
            // Which frame the timestamp of a packet belongs to, is said for the first that begins in it.
            timestamp =
                match at < begun_before && end >= begun_before && arrival.timestamp != timestamp {
                    true => arrival.timestamp,
                    false => timestamp.wrapping_add(self.ticks()),
                };
            arrived = arrival.at;
            at = end;
        }
    }

    /// Gives out an access unit, without ADTS header.
    fn give_out(&mut self, unit: &[u8], timestamp: u32, arrived: Instant, out: &mut Out) {
        let mut unit = unit;
        if let Some(header) = AdtsHeader::parse(unit)
            && header.frame == unit.len()
        {
            out.stats.other_framing += 1;
            unit = unit.get(header.header..).unwrap_or_default();
            // It is in the stream; what the description says may be a guess.
            let known = &self.format.config;
            if self.format.config_is_guessed
                && (known.sample_rate, known.channels)
                    != (header.config.sample_rate, header.config.channels)
            {
                self.format.config = header.config;
            }
        }
        if !unit.is_empty() && unit.len() <= MAX_UNIT {
            out.emit_data(unit, timestamp, arrived);
        }
    }

    /// Returns the duration of an access unit in ticks of the RTP clock.
    fn ticks(&self) -> u32 {
        let config = &self.format.config;
        ticks(config, self.clock_rate)
    }
}

/// Returns the duration of an access unit in ticks of an RTP clock.
pub(super) fn ticks(config: &AacConfig, clock_rate: u32) -> u32 {
    let ticks = u64::from(config.frame_length) * u64::from(clock_rate)
        / u64::from(config.sample_rate.max(1));
    u32::try_from(ticks).unwrap_or(u32::MAX)
}
