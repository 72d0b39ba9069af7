//! Jitter buffers for received media: one for each layer of each track, if
//! [`PeerConfig::jitter_buffer`](super::super::PeerConfig::jitter_buffer) is set.

use std::time::Instant;

use super::super::Peer;
use super::super::state::PeerEvent;
use super::{MAX_LAYERS, Transceiver};
use crate::proto::media::jitter::{Arrival, JitterBuffer, JitterConfig, JitterOutput, JitterStats};

/// The jitter buffer of one layer.
#[derive(Debug)]
pub(super) struct Held {
    rid: Option<String>,
    buffer: JitterBuffer<PeerEvent>,
    due: Option<Instant>,
}

impl Held {
    /// Releases what is due.
    fn release(&mut self, now: Instant, events: &mut Vec<PeerEvent>) {
        loop {
            match self.buffer.poll(now) {
                JitterOutput::Item(released) => events.push(released.item),
                JitterOutput::Timeout(due) => {
                    self.due = due;
                    break;
                }
            }
        }
    }
}

impl Transceiver {
    /// Returns the statistics of this layer's buffer.
    pub(super) fn jitter_stats(&self, rid: Option<&str>) -> Option<JitterStats> {
        let held = self.held.iter().find(|h| h.rid.as_deref() == rid)?;
        Some(held.buffer.stats())
    }

    /// Releases everything, because the track has ended.
    pub(super) fn release_all(&mut self, now: Instant, events: &mut Vec<PeerEvent>) {
        for held in &mut self.held {
            held.buffer.flush(now);
            held.release(now, events);
        }
        self.held.clear();
    }

    fn insert(
        &mut self,
        rid: Option<&str>,
        rate: u32,
        config: &JitterConfig,
        arrival: Arrival<PeerEvent>,
        now: Instant,
        events: &mut Vec<PeerEvent>,
    ) {
        let index = match self.held.iter().position(|h| h.rid.as_deref() == rid) {
            Some(index) => index,
            None if self.held.len() >= MAX_LAYERS => {
                events.push(arrival.item);
                return;
            }
            None => {
                let mut config = config.clone();
                config.clock_rate = rate.max(1);
                self.held.push(Held {
                    rid: rid.map(str::to_owned),
                    buffer: JitterBuffer::new(config),
                    due: None,
                });
                self.held.len() - 1
            }
        };
        let held = &mut self.held[index];
        held.buffer.insert(arrival, now);
        held.release(now, events);
    }
}

impl Peer {
    /// Handles received media: reports it now, or when the buffer releases it.
    pub(super) fn play_out(
        &mut self,
        id: super::TransceiverId,
        rid: Option<&str>,
        rate: u32,
        arrival: Arrival<PeerEvent>,
    ) {
        let (now, events) = (self.now, &mut self.out.events);
        let Some(config) = &self.config.jitter_buffer else {
            events.push(arrival.item);
            return;
        };
        let Ok(transceiver) = self.tracks.find(id) else {
            return;
        };
        transceiver.insert(rid, rate, config, arrival, now, events);
        self.tracks.note_due();
    }

    /// Releases what has been held long enough.
    pub(in super::super) fn release_due(&mut self) {
        if self.tracks.due.is_none_or(|due| due > self.now) {
            return;
        }
        for held in self.tracks.list.iter_mut().flat_map(|t| &mut t.held) {
            if held.due.is_some_and(|due| due <= self.now) {
                held.release(self.now, &mut self.out.events);
            }
        }
        self.tracks.note_due();
    }
}

impl super::Tracks {
    fn note_due(&mut self) {
        let held = self.list.iter().flat_map(|t| &t.held);
        self.due = held.filter_map(|h| h.due).min();
    }

    /// Returns when held media is due next.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}
