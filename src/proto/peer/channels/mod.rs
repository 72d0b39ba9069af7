//! Data channels (W3C WebRTC §6, RFC 8831, RFC 8832).
//!
//! Messages from the application are accepted up to a limit and queued here; the core is given only enough to keep its
//! own queue short, because its cost grows with that queue. Nothing accepted is lost while the connection lasts: a
//! channel sends its queue before it closes.

mod window;

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use self::window::SendWindow;
use super::core::{CoreChannelId as CoreId, CoreChannels, CoreMessage};
use super::crypto::empty;
use super::values::{
    ChannelConfig, ChannelId, ChannelInfo, ChannelState, Limits, MAX_STREAM_ID, Message, PeerError,
    PeerEvent,
};

/// Maximum size of a received message, in bytes; announced as `a=max-message-size` (RFC 8841 §6).
pub const MAX_RECEIVE_MESSAGE: usize = 256 * 1024;

/// Number of attempts to open a channel that is reset before it was open. The core may reuse a stream id while the
/// remote peer's reset of it is still in transit (RFC 6525 §5.2.2 requires both resets).
const MAX_ATTEMPTS: u8 = 10;

/// A message from the application.
#[derive(Debug, Clone, Copy)]
pub(super) enum Payload<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> Payload<'a> {
    /// Returns the message in the core's form: whether it is binary, and the content.
    fn to_core(self) -> (bool, &'a [u8]) {
        match self {
            Self::Text("") => (false, empty::EMPTY_TEXT),
            Self::Binary([]) => (false, empty::EMPTY_BINARY),
            Self::Text(text) => (false, text.as_bytes()),
            Self::Binary(bytes) => (true, bytes),
        }
    }
}

#[derive(Debug)]
struct Channel {
    config: ChannelConfig,
    state: ChannelState,
    core: Option<CoreId>,
    queue: VecDeque<(bool, Vec<u8>)>,
    queued: usize,
    in_core: usize,
    low_threshold: usize,
    above_low: bool,
    reset_sent: bool,
    attempts: u8,
}

impl Channel {
    fn new(config: ChannelConfig, core: Option<CoreId>, state: ChannelState) -> Self {
        Self {
            config,
            state,
            core,
            queue: VecDeque::new(),
            queued: 0,
            in_core: 0,
            low_threshold: 0,
            above_low: false,
            reset_sent: false,
            attempts: 0,
        }
    }

    fn buffered(&self) -> usize {
        self.queued + self.in_core
    }
}

/// All data channels of a peer.
#[derive(Debug)]
pub(super) struct Channels {
    next: u32,
    channels: HashMap<ChannelId, Channel>,
    by_core: HashMap<CoreId, ChannelId>,
    /// Channels with something to send or to close, so that idle ones cost nothing.
    active: Vec<ChannelId>,
    /// Channels created before there was an association, in order of creation.
    waiting: VecDeque<ChannelId>,
    /// Stream and id of the channel with which our offer announced data channels.
    announcer: Option<(u16, CoreId)>,
    /// Negotiated channels that are not open yet. The core does not always report their opening.
    opening: Vec<ChannelId>,
    /// Number of bytes accepted and not acknowledged, over all channels.
    buffered: usize,
    max_message: usize,
    window: SendWindow,
}

impl Channels {
    pub fn new() -> Self {
        Self {
            next: 0,
            channels: HashMap::new(),
            by_core: HashMap::new(),
            active: Vec::new(),
            waiting: VecDeque::new(),
            announcer: None,
            opening: Vec::new(),
            buffered: 0,
            max_message: 64 * 1024,
            window: SendWindow::new(),
        }
    }

    /// Adds a local channel. It waits until [`open_waiting`](Self::open_waiting).
    pub fn create(
        &mut self,
        config: ChannelConfig,
        limits: &Limits,
    ) -> Result<ChannelId, PeerError> {
        config.check(limits)?;
        if self.channels.len() >= limits.max_channels {
            return Err(PeerError::LimitReached {
                limit: "max_channels",
                value: limits.max_channels,
            });
        }
        if let Some(id) = config.negotiated {
            let is_announcer = self.announcer.is_some_and(|(stream, _)| stream == id);
            if self.is_agreed_upon(id) || is_announcer {
                return Err(PeerError::BadChannel(format!("id {id} is in use")));
            }
        }
        let id = self.next_id();
        self.channels
            .insert(id, Channel::new(config, None, ChannelState::Connecting));
        self.waiting.push_back(id);
        Ok(id)
    }

