//! Readers against ffprobe, and against pipes.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use looprtc::proto::media::annexb::{self, AnnexBReader};
use looprtc::proto::media::{Codec, Limits, MediaErrorKind, Reader, Timebase};
use looprtc::testing::{h264, h265, keyframe};

use super::{PLAYABLE, ffmpeg, load, path, read, read_whole};

#[test]
fn any_pieces_give_the_same() {
    for clip in PLAYABLE {
        let whole = read_whole(clip);
        assert!(whole.len() > 20, "{clip}: {}", whole.len());
        let file = load(clip);
        for chunk in [1, 2, 3, 17, 1000, usize::MAX] {
            assert_eq!(
                read(&file, chunk),
                (whole.clone(), None),
                "{clip} by {chunk}"
            );
        }
    }
}

#[test]
fn as_ffprobe_sees_it() {
    if !ffmpeg::is_here() {
        return;
    }
    for clip in PLAYABLE.into_iter().filter(|clip| !clip.ends_with(".wav")) {
        let ours = read_whole(clip);
        let theirs = ffmpeg::packets(&path(clip));
        assert_eq!(ours.len(), theirs.len(), "{clip}");
        // ffprobe counts Ogg from the end of the pre-skip.
        let first = theirs[0].time.unwrap_or(0.0);
        for (n, (our, their)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(our.keyframe, their.keyframe, "{clip} frame {n}");
            if let Some(time) = their.time {
                let apart = our.time.as_secs_f64() - (time - first);
                assert!(
                    apart.abs() < 2e-6,
                    "{clip} frame {n}: {:?} against {time}",
                    our.time
                );
            }
            // Byte streams lose delimiters and get parameter sets.
            if !clip.contains(".h26") {
                assert_eq!(our.data.len(), their.size, "{clip} frame {n}");
            }
        }
    }
}

#[test]
fn byte_streams_take_their_times_and_sizes_from_the_sps() {
    for clip in PLAYABLE.into_iter().filter(|clip| clip.contains(".h26")) {
        let frames = read_whole(clip);
        assert_eq!(frames.len(), 45, "{clip}");
        let step = Timebase::new(1001, 30_000).unwrap();
        for (n, frame) in frames.iter().enumerate() {
            assert_eq!(frame.time, step.time(n as u64).unwrap(), "{clip} frame {n}");
            assert_eq!(frame.rtp_timestamp(90_000), n as u32 * 3003);
        }
        let codec = if clip.ends_with('4') {
            Codec::H264
        } else {
            Codec::H265
        };
        assert_eq!(
            keyframe::dimensions(codec, &frames[0].data),
            Some((128, 96)),
            "{clip}"
        );
    }
}

#[test]
fn sizes_of_other_keyframes() {
    for (clip, codec) in [
        ("vp8.ivf", Codec::Vp8),
        ("vp9.ivf", Codec::Vp9),
        ("av1.ivf", Codec::Av1),
    ] {
        let frames = read_whole(clip);
        assert_eq!(
            keyframe::dimensions(codec, &frames[0].data),
            Some((128, 96)),
            "{clip}"
        );
        assert_eq!(keyframe::dimensions(codec, &frames[1].data), None, "{clip}");
    }
}

#[test]
fn each_keyframe_has_its_parameter_sets() {
    for clip in PLAYABLE.into_iter().filter(|clip| clip.contains(".h26")) {
        for frame in read_whole(clip).iter().filter(|frame| frame.keyframe) {
            let nals = annexb::units(&frame.data).map(|(_, nal)| nal);
            let kinds: Vec<_> = match clip.ends_with('4') {
                true => nals.map(h264::nal_type).collect(),
                false => nals.map(h265::nal_type).collect(),
            };
            let sets: &[u8] = if clip.ends_with('4') {
                &[7, 8]
            } else {
                &[32, 33, 34]
            };
            assert_eq!(kinds[..sets.len()], *sets, "{clip}: {kinds:?}");
            let delimiter = if clip.ends_with('4') {
                h264::AUD
            } else {
                h265::AUD
            };
            assert!(!kinds.contains(&delimiter));
        }
    }
}

#[test]
fn slices_stay_together() {
    let slices = |clip, kind: fn(&[u8]) -> bool| {
        let frames = read_whole(clip);
        frames
            .iter()
            .map(|frame| {
                annexb::units(&frame.data)
                    .filter(|(_, nal)| kind(nal))
                    .count()
            })
            .collect::<Vec<_>>()
    };
    let h264 = slices("slices.h264", |nal| matches!(h264::nal_type(nal), 1 | 5));
    assert!(h264.iter().all(|n| *n == 3), "{h264:?}");
    let h265 = slices("slices.h265", |nal| h265::nal_type(nal) < 32);
    assert!(h265.iter().all(|n| *n == 2), "{h265:?}");
}

#[test]
fn b_frames_are_refused() {
    for (clip, encoder) in [("bframes.h264", "libx264"), ("bframes.h265", "libx265")] {
        let file = load(clip);
        let (frames, error) = read(&file, 999);
        let error = error.expect(clip);
        assert_eq!(error.kind, MediaErrorKind::Reordered);
        let text = error.to_string();
        for part in ["B-frames", "order they come in", encoder, "-bf 0"] {
            assert!(text.contains(part), "{text}");
        }
        // The keyframe and the one that the B-frames refer to were returned before.
        assert!((1..=3).contains(&frames.len()), "{clip}: {}", frames.len());
        assert!(frames[0].keyframe);
        assert_eq!(file[error.offset as usize..][..3], [0, 0, 1]);
    }
}

