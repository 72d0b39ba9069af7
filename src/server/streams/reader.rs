//! Files and pipes, read on a thread of their own so that a slow disk or an empty pipe stops nobody, ahead of
//! time up to a limit.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::config::StreamsConfig;
use crate::driver::LoopHandle;
use crate::proto::media::wav::WavReader;
use crate::proto::media::{Codec, Frame, Limits, MediaError, Reader};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

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
    },
}

/// What has been read.
#[derive(Debug)]
pub(super) enum Item {
    /// Here a file, or a writer's output, begins: its tracks.
    Tracks(Vec<Codec>),
    /// A frame of one of these. Those of all tracks come in the order of their times.
    Frame { track: usize, frame: Frame },
    /// All of it has been read. `more`: it begins again.
    End { more: bool },
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

/// From the thread to the loop. Bounded in items and bytes.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    room: Condvar,
    handle: LoopHandle,
    max_items: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    /// The loop wants no more.
    closed: bool,
    /// The loop has found nothing, and is to be woken.
    waiting: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A queue that a panicking thread held is still a queue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room. Whether the loop wants more.
    fn push(&self, item: Item) -> bool {
        let size = item.size();
        let mut state = self.lock();
        let is_full = |s: &mut State| {
            let many = s.items.len() >= self.max_items || s.bytes + size > self.max_bytes;
            !s.closed && !s.items.is_empty() && many
        };
        if is_full(&mut state) {
            let waited = self.room.wait_while(state, is_full);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return false;
        }
        state.bytes += size;
        state.items.push_back(item);
        if std::mem::take(&mut state.waiting) {
            drop(state);
            self.handle.wake();
        }
        true
    }
}

/// The loop's end of a thread that reads. The thread ends when this is dropped, or, when it waits for a pipe, with
/// the next thing that comes.
#[derive(Debug)]
pub(super) struct Reading(Arc<Shared>);

impl Reading {
    /// Begins.
    pub fn start(input: Input, handle: LoopHandle, config: &StreamsConfig) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            room: Condvar::new(),
            handle,
            max_items: config.max_read_frames.max(2),
            max_bytes: config.max_read_bytes,
        });
        let theirs = shared.clone();
        std::thread::Builder::new()
            .name("looprtc-reader".into())
            .spawn(move || run(&input, &theirs))?;
        Ok(Self(shared))
    }

    /// What has been read next; `None`: nothing yet, and the loop is woken when there is.
    pub fn pop(&self) -> Option<Item> {
        let mut state = self.0.lock();
        let Some(item) = state.items.pop_front() else {
            state.waiting = true;
            return None;
        };
        state.bytes -= item.size();
        // The thread then reads several in a go.
        if state.items.len() <= self.0.max_items / 2 {
            self.0.room.notify_one();
        }
        Some(item)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.items.clear();
        self.0.room.notify_all();
    }
}

/// What these files hold, as far as their beginnings tell. Only regular files are looked into.
pub(super) fn probe(input: &Input) -> Result<Vec<Codec>, String> {
    match input {
        Input::Pipe { .. } => Ok(Vec::new()),
        Input::Card | Input::Files { .. } => Ok(Pass::open(input)?.codecs()),
    }
}

