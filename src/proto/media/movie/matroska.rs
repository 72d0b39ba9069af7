//! Matroska and WebM (RFC 9559), by `matroska-demuxer`.

use std::io::{Read, Seek};
use std::time::Duration;

use matroska_demuxer::{DemuxError, Frame, MatroskaFile, TrackEntry};

use super::super::{Codec, MAX_TIME};
use super::{Found, NalFormat, Sample};

/// A Matroska file.
pub(super) struct Matroska<R: Read + Seek> {
    file: MatroskaFile<R>,
    /// Nanoseconds in a unit of timestamps.
    scale: u64,
    frame: Frame,
}

impl<R: Read + Seek> std::fmt::Debug for Matroska<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matroska")
            .field("scale", &self.scale)
            .finish_non_exhaustive()
    }
}

impl<R: Read + Seek> Matroska<R> {
    pub fn open(input: R) -> Result<(Self, Vec<Found>), String> {
        let file = MatroskaFile::open(input).map_err(|e| said(&e))?;
        let found = file.tracks().iter().map(describe).collect();
        let scale = file.info().timestamp_scale().get();
        let frame = Frame::default();
        Ok((Self { file, scale, frame }, found))
    }

    pub fn next(&mut self) -> Result<Option<Sample>, String> {
        let more = self
            .file
            .next_frame(&mut self.frame)
            .map_err(|e| said(&e))?;
        if !more {
            return Ok(None);
        }
        let time = |units: u64| {
            let time = Duration::from_nanos(units.checked_mul(self.scale)?);
            (time <= MAX_TIME).then_some(time)
        };
        Ok(Some(Sample {
            track: self.frame.track,
            time: time(self.frame.timestamp).ok_or("a timestamp above a hundred years")?,
            duration: self.frame.duration.and_then(time),
            offset: None,
            data: std::mem::take(&mut self.frame.data),
        }))
    }
}

/// The demuxer's error, which does not say by itself what was wrong with reading.
fn said(error: &DemuxError) -> String {
    match error {
        DemuxError::IoError(error) => format!("Matroska: {error}"),
        error => format!("Matroska: {error}"),
    }
}

fn describe(track: &TrackEntry) -> Found {
    let id = track.codec_id();
    let private = track.codec_private().unwrap_or_default();
    let mut nal = NalFormat::default();
    let codec = match id {
        // Compressed or encrypted beyond the codec.
        _ if track
            .content_encodings()
            .is_some_and(|encodings| !encodings.is_empty()) =>
        {
            Err(format!("{id} with content encodings"))
        }
        "V_VP8" => Ok(Codec::Vp8),
        "V_VP9" => Ok(Codec::Vp9),
        "V_AV1" => Ok(Codec::Av1),
        "V_MPEG4/ISO/AVC" | "V_MPEGH/ISO/HEVC" => {
            let (codec, parsed) = match id {
                "V_MPEG4/ISO/AVC" => (Codec::H264, NalFormat::from_avcc(private)),
                _ => (Codec::H265, NalFormat::from_hvcc(private)),
            };
            match parsed {
                Some(parsed) => {
                    nal = parsed;
                    Ok(codec)
                }
                None => Err(format!("{id} with damaged parameter sets")),
            }
        }
        "A_OPUS" => match track.audio().map_or(1, |audio| audio.channels().get()) {
            1 | 2 => Ok(Codec::Opus),
            more => Err(format!("{id} with {more} channels")),
        },
        other => Err(other.to_string()),
    };
    Found {
        number: track.track_number().get(),
        codec,
        nal,
    }
}
