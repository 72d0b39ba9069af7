//! Watching other descriptors during the loop's wait.

use std::os::fd::{AsRawFd, RawFd};

use mio::unix::SourceFd;
use mio::{Interest, Token};

use super::{EventLoop, LoopError};

/// mio token of all watched descriptors: the caller checks each of them.
pub(super) const WATCHED: Token = Token(usize::MAX - 1);

impl EventLoop {
    /// Ends the wait in [`next_event`](Self::next_event), with `Ok(None)`, when this descriptor becomes readable, as
    /// [`LoopHandle::wake`](super::LoopHandle::wake) does. This lets another event source share the thread, such as a
    /// [`TurnServer`](crate::server::turn::TurnServer): run it after each `next_event`, and limit the timeout to its
    /// next deadline.
    ///
    /// Readability is reported once: read until nothing is left. Call [`unwatch`](Self::unwatch) before the descriptor
    /// is closed.
    ///
    /// # Errors
    ///
    /// Returns [`LoopError::Io`] if the system cannot wait for this kind of descriptor.
    pub fn watch(&mut self, descriptor: &impl AsRawFd) -> Result<(), LoopError> {
        let fd: RawFd = descriptor.as_raw_fd();
        let registry = self.poll.registry();
        registry
            .register(&mut SourceFd(&fd), WATCHED, Interest::READABLE)
            .map_err(|e| LoopError::Io("watching a descriptor", e))
    }

    /// Stops watching a descriptor.
    ///
    /// # Errors
    ///
    /// Returns [`LoopError::Io`] if it was not watched.
    pub fn unwatch(&mut self, descriptor: &impl AsRawFd) -> Result<(), LoopError> {
        let fd: RawFd = descriptor.as_raw_fd();
        let registry = self.poll.registry();
        registry
            .deregister(&mut SourceFd(&fd))
            .map_err(|e| LoopError::Io("unwatching a descriptor", e))
    }
}
