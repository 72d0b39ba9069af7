//! Observations of a probe.

use std::time::{Duration, Instant};

use looprtc::proto::media::AacConfig;
use looprtc::proto::rtp::VideoInfo;
use looprtc::proto::rtsp::{
    Camera, CameraEvent, CameraFrame, CameraTrack, CameraTrackStats, Described, Quirks, Transport,
};

/// Observations of a camera.
#[derive(Debug)]
pub struct Observed {
    /// Address without credentials.
    pub url: String,
    pub described: Option<Described>,
    pub transport: Option<Transport>,
    pub tracks: Vec<Track>,
    pub notes: Vec<String>,
    pub quirks: Quirks,
    /// From the start to the description, and to the first frame.
    pub described_after: Option<Duration>,
    pub first_frame_after: Option<Duration>,
    start: Instant,
}

/// Figures of a track.
#[derive(Debug)]
pub struct Track {
    pub track: CameraTrack,
    pub frames: u64,
    pub bytes: u64,
    pub keyframes: u64,
    /// Size of the largest keyframe, in bytes.
    pub largest_keyframe: usize,
    /// Largest distance of two keyframes, in frames and in time.
    pub longest_group: Option<(u64, Duration)>,
    pub discontinuities: u64,
    pub reordered: u64,
    /// Times of the first and the latest frame.
    span: Option<(Duration, Duration)>,
    /// Frames and time at the latest keyframe.
    latest_key: Option<(u64, Duration)>,
    pub video: Option<VideoInfo>,
    pub aac: Option<AacConfig>,
    pub stats: Option<CameraTrackStats>,
}

impl Observed {
    pub fn new(url: String) -> Self {
        Self {
            url,
            described: None,
            transport: None,
            tracks: Vec::new(),
            notes: Vec::new(),
            quirks: Quirks::default(),
            described_after: None,
            first_frame_after: None,
            start: Instant::now(),
        }
    }

    /// Returns the number of frames of all tracks.
    pub fn frames(&self) -> u64 {
        self.tracks.iter().map(|track| track.frames).sum()
    }

    pub fn take(&mut self, event: CameraEvent, now: Instant) {
        let elapsed = now.saturating_duration_since(self.start);
        match event {
            CameraEvent::Described(described) => {
                self.described_after.get_or_insert(elapsed);
                self.described = Some(*described);
            }
            CameraEvent::Tracks(tracks, transport) => {
                self.transport = Some(transport);
                self.tracks = tracks.into_iter().map(Track::new).collect();
            }
            CameraEvent::Frame { track, frame } => {
                self.first_frame_after.get_or_insert(elapsed);
                if let Some(track) = self.tracks.get_mut(track) {
                    track.take(&frame);
                }
            }
            CameraEvent::Note(note) => self.notes.push(note),
            _ => {}
        }
    }

    /// Takes the camera's own figures; the first call counts.
    pub fn end(&mut self, camera: &Camera) {
        if self.quirks.met().count() == 0 {
            self.quirks = camera.quirks();
        }
        self.transport = self.transport.map(|_| camera.transport());
        for (index, track) in self.tracks.iter_mut().enumerate() {
            if track.stats.is_none() {
                track.video = camera.video(index);
                track.aac = camera.aac_config(index).cloned();
                track.stats = camera.stats(index);
            }
        }
    }
}

impl Track {
    fn new(track: CameraTrack) -> Self {
        Self {
            track,
            frames: 0,
            bytes: 0,
            keyframes: 0,
            largest_keyframe: 0,
            longest_group: None,
            discontinuities: 0,
            reordered: 0,
            span: None,
            latest_key: None,
            video: None,
            aac: None,
            stats: None,
        }
    }

    fn take(&mut self, frame: &CameraFrame) {
        self.frames += 1;
        self.bytes += frame.data.len() as u64;
        self.discontinuities += u64::from(frame.discontinuity);
        self.reordered += u64::from(frame.is_reordered);
        let first = self.span.map_or(frame.time, |(first, _)| first);
        self.span = Some((first, frame.time));
        if !frame.is_key {
            return;
        }
        self.keyframes += 1;
        self.largest_keyframe = self.largest_keyframe.max(frame.data.len());
        if let Some((frames, time)) = self.latest_key {
            let group = (self.frames - frames, frame.time.saturating_sub(time));
            self.longest_group = self.longest_group.max(Some(group));
        }
        self.latest_key = Some((self.frames, frame.time));
    }

    /// Returns the time from the first to the latest frame.
    pub fn duration(&self) -> Duration {
        let (first, last) = self.span.unwrap_or_default();
        last.saturating_sub(first)
    }

    /// Returns the measured frame rate; `None` before two frames.
    pub fn frame_rate(&self) -> Option<f64> {
        let seconds = self.duration().as_secs_f64();
        (self.frames > 1 && seconds > 0.0).then(|| (self.frames - 1) as f64 / seconds)
    }

    /// Returns the measured bit rate in bit/s.
    pub fn bit_rate(&self) -> Option<f64> {
        let seconds = self.duration().as_secs_f64();
        (seconds > 0.5).then(|| self.bytes as f64 * 8.0 / seconds)
    }

    /// Returns the time since the latest keyframe, or since the first frame.
    pub fn since_keyframe(&self) -> Duration {
        let last = self.span.map_or(Duration::ZERO, |(_, last)| last);
        let key = self.latest_key.map(|(_, time)| time);
        let from = key.or(self.span.map(|(first, _)| first));
        last.saturating_sub(from.unwrap_or_default())
    }
}
