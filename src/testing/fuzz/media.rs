//! Media files and streams, and the jitter buffer.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::Bytes;
use crate::proto::media::annexb::{AnnexBReader, MAX_PARAMETER_SETS};
use crate::proto::media::ivf::IvfReader;
use crate::proto::media::jitter::{Arrival, JitterBuffer, JitterConfig, JitterOutput, Release};
use crate::proto::media::ogg::OggOpusReader;
use crate::proto::media::recording::Recording;
use crate::proto::media::wav::WavReader;
use crate::proto::media::{Codec, Frame, Limits, MAX_TIME, MediaError, Reader, keyframe};

/// Small limits, so that inputs reach them.
const MAX_FRAME: usize = 20_000;

fn limits() -> Limits {
    Limits::default().max_frame(MAX_FRAME).max_unread(1000)
}

/// Reads an IVF file.
pub fn ivf(data: &[u8]) {
    let make = || Reader::Ivf(Box::new(IvfReader::new(limits())));
    read_twice(make, data);
}

/// Reads an Ogg file.
pub fn ogg(data: &[u8]) {
    let make = || Reader::Ogg(Box::new(OggOpusReader::new(limits())));
    read_twice(make, data);
}

/// Reads a WAV file, or its contents without a header: the first byte selects which.
pub fn wav(data: &[u8]) {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let codec = match first {
        1 => Codec::Pcmu,
        2 => Codec::Pcma,
        3 => Codec::G722,
        _ => return read_twice(|| Reader::Wav(Box::new(WavReader::new(limits()))), data),
    };
    let raw = || WavReader::raw(codec, limits()).expect("a codec that WAV has");
    read_twice(|| Reader::Wav(Box::new(raw())), rest);
}

/// Reads an H.264 byte stream.
pub fn h264(data: &[u8]) {
    byte_stream(Codec::H264, data);
}

/// Reads an H.265 byte stream.
pub fn h265(data: &[u8]) {
    byte_stream(Codec::H265, data);
}

