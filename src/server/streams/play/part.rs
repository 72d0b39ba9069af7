//! One file or pipe: opening, probing, and reading frame by frame.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use super::pipe::Pipe;
use crate::proto::media::wav::WavReader;
use crate::proto::media::{Codec, Frame, Limits, MediaError, MediaErrorKind, Reader};
#[cfg(feature = "movies")]
use crate::server::streams::notices::left_out;

/// Limits of probing: number of frames, and bytes.
const PROBE: (usize, usize) = (300, 8 << 20);

/// An open file or pipe: one of the inputs of a stream.
pub(in crate::server::streams) struct Part {
    pub(super) name: String,
    pub(super) medium: Medium,
    /// Delay of its start, for synchronization with the others.
    pub(super) shift: Duration,
    /// The next frame, with the number of its track.
    pub(super) head: Option<(usize, Frame)>,
    /// When its next frame was read.
    pub(super) arrived: Instant,
}

/// Where frames are read from.
pub(super) enum Medium {
    Bytes {
        reader: Box<Reader>,
        input: Pipe,
        ended: bool,
    },
    #[cfg(feature = "movies")]
    Movie(Box<crate::proto::media::movie::MovieReader<Box<dyn ReadSeek>>>),
}

pub(in crate::server::streams) trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// Returns advice for a name that is not a regular file.
fn no_file(name: &str, meta: &std::fs::Metadata) -> String {
    if meta.is_dir() {
        return format!("{name}: a directory; name the file in it");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = meta.file_type();
        if kind.is_char_device() && name.starts_with("/dev/video") {
            return format!(
                "{name}: a camera, whose pictures have to be encoded first; let ffmpeg do it: ffmpeg -v error \
                 -f v4l2 -i {name} -c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 60 \
                 -f h264 - | looprtc serve camera=-"
            );
        }
        if !kind.is_fifo() {
            return format!("{name}: not a regular file, nor a pipe");
        }
    }
    format!("{name}: not a regular file; for a named pipe write pipe:{name}")
}

impl Part {
    /// Reads the beginning, and returns remarks for people.
    pub fn probe(&mut self) -> Result<Vec<String>, String> {
        let failed = |why: &str| format!("{}: {why}", self.name);
        let codecs = self.medium.codecs();
        // For each track: whether it has a frame, and one to start decoding with.
        let mut starts = vec![(false, false); codecs.len()];
        let (mut frames, mut bytes, mut notes) = (0, 0, Vec::new());
        while let Some((track, frame)) = self.head.take()
            && frames < PROBE.0
            && bytes < PROBE.1
        {
            (frames, bytes) = (frames + 1, bytes + frame.data.len());
            if let Some((has_frame, can_start)) = starts.get_mut(track) {
                (*has_frame, *can_start) = (true, *can_start || frame.keyframe);
            }
            match self.medium.next() {
                Ok(head) => self.head = head,
                Err(error) if error.is_hopeless() => return Err(failed(&error.reason())),
                // The valid part is played.
                Err(error) => notes.push(failed(&error.what_came_before())),
            }
        }
        let blind = codecs.iter().zip(starts).find(|(_, s)| *s == (true, false));
        if let Some((codec, _)) = blind {
            return Err(failed(&no_keyframe(*codec)));
        }
        notes.extend(self.medium.damage().map(|damage| failed(&damage)));
        Ok(notes)
    }

    /// Reads all frames of the first track.
    #[cfg(test)]
    pub fn frames(mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some((_, frame)) = self.head.take() {
            frames.push(frame);
            self.head = self.medium.next().unwrap();
        }
        frames
    }

    /// Opens a regular file.
    pub fn open_file(path: &Path, codec: Option<Codec>) -> Result<Self, String> {
        let name = path.display().to_string();
        let failed = |e: io::Error| format!("{name}: {e}");
        // Opening a pipe would wait for its writer.
        let meta = std::fs::metadata(path).map_err(failed)?;
        if !meta.is_file() {
            return Err(no_file(&name, &meta));
        }
        let file = File::open(path).map_err(failed)?;
        match codec {
            Some(_) => Self::bytes(name, Pipe::of(file), codec),
            None => Self::open(name, Box::new(file)),
        }
    }

    /// Opens a named pipe, or the standard input. Waits for a writer.
    pub fn open_pipe(
        path: Option<&Path>,
        is_live: bool,
        codec: Option<Codec>,
    ) -> Result<Self, String> {
        let name = match path {
            None => "the standard input".to_owned(),
            Some(path) => path.display().to_string(),
        };
        let pipe = Pipe::open(path, is_live);
        let pipe = pipe.map_err(|e| format!("{name}: {e}"))?;
        Self::bytes(name, pipe, codec)
    }

    /// Opens seekable input, possibly a movie file.
    pub fn open(name: String, mut input: Box<dyn ReadSeek>) -> Result<Self, String> {
        let mut start = [0; 8];
        let n = input
            .read(&mut start)
            .and_then(|n| input.seek(SeekFrom::Start(0)).map(|_| n))
            .map_err(|e| format!("{name}: {e}"))?;
        let is_movie = start.starts_with(&[0x1A, 0x45, 0xDF, 0xA3]) || &start[4..] == b"ftyp";
        if n == start.len() && is_movie {
            return Self::movie(name, input);
        }
        Self::bytes(name, Pipe::of(input), None)
    }

