//! Recording of a track to a file.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use looprtc::proto::media::recording::Recording;
use looprtc::proto::media::{Codec, Patch};
use looprtc::proto::peer::ReceivedFrame;

use super::session::Error;

/// Interval at which the length in the header is updated.
const PATCH_EVERY: Duration = Duration::from_secs(1);

pub struct Saved {
    recording: Recording,
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    patched: Instant,
}

impl Saved {
    /// Creates a new file: `NAME.ivf` or, if that exists, `NAME-2.ivf` and so on.
    pub fn create(dir: &Path, name: &str, codec: Codec) -> Result<Self, Error> {
        let recording = Recording::new(codec)?;
        let extension = recording.extension();
        for number in 1..10_000 {
            let name = match number {
                1 => format!("{name}.{extension}"),
                number => format!("{name}-{number}.{extension}"),
            };
            let path = dir.join(name);
            match File::create_new(&path) {
                Ok(file) => {
                    say!("saving {codec} in {}", path.display());
                    return Ok(Self {
                        recording,
                        path,
                        file,
                        buffer: Vec::new(),
                        patched: Instant::now(),
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(format!("{}: {error}", path.display()).into()),
            }
        }
        Err(format!("{}: too many files called {name}", dir.display()).into())
    }

    /// Writes a frame if it is usable: see [`Recording::write`].
    pub fn write(&mut self, frame: &ReceivedFrame) -> Result<(), Error> {
        let (keyframe, contiguous) = (frame.keyframe, frame.contiguous);
        let buffer = &mut self.buffer;
        if let Err(error) =
            self.recording
                .write(frame.time, keyframe, contiguous, &frame.data, buffer)
        {
            log::warn!("{}: {error}", self.path.display());
        }
        let mut written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        if written.is_ok() && self.patched.elapsed() >= PATCH_EVERY {
            self.patched = Instant::now();
            written = self.apply(self.recording.patch());
        }
        written.map_err(|e| format!("{}: {e}", self.path.display()).into())
    }

    /// Finishes the file.
    pub fn finish(mut self) -> Result<(), Error> {
        let stats = self.recording.stats();
        say!(
            "saved {}: {} frames, {:.3} s, {} left out",
            self.path.display(),
            stats.frames,
            stats.duration.as_secs_f64(),
            stats.dropped,
        );
        let path = self.path.display().to_string();
        let patched = self.apply(self.recording.patch());
        self.recording.finish(&mut self.buffer);
        let written = patched.and_then(|()| self.file.write_all(&self.buffer));
        written.map_err(|e| format!("{path}: {e}").into())
    }

    fn apply(&mut self, patch: Option<Patch>) -> io::Result<()> {
        if let Some(patch) = patch {
            self.file.seek(SeekFrom::Start(patch.offset))?;
            self.file.write_all(&patch.bytes)?;
            self.file.seek(SeekFrom::End(0))?;
        }
        Ok(())
    }
}
