//! Ogg Opus (RFC 3533, RFC 7845).
//!
//! [`OggOpusReader`] returns the packets of the first Opus stream in a file; [`OggOpusWriter`] writes one.

mod page;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::OggOpusReader;
pub use writer::{OggOpusWriter, WriterConfig};

/// The OpusHead packet (RFC 7845 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpusHead {
    /// Number of channels: 1 or 2.
    pub channels: u8,
    /// Number of samples at 48 kHz that a player discards at the beginning, while the decoder settles. WebRTC receivers
    /// play them, so audio is late by this duration (6.5 ms from libopus): see
    /// [`Reader::pre_skip`](super::Reader::pre_skip).
    pub pre_skip: u16,
    /// Sample rate of the original recording, in Hz. Opus itself always counts at 48 kHz.
    pub input_sample_rate: u32,
    /// Gain to apply to the decoded audio, in 1/256 dB. WebRTC receivers ignore it.
    pub output_gain: i16,
}

/// The OpusTags packet (RFC 7845 §5.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpusTags {
    /// The encoder that wrote the file.
    pub vendor: String,
    /// Comments of the form `NAME=value`. Those beyond the first 64 KiB (cover pictures) are left out.
    pub comments: Vec<String>,
}

const HEAD_SIGNATURE: &[u8; 8] = b"OpusHead";
const TAGS_SIGNATURE: &[u8; 8] = b"OpusTags";

/// Maximum size of the tags kept, in bytes.
const MAX_TAGS: usize = 64 << 10;
