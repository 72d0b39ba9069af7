//! AAC in LATM (RFC 6416 §6): AudioMuxElements of ISO/IEC 14496-3 §1.7.3, with one program and one layer.
//!
//! Everything else that LATM can express (several programs, layers, other frame lengths) is refused: no camera sends it.

use std::time::Instant;

use super::{Arrival, Out, aac};
use crate::proto::media::AacConfig;
use crate::proto::media::bits::Bits;

/// Maximum size of an AudioMuxElement, in bytes.
const MAX_ELEMENT: usize = 65_536;

/// Depacketizer of LATM.
#[derive(Debug)]
pub(super) struct LatmUnpacker {
    mux: Option<StreamMux>,
    in_band: bool,
    clock_rate: u32,
    /// The element in progress; a marker ends it.
    element: Vec<u8>,
    begun: Option<(u32, Instant)>,
    is_damaged: bool,
}

/// Configuration of a multiplex (§1.7.3.1, StreamMuxConfig).
#[derive(Debug, Clone, PartialEq, Eq)]
struct StreamMux {
    config: AacConfig,
    /// Number of access units in an element.
    frames: usize,
}

impl StreamMux {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        // Version 1 states sizes in another way; nobody sends it.
        if bits.bit()? {
            return None;
        }
        let same_framing = bits.bit()?;
        let frames = bits.bits(6)? as usize + 1;
        let (programs, layers) = (bits.bits(4)?, bits.bits(3)?);
        if !same_framing || programs != 0 || layers != 0 {
            return None;
        }
        let before = bits.clone();
        let mut config = AacConfig::read(bits)?;
        config.bytes = copied(before, bits.position())?;
        // frameLengthType 0: sizes are in the element.
        if bits.bits(3)? != 0 {
            return None;
        }
        bits.skip(8)?; // latmBufferFullness
        if bits.bit()? {
            // Size of other data behind the access units, which is not looked at.
            while bits.bits(9)? & 0x100 != 0 {}
        }
        if bits.bit()? {
            bits.skip(8)?; // crcCheckSum
        }
        Some(Self { config, frames })
    }
}

/// Copies the bits up to a position, padded with zeros.
fn copied(mut bits: Bits<'_>, end: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while bits.position() < end {
        let count = (end - bits.position()).min(8) as u32;
        let byte = bits.bits(count)? << (8 - count);
        bytes.push(byte as u8);
    }
    Some(bytes)
}

impl LatmUnpacker {
    pub fn new(config: Option<&[u8]>, in_band: bool, clock_rate: u32) -> Self {
        // Some descriptions end with the AudioSpecificConfig inside; what is missing would be zeros.
        let whole = config.map(|config| [config, &[0; 4]].concat());
        Self {
            mux: whole.and_then(|config| StreamMux::read(&mut Bits::new(&config))),
            in_band,
            clock_rate,
            element: Vec::new(),
            begun: None,
            is_damaged: false,
        }
    }

    pub fn config(&self) -> Option<&AacConfig> {
        self.mux.as_ref().map(|mux| &mux.config)
    }

    pub fn lose(&mut self) {
        // Until a marker, it is not known where an element begins.
        self.is_damaged = true;
    }

    pub fn push(&mut self, payload: &[u8], arrival: Arrival, out: &mut Out) {
        if self
            .begun
            .is_some_and(|(timestamp, _)| timestamp != arrival.timestamp)
        {
            self.finish(out);
        }
        self.begun.get_or_insert((arrival.timestamp, arrival.at));
        if self.element.len() + payload.len() > MAX_ELEMENT {
            self.is_damaged = true;
            out.stats.oversized += 1;
            self.element.clear();
        } else {
            self.element.extend(payload);
        }
        if arrival.marker {
            self.finish(out);
        }
    }

    fn finish(&mut self, out: &mut Out) {
        let element = std::mem::take(&mut self.element);
        let Some((timestamp, arrived)) = self.begun.take() else {
            return;
        };
        if std::mem::take(&mut self.is_damaged) {
            return out.damage();
        }
        if !element.is_empty() && self.read(&element, timestamp, arrived, out).is_none() {
            out.malformed();
        }
    }

    /// Reads an AudioMuxElement.
    fn read(
        &mut self,
        element: &[u8],
        timestamp: u32,
        arrived: Instant,
        out: &mut Out,
    ) -> Option<()> {
        let mut bits = Bits::new(element);
        // useSameStreamMux
        if self.in_band && !bits.bit()? {
            self.mux = Some(StreamMux::read(&mut bits)?);
        }
        let mux = self.mux.as_ref()?;
        let ticks = aac::ticks(&mux.config, self.clock_rate);
        let mut timestamp = timestamp;
        for _ in 0..mux.frames {
            let mut size = 0usize;
            loop {
                let byte = bits.bits(8)?;
                size += byte as usize;
                if byte != 255 {
                    break;
                }
            }
            let begin = bits.position();
            let unit = match begin % 8 {
                0 => element.get(begin / 8..)?.get(..size)?.to_vec(),
                _ => copied(bits.clone(), begin.checked_add(8 * size)?)?,
            };
            bits.skip(8 * size)?;
            if !unit.is_empty() {
                out.emit_data(unit, timestamp, arrived);
            }
            timestamp = timestamp.wrapping_add(ticks);
        }
        Some(())
    }
}
