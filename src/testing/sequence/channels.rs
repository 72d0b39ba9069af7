//! Guarantees of data channels, and the messages received.

use std::collections::HashMap;

use super::step::Promise;
use crate::proto::peer::{ChannelConfig, ChannelId, Message};

/// Messages that one side sends on a channel, and those received by the other.
pub(super) struct Flow {
    pub from: usize,
    pub to: usize,
    pub channel: ChannelId,
    /// The channel's label, which identifies it on the other side.
    pub label: String,
    ordered: bool,
    pub reliable: bool,
    /// Messages accepted and not yet received, by number.
    waiting: Vec<(u32, Message)>,
    pub accepted: u32,
    pub received: u32,
    /// Set once the channel was closed; the rest may be missing.
    pub closed: bool,
}

/// All flows, and the labels of channels.
#[derive(Default)]
pub(super) struct Flows {
    pub list: Vec<Flow>,
    names: HashMap<(usize, ChannelId), Name>,
    made: usize,
}

struct Name {
    label: String,
    open: bool,
    closed: bool,
}

pub(super) fn config(label: &str, promise: Promise) -> ChannelConfig {
    let config = ChannelConfig::new(label);
    match promise {
        Promise::Reliable => config,
        Promise::Unordered => config.ordered(false),
        Promise::Retransmits0 => config.max_retransmits(0),
        Promise::Retransmits3 => config.max_retransmits(3),
        Promise::Unordered0 => config.ordered(false).max_retransmits(0),
        Promise::Lifetime50 => config.max_packet_lifetime(50),
        Promise::UnorderedLifetime500 => config.ordered(false).max_packet_lifetime(500),
    }
}

/// Returns message `number` of a flow: its contents identify it, and at intervals the position.
fn message(number: u32, size: usize) -> Message {
    if size == 0 {
        return Message::Text(match number % 2 {
            0 => String::new(),
            _ => format!("no. {number}"),
        });
    }
    let mut data = vec![number as u8; size];
    for (place, piece) in data.chunks_exact_mut(500).enumerate() {
        piece[..4].copy_from_slice(&(place as u32 ^ number << 16).to_be_bytes());
    }
    Message::Binary(data)
}

impl Flows {
    /// Returns a label for the next channel.
    pub fn next_label(&mut self, side: usize) -> String {
        self.made += 1;
        format!("{}-{}", ["a", "b", "c", "d"][side], self.made)
    }

    pub fn made(&self) -> usize {
        self.made
    }

    /// Registers a flow for the messages that this side sends on the channel from now on.
    pub fn know(&mut self, from: usize, to: usize, channel: ChannelId, config: &ChannelConfig) {
        let name = Name {
            label: config.label.clone(),
            open: false,
            closed: false,
        };
        let before = self.names.insert((from, channel), name);
        assert!(before.is_none(), "{}: a channel's name again", config.label);
        self.list.push(Flow {
            from,
            to,
            channel,
            label: config.label.clone(),
            ordered: config.ordered,
            reliable: config.max_retransmits.is_none() && config.max_packet_lifetime.is_none(),
            waiting: Vec::new(),
            accepted: 0,
            received: 0,
            closed: false,
        });
    }

    /// Ignores a remote channel that was closed before its label could be read.
    pub fn ignore(&mut self, side: usize, channel: ChannelId) {
        let name = Name {
            label: String::new(),
            open: false,
            closed: false,
        };
        self.names.insert((side, channel), name);
    }

    pub fn opened(&mut self, side: usize, channel: ChannelId) {
        let name = self.names.get_mut(&(side, channel));
        let name = name.expect("a channel opened that nobody made");
        assert!(!name.open && !name.closed, "{}: opened again", name.label);
        name.open = true;
    }

    pub fn closed(&mut self, side: usize, channel: ChannelId) {
        let name = self.names.get_mut(&(side, channel));
        let name = name.expect("a channel closed that nobody made");
        assert!(!name.closed, "{}: closed again", name.label);
        name.closed = true;
        let label = name.label.clone();
        self.mark_closed(&label);
    }

    pub fn mark_closed(&mut self, label: &str) {
        for flow in self.list.iter_mut().filter(|f| f.label == label) {
            flow.closed = true;
        }
    }

    pub fn any_closed(&self) -> bool {
        self.list.iter().any(|f| f.closed)
    }

    pub fn is_open(&self, side: usize, channel: ChannelId) -> bool {
        let name = self.names.get(&(side, channel));
        name.is_some_and(|name| name.open && !name.closed)
    }

    pub fn received(&mut self, side: usize, channel: ChannelId, message: &Message) {
        let name = &self.names.get(&(side, channel));
        let name = name.expect("a message on a channel that nobody made");
        assert!(name.open, "{}: a message before it is open", name.label);
        assert!(!name.closed, "{}: a message after it is closed", name.label);
        if name.label.is_empty() {
            return;
        }
        let mut flows = self.list.iter_mut();
        let flow = flows.find(|f| f.to == side && f.label == name.label);
        flow.expect("a message of a channel that the other side has not")
            .receive(message);
    }
}

impl Flow {
    /// Returns the number of bytes of messages not yet received.
    pub fn held(&self) -> usize {
        let all = self.waiting.iter();
        all.map(|(_, m)| m.as_bytes().len() + size_of::<(u32, Message)>())
            .sum()
    }

    /// Returns the next message to send.
    pub fn next(&self, size: usize) -> Message {
        message(self.accepted, size)
    }

    pub fn accept(&mut self, message: Message) {
        self.waiting.push((self.accepted, message));
        self.accepted += 1;
    }

    fn receive(&mut self, message: &Message) {
        let label = &self.label;
        self.received += 1;
        let at = self.waiting.iter().position(|(_, m)| m == message);
        let Some(at) = at else {
            let (size, received) = (message.as_bytes().len(), self.received);
            panic!("{label}: message {received}, {size} bytes: never sent, or twice");
        };
        if !self.ordered {
            self.waiting.remove(at);
            return;
        }
        if self.reliable {
            let (first, _) = self.waiting[0];
            assert!(
                at == 0,
                "{label}: message {first} is missing before {}",
                self.waiting[at].0
            );
        }
        // Earlier messages will not be received any more.
        self.waiting.drain(..=at);
    }
}
