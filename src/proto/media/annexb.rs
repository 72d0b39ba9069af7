//! H.264 and H.265 byte streams (ITU-T H.264 and H.265, Annex B): NAL units separated by start codes, without lengths
//! or times.
//!
//! A NAL unit ends where the next start code begins, so the last access unit from a pipe is known to be complete only
//! when the next one begins: one frame of delay. [`AnnexBReader::flush`] avoids it.

use std::time::Duration;

use super::input::Input;
use super::start_codes::find_start_code;
pub use super::start_codes::units;
use super::{Codec, Frame, Limits, MediaError, MediaErrorKind, Timebase};

mod state;
#[cfg(test)]
mod tests;

use state::{Role, State};

pub(super) const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Maximum total size of the parameter sets kept for repetition, in bytes. Larger ones are treated as damage.
pub const MAX_PARAMETER_SETS: usize = 64 << 10;

/// Frame time assumed when neither the caller nor the stream specifies one: 1/30 s.
pub const ASSUMED_FRAME_TIME: (u32, u32) = (1, 30);

/// Reads an H.264 or H.265 byte stream into access units.
///
/// - Frames are in Annex B form, with start codes of 4 bytes and emulation prevention bytes.
/// - Access unit delimiters and filler data are removed: they have no use over RTP.
/// - Parameter sets are kept and inserted before each keyframe that comes without them.
/// - Data before the first parameter sets cannot be decoded and is skipped; see [`skipped`](Self::skipped).
/// - A stream whose frames are stored in another order than they are displayed in (B-frames) ends with
///   [`MediaErrorKind::Reordered`]: WebRTC receivers display frames in the order of arrival.
/// - A stream that is cut off inside a NAL unit cannot be distinguished from a complete one.
#[derive(Debug)]
pub struct AnnexBReader {
    input: Input,
    max_frame: usize,
    state: State,
    clock: Clock,
    unit: AccessUnit,
    /// Up to this position, relative to the first unread byte, there is no start code.
    scanned: usize,
    position: Position,
    error: Option<MediaError>,
    skipped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// Before the first start code; only zeros are allowed.
    Beginning,
    /// Behind a start code.
    InUnit,
    /// After a flush: remaining bytes of the last NAL unit are discarded.
    Flushed,
}

/// The access unit being assembled.
#[derive(Debug, Default)]
struct AccessUnit {
    data: Vec<u8>,
    offset: u64,
    keyframe: bool,
    /// Set once it contains a slice; the next parameter set or delimiter then starts a new access unit.
    has_picture: bool,
    /// Set if it cannot be decoded because its parameter sets are missing.
    orphan: bool,
    /// The parameter sets it contains.
    sets: Vec<(u8, u8)>,
}

impl AnnexBReader {
    /// Creates a reader for [`Codec::H264`] or [`Codec::H265`]; `None` for other codecs.
    pub fn new(codec: Codec, limits: Limits) -> Option<Self> {
        Some(Self {
            input: Input::new(&limits),
            max_frame: limits.max_frame,
            state: State::new(codec)?,
            clock: Clock::default(),
            unit: AccessUnit::default(),
            scanned: 0,
            position: Position::Beginning,
            error: None,
            skipped: 0,
        })
    }

    /// Sets the frame time, overriding the stream's: streams of many cameras contain none, and [`ASSUMED_FRAME_TIME`]
    /// is used then.
    pub fn frame_time(mut self, time: Timebase) -> Self {
        self.clock.forced = Some(time);
        self
    }

