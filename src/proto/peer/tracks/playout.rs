//! Jitter buffers for received media: one for each layer of each track, if
//! [`PeerConfig::jitter_buffer`](super::super::PeerConfig::jitter_buffer) is set.

use std::time::Instant;

use super::super::values::PeerEvent;
use super::{Context, MAX_LAYERS, Tracks};
use crate::proto::media::jitter::{Arrival, JitterBuffer, JitterConfig, JitterOutput, JitterStats};

/// The jitter buffer of one layer.
#[derive(Debug)]
struct Held {
    rid: Option<String>,
    buffer: JitterBuffer<PeerEvent>,
    due: Option<Instant>,
}

impl Held {
    /// Releases media that is due.
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

/// The jitter buffers of a track.
#[derive(Debug, Default)]
pub(super) struct Playout(Vec<Held>);

impl Playout {
    /// Returns the statistics of this layer's buffer.
    pub fn stats(&self, rid: Option<&str>) -> Option<JitterStats> {
        let held = self.0.iter().find(|h| h.rid.as_deref() == rid)?;
        Some(held.buffer.stats())
    }

    /// Returns the number of layers with a buffer.
    #[cfg(any(test, feature = "testing"))]
    pub fn layers(&self) -> usize {
        self.0.len()
    }

    /// Returns when held media is due next.
    fn due(&self) -> Option<Instant> {
        self.0.iter().filter_map(|h| h.due).min()
    }

    /// Releases everything, because the track has ended.
    pub fn release_all(&mut self, now: Instant, events: &mut Vec<PeerEvent>) {
        for held in &mut self.0 {
            held.buffer.flush(now);
            held.release(now, events);
        }
        self.0.clear();
    }

    /// Releases media that has been held long enough.
    fn release_due(&mut self, now: Instant, events: &mut Vec<PeerEvent>) {
        for held in &mut self.0 {
            if held.due.is_some_and(|due| due <= now) {
                held.release(now, events);
            }
        }
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
        let index = match self.0.iter().position(|h| h.rid.as_deref() == rid) {
            Some(index) => index,
            None if self.0.len() >= MAX_LAYERS => {
                events.push(arrival.item);
                return;
            }
            None => {
                let mut config = config.clone();
                config.clock_rate = rate.max(1);
                self.0.push(Held {
                    rid: rid.map(str::to_owned),
                    buffer: JitterBuffer::new(config),
                    due: None,
                });
                self.0.len() - 1
            }
        };
        let held = &mut self.0[index];
        held.buffer.insert(arrival, now);
        held.release(now, events);
    }
}

impl Tracks {
    /// Handles received media: reports it now, or when the buffer releases it.
    pub(super) fn play_out(
        &mut self,
        id: super::TransceiverId,
        rid: Option<&str>,
        rate: u32,
        arrival: Arrival<PeerEvent>,
        context: &mut Context<'_>,
    ) {
        let (now, events) = (context.now, &mut *context.events);
        let Some(config) = &context.config.jitter_buffer else {
            events.push(arrival.item);
            return;
        };
        let Ok(transceiver) = self.find(id) else {
            return;
        };
        let playout = &mut transceiver.receiver.playout;
        playout.insert(rid, rate, config, arrival, now, events);
        self.note_due();
    }

    /// Releases media that has been held long enough.
    pub fn release_due(&mut self, now: Instant, events: &mut Vec<PeerEvent>) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        for t in &mut self.list {
            t.receiver.playout.release_due(now, events);
        }
        self.note_due();
    }

    fn note_due(&mut self) {
        let all = self.list.iter();
        self.due = all.filter_map(|t| t.receiver.playout.due()).min();
    }

    /// Returns when held media is due next.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}
