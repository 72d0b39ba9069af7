//! IVF, the container for raw VP8, VP9 and AV1 (libvpx's `ivfenc.c` and `ivfdec.c`; there is no RFC).
//!
//! ```text
//! "DKIF"  u16 version=0  u16 header size=32  "VP80"|"VP90"|"AV01"  u16 width  u16 height
//! u32 timebase denominator  u32 timebase numerator  u32 length  u32 unused       (little-endian)
//! then for each frame: u32 size  u64 timestamp  bytes
//! ```

use std::time::Duration;

use super::input::{Input, le16, le32, le64};
use super::{
    Codec, FileFormat, Frame, Limits, MediaError, MediaErrorKind, Patch, Timebase, keyframe,
};

const SIGNATURE: &[u8; 4] = b"DKIF";
const HEADER: usize = 32;
const FRAME_HEADER: usize = 12;
/// Maximum size of a file header, in bytes; anything beyond the usual 32 bytes is skipped.
const MAX_HEADER: u16 = 1024;

/// The file header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IvfHeader {
    /// The codec of the frames.
    pub codec: Codec,
    /// Width in pixels. Informative: the size in the frames counts.
    pub width: u16,
    /// Height in pixels. Informative: the size in the frames counts.
    pub height: u16,
    /// The unit of timestamps.
    pub timebase: Timebase,
    /// Number of frames as written by libvpx, or duration in timebase units as written by FFmpeg (the same if a unit is
    /// a frame); 0 if the file was written to a pipe.
    pub length: u32,
}

/// Reads IVF. Empty frames, written by encoders for dropped ones, are skipped.
///
/// Some programs write timestamps in another unit than the header specifies. If the interval between the first two
/// frames is implausible, a plausible unit is used instead; see [`correction`](Self::correction).
#[derive(Debug)]
pub struct IvfReader {
    input: Input,
    max_frame: usize,
    header: Option<IvfHeader>,
    error: Option<MediaError>,
    last: Option<u64>,
    interval: u64,
    unit: Unit,
}

/// State of the timestamp unit.
#[derive(Debug)]
enum Unit {
    /// Not decided until the second frame; holds the first one, if it was read.
    Unknown(Option<Raw>),
    /// Decided; holds the second frame while the first one is returned.
    Known(Timebase, Option<Raw>),
}

/// A frame whose time is not known yet.
#[derive(Debug)]
struct Raw {
    pts: u64,
    offset: u64,
    data: Vec<u8>,
}

/// Frame intervals accepted without correction, in nanoseconds: 500 per second to one in ten seconds.
const BELIEVED: std::ops::RangeInclusive<u64> = 2_000_000..=10_000_000_000;

/// Frame intervals accepted when choosing another unit, in nanoseconds: 200 to 5 per second.
const SENSIBLE: std::ops::RangeInclusive<u64> = 5_000_000..=200_000_000;

/// Units tried instead of an implausible one, as fractions of a second: the RTP clock, milliseconds, microseconds,
/// nanoseconds, frames.
const OTHER_UNITS: [u32; 5] = [90_000, 1000, 1_000_000, 1_000_000_000, 30];

/// Chooses the unit of timestamps, given the interval between the first two frames in units.
fn unit(stated: Timebase, interval: u64) -> Timebase {
    let nanos = |base: Timebase| {
        let time = base.time(interval);
        time.map_or(u64::MAX, |t| {
            u64::try_from(t.as_nanos()).unwrap_or(u64::MAX)
        })
    };
    if interval == 0 || BELIEVED.contains(&nanos(stated)) {
        return stated;
    }
    let others = OTHER_UNITS.iter().filter_map(|n| Timebase::new(1, *n));
    let mut sensible = others.filter(|base| SENSIBLE.contains(&nanos(*base)));
    sensible.next().unwrap_or(stated)
}

impl IvfReader {
    /// Creates a reader for a file or stream from its beginning.
    pub fn new(limits: Limits) -> Self {
        Self {
            input: Input::new(&limits),
            max_frame: limits.max_frame,
            header: None,
            error: None,
            last: None,
            interval: 1,
            unit: Unit::Unknown(None),
        }
    }

