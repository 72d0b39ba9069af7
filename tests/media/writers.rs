//! ffmpeg decodes what the writers write, from the first to the last frame without errors, with the right duration.

use std::time::Duration;

use looprtc::proto::media::ivf::IvfWriter;
use looprtc::proto::media::ogg::{OggOpusWriter, WriterConfig};
use looprtc::proto::media::wav::WavWriter;
use looprtc::proto::media::{Codec, Timebase, annexb};

use super::ffmpeg::{self, Scratch};
use super::{load, path, read, read_whole};

#[test]
fn ivf() {
    if !ffmpeg::is_here() {
        return;
    }
    for (clip, codec) in [
        ("vp8.ivf", Codec::Vp8),
        ("vp9.ivf", Codec::Vp9),
        ("av1.ivf", Codec::Av1),
    ] {
        let frames = read_whole(clip);
        // As saved from RTP.
        let mut out = Vec::new();
        let base = Timebase::new(1, 90_000).unwrap();
        let mut writer = IvfWriter::new(codec, 128, 96, base, &mut out).unwrap();
        for frame in &frames {
            writer.write(frame.time, &frame.data, &mut out).unwrap();
        }
        writer.patch().apply(&mut out);
        let file = Scratch::new(clip, &out);
        assert_eq!(
            ffmpeg::decode(file.path()),
            ffmpeg::decode(&path(clip)),
            "{clip}"
        );
        let expected = 45.0 * 1001.0 / 30_000.0;
        let told = ffmpeg::duration(file.path());
        assert!((told - expected).abs() < 0.001, "{clip}: {told} s");
    }
}

#[test]
fn ivf_like_ffmpegs_own() {
    // Every byte, except for the number that encoders put in "unused".
    let ours = {
        let frames = read_whole("vp8.ivf");
        let base = Timebase::new(1001, 30_000).unwrap();
        let mut out = Vec::new();
        let mut writer = IvfWriter::new(Codec::Vp8, 128, 96, base, &mut out).unwrap();
        for frame in &frames {
            writer.write(frame.time, &frame.data, &mut out).unwrap();
        }
        writer.patch().apply(&mut out);
        out
    };
    assert!(ours == load("vp8.ivf"), "they differ");
}

#[test]
fn byte_streams() {
    if !ffmpeg::is_here() {
        return;
    }
    for clip in [
        "plain.h264",
        "slices.h264",
        "once.h264",
        "mbaff.h264",
        "plain.h265",
        "slices.h265",
    ] {
        let mut out = Vec::new();
        for frame in read_whole(clip) {
            annexb::write(&frame.data, &mut out);
        }
        let file = Scratch::new(clip, &out);
        let decoded = ffmpeg::decode(file.path());
        assert_eq!(decoded.len(), 45, "{clip}");
        assert_eq!(decoded, ffmpeg::decode(&path(clip)), "{clip}");
    }
}

#[test]
fn ogg() {
    if !ffmpeg::is_here() {
        return;
    }
    for clip in ["mono20.ogg", "stereo60.ogg", "stereo2.5.ogg"] {
        let frames = read_whole(clip);
        for page in [1, 100, 1000, 10_000] {
            let config = WriterConfig::default()
                .channels(if clip.starts_with("mono") { 1 } else { 2 })
                .page_duration(Duration::from_millis(page));
            let mut out = Vec::new();
            let mut writer = OggOpusWriter::new(config, &mut out).unwrap();
            for frame in &frames {
                writer.write(frame.time, &frame.data, &mut out).unwrap();
            }
            writer.finish(&mut out);
            let (again, error) = read(&out, 777);
            assert_eq!(error, None);
            let data = |frames: &[looprtc::proto::media::Frame]| {
                frames
                    .iter()
                    .map(|frame| (frame.time, frame.data.clone()))
                    .collect::<Vec<_>>()
            };
            assert!(data(&again) == data(&frames), "{clip} {page}");
            let file = Scratch::new(&format!("{page}-{clip}"), &out);
            // The pre-skip covers up to three packets.
            assert!(
                ffmpeg::decode(file.path()).len() >= frames.len() - 3,
                "{clip} {page}"
            );
            let packets: Duration = frames.iter().map(|frame| frame.duration).sum();
            // ffprobe reports the granule position, including pre-skip.
            let told = ffmpeg::duration(file.path());
            assert!(
                (told - packets.as_secs_f64()).abs() < 0.0026,
                "{clip} {page}: {told} s"
            );
        }
    }
}

/// A third of the packets is lost: the file decodes, with the same duration as without losses.
#[test]
fn ogg_with_losses() {
    if !ffmpeg::is_here() {
        return;
    }
    let frames = read_whole("mono20.ogg");
    let mut out = Vec::new();
    let mut writer = OggOpusWriter::new(WriterConfig::default(), &mut out).unwrap();
    for (n, frame) in frames.iter().enumerate() {
        if n % 10 < 7 {
            let hour = Duration::from_secs(3600);
            writer
                .write(hour + frame.time, &frame.data, &mut out)
                .unwrap();
        }
    }
    writer.finish(&mut out);
    let file = Scratch::new("losses.ogg", &out);
    ffmpeg::decode(file.path());
    let told = ffmpeg::duration(file.path());
    assert!((told - 1.52).abs() < 0.001, "{told} s");
}

#[test]
fn wav() {
    if !ffmpeg::is_here() {
        return;
    }
    for (clip, codec) in [("mulaw.wav", Codec::Pcmu), ("alaw.wav", Codec::Pcma)] {
        let frames = read_whole(clip);
        let mut out = Vec::new();
        let mut writer = WavWriter::new(codec, &mut out).unwrap();
        for frame in &frames {
            writer.write(frame.time, &frame.data, &mut out).unwrap();
        }
        ffmpeg::decode_pipe(Scratch::new(&format!("pipe-{clip}"), &out).path());
        for patch in writer.finish(&mut out) {
            patch.apply(&mut out);
        }
        let file = Scratch::new(clip, &out);
        ffmpeg::decode(file.path());
        // 1.51 s, padded to a multiple of 20 ms.
        assert_eq!(ffmpeg::duration(file.path()), 1.52);
        assert_eq!(read(&out, 77).0.len(), 76);
    }
}
