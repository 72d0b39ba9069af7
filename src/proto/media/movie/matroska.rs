//! Matroska and WebM (RFC 9559), read sequentially: files that were not finalized, or were written to a pipe, have no
//! index, and segments and clusters of unknown length.

use std::collections::VecDeque;
use std::io::{Read, Seek};
use std::time::Duration;

use super::super::{Codec, MAX_TIME};
use super::ebml::{Elements, Header, children, uint, vint};
use super::{Found, NalFormat, Sample};

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_A966;
const TRACKS: u32 = 0x1654_AE6B;
const CLUSTER: u32 = 0x1F43_B675;
const TIMESTAMP: u32 = 0xE7;
const SIMPLE_BLOCK: u32 = 0xA3;
const BLOCK_GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;
const BLOCK_DURATION: u32 = 0x9B;

/// Maximum size of an element read as a whole (descriptions), in bytes; blocks have their own limit.
const MAX_TABLE: u64 = 16 << 20;

/// Maximum number of stripped bytes per frame; real ones are a few.
const MAX_STRIPPED: usize = 256;

/// Maximum number of tracks.
const MAX_TRACKS: usize = 256;

/// Maximum number of consecutive elements without a frame.
const MAX_ELEMENTS: usize = 1_000_000;

/// A Matroska file.
#[derive(Debug)]
pub(super) struct Matroska<R: Read + Seek> {
    elements: Elements<R>,
    /// Nanoseconds per unit of timestamps.
    scale: u64,
    /// Timestamp of the current cluster.
    base: u64,
    tracks: Vec<Described>,
    /// Remaining frames of a laced block.
    frames: VecDeque<Sample>,
    /// A header read while looking for the end of the descriptions.
    next: Option<Header>,
    max_block: u64,
}

/// Fields of a track's description needed to read its blocks.
#[derive(Debug)]
struct Described {
    number: u64,
    /// Bytes removed from the start of each frame (RFC 9559 §5.1.4.1.31, header stripping).
    stripped: Vec<u8>,
    /// Duration of a frame in nanoseconds, if specified.
    default_duration: Option<u64>,
}

impl<R: Read + Seek> Matroska<R> {
    pub fn open(input: R, max_frame: usize) -> Result<(Self, Vec<Found>), String> {
        let elements = Elements::new(input).map_err(unreadable)?;
        let mut file = Self {
            elements,
            scale: 1_000_000,
            base: 0,
            tracks: Vec::new(),
            frames: VecDeque::new(),
            next: None,
            // Laced blocks contain up to 256 frames; real ones are small.
            max_block: max_frame as u64 + (64 << 10),
        };
        let found = file.descriptions()?;
        Ok((file, found))
    }

    /// Reads up to the first cluster.
    fn descriptions(&mut self) -> Result<Vec<Found>, String> {
        let mut found = None;
        for _ in 0..MAX_ELEMENTS {
            let Some(header) = self.header()? else {
                break;
            };
            match (header.id, header.length) {
                (SEGMENT, _) => {}
                (CLUSTER, _) => {
                    self.next = Some(header);
                    break;
                }
                (INFO | TRACKS, Some(length)) if length <= MAX_TABLE => {
                    let bytes = self.bytes(length)?;
                    match header.id {
                        INFO => self.info(&bytes)?,
                        _ => found = Some(self.describe(&bytes)),
                    }
                }
                (INFO | TRACKS, _) => {
                    return Err("a description of unknown or absurd length".into());
                }
                (_, Some(length)) => self.skip(length)?,
                (id, None) => return Err(format!("an element {id:X} of unknown length")),
            }
        }
        match found {
            Some(found) if !found.is_empty() => Ok(found),
            _ => Err("no description of its tracks: it was cut off before them".into()),
        }
    }