    /// Describes the correction of the timestamp unit; `None` if the header's unit is used.
    pub fn correction(&self) -> Option<String> {
        let stated = self.header.as_ref()?.timebase;
        match self.unit {
            Unit::Known(taken, _) if taken != stated => Some(format!(
                "the IVF header says that times are in {}/{} s, which its frames contradict; 1/{} s is taken",
                stated.numerator(),
                stated.denominator(),
                taken.denominator()
            )),
            _ => None,
        }
    }

    /// Adds input. Call [`poll`](Self::poll) until it returns `None` after each call; see [`Limits::max_unread`].
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        self.input.feed(bytes)
    }

    /// Marks the end of the input.
    pub fn finish(&mut self) {
        self.input.finish();
    }

    /// Returns the file header, once it has been read.
    pub fn header(&self) -> Option<&IvfHeader> {
        self.header.as_ref()
    }

    /// Returns the next frame. `None` means that more input is needed or, after [`finish`](Self::finish), the end.
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

    /// Continues at the [`Frame::offset`] of an earlier frame: the next bytes fed must be those at that position.
    /// Clears an earlier error.
    pub fn seek(&mut self, offset: u64) {
        if offset < HEADER as u64 {
            self.header = None;
        }
        match &mut self.unit {
            Unit::Unknown(first) => *first = None,
            Unit::Known(_, second) => *second = None,
        }
        self.input.restart(offset);
        self.error = None;
        self.last = None;
    }

    fn next(&mut self) -> Result<Option<Frame>, MediaError> {
        let header = match &self.header {
            Some(header) => header.clone(),
            None => match self.read_header()? {
                Some(header) => self.header.insert(header).clone(),
                None => return Ok(None),
            },
        };
        loop {
            let (base, raw) = match &mut self.unit {
                Unit::Known(base, second) => {
                    let base = *base;
                    let raw = match second.take() {
                        Some(raw) => Some(raw),
                        None => self.raw()?,
                    };
                    return raw.map(|raw| self.frame(base, raw)).transpose();
                }
                // A problem of the second frame is reported again after the first one was returned.
                Unit::Unknown(Some(_)) => (header.timebase, self.raw().ok()),
                Unit::Unknown(None) => {
                    let Some(raw) = self.raw()? else {
                        return Ok(None);
                    };
                    self.unit = Unit::Unknown(Some(raw));
                    continue;
                }
            };
            // The second frame has not arrived yet.
            if matches!(raw, Some(None)) && !self.input.is_finished() {
                return Ok(None);
            }
            let second = raw.flatten();
            let Unit::Unknown(Some(first)) =
                std::mem::replace(&mut self.unit, Unit::Known(base, None))
            else {
                return Ok(None); // not reached: it was there above
            };
            let interval = second
                .as_ref()
                .map_or(0, |s| s.pts.saturating_sub(first.pts));
            let base = unit(base, interval);
            self.unit = Unit::Known(base, second);
            return self.frame(base, first).map(Some);
        }
    }

    /// Returns the next frame that is not empty. `None` means that more input is needed, or the end.
    fn raw(&mut self) -> Result<Option<Raw>, MediaError> {
        loop {
            let offset = self.input.offset();
            let Some(head) = self.input.peek(FRAME_HEADER) else {
                return self.need(FRAME_HEADER, "a frame header").map(|()| None);
            };
            let size = le32(head, 0) as usize;
            let pts = le64(head, 4);
            if size > self.max_frame {
                let reason = format!(
                    "an IVF frame of {size} bytes; the limit is {}",
                    self.max_frame
                );
                return Err(MediaError::new(MediaErrorKind::TooLarge, offset, reason));
            }
            let Some(whole) = self.input.peek(FRAME_HEADER + size) else {
                return self.need(FRAME_HEADER + size, "a frame").map(|()| None);
            };
            let data = whole.get(FRAME_HEADER..).unwrap_or_default().to_vec();
            self.input.consume(FRAME_HEADER + size);
            if !data.is_empty() {
                return Ok(Some(Raw { pts, offset, data }));
            }
        }
    }

    fn frame(&mut self, base: Timebase, raw: Raw) -> Result<Frame, MediaError> {
        let Raw { pts, offset, data } = raw;
        let damaged = |reason: String| MediaError::new(MediaErrorKind::Damaged, offset + 4, reason);
        let Some(time) = base.time(pts) else {
            return Err(damaged(format!(
                "an IVF timestamp of {pts}: more than a hundred years"
            )));
        };
        if let Some(last) = self.last {
            if pts < last {
                return Err(damaged(format!(
                    "IVF timestamps run backwards: {pts} after {last}"
                )));
            }
            self.interval = (pts - last).max(1);
        }
        self.last = Some(pts);
        let codec = self.header.as_ref().map_or(Codec::Vp8, |h| h.codec);
        Ok(Frame {
            time,
            duration: base.time(self.interval).unwrap_or_default(),
            keyframe: keyframe::is_keyframe(codec, &data),
            offset,
            data,
        })
    }

    fn read_header(&mut self) -> Result<Option<IvfHeader>, MediaError> {
        let wrong =
            |at, reason: String| Err(MediaError::new(MediaErrorKind::WrongFormat, at, reason));
        let start = self.input.unread();
        if !SIGNATURE.starts_with(&start[..start.len().min(4)]) {
            return wrong(0, "not IVF: it does not begin with \"DKIF\"".into());
        }
        let Some(head) = self.input.peek(HEADER) else {
            return self.need(HEADER, "the file header").map(|()| None);
        };
        let size = le16(head, 6);
        if !(HEADER as u16..=MAX_HEADER).contains(&size) {
            return wrong(6, format!("an IVF header of {size} bytes; 32 are usual"));
        }
        let fourcc = &head[8..12];
        let Some(codec) = Codec::in_file(|f| matches!(f, FileFormat::Ivf(own) if own == fourcc))
        else {
            let name = fourcc.escape_ascii();
            let reason = format!("IVF with codec \"{name}\"; VP80, VP90 and AV01 are known");
            return Err(MediaError::new(MediaErrorKind::Unsupported, 8, reason));
        };
        let (denominator, numerator) = (le32(head, 16), le32(head, 20));
        let Some(timebase) = Timebase::new(numerator, denominator) else {
            let reason = format!("an IVF timebase of {numerator}/{denominator} s");
            return Err(MediaError::new(MediaErrorKind::Damaged, 16, reason));
        };
        let header = IvfHeader {
            codec,
            width: le16(head, 12),
            height: le16(head, 14),
            timebase,
            length: le32(head, 24),
        };
        if self.input.peek(usize::from(size)).is_none() {
            return self
                .need(usize::from(size), "the file header")
                .map(|()| None);
        }
        self.input.consume(usize::from(size));
        Ok(Some(header))
    }

    /// Handles missing input: an error only if the input has ended within something.
    fn need(&self, needed: usize, what: &str) -> Result<(), MediaError> {
        let have = self.input.unread().len();
        let at_end = have == 0 && self.header.is_some();
        if !self.input.is_finished() || at_end {
            return Ok(());
        }
        let reason = format!("IVF ends inside {what}: {have} of {needed} bytes are there");
        Err(MediaError::new(
            MediaErrorKind::Truncated,
            self.input.offset(),
            reason,
        ))
    }
}

