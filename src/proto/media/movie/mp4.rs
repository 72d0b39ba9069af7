//! MP4 (ISO/IEC 14496-12, -14, -15), parsed by `shiguredo_mp4`, which requests ranges of the file.

use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use shiguredo_mp4::BoxType;
use shiguredo_mp4::boxes::SampleEntry;
use shiguredo_mp4::demux::{
    DemuxError, Fmp4FileDemuxer, Input, Mp4FileDemuxer, Mp4FileKind, Mp4FileKindDetector,
    RequiredInput,
};

use super::super::{Codec, MAX_TIME, Timebase};
use super::edits::Timelines;
use super::fragments;
use super::{Found, NalFormat, Sample};

/// Maximum size of the tables, or of a fragment with its frames, in bytes.
const MAX_BOX: u64 = 64 << 20;

/// Maximum number of consecutive requests without a result, for files of damaged boxes.
const MAX_REQUESTS: usize = 100_000;

/// Maximum number of consecutive samples hidden by an edit list.
const MAX_HIDDEN: usize = 10_000_000;

/// An MP4 file.
#[derive(Debug)]
pub(super) struct Mp4<R> {
    input: R,
    size: u64,
    demuxer: Demuxer,
    kind: Mp4FileKind,
    timelines: Timelines,
}

#[derive(Debug)]
enum Demuxer {
    Plain(Box<Mp4FileDemuxer>),
    Fragmented(Box<Fmp4FileDemuxer>),
}

/// A sample whose data has not been read.
struct Place {
    track: u32,
    timestamp: i128,
    duration: u32,
    timescale: u32,
    offset: u64,
    size: usize,
}

impl Demuxer {
    fn new(kind: Mp4FileKind) -> Self {
        match kind {
            Mp4FileKind::Mp4 => Self::Plain(Box::new(Mp4FileDemuxer::new())),
            Mp4FileKind::FragmentedMp4 => Self::Fragmented(Box::new(Fmp4FileDemuxer::new())),
        }
    }

    fn required_input(&self) -> Option<RequiredInput> {
        match self {
            Self::Plain(demuxer) => demuxer.required_input(),
            Self::Fragmented(demuxer) => demuxer.required_input(),
        }
    }

    fn handle_input(&mut self, input: Input<'_>) {
        match self {
            Self::Plain(demuxer) => demuxer.handle_input(input),
            Self::Fragmented(demuxer) => demuxer.handle_input(input),
        }
    }

    /// Returns the next sample, with the description of its track if that is new.
    fn next(&mut self) -> Result<Option<(Place, Option<SampleEntry>)>, DemuxError> {
        let sample = match self {
            Self::Plain(demuxer) => demuxer.next_sample()?,
            Self::Fragmented(demuxer) => demuxer.next_sample()?,
        };
        Ok(sample.map(|sample| {
            let place = Place {
                track: sample.track.track_id,
                timestamp: i128::from(sample.timestamp)
                    + i128::from(sample.composition_time_offset.unwrap_or(0)),
                duration: sample.duration,
                timescale: sample.track.timescale.get(),
                offset: sample.data_offset,
                size: sample.data_size,
            };
            (place, sample.sample_entry.cloned())
        }))
    }
}

impl<R: Read + Seek> Mp4<R> {
    pub fn open(mut input: R) -> Result<(Self, Vec<Found>), String> {
        let size = input.seek(SeekFrom::End(0)).map_err(unreadable)?;
        let timelines = Timelines::read(&moov(&mut input, size)?);
        let mut detector = Mp4FileKindDetector::new();
        for _ in 0..MAX_REQUESTS {
            let Some(required) = detector.required_input() else {
                break;
            };
            let data = read(&mut input, size, (required.position, required.size))?;
            detector.handle_input(required.to_input(&data));
        }
        let kind = detector
            .file_kind()
            .map_err(broken)?
            .ok_or("MP4 without a moov box")?;
        let demuxer = Demuxer::new(kind);
        let mut file = Self {
            input,
            size,
            demuxer,
            kind,
            timelines,
        };
        let found = file.find_tracks()?;
        file.demuxer = Demuxer::new(kind);
        Ok((file, found))
    }

    /// Returns the duration before presentation time 0 of the file.
    pub fn preroll(&self) -> Duration {
        self.timelines.base()
    }

    pub fn next(&mut self, max_frame: usize) -> Result<Option<Sample>, String> {
        for _ in 0..MAX_HIDDEN {
            let Some((place, _)) = self.next_place()? else {
                return Ok(None);
            };
            let base = Timebase::new(1, place.timescale).ok_or("a timescale of 0")?;
            let units = u64::try_from(place.timestamp.max(0)).unwrap_or(u64::MAX);
            let time = base
                .time(units)
                .ok_or("a timestamp above a hundred years")?;
            let duration = base.time(u64::from(place.duration));
            let shown = match self.timelines.of(place.track) {
                None => Some(time),
                Some(timeline) => timeline.place(time, duration.unwrap_or_default()),
            };
            let Some(time) = shown else {
                continue;
            };
            if time > MAX_TIME {
                return Err("a timestamp above a hundred years".into());
            }
            return Ok(Some(Sample {
                track: u64::from(place.track),
                time,
                duration,
                offset: place.offset,
                data: self.data(&place, max_frame)?,
            }));
        }
        Err("an edit list that shows next to nothing".into())
    }