    fn info(&mut self, info: &[u8]) -> Result<(), String> {
        const TIMESTAMP_SCALE: u32 = 0x2A_D7B1;
        if let Some((_, scale)) = children(info).find(|(id, _)| *id == TIMESTAMP_SCALE) {
            self.scale = uint(scale);
        }
        match self.scale {
            0 => Err("a timestamp scale of 0".into()),
            _ => Ok(()),
        }
    }

    fn describe(&mut self, tracks: &[u8]) -> Vec<Found> {
        const TRACK_ENTRY: u32 = 0xAE;
        let entries = children(tracks).filter(|(id, _)| *id == TRACK_ENTRY);
        let entries = entries
            .take(MAX_TRACKS)
            .map(|(_, entry)| Entry::read(entry));
        let (described, found) = entries.map(Entry::describe).unzip();
        self.tracks = described;
        found
    }

    pub fn next(&mut self) -> Result<Option<Sample>, String> {
        for _ in 0..MAX_ELEMENTS {
            if let Some(sample) = self.frames.pop_front() {
                return Ok(Some(sample));
            }
            let header = match self.next.take() {
                Some(header) => header,
                None => match self.header()? {
                    Some(header) => header,
                    None => return Ok(None),
                },
            };
            self.element(header)?;
        }
        Err("more elements without a frame than sense".into())
    }

    /// Handles an element of the segment or of a cluster: if these have no length, only the elements tell where they
    /// end.
    fn element(&mut self, header: Header) -> Result<(), String> {
        match (header.id, header.length) {
            (EBML, Some(length)) => self.skip(length),
            // The content of these is read element by element.
            (SEGMENT | CLUSTER, _) => Ok(()),
            (TIMESTAMP, Some(length)) if length <= 8 => {
                let bytes = self.bytes(length)?;
                self.base = uint(&bytes);
                Ok(())
            }
            (SIMPLE_BLOCK, Some(length)) => {
                let block = self.block(length)?;
                let start = self.elements.at() - block.len() as u64;
                self.take_block(&block, start, None)
            }
            (BLOCK_GROUP, Some(length)) => {
                let group = self.block(length)?;
                let start = self.elements.at() - group.len() as u64;
                let part = |wanted: u32| children(&group).find(|(id, _)| *id == wanted);
                let duration = part(BLOCK_DURATION).map(|(_, bytes)| uint(bytes));
                match part(BLOCK) {
                    Some((_, block)) => self.take_block(block, start, duration),
                    None => Ok(()),
                }
            }
            (_, Some(length)) => self.skip(length),
            (id, None) => Err(format!("an element {id:X} of unknown length")),
        }
    }

    fn block(&mut self, length: u64) -> Result<Vec<u8>, String> {
        if length > self.max_block {
            return Err(format!(
                "a block of {length} bytes; the limit is {}",
                self.max_block
            ));
        }
        self.bytes(length)
    }