    /// Returns `true` if a negotiated channel uses this stream.
    fn is_agreed_upon(&self, stream: u16) -> bool {
        let mut all = self.channels.values();
        all.any(|c| c.config.negotiated == Some(stream))
    }

    fn next_id(&mut self) -> ChannelId {
        let id = ChannelId(self.next);
        self.next += 1;
        id
    }

    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn take_first_waiting(&mut self) -> Option<ChannelId> {
        let channels = &self.channels;
        std::iter::from_fn(|| self.waiting.pop_front()).find(|id| channels.contains_key(id))
    }

    /// Returns the channel with which an offer announces data channels, if any are waiting. The core needs one for
    /// that, and loses it if the offer is rolled back (docs/upstream.md); so this one is never used, and its stream
    /// carries nothing. The real channels wait for the answer.
    pub fn announcer(&self) -> Option<(u16, ChannelConfig)> {
        if !self.has_waiting() {
            return None;
        }
        let mut streams = (0..=MAX_STREAM_ID).rev();
        let stream = streams.find(|id| !self.is_agreed_upon(*id))?;
        Some((stream, ChannelConfig::new("").negotiated(stream)))
    }

    /// Records the core's id for the announcer.
    pub fn bind_announcer(&mut self, stream: u16, core: CoreId) {
        self.announcer = Some((stream, core));
    }

