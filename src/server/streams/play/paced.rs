//! A file, or a pipe that is read like one: each frame goes out when its time has come.

use std::time::{Duration, Instant};

use super::clip::Clip;
use super::queue::Item;
use super::reading::Reading;
use crate::proto::media::pacing::{Paced, Pacer, PacerConfig, TrackId, TrackKind};
use crate::proto::media::{Codec, Frame};
use crate::server::streams::kind::Contents;

/// Maximum number of queued frames per track; files whose tracks are far apart need many.
const MAX_QUEUE: usize = 1024;

/// A file, or a pipe that is read like one.
#[derive(Debug)]
pub(super) struct Playback {
    show: Option<Show>,
    /// Tracks that have started and were not reported yet.
    news: Option<Contents>,
    /// Set when nothing more follows: the end, or the error.
    over: Option<Result<(), String>>,
    /// A clip to return before anything else.
    aside: Option<Clip>,
    max_bytes: usize,
    due: Option<Instant>,
}

#[derive(Debug)]
struct Show {
    pacer: Pacer<Frame>,
    tracks: Vec<(TrackId, Codec)>,
    /// Tracks that need a frame.
    hungry: Vec<bool>,
    /// Set at the end of the source: whether it starts over.
    end: Option<bool>,
    /// Number of bytes queued in the pacer.
    bytes: usize,
}

impl Playback {
    /// Creates a playback that keeps at most `max_bytes` of frames waiting.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            show: None,
            news: None,
            over: None,
            aside: None,
            max_bytes,
            due: None,
        }
    }

    /// Returns when the next frame is due.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns the next step.
    pub fn poll(&mut self, reading: &Reading, now: Instant) -> Clip {
        let clip = self.next(reading, now);
        self.due = match &clip {
            Clip::Wait(at) => *at,
            _ => None,
        };
        clip
    }

    /// Drops queued frames: there are no viewers for now. The next pass starts a new timeline.
    pub fn pause(&mut self) {
        if let Some(show) = self.show.take() {
            if show.end == Some(false) {
                self.over = Some(Ok(()));
            }
            let codecs = show.tracks.iter().map(|(_, codec)| *codec).collect();
            self.show = Some(Show::new(codecs));
        }
    }

    fn next(&mut self, reading: &Reading, now: Instant) -> Clip {
        loop {
            self.fill(reading);
            if let Some(clip) = self.aside.take() {
                return clip;
            }
            if let Some(contents) = self.news.take() {
                return Clip::Tracks(contents);
            }
            let Some(show) = &mut self.show else {
                return self.over().unwrap_or(Clip::Wait(None));
            };
            match show.pacer.poll(now) {
                Paced::Need(track) => show.set_hungry(track),
                Paced::Frame {
                    track, item, late, ..
                } => {
                    show.bytes = show.bytes.saturating_sub(item.data.len());
                    let found = show.tracks.iter().find(|(t, _)| *t == track);
                    if let Some((_, codec)) = found {
                        return Clip::Frame {
                            codec: *codec,
                            frame: item,
                            due: now - late,
                        };
                    }
                }
                Paced::SourceEnded if show.end == Some(true) => {
                    show.end = None;
                    show.pacer.repeat();
                }
                Paced::SourceEnded => {}
                Paced::Finished => {
                    self.over = Some(Ok(()));
                    return Clip::Ended;
                }
                Paced::Wait(at) => {
                    // A failed source has played what there was.
                    let over = self.over().filter(|_| at.is_none());
                    return over.unwrap_or(Clip::Wait(at));
                }
            }
        }
    }

    fn over(&self) -> Option<Clip> {
        self.over.clone().map(|over| match over {
            Ok(()) => Clip::Ended,
            Err(why) => Clip::Failed(why),
        })
    }

    /// Passes read frames to the tracks that need them.
    fn fill(&mut self, reading: &Reading) {
        while self.over.is_none() && self.show.as_ref().is_none_or(|s| s.wants(self.max_bytes)) {
            let Some(item) = reading.pop() else {
                return;
            };
            match (item, &mut self.show) {
                (Item::Failed(why), _) => self.over = Some(Err(why)),
                (Item::Trouble(why), _) => {
                    self.aside = Some(Clip::Trouble(why));
                    return;
                }
                (Item::Note(note), _) => {
                    self.aside = Some(Clip::Note(note));
                    return;
                }
                (Item::Tracks(contents), Some(show)) if show.has(&contents.codecs) => {}
                (Item::Tracks(contents), _) => {
                    self.show = Some(Show::new(contents.codecs.clone()));
                    self.news = Some(contents);
                    return;
                }
                (Item::Frame { track, frame, .. }, Some(show)) => show.push(track, frame),
                (Item::End { more }, Some(show)) => show.finish(more),
                (Item::Frame { .. } | Item::End { .. }, None) => {}
            }
        }
    }
}

impl Show {
    fn new(codecs: Vec<Codec>) -> Self {
        let mut pacer = Pacer::new(PacerConfig::default().max_queue(MAX_QUEUE));
        let mut add = |codec: Codec| {
            let kind = match codec.is_video() {
                true => TrackKind::Video,
                false => TrackKind::Audio,
            };
            (pacer.add_track(kind), codec)
        };
        let tracks: Vec<_> = codecs.into_iter().map(&mut add).collect();
        Self {
            hungry: vec![false; tracks.len()],
            pacer,
            tracks,
            end: None,
            bytes: 0,
        }
    }

    fn has(&self, codecs: &[Codec]) -> bool {
        self.tracks.iter().map(|(_, c)| c).eq(codecs)
    }

    /// Returns `true` if a track needs a frame and there is room.
    fn wants(&self, max_bytes: usize) -> bool {
        let is_hungry = self.hungry.iter().any(|h| *h);
        self.end.is_none()
            && is_hungry
            && (self.bytes < max_bytes || self.pacer.position().is_zero())
    }

    fn set_hungry(&mut self, track: TrackId) {
        let index = self.tracks.iter().position(|(t, _)| *t == track);
        if let Some(hungry) = index.and_then(|i| self.hungry.get_mut(i)) {
            *hungry = true;
        }
    }

    fn push(&mut self, track: usize, frame: Frame) {
        let Some((id, codec)) = self.tracks.get(track) else {
            return;
        };
        if let Some(hungry) = self.hungry.get_mut(track) {
            *hungry = false;
        }
        let (time, duration, size) = (frame.time, frame.duration, frame.data.len());
        // A frame without a duration lasts as long as at 25 frames per second.
        let duration = match duration.is_zero() {
            true => Duration::from_millis(40),
            false => duration,
        };
        let keyframe = frame.keyframe;
        match self.pacer.push(*id, time, duration, keyframe, frame) {
            Ok(()) => self.bytes += size,
            Err(why) => log::debug!("a frame of {codec} is left out: {why}"),
        }
    }

    fn finish(&mut self, more: bool) {
        self.end = Some(more);
        for (track, _) in &self.tracks {
            self.pacer.end(*track);
        }
        self.hungry.fill(false);
    }
}
