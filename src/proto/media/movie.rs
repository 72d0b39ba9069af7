//! MP4 (plain and fragmented), Matroska and WebM files: readers with several tracks.
//!
//! These formats keep their tables anywhere in the file, so this reader pulls from a seekable input, where the others
//! are fed; pipes are not supported. `shiguredo_mp4` parses MP4; this module converts its samples to the same
//! [`Frame`]s that other readers return.

use std::io::{Read, Seek, SeekFrom};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{Codec, Frame, Limits, MediaError, MediaErrorKind, annexb, h264, h265, keyframe, opus};

mod ebml;
mod edits;
mod fragments;
mod matroska;
mod mp4;

use matroska::Matroska;
use mp4::Mp4;

/// A playable track.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MovieTrack {
    /// The codec of the track.
    pub codec: Codec,
    /// The track number in the file.
    pub number: u64,
}

/// Reads MP4, Matroska and WebM files.
#[derive(Debug)]
pub struct MovieReader<R: Read + Seek> {
    demuxer: Demuxer<Counted<R>>,
    tracks: Vec<Track>,
    infos: Vec<MovieTrack>,
    passed_over: Vec<String>,
    input: Counted<R>,
    error: Option<MediaError>,
    max_frame: usize,
}

#[derive(Debug)]
enum Demuxer<R: Read + Seek> {
    Mp4(Box<Mp4<R>>),
    Matroska(Box<Matroska<R>>),
}

/// A track found when the file is opened.
#[derive(Debug)]
struct Found {
    number: u64,
    /// The codec, or a description of an unsupported track.
    codec: Result<Codec, String>,
    /// Storage format of H.264 and H.265.
    nal: NalFormat,
}

/// Storage format of H.264 and H.265: NAL units with length prefixes, and parameter sets stored separately (ISO/IEC
/// 14496-15 §5.3.3.1, §8.3.3.1) or in band (§5.4.2.1, §8.4.1).
#[derive(Debug, Clone, Default)]
struct NalFormat {
    /// Size of each length prefix, in bytes: 1 to 4.
    length_bytes: usize,
    /// The container's parameter sets, replaced by later ones in band.
    parameter_sets: Vec<Vec<u8>>,
}

/// A sample returned by a demuxer.
#[derive(Debug)]
struct Sample {
    track: u64,
    time: Duration,
    /// The duration, if the container specifies it.
    duration: Option<Duration>,
    /// Position in the file.
    offset: u64,
    data: Vec<u8>,
}

/// Assumed duration of a first frame without one.
const FIRST_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Track {
    number: u64,
    codec: Codec,
    nal: NalFormat,
    last: Option<Duration>,
    interval: Duration,
}

impl<R: Read + Seek> MovieReader<R> {
    /// Opens a file. Only its tables, up to 64 MiB, and one frame are held in memory.
    pub fn open(input: R, limits: Limits) -> Result<Self, MediaError> {
        let input = Counted {
            inner: Arc::new(Mutex::new(input)),
            position: Position::default(),
        };
        let (demuxer, found) = open(input.clone(), limits.max_frame)?;
        let mut reader = Self {
            demuxer,
            tracks: Vec::new(),
            infos: Vec::new(),
            passed_over: Vec::new(),
            input,
            error: None,
            max_frame: limits.max_frame,
        };
        found.into_iter().for_each(|track| reader.add(track));
        if reader.tracks.is_empty() {
            let reason = format!(
                "no track that can be sent; there is: {}. Convert: \
                 ffmpeg -i INPUT -c:v libx264 -bf 0 -c:a libopus OUTPUT.mkv",
                reader.passed_over.join(", ")
            );
            return Err(MediaError::new(MediaErrorKind::Unsupported, 0, reason));
        }
        Ok(reader)
    }

    /// Returns the playable tracks.
    pub fn tracks(&self) -> &[MovieTrack] {
        &self.infos
    }

    /// Returns the duration before the first presented moment. Other media that play in sync must start later by this
    /// duration.
    pub fn preroll(&self) -> Duration {
        match &self.demuxer {
            Demuxer::Mp4(demuxer) => demuxer.preroll(),
            Demuxer::Matroska(_) => Duration::ZERO,
        }
    }

