//! Plays files and pipes: the part shared by several kinds of source.
//!
//! ```text
//!   part, part ─► pass (a thread) ─► queue ─► paced or live (the loop) ─► Player
//! ```

mod clip;
mod live;
mod paced;
mod part;
mod pass;
mod pipe;
mod queue;
mod reading;

use std::fmt;
use std::time::Instant;

use self::clip::Clip;
use self::live::Live;
use self::paced::Playback;
use self::pass::Pass;
use super::kind::{self, Contents, Context, Media, Source, SourceEvent, Stopped};
use super::tracks::shared_frame;
use crate::driver::EventLoop;
use crate::proto::peer::EncodedFrame;

pub(super) use self::part::Part;
pub(super) use self::pipe::is_input_a_file;
pub(super) use self::reading::Reading;

/// Something that can be played.
pub(super) struct Input {
    /// Opens the parts, on the reading thread, at the start of each pass.
    pub open: Box<dyn Fn() -> Result<Vec<Part>, String> + Send>,
    /// Set if the beginning is probed before playback.
    pub is_checked: bool,
    pub at_end: AtEnd,
    /// Set if the input is read in real time: items that the loop does not take in time are dropped, and the writer
    /// never waits.
    pub is_live: bool,
    /// Set if the input cannot be reopened, so that it is kept open when it stops.
    pub is_kept: bool,
}

/// Action at the end of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtEnd {
    Stop,
    /// Play the input again, from its beginning.
    Repeat,
    /// The output of a named pipe's next writer.
    NextWriter,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").finish_non_exhaustive()
    }
}

/// Returns the contents of an input, as far as its beginning shows, or the reason why it cannot be sent. For regular
/// files only: anything else might never end.
pub(super) fn probe(input: &Input) -> Result<Contents, String> {
    Pass::open(input)?.probe()
}

/// An input being played.
#[derive(Debug)]
pub(super) struct Player {
    reading: Reading,
    pace: Pace,
    is_kept: bool,
}

#[derive(Debug)]
enum Pace {
    /// At the pace of the timestamps.
    Paced(Box<Playback>),
    /// In real time.
    Live(Live),
}

impl Player {
    /// Starts reading.
    ///
    /// # Errors
    ///
    /// Returns an error if no thread can be created.
    pub fn start(input: Input, ctx: &Context<'_>) -> Result<Box<dyn Source>, String> {
        let pace = match input.is_live {
            true => Pace::Live(Live::new()),
            false => Pace::Paced(Box::new(Playback::new(ctx.config.max_read_bytes))),
        };
        let is_kept = input.is_kept;
        let reading = Reading::start(input, ctx.net.handle(), ctx.config);
        let reading = reading.map_err(|e| format!("no thread to read on: {e}"))?;
        Ok(Box::new(Self {
            reading,
            pace,
            is_kept,
        }))
    }
}

impl Source for Player {
    fn poll(&mut self, ctx: &mut Context<'_>) -> Option<SourceEvent> {
        let (clip, live) = match &mut self.pace {
            Pace::Live(live) => {
                let decodable = kind::Live::WhenDecodable { lacks_sets: false };
                (live.poll(&self.reading), decodable)
            }
            Pace::Paced(playback) => {
                let clip = playback.poll(&self.reading, ctx.now);
                (clip, kind::Live::WithKeyframe)
            }
        };
        Some(match clip {
            Clip::Wait(_) => return None,
            Clip::Tracks(contents) => SourceEvent::Tracks(contents),
            Clip::Note(note) => SourceEvent::Note(note),
            Clip::Frame { codec, frame, due } => {
                // The schedule's moment, not ours: audio and video stay in step.
                let time = due.saturating_duration_since(ctx.epoch);
                let encoded = EncodedFrame::new(frame.data, time).wallclock(due);
                SourceEvent::Media(Media {
                    codec,
                    content: shared_frame(encoded),
                    is_key: frame.keyframe,
                    live,
                })
            }
            Clip::Pause => SourceEvent::Pause,
            Clip::Trouble(why) => SourceEvent::Trouble(why),
            Clip::Ended => SourceEvent::Ended,
            Clip::Failed(why) => SourceEvent::Failed(why),
        })
    }

    fn next_deadline(&self) -> Option<Instant> {
        match &self.pace {
            Pace::Paced(playback) => playback.due(),
            Pace::Live(_) => None,
        }
    }

    fn stop(mut self: Box<Self>, _: &mut EventLoop) -> Stopped {
        if !self.is_kept {
            return Stopped::Gone;
        }
        if let Pace::Paced(playback) = &mut self.pace {
            playback.pause();
        }
        Stopped::Paused(self)
    }
}
