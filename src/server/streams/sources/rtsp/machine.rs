//! A camera's tracks as browsers take them: which are passed on, transcoded, or left out and why.

use std::collections::VecDeque;
use std::time::Instant;

use super::session::{Frame, Machine, Step};
use crate::proto::media::Codec;
use crate::proto::media::transcode::{AudioFormat, AudioTranscoder, TranscodeErrorKind};
use crate::proto::rtp::MediaFormat;
use crate::proto::rtsp::{
    Camera, CameraConfig, CameraEvent, CameraFrame, CameraOutput, CameraTrack, Input, Quirks,
};
use crate::server::streams::kind::Contents;

/// A camera, and what becomes of its tracks.
#[derive(Debug)]
pub(super) struct Watched {
    camera: Camera,
    /// Of the camera's tracks, by their index.
    paths: Vec<Path>,
    /// Remarks about streams that the camera's description names, but nobody can use.
    left_out: Vec<String>,
    has_sub: bool,
    has_b_frames: bool,
    ready: VecDeque<Step>,
}

/// Treatment of a track.
#[derive(Debug)]
enum Path {
    AsItIs(Codec),
    /// Transcoded, to this codec. The decoder is made for the first frame: the configuration may come with it.
    Transcoded {
        format: Option<AudioFormat>,
        codec: Codec,
        transcoder: Option<Box<AudioTranscoder>>,
    },
    LeftOut,
}

impl Watched {
    /// `has_sub`: the camera has a second stream, which may be in another codec.
    pub fn new(config: CameraConfig, has_sub: bool, now: Instant) -> Self {
        Self {
            camera: Camera::new(config, now),
            paths: Vec::new(),
            left_out: Vec::new(),
            has_sub,
            has_b_frames: false,
            ready: VecDeque::new(),
        }
    }

    fn on_event(&mut self, event: CameraEvent) {
        let step = match event {
            CameraEvent::Described(described) => {
                self.left_out = described.left_out;
                return;
            }
            CameraEvent::Tracks(tracks, _) => self.on_tracks(&tracks),
            CameraEvent::Frame { track, frame } => return self.on_frame(track, frame),
            CameraEvent::Quirk(quirk) => {
                log::info!(
                    "a camera needs tolerance {}: {}",
                    quirk.number(),
                    quirk.name()
                );
                return;
            }
            CameraEvent::Note(note) => Step::Note(note),
            CameraEvent::Trace(..) => return,
            CameraEvent::Ended(why) => Step::Ended(why),
        };
        self.ready.push_back(step);
    }

    fn on_tracks(&mut self, tracks: &[CameraTrack]) -> Step {
        let mut contents = Contents {
            codecs: Vec::new(),
            notes: self.left_out.clone(),
        };
        self.paths = tracks.iter().map(|track| path(&track.format)).collect();
        let is_left_out = |path: &Path| matches!(path, Path::LeftOut);
        if !tracks.is_empty() && self.paths.iter().all(is_left_out) {
            let names: Vec<_> = tracks.iter().map(|track| track.format.name()).collect();
            return Step::Useless(format!(
                "the camera sends only {}, which browsers do not play over WebRTC; set it to H.264",
                names.join(" and ")
            ));
        }
        for (track, path) in tracks.iter().zip(&self.paths) {
            match path {
                Path::AsItIs(codec) | Path::Transcoded { codec, .. } => {
                    contents.codecs.push(*codec)
                }
                Path::LeftOut => contents.notes.push(format!(
                    "{} is left out: browsers do not play it over WebRTC; set the camera to H.264",
                    track.format.name()
                )),
            }
            if track.format.codec() == Some(Codec::H265) && !self.has_sub {
                contents.notes.push(
                    "the camera sends H.265, which not every browser decodes; a second stream in H.264 would do \
                     (#sub=), or H.264 in the camera's settings"
                        .into(),
                );
            }
        }
        Step::Tracks(contents)
    }