    #[cfg(feature = "movies")]
    fn movie(name: String, input: Box<dyn ReadSeek>) -> Result<Self, String> {
        use crate::proto::media::movie::MovieReader;
        let reader = MovieReader::open(input, Limits::default());
        let reader = reader.map_err(|e| format!("{name}: {e}"))?;
        Self::begin(name, Medium::Movie(Box::new(reader)))
    }

    #[cfg(not(feature = "movies"))]
    fn movie(name: String, _: Box<dyn ReadSeek>) -> Result<Self, String> {
        Err(format!(
            "{name}: MP4, Matroska or WebM, which this build (without the feature movies) does not read"
        ))
    }

    fn bytes(name: String, input: Pipe, codec: Option<Codec>) -> Result<Self, String> {
        let bare = codec.and_then(|codec| WavReader::raw(codec, Limits::default()));
        let reader = match bare {
            Some(bare) => Reader::Wav(Box::new(bare)),
            None => Reader::new(Limits::default()),
        };
        let medium = Medium::Bytes {
            reader: Box::new(reader),
            input,
            ended: false,
        };
        Self::begin(name, medium)
    }

    fn begin(name: String, mut medium: Medium) -> Result<Self, String> {
        let head = medium
            .next()
            .map_err(|e| format!("{name}: {}", e.reason()))?;
        if head.is_none() {
            return Err(format!("{name}: no frame in it"));
        }
        Ok(Self {
            name,
            medium,
            shift: Duration::ZERO,
            head,
            arrived: Instant::now(),
        })
    }
}

/// Returns the error for video that nobody could start to decode.
fn no_keyframe(codec: Codec) -> String {
    let known = codec.description();
    let (name, what, encoder) = (known.common_name, known.keyframe, known.encoder);
    if encoder.is_empty() {
        return format!("{name} without {what}: nothing of it can be decoded");
    }
    let why = match known.has_intra_refresh {
        true => " (intra refresh)",
        false => "",
    };
    format!(
        "{name} without {what}{why}: browsers begin to decode at one of these only. Turn intra refresh off in the encoder, or \
         re-encode: ffmpeg -i INPUT -c:v {encoder} -bf 0 -g 60 OUTPUT"
    )
}

/// Reason why reading ended.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    Media(MediaError),
}

impl ReadError {
    /// Returns `true` if the file cannot be sent at all, even if its beginning is valid.
    pub fn is_hopeless(&self) -> bool {
        use MediaErrorKind::{Reordered, Unsupported, WrongFormat};
        match self {
            Self::Io(_) => false,
            Self::Media(e) => matches!(e.kind, Reordered | Unsupported | WrongFormat),
        }
    }

    pub fn reason(&self) -> String {
        match self {
            Self::Io(error) => error.to_string(),
            // For an unsupported format, the position means nothing.
            Self::Media(error) if error.offset == 0 => error.reason.clone(),
            Self::Media(error) => error.to_string(),
        }
    }

    pub fn what_came_before(&self) -> String {
        format!("{}; what comes before that is played", self.reason())
    }
}

impl Medium {
    pub fn next(&mut self) -> Result<Option<(usize, Frame)>, ReadError> {
        let text = ReadError::Media;
        match self {
            Self::Bytes {
                reader,
                input,
                ended,
            } => loop {
                if let Some(frame) = reader.poll().map_err(text)? {
                    input.note_frame();
                    return Ok(Some((0, frame)));
                }
                if *ended {
                    return Ok(None);
                }
                if input.is_quiet()
                    && let Some(frame) = reader.flush().map_err(text)?
                {
                    input.note_frame();
                    return Ok(Some((0, frame)));
                }
                match input.read() {
                    Ok([]) => {
                        *ended = true;
                        reader.finish();
                    }
                    Ok(bytes) => reader.feed(bytes).map_err(text)?,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(ReadError::Io(e)),
                }
            },
            #[cfg(feature = "movies")]
            Self::Movie(reader) => reader.next_frame().map_err(text),
        }
    }

    /// Returns the codecs of the tracks, known once a frame was read.
    pub fn codecs(&self) -> Vec<Codec> {
        match self {
            Self::Bytes { reader, .. } => reader.codec().into_iter().collect(),
            #[cfg(feature = "movies")]
            Self::Movie(reader) => reader.tracks().iter().map(|t| t.codec).collect(),
        }
    }

    /// Returns remarks about parts that cannot be sent.
    pub fn left_out(&self) -> Vec<String> {
        match self {
            Self::Bytes { .. } => Vec::new(),
            #[cfg(feature = "movies")]
            Self::Movie(reader) => reader.passed_over().iter().map(|w| left_out(w)).collect(),
        }
    }

    /// Describes damaged data that was skipped.
    pub fn damage(&self) -> Option<String> {
        match self {
            Self::Bytes { reader, .. } => reader.damage(),
            #[cfg(feature = "movies")]
            Self::Movie(_) => None,
        }
    }

    pub fn pre_skip(&self) -> Duration {
        match self {
            Self::Bytes { reader, .. } => reader.pre_skip(),
            #[cfg(feature = "movies")]
            Self::Movie(reader) => reader.preroll(),
        }
    }
}
