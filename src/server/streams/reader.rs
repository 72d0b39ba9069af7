//! Files and pipes, read on a thread of their own so that a slow disk or an empty pipe stops nobody, ahead of
//! time up to a limit.

mod pipe;
mod queue;

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::pipe::Pipe;
use self::queue::Shared;
use super::config::StreamsConfig;
use crate::driver::LoopHandle;
use crate::proto::media::wav::WavReader;
use crate::proto::media::{Codec, Frame, Limits, MediaError, MediaErrorKind, Reader};

/// How long after the end of a named pipe's writer the next one is looked for.
const REOPEN: Duration = Duration::from_millis(200);

/// The test card.
const CARD: [(&str, &[u8]); 3] = [
    ("testcard.ivf", include_bytes!("assets/testcard.ivf")),
    ("testcard.h264", include_bytes!("assets/testcard.h264")),
    ("testcard.ogg", include_bytes!("assets/testcard.ogg")),
];

/// What is read.
#[derive(Debug, Clone)]
pub(super) enum Input {
    Card,
    Files {
        paths: Vec<PathBuf>,
        repeat: bool,
        codec: Option<Codec>,
    },
    /// `None`: the standard input.
    Pipe {
        path: Option<PathBuf>,
        codec: Option<Codec>,
        /// Read as it comes: what the loop does not take in time is dropped, and the writer never waits.
        live: bool,
    },
}

impl Input {
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Pipe { live: true, .. })
    }
}

/// The contents of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Of the tracks that are sent.
    pub codecs: Vec<Codec>,
    /// Parts that are left out or read differently than written, in sentences.
    pub notes: Vec<String>,
}

/// What has been read.
#[derive(Debug)]
pub(super) enum Item {
    /// Here a file, or a writer's output, begins: its tracks.
    Tracks(Contents),
    /// Something about the source that people should know.
    Note(String),
    /// A frame of one of these. Those of all tracks come in the order of their times.
    Frame {
        track: usize,
        frame: Frame,
        /// When its last byte was read.
        arrived: Instant,
    },
    /// All of it has been read. `more`: it begins again.
    End { more: bool },
    /// The data of a named pipe's writer cannot be read; the next writer is waited for.
    Trouble(String),
    /// It cannot be read, and nothing follows.
    Failed(String),
}

impl Item {
    fn size(&self) -> usize {
        match self {
            Self::Frame { frame, .. } => frame.data.len(),
            _ => 0,
        }
    }
}

/// The loop's end of a thread that reads. The thread ends when this is dropped, or, when it waits for a pipe, with
/// the next thing that comes.
#[derive(Debug)]
pub(super) struct Reading(Arc<Shared>);