    fn on_frame(&mut self, track: usize, frame: CameraFrame) {
        if frame.is_reordered && !self.has_b_frames {
            self.has_b_frames = true;
            self.ready.push_back(Step::Note(
                "the video has B-frames, which browsers do not show in order over WebRTC: it jerks; set the camera's \
                 profile to Baseline, or its number of B-frames to 0"
                    .into(),
            ));
        }
        match self.paths.get_mut(track) {
            Some(Path::AsItIs(codec)) => {
                let frame = Frame {
                    codec: *codec,
                    data: frame.data.to_vec(),
                    time: frame.time,
                    is_key: frame.is_key,
                    is_cut: frame.discontinuity,
                };
                self.ready.push_back(Step::Frame(frame));
            }
            Some(Path::Transcoded { .. }) => self.transcode(track, &frame),
            Some(Path::LeftOut) | None => {}
        }
    }

    fn transcode(&mut self, track: usize, frame: &CameraFrame) {
        let Some(Path::Transcoded {
            format,
            codec,
            transcoder,
        }) = self.paths.get_mut(track)
        else {
            return;
        };
        let codec = *codec;
        if transcoder.is_none() {
            let config = self.camera.aac_config(track);
            let known = config.map(|config| AudioFormat::Aac {
                config: config.clone(),
            });
            let Some(format) = format.take().or(known) else {
                return;
            };
            match AudioTranscoder::new(&format, codec) {
                Ok(made) => *transcoder = Some(Box::new(made)),
                Err(e) => return self.give_up(track, &e.to_string()),
            }
        }
        let Some(transcoder) = transcoder else {
            return;
        };
        match transcoder.push(&frame.data, frame.time) {
            Ok(frames) => self.ready.extend(frames.into_iter().map(|frame| {
                Step::Frame(Frame {
                    codec,
                    data: frame.data,
                    time: frame.time,
                    is_key: true,
                    is_cut: false,
                })
            })),
            Err(e) if e.kind == TranscodeErrorKind::Damaged => log::debug!("a camera's audio: {e}"),
            Err(e) => self.give_up(track, &e.to_string()),
        }
    }

    fn give_up(&mut self, track: usize, why: &str) {
        if let Some(path) = self.paths.get_mut(track) {
            *path = Path::LeftOut;
        }
        let note = format!("the camera's audio is left out: {why}");
        self.ready.push_back(Step::Note(note));
    }
}

/// Returns what becomes of a track in this format.
fn path(format: &MediaFormat) -> Path {
    if let Some(codec) = format.codec() {
        return Path::AsItIs(codec);
    }
    let audio = match format {
        MediaFormat::Pcmu {
            clock_rate,
            channels,
        } => AudioFormat::Pcmu {
            clock_rate: *clock_rate,
            channels: *channels,
        },
        MediaFormat::Pcma {
            clock_rate,
            channels,
        } => AudioFormat::Pcma {
            clock_rate: *clock_rate,
            channels: *channels,
        },
        MediaFormat::L16 {
            clock_rate,
            channels,
            ..
        } => AudioFormat::L16 {
            clock_rate: *clock_rate,
            channels: *channels,
            // The depacketizer sees to it.
            big_endian: true,
        },
        MediaFormat::Aac(aac) => {
            let config = aac.config.clone();
            let codec = AudioFormat::Aac { config }.browser_codec();
            // What comes in band counts more than the description.
            return Path::Transcoded {
                format: None,
                codec,
                transcoder: None,
            };
        }
        MediaFormat::Latm { .. } => {
            return Path::Transcoded {
                format: None,
                codec: Codec::G722,
                transcoder: None,
            };
        }
        _ => return Path::LeftOut,
    };
    Path::Transcoded {
        codec: audio.browser_codec(),
        format: Some(audio),
        transcoder: None,
    }
}

impl Machine for Watched {
    fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        self.camera.handle_input(input, now);
    }

    fn poll_output(&mut self) -> Step {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return step;
            }
            match self.camera.poll_output() {
                CameraOutput::Io(output) => return Step::Wire(output),
                CameraOutput::Event(event) => self.on_event(event),
                CameraOutput::Timeout(at) => return Step::Timeout(at),
            }
        }
    }

    fn add_quirks(&self, to: &mut Quirks) {
        to.add(&self.camera.quirks());
    }

    fn close(&mut self, now: Instant) {
        self.camera.close(now);
    }
}