    /// Handles a block (RFC 9559 §10.1) of one or several frames.
    fn take_block(&mut self, block: &[u8], at: u64, duration: Option<u64>) -> Result<(), String> {
        let cut = || "a block without a header".to_owned();
        let (number, rest) = vint(block, 8, false).ok_or_else(cut)?;
        let (&[high, low, flags], frames) = rest.split_first_chunk::<3>().ok_or_else(cut)?;
        let Some(track) = self.tracks.iter().find(|t| t.number == number) else {
            return Ok(());
        };
        let frames = laced(frames, flags >> 1 & 3).ok_or("a block with a wrong lacing")?;
        // A cluster's timestamp is usually that of its first frame; some frames precede it.
        let units = i128::from(self.base) + i128::from(i16::from_be_bytes([high, low]));
        let time = |units: i128| {
            let nanos = u64::try_from(units.max(0) * i128::from(self.scale)).ok()?;
            let time = Duration::from_nanos(nanos);
            (time <= MAX_TIME).then_some(time)
        };
        let start = time(units).ok_or("a timestamp above a hundred years")?;
        let whole = duration.and_then(|d| time(d.into()));
        let each = match (whole, track.default_duration) {
            (Some(whole), _) => whole.checked_div(u32::try_from(frames.len()).unwrap_or(1)),
            (None, default) => default.map(Duration::from_nanos).filter(|d| *d <= MAX_TIME),
        };
        for (n, frame) in (0u32..).zip(frames) {
            let mut data = track.stripped.clone();
            data.extend_from_slice(frame);
            let later = each.unwrap_or_default().saturating_mul(n);
            self.frames.push_back(Sample {
                track: number,
                time: start.saturating_add(later).min(MAX_TIME),
                duration: each,
                offset: at,
                data,
            });
        }
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, String> {
        if self.elements.left() == 0 {
            return Ok(None);
        }
        match self.elements.header().map_err(unreadable)? {
            Some(header) => Ok(Some(header)),
            None if self.elements.left() == 0 => {
                Err("it ends inside an element: it was cut off".into())
            }
            None => Err("no element where one should begin".into()),
        }
    }

    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, String> {
        let bytes = self.elements.bytes(length).map_err(unreadable)?;
        match bytes.len() as u64 {
            have if have < length => Err(format!(
                "it ends inside an element, {have} of {length} bytes are there: it was cut off"
            )),
            _ => Ok(bytes),
        }
    }

    fn skip(&mut self, length: u64) -> Result<(), String> {
        if length > self.elements.left() {
            return Err("it ends inside an element: it was cut off".into());
        }
        self.elements.skip(length).map_err(unreadable)
    }
}

/// Returns the frames in a block (RFC 9559 §10.3); `None` if their lengths are invalid.
fn laced(bytes: &[u8], lacing: u8) -> Option<Vec<&[u8]>> {
    const XIPH: u8 = 1;
    const EBML_LACING: u8 = 3;
    if lacing == 0 {
        return Some(vec![bytes]);
    }
    let (&count, mut rest) = bytes.split_first()?;
    let count = usize::from(count) + 1;
    let mut sizes: Vec<usize> = Vec::with_capacity(count);
    for n in 0..count - 1 {
        let size = match lacing {
            XIPH => {
                let mut size = 0;
                loop {
                    let (&byte, behind) = rest.split_first()?;
                    rest = behind;
                    size += usize::from(byte);
                    if byte < 255 {
                        break size;
                    }
                }
            }
            EBML_LACING => {
                let length = rest.first()?.leading_zeros() + 1;
                let (value, behind) = vint(rest, 8, false)?;
                rest = behind;
                let value = i64::try_from(value).ok()?;
                match n.checked_sub(1).and_then(|before| sizes.get(before)) {
                    None => usize::try_from(value).ok()?,
                    // The difference from the previous one, as a signed number.
                    Some(before) => {
                        let bias = (1i64 << (7 * length - 1)) - 1;
                        let size = i64::try_from(*before).ok()?.checked_add(value - bias)?;
                        usize::try_from(size).ok()?
                    }
                }
            }
            // All frames have the same size, and `rest` contains only them.
            _ => {
                (rest.len() % count == 0).then_some(())?;
                rest.len() / count
            }
        };
        sizes.push(size);
    }
    let mut frames = Vec::with_capacity(count);
    for size in sizes {
        let (frame, behind) = rest.split_at_checked(size)?;
        frames.push(frame);
        rest = behind;
    }
    frames.push(rest);
    Some(frames)
}

fn unreadable(error: std::io::Error) -> String {
    format!("cannot be read: {error}")
}

/// The needed fields of a TrackEntry.
#[derive(Default)]
struct Entry<'a> {
    number: u64,
    codec: String,
    private: &'a [u8],
    channels: u64,
    default_duration: Option<u64>,
    stripped: Vec<u8>,
    /// Set if frames are compressed or encrypted in a way that is not supported.
    is_encoded: bool,
}

