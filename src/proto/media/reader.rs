//! A reader for any format, detected from the first bytes.

use std::time::Duration;

use super::annexb::AnnexBReader;
use super::ivf::IvfReader;
use super::ogg::OggOpusReader;
use super::wav::WavReader;
use super::{Codec, Frame, Limits, MediaError, MediaErrorKind, h264, h265, opus};

/// Reads any container or byte stream of this module.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reader {
    /// The format is not known yet.
    Unknown(Sniffer),
    /// IVF.
    Ivf(Box<IvfReader>),
    /// Ogg Opus.
    Ogg(Box<OggOpusReader>),
    /// An H.264 or H.265 byte stream.
    AnnexB(Box<AnnexBReader>),
    /// WAV, raw G.711 or raw G.722.
    Wav(Box<WavReader>),
}

/// Buffered bytes whose format is not known yet.
#[derive(Debug)]
pub struct Sniffer {
    bytes: Vec<u8>,
    limits: Limits,
    finished: bool,
    /// Number of bytes of ID3 tags before them.
    offset: u64,
    /// Number of bytes of a tag still to come.
    tag: u64,
}

impl Sniffer {
    fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let mut start = 0;
        loop {
            let rest = self.bytes.get(start..).unwrap_or_default();
            let skipped = usize::try_from(self.tag).map_or(rest.len(), |n| n.min(rest.len()));
            start += skipped;
            self.tag -= skipped as u64;
            self.offset += skipped as u64;
            match id3_length(rest.get(skipped..).unwrap_or_default()) {
                Some(length) if self.tag == 0 => self.tag = length,
                _ => break,
            }
        }
        self.bytes.drain(..start);
    }
}

/// Returns the length of an ID3v2 tag at the start of these bytes (ID3v2.4.0 §3.1): taggers prepend it to any format.
fn id3_length(bytes: &[u8]) -> Option<u64> {
    let header = bytes.strip_prefix(b"ID3")?.first_chunk::<7>()?;
    let [_, _, flags, size @ ..] = header;
    let size = size.iter().try_fold(0u64, |sum, byte| {
        (byte & 0x80 == 0).then_some(sum << 7 | u64::from(*byte))
    })?;
    let footer = if flags & 0x10 != 0 { 10 } else { 0 };
    Some(10 + size + footer)
}

/// Number of bytes sufficient for every signature.
const SIGNATURE_BYTES: usize = 16;

impl Reader {
    /// Creates a reader that detects the format: IVF, Ogg, WAV, and H.264 or H.265 byte streams. Raw G.711 and G.722
    /// cannot be detected: see [`WavReader::raw`].
    pub fn new(limits: Limits) -> Self {
        Self::Unknown(Sniffer {
            bytes: Vec::new(),
            limits,
            finished: false,
            offset: 0,
            tag: 0,
        })
    }

