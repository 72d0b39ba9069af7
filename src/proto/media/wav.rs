//! G.711 in WAV, and raw G.711 and G.722 (RFC 2361 registers the WAV format tags; the container is RIFF of Microsoft's
//! "Multimedia Programming Interface and Data Specifications 1.0").

use std::time::Duration;

use super::input::{Input, le16, le32};
use super::{Codec, FileFormat, Frame, Limits, MediaError, MediaErrorKind, Patch};

/// Size of a 20 ms frame in bytes: all three codecs have 64 kbit/s.
const FRAME_BYTES: usize = 160;
const BYTES_A_SECOND: u64 = 8000;

const TAG_PCM: u16 = 1;
const TAG_FLOAT: u16 = 3;
/// The format tag is in the first two bytes of a GUID that follows.
const TAG_EXTENSIBLE: u16 = 0xFFFE;

/// Maximum size of a `fmt ` chunk, in bytes; longer ones are treated as damage.
const MAX_FORMAT_CHUNK: u32 = 4096;

/// Length field of writers to a pipe, which do not know it.
const UNKNOWN: u32 = u32::MAX;

/// Returns the byte for silence in this codec, used to pad the last frame.
fn silence(codec: Codec) -> u8 {
    match codec.description().file {
        FileFormat::Samples { silence, .. } => silence,
        _ => 0,
    }
}

/// Reads frames of 20 ms from WAV with G.711, or from raw G.711 or G.722. A shorter one at the end is padded with
/// silence.
#[derive(Debug)]
pub struct WavReader {
    input: Input,
    state: State,
    error: Option<MediaError>,
    frames: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    RiffHeader,
    /// Before a chunk; the codec, if it was read.
    Chunk(Option<Codec>),
    /// In a skipped chunk, with this many bytes left.
    Skip(u64, Option<Codec>),
    /// In the audio data; bytes left, `None` up to the end of the input.
    Data(Codec, Option<u64>),
    /// After the audio data: the rest is skipped.
    Done,
}

impl WavReader {
    /// Creates a reader for a WAV file or stream from its beginning.
    pub fn new(limits: Limits) -> Self {
        Self::at(State::RiffHeader, limits)
    }

    /// Creates a reader for raw G.711 or G.722 without a header; `None` for other codecs.
    pub fn raw(codec: Codec, limits: Limits) -> Option<Self> {
        let fits = codec.is_samples();
        fits.then(|| Self::at(State::Data(codec, None), limits))
    }