impl<'a> Entry<'a> {
    fn read(entry: &'a [u8]) -> Self {
        let mut read = Self {
            channels: 1,
            ..Self::default()
        };
        for (id, bytes) in children(entry) {
            match id {
                0xD7 => read.number = uint(bytes),
                0x86 => read.codec = text(bytes),
                0x63A2 => read.private = bytes,
                0x23_E383 => read.default_duration = Some(uint(bytes)).filter(|d| *d > 0),
                0xE1 => {
                    let channels = children(bytes).find(|(id, _)| *id == 0x9F);
                    read.channels = channels.map_or(1, |(_, n)| uint(n));
                }
                0x6D80 => read.encodings(bytes),
                _ => {}
            }
        }
        read
    }

    /// Reads the content encodings. Header stripping can be reversed; anything else is unsupported.
    fn encodings(&mut self, encodings: &[u8]) {
        const HEADER_STRIPPING: u64 = 3;
        let mut all = children(encodings).filter(|(id, _)| *id == 0x6240);
        let (Some((_, encoding)), None) = (all.next(), all.next()) else {
            self.is_encoded = children(encodings).next().is_some();
            return;
        };
        let compression = children(encoding).find(|(id, _)| *id == 0x5034);
        let Some((_, compression)) = compression else {
            self.is_encoded = true;
            return;
        };
        let part = |wanted: u32| children(compression).find(|(id, _)| *id == wanted);
        // The default is 0: zlib.
        match part(0x4254).map_or(0, |(_, bytes)| uint(bytes)) {
            HEADER_STRIPPING => {
                let stripped = part(0x4255).map(|(_, bytes)| bytes).unwrap_or_default();
                self.is_encoded = stripped.len() > MAX_STRIPPED;
                self.stripped = stripped.get(..MAX_STRIPPED).unwrap_or(stripped).to_vec();
            }
            _ => self.is_encoded = true,
        }
    }

    fn describe(self) -> (Described, Found) {
        let (codec, nal) = self.codec();
        let described = Described {
            number: self.number,
            stripped: self.stripped,
            default_duration: self.default_duration,
        };
        let found = Found {
            number: self.number,
            codec,
            nal,
        };
        (described, found)
    }

    fn codec(&self) -> (Result<Codec, String>, NalFormat) {
        let mut nal = NalFormat::default();
        let id = self.codec.as_str();
        let codec = match Codec::of_matroska(id) {
            _ if self.is_encoded => Err(format!("{id} with content encodings")),
            Some(codec) if codec.is_byte_stream() => {
                let parsed = match codec {
                    Codec::H264 => NalFormat::from_avcc(self.private),
                    _ => NalFormat::from_hvcc(self.private),
                };
                match parsed {
                    Some(parsed) => {
                        nal = parsed;
                        Ok(codec)
                    }
                    None => Err(format!("{id} with damaged parameter sets")),
                }
            }
            Some(codec) if !codec.is_video() && !matches!(self.channels, 1 | 2) => {
                let (name, channels) = (codec.description().common_name, self.channels);
                Err(format!("{name} audio with {channels} channels"))
            }
            Some(codec) => Ok(codec),
            None => Err(named(id)),
        };
        (codec, nal)
    }
}

/// Returns the common name of a codec.
fn named(id: &str) -> String {
    match id {
        _ if id.starts_with("A_AAC") => "AAC audio".into(),
        "A_MPEG/L3" => "MP3 audio".into(),
        "A_VORBIS" => "Vorbis audio".into(),
        "A_FLAC" => "FLAC audio".into(),
        "A_AC3" | "A_EAC3" => "AC-3 audio".into(),
        _ if id.starts_with("A_PCM") => "uncompressed audio".into(),
        _ if id.starts_with("S_") => "a track of subtitles".into(),
        other => format!("a track of {other:?}"),
    }
}

/// Reads a string, which may be padded with zeros.
fn text(bytes: &[u8]) -> String {
    const MAX: usize = 256;
    let bytes = bytes.get(..MAX).unwrap_or(bytes);
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}