    /// Adds input. Call [`poll`](Self::poll) until it returns `None` after each call; input beyond
    /// [`Limits::max_unread`] is refused.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        match self {
            Self::Unknown(sniffer) => {
                if sniffer.bytes.len() >= SIGNATURE_BYTES {
                    return Err(unknown(sniffer)); // `poll` said so, too
                }
                sniffer.feed(bytes);
                if sniffer.bytes.len() < SIGNATURE_BYTES {
                    return Ok(());
                }
                self.decide()
            }
            Self::Ivf(reader) => reader.feed(bytes),
            Self::Ogg(reader) => reader.feed(bytes),
            Self::AnnexB(reader) => reader.feed(bytes),
            Self::Wav(reader) => reader.feed(bytes),
        }
    }

    /// Returns the next frame. `None` means that more input is needed or, after [`finish`](Self::finish), the end.
    pub fn poll(&mut self) -> Result<Option<Frame>, MediaError> {
        match self {
            Self::Unknown(sniffer)
                if !sniffer.finished && sniffer.bytes.len() < SIGNATURE_BYTES =>
            {
                Ok(None)
            }
            Self::Unknown(sniffer) => Err(unknown(sniffer)),
            Self::Ivf(reader) => reader.poll(),
            Self::Ogg(reader) => reader.poll(),
            Self::AnnexB(reader) => reader.poll(),
            Self::Wav(reader) => reader.poll(),
        }
    }

    /// Treats the input so far as complete and returns the pending frame, if any, for formats in which the end of a
    /// frame is not marked: see [`AnnexBReader::flush`].
    pub fn flush(&mut self) -> Result<Option<Frame>, MediaError> {
        match self {
            Self::AnnexB(reader) => reader.flush(),
            other => other.poll(),
        }
    }

    /// Marks the end of the input.
    pub fn finish(&mut self) {
        if let Self::Unknown(sniffer) = self {
            sniffer.finished = true;
            // An error is returned by the next poll.
            let _ = self.decide();
        }
        match self {
            Self::Unknown(_) => {}
            Self::Ivf(reader) => reader.finish(),
            Self::Ogg(reader) => reader.finish(),
            Self::AnnexB(reader) => reader.finish(),
            Self::Wav(reader) => reader.finish(),
        }
    }

    /// Returns the codec, once known.
    pub fn codec(&self) -> Option<Codec> {
        match self {
            Self::Unknown(_) => None,
            Self::Ivf(reader) => reader.header().map(|header| header.codec),
            Self::Ogg(reader) => reader.head().map(|_| Codec::Opus),
            Self::AnnexB(reader) => Some(reader.codec()),
            Self::Wav(reader) => reader.codec(),
        }
    }

    /// Returns the duration before the first moment of the media (Opus pre-skip), once known. Players discard it,
    /// WebRTC receivers play it: media in sync with this must start later by this duration.
    pub fn pre_skip(&self) -> Duration {
        match self {
            Self::Ogg(reader) => reader
                .head()
                .map_or(Duration::ZERO, |head| opus::time(head.pre_skip.into())),
            _ => Duration::ZERO,
        }
    }

    /// Describes the damaged or missing data skipped so far, or a correction of the timestamps; `None` if there is
    /// none.
    pub fn damage(&self) -> Option<String> {
        match self {
            Self::Ogg(reader) => reader.damage(),
            Self::Ivf(reader) => reader.correction(),
            _ => None,
        }
    }

    fn decide(&mut self) -> Result<(), MediaError> {
        let Self::Unknown(sniffer) = self else {
            return Ok(());
        };
        let limits = sniffer.limits.clone();
        let mut reader = match sniffer.bytes.get(..4) {
            Some(b"DKIF") => Self::Ivf(Box::new(IvfReader::new(limits))),
            Some(b"OggS") => Self::Ogg(Box::new(OggOpusReader::behind(limits, sniffer.offset))),
            // Other data with such a tag is usually MP3.
            _ if sniffer.offset > 0 => return Err(unknown(sniffer)),
            Some(b"RIFF") if sniffer.bytes.get(8..12) == Some(b"AVI ") => {
                return Err(unknown(sniffer));
            }
            Some(b"RIFF" | b"RF64" | b"RIFX") => Self::Wav(Box::new(WavReader::new(limits))),
            _ => {
                let codec = byte_stream(&sniffer.bytes).ok_or_else(|| unknown(sniffer))?;
                let reader = AnnexBReader::new(codec, limits);
                Self::AnnexB(Box::new(reader.ok_or_else(|| unknown(sniffer))?))
            }
        };
        reader.feed(&sniffer.bytes)?;
        *self = reader;
        Ok(())
    }
}

/// Detects a byte stream from the first [`SIGNATURE_BYTES`] bytes (independent of how the file is fed): it must start
/// with a parameter set, a delimiter or SEI of either codec.
fn byte_stream(bytes: &[u8]) -> Option<Codec> {
    let bytes = bytes.get(..SIGNATURE_BYTES).unwrap_or(bytes);
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let nal = bytes.get(zeros..)?.strip_prefix(&[1])?;
    if zeros < 2 || nal.len() < 2 {
        return None;
    }
    // The second byte of an H.265 header is 1 in layer 0 at temporal layer 0; in H.264 it would be profile_idc, a
    // slice's first bits or an SEI type, none of which is 1 here.
    let h265 = matches!(h265::nal_type(nal), h265::VPS..=h265::PREFIX_SEI | 0..=1 | 16..=21);
    if h265 && nal[1] == 1 && nal[0] & 0x81 == 0 {
        return Some(Codec::H265);
    }
    let h264 = matches!(h264::nal_type(nal), h264::SLICE | h264::IDR..=h264::AUD);
    (h264 && nal[0] & 0x80 == 0).then_some(Codec::H264)
}

