//! Ogg Opus (RFC 3533, RFC 7845).
//!
//! [`OggOpusReader`] gives the packets of the first Opus stream in a file; [`OggOpusWriter`] writes one.

mod page;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::OggOpusReader;
pub use writer::{OggOpusWriter, WriterConfig};

/// What the OpusHead packet says (RFC 7845 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpusHead {
    /// 1 or 2.
    pub channels: u8,
    /// Samples at 48 kHz that a player throws away at the beginning: what the decoder needs to settle.
    /// WebRTC receivers play them, so sound runs late by this (6.5 ms from libopus): see
    /// [`Reader::pre_skip`](super::Reader::pre_skip).
    pub pre_skip: u16,
    /// What it was recorded at, in Hz. Opus itself always counts at 48 kHz.
    pub input_sample_rate: u32,
    /// To be applied to the decoded sound, in 1/256 dB. WebRTC receivers do not know of it.
    pub output_gain: i16,
}

/// What the OpusTags packet says (RFC 7845 §5.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpusTags {
    /// Which encoder made it.
    pub vendor: String,
    /// `NAME=value`. Those beyond the first 64 KiB (cover pictures) are left out.
    pub comments: Vec<String>,
}

const HEAD_SIGNATURE: &[u8; 8] = b"OpusHead";
const TAGS_SIGNATURE: &[u8; 8] = b"OpusTags";

/// What is kept of the tags, in bytes.
const MAX_TAGS: usize = 64 << 10;