    fn data(&mut self, place: &Place, max_frame: usize) -> Result<Vec<u8>, String> {
        if place.size > max_frame {
            return Err(format!(
                "a frame of {} bytes; the limit is {max_frame}",
                place.size
            ));
        }
        let end = place.offset.checked_add(place.size as u64);
        if end.is_none_or(|end| end > self.size) {
            let (offset, size) = (place.offset, place.size);
            return Err(format!(
                "the file ends before a frame of {size} bytes at byte {offset}: it was cut off"
            ));
        }
        let mut data = vec![0; place.size];
        self.input
            .seek(SeekFrom::Start(place.offset))
            .map_err(unreadable)?;
        self.input.read_exact(&mut data).map_err(unreadable)?;
        Ok(data)
    }

    fn next_place(&mut self) -> Result<Option<(Place, Option<SampleEntry>)>, String> {
        for _ in 0..MAX_REQUESTS {
            match self.demuxer.next() {
                Ok(sample) => return Ok(sample),
                Err(DemuxError::InputRequired(required)) => {
                    let required = self.demuxer.required_input().unwrap_or(required);
                    // Nothing follows the last fragment.
                    if required.position >= self.size && self.kind == Mp4FileKind::FragmentedMp4 {
                        return Ok(None);
                    }
                    let place = (required.position, required.size);
                    let mut data = read(&mut self.input, self.size, place)?;
                    if self.kind == Mp4FileKind::FragmentedMp4 {
                        fragments::relative_to_moof(&mut data, required.position);
                    }
                    self.demuxer.handle_input(required.to_input(&data));
                }
                Err(error) => return Err(broken(error)),
            }
        }
        Err("MP4 with more boxes than sense".into())
    }

    /// Reads samples until each track has been described.
    fn find_tracks(&mut self) -> Result<Vec<Found>, String> {
        /// Maximum number of other tracks' samples before a track's first one.
        const MAX_SAMPLES: usize = 10_000;
        let mut found: Vec<Found> = Vec::new();
        for _ in 0..MAX_SAMPLES {
            let place = match self.next_place() {
                Ok(Some(place)) => place,
                Ok(None) => break,
                // The tracks found so far can be played.
                Err(_) if !found.is_empty() => break,
                Err(reason) => return Err(reason),
            };
            if let (Place { track, .. }, Some(entry)) = place
                && !found.iter().any(|known| known.number == u64::from(track))
            {
                found.push(describe(track, &entry));
            }
            let tracks = match &mut self.demuxer {
                Demuxer::Plain(demuxer) => demuxer.tracks(),
                Demuxer::Fragmented(demuxer) => demuxer.tracks(),
            };
            if tracks.is_ok_and(|tracks| tracks.len() == found.len()) {
                break;
            }
        }
        Ok(found)
    }
}

/// Finds the `moov` box of the file and reads it.
fn moov<R: Read + Seek>(input: &mut R, size: u64) -> Result<Vec<u8>, String> {
    let mut at = 0;
    for _ in 0..MAX_REQUESTS {
        let Some((kind, length)) = box_at(input, at, size)? else {
            break;
        };
        let end = at.saturating_add(length);
        if &kind == b"moov" && end <= size {
            return read(input, size, (at, usize::try_from(length).ok()));
        }
        if end >= size {
            break;
        }
        at = end;
    }
    Err("MP4 without its tables (a whole moov box, which stands at the end of many files): it was cut off, or \
         whoever wrote it did not come to its end. Write files that can be played at any time with \
         ffmpeg … -movflags +frag_keyframe+empty_moov OUTPUT.mp4"
        .into())
}