fn unknown(sniffer: &Sniffer) -> MediaError {
    let (bytes, offset) = (&sniffer.bytes[..], sniffer.offset);
    let kind = MediaErrorKind::WrongFormat;
    let at = |range: std::ops::Range<usize>| bytes.get(range).unwrap_or_default();
    let is_mp3 = offset > 0 || matches!(bytes, [0xFF, 0xE2..=0xFF, ..]);
    let hint = if bytes.is_empty() && offset == 0 {
        "an empty file".to_owned()
    } else if bytes.starts_with(&[0x1A, 0x45, 0xDF, 0xA3]) {
        "Matroska or WebM, which is read from files only, not from a pipe: use \
         ffmpeg -i INPUT -map v -c copy -f ivf - (or -f h264)"
            .into()
    } else if at(4..8) == b"ftyp" {
        "MP4, which is read from files only, not from a pipe: use \
         ffmpeg -i INPUT -map v -c copy -f h264 -"
            .into()
    } else if is_mp3 {
        "MP3 or AAC, which WebRTC does not carry; convert: ffmpeg -i INPUT -c:a libopus OUTPUT.ogg"
            .into()
    } else if bytes.first() == Some(&0x47) {
        "an MPEG transport stream, which is not read; take it apart: \
         ffmpeg -i INPUT -map v -c copy OUTPUT.mp4, or for a pipe -f h264 -"
            .into()
    } else if bytes.starts_with(b"RIFF") {
        "AVI, which is not read; convert: ffmpeg -i INPUT -c copy OUTPUT.mp4".into()
    } else if bytes.starts_with(b"FLV") {
        "Flash video, which is not read; convert: ffmpeg -i INPUT -c copy OUTPUT.mp4".into()
    } else {
        format!("not {KNOWN}")
    };
    MediaError::new(kind, 0, hint)
}

/// The supported file formats, for error messages.
const KNOWN: &str =
    "MP4, Matroska, WebM, IVF, Ogg Opus, WAV with G.711, or an H.264 or H.265 byte stream";

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Feeds a file in pieces; returns the frames and the error at the end.
    pub fn drain(
        reader: &mut Reader,
        file: &[u8],
        chunk: usize,
    ) -> (Vec<Frame>, Option<MediaError>) {
        let mut frames = Vec::new();
        let mut chunks = file.chunks(chunk.max(1));
        loop {
            let last = match chunks.next() {
                Some(chunk) => {
                    reader
                        .feed(chunk)
                        .unwrap_or_else(|e| assert_ne!(e.kind, MediaErrorKind::Unread));
                    false
                }
                None => {
                    reader.finish();
                    true
                }
            };
            loop {
                match reader.poll() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(reader.poll(), Err(error.clone()), "an error stays");
                        return (frames, Some(error));
                    }
                }
            }
            if last {
                assert_eq!(reader.poll(), Ok(None), "an end stays");
                return (frames, None);
            }
        }
    }

    #[test]
    fn unknown_formats_are_named() {
        for (bytes, word) in [
            (&b"\x1A\x45\xDF\xA3 and more of it, as it were"[..], "WebM"),
            (b"\0\0\0\x20ftypisom........", "MP4"),
            (b"ID3\x04 and more of it, as it were", "MP3"),
            (b"\xFF\xFB\x90\0 and more of it, as it were", "MP3"),
            (
                b"\x47\x40\0\x10\0 and more of it, as it were",
                "transport stream",
            ),
            (b"RIFF\0\0\0\0AVI LIST and more", "AVI"),
            (b"", "empty"),
            (b"x", "Matroska"),
        ] {
            let (frames, error) = drain(&mut Reader::new(Limits::default()), bytes, 5);
            let error = error.unwrap();
            assert!(frames.is_empty() && error.reason.contains(word), "{error}");
        }
    }
}