    /// Adds input. Call [`poll`](Self::poll) until it returns `None` after each call; see [`Limits::max_unread`].
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        self.input.feed(bytes)
    }

    /// Marks the end of the input.
    pub fn finish(&mut self) {
        self.input.finish();
    }

    /// Returns the next access unit. `None` means that more input is needed or, after [`finish`](Self::finish), the
    /// end.
    pub fn poll(&mut self) -> Result<Option<Frame>, MediaError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let result = self.next();
        if let Err(error) = &result {
            self.error = Some(error.clone());
        }
        result
    }

    /// Treats the input so far as complete and returns the pending access unit, if any. For live pipes: when the
    /// encoder has written a frame and nothing has followed for a few milliseconds, this avoids waiting for the next
    /// frame. Later bytes of the same NAL unit are discarded and counted as [`skipped`](Self::skipped).
    pub fn flush(&mut self) -> Result<Option<Frame>, MediaError> {
        if let Some(frame) = self.poll()? {
            return Ok(Some(frame));
        }
        if self.position == Position::InUnit {
            let end = self.input.unread().len();
            let frame = self.take_unit(end, end)?;
            self.position = Position::Flushed;
            if frame.is_some() {
                return Ok(frame);
            }
        }
        Ok(self.complete())
    }

    /// Returns the codec of the stream.
    pub fn codec(&self) -> Codec {
        self.state.codec()
    }

    /// Returns the latest sequence parameter set of an H.264 stream.
    pub fn h264_sps(&self) -> Option<&super::h264::Sps> {
        self.state.h264_sps()
    }

    /// Returns the latest sequence parameter set of an H.265 stream.
    pub fn h265_sps(&self) -> Option<&super::h265::Sps> {
        self.state.h265_sps()
    }

    /// Returns the number of access units skipped because their parameter sets were missing, plus fragments discarded
    /// after a [`flush`](Self::flush).
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    fn next(&mut self) -> Result<Option<Frame>, MediaError> {
        if self.position != Position::InUnit && !self.find_first()? {
            return Ok(None);
        }
        loop {
            let bytes = self.input.unread();
            let frame = match find_start_code(bytes, self.scanned) {
                Some(at) => self.take_unit(at, at + 3)?,
                None if self.input.is_finished() => {
                    let end = bytes.len();
                    let frame = self.take_unit(end, end)?;
                    if frame.is_none() && self.input.unread().is_empty() {
                        return Ok(self.complete());
                    }
                    frame
                }
                None => {
                    self.scanned = bytes.len().saturating_sub(2);
                    if bytes.len() > self.max_frame {
                        return Err(self.too_large());
                    }
                    return Ok(None);
                }
            };
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }

    /// Skips to the first NAL unit, past its start code.
    fn find_first(&mut self) -> Result<bool, MediaError> {
        let bytes = self.input.unread();
        let start = find_start_code(bytes, 0);
        let before = bytes
            .get(..start.unwrap_or(bytes.len()))
            .unwrap_or_default();
        let garbage = before.iter().position(|byte| *byte != 0);
        // Only the zeros of an incomplete start code are there.
        if let Some(at) = garbage {
            if self.position == Position::Beginning {
                let offset = self.input.offset() + at as u64;
                let reason = format!(
                    "no {} byte stream: no start code at its beginning",
                    self.codec()
                );
                return Err(MediaError::new(MediaErrorKind::WrongFormat, offset, reason));
            }
            if start.is_some() {
                self.skipped += 1;
            }
        }
        match start {
            Some(at) => {
                self.input.consume(at + 3);
                self.scanned = 0;
                self.position = Position::InUnit;
                Ok(true)
            }
            None => {
                // Keeps two zeros that may begin a start code.
                self.input.consume(bytes.len().saturating_sub(2));
                Ok(false)
            }
        }
    }

    /// Takes the NAL unit of `end` bytes and consumes `consume` bytes. Returns the previous access unit if this NAL
    /// unit starts a new one.
    fn take_unit(&mut self, end: usize, consume: usize) -> Result<Option<Frame>, MediaError> {
        let bytes = self.input.unread().get(..end).unwrap_or_default();
        // Removes trailing_zero_8bits and the first zero of a 4-byte start code.
        let length = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        if length > self.max_frame {
            return Err(self.too_large());
        }
        let nal = bytes.get(..length).unwrap_or_default().to_vec();
        let offset = self.input.offset().saturating_sub(3);
        self.input.consume(consume);
        self.scanned = 0;
        if nal.is_empty() {
            return Ok(None);
        }
        let role = match self.state.take(&nal, offset) {
            Ok(role) => role,
            Err(error) => {
                // The complete access unit is returned first, then the error.
                self.error = Some(error.clone());
                return self.complete().map_or(Err(error), |frame| Ok(Some(frame)));
            }
        };
        let frame = if role.begins_next(self.unit.has_picture) {
            self.complete()
        } else {
            None
        };
        self.add(&nal, offset, role)?;
        Ok(frame)
    }

    fn add(&mut self, nal: &[u8], offset: u64, role: Role) -> Result<(), MediaError> {
        let unit = &mut self.unit;
        match role {
            Role::Delimiter | Role::Ignored => return Ok(()),
            Role::ParameterSet { kind, id } => unit.sets.push((kind, id)),
            Role::Slice { keyframe, .. } => {
                unit.has_picture = true;
                unit.keyframe |= keyframe;
            }
            Role::Orphan { .. } => {
                unit.has_picture = true;
                unit.orphan = true;
            }
            Role::Prefix | Role::Suffix => {}
        }
        if unit.data.is_empty() {
            unit.offset = offset;
        }
        let size = unit.data.len() + START_CODE.len() + nal.len();
        if size > self.max_frame {
            return Err(self.too_large());
        }
        self.unit.data.extend_from_slice(&START_CODE);
        self.unit.data.extend_from_slice(nal);
        Ok(())
    }

    /// Returns the access unit assembled so far, if it contains a slice.
    fn complete(&mut self) -> Option<Frame> {
        if !self.unit.has_picture {
            return None;
        }
        let unit = std::mem::take(&mut self.unit);
        if unit.orphan {
            self.skipped += 1;
            return None;
        }
        let mut data = Vec::new();
        if unit.keyframe {
            let missing = self
                .state
                .sets()
                .filter(|set| !unit.sets.contains(&(set.kind, set.id)));
            for set in missing {
                data.extend_from_slice(&START_CODE);
                data.extend_from_slice(&set.nal);
            }
        }
        if data.is_empty() {
            data = unit.data;
        } else {
            data.extend_from_slice(&unit.data);
        }
        let (time, duration) = self.clock.tick(self.state.frame_time());
        Some(Frame {
            time,
            duration,
            keyframe: unit.keyframe,
            offset: unit.offset,
            data,
        })
    }

    fn too_large(&self) -> MediaError {
        let here = self.input.offset().saturating_sub(3);
        let offset = if self.unit.data.is_empty() {
            here
        } else {
            self.unit.offset
        };
        let reason = format!("an access unit above {} bytes", self.max_frame);
        MediaError::new(MediaErrorKind::TooLarge, offset, reason)
    }
}