impl Reading {
    /// Begins.
    pub fn start(input: Input, handle: LoopHandle, config: &StreamsConfig) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(handle, config, input.is_live()));
        let theirs = shared.clone();
        std::thread::Builder::new()
            .name("looprtc-reader".into())
            .spawn(move || run(&input, &theirs))?;
        Ok(Self(shared))
    }

    /// What has been read next; `None`: nothing yet, and the loop is woken when there is.
    pub fn pop(&self) -> Option<Item> {
        self.0.pop()
    }

    /// Returns how many frames of a live pipe were dropped because the loop did not take them in time.
    pub fn dropped(&self) -> u64 {
        self.0.dropped()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Returns `true` if the standard input is a file, which is not live.
pub(super) fn is_input_a_file() -> bool {
    pipe::is_input_a_file()
}

/// Returns the contents of the test card.
pub(super) fn card() -> Contents {
    Contents {
        codecs: vec![Codec::Vp8, Codec::H264, Codec::Opus],
        notes: Vec::new(),
    }
}

/// How far files are looked into: frames, and bytes of these.
const PROBE: (usize, usize) = (300, 8 << 20);

/// Returns the contents of these files, as far as their beginnings tell, or why they cannot be sent. Only regular files are read.
pub(super) fn probe(input: &Input) -> Result<Contents, String> {
    match input {
        Input::Pipe { .. } | Input::Card => Ok(Contents::default()),
        Input::Files { .. } => Pass::open(input)?.probe(),
    }
}

fn run(input: &Input, queue: &Shared) {
    let (more, is_named_pipe) = match input {
        Input::Card => (true, false),
        Input::Files { repeat, .. } => (*repeat, false),
        Input::Pipe { path, .. } => (path.is_some(), path.is_some()),
    };
    // The file may be another one than when the stream was made.
    if let Err(why) = probe(input) {
        queue.push(Item::Failed(why));
        return;
    }
    loop {
        let result = Pass::open(input).and_then(|pass| pass.play(queue, more));
        match result {
            Ok(true) if more => {}
            Ok(_) => return,
            Err(why) if is_named_pipe => {
                if !queue.push(Item::Trouble(why)) {
                    return;
                }
            }
            Err(why) => {
                queue.push(Item::Failed(why));
                return;
            }
        }
        if is_named_pipe {
            std::thread::sleep(REOPEN);
        }
    }
}

/// All files of a stream, from the beginning.
struct Pass {
    parts: Vec<Part>,
    /// Of each part and track in it: the stream's track, if it is taken.
    tracks: Vec<Vec<Option<usize>>>,
    contents: Contents,
}

struct Part {
    name: String,
    source: Source,
    /// Begins so much later, to be in step with the others.
    shift: Duration,
    head: Option<(usize, Frame)>,
    /// When the head was read.
    arrived: Instant,
}

enum Source {
    Bytes {
        reader: Box<Reader>,
        input: Pipe,
        ended: bool,
    },
    #[cfg(feature = "movies")]
    Movie(Box<crate::proto::media::movie::MovieReader<Box<dyn ReadSeek>>>),
}

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

impl Pass {
    /// Opens all files and reads a frame of each.
    fn open(input: &Input) -> Result<Self, String> {
        let parts: Vec<Part> = match input {
            Input::Card => CARD
                .iter()
                .map(|(name, bytes)| Part::open((*name).to_owned(), Box::new(Cursor::new(*bytes))))
                .collect::<Result<_, _>>()?,
            Input::Files { paths, codec, .. } => paths
                .iter()
                .map(|path| Part::open_file(path, *codec))
                .collect::<Result<_, _>>()?,
            Input::Pipe { path, codec, live } => {
                let name = match path {
                    None => "the standard input".to_owned(),
                    Some(path) => path.display().to_string(),
                };
                let pipe = Pipe::open(path.as_deref(), *live);
                let pipe = pipe.map_err(|e| format!("{name}: {e}"))?;
                vec![Part::bytes(name, pipe, *codec)?]
            }
        };
        Self::of(parts)
    }

    fn of(mut parts: Vec<Part>) -> Result<Self, String> {
        let longest = parts.iter().map(|p| p.source.pre_skip()).max();
        let mut codecs: Vec<Codec> = Vec::new();
        let mut notes = Vec::new();
        let mut tracks = Vec::new();
        for part in &mut parts {
            notes.extend(part.source.left_out());
            part.shift = longest.unwrap_or_default() - part.source.pre_skip();
            let mut places = Vec::new();
            for codec in part.source.codecs() {
                // One track of sound; of pictures one for each codec.
                let is_taken = |c: &Codec| *c == codec || !(c.is_video() || codec.is_video());
                let place = match codecs.iter().any(is_taken) {
                    true => {
                        notes.push(format!(
                            "another track ({codec}) is left out: one is enough"
                        ));
                        None
                    }
                    false => {
                        codecs.push(codec);
                        Some(codecs.len() - 1)
                    }
                };
                places.push(place);
            }
            if places.iter().all(Option::is_none) {
                return Err(format!(
                    "{}: the stream has a file like this already; a second one has to hold pictures \
                     in another codec",
                    part.name
                ));
            }
            tracks.push(places);
        }
        let contents = Contents { codecs, notes };
        Ok(Self {
            parts,
            tracks,
            contents,
        })
    }

    /// Reads the beginning of each file.
    fn probe(mut self) -> Result<Contents, String> {
        for part in &mut self.parts {
            self.contents.notes.extend(part.probe()?);
        }
        Ok(self.contents)
    }

    /// Gives out all frames. Whether the loop wants more.
    fn play(mut self, queue: &Shared, more: bool) -> Result<bool, String> {
        if !queue.push(Item::Tracks(self.contents.clone())) {
            return Ok(false);
        }
        loop {
            let heads = self.parts.iter().enumerate();
            let next = heads
                .filter_map(|(index, part)| {
                    let (_, frame) = part.head.as_ref()?;
                    Some((frame.time + part.shift, index))
                })
                .min();
            let Some((time, index)) = next else {
                let notes = self.parts.iter().filter_map(|part| {
                    let damage = part.source.damage()?;
                    Some(format!("{}: {damage}", part.name))
                });
                for note in notes {
                    queue.push(Item::Note(note));
                }
                return Ok(queue.push(Item::End { more }));
            };
            let part = &mut self.parts[index];
            if let Some((track, mut frame)) = part.head.take()
                && let Some(track) = self.tracks[index].get(track).copied().flatten()
            {
                frame.time = time;
                let item = Item::Frame {
                    track,
                    frame,
                    arrived: part.arrived,
                };
                if !queue.push(item) {
                    return Ok(false);
                }
            }
            match part.source.next() {
                Ok(head) => (part.head, part.arrived) = (head, Instant::now()),
                // Once more from the beginning would be the same few frames over and over.
                Err(error) if error.is_hopeless() => {
                    return Err(format!("{}: {}", part.name, error.reason()));
                }
                // What is good is played.
                Err(error) => {
                    let note = format!("{}: {}", part.name, error.what_came_before());
                    queue.push(Item::Note(note));
                }
            }
        }
    }
}

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
    /// Reads the beginning, and returns what people should know of it.
    fn probe(&mut self) -> Result<Vec<String>, String> {
        let failed = |why: &str| format!("{}: {why}", self.name);
        let codecs = self.source.codecs();
        // Of each track: whether it has a frame, and one to start decoding with.
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
            match self.source.next() {
                Ok(head) => self.head = head,
                Err(error) if error.is_hopeless() => return Err(failed(&error.reason())),
                // What is good is played.
                Err(error) => notes.push(failed(&error.what_came_before())),
            }
        }
        let blind = codecs.iter().zip(starts).find(|(_, s)| *s == (true, false));
        if let Some((codec, _)) = blind {
            return Err(failed(&no_keyframe(*codec)));
        }
        notes.extend(self.source.damage().map(|damage| failed(&damage)));
        Ok(notes)
    }

    fn open_file(path: &Path, codec: Option<Codec>) -> Result<Self, String> {
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

    /// Something that can be seeked in: a movie, perhaps.
    fn open(name: String, mut input: Box<dyn ReadSeek>) -> Result<Self, String> {
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
        Self::begin(name, Source::Movie(Box::new(reader)))
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
        let source = Source::Bytes {
            reader: Box::new(reader),
            input,
            ended: false,
        };
        Self::begin(name, source)
    }

    fn begin(name: String, mut source: Source) -> Result<Self, String> {
        let head = source
            .next()
            .map_err(|e| format!("{name}: {}", e.reason()))?;
        if head.is_none() {
            return Err(format!("{name}: no frame in it"));
        }
        Ok(Self {
            name,
            source,
            shift: Duration::ZERO,
            head,
            arrived: Instant::now(),
        })
    }
}