    /// Describes the tracks that cannot be played.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// Returns the next frame and the index of its track in [`tracks`](Self::tracks); `None` at the end. Frames are
    /// returned in file order, which is roughly that of time.
    pub fn next_frame(&mut self) -> Result<Option<(usize, Frame)>, MediaError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let result = self.next();
        if let Err(error) = &result {
            self.error = Some(error.clone());
        }
        result
    }

    /// Goes back to the beginning of the file.
    pub fn rewind(&mut self) -> Result<(), MediaError> {
        self.error = None;
        let (demuxer, found) = open(self.input.clone(), self.max_frame)?;
        self.demuxer = demuxer;
        for track in &mut self.tracks {
            track.last = None;
            track.interval = FIRST_INTERVAL;
        }
        // Parameter sets from the end of the file are not valid at its beginning.
        for found in found {
            if let Some(track) = self.tracks.iter_mut().find(|t| t.number == found.number) {
                track.nal = found.nal;
            }
        }
        Ok(())
    }

    fn add(&mut self, found: Found) {
        match found.codec {
            Err(what) => self.passed_over.push(what),
            Ok(codec) => {
                let number = found.number;
                self.infos.push(MovieTrack { codec, number });
                self.tracks.push(Track {
                    number,
                    codec,
                    nal: found.nal,
                    last: None,
                    interval: FIRST_INTERVAL,
                });
            }
        }
    }

    fn next(&mut self) -> Result<Option<(usize, Frame)>, MediaError> {
        loop {
            self.input.position.allow();
            let next = contained(|| match &mut self.demuxer {
                Demuxer::Mp4(demuxer) => demuxer.next(self.max_frame),
                Demuxer::Matroska(demuxer) => demuxer.next(),
            });
            let here = self.input.position.get();
            let Some(sample) = next.map_err(|reason| damaged(here, reason))? else {
                return Ok(None);
            };
            let offset = sample.offset;
            let index = self
                .tracks
                .iter()
                .position(|track| track.number == sample.track);
            let Some((index, track)) = index.and_then(|at| Some((at, self.tracks.get_mut(at)?)))
            else {
                continue;
            };
            if sample.data.len() > self.max_frame {
                let reason = format!(
                    "a frame of {} bytes; the limit is {}",
                    sample.data.len(),
                    self.max_frame
                );
                return Err(MediaError::new(MediaErrorKind::TooLarge, offset, reason));
            }
            if !sample.data.is_empty() {
                return Ok(Some((index, track.frame(sample, offset)?)));
            }
        }
    }
}

/// Detects the format and reads the tracks.
fn open<R: Read + Seek>(
    mut input: Counted<R>,
    max_frame: usize,
) -> Result<(Demuxer<Counted<R>>, Vec<Found>), MediaError> {
    let position = input.position.clone();
    position.allow();
    let io = |error: std::io::Error| damaged(0, format!("cannot be read: {error}"));
    let mut start = Vec::new();
    input.seek(SeekFrom::Start(0)).map_err(io)?;
    input
        .by_ref()
        .take(12)
        .read_to_end(&mut start)
        .map_err(io)?;
    let length = input.seek(SeekFrom::End(0)).map_err(io)?;
    input.seek(SeekFrom::Start(0)).map_err(io)?;
    position.length.store(length, Ordering::Relaxed);
    position.allow();
    let opened = contained(|| {
        if start.starts_with(&[0x1A, 0x45, 0xDF, 0xA3]) {
            let (demuxer, found) = Matroska::open(input, max_frame)?;
            Ok(Some((Demuxer::Matroska(Box::new(demuxer)), found)))
        } else if start.get(4..8) == Some(b"ftyp") {
            let (demuxer, found) = Mp4::open(input)?;
            Ok(Some((Demuxer::Mp4(Box::new(demuxer)), found)))
        } else {
            Ok(None)
        }
    });
    opened
        .map_err(|reason| damaged(position.get(), reason))?
        .ok_or_else(|| {
            let reason = "neither MP4 nor Matroska nor WebM";
            MediaError::new(MediaErrorKind::WrongFormat, 0, reason)
        })
}

/// Calls a demuxer and catches its panics: some of its sums overflow on damaged files, which panics where overflow
/// checks are on. The demuxer is not used again after an error.
fn contained<T>(call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err("damaged beyond what the demuxer can take".into()))
}