/// Counts frames, because the stream carries no times.
#[derive(Debug, Default)]
struct Clock {
    forced: Option<Timebase>,
    current: Option<Timebase>,
    /// Time at which the current frame rate took effect.
    base: Duration,
    frames: u64,
}

impl Clock {
    /// Returns time and duration of the next frame.
    fn tick(&mut self, stated: Option<Timebase>) -> (Duration, Duration) {
        let assumed = Timebase::new(ASSUMED_FRAME_TIME.0, ASSUMED_FRAME_TIME.1);
        let Some(rate) = self.forced.or(stated.filter(is_plausible)).or(assumed) else {
            return (self.base, Duration::ZERO); // not reached: ASSUMED_FRAME_TIME is one
        };
        if self.current != Some(rate) {
            self.base += self
                .current
                .and_then(|old| old.time(self.frames))
                .unwrap_or_default();
            self.current = Some(rate);
            self.frames = 0;
        }
        let at = |frames| rate.time(frames).unwrap_or_default();
        let (start, end) = (at(self.frames), at(self.frames + 1));
        self.frames += 1;
        (self.base + start, end.saturating_sub(start))
    }
}

/// Returns `true` for frame rates between 0.1 and 1000 per second.
fn is_plausible(time: &Timebase) -> bool {
    let (n, d) = (u64::from(time.numerator()), u64::from(time.denominator()));
    n <= d * 10 && d <= n * 1000
}

/// Appends an access unit to a byte stream: unchanged if it is in Annex B form, with a start code if it is a bare NAL
/// unit. The format has no header.
pub fn write(access_unit: &[u8], out: &mut Vec<u8>) {
    let zeros = access_unit.iter().take_while(|byte| **byte == 0).count();
    if zeros < 2 || access_unit.get(zeros) != Some(&1) {
        out.extend_from_slice(&START_CODE);
    }
    out.extend_from_slice(access_unit);
}
