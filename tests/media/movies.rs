//! MP4, Matroska and WebM: against ffprobe, and damaged.

use std::io::Cursor;

use looprtc::proto::media::movie::MovieReader;
use looprtc::proto::media::{Codec, Frame, Limits, MediaError, MediaErrorKind, annexb};

use super::{ffmpeg, load, path};

const MOVIES: [(&str, Codec); 6] = [
    ("movie.webm", Codec::Vp8),
    ("live.webm", Codec::Vp9),
    ("movie.mkv", Codec::H264),
    ("movie.mp4", Codec::H264),
    ("fragmented.mp4", Codec::H265),
    ("av1.mp4", Codec::Av1),
];

type Tracks = Vec<(Codec, Vec<Frame>)>;

/// Returns the frames of each track, and the error at the end.
fn read(file: &[u8]) -> (Tracks, Option<MediaError>) {
    let mut reader = match MovieReader::open(Cursor::new(file), Limits::default()) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let tracks = reader
        .tracks()
        .iter()
        .map(|track| (track.codec, Vec::new()));
    let mut tracks: Tracks = tracks.collect();
    loop {
        match reader.next_frame() {
            Ok(Some((track, frame))) => tracks[track].1.push(frame),
            Ok(None) => return (tracks, None),
            Err(error) => {
                assert_eq!(reader.next_frame(), Err(error.clone()), "an error stays");
                return (tracks, Some(error));
            }
        }
    }
}

#[test]
fn as_ffprobe_sees_it() {
    if !ffmpeg::is_here() {
        return;
    }
    for (clip, codec) in MOVIES {
        let (tracks, error) = read(&load(clip));
        assert_eq!(error, None, "{clip}");
        let codecs: Vec<_> = tracks.iter().map(|track| track.0).collect();
        let expected: &[Codec] = if clip == "av1.mp4" {
            &[codec]
        } else {
            &[codec, Codec::Opus]
        };
        assert_eq!(codecs, expected, "{clip}");
        for (index, (codec, frames)) in tracks.iter().enumerate() {
            let theirs = ffmpeg::stream_packets(&path(clip), index);
            assert_eq!(frames.len(), theirs.len(), "{clip} {codec}");
            assert!(frames.len() >= 16);
            for (n, (our, their)) in frames.iter().zip(&theirs).enumerate() {
                assert_eq!(our.keyframe, their.keyframe, "{clip} {codec} frame {n}");
                // Edit lists and pre-skip shift all times of a track equally.
                let shift = theirs[0].time.unwrap() - frames[0].time.as_secs_f64();
                let apart = our.time.as_secs_f64() + shift - their.time.unwrap();
                assert!(apart.abs() < 2e-6, "{clip} {codec} frame {n}: {apart} s");
                if !matches!(codec, Codec::H264 | Codec::H265) {
                    assert_eq!(our.data.len(), their.size, "{clip} {codec} frame {n}");
                }
            }
        }
    }
}

#[test]
fn byte_streams_of_them_decode_to_the_same() {
    if !ffmpeg::is_here() {
        return;
    }
    for (clip, plain) in [
        ("movie.mkv", "plain.h264"),
        ("movie.mp4", "plain.h264"),
        ("fragmented.mp4", "plain.h265"),
    ] {
        let mut out = Vec::new();
        for frame in &read(&load(clip)).0[0].1 {
            annexb::write(&frame.data, &mut out);
        }
        let scratch = ffmpeg::Scratch::new(&format!("{clip}-{plain}"), &out);
        let ours = ffmpeg::decode(scratch.path());
        assert!(ours.len() >= 29, "{clip}");
        assert_eq!(ours, ffmpeg::decode(&path(plain))[..ours.len()], "{clip}");
    }
}

#[test]
fn b_frames_are_refused_and_aac_is_named() {
    let file = load("bframes.mp4");
    let reader = MovieReader::open(Cursor::new(&file), Limits::default()).unwrap();
    assert_eq!(reader.passed_over(), ["AAC audio"]);
    let (tracks, error) = read(&file);
    let error = error.unwrap();
    assert_eq!(error.kind, MediaErrorKind::Reordered);
    assert!(
        error.reason.contains("-bf 0") && !tracks[0].1.is_empty(),
        "{error}"
    );
}