fn run(input: &Input, queue: &Shared) {
    let (more, is_named_pipe) = match input {
        Input::Card => (true, false),
        Input::Files { repeat, .. } => (*repeat, false),
        Input::Pipe { path, .. } => (path.is_some(), path.is_some()),
    };
    loop {
        let result = Pass::open(input).and_then(|pass| pass.play(queue, more));
        match result {
            Ok(true) if more => {}
            Ok(_) => return,
            Err(why) if is_named_pipe => log::warn!("{why}"),
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
    codecs: Vec<Codec>,
}

struct Part {
    name: String,
    source: Source,
    /// Begins so much later, to be in step with the others.
    shift: Duration,
    head: Option<(usize, Frame)>,
}

enum Source {
    Bytes {
        reader: Box<Reader>,
        input: Box<dyn Read>,
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
            Input::Pipe { path: None, codec } => {
                vec![Part::bytes(
                    "the standard input".into(),
                    Box::new(io::stdin()),
                    *codec,
                )?]
            }
            Input::Pipe {
                path: Some(path),
                codec,
            } => {
                let name = path.display().to_string();
                let file = File::open(path).map_err(|e| format!("{name}: {e}"))?;
                vec![Part::bytes(name, Box::new(file), *codec)?]
            }
        };
        Self::of(parts)
    }

    fn of(mut parts: Vec<Part>) -> Result<Self, String> {
        let longest = parts.iter().map(|p| p.source.pre_skip()).max();
        let mut codecs: Vec<Codec> = Vec::new();
        let mut tracks = Vec::new();
        for part in &mut parts {
            part.shift = longest.unwrap_or_default() - part.source.pre_skip();
            let mut places = Vec::new();
            for codec in part.source.codecs() {
                // One track of sound; of pictures one for each codec.
                let is_taken = |c: &Codec| *c == codec || !(c.is_video() || codec.is_video());
                let place = match codecs.iter().any(is_taken) {
                    true => None,
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
        Ok(Self {
            parts,
            tracks,
            codecs,
        })
    }

    fn codecs(&self) -> Vec<Codec> {
        self.codecs.clone()
    }

    /// Gives out all frames. Whether the loop wants more.
    fn play(mut self, queue: &Shared, more: bool) -> Result<bool, String> {
        if !queue.push(Item::Tracks(self.codecs.clone())) {
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
                return Ok(queue.push(Item::End { more }));
            };
            let part = &mut self.parts[index];
            if let Some((track, mut frame)) = part.head.take()
                && let Some(track) = self.tracks[index].get(track).copied().flatten()
            {
                frame.time = time;
                if !queue.push(Item::Frame { track, frame }) {
                    return Ok(false);
                }
            }
            match part.source.next() {
                Ok(head) => part.head = head,
                // What is good is played.
                Err(why) => log::warn!("{}: {why}; what came before is played", part.name),
            }
        }
    }
}

impl Part {
    fn open_file(path: &Path, codec: Option<Codec>) -> Result<Self, String> {
        let name = path.display().to_string();
        let failed = |e: io::Error| format!("{name}: {e}");
        // Opening a pipe would wait for its writer.
        let meta = std::fs::metadata(path).map_err(failed)?;
        if !meta.is_file() {
            return Err(format!(
                "{name}: not a regular file; for a named pipe write pipe:{name}"
            ));
        }
        let file = File::open(path).map_err(failed)?;
        match codec {
            Some(_) => Self::bytes(name, Box::new(file), codec),
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
        Self::bytes(name, Box::new(input), None)
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

    fn bytes(name: String, input: Box<dyn Read>, codec: Option<Codec>) -> Result<Self, String> {
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
        let head = source.next().map_err(|e| format!("{name}: {e}"))?;
        if head.is_none() {
            return Err(format!("{name}: no frame in it"));
        }
        Ok(Self {
            name,
            source,
            shift: Duration::ZERO,
            head,
        })
    }
}

impl Source {
    fn next(&mut self) -> Result<Option<(usize, Frame)>, String> {
        let text = |e: MediaError| e.to_string();
        match self {
            Self::Bytes {
                reader,
                input,
                ended,
            } => {
                let mut chunk = Vec::new();
                loop {
                    if let Some(frame) = reader.poll().map_err(text)? {
                        return Ok(Some((0, frame)));
                    }
                    if *ended {
                        return Ok(None);
                    }
                    chunk.resize(CHUNK, 0);
                    match input.read(&mut chunk) {
                        Ok(0) => {
                            *ended = true;
                            reader.finish();
                        }
                        Ok(n) => reader.feed(&chunk[..n]).map_err(text)?,
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(e.to_string()),
                    }
                }
            }
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

    fn pre_skip(&self) -> Duration {
        match self {
            Self::Bytes { reader, .. } => reader.pre_skip(),
            #[cfg(feature = "movies")]
            Self::Movie(_) => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_holds_what_it_should() {
        let codecs = probe(&Input::Card).unwrap();
        assert_eq!(codecs, [Codec::Vp8, Codec::H264, Codec::Opus]);
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
            (&[dir.as_path()], "not a regular file"),
            (&[empty.as_path()], "empty"),
            (&[card.as_path(), card.as_path()], "another codec"),
        ] {
            let why = probe(&of(paths)).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
        assert_eq!(probe(&of(&[card.as_path()])), Ok(vec![Codec::Vp8]));
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
            let state = reading.0.lock();
            let now = (state.items.len(), state.bytes);
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