    /// Records the core's id for this channel.
    pub fn bind(&mut self, id: ChannelId, core: CoreId) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.core = Some(core);
            if channel.config.negotiated.is_some() {
                self.opening.push(id);
            }
            self.by_core.insert(core, id);
        }
    }

    /// Opens all waiting channels: there is an association, or there will be without a further offer.
    pub fn open_waiting(&mut self, core: &mut CoreChannels<'_>, events: &mut Vec<PeerEvent>) {
        while let Some(id) = self.take_first_waiting() {
            let Some(channel) = self.channels.get(&id) else {
                continue;
            };
            // The core panics if an id is requested twice. Ours are checked in `create`; the remote peer may have taken
            // this one meanwhile.
            let stream = channel.config.negotiated;
            if stream.is_some_and(|stream| core.is_stream_taken(stream)) {
                self.remove(id, events);
                continue;
            }
            let made = core.create(&channel.config);
            self.bind(id, made);
        }
    }

    /// Sets the maximum message size that the remote peer accepts, in bytes.
    pub fn set_max_message(&mut self, bytes: usize) {
        self.max_message = bytes;
    }

    pub fn max_message(&self) -> usize {
        self.max_message
    }

    pub fn buffered(&self) -> usize {
        self.buffered
    }

    pub fn len(&self) -> usize {
        self.channels.len()
    }

    pub fn ids(&self) -> Vec<ChannelId> {
        let mut ids: Vec<ChannelId> = self.channels.keys().copied().collect();
        ids.sort();
        ids
    }

    pub fn info(&self, id: ChannelId, core: &mut CoreChannels<'_>) -> Option<ChannelInfo> {
        let c = self.channels.get(&id)?;
        let stream_id = c
            .core
            .and_then(|id| core.stream(id))
            .or(c.config.negotiated);
        Some(ChannelInfo {
            config: c.config.clone(),
            state: c.state,
            stream_id,
            buffered_amount: c.buffered(),
            buffered_amount_low_threshold: c.low_threshold,
        })
    }

    pub fn buffered_amount(&self, id: ChannelId) -> Option<usize> {
        self.channels.get(&id).map(Channel::buffered)
    }

    pub fn set_low_threshold(&mut self, id: ChannelId, bytes: usize) -> Result<(), PeerError> {
        let channel = self.channels.get_mut(&id).ok_or(PeerError::NoSuchChannel)?;
        channel.low_threshold = bytes;
        channel.above_low = channel.buffered() > bytes;
        Ok(())
    }

    /// Accepts a message, or returns an error and keeps nothing of it.
    pub fn send(
        &mut self,
        core: &mut CoreChannels<'_>,
        id: ChannelId,
        payload: Payload<'_>,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), PeerError> {
        let (binary, data) = payload.to_core();
        let channel = self.channels.get_mut(&id).ok_or(PeerError::NoSuchChannel)?;
        match channel.state {
            ChannelState::Open => {}
            ChannelState::Connecting => return Err(PeerError::ChannelNotOpen),
            ChannelState::Closing => return Err(PeerError::NoSuchChannel),
        }
        if data.len() > self.max_message {
            return Err(PeerError::MessageTooLarge {
                size: data.len(),
                limit: self.max_message,
            });
        }
        if self.buffered + data.len() > limits.max_send_buffer {
            // The caller waits for the event, even if the threshold was not crossed by this message.
            channel.above_low = true;
            return Err(PeerError::BufferFull {
                buffered: self.buffered,
                limit: limits.max_send_buffer,
            });
        }
        let share = self.window.share(self.active.len());
        let has_room = channel.in_core < share && self.window.has_room(data.len());
        let direct = channel.queue.is_empty() && has_room;
        if direct && write(core, channel, binary, data) {
            channel.in_core += data.len();
            self.window.on_fed(data.len(), now);
        } else {
            channel.queue.push_back((binary, data.to_vec()));
            channel.queued += data.len();
        }
        self.buffered += data.len();
        if channel.buffered() > channel.low_threshold {
            channel.above_low = true;
        }
        if !self.active.contains(&id) {
            self.active.push(id);
        }
        Ok(())
    }

    /// Closes a channel after its queue is sent (W3C §6.2 `close`). Closing twice is allowed.
    pub fn close(&mut self, id: ChannelId, events: &mut Vec<PeerEvent>) -> Result<(), PeerError> {
        let channel = self.channels.get_mut(&id).ok_or(PeerError::NoSuchChannel)?;
        if channel.core.is_none() {
            self.remove(id, events);
            return Ok(());
        }
        if channel.state != ChannelState::Closing {
            channel.state = ChannelState::Closing;
            if !self.active.contains(&id) {
                self.active.push(id);
            }
        }
        Ok(())
    }

    /// Called after the core was drained: counts acknowledged bytes, feeds more, reports channels that fell below their
    /// threshold, and closes empty ones. Returns `true` if the core has to be drained again.
    pub fn settle(
        &mut self,
        core: &mut CoreChannels<'_>,
        events: &mut Vec<PeerEvent>,
        now: Instant,
    ) -> bool {
        self.open_negotiated(core, events);
        let mut touched = false;
        let mut index = 0;
        let senders = self.active.len();
        while index < self.active.len() {
            let id = self.active[index];
            let Some(channel) = self.channels.get_mut(&id) else {
                self.active.swap_remove(index);
                continue;
            };
            let before = channel.buffered();
            if channel.in_core > 0 {
                let held = channel.in_core;
                // The core also counts the message that opens the channel.
                channel.in_core = channel.core.map_or(0, |id| core.buffered(id)).min(held);
                let flowing = channel.in_core > 0 || !channel.queue.is_empty();
                let released = held.saturating_sub(channel.in_core);
                self.window.on_released(released, flowing, now);
            }
            let share = self.window.share(senders);
            touched |= feed(core, channel, &mut self.window, share, now);
            let buffered = channel.buffered();
            self.buffered = self
                .buffered
                .saturating_sub(before.saturating_sub(buffered));
            if channel.above_low && buffered <= channel.low_threshold {
                channel.above_low = false;
                events.push(PeerEvent::ChannelBufferedAmountLow(id));
            }
            let is_closing = channel.state == ChannelState::Closing;
            if buffered == 0
                && is_closing
                && !channel.reset_sent
                && let Some(id) = channel.core
            {
                core.close(id);
                channel.reset_sent = true;
                touched = true;
            }
            if buffered == 0 {
                self.active.swap_remove(index);
            } else {
                index += 1;
            }
        }
        touched
    }

    /// Opens negotiated channels that the core opened silently because the remote peer sent on their id first.
    fn open_negotiated(&mut self, core: &mut CoreChannels<'_>, events: &mut Vec<PeerEvent>) {
        let channels = &mut self.channels;
        self.opening.retain(|id| {
            let Some(channel) = channels.get_mut(id) else {
                return false;
            };
            let is_open = channel.core.is_some_and(|id| core.is_open(id));
            if is_open && channel.state == ChannelState::Connecting {
                channel.state = ChannelState::Open;
                events.push(PeerEvent::ChannelOpen(*id));
            }
            channel.state == ChannelState::Connecting
        });
    }

    /// Handles that the core opened a channel, local or remote.
    pub fn on_open(
        &mut self,
        core: &mut CoreChannels<'_>,
        opened: CoreId,
        limits: &Limits,
        events: &mut Vec<PeerEvent>,
    ) {
        if self.announcer.is_some_and(|(_, core)| core == opened) {
            return;
        }
        if let Some(&id) = self.by_core.get(&opened) {
            if let Some(channel) = self.channels.get_mut(&id) {
                if channel.state == ChannelState::Connecting {
                    channel.state = ChannelState::Open;
                    events.push(PeerEvent::ChannelOpen(id));
                } else if !self.active.contains(&id) {
                    // Closed before it opened: the reset is sent when channels are settled next.
                    channel.reset_sent = false;
                    self.active.push(id);
                }
            }
            return;
        }
        let config = core.config(opened);
        let config = config.unwrap_or_else(|| ChannelConfig::new(""));
        if self.channels.len() >= limits.max_channels {
            crate::seldom::seldom!(
                warn,
                "data channel {:?} refused: max_channels reached",
                config.label
            );
            core.close(opened);
            return;
        }
        let id = self.next_id();
        self.channels
            .insert(id, Channel::new(config, Some(opened), ChannelState::Open));
        self.by_core.insert(opened, id);
        events.push(PeerEvent::DataChannel(id));
        events.push(PeerEvent::ChannelOpen(id));
    }

    pub fn on_message(&mut self, received: CoreMessage, events: &mut Vec<PeerEvent>) {
        if let Some(&channel) = self.by_core.get(&received.channel) {
            if let Some(c) = self.channels.get_mut(&channel)
                && c.state == ChannelState::Connecting
            {
                // The remote peer has it open: its acknowledgement is in transit, or not needed (RFC 8832 §6).
                c.state = ChannelState::Open;
                events.push(PeerEvent::ChannelOpen(channel));
            }
            let message = Message::received(received.is_binary, received.data);
            events.push(PeerEvent::ChannelMessage { channel, message });
        }
    }

    pub fn on_closed(
        &mut self,
        core: &mut CoreChannels<'_>,
        closed: CoreId,
        events: &mut Vec<PeerEvent>,
    ) {
        let Some(id) = self.by_core.remove(&closed) else {
            return;
        };
        let again = self.channels.get_mut(&id).filter(|c| {
            c.state == ChannelState::Connecting
                && c.config.negotiated.is_none()
                && c.attempts < MAX_ATTEMPTS
        });
        if let Some(channel) = again {
            channel.attempts += 1;
            let made = core.create(&channel.config);
            self.bind(id, made);
            return;
        }
        self.remove(id, events);
    }

    /// Closes all channels, because the connection is gone.
    pub fn close_all(&mut self, events: &mut Vec<PeerEvent>) {
        for id in self.ids() {
            self.remove(id, events);
        }
        self.active = Vec::new();
        self.waiting = VecDeque::new();
        self.opening = Vec::new();
    }

    #[cfg(any(test, feature = "testing"))]
    pub fn audit(&self, limits: &Limits) -> [(&'static str, usize, usize); 6] {
        let sum = self.channels.values().map(Channel::buffered).sum();
        let count = self.channels.len();
        [
            ("bytes buffered", sum, limits.max_send_buffer),
            // Counted in total and per channel.
            (
                "bytes that are counted and not there",
                self.buffered - self.buffered.min(sum),
                0,
            ),
            (
                "bytes that are there and not counted",
                sum - sum.min(self.buffered),
                0,
            ),
            ("channels with something to do", self.active.len(), count),
            (
                "channels that wait",
                self.waiting.len() + self.opening.len(),
                2 * count,
            ),
            ("channels of the core", self.by_core.len(), count),
        ]
    }

    fn remove(&mut self, id: ChannelId, events: &mut Vec<PeerEvent>) {
        self.waiting.retain(|waiting| *waiting != id);
        if let Some(channel) = self.channels.remove(&id) {
            self.buffered = self.buffered.saturating_sub(channel.buffered());
            self.window.forget(channel.in_core);
            if let Some(core) = channel.core {
                self.by_core.remove(&core);
            }
            events.push(PeerEvent::ChannelClosed(id));
        }
    }
}

fn write(core: &mut CoreChannels<'_>, channel: &Channel, binary: bool, data: &[u8]) -> bool {
    channel.core.is_some_and(|id| core.write(id, binary, data))
}

/// Feeds the core what fits, in batches. Returns `true` if anything was fed.
fn feed(
    core: &mut CoreChannels<'_>,
    channel: &mut Channel,
    window: &mut SendWindow,
    share: usize,
    now: Instant,
) -> bool {
    // Only once it is half empty: one larger batch is cheaper than a message per acknowledgement.
    if channel.queue.is_empty() || channel.in_core > share / 2 {
        return false;
    }
    let mut fed = false;
    while channel.in_core < share {
        let Some((binary, data)) = channel.queue.pop_front() else {
            break;
        };
        if !window.has_room(data.len()) || !write(core, channel, binary, &data) {
            channel.queue.push_front((binary, data));
            break;
        }
        channel.queued -= data.len();
        channel.in_core += data.len();
        window.on_fed(data.len(), now);
        fed = true;
    }
    fed
}