#[test]
fn the_advice_about_b_frames_works() {
    if !ffmpeg::is_here() {
        return;
    }
    for (clip, encoder) in [("bframes.h264", "libx264"), ("bframes.h265", "libx265")] {
        let again = ffmpeg::Scratch::new(&format!("again-{clip}"), &[]);
        let (from, to) = (path(clip), again.path().to_str().unwrap());
        let args = [
            "-nostdin",
            "-y",
            "-v",
            "error",
            "-i",
            from.to_str().unwrap(),
            "-c:v",
            encoder,
        ];
        // libx265 logs to standard error regardless of the level.
        let out = Command::new("ffmpeg")
            .args(args)
            .args(["-bf", "0", to])
            .output()
            .unwrap();
        assert!(out.status.success());
        let (frames, error) = read(&std::fs::read(to).unwrap(), 999);
        assert_eq!((frames.len(), error), (45, None), "{clip}");
    }
}

#[test]
fn sps_of_x264_and_x265() {
    let mut reader = AnnexBReader::new(Codec::H264, Limits::default()).unwrap();
    reader.feed(&load("bframes.h264")).unwrap();
    let _ = reader.poll();
    let sps = reader.h264_sps().unwrap();
    assert_eq!(
        (sps.profile, sps.level, sps.max_num_reorder_frames),
        (100, 10, Some(2))
    );
    assert_eq!(sps.profile_level_id(), "64000a");

    let mut reader = AnnexBReader::new(Codec::H265, Limits::default()).unwrap();
    reader.feed(&load("plain.h265")).unwrap();
    let _ = reader.poll();
    let sps = reader.h265_sps().unwrap();
    assert_eq!(
        (sps.profile, sps.high_tier, sps.max_num_reorder_pics),
        (1, false, 0)
    );
    assert_eq!(sps.frame_time, Timebase::new(1001, 30_000));
}

#[test]
fn what_comes_before_the_parameter_sets_is_skipped() {
    let file = load("plain.h264");
    let whole = read_whole("plain.h264");
    // As from a camera that was already running.
    let middle = whole[10].offset as usize;
    let mut reader = AnnexBReader::new(Codec::H264, Limits::default()).unwrap();
    reader.feed(&file[middle..]).unwrap();
    reader.finish();
    let first = reader.poll().unwrap().unwrap();
    assert_eq!((first.keyframe, first.time), (true, Duration::ZERO));
    assert_eq!(first.data, whole[15].data);
    assert_eq!(reader.skipped(), 5);
}

#[test]
fn flush_saves_the_wait_for_the_next_frame() {
    let file = load("slices.h264");
    let whole = read_whole("slices.h264");
    let mut reader = AnnexBReader::new(Codec::H264, Limits::default()).unwrap();
    // Each frame begins with a delimiter.
    let delimiters = annexb::units(&file).filter(|(_, nal)| h264::nal_type(nal) == h264::AUD);
    let mut ends: Vec<_> = delimiters.skip(1).map(|(at, _)| at - 4).collect();
    ends.push(file.len());
    let mut start = 0;
    for (frame, end) in whole.iter().zip(ends) {
        reader.feed(&file[start..end]).unwrap();
        start = end;
        let got = reader.flush().unwrap().unwrap();
        assert_eq!((got.time, got.data.len()), (frame.time, frame.data.len()));
        assert_eq!(reader.flush(), Ok(None));
    }
}

/// `ffmpeg … -o -`, similar to `rpicam-vid -o -`: the length is unknown, and data arrives in pieces.
#[test]
fn from_a_pipe() {
    if !ffmpeg::is_here() {
        return;
    }
    let source = "testsrc2=size=320x240:rate=25:duration=4";
    for (codec, options) in [
        (
            Codec::H264,
            "-c:v libx264 -tune zerolatency -preset ultrafast -g 25 -f h264",
        ),
        (Codec::Vp8, "-c:v libvpx -deadline realtime -g 25 -f ivf"),
    ] {
        let mut child = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", source])
            .args(options.split(' '))
            .arg("-")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdout.take().unwrap();
        let mut reader = Reader::new(Limits::default());
        let (mut buffer, mut frames) = ([0; 5000], Vec::new());
        loop {
            match pipe.read(&mut buffer).unwrap() {
                0 => reader.finish(),
                n => reader.feed(&buffer[..n]).unwrap(),
            }
            let before = frames.len();
            while let Some(frame) = reader.poll().unwrap() {
                frames.push(frame);
            }
            if frames.len() == 100
                || (frames.len() == before && child.try_wait().unwrap().is_some())
            {
                break;
            }
        }
        child.wait().unwrap();
        assert_eq!((reader.codec(), frames.len()), (Some(codec), 100));
        assert_eq!(frames[99].time, Duration::from_millis(99 * 40));
        assert_eq!(frames.iter().filter(|frame| frame.keyframe).count(), 4);
    }
}
