//! Reassembly of H.265 frames.
//!
//! The core takes the last fragment of a NAL unit for the end of the frame (see docs/upstream.md), so what follows
//! arrives as another frame with the same time: parameter sets separate from their keyframe, and slices separate from
//! each other. Parameter sets are held until the slice after them. Slices are held only once a frame has had more than
//! one: nothing marks the last one, so they wait for the next frame.

use std::sync::Arc;

use super::super::core::{CoreFrame, Rid};
use crate::proto::media::annexb;

/// Maximum size of a frame, in bytes; beyond it the frame is released as it is.
const MAX_PICTURE: usize = 8 << 20;

/// Held pieces of one layer.
#[derive(Debug)]
pub(super) struct Pieces {
    pub rid: Option<Rid>,
    held: Option<CoreFrame>,
    /// Time of the last frame.
    last: Option<u64>,
    has_slices: bool,
}

impl Pieces {
    pub fn new(rid: Option<Rid>) -> Self {
        Self {
            rid,
            held: None,
            last: None,
            has_slices: false,
        }
    }

    /// Adds a piece, and appends the frames that are complete, at most two.
    pub fn join(&mut self, piece: CoreFrame, out: &mut Vec<CoreFrame>) {
        self.has_slices |= self.last == Some(piece.ticks);
        let time = piece.ticks;
        let joined = match self.held.take() {
            // Parameter sets whose slice was lost serve the next one.
            Some(held) if held.ticks == time || !has_slice(&held.data) => {
                self.has_slices |= has_slice(&held.data) && has_slice(&piece.data);
                append(held, piece)
            }
            Some(held) => {
                out.push(held);
                piece
            }
            None => piece,
        };
        let is_whole = has_slice(&joined.data) && !self.has_slices;
        if is_whole || joined.data.len() > MAX_PICTURE {
            self.last = Some(time);
            out.push(joined);
        } else {
            self.held = Some(joined);
        }
    }
}

fn append(mut held: CoreFrame, piece: CoreFrame) -> CoreFrame {
    held.data = Arc::from([&held.data[..], &piece.data[..]].concat());
    held.is_contiguous &= piece.is_contiguous;
    held.is_keyframe |= piece.is_keyframe;
    held.numbers.1 = piece.numbers.1;
    held.ticks = piece.ticks;
    held.clock = piece.clock;
    held
}

/// Returns `true` if there is a NAL unit with picture data: types 0 to 31 (H.265 §7.4.2.2).
fn has_slice(data: &[u8]) -> bool {
    annexb::units(data).any(|(_, unit)| unit.first().is_some_and(|byte| (byte >> 1) & 63 < 32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::media::Codec;
    use std::time::Instant;

    fn piece(ticks: u64, size: usize) -> CoreFrame {
        let mut data = vec![0; size];
        // A NAL unit of type 1: a slice.
        data[..6].copy_from_slice(&[0, 0, 0, 1, 2, 1]);
        CoreFrame {
            mid: "v".into(),
            rid: None,
            codec: Codec::H265,
            payload_type: 96,
            ticks,
            received: Instant::now(),
            numbers: (0, 0),
            is_contiguous: true,
            is_keyframe: false,
            clock: None,
            data: data.into(),
        }
    }

    #[test]
    fn a_picture_that_does_not_end_is_given_out() {
        let mut pieces = Pieces::new(None);
        let mut out = Vec::new();
        // The first one shows that slices arrive separately.
        for _ in 0..2 {
            pieces.join(piece(1, 100), &mut out);
        }
        out.clear();
        for n in 1..=9 {
            pieces.join(piece(2, 1 << 20), &mut out);
            assert_eq!(out.len(), n / 9 + 1, "{n} MiB");
        }
        // The frame of the first time, which would have grown without limit.
        assert_eq!(out[1].data.len(), 9 << 20);
        assert!(pieces.held.is_none());
    }
}
