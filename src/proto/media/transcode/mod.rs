//! Audio transcoding: what cameras send to what browsers play over WebRTC.
//!
//! Browsers decode G.711 (8 kHz, mono), G.722 (16 kHz, mono) and Opus over WebRTC. Cameras also send AAC, G.711 at other
//! rates and plain samples. [`AudioTranscoder`] decodes these, mixes channels, converts the rate, and encodes G.711 or
//! G.722 in frames of 20 ms:
//!
//! ```
//! # use looprtc::proto::media::{Codec, transcode::{AudioFormat, AudioTranscoder}};
//! # use std::time::Duration;
//! let camera = AudioFormat::Pcma { clock_rate: 16_000, channels: 1 };
//! let mut transcoder = AudioTranscoder::for_browsers(&camera)?;
//! assert_eq!(transcoder.codec(), Codec::G722);
//! // A unit of 40 ms, and when it is to be heard.
//! let frames = transcoder.push(&[0xD5; 640], Duration::from_secs(5))?;
//! assert_eq!(frames[0].time, Duration::from_secs(5));
//! assert_eq!(frames[0].data.len(), 160);
//! # Ok::<(), looprtc::proto::media::transcode::TranscodeError>(())
//! ```
//!
//! Times of frames follow the times of the units, so that audio stays with the video: small differences are made up for by
//! single samples, larger ones by a gap.

use std::fmt;
use std::time::Duration;

use super::{AacConfig, Codec};

#[cfg(feature = "aac")]
mod aac;
mod framer;
mod g711;
mod g722;
mod resample;
#[cfg(test)]
mod tests;

use framer::{Framer, Placed};
use g711::Law;
use g722::G722Encoder;

/// Maximum size of a unit of G.711 or plain samples, in bytes: 64 KiB, 0.3 s of 48 kHz stereo.
pub const MAX_UNIT: usize = 64 << 10;

/// Number of damaged units in a row after which a transcoder gives up.
pub const MAX_DAMAGED: u32 = 250;

/// Range of accepted sample rates, in Hz.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// An audio format that browsers do not play over WebRTC, or only in some of its variants.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AudioFormat {
    /// G.711 µ-law.
    Pcmu {
        /// Sample rate in Hz. Browsers play 8000.
        clock_rate: u32,
        /// Number of channels, interleaved. Browsers play 1.
        channels: u8,
    },
    /// G.711 A-law.
    Pcma {
        /// Sample rate in Hz. Browsers play 8000.
        clock_rate: u32,
        /// Number of channels, interleaved. Browsers play 1.
        channels: u8,
    },
    /// 16-bit samples (RFC 3551 §4.5.11).
    L16 {
        /// Sample rate in Hz.
        clock_rate: u32,
        /// Number of channels, interleaved.
        channels: u8,
        /// Byte order: the RFC demands big endian, some cameras send little endian.
        big_endian: bool,
    },
    /// AAC-LC as access units without ADTS headers. Of HE-AAC, the core is decoded: half the bandwidth. Needs the feature
    /// `aac`.
    Aac {
        /// The configuration, `config=` in SDP.
        config: AacConfig,
    },
}

impl AudioFormat {
    /// Returns the codec of WebRTC to transcode to: G.711 if the format has no more than its bandwidth, otherwise G.722.
    pub fn browser_codec(&self) -> Codec {
        let rate = match self {
            Self::Pcma { clock_rate, .. } if *clock_rate <= 8_000 => return Codec::Pcma,
            Self::Pcmu { clock_rate, .. }
            | Self::Pcma { clock_rate, .. }
            | Self::L16 { clock_rate, .. } => *clock_rate,
            Self::Aac { config } => config.sample_rate,
        };
        if rate <= 8_000 {
            Codec::Pcmu
        } else {
            Codec::G722
        }
    }

    /// Returns the codec if browsers play this format as it is.
    pub fn played_as_is(&self) -> Option<Codec> {
        match self {
            Self::Pcmu {
                clock_rate: 8_000,
                channels: 1,
            } => Some(Codec::Pcmu),
            Self::Pcma {
                clock_rate: 8_000,
                channels: 1,
            } => Some(Codec::Pcma),
            _ => None,
        }
    }
}

/// A frame of transcoded audio.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TranscodedFrame {
    /// Presentation time of the first sample, on the timeline of the units. Frames are 20 ms apart, more after a gap, and
    /// never less.
    pub time: Duration,
    /// The encoded data: 160 bytes.
    pub data: Vec<u8>,
    /// Set if there is a gap before this frame. Also set for the first frame.
    pub discontinuity: bool,
}

/// Counters of a transcoder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TranscodeStats {
    /// Number of frames returned.
    pub frames: u64,
    /// Number of units that could not be decoded.
    pub damaged: u64,
    /// Number of gaps between units that were passed on as gaps.
    pub gaps: u64,
    /// Number of units that were dropped because their time had been filled already.
    pub overlapping: u64,
}