fn byte_stream(codec: Codec, data: &[u8]) {
    let reader = || AnnexBReader::new(codec, limits()).expect("a codec of byte streams");
    read_twice(|| Reader::AnnexB(Box::new(reader())), data);
    // Like a pipe from which a frame is taken whenever nothing has arrived for a while.
    let mut live = reader();
    for piece in data.chunks(100) {
        if live.feed(piece).is_err() {
            return;
        }
        for _ in 0..data.len() + 2 {
            match live.flush() {
                Ok(Some(frame)) => check(&frame, codec, data),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// Reads any of these formats, detected by the first bytes.
pub fn media_file(data: &[u8]) {
    read_twice(|| Reader::new(limits()), data);
}

/// Reads the input whole and in pieces: both yield the same frames and the same end.
fn read_twice(make: impl Fn() -> Reader, data: &[u8]) {
    let (frames, error) = read(make(), data, data.len().max(1));
    let size = usize::from(data.last().copied().unwrap_or(0)) + 1;
    let (again, again_error) = read(make(), data, size);
    assert_eq!(frames, again, "in pieces of {size}");
    let kinds = [error, again_error].map(|e| e.map(|e| e.kind));
    assert_eq!(kinds[0], kinds[1], "in pieces of {size}");
}

fn read(mut reader: Reader, data: &[u8], piece: usize) -> (Vec<Frame>, Option<MediaError>) {
    let mut frames = Vec::new();
    let mut pieces = data.chunks(piece);
    loop {
        let is_end = match pieces.next() {
            None => true,
            Some(piece) => match reader.feed(piece) {
                Ok(()) => false,
                Err(error) => return (frames, Some(error)),
            },
        };
        if is_end {
            reader.finish();
        }
        loop {
            match reader.poll() {
                Ok(Some(frame)) => {
                    let codec = reader.codec().expect("a frame of no codec");
                    check(&frame, codec, data);
                    // A frame has at least one byte, or a header.
                    assert!(frames.len() <= data.len() + 1);
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.poll(), Err(error.clone()), "an error that passes");
                    assert!(error.offset <= data.len() as u64 && !error.reason.is_empty());
                    return (frames, Some(error));
                }
            }
        }
        if is_end {
            return (frames, None);
        }
    }
}

fn check(frame: &Frame, codec: Codec, data: &[u8]) {
    // Parameter sets received long before are prepended to keyframes.
    let sets = match codec.is_byte_stream() {
        true => MAX_PARAMETER_SETS,
        false => 0,
    };
    assert!(frame.data.len() <= MAX_FRAME + sets && frame.time <= MAX_TIME);
    assert!(frame.offset <= data.len() as u64);
    keyframes(codec, &frame.data);
}

fn keyframes(codec: Codec, data: &[u8]) {
    let is_key = keyframe::is_keyframe(codec, data);
    if let Some((width, height)) = keyframe::dimensions(codec, data) {
        assert!(width > 0 && height > 0, "{codec}: {width} x {height}");
        // Parameter sets and sequence headers, which hold the size, may precede any frame.
        let has_sets = codec.is_byte_stream() || codec == Codec::Av1;
        assert!(is_key || has_sets, "{codec}: a size, and no keyframe");
    }
}

/// Checks a frame of the codec selected by the first byte for being a keyframe, and its size.
pub fn frame(data: &[u8]) {
    let mut bytes = Bytes(data);
    let codec = Codec::ALL[usize::from(bytes.byte()) % Codec::ALL.len()];
    keyframes(codec, bytes.0);
}

/// Reads an MP4, Matroska or WebM file.
#[cfg(feature = "movies")]
pub fn movie(data: &[u8]) {
    use crate::proto::media::movie::MovieReader;
    const MOST: usize = 500;
    super::contained(|| {
        let Ok(mut movie) = MovieReader::open(std::io::Cursor::new(data), limits()) else {
            return;
        };
        let mut read = || {
            let mut frames = Vec::new();
            while frames.len() < MOST {
                match movie.next_frame() {
                    Ok(Some((track, frame))) => {
                        let codec = movie.tracks()[track].codec;
                        check(&frame, codec, data);
                        frames.push((track, frame));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(movie.next_frame(), Err(error), "an error that passes");
                        break;
                    }
                }
            }
            (frames, movie.rewind().is_ok())
        };
        let (frames, can_rewind) = read();
        if can_rewind {
            assert_eq!(read().0, frames, "another file after rewinding");
        }
    });
}

/// Beginnings of keyframes that a fuzzer would take long to find: VP8 and VP9, 64 x 48 pixels.
const KEYFRAMES: [&[u8]; 2] = [
    &[0x10, 0, 0, 0x9D, 0x01, 0x2A, 64, 0, 48, 0],
    &[0x82, 0x49, 0x83, 0x42, 0x00, 0x03, 0xF0, 0x02, 0xF0],
];

/// Records received frames: all accepted frames are in the file, in order.
pub fn recording(data: &[u8]) {
    let mut bytes = Bytes(data);
    let codec = Codec::ALL[usize::from(bytes.byte()) % Codec::ALL.len()];
    let Ok(mut recording) = Recording::new(codec) else {
        return;
    };
    let (mut file, mut taken) = (Vec::new(), Vec::new());
    let mut time = Duration::ZERO;
    while !bytes.is_empty() {
        let control = bytes.byte();
        let step = Duration::from_millis(u64::from(bytes.byte()) << (control >> 5));
        time = match control & 16 {
            0 => time + step,
            _ => time.saturating_sub(step),
        };
        let mut frame = Vec::new();
        if control & 8 != 0 {
            frame.extend(KEYFRAMES[usize::from(codec == Codec::Vp9)]);
        }
        let length = usize::from(bytes.byte());
        frame.extend(bytes.take(length));
        let (is_key, is_contiguous) = (control & 1 == 1, control & 2 == 0);
        let before = file.len();
        match recording.write(time, is_key, is_contiguous, &frame, &mut file) {
            Ok(true) => taken.push(frame),
            Ok(false) => assert_eq!(file.len(), before),
            Err(error) => assert!(file.len() == before && !error.reason.is_empty()),
        }
    }
    assert_eq!(recording.stats().frames, taken.len() as u64);
    if let Some(patch) = recording.finish(&mut file) {
        patch.apply(&mut file);
    }
    // In byte streams, the bits determine where frames begin and end.
    if codec.is_byte_stream() || taken.is_empty() {
        return;
    }
    let (frames, error) = read(Reader::new(limits()), &file, file.len());
    assert_eq!(error, None, "our own file");
    let mut frames: Vec<_> = frames.into_iter().map(|f| f.data).collect();
    if codec == Codec::Opus {
        // Gaps are filled with silence.
        let mut taken = taken.iter().peekable();
        frames.retain(|frame| taken.next_if(|t| *t == frame).is_some());
    }
    assert_eq!(frames, taken);
}

/// Arrivals, silences and jumps: no frame is delivered twice or out of order, all are accounted for, and time advances.
pub fn jitter(data: &[u8]) {
    let mut bytes = Bytes(data);
    let options = bytes.byte();
    let (max_items, max_bytes) = (20, 3000);
    let mut config = JitterConfig::new([90_000, 48_000, 8_000, 1][usize::from(options >> 1 & 3)])
        .max_items(max_items)
        .max_bytes(max_bytes)
        .min_delay(Duration::from_millis(u64::from(options >> 5) * 10));
    if options & 1 == 1 {
        config = config.release(Release::InOrder);
    }
    let mut buffer = JitterBuffer::new(config);
    let mut now = Instant::now();
    let (mut number, mut sequence, mut timestamp) = (0u32, 0u16, 0u32);
    let (mut seen, mut last) = (HashSet::new(), None);
    while !bytes.is_empty() {
        let control = bytes.byte();
        match control & 7 {
            6 => now += Duration::from_millis(u64::from(bytes.byte()) << (control >> 3 & 7)),
            7 if control & 0x38 == 0 => buffer.flush(now),
            step => {
                match step {
                    0..4 => sequence = sequence.wrapping_add(u16::from(step)),
                    4 => sequence = sequence.wrapping_sub(u16::from(bytes.byte())),
                    _ => sequence = bytes.word(),
                }
                timestamp = match control & 0x40 {
                    0 => timestamp.wrapping_add(u32::from(bytes.byte()) * 100),
                    _ => u32::from(bytes.word()) << 16,
                };
                number += 1;
                let arrival = Arrival {
                    ssrc: u32::from(control >> 7),
                    sequence,
                    packets: u16::from(bytes.byte() % 4),
                    timestamp,
                    bytes: usize::from(bytes.byte()) * 10,
                    item: number,
                };
                buffer.insert(arrival, now);
            }
        }
        loop {
            match buffer.poll(now) {
                JitterOutput::Timeout(at) => {
                    assert!(at.is_none_or(|at| at > now), "wants to be woken at once");
                    break;
                }
                JitterOutput::Item(released) => {
                    assert!(released.item <= number && seen.insert(released.item));
                    let is_next = last.is_none_or(|l| released.sequence > l);
                    assert!(is_next || released.discontinuity, "out of order");
                    last = Some(released.sequence);
                }
            }
        }
        let s = buffer.stats();
        assert!(s.held <= 2 * max_items && s.held_bytes <= 2 * max_bytes + 2550);
        let dropped = s.late + s.duplicate + s.stray + s.overflowed;
        assert_eq!(s.received, s.emitted + s.held as u64 + dropped, "{s:?}");
    }
}
