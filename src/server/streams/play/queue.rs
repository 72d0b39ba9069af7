//! Queue from the reading thread to the loop.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::driver::LoopHandle;
use crate::proto::media::Frame;
use crate::server::streams::config::StreamsConfig;
use crate::server::streams::kind::Contents;

/// An item that was read.
#[derive(Debug)]
pub(super) enum Item {
    /// The start of a file, or of a writer's output, with its tracks.
    Tracks(Contents),
    /// A remark about the source, for people.
    Note(String),
    /// A frame of a track. Frames of all tracks are in order of time.
    Frame {
        track: usize,
        frame: Frame,
        /// When its last byte was read.
        arrived: Instant,
    },
    /// Everything was read. `more`: it starts over.
    End { more: bool },
    /// The writer of a named pipe sent invalid data; the next one may follow.
    Trouble(String),
    /// The source cannot be read, and nothing follows.
    Failed(String),
}

impl Item {
    fn size(&self) -> usize {
        match self {
            Self::Frame { frame, .. } => frame.data.len(),
            _ => 0,
        }
    }
}

/// A queue limited in items and bytes. When it is full, a file's reader waits; a live pipe's drops the oldest items.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    room: Condvar,
    handle: LoopHandle,
    max_items: usize,
    max_bytes: usize,
    live: bool,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    /// The loop wants no more items.
    closed: bool,
    /// The loop found the queue empty, and has to be woken.
    waiting: bool,
    /// Number of frames of a live pipe that were dropped.
    dropped: u64,
    /// Video was dropped: frames that depend on it are dropped, too.
    wants_keyframe: bool,
}

impl State {
    /// Drops the frames before the latest keyframe of a video, or all of them if that is not enough.
    fn make_room(&mut self) {
        let is_key = |item: &Item| match item {
            Item::Frame { frame, .. } => frame.keyframe,
            _ => false,
        };
        let keep = self.items.iter().rposition(is_key).filter(|at| *at > 0);
        let before = self.items.len();
        let mut index = 0;
        self.items.retain(|item| {
            index += 1;
            let is_kept = keep.is_some_and(|at| index > at);
            is_kept || !matches!(item, Item::Frame { .. })
        });
        self.dropped += (before - self.items.len()) as u64;
        self.bytes = self.items.iter().map(Item::size).sum();
        self.wants_keyframe = keep.is_none();
    }
}

impl Shared {
    pub fn new(handle: LoopHandle, config: &StreamsConfig, live: bool) -> Self {
        Self {
            state: Mutex::default(),
            room: Condvar::new(),
            handle,
            max_items: config.max_read_frames.max(2),
            max_bytes: config.max_read_bytes,
            live,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The queue stays valid if a thread panics while holding the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item; returns `true` if the loop wants more. Waits for room, unless the source is live.
    pub fn push(&self, item: Item) -> bool {
        let size = item.size();
        let mut state = self.lock();
        let is_full = |s: &mut State| {
            let many = s.items.len() >= self.max_items || s.bytes + size > self.max_bytes;
            !s.closed && !s.items.is_empty() && many
        };
        if is_full(&mut state) && !self.live {
            let waited = self.room.wait_while(state, is_full);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        } else if is_full(&mut state) {
            state.make_room();
        }
        if state.closed {
            return false;
        }
        if let Item::Frame { frame, .. } = &item
            && state.wants_keyframe
        {
            if !frame.keyframe {
                state.dropped += 1;
                return true;
            }
            state.wants_keyframe = false;
        }
        state.bytes += size;
        state.items.push_back(item);
        if std::mem::take(&mut state.waiting) {
            drop(state);
            self.handle.wake();
        }
        true
    }

    /// Takes the next item; `None` if there is none yet: the loop is woken when there is.
    pub fn pop(&self) -> Option<Item> {
        let mut state = self.lock();
        let Some(item) = state.items.pop_front() else {
            state.waiting = true;
            return None;
        };
        state.bytes -= item.size();
        // The thread then reads several at once.
        if state.items.len() <= self.max_items / 2 {
            self.room.notify_one();
        }
        Some(item)
    }

    /// Closes the queue: the thread ends with the next item that it reads.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.items.clear();
        self.room.notify_all();
    }

    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Returns the number of queued items and bytes.
    #[cfg(test)]
    pub fn held(&self) -> (usize, usize) {
        let state = self.lock();
        (state.items.len(), state.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(n: u64, keyframe: bool) -> Item {
        let frame = Frame {
            time: Duration::from_millis(n),
            duration: Duration::ZERO,
            keyframe,
            offset: n,
            data: vec![0; 10],
        };
        Item::Frame {
            track: 0,
            frame,
            arrived: Instant::now(),
        }
    }

    fn numbers(queue: &Shared) -> Vec<u64> {
        let items = std::iter::from_fn(|| queue.pop());
        let number = |item| match item {
            Item::Frame { frame, .. } => Some(frame.offset),
            _ => None,
        };
        items.filter_map(number).collect()
    }

    #[test]
    fn a_live_queue_never_waits_and_keeps_what_can_be_decoded() {
        let net = crate::driver::EventLoop::new(crate::driver::LoopConfig::default()).unwrap();
        let config = StreamsConfig::default().max_read_frames(8);
        let queue = Shared::new(net.handle(), &config, true);
        assert!(queue.push(Item::Tracks(Contents::default())));
        // The loop takes nothing: a keyframe every fifth frame.
        (0..1000).for_each(|n| assert!(queue.push(frame(n, n % 5 == 0))));
        assert!(queue.held().0 <= 8);
        let kept = numbers(&queue);
        assert!(!kept.is_empty() && kept[0].is_multiple_of(5), "{kept:?}");
        assert!(kept.windows(2).all(|w| w[1] == w[0] + 1), "{kept:?}");
        assert_eq!(queue.dropped() + kept.len() as u64, 1000);
        // A single keyframe, and then too many frames: nothing until the next keyframe.
        let queue = Shared::new(net.handle(), &config, true);
        (0..20).for_each(|n| assert!(queue.push(frame(n, n == 0))));
        assert_eq!(numbers(&queue), [0; 0]);
        assert!(queue.push(frame(20, false)) && queue.push(frame(21, true)));
        assert_eq!(numbers(&queue), [21]);
    }
}