/// Writes IVF.
#[derive(Debug)]
pub struct IvfWriter {
    timebase: Timebase,
    last: Option<u64>,
    interval: u64,
    offset: u64,
}

impl IvfWriter {
    /// Appends the file header to `out`. For frames received over RTP, a timebase of 1/90000 is lossless. Returns an
    /// error for codecs that IVF does not support, and for pictures of 65,536 pixels or more per side.
    pub fn new(
        codec: Codec,
        width: u32,
        height: u32,
        timebase: Timebase,
        out: &mut Vec<u8>,
    ) -> Result<Self, MediaError> {
        let unsupported = |reason| MediaError::new(MediaErrorKind::Unsupported, 0, reason);
        let FileFormat::Ivf(fourcc) = codec.description().file else {
            return Err(unsupported(format!("IVF does not hold {codec}")));
        };
        let side = |n: u32| {
            u16::try_from(n)
                .map_err(|_| unsupported(format!("IVF has no room for {width}x{height}")))
        };
        let (width, height) = (side(width)?, side(height)?);
        out.extend_from_slice(SIGNATURE);
        out.extend_from_slice(&0u16.to_le_bytes());
        out.extend_from_slice(&(HEADER as u16).to_le_bytes());
        out.extend_from_slice(fourcc);
        out.extend_from_slice(&width.to_le_bytes());
        out.extend_from_slice(&height.to_le_bytes());
        out.extend_from_slice(&timebase.denominator().to_le_bytes());
        out.extend_from_slice(&timebase.numerator().to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        Ok(Self {
            timebase,
            last: None,
            interval: 1,
            offset: HEADER as u64,
        })
    }

    /// Appends a frame. Returns an error, and writes nothing, if `time` is before the previous frame's or the frame has
    /// 4 GiB or more.
    pub fn write(
        &mut self,
        time: Duration,
        frame: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), MediaError> {
        let pts = self.timebase.units(time);
        if let Some(last) = self.last {
            if pts < last {
                let reason = format!(
                    "a frame at {time:?}, before the last one: IVF has no order but time's"
                );
                return Err(MediaError::new(
                    MediaErrorKind::Reordered,
                    self.offset,
                    reason,
                ));
            }
            self.interval = (pts - last).max(1);
        }
        let Ok(size) = u32::try_from(frame.len()) else {
            let reason = format!("a frame of {} bytes", frame.len());
            return Err(MediaError::new(
                MediaErrorKind::TooLarge,
                self.offset,
                reason,
            ));
        };
        self.last = Some(pts);
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&pts.to_le_bytes());
        out.extend_from_slice(frame);
        self.offset += FRAME_HEADER as u64 + u64::from(size);
        Ok(())
    }

