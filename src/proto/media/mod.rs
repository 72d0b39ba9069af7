//! Media outside of RTP: containers, pacing and the jitter buffer. Sans-IO, like all of `proto`.
//!
//! Readers are push parsers, so that a file, a pipe of unknown length and a fuzzer use the same code:
//!
//! ```
//! # use looprtc::proto::media::{ivf::{IvfReader, IvfWriter}, Codec, Limits, Timebase};
//! # let mut file = Vec::new();
//! # let mut writer = IvfWriter::new(Codec::Vp8, 16, 16, Timebase::new(1, 30).unwrap(), &mut file).unwrap();
//! # writer.write(std::time::Duration::ZERO, b"\x00frame", &mut file).unwrap();
//! let mut reader = IvfReader::new(Limits::default());
//! for chunk in file.chunks(7) {             // as read(2) returned them
//!     reader.feed(chunk)?;
//!     while let Some(frame) = reader.poll()? {
//!         println!("{:?} {} bytes", frame.time, frame.data.len());
//!     }
//! }
//! reader.finish();                          // end of file
//! while let Some(frame) = reader.poll()? { /* what was held back */ }
//! # Ok::<(), looprtc::proto::media::MediaError>(())
//! ```
//!
//! Everything complete before damaged data is returned; then [`MediaError`] describes the problem and its byte offset,
//! and every later `poll` returns it again. Writers append to a `Vec<u8>`; those with a length in their header also
//! return [`Patch`]es to apply if the output is seekable.

use std::fmt;
use std::time::Duration;

pub(crate) mod aac_config;
pub mod annexb;
pub(crate) mod bits;
mod codec;
pub(crate) mod h264;
pub(crate) mod h265;
mod input;
pub mod ivf;
pub(crate) mod jitter;
pub(crate) mod keyframe;
#[cfg(feature = "movies")]
pub mod movie;
pub mod ogg;
pub(crate) mod opus;
pub mod pacing;
pub(crate) mod payload;
mod picture;
mod reader;
pub mod recording;
mod start_codes;
pub mod transcode;
pub mod wav;

pub use aac_config::AacConfig;
pub use codec::Codec;
pub(crate) use codec::FileFormat;
pub use jitter::{JitterConfig, JitterStats, Release};
pub use reader::Reader;

/// An encoded frame: a video frame or an audio packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Presentation time from the start of the stream. Computed from the container's integers without accumulated
    /// rounding, so it is exact to a nanosecond in files of any length.
    pub time: Duration,
    /// Duration of the frame. If the container does not specify it (IVF), the interval before this frame; the time of
    /// the next frame is then decisive.
    pub duration: Duration,
    /// Set if a decoder can start with this frame. Always set for audio.
    pub keyframe: bool,
    /// Position of the frame, or of the container's header before it, in the input.
    pub offset: u64,
    /// The encoded data, in the form that the RTP packetizer expects.
    pub data: Vec<u8>,
}

impl Frame {
    /// Returns the time in ticks of an RTP clock, rounded to the nearest, without RTP's random offset. Wraps as RTP
    /// timestamps do.
    pub fn rtp_timestamp(&self, clock_rate: u32) -> u32 {
        ticks(self.time, clock_rate) as u32
    }
}

/// Converts a time to ticks of a clock, rounded to the nearest.
pub fn ticks(time: Duration, clock_rate: u32) -> u64 {
    let scaled = time.as_nanos() * u128::from(clock_rate) + 500_000_000;
    u64::try_from(scaled / 1_000_000_000).unwrap_or(u64::MAX)
}

/// Unit of a container's timestamps: a fraction of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timebase {
    numerator: u32,
    denominator: u32,
}