impl Track {
    fn frame(&mut self, sample: Sample, offset: u64) -> Result<Frame, MediaError> {
        if let Some(last) = self.last {
            if sample.time < last && self.codec.is_video() {
                let reason = format!(
                    "{} with B-frames: this picture is shown at {:?}, before one that came earlier ({last:?}), \
                     but WebRTC receivers show frames in the order they come in. \
                     Re-encode: ffmpeg -i INPUT -c:v libx264 -bf 0 -c:a copy OUTPUT",
                    self.codec, sample.time
                );
                return Err(MediaError::new(MediaErrorKind::Reordered, offset, reason));
            }
            self.interval = sample.time.saturating_sub(last);
        }
        self.last = Some(sample.time);
        let mut data = sample.data;
        if self.codec.is_byte_stream() {
            data = self
                .nal
                .write_byte_stream(self.codec, &data)
                .ok_or_else(|| {
                    damaged(
                        offset,
                        format!("an {} frame with a wrong length in it", self.codec),
                    )
                })?;
        }
        let duration = match self.codec {
            Codec::Opus => opus::duration(&data)
                .ok_or_else(|| damaged(offset, "a frame that is no Opus packet".into()))?,
            _ => sample.duration.unwrap_or(self.interval),
        };
        Ok(Frame {
            time: sample.time,
            duration,
            keyframe: keyframe::is_keyframe(self.codec, &data),
            offset,
            data,
        })
    }
}

impl NalFormat {
    /// Parses an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1.2).
    fn from_avcc(record: &[u8]) -> Option<Self> {
        let length_bytes = usize::from(record.get(4)? & 3) + 1;
        let mut parameter_sets = Vec::new();
        let mut rest = record.get(5..)?;
        for mask in [0x1F, 0xFF] {
            let (&count, behind) = rest.split_first()?;
            rest = behind;
            for _ in 0..count & mask {
                parameter_sets.push(take_nal(&mut rest)?);
            }
        }
        Some(Self {
            length_bytes,
            parameter_sets,
        })
    }

    /// Parses an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 §8.3.3.1.2).
    fn from_hvcc(record: &[u8]) -> Option<Self> {
        let length_bytes = usize::from(record.get(21)? & 3) + 1;
        let mut parameter_sets = Vec::new();
        let (&arrays, mut rest) = record.get(22..)?.split_first()?;
        for _ in 0..arrays {
            let &[_, high, low] = rest.first_chunk()?;
            rest = rest.get(3..)?;
            for _ in 0..u16::from_be_bytes([high, low]) {
                parameter_sets.push(take_nal(&mut rest)?);
            }
        }
        Some(Self {
            length_bytes,
            parameter_sets,
        })
    }

    /// Converts to a byte stream: start codes instead of lengths, parameter sets inserted before keyframes without
    /// them, delimiters removed. Returns `None` if a length is invalid.
    fn write_byte_stream(&mut self, codec: Codec, data: &[u8]) -> Option<Vec<u8>> {
        let (mut out, mut is_key) = (Vec::with_capacity(data.len() + 16), false);
        let mut own = Vec::new();
        let mut rest = data;
        while !rest.is_empty() {
            let (length, behind) = rest.split_at_checked(self.length_bytes)?;
            let length = length
                .iter()
                .fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
            let (nal, behind) = behind.split_at_checked(length)?;
            rest = behind;
            let ignored = match codec {
                Codec::H264 => {
                    is_key |= h264::nal_type(nal) == h264::IDR;
                    matches!(h264::nal_type(nal), h264::AUD | h264::FILLER)
                        || !h264::is_sendable(nal)
                }
                _ => {
                    is_key |= h265::is_irap(nal);
                    matches!(h265::nal_type(nal), h265::AUD | h265::FILLER)
                        || !h265::is_sendable(nal)
                }
            };
            if nal.is_empty() || ignored {
                continue;
            }
            if let Some(key) = set_key(codec, nal) {
                self.keep(codec, key, nal);
                own.push(key);
            }
            append(nal, &mut out);
        }
        if is_key {
            let mut with_sets = Vec::with_capacity(out.len() + 256);
            let sets = self.parameter_sets.iter();
            sets.filter(|set| set_key(codec, set).is_none_or(|key| !own.contains(&key)))
                .for_each(|set| append(set, &mut with_sets));
            with_sets.extend_from_slice(&out);
            out = with_sets;
        }
        Some(out)
    }