/// Returns type and length of the box at this position; `None` if there is none.
fn box_at<R: Read + Seek>(
    input: &mut R,
    at: u64,
    size: u64,
) -> Result<Option<([u8; 4], u64)>, String> {
    let header = read(input, size, (at, Some(16)))?;
    let Some((short, rest)) = header.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let Some((kind, rest)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = match u32::from_be_bytes(*short) {
        0 => size.saturating_sub(at),
        1 => rest
            .first_chunk()
            .map_or(0, |long| u64::from_be_bytes(*long)),
        length => length.into(),
    };
    // A box is at least as long as its header.
    Ok((length >= 8).then_some((*kind, length)))
}

/// Reads the requested range, or as much of it as the file has.
fn read<R: Read + Seek>(
    input: &mut R,
    size: u64,
    (position, length): (u64, Option<usize>),
) -> Result<Vec<u8>, String> {
    let there = size.saturating_sub(position);
    let wanted = length.map_or(there, |length| length as u64).min(there);
    if wanted > MAX_BOX {
        return Err(format!(
            "an MP4 box of {wanted} bytes; the limit is {MAX_BOX}"
        ));
    }
    let mut data = Vec::new();
    input.seek(SeekFrom::Start(position)).map_err(unreadable)?;
    input
        .take(wanted)
        .read_to_end(&mut data)
        .map_err(unreadable)?;
    Ok(data)
}

fn unreadable(error: std::io::Error) -> String {
    format!("cannot be read: {error}")
}

fn broken(error: DemuxError) -> String {
    let text = error.to_string();
    // The rest names a source line of the demuxer.
    let reason = text.split(" (at ").next().unwrap_or_default();
    let (reason, advice) = match reason {
        _ if reason.contains("base_data_offset") => {
            let advice = ". Convert: ffmpeg -i INPUT -c copy -movflags faststart OUTPUT.mp4";
            (reason, advice)
        }
        _ if reason.contains("InvalidData") || reason.contains("decode MP4 box") => {
            ("its tables are damaged, or cut off", "")
        }
        reason => (reason, ""),
    };
    format!("MP4: {reason}{advice}")
}

/// Returns the `avcC` box in a sample entry, whose own fields take 78 bytes (ISO/IEC 14496-12 §12.1.3).
fn avcc(entry: &[u8]) -> Option<&[u8]> {
    let mut rest = entry.get(78..)?;
    loop {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (content, next) = behind.split_at_checked(length.checked_sub(4)?)?;
        if let Some(record) = content.strip_prefix(b"avcC") {
            return Some(record);
        }
        rest = next;
    }
}

/// Returns the common name of a track type.
fn named(kind: &BoxType) -> String {
    let name = kind.as_bytes();
    match name {
        b"tx3g" | b"text" | b"stpp" | b"wvtt" | b"c608" | b"c708" => "a track of subtitles".into(),
        b"tmcd" => "a track of time codes".into(),
        b"encv" | b"enca" => "an encrypted track".into(),
        b"mp4v" => "MPEG-4 Part 2 video".into(),
        b"jpeg" | b"mjpa" | b"mjpb" => "Motion JPEG video".into(),
        b"ac-3" | b"ec-3" => "AC-3 audio".into(),
        b".mp3" => "MP3 audio".into(),
        name => format!("a track of {:?}", String::from_utf8_lossy(name)),
    }
}

fn describe(track: u32, entry: &SampleEntry) -> Found {
    let mut nal = NalFormat::default();
    let codec = match entry {
        SampleEntry::Vp08(_) => Ok(Codec::Vp8),
        SampleEntry::Vp09(_) => Ok(Codec::Vp9),
        SampleEntry::Av01(_) => Ok(Codec::Av1),
        SampleEntry::Avc1(entry) => {
            let record = &entry.avcc_box;
            nal.length_bytes = usize::from(record.length_size_minus_one.get()) + 1;
            nal.parameter_sets = record
                .sps_list
                .iter()
                .chain(&record.pps_list)
                .cloned()
                .collect();
            Ok(Codec::H264)
        }
        SampleEntry::Hev1(_) | SampleEntry::Hvc1(_) => {
            let record = match entry {
                SampleEntry::Hev1(entry) => Some(&entry.hvcc_box),
                SampleEntry::Hvc1(entry) => Some(&entry.hvcc_box),
                _ => None,
            };
            if let Some(record) = record {
                nal.length_bytes = usize::from(record.length_size_minus_one.get()) + 1;
                let sets = record.nalu_arrays.iter().flat_map(|array| &array.nalus);
                nal.parameter_sets = sets.cloned().collect();
            }
            Ok(Codec::H265)
        }
        SampleEntry::Opus(entry) => match entry.audio.channelcount {
            1 | 2 => Ok(Codec::Opus),
            more => Err(format!("Opus with {more} channels")),
        },
        SampleEntry::Mp4a(_) => Err("AAC audio".into()),
        SampleEntry::Flac(_) => Err("FLAC audio".into()),
        // Parameter sets are in band, and may be here as well (ISO/IEC 14496-15 §5.4.2.1).
        SampleEntry::Unknown(entry) if entry.box_type.as_bytes() == b"avc3" => {
            match avcc(&entry.payload).and_then(NalFormat::from_avcc) {
                Some(format) => {
                    nal = format;
                    Ok(Codec::H264)
                }
                None => Err("H.264 (avc3) with a damaged description".into()),
            }
        }
        SampleEntry::Unknown(entry) => Err(named(&entry.box_type)),
    };
    Found {
        number: u64::from(track),
        codec,
        nal,
    }
}
