//! Files in memory, and their frames sent to a peer when they are due.
#![allow(dead_code, reason = "each example uses a part of it")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, PeerId, PeerMut};
use looprtc::proto::media::pacing::{Paced, Pacer, PacerConfig, TrackId, TrackKind};
use looprtc::proto::media::{self, Codec, Reader};
use looprtc::proto::peer::{EncodedFrame, PeerEvent, TransceiverId};

/// Minimum interval of keyframes sent on request.
pub const REFRESH: Duration = Duration::from_millis(500);

/// The last video frame that was sent.
#[derive(Clone, Copy)]
pub struct Sent {
    /// Index of the frame in its file.
    pub index: usize,
    /// The frame's time, as sent.
    pub time: Duration,
    /// When it was sent.
    pub at: Instant,
}

/// A file in memory, whose frames are shared by all viewers.
pub struct File {
    pub codec: Codec,
    pre_skip: Duration,
    pub frames: Vec<(media::Frame, Arc<[u8]>)>,
}

impl File {
    /// Reads the valid part of a file.
    pub fn read(path: &str) -> Result<Self, Box<dyn Error>> {
        let bytes = std::fs::read(path).map_err(|e| format!("{path}: {e}"))?;
        let mut reader = Reader::new(media::Limits::default());
        let mut frames = Vec::new();
        let mut take = |reader: &mut Reader| loop {
            match reader.poll() {
                Ok(Some(mut frame)) => {
                    let data = std::mem::take(&mut frame.data).into();
                    frames.push((frame, data));
                }
                Ok(None) => return,
                // The valid part is played.
                Err(error) => return eprintln!("{path}: {error}"),
            }
        };
        for chunk in bytes.chunks(64 * 1024) {
            if reader.feed(chunk).is_err() {
                break;
            }
            take(&mut reader);
        }
        reader.finish();
        take(&mut reader);
        let codec = reader.codec().filter(|_| !frames.is_empty());
        let codec = codec.ok_or_else(|| format!("{path}: no frame in it"))?;
        Ok(Self {
            codec,
            pre_skip: reader.pre_skip(),
            frames,
        })
    }

    /// Returns the latest keyframe and what followed it up to the last frame sent, for a page that requests a keyframe.
    /// Their times fit between that frame and the next one, so the page is in sync at once.
    pub fn again(&self, last: Sent, now: Instant) -> Vec<EncodedFrame> {
        let shown = &self.frames[..=last.index];
        let first = shown.iter().rposition(|(frame, _)| frame.keyframe);
        let again = &shown[first.unwrap_or(0)..];
        let passed = now.saturating_duration_since(last.at);
        // Some ticks of the RTP clock apart, otherwise they would be one frame.
        let step = (passed / (again.len() as u32 + 1)).max(Duration::from_micros(50));
        let frames = (1..).zip(again);
        frames
            .map(|(n, (_, data))| {
                EncodedFrame::new(data.clone(), last.time + step * n).wallclock(now)
            })
            .collect()
    }
}

/// Playback for one page: its position in each file.
pub struct Show {
    pacer: Pacer<usize>,
    parts: Vec<(TrackId, TransceiverId, usize)>,
    bound: usize,
    /// The frame of each file that was sent last.
    sent: Vec<Option<Sent>>,
    refreshed: Option<Instant>,
}

impl Show {
    /// Creates a playback that has not started, because its tracks are not bound yet.
    pub fn new(files: &[File], tracks: Vec<TransceiverId>) -> Self {
        let mut pacer = Pacer::new(PacerConfig::default());
        let parts = files.iter().zip(tracks).map(|(file, transceiver)| {
            let kind = match file.codec.is_video() {
                true => TrackKind::Video,
                false => TrackKind::Audio,
            };
            (pacer.add_track(kind), transceiver, 0)
        });
        let parts: Vec<_> = parts.collect();
        Self {
            pacer,
            sent: vec![None; parts.len()],
            parts,
            bound: 0,
            refreshed: None,
        }
    }

    /// Starts when the tracks are bound, and answers keyframe requests of the page, which may have missed the first
    /// keyframe.
    pub fn handle_event(&mut self, peer: &mut PeerMut<'_>, files: &[File], event: &PeerEvent) {
        match event {
            PeerEvent::TrackBound { transceiver, .. } => self.begin(*transceiver),
            PeerEvent::KeyframeRequest { transceiver, .. } => {
                self.refresh(peer, files, *transceiver);
            }
            _ => {}
        }
    }

    fn refresh(&mut self, peer: &mut PeerMut<'_>, files: &[File], of: TransceiverId) {
        let now = Instant::now();
        if self.refreshed.is_some_and(|at| now < at + REFRESH) {
            return;
        }
        let index = self.parts.iter().position(|(_, t, _)| *t == of);
        // The first frame is a keyframe anyway.
        let Some((index, last)) = index.and_then(|i| Some((i, self.sent[i]?))) else {
            return;
        };
        self.refreshed = Some(now);
        for frame in files[index].again(last, now) {
            let _ = peer.write_frame(of, &frame);
        }
    }

    /// Starts when all tracks can be sent.
    fn begin(&mut self, transceiver: TransceiverId) {
        self.bound += usize::from(self.parts.iter().any(|(_, t, _)| *t == transceiver));
    }

    /// Sends what is due; returns when there is more to do.
    pub fn play(
        &mut self,
        net: &mut EventLoop,
        id: PeerId,
        files: &[File],
        now: Instant,
    ) -> Option<Instant> {
        if self.bound < self.parts.len() {
            return None;
        }
        // A file with a shorter pre-skip starts later, so that they are in sync.
        let longest = files.iter().map(|file| file.pre_skip).max()?;
        loop {
            match self.pacer.poll(now) {
                Paced::Need(track) => {
                    let index = self.parts.iter().position(|(t, ..)| *t == track)?;
                    let next = &mut self.parts[index].2;
                    let file = &files[index];
                    let Some((frame, _)) = file.frames.get(*next) else {
                        self.pacer.end(track);
                        continue;
                    };
                    let time = frame.time + (longest - file.pre_skip);
                    self.pacer
                        .push(track, time, frame.duration, frame.keyframe, *next)
                        .ok()?;
                    *next += 1;
                }
                Paced::Frame {
                    track,
                    item,
                    time,
                    late,
                } => {
                    let index = self.parts.iter().position(|(t, ..)| *t == track)?;
                    let data = files[index].frames[item].1.clone();
                    self.sent[index] = Some(Sent {
                        index: item,
                        time,
                        at: now,
                    });
                    // The scheduled time, not the current one: audio and video stay in sync.
                    let frame = EncodedFrame::new(data, time).wallclock(now - late);
                    // The peer may have closed; an event reports it.
                    let _ = net
                        .peer(id)
                        .map(|mut p| p.write_frame(self.parts[index].1, &frame));
                }
                Paced::SourceEnded => {
                    self.parts.iter_mut().for_each(|part| part.2 = 0);
                    self.pacer.repeat();
                }
                Paced::Wait(at) => return Some(at.unwrap_or(now + Duration::from_secs(1))),
                Paced::Finished => return None,
            }
        }
    }
}
