//! Outputs of a peer that wait to be polled.

use std::collections::VecDeque;

use super::contract::Output;
use super::values::PeerEvent;

/// Capacity of the output queue that is kept while it is empty.
const MAX_IDLE_OUTPUTS: usize = 256;

/// The outputs that wait to be polled. Events wait apart until the peer's state is worked out, so that an application
/// that reads one finds everything else up to date.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    outputs: VecDeque<Output>,
    pub events: Vec<PeerEvent>,
}

impl Outbox {
    pub fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub fn event(&mut self, event: PeerEvent) {
        self.events.push(event);
    }

    /// Appends the events to the outputs.
    pub fn flush_events(&mut self) {
        self.outputs
            .extend(self.events.drain(..).map(Output::Event));
    }

    pub fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns the number of outputs, events that wait apart left out.
    pub fn len(&self) -> usize {
        self.outputs.len()
    }

    /// Frees what a burst has taken, once it is over: a thousand idle peers must not keep it.
    pub fn shrink(&mut self) {
        if self.outputs.capacity() > MAX_IDLE_OUTPUTS {
            self.outputs = VecDeque::new();
        }
    }
}
