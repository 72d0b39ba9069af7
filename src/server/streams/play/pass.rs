//! All parts of a stream, played from the beginning to the end once.

use std::time::Instant;

use super::Input;
use super::part::Part;
use super::queue::{Item, Shared};
use crate::proto::media::Codec;
use crate::server::streams::kind::Contents;

/// One pass through all files of a stream.
pub(super) struct Pass {
    parts: Vec<Part>,
    /// For each part and track: the stream's track, if it is used.
    tracks: Vec<Vec<Option<usize>>>,
    contents: Contents,
}

impl Pass {
    /// Opens all parts and reads a frame of each.
    pub fn open(input: &Input) -> Result<Self, String> {
        Self::of((input.open)()?)
    }

    fn of(mut parts: Vec<Part>) -> Result<Self, String> {
        let longest = parts.iter().map(|p| p.medium.pre_skip()).max();
        let mut codecs: Vec<Codec> = Vec::new();
        let mut notes = Vec::new();
        let mut tracks = Vec::new();
        for part in &mut parts {
            notes.extend(part.medium.left_out());
            part.shift = longest.unwrap_or_default() - part.medium.pre_skip();
            let mut places = Vec::new();
            for codec in part.medium.codecs() {
                // One audio track; one video track per codec.
                let is_taken = |c: &Codec| *c == codec || !(c.is_video() || codec.is_video());
                let place = match codecs.iter().any(is_taken) {
                    true => {
                        notes.push(format!(
                            "another track ({codec}) is left out: one is enough"
                        ));
                        None
                    }
                    false => {
                        codecs.push(codec);
                        Some(codecs.len() - 1)
                    }
                };
                places.push(place);
            }
            if places.iter().all(Option::is_none) {
                return Err(format!(
                    "{}: the stream has a file like this already; a second one has to hold pictures \
                     in another codec",
                    part.name
                ));
            }
            tracks.push(places);
        }
        let contents = Contents { codecs, notes };
        Ok(Self {
            parts,
            tracks,
            contents,
        })
    }

    /// Reads the beginning of each file.
    pub fn probe(mut self) -> Result<Contents, String> {
        for part in &mut self.parts {
            self.contents.notes.extend(part.probe()?);
        }
        Ok(self.contents)
    }

    /// Passes on all frames. Returns `true` if the loop wants more.
    pub fn play(mut self, queue: &Shared, more: bool) -> Result<bool, String> {
        if !queue.push(Item::Tracks(self.contents.clone())) {
            return Ok(false);
        }
        loop {
            let heads = self.parts.iter().enumerate();
            let next = heads
                .filter_map(|(index, part)| {
                    let (_, frame) = part.head.as_ref()?;
                    Some((frame.time + part.shift, index))
                })
                .min();
            let Some((time, index)) = next else {
                let notes = self.parts.iter().filter_map(|part| {
                    let damage = part.medium.damage()?;
                    Some(format!("{}: {damage}", part.name))
                });
                for note in notes {
                    queue.push(Item::Note(note));
                }
                return Ok(queue.push(Item::End { more }));
            };
            let part = &mut self.parts[index];
            if let Some((track, mut frame)) = part.head.take()
                && let Some(track) = self.tracks[index].get(track).copied().flatten()
            {
                frame.time = time;
                let item = Item::Frame {
                    track,
                    frame,
                    arrived: part.arrived,
                };
                if !queue.push(item) {
                    return Ok(false);
                }
            }
            match part.medium.next() {
                Ok(head) => (part.head, part.arrived) = (head, Instant::now()),
                // Repeating would send the same few frames over and over.
                Err(error) if error.is_hopeless() => {
                    return Err(format!("{}: {}", part.name, error.reason()));
                }
                // The valid part is played.
                Err(error) => {
                    let note = format!("{}: {}", part.name, error.what_came_before());
                    queue.push(Item::Note(note));
                }
            }
        }
    }
}
