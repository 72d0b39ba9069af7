//! Audio whose packets are whole frames already: G.711, G.722, Opus, L16.

use super::{Arrival, Out};

#[derive(Debug)]
pub(super) enum PlainUnpacker {
    AsIs,
    /// Samples of 16 bits whose bytes are in the other order.
    Swapped,
}

impl PlainUnpacker {
    pub fn push(&mut self, payload: &[u8], arrival: Arrival, out: &mut Out) {
        // Some cameras send empty packets to keep a path open.
        if payload.is_empty() {
            return;
        }
        match self {
            Self::AsIs => out.emit_data(payload, arrival.timestamp, arrival.at),
            Self::Swapped => {
                let swapped = payload.chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]);
                out.emit_data(swapped.collect::<Vec<u8>>(), arrival.timestamp, arrival.at);
            }
        }
    }
}