/// Decodes audio of one format and encodes it as G.711 or G.722. See the [module documentation](self).
///
/// Memory: some 100 KiB with the decoder's tables; it does not grow. Work is linear in the unit: 1 ms of processor time or
/// less for a second of audio on a current machine.
#[derive(Debug)]
pub struct AudioTranscoder {
    decoder: Decoder,
    channels: usize,
    framer: Framer,
    encoder: Encoder,
    codec: Codec,
    /// Mono samples of the latest unit.
    mono: Vec<f32>,
    stats: TranscodeStats,
    damaged_in_a_row: u32,
}

/// How a unit becomes samples.
#[derive(Debug)]
enum Decoder {
    G711(Law),
    BigEndian,
    LittleEndian,
    #[cfg(feature = "aac")]
    Aac(Box<aac::AacDecoder>),
    /// It has failed for good.
    Ended,
}

#[derive(Debug)]
enum Encoder {
    G711(Law),
    G722(Box<G722Encoder>),
}

impl AudioTranscoder {
    /// Creates a transcoder from a camera's format to a codec of WebRTC: [`Codec::Pcmu`], [`Codec::Pcma`] or
    /// [`Codec::G722`]. [`AudioFormat::browser_codec`] chooses the best one.
    ///
    /// Fails with [`TranscodeErrorKind::Unsupported`] if the format is not decoded, or the codec is not encoded here.
    pub fn new(from: &AudioFormat, to: Codec) -> Result<Self, TranscodeError> {
        let (decoder, rate, channels) = decoder(from)?;
        if !RATES.contains(&rate) || !(1..=8).contains(&channels) {
            let reason = format!("audio at {rate} Hz with {channels} channels");
            return Err(TranscodeError::new(TranscodeErrorKind::Unsupported, reason));
        }
        let (encoder, encoded_rate) = match to {
            Codec::Pcmu => (Encoder::G711(Law::Mu), 8_000),
            Codec::Pcma => (Encoder::G711(Law::A), 8_000),
            Codec::G722 => (Encoder::G722(Box::new(G722Encoder::new())), 16_000),
            _ => {
                let reason = format!("there is no encoder of {to}; there are PCMU, PCMA and G722");
                return Err(TranscodeError::new(TranscodeErrorKind::Unsupported, reason));
            }
        };
        let Some(framer) = Framer::new(rate, encoded_rate) else {
            let reason =
                format!("audio at {rate} Hz, which has too odd a ratio to {encoded_rate} Hz");
            return Err(TranscodeError::new(TranscodeErrorKind::Unsupported, reason));
        };
        Ok(Self {
            decoder,
            channels: usize::from(channels),
            framer,
            encoder,
            codec: to,
            mono: Vec::new(),
            stats: TranscodeStats::default(),
            damaged_in_a_row: 0,
        })
    }

    /// Creates a transcoder to the codec that [`AudioFormat::browser_codec`] chooses.
    pub fn for_browsers(from: &AudioFormat) -> Result<Self, TranscodeError> {
        Self::new(from, from.browser_codec())
    }

    /// Returns the codec of the frames.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Transcodes a unit (a packet's samples, an access unit) whose first sample is heard at `time`, and returns the frames
    /// that are complete. A unit of a few milliseconds may yield none.
    ///
    /// An error with [`TranscodeErrorKind::Damaged`] concerns this unit only: push the next one. After
    /// [`TranscodeErrorKind::Ended`] each call returns that error.
    pub fn push(
        &mut self,
        unit: &[u8],
        time: Duration,
    ) -> Result<Vec<TranscodedFrame>, TranscodeError> {
        self.mono.clear();
        match decode(&mut self.decoder, unit, self.channels, &mut self.mono) {
            Ok(()) => self.damaged_in_a_row = 0,
            Err(error) => return Err(self.failed(error)),
        }
        let mut frames = Vec::new();
        match self.framer.push(&self.mono, time, &mut frames) {
            Placed::Continued => {}
            Placed::Started => self.stats.gaps += u64::from(self.stats.frames > 0),
            Placed::Overlapped => self.stats.overlapping += 1,
        }
        self.stats.frames += frames.len() as u64;
        let encoded = frames.into_iter().map(|frame| TranscodedFrame {
            time: frame.time,
            data: self.encoder.encode(&frame.samples),
            discontinuity: frame.discontinuity,
        });
        Ok(encoded.collect())
    }

    /// Returns the counters.
    pub fn stats(&self) -> TranscodeStats {
        self.stats
    }

    fn failed(&mut self, error: TranscodeError) -> TranscodeError {
        self.stats.damaged += 1;
        self.damaged_in_a_row += 1;
        let error = match error.kind {
            TranscodeErrorKind::Damaged if self.damaged_in_a_row > MAX_DAMAGED => {
                TranscodeError::new(
                    TranscodeErrorKind::Ended,
                    format!("nothing but damaged audio, for example {}", error.reason),
                )
            }
            _ => error,
        };
        match (&mut self.decoder, error.kind) {
            (decoder, TranscodeErrorKind::Ended) => *decoder = Decoder::Ended,
            // What overlaps with a unit that is missing is not to be heard.
            #[cfg(feature = "aac")]
            (Decoder::Aac(decoder), _) => decoder.reset(),
            _ => {}
        }
        error
    }
}

