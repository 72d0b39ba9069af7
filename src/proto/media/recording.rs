//! Recording of received media to files.

use std::time::Duration;

use super::ivf::IvfWriter;
use super::ogg::{OggOpusWriter, WriterConfig};
use super::{
    Codec, FileFormat, MediaError, MediaErrorKind, Patch, Timebase, annexb, keyframe, opus,
};

/// Records a received track to a file: VP8, VP9 and AV1 as IVF, H.264 and H.265 as byte streams, Opus as Ogg.
///
/// - Only decodable frames are written: video starts with a keyframe, and resumes after a gap with the next one.
/// - Times are the sender's, relative to the first frame written; a pause, and silence of Opus with DTX, keeps its
///   duration in the file. Byte streams carry no times.
/// - The picture size may change within all these formats.
/// - The output so far is a complete file at any time, except for the length in IVF's header: [`patch`](Self::patch).
///
/// ```
/// # use looprtc::proto::media::{recording::Recording, Codec};
/// # use std::time::Duration;
/// # let frame = [0x00, 0, 0, 0x9D, 0x01, 0x2A, 64, 0, 48, 0];
/// let mut file = Vec::new();
/// let mut recording = Recording::new(Codec::Vp8)?;
/// recording.write(Duration::from_secs(7), true, true, &frame, &mut file)?;   // as it was received
/// recording.finish(&mut file).unwrap().apply(&mut file);
/// # Ok::<(), looprtc::proto::media::MediaError>(())
/// ```
#[derive(Debug)]
pub struct Recording {
    codec: Codec,
    sink: Sink,
    /// Video only: set while the next keyframe is awaited.
    waiting: bool,
    /// Time of the first frame written, and of the last one.
    times: Option<(Duration, Duration)>,
    /// Duration of the last frame, as far as known.
    last_duration: Duration,
    stats: RecordingStats,
}

/// Statistics of a [`Recording`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordingStats {
    /// Frames written.
    pub frames: u64,
    /// Frames left out: before the first keyframe, between a gap and the next keyframe, or out of order.
    pub dropped: u64,
    /// Duration from the start of the first frame to the end of the last one.
    pub duration: Duration,
}

/// The writer, created with the first frame.
#[derive(Debug)]
enum Sink {
    Ivf(Option<IvfWriter>),
    /// With the extension of its files.
    ByteStream(&'static str),
    Ogg(Option<OggOpusWriter>),
}

/// Timebase of IVF files: RTP times of video fit without loss.
const TICK: (u32, u32) = (1, 90_000);

impl Recording {
    /// Creates an empty recording. Returns an error for codecs without a format here (for G.711 use
    /// [`WavWriter`](super::wav::WavWriter)).
    pub fn new(codec: Codec) -> Result<Self, MediaError> {
        let sink = match codec.description().file {
            FileFormat::Ivf(_) => Sink::Ivf(None),
            FileFormat::ByteStream(extension) => Sink::ByteStream(extension),
            FileFormat::Ogg => Sink::Ogg(None),
            FileFormat::Samples { .. } => {
                let reason = format!("{codec} cannot be recorded this way; see WavWriter");
                return Err(MediaError::new(MediaErrorKind::Unsupported, 0, reason));
            }
        };
        Ok(Self {
            codec,
            sink,
            waiting: codec.is_video(),
            times: None,
            last_duration: Duration::ZERO,
            stats: RecordingStats::default(),
        })
    }

    /// Returns the file name extension: `ivf`, `h264`, `h265` or `ogg`.
    pub fn extension(&self) -> &'static str {
        match &self.sink {
            Sink::Ivf(_) => "ivf",
            Sink::Ogg(_) => "ogg",
            Sink::ByteStream(extension) => extension,
        }
    }

    /// Returns the statistics so far.
    pub fn stats(&self) -> RecordingStats {
        self.stats
    }

    /// Appends a received frame to `out`. Takes its time, whether a decoder can start with it, and whether it directly
    /// follows the previous one. Returns `false` if the frame was of no use and left out, which is counted.
    ///
    /// # Errors
    ///
    /// The writers' errors: a picture or packet that is too large, a gap of an hour or more in audio. Nothing is
    /// written then, and the recording can continue.
    pub fn write(
        &mut self,
        time: Duration,
        keyframe: bool,
        contiguous: bool,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, MediaError> {
        let is_late = self.times.is_some_and(|(_, last)| time < last);
        if self.codec.is_video() {
            let can_start = keyframe && keyframe::dimensions(self.codec, data).is_some();
            self.waiting = !can_start && (self.waiting || !contiguous);
        }
        if self.waiting || is_late || data.is_empty() {
            self.stats.dropped += 1;
            return Ok(false);
        }
        let (begin, last) = self.times.unwrap_or((time, time));
        let written = self.append(time - begin, data, out);
        match written {
            Ok(()) => {}
            // It overlaps with earlier audio.
            Err(error) if error.kind == MediaErrorKind::Reordered => {
                self.stats.dropped += 1;
                return Ok(false);
            }
            Err(error) => {
                self.waiting = self.codec.is_video();
                return Err(error);
            }
        }
        self.times = Some((begin, time));
        self.last_duration = match opus::duration(data) {
            Some(duration) if self.codec == Codec::Opus => duration,
            _ => time - last,
        };
        self.stats.frames += 1;
        self.stats.duration = time - begin + self.last_duration;
        Ok(true)
    }

    /// Returns the bytes to overwrite in the file's header. Apply it from time to time if the file is seekable, so that
    /// it survives a crash.
    pub fn patch(&self) -> Option<Patch> {
        match &self.sink {
            Sink::Ivf(Some(writer)) => Some(writer.patch()),
            _ => None,
        }
    }

    /// Ends the recording: appends pending data and returns the last patch.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Option<Patch> {
        if let Sink::Ogg(writer) = &mut self.sink
            && let Some(writer) = writer.take()
        {
            writer.finish(out);
        }
        self.patch()
    }

