//! Containers against real files and against FFmpeg: readers return what ffprobe reports, ffmpeg decodes what writers
//! write, and damaged files end in an error.
//!
//! The clips are in `tests/data/media`, made by `tests/data/media/make`.

#[path = "media/damage.rs"]
mod damage;
#[path = "media/ffmpeg.rs"]
mod ffmpeg;
#[cfg(feature = "movies")]
#[path = "media/movies.rs"]
mod movies;
#[path = "media/readers.rs"]
mod readers;
#[path = "media/writers.rs"]
mod writers;

use std::path::PathBuf;

use looprtc::proto::media::{Frame, Limits, MediaError, MediaErrorKind, Reader};

/// All playable clips.
const PLAYABLE: [&str; 14] = [
    "vp8.ivf",
    "vp9.ivf",
    "av1.ivf",
    "plain.h264",
    "slices.h264",
    "once.h264",
    "mbaff.h264",
    "plain.h265",
    "slices.h265",
    "mono20.ogg",
    "stereo60.ogg",
    "stereo2.5.ogg",
    "mulaw.wav",
    "alaw.wav",
];

fn path(clip: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/media")
        .join(clip)
}

fn load(clip: &str) -> Vec<u8> {
    std::fs::read(path(clip)).unwrap_or_else(|e| panic!("{clip}: {e}"))
}

/// Returns what a format-detecting reader returns, fed in pieces, and how it ended.
fn read(file: &[u8], chunk: usize) -> (Vec<Frame>, Option<MediaError>) {
    drain(&mut Reader::new(Limits::default()), file, chunk)
}

fn drain(reader: &mut Reader, file: &[u8], chunk: usize) -> (Vec<Frame>, Option<MediaError>) {
    let mut frames = Vec::new();
    let mut chunks = file.chunks(chunk);
    loop {
        let more = chunks.next();
        match more {
            Some(bytes) => reader
                .feed(bytes)
                .unwrap_or_else(|e| assert_eq!(e.kind, MediaErrorKind::WrongFormat)),
            None => reader.finish(),
        }
        loop {
            match reader.poll() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        if more.is_none() {
            return (frames, None);
        }
    }
}

/// Reads an undamaged file.
fn read_whole(clip: &str) -> Vec<Frame> {
    let (frames, error) = read(&load(clip), 4096);
    assert_eq!(error, None, "{clip}");
    frames
}