/// Returns the reason for refusing video that nobody could begin to decode.
fn no_keyframe(codec: Codec) -> String {
    let (what, encoder) = match codec {
        Codec::H264 => ("H.264 without an IDR picture (intra refresh)", "libx264"),
        Codec::H265 => ("H.265 without a random access picture", "libx265"),
        _ => return format!("{codec} without a keyframe: nothing of it can be decoded"),
    };
    format!(
        "{what}: browsers begin to decode at one of these only. Turn intra refresh off in the encoder, or \
         re-encode: ffmpeg -i INPUT -c:v {encoder} -bf 0 -g 60 OUTPUT"
    )
}

/// Says that a track is left out, and what to do about it.
pub(super) fn left_out(what: &str) -> String {
    let audio = [
        "AAC",
        "FLAC",
        "A_",
        "MP3",
        "MP4A",
        "Opus",
        "audio",
        "uncompressed",
    ];
    match audio.iter().any(|name| what.starts_with(name)) {
        true => format!(
            "{what} is left out: WebRTC carries Opus, G.711 and G.722. Convert it: \
             ffmpeg -i INPUT -c:v copy -c:a libopus -ac 2 OUTPUT.mkv"
        ),
        false => format!("{what} is left out: WebRTC does not carry it"),
    }
}

/// Why nothing more is read.
#[derive(Debug)]
enum ReadError {
    Io(io::Error),
    Media(MediaError),
}

impl ReadError {
    /// Returns `true` if the file cannot be sent as a whole, however good its beginning is.
    fn is_hopeless(&self) -> bool {
        use MediaErrorKind::{Reordered, Unsupported, WrongFormat};
        match self {
            Self::Io(_) => false,
            Self::Media(e) => matches!(e.kind, Reordered | Unsupported | WrongFormat),
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Io(error) => error.to_string(),
            // Where a format is not ours as a whole the place says nothing.
            Self::Media(error) if error.offset == 0 => error.reason.clone(),
            Self::Media(error) => error.to_string(),
        }
    }