    fn append(&mut self, time: Duration, data: &[u8], out: &mut Vec<u8>) -> Result<(), MediaError> {
        match &mut self.sink {
            Sink::ByteStream(_) => {
                annexb::write(data, out);
                Ok(())
            }
            Sink::Ivf(Some(writer)) => writer.write(time, data, out),
            Sink::Ivf(empty) => {
                let (width, height) = keyframe::dimensions(self.codec, data).unwrap_or_default();
                let Some(timebase) = Timebase::new(TICK.0, TICK.1) else {
                    return Ok(()); // neither is 0
                };
                let mut begun = Vec::new();
                let mut writer = IvfWriter::new(self.codec, width, height, timebase, &mut begun)?;
                writer.write(time, data, &mut begun)?;
                out.append(&mut begun);
                *empty = Some(writer);
                Ok(())
            }
            Sink::Ogg(Some(writer)) => writer.write(time, data, out),
            Sink::Ogg(empty) => {
                let mut begun = Vec::new();
                let mut writer = OggOpusWriter::new(WriterConfig::default(), &mut begun)?;
                writer.write(time, data, &mut begun)?;
                out.append(&mut begun);
                *empty = Some(writer);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, Reader, reader::tests::drain};
    use super::*;

    fn key(size: u8) -> Vec<u8> {
        vec![0x00, 0, 0, 0x9D, 0x01, 0x2A, size, 0, 48, 0]
    }

    const DELTA: [u8; 3] = [1, 2, 3];

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn only_what_can_be_decoded() {
        let mut out = Vec::new();
        let mut recording = Recording::new(Codec::Vp8).unwrap();
        let mut write = |time, contiguous, data: &[u8]| {
            let keyframe = data[0] & 1 == 0;
            recording
                .write(ms(time), keyframe, contiguous, data, &mut out)
                .unwrap()
        };
        assert!(!write(1000, true, &DELTA), "no keyframe yet");
        assert!(!write(1010, false, &DELTA));
        assert!(write(1040, false, &key(64)));
        assert!(write(1080, true, &DELTA));
        assert!(!write(1160, false, &DELTA), "a gap");
        assert!(!write(1200, true, &DELTA), "still");
        assert!(!write(1240, true, &[0, 1]), "a keyframe cut short");
        assert!(write(1280, true, &key(32)), "another size");
        assert!(!write(1279, true, &DELTA), "behind its time");
        assert!(write(1320, true, &DELTA));
        let stats = recording.stats();
        assert_eq!((stats.frames, stats.dropped), (4, 6));
        assert_eq!(stats.duration, ms(320));
        assert_eq!(recording.extension(), "ivf");
        recording.finish(&mut out).unwrap().apply(&mut out);
        let (frames, error) = drain(&mut Reader::new(Limits::default()), &out, 7);
        assert_eq!(error, None);
        let times: Vec<_> = frames.iter().map(|f| f.time).collect();
        assert_eq!(times, [ms(0), ms(40), ms(240), ms(280)]);
        assert_eq!(out[12..16], [64, 0, 48, 0]);
        assert_eq!(out[24..28], (320u32 * 90).to_le_bytes());
    }

    #[test]
    fn silence_lasts() {
        let mut out = Vec::new();
        let mut recording = Recording::new(Codec::Opus).unwrap();
        let speech = [0xFC, 1, 2, 3];
        // DTX: one packet in 400 ms. Then a duplicate packet, and one far too early.
        for (time, is_taken) in [
            (500, true),
            (520, true),
            (920, true),
            (920, false),
            (700, false),
            (1320, true),
            (1340, true),
        ] {
            let taken = recording.write(ms(time), true, false, &speech, &mut out);
            assert_eq!(taken, Ok(is_taken), "{time}");
        }
        assert_eq!(recording.stats().duration, ms(860));
        assert_eq!(recording.finish(&mut out), None);
        let (frames, error) = drain(&mut Reader::new(Limits::default()), &out, 7);
        assert_eq!(error, None);
        let last = frames.last().unwrap();
        assert_eq!(last.time + last.duration, ms(860));
        assert_eq!(frames.len(), 43, "lost packets are written as such");
    }

    #[test]
    fn byte_streams_and_what_is_none() {
        let mut out = Vec::new();
        let mut recording = Recording::new(Codec::H264).unwrap();
        let taken = recording.write(ms(0), true, true, &[0, 0, 1, 0x65, 1], &mut out);
        assert_eq!(
            (taken, recording.extension()),
            (Ok(false), "h264"),
            "no SPS"
        );
        assert!(recording.finish(&mut out).is_none() && out.is_empty());
        assert!(Recording::new(Codec::Pcmu).is_err());
    }
}