    /// Stores a parameter set for later keyframes, replacing the previous one, in order of dependence.
    fn keep(&mut self, codec: Codec, key: (u8, u8), nal: &[u8]) {
        let sets = &mut self.parameter_sets;
        let size: usize = sets.iter().map(Vec::len).sum();
        match sets.iter_mut().find(|set| set_key(codec, set) == Some(key)) {
            Some(set) if set == nal => {}
            Some(set) if size + nal.len() <= annexb::MAX_PARAMETER_SETS => *set = nal.to_vec(),
            None if size + nal.len() <= annexb::MAX_PARAMETER_SETS => {
                let is_behind = |set: &Vec<u8>| set_key(codec, set).is_some_and(|k| k > key);
                let at = sets.iter().position(is_behind).unwrap_or(sets.len());
                sets.insert(at, nal.to_vec());
            }
            _ => {}
        }
    }
}

/// Returns type and number of a parameter set; `None` for other NAL units.
fn set_key(codec: Codec, nal: &[u8]) -> Option<(u8, u8)> {
    let id = match (codec, h264::nal_type(nal), h265::nal_type(nal)) {
        (Codec::H264, h264::SPS, _) => h264::Sps::parse(nal)?.id,
        (Codec::H264, h264::PPS, _) => h264::Pps::parse(nal)?.id,
        (Codec::H265, _, h265::VPS) => nal.get(2)? >> 4,
        (Codec::H265, _, h265::SPS) => h265::Sps::parse(nal)?.id,
        (Codec::H265, _, h265::PPS) => h265::Pps::parse(nal)?.id,
        _ => return None,
    };
    let kind = match codec {
        Codec::H264 => h264::nal_type(nal),
        _ => h265::nal_type(nal),
    };
    Some((kind, id))
}

fn append(nal: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&annexb::START_CODE);
    out.extend_from_slice(nal);
}

fn take_nal(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
    let (nal, behind) = rest.get(2..)?.split_at_checked(length)?;
    *rest = behind;
    Some(nal.to_vec())
}

fn damaged(offset: u64, reason: String) -> MediaError {
    MediaError::new(MediaErrorKind::Damaged, offset, reason)
}

/// Bytes that a demuxer may read before it finds something, beyond four times the file size: minimum and maximum.
const READ_BUDGET: (u64, u64) = (64 << 10, 256 << 20);

/// Cost of a seek in this budget, and of a read in addition to its bytes.
const SEEK_COST: u64 = 16;

/// Position of the last read (the demuxers own the file, and their errors contain none) and the remaining read budget:
/// there are damaged files that demuxers would read endlessly.
#[derive(Debug, Clone, Default)]
struct Position {
    at: Arc<AtomicU64>,
    length: Arc<AtomicU64>,
    left: Arc<AtomicU64>,
}

impl Position {
    fn get(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }

    /// Resets the read budget for the next frame, or the tables.
    fn allow(&self) {
        let (least, most) = READ_BUDGET;
        let length = self.length.load(Ordering::Relaxed);
        let budget = length.saturating_mul(4).saturating_add(least).min(most);
        self.left.store(budget, Ordering::Relaxed);
    }

    fn spend(&self, bytes: u64) -> std::io::Result<()> {
        let left = self.left.load(Ordering::Relaxed).checked_sub(bytes);
        let left = left
            .ok_or_else(|| std::io::Error::other("it leads to the same places again and again"))?;
        self.left.store(left, Ordering::Relaxed);
        Ok(())
    }
}

/// The file, shared with the demuxer so that it can be reopened.
#[derive(Debug)]
struct Counted<R> {
    inner: Arc<Mutex<R>>,
    position: Position,
}

impl<R> Counted<R> {
    fn lock(&self) -> std::io::Result<MutexGuard<'_, R>> {
        self.inner
            .lock()
            .map_err(|_| std::io::Error::other("reading it has panicked before"))
    }
}

impl<R> Clone for Counted<R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            position: self.position.clone(),
        }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.lock()?.read(buffer)?;
        self.position.spend(n as u64 + 1)?;
        self.position.at.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl<R: Seek> Seek for Counted<R> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.position.spend(SEEK_COST)?;
        let at = self.lock()?.seek(to)?;
        self.position.at.store(at, Ordering::Relaxed);
        Ok(at)
    }
}