    fn at(state: State, limits: Limits) -> Self {
        Self {
            input: Input::new(&limits),
            state,
            error: None,
            frames: 0,
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

    /// Returns the codec, once it has been read.
    pub fn codec(&self) -> Option<Codec> {
        match self.state {
            State::Data(codec, _) => Some(codec),
            State::Chunk(codec) | State::Skip(_, codec) => codec,
            State::RiffHeader | State::Done => None,
        }
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

    fn next(&mut self) -> Result<Option<Frame>, MediaError> {
        loop {
            let progress = match self.state {
                State::RiffHeader => self.riff_header()?,
                State::Chunk(codec) => self.chunk(codec)?,
                State::Skip(bytes, codec) => self.skip(bytes, codec)?,
                State::Data(codec, left) => match self.data(codec, left)? {
                    Some(frame) => return Ok(Some(frame)),
                    None => self.state == State::Done,
                },
                State::Done => {
                    self.input.consume(usize::MAX);
                    return Ok(None);
                }
            };
            if !progress {
                return Ok(None);
            }
        }
    }

    fn riff_header(&mut self) -> Result<bool, MediaError> {
        let start = self.input.unread();
        let riff = start.get(..start.len().min(4)).unwrap_or_default();
        let wave = start.get(8..start.len().clamp(8, 12)).unwrap_or_default();
        if !b"RIFF".starts_with(riff) || !b"WAVE".starts_with(wave) {
            let reason = match riff {
                b"RF64" | b"RIFX" => {
                    "RF64 and RIFX are not supported: ffmpeg -i INPUT -c copy OUTPUT.wav"
                }
                _ => "not WAV: it does not begin with \"RIFF\" and \"WAVE\"",
            };
            return self.fail(MediaErrorKind::WrongFormat, 0, reason);
        }
        if start.len() < 12 {
            return self.incomplete("its header");
        }
        self.input.consume(12);
        self.state = State::Chunk(None);
        Ok(true)
    }

    fn chunk(&mut self, codec: Option<Codec>) -> Result<bool, MediaError> {
        let Some(head) = self.input.peek(8) else {
            return self.incomplete("a chunk header");
        };
        let size = le32(head, 4);
        match head.get(..4) {
            Some(b"fmt ") => return self.format(size),
            Some(b"data") => {
                let Some(codec) = codec else {
                    return self.fail(
                        MediaErrorKind::Damaged,
                        0,
                        "WAV with sound before its format",
                    );
                };
                // The length is 0 if the writer was killed, and UNKNOWN if it wrote to a pipe.
                let left = (size != 0 && size != UNKNOWN).then_some(u64::from(size));
                self.input.consume(8);
                self.state = State::Data(codec, left);
            }
            _ => {
                self.input.consume(8);
                self.state = State::Skip(padded(size), codec);
            }
        }
        Ok(true)
    }

    fn format(&mut self, size: u32) -> Result<bool, MediaError> {
        if !(16..=MAX_FORMAT_CHUNK).contains(&size) {
            let reason = format!("a WAV format chunk of {size} bytes");
            return self.fail(MediaErrorKind::Damaged, 4, reason);
        }
        let Some(whole) = self.input.peek(8 + padded(size) as usize) else {
            return self.incomplete("its format chunk");
        };
        let body = whole.get(8..).unwrap_or_default();
        let mut tag = le16(body, 0);
        if tag == TAG_EXTENSIBLE && size >= 26 {
            tag = le16(body, 24);
        }
        let (channels, rate) = (le16(body, 2), le32(body, 4));
        let is_it = |f| matches!(f, FileFormat::Samples { wav, .. } if wav == Some(tag));
        let Some(codec) = Codec::in_file(is_it) else {
            let what = match tag {
                TAG_PCM => "linear PCM".into(),
                TAG_FLOAT => "floating point samples".into(),
                other => format!("format {other:#06x}"),
            };
            let reason = format!(
                "WAV with {what}; only G.711 can be sent as it is. \
                 Convert: ffmpeg -i INPUT -ar 8000 -ac 1 -c:a pcm_mulaw OUTPUT.wav"
            );
            return self.fail(MediaErrorKind::Unsupported, 8, reason);
        };
        if (channels, rate) != (1, 8000) {
            let reason = format!(
                "{codec} with {channels} channels at {rate} Hz; over RTP it is 1 at 8000 (RFC 3551). \
                 Convert: ffmpeg -i INPUT -ar 8000 -ac 1 -c:a pcm_mulaw OUTPUT.wav"
            );
            return self.fail(MediaErrorKind::Unsupported, 10, reason);
        }
        self.input.consume(8 + padded(size) as usize);
        self.state = State::Chunk(Some(codec));
        Ok(true)
    }

    fn skip(&mut self, bytes: u64, codec: Option<Codec>) -> Result<bool, MediaError> {
        let here = self.input.unread().len();
        let now = usize::try_from(bytes).unwrap_or(usize::MAX).min(here);
        self.input.consume(now);
        let left = bytes - now as u64;
        if left > 0 {
            self.state = State::Skip(left, codec);
            return self.incomplete("a chunk before its sound");
        }
        self.state = State::Chunk(codec);
        Ok(true)
    }

    fn data(&mut self, codec: Codec, left: Option<u64>) -> Result<Option<Frame>, MediaError> {
        let wanted = left.map_or(FRAME_BYTES, |left| left.min(FRAME_BYTES as u64) as usize);
        if wanted == 0 {
            self.state = State::Done;
            return Ok(None);
        }
        let offset = self.input.offset();
        let have = self.input.unread().len().min(wanted);
        if have < wanted {
            if !self.input.is_finished() {
                return Ok(None);
            }
            if have == 0 {
                self.state = State::Done;
                return match left {
                    None => Ok(None),
                    Some(left) => {
                        let reason = format!("WAV ends before its sound: {left} bytes are missing");
                        self.fail(MediaErrorKind::Truncated, 0, reason)
                    }
                };
            }
        }
        let mut data = self.input.peek(have).unwrap_or_default().to_vec();
        data.resize(FRAME_BYTES, silence(codec));
        self.input.consume(have);
        self.state = State::Data(codec, left.map(|left| left - have as u64));
        let frame = Frame {
            time: Duration::from_millis(20 * self.frames),
            duration: Duration::from_millis(20),
            keyframe: true,
            offset,
            data,
        };
        self.frames += 1;
        Ok(Some(frame))
    }

    /// Handles missing input: an error only if the input has ended.
    fn incomplete(&mut self, what: &str) -> Result<bool, MediaError> {
        if !self.input.is_finished() {
            return Ok(false);
        }
        self.fail(
            MediaErrorKind::Truncated,
            0,
            format!("WAV ends inside {what}"),
        )
    }

    fn fail<T>(
        &self,
        kind: MediaErrorKind,
        at: u64,
        reason: impl Into<String>,
    ) -> Result<T, MediaError> {
        Err(MediaError::new(kind, self.input.offset() + at, reason))
    }
}

/// Chunks start at even positions.
fn padded(size: u32) -> u64 {
    u64::from(size) + u64::from(size & 1)
}

/// Writes G.711 to WAV.
#[derive(Debug)]
pub struct WavWriter {
    codec: Codec,
    start: Option<Duration>,
    bytes: u64,
}

impl WavWriter {
    /// RIFF header, `fmt ` of 18 bytes, `fact` of 4, `data`.
    const HEADER: u64 = 12 + 8 + 18 + 8 + 4 + 8;

    /// Maximum gap that is written as silence.
    const MAX_GAP: Duration = Duration::from_secs(3600);

    /// Appends the header to `out`, with lengths marked as unknown. Returns an error for codecs other than PCMU and
    /// PCMA.
    pub fn new(codec: Codec, out: &mut Vec<u8>) -> Result<Self, MediaError> {
        let FileFormat::Samples { wav: Some(tag), .. } = codec.description().file else {
            let reason = format!("WAV is written with PCMU or PCMA, not {codec}");
            return Err(MediaError::new(MediaErrorKind::Unsupported, 0, reason));
        };
        out.extend_from_slice(b"RIFF");
        out.extend_from_slice(&UNKNOWN.to_le_bytes());
        out.extend_from_slice(b"WAVEfmt ");
        out.extend_from_slice(&18u32.to_le_bytes());
        for field in [tag, 1] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        for rate in [8000u32, 8000] {
            out.extend_from_slice(&rate.to_le_bytes());
        }
        for field in [1u16, 8, 0] {
            out.extend_from_slice(&field.to_le_bytes()); // block align, bits, extra bytes
        }
        out.extend_from_slice(b"fact");
        out.extend_from_slice(&4u32.to_le_bytes());
        out.extend_from_slice(&UNKNOWN.to_le_bytes());
        out.extend_from_slice(b"data");
        out.extend_from_slice(&UNKNOWN.to_le_bytes());
        Ok(Self {
            codec,
            start: None,
            bytes: 0,
        })
    }

    /// Appends a packet of any length that begins at `time`, relative to an arbitrary origin: the first packet defines
    /// the beginning. A gap before it is filled with silence.
    ///
    /// Returns an error, and writes nothing, if it begins more than 1 ms before the end of the previous one, after a
    /// gap of an hour or more, or if the file would reach 4 GiB.
    pub fn write(
        &mut self,
        time: Duration,
        packet: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), MediaError> {
        let fail = |kind, reason| Err(MediaError::new(kind, Self::HEADER + self.bytes, reason));
        let start = *self.start.get_or_insert(time);
        let at = super::ticks(time.saturating_sub(start), 8000);
        if at + BYTES_A_SECOND / 1000 < self.bytes || time < start {
            let reason = format!("a packet at {time:?}, before the last one ended");
            return fail(MediaErrorKind::Reordered, reason);
        }
        let gap = at.saturating_sub(self.bytes);
        if gap >= Self::MAX_GAP.as_secs() * BYTES_A_SECOND {
            let gap = Duration::from_secs(gap / BYTES_A_SECOND);
            return fail(MediaErrorKind::TooLarge, format!("a gap of {gap:?}"));
        }
        let bytes = self.bytes + gap + packet.len() as u64;
        if bytes + Self::HEADER >= u64::from(UNKNOWN) {
            return fail(MediaErrorKind::TooLarge, "WAV ends at 4 GiB".into());
        }
        out.resize(out.len() + gap as usize, silence(self.codec));
        out.extend_from_slice(packet);
        self.bytes = bytes;
        Ok(())
    }

    /// Returns the lengths for the header. May be called at any time. A file of odd length also needs a byte of
    /// padding, which [`finish`](Self::finish) appends.
    pub fn patches(&self) -> [Patch; 3] {
        // `write` keeps the total below 4 GiB.
        let data = self.bytes as u32;
        let riff = (Self::HEADER - 8) as u32 + data + (data & 1);
        [(4, riff), (46, data), (54, data)].map(|(offset, length)| Patch {
            offset,
            bytes: length.to_le_bytes(),
        })
    }

    /// Ends the file.
    pub fn finish(self, out: &mut Vec<u8>) -> [Patch; 3] {
        if self.bytes % 2 == 1 {
            out.push(0);
        }
        self.patches()
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::{Reader, tests::drain};
    use super::*;
    use MediaErrorKind::{Damaged, Reordered, TooLarge, Truncated, Unsupported, WrongFormat};

    fn read(reader: WavReader, file: &[u8], chunk: usize) -> (Vec<Frame>, Option<MediaError>) {
        drain(&mut Reader::Wav(Box::new(reader)), file, chunk)
    }

    fn wav(file: &[u8]) -> (Vec<Frame>, Option<MediaError>) {
        let mut results =
            [1, 7, usize::MAX].map(|chunk| read(WavReader::new(Limits::default()), file, chunk));
        assert!(results.iter().all(|result| *result == results[0]));
        std::mem::take(&mut results[0])
    }

    fn sample(bytes: usize, patched: bool) -> Vec<u8> {
        let mut file = Vec::new();
        let mut writer = WavWriter::new(Codec::Pcma, &mut file).unwrap();
        assert_eq!(file.len() as u64, WavWriter::HEADER);
        for (n, chunk) in vec![0x55; bytes].chunks(160).enumerate() {
            let time = Duration::from_millis(500 + 20 * n as u64);
            writer.write(time, chunk, &mut file).unwrap();
        }
        for patch in writer.finish(&mut file) {
            if patched {
                patch.apply(&mut file);
            }
        }
        file
    }

    #[test]
    fn round_trip() {
        for bytes in [1, 159, 160, 161, 1000] {
            for patched in [true, false] {
                let (frames, error) = wav(&sample(bytes, patched));
                assert_eq!(error, None);
                assert_eq!(frames.len(), bytes.div_ceil(160));
                let last = frames.last().unwrap();
                assert_eq!(last.time.as_millis(), 20 * (frames.len() as u128 - 1));
                let silence = last.data.iter().filter(|byte| **byte == 0xD5).count();
                let padding = usize::from(!patched && bytes % 2 == 1);
                assert_eq!(
                    (last.data.len(), silence + padding),
                    (160, frames.len() * 160 - bytes)
                );
            }
        }
    }

    #[test]
    fn chunks_around_the_sound() {
        let plain = sample(480, true);
        let list = [b"LIST\x03\0\0\0".to_vec(), vec![1, 2, 3, 0]].concat();
        let file = [&plain[..12], &list, &plain[12..], &list, b"junk"].concat();
        let (frames, error) = wav(&file);
        assert_eq!((frames.len(), error), (3, None));
    }

    #[test]
    fn refused_and_damaged() {
        let kind = |at: usize, bytes: &[u8]| {
            let mut file = sample(480, true);
            file[at..at + bytes.len()].copy_from_slice(bytes);
            let error = wav(&file).1.expect("an error");
            (error.kind, error.offset)
        };
        assert_eq!(kind(0, b"RIFX"), (WrongFormat, 0));
        assert_eq!(kind(8, b"AVI "), (WrongFormat, 0));
        assert_eq!(kind(16, &[4]), (Damaged, 16));
        assert_eq!(kind(20, &[1]), (Unsupported, 20));
        assert_eq!(kind(22, &[2]), (Unsupported, 22));
        assert_eq!(kind(24, &[0x80, 0x3E]), (Unsupported, 22));
        assert_eq!(kind(12, b"none"), (Damaged, 50));
        let whole = sample(480, true);
        for end in 0..whole.len() {
            let (frames, error) = wav(&whole[..end]);
            let error = error.unwrap_or_else(|| panic!("{end}"));
            assert_eq!(error.kind, Truncated, "{end}: {error}");
            assert_eq!(frames.len(), end.saturating_sub(58).div_ceil(160));
        }
    }

    #[test]
    fn raw() {
        let reader = WavReader::raw(Codec::G722, Limits::default()).unwrap();
        let (frames, error) = read(reader, &[9; 321], 13);
        assert_eq!((frames.len(), error), (3, None));
        assert!(WavReader::raw(Codec::Opus, Limits::default()).is_none());
    }

    #[test]
    fn the_writer_refuses_and_fills() {
        let mut out = Vec::new();
        assert_eq!(
            WavWriter::new(Codec::G722, &mut out).unwrap_err().kind,
            Unsupported
        );
        let mut writer = WavWriter::new(Codec::Pcmu, &mut out).unwrap();
        let mut write = |ms| {
            let result = writer.write(Duration::from_millis(ms), &[1; 160], &mut out);
            (
                result.map_err(|error| error.kind),
                out.len() as u64 - WavWriter::HEADER,
            )
        };
        assert_eq!(write(1000), (Ok(()), 160));
        assert_eq!(write(1010), (Err(Reordered), 160));
        assert_eq!(write(999), (Err(Reordered), 160));
        assert_eq!(write(1060), (Ok(()), 640));
        assert_eq!(write(3_700_000), (Err(TooLarge), 640));
    }
}
