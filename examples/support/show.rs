//! Files in memory, and their frames sent to a peer when they are due.
#![allow(dead_code, reason = "each example uses a part of it")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, PeerId};
use looprtc::proto::media::pacing::{Paced, Pacer, PacerConfig, TrackId, TrackKind};
use looprtc::proto::media::{self, Codec, Reader};
use looprtc::proto::peer::{EncodedFrame, TransceiverId};

/// A file in memory: its frames, shared by all who see it.
pub struct File {
    pub codec: Codec,
    pre_skip: Duration,
    pub frames: Vec<(media::Frame, Arc<[u8]>)>,
}

impl File {
    /// Reads all that is good of it.
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
                // What is good is played.
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
}

/// What one page sees: where it is in each file.
pub struct Show {
    pacer: Pacer<usize>,
    parts: Vec<(TrackId, TransceiverId, usize)>,
    bound: usize,
}

impl Show {
    /// Not begun: its tracks are not bound yet.
    pub fn new(files: &[File], tracks: Vec<TransceiverId>) -> Self {
        let mut pacer = Pacer::new(PacerConfig::default());
        let parts = files.iter().zip(tracks).map(|(file, transceiver)| {
            let kind = match file.codec.is_video() {
                true => TrackKind::Video,
                false => TrackKind::Audio,
            };
            (pacer.add_track(kind), transceiver, 0)
        });
        let parts = parts.collect();
        Self {
            pacer,
            parts,
            bound: 0,
        }
    }

    /// The show begins when all its tracks can be sent.
    pub fn begin(&mut self, transceiver: TransceiverId) {
        self.bound += usize::from(self.parts.iter().any(|(_, t, _)| *t == transceiver));
    }

    /// Sends what is due. When there is more to do.
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
        // What has less before its first moment begins later, so that they are in step.
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
                    // The schedule's moment, not ours: sound and pictures stay in step.
                    let frame = EncodedFrame::new(data, time).wallclock(now - late);
                    // The peer may be gone; the event that says so is on the way.
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
