//! AAC-LC access units to samples, by `symphonia-codec-aac`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia_codec_aac::AacDecoder as Decoder;
use symphonia_core::codecs::audio::well_known::CODEC_ID_AAC;
use symphonia_core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia_core::packet::PacketRef;

use super::{TranscodeError, TranscodeErrorKind};
use crate::proto::media::AacConfig;

/// Maximum size of an access unit, in bytes: what the 13 bits of RFC 3640's and ADTS's lengths can say. The standard
/// allows 768 bytes a channel.
const MAX_UNIT: usize = 8191;

/// Decodes access units. Owns the boundary to the dependency: what it refuses, and that it may panic.
pub(super) struct AacDecoder {
    decoder: Decoder,
    /// Interleaved samples of the latest unit.
    samples: Vec<f32>,
}

impl std::fmt::Debug for AacDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AacDecoder").finish_non_exhaustive()
    }
}

impl AacDecoder {
    pub fn new(config: &AacConfig) -> Result<Self, TranscodeError> {
        let config = low_complexity(config)?;
        let mut parameters = AudioCodecParameters::new();
        parameters
            .for_codec(CODEC_ID_AAC)
            .with_extra_data(config.bytes.into_boxed_slice());
        let make = || Decoder::try_new(&parameters, &AudioDecoderOptions::default());
        let decoder = match catch_unwind(AssertUnwindSafe(make)) {
            Ok(Ok(decoder)) => decoder,
            Ok(Err(error)) => {
                let reason = format!("AAC that the decoder does not know: {error}");
                return Err(TranscodeError::new(TranscodeErrorKind::Unsupported, reason));
            }
            Err(_) => return Err(panicked()),
        };
        Ok(Self {
            decoder,
            samples: Vec::new(),
        })
    }

    /// Decodes an access unit: interleaved samples between -1 and 1. After a panic the decoder must not be used again.
    pub fn decode(&mut self, unit: &[u8]) -> Result<&[f32], TranscodeError> {
        self.samples.clear();
        if unit.is_empty() || unit.len() > MAX_UNIT {
            let reason = format!("an AAC unit of {} bytes", unit.len());
            return Err(TranscodeError::new(TranscodeErrorKind::Damaged, reason));
        }
        let samples = &mut self.samples;
        let decode = || {
            let packet = PacketRef::new(0, 0.into(), 1024u32.into(), unit);
            let decoded = self.decoder.decode_ref(&packet)?;
            decoded.copy_to_vec_interleaved(samples);
            Ok::<_, symphonia_core::errors::Error>(())
        };
        match catch_unwind(AssertUnwindSafe(decode)) {
            Ok(Ok(())) => Ok(&self.samples),
            Ok(Err(error)) => {
                let reason = format!("a damaged AAC unit: {error}");
                Err(TranscodeError::new(TranscodeErrorKind::Damaged, reason))
            }
            Err(_) => Err(panicked()),
        }
    }

    /// Forgets the overlap with the unit before.
    pub fn reset(&mut self) {
        self.decoder.reset();
    }
}

/// Returns the configuration of the AAC-LC that this stream has, as it is or as the core of HE-AAC. The decoder refuses the
/// latter's own configuration.
fn low_complexity(config: &AacConfig) -> Result<AacConfig, TranscodeError> {
    let unsupported = |reason: String| TranscodeError::new(TranscodeErrorKind::Unsupported, reason);
    let name = match config.object_type {
        // LC; HE-AAC, and its second version.
        2 | 5 | 29 => "",
        1 => "Main",
        3 => "SSR",
        4 => "LTP",
        17 => "ER LC",
        23 => "LD",
        _ => "unknown",
    };
    if !name.is_empty() {
        let reason = format!(
            "AAC of another kind than LC: {name}, object type {}",
            config.object_type
        );
        return Err(unsupported(reason));
    }
    if config.frame_length != 1024 {
        return Err(unsupported(format!(
            "AAC with {} samples a frame",
            config.frame_length
        )));
    }
    if !matches!(config.channels, 1 | 2) {
        return Err(unsupported(format!(
            "AAC with {} channels; one and two are decoded",
            config.channels
        )));
    }
    AacConfig::new(config.sample_rate, config.channels)
        .ok_or_else(|| unsupported(format!("AAC at {} Hz", config.sample_rate)))
}

fn panicked() -> TranscodeError {
    TranscodeError::new(
        TranscodeErrorKind::Ended,
        "AAC damaged beyond what the decoder can take; the stream goes on without audio",
    )
}