    fn what_came_before(&self) -> String {
        format!("{}; what comes before that is played", self.reason())
    }
}

impl Source {
    fn next(&mut self) -> Result<Option<(usize, Frame)>, ReadError> {
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

    /// Of its tracks. Known once a frame has been read.
    fn codecs(&self) -> Vec<Codec> {
        match self {
            Self::Bytes { reader, .. } => reader.codec().into_iter().collect(),
            #[cfg(feature = "movies")]
            Self::Movie(reader) => reader.tracks().iter().map(|t| t.codec).collect(),
        }
    }

    /// Returns the parts that cannot be sent, in sentences.
    fn left_out(&self) -> Vec<String> {
        match self {
            Self::Bytes { .. } => Vec::new(),
            #[cfg(feature = "movies")]
            Self::Movie(reader) => reader.passed_over().iter().map(|w| left_out(w)).collect(),
        }
    }

    /// Describes the damaged data that was skipped.
    fn damage(&self) -> Option<String> {
        match self {
            Self::Bytes { reader, .. } => reader.damage(),
            #[cfg(feature = "movies")]
            Self::Movie(_) => None,
        }
    }

    fn pre_skip(&self) -> Duration {
        match self {
            Self::Bytes { reader, .. } => reader.pre_skip(),
            #[cfg(feature = "movies")]
            Self::Movie(reader) => reader.preroll(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_holds_what_it_should() {
        let contents = Pass::open(&Input::Card).unwrap().probe().unwrap();
        assert_eq!(contents, card());
        let size: usize = CARD.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(size < 600 * 1024, "{size} bytes");
        // A keyframe each second, and as many pictures in both.
        for (name, bytes) in &CARD[..2] {
            let mut part = Part::open((*name).into(), Box::new(Cursor::new(*bytes))).unwrap();
            let mut frames = vec![part.head.take().unwrap().1];
            while let Some((_, frame)) = part.source.next().unwrap() {
                frames.push(frame);
            }
            assert_eq!(frames.len(), 200, "{name}");
            for (n, frame) in frames.iter().enumerate() {
                assert_eq!(frame.keyframe, n % 25 == 0, "{name}, frame {n}");
                assert_eq!(frame.time, Duration::from_millis(40) * n as u32, "{name}");
            }
        }
    }

    #[test]
    fn files_that_cannot_be_played_say_why() {
        let dir = std::env::temp_dir().join(format!("looprtc-reader-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let empty = dir.join("empty.ivf");
        std::fs::write(&empty, b"").unwrap();
        let card = dir.join("card.ivf");
        std::fs::write(&card, CARD[0].1).unwrap();
        let of = |paths: &[&Path]| Input::Files {
            paths: paths.iter().map(|p| p.to_path_buf()).collect(),
            repeat: true,
            codec: None,
        };
        let missing = dir.join("missing.ivf");
        for (paths, word) in [
            (&[missing.as_path()][..], "No such file"),
            (&[dir.as_path()], "a directory"),
            (&[empty.as_path()], "empty"),
            (&[card.as_path(), card.as_path()], "another codec"),
        ] {
            let why = probe(&of(paths)).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
        let codecs = probe(&of(&[card.as_path()])).unwrap().codecs;
        assert_eq!(codecs, [Codec::Vp8]);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// What is read ahead of the loop.
    fn ahead(max_frames: usize, max_bytes: usize) -> (usize, usize) {
        let net = crate::driver::EventLoop::new(crate::driver::LoopConfig::default()).unwrap();
        let config = StreamsConfig::default()
            .max_read_frames(max_frames)
            .max_read_bytes(max_bytes);
        let reading = Reading::start(Input::Card, net.handle(), &config).unwrap();
        let (mut before, mut still) = ((0, 0), 0);
        // Until nothing has come for 200 ms.
        while still < 20 {
            std::thread::sleep(Duration::from_millis(10));
            let now = reading.0.held();
            still = if now == before && now.0 > 0 {
                still + 1
            } else {
                0
            };
            before = now;
        }
        before
    }

    #[test]
    fn no_more_is_read_ahead_than_configured() {
        let (frames, bytes) = ahead(64, 4 << 20);
        assert_eq!(frames, 64, "{bytes} bytes");
        let (frames, bytes) = ahead(10_000, 100_000);
        assert!(
            (50_000..=100_000).contains(&bytes),
            "{frames} frames of {bytes} bytes"
        );
        let default = StreamsConfig::default();
        assert_eq!(
            (default.max_read_frames, default.max_read_bytes),
            (64, 4 << 20)
        );
    }
}