    /// Returns the length for the file header, in timebase units like FFmpeg, so that `ffprobe` reports the right
    /// duration. It equals libvpx's number of frames if a unit is a frame. May be called at any time: a file that is
    /// patched regularly survives a crash.
    pub fn patch(&self) -> Patch {
        let units = self
            .last
            .map_or(0, |last| last.saturating_add(self.interval));
        Patch {
            offset: 24,
            bytes: u32::try_from(units).unwrap_or(u32::MAX).to_le_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::{Reader, tests::drain};
    use super::*;
    use MediaErrorKind::{Damaged, Reordered, TooLarge, Truncated, Unsupported, WrongFormat};

    const NTSC: (u32, u32) = (1001, 30_000);

    fn sample() -> Vec<u8> {
        let mut file = Vec::new();
        let base = Timebase::new(NTSC.0, NTSC.1).unwrap();
        let mut writer = IvfWriter::new(Codec::Vp8, 320, 240, base, &mut file).unwrap();
        for n in 0..5u8 {
            let data = vec![u8::from(n % 4 != 0); usize::from(n) * 3 + 1];
            writer
                .write(base.time(u64::from(n)).unwrap(), &data, &mut file)
                .unwrap();
        }
        writer.patch().apply(&mut file);
        file
    }

    fn read(file: &[u8], chunk: usize) -> (Vec<Frame>, Option<MediaError>) {
        let reader = IvfReader::new(Limits::default());
        drain(&mut Reader::Ivf(Box::new(reader)), file, chunk)
    }

    #[test]
    fn round_trip_in_any_pieces() {
        let file = sample();
        let (frames, error) = read(&file, usize::MAX);
        assert_eq!(error, None);
        assert_eq!(frames.len(), 5);
        assert_eq!(
            frames.iter().map(|f| f.keyframe).collect::<Vec<_>>(),
            [true, false, false, false, true]
        );
        assert_eq!(frames[3].rtp_timestamp(90_000), 9009);
        assert_eq!(frames[4].duration, Duration::from_nanos(33_366_666));
        assert_eq!(le32(&file, 24), 5);
        for chunk in 1..file.len() {
            assert_eq!(read(&file, chunk), (frames.clone(), None), "{chunk}");
        }
    }

    #[test]
    fn truncated_anywhere() {
        let file = sample();
        let whole = read(&file, 9).0;
        for end in 0..file.len() {
            let (frames, error) = read(&file[..end], 9);
            let complete = whole
                .iter()
                .filter(|f| f.offset as usize + 12 + f.data.len() <= end)
                .count();
            assert_eq!(frames, whole[..complete]);
            let boundary = end == 32 || whole.iter().any(|f| f.offset as usize == end);
            match error {
                Some(error) => {
                    assert_eq!(error.kind, Truncated);
                    assert!(!boundary && error.offset as usize <= end, "{error} {end}");
                }
                None => assert!(boundary, "{end}"),
            }
        }
    }

    #[test]
    fn damage_is_named() {
        let kind = |at: usize, bytes: &[u8]| {
            let mut file = sample();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            let (frames, error) = read(&file, 9);
            let error = error.expect("an error");
            (error.kind, error.offset, frames.len())
        };
        assert_eq!(kind(0, b"RIFF"), (WrongFormat, 0, 0));
        assert_eq!(kind(6, &[9, 9]), (WrongFormat, 6, 0));
        assert_eq!(kind(8, b"H264"), (Unsupported, 8, 0));
        assert_eq!(kind(16, &[0; 4]), (Damaged, 16, 0));
        assert_eq!(kind(32 + 13, &[0xFF; 4]), (TooLarge, 45, 1));
        assert_eq!(kind(32 + 13 + 4, &[0xFF; 8]), (Damaged, 49, 1));
        // The second frame is at 7 s; the third one then runs backwards.
        assert_eq!(kind(32 + 13 + 4, &[210]), (Damaged, 32 + 13 + 16 + 4, 2));
    }

    #[test]
    fn seek_goes_on_at_a_frame() {
        let file = sample();
        let whole = read(&file, 9).0;
        let mut reader = IvfReader::new(Limits::default());
        reader.feed(&file).unwrap();
        while reader.poll().unwrap().is_some() {}
        reader.seek(whole[4].offset);
        reader.feed(&file[whole[4].offset as usize..]).unwrap();
        assert_eq!(
            reader.poll().unwrap().as_ref().map(|f| (f.time, f.offset)),
            Some((whole[4].time, whole[4].offset))
        );
    }

    #[test]
    fn unread_bytes_are_bounded() {
        let limits = Limits::default().max_frame(1000).max_unread(0);
        let mut reader = IvfReader::new(limits);
        reader.feed(&vec![0; 100_000]).unwrap();
        assert_eq!(reader.feed(&[0]).unwrap_err().kind, MediaErrorKind::Unread);
    }

    #[test]
    fn writer_refuses() {
        let mut out = Vec::new();
        let base = Timebase::new(1, 90_000).unwrap();
        assert_eq!(
            IvfWriter::new(Codec::Opus, 1, 1, base, &mut out)
                .unwrap_err()
                .kind,
            Unsupported
        );
        assert_eq!(
            IvfWriter::new(Codec::Vp8, 70_000, 1, base, &mut out)
                .unwrap_err()
                .kind,
            Unsupported
        );
        assert!(out.is_empty());
        let mut writer = IvfWriter::new(Codec::Vp8, 1, 1, base, &mut out).unwrap();
        writer
            .write(Duration::from_secs(1), b"x", &mut out)
            .unwrap();
        assert_eq!(
            writer
                .write(Duration::ZERO, b"x", &mut out)
                .unwrap_err()
                .kind,
            Reordered
        );
    }
}