/// Returns the decoder of a format, its sample rate and number of channels.
fn decoder(format: &AudioFormat) -> Result<(Decoder, u32, u8), TranscodeError> {
    Ok(match format {
        AudioFormat::Pcmu {
            clock_rate,
            channels,
        } => (Decoder::G711(Law::Mu), *clock_rate, *channels),
        AudioFormat::Pcma {
            clock_rate,
            channels,
        } => (Decoder::G711(Law::A), *clock_rate, *channels),
        AudioFormat::L16 {
            clock_rate,
            channels,
            big_endian,
        } => {
            let decoder = if *big_endian {
                Decoder::BigEndian
            } else {
                Decoder::LittleEndian
            };
            (decoder, *clock_rate, *channels)
        }
        AudioFormat::Aac { config } => (aac_decoder(config)?, config.sample_rate, config.channels),
    })
}

#[cfg(feature = "aac")]
fn aac_decoder(config: &AacConfig) -> Result<Decoder, TranscodeError> {
    Ok(Decoder::Aac(Box::new(aac::AacDecoder::new(config)?)))
}

#[cfg(not(feature = "aac"))]
fn aac_decoder(_: &AacConfig) -> Result<Decoder, TranscodeError> {
    let reason = "AAC, which this build (without the feature aac) does not decode";
    Err(TranscodeError::new(TranscodeErrorKind::Unsupported, reason))
}

/// Decodes a unit to mono samples between -32768 and 32767.
fn decode(
    decoder: &mut Decoder,
    unit: &[u8],
    channels: usize,
    mono: &mut Vec<f32>,
) -> Result<(), TranscodeError> {
    if unit.len() > MAX_UNIT {
        let reason = format!("an audio unit of {} bytes", unit.len());
        return Err(TranscodeError::new(TranscodeErrorKind::Damaged, reason));
    }
    let share = 1.0 / channels as f32;
    match decoder {
        Decoder::G711(law) => {
            let table = law.table();
            let sample = |code: &u8| f32::from(table[usize::from(*code)]);
            let mixed = |codes: &[u8]| codes.iter().map(sample).sum::<f32>() * share;
            mono.extend(unit.chunks_exact(channels).map(mixed));
        }
        Decoder::BigEndian => mix(unit, channels, i16::from_be_bytes, mono),
        Decoder::LittleEndian => mix(unit, channels, i16::from_le_bytes, mono),
        #[cfg(feature = "aac")]
        Decoder::Aac(decoder) => {
            // What is damaged may decode to anything.
            let sample = |sample: &f32| (sample * 32_768.0).clamp(-32_768.0, 32_767.0);
            let finite = |sample: f32| if sample.is_finite() { sample } else { 0.0 };
            let mixed = |samples: &[f32]| finite(samples.iter().map(sample).sum::<f32>() * share);
            mono.extend(decoder.decode(unit)?.chunks_exact(channels).map(mixed));
        }
        Decoder::Ended => {
            let reason = "the audio has ended because of an earlier error";
            return Err(TranscodeError::new(TranscodeErrorKind::Ended, reason));
        }
    }
    Ok(())
}

fn mix(unit: &[u8], channels: usize, sample: fn([u8; 2]) -> i16, mono: &mut Vec<f32>) {
    let share = 1.0 / channels as f32;
    let sample = |bytes: &[u8]| bytes.first_chunk().map_or(0.0, |b| f32::from(sample(*b)));
    let mixed = |bytes: &[u8]| bytes.chunks_exact(2).map(sample).sum::<f32>() * share;
    mono.extend(unit.chunks_exact(2 * channels).map(mixed));
}

impl Encoder {
    fn encode(&mut self, samples: &[i16]) -> Vec<u8> {
        match self {
            Self::G711(law) => samples.iter().map(|sample| law.encode(*sample)).collect(),
            Self::G722(encoder) => {
                let mut out = Vec::with_capacity(samples.len() / 2);
                encoder.encode(samples, &mut out);
                out
            }
        }
    }
}

/// Kind of a [`TranscodeError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TranscodeErrorKind {
    /// The format cannot be transcoded. The reason says what it is.
    Unsupported,
    /// This unit cannot be decoded; the next one may.
    Damaged,
    /// The decoder has failed, and is not used again.
    Ended,
}

/// Error of an [`AudioTranscoder`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TranscodeError {
    /// The kind of error.
    pub kind: TranscodeErrorKind,
    /// Description of the error.
    pub reason: String,
}

impl TranscodeError {
    fn new(kind: TranscodeErrorKind, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { kind, reason }
    }
}

impl fmt::Display for TranscodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for TranscodeError {}
