//! Recording of a track to a file.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use looprtc::proto::media::recording::Recording;
use looprtc::proto::media::{Codec, Patch};
use looprtc::proto::peer::ReceivedFrame;

/// Number of frames between two updates of the length in the file's header.
const PATCH_EVERY: u64 = 30;

pub struct Saved {
    recording: Recording,
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
}

impl Saved {
    /// Creates a new file: `vp8-1.ivf` or, if that exists, the next number.
    pub fn create(dir: &Path, codec: Codec) -> Result<Self, String> {
        let recording = Recording::new(codec).map_err(|e| e.to_string())?;
        let extension = recording.extension();
        let mut number = 1;
        loop {
            let path = dir.join(format!("{codec}-{number}.{extension}").to_lowercase());
            match File::create_new(&path) {
                Ok(file) => {
                    println!("Saving {}", path.display());
                    return Ok(Self {
                        recording,
                        path,
                        file,
                        buffer: Vec::new(),
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(format!("{}: {error}", path.display())),
            }
        }
    }

    /// Writes a frame if it is usable: see [`Recording::write`].
    pub fn write(&mut self, frame: &ReceivedFrame) -> io::Result<()> {
        let (keyframe, contiguous) = (frame.keyframe, frame.contiguous);
        let buffer = &mut self.buffer;
        if let Err(error) =
            self.recording
                .write(frame.time, keyframe, contiguous, &frame.data, buffer)
        {
            eprintln!("{}: {error}", self.path.display());
        }
        self.file.write_all(buffer)?;
        buffer.clear();
        match self.recording.stats().frames % PATCH_EVERY {
            0 => self.apply(self.recording.patch()),
            _ => Ok(()),
        }
    }

    /// Finishes the file.
    pub fn finish(mut self) -> io::Result<()> {
        let stats = self.recording.stats();
        let path = self.path.display();
        println!(
            "Saved {path}: {} frames, {:.3} s, {} left out",
            stats.frames,
            stats.duration.as_secs_f64(),
            stats.dropped,
        );
        self.apply(self.recording.patch())?;
        self.recording.finish(&mut self.buffer);
        self.file.write_all(&self.buffer)
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