impl Timebase {
    /// Creates a timebase; `None` if either number is 0. `Timebase::new(1001, 30_000)` is one frame of NTSC video.
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        (numerator != 0 && denominator != 0).then_some(Self {
            numerator,
            denominator,
        })
    }

    /// Returns the numerator, in seconds.
    pub fn numerator(self) -> u32 {
        self.numerator
    }

    /// Returns the denominator.
    pub fn denominator(self) -> u32 {
        self.denominator
    }

    /// Converts units to a time, rounded down to a nanosecond. `None` beyond [`MAX_TIME`].
    pub fn time(self, units: u64) -> Option<Duration> {
        // 2^64 · 2^32 · 10^9 < 2^126
        let nanos = u128::from(units) * u128::from(self.numerator) * 1_000_000_000
            / u128::from(self.denominator);
        let time = Duration::from_nanos(u64::try_from(nanos).ok()?);
        (time <= MAX_TIME).then_some(time)
    }

    /// Converts a time to units, rounded to the nearest.
    pub fn units(self, time: Duration) -> u64 {
        let per = u128::from(self.numerator) * 1_000_000_000;
        let scaled = time.as_nanos() * u128::from(self.denominator) + per / 2;
        u64::try_from(scaled / per).unwrap_or(u64::MAX)
    }
}

/// Maximum media time, a hundred years; anything beyond is treated as damage.
pub const MAX_TIME: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Memory limits of a reader. The defaults are far above what a WebRTC sender can use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum size of a frame, in bytes. Default: 8 MiB.
    pub max_frame: usize,
    /// Maximum number of bytes fed and not yet polled; beyond it [`feed`](Reader::feed) refuses more. A single `feed`
    /// may be larger. Default: 16 MiB. Values below `max_frame` plus 64 KiB are raised to that.
    pub max_unread: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame: 8 << 20,
            max_unread: 16 << 20,
        }
    }
}

impl Limits {
    /// Sets [`max_frame`](Self::max_frame).
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.max_frame = bytes;
        self
    }

    /// Sets [`max_unread`](Self::max_unread).
    pub fn max_unread(mut self, bytes: usize) -> Self {
        self.max_unread = bytes;
        self
    }
}

/// Bytes to overwrite once a file is complete: lengths in a header, which stay unset in a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Position in the file.
    pub offset: u64,
    /// The new bytes.
    pub bytes: [u8; 4],
}

impl Patch {
    /// Applies the patch to a file in memory. Does nothing if the file is too short.
    pub fn apply(&self, file: &mut [u8]) {
        let start = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(self.bytes.len());
        if let Some(place) = file.get_mut(start..end) {
            place.copy_from_slice(&self.bytes);
        }
    }
}

/// Kind of a [`MediaError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaErrorKind {
    /// The data is in another format than expected.
    WrongFormat,
    /// The data is valid, but cannot be sent over WebRTC, or not by this crate. The reason says what to do instead.
    Unsupported,
    /// Frames are stored in another order than they are displayed in (B-frames).
    Reordered,
    /// The data violates the format.
    Damaged,
    /// The input ended in the middle of a structure.
    Truncated,
    /// A limit was exceeded.
    TooLarge,
    /// More bytes were fed than [`Limits::max_unread`] without polling. Nothing was consumed: poll, then feed again.
    Unread,
}

/// Error in a file or stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediaError {
    /// The kind of error.
    pub kind: MediaErrorKind,
    /// Byte position of the error in the input or, for a writer, in the output.
    pub offset: u64,
    /// Description of the error.
    pub reason: String,
}

impl MediaError {
    pub(crate) fn new(kind: MediaErrorKind, offset: u64, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self {
            kind,
            offset,
            reason,
        }
    }
}

impl fmt::Display for MediaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for MediaError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntsc_does_not_drift() {
        let base = Timebase::new(1001, 30_000).unwrap();
        // Ten hours; summing a rounded 33.366666 ms would be off by 0.7 ms here, summing 33 ms by 13 s.
        let frames = 10 * 3600 * 30_000 / 1001;
        for n in [0, 1, 2, 3, 1_000_003, frames] {
            let time = base.time(n).unwrap();
            assert_eq!(ticks(time, 90_000), n * 3003);
            assert_eq!(base.units(time), n);
        }
    }

    #[test]
    fn no_overflow() {
        let base = Timebase::new(u32::MAX, 1).unwrap();
        assert_eq!(base.time(u64::MAX), None);
        assert_eq!(base.units(Duration::MAX), 4294967297);
        assert_eq!(
            Timebase::new(1, u32::MAX).unwrap().units(Duration::MAX),
            u64::MAX
        );
        assert_eq!(ticks(Duration::MAX, u32::MAX), u64::MAX);
        assert_eq!(Timebase::new(0, 1), None);
        assert_eq!(Timebase::new(1, 0), None);
    }
}