/// As written by `ffmpeg -movflags frag_keyframe+empty_moov`.
#[test]
fn fragments_with_absolute_offsets_are_the_same_as_others() {
    let (tracks, error) = read(&load("fragmented_absolute.mp4"));
    assert_eq!(error, None);
    let (others, _) = read(&load("fragmented.mp4"));
    let data = |tracks: &Tracks| -> Vec<Vec<Vec<u8>>> {
        let of = |frames: &[Frame]| frames.iter().map(|f| f.data.clone()).collect();
        tracks.iter().map(|(_, frames)| of(frames)).collect()
    };
    assert!(data(&tracks) == data(&others) && tracks[0].1.len() > 16);
}

#[test]
fn rewind() {
    for (clip, _) in MOVIES {
        let file = load(clip);
        let mut reader = MovieReader::open(Cursor::new(&file), Limits::default()).unwrap();
        let mut pass = || {
            let mut frames = Vec::new();
            while let Some(frame) = reader.next_frame().unwrap() {
                frames.push(frame);
            }
            reader.rewind().unwrap();
            frames
        };
        let first = pass();
        assert!(first == pass(), "{clip}");
    }
}

#[test]
fn other_files() {
    for (bytes, kind) in [
        (&b""[..], MediaErrorKind::WrongFormat),
        (b"DKIF and more of it", MediaErrorKind::WrongFormat),
        (b"\x1A\x45\xDF\xA3", MediaErrorKind::Damaged),
        (b"\0\0\0\x10ftypisom\0\0\0\0", MediaErrorKind::Damaged),
    ] {
        assert_eq!(read(bytes).1.unwrap().kind, kind, "{bytes:?}");
    }
}

#[test]
fn cut_off_at_every_byte() {
    for (clip, _) in MOVIES {
        let file = load(clip);
        let whole = read(&file).0;
        for end in (0..file.len()).step_by(if file.len() > 10_000 { 7 } else { 3 }) {
            let (tracks, error) = read(&file[..end]);
            for (track, whole) in tracks.iter().zip(&whole) {
                assert_eq!(track.1[..], whole.1[..track.1.len()], "{clip} {end}");
            }
            if let Some(error) = error {
                assert!(!error.reason.is_empty());
            }
        }
    }
}

#[test]
fn damaged_at_every_byte() {
    for (clip, _) in MOVIES.into_iter().chain([("bframes.mp4", Codec::H264)]) {
        let mut file = load(clip);
        for at in 0..file.len() {
            // The tables of plain MP4 are at the end; in the middle are only frames.
            if at > 1500 && at + 2500 < file.len() && at % 16 != 0 {
                continue;
            }
            let flip = [0xFF, 0x01, 0x80][at % 3];
            file[at] ^= flip;
            read(&file);
            file[at] ^= flip;
        }
    }
}

/// A file is read as far as needed to know its contents, and sizes in boxes are never trusted.
#[test]
fn boxes_have_their_limits() {
    let file = load("movie.mp4");
    let brand = file[..u32::from_be_bytes(file[..4].try_into().unwrap()) as usize].to_vec();
    // A huge number of boxes, none with any content.
    let mut empty = brand.clone();
    empty.extend(b"\0\0\0\x08free".repeat(100_001));
    let (tracks, error) = read(&empty);
    assert!(tracks.is_empty());
    let error = error.expect("an error").to_string();
    let stops = error.contains("again and again") || error.contains("more boxes than sense");
    assert!(stops, "{error}");
    // Tables of 65 MiB.
    let size = 65 << 20;
    let mut large = brand;
    large.extend(u32::to_be_bytes(size));
    large.extend(b"moov");
    large.resize(large.len() + size as usize, 0);
    let (_, error) = read(&large);
    let error = error.expect("an error").to_string();
    assert!(error.contains("the limit is 67108864"), "{error}");
}
