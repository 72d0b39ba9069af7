//! Other things that wait, in this loop's wait.

use std::os::fd::{AsRawFd, RawFd};

use mio::unix::SourceFd;
use mio::{Interest, Token};

use super::{EventLoop, LoopError};

/// The token of everything that is watched: whoever watches asks all of it.
pub(super) const WATCHED: Token = Token(usize::MAX - 1);

impl EventLoop {
    /// Ends the wait in [`next_event`](Self::next_event), with `Ok(None)`, when this descriptor becomes readable, as
    /// [`LoopHandle::wake`](super::LoopHandle::wake) does. So something else can live on this thread, as a
    /// [`TurnServer`](crate::server::turn::TurnServer): after each `next_event` let it do its work, and make the
    /// timeout no longer than its next deadline.
    ///
    /// It is said once; read until nothing is left. Before the descriptor is closed, [`unwatch`](Self::unwatch) it.
    ///
    /// # Errors
    ///
    /// [`LoopError::Io`]: the system cannot wait for this kind of descriptor.
    pub fn watch(&mut self, descriptor: &impl AsRawFd) -> Result<(), LoopError> {
        let fd: RawFd = descriptor.as_raw_fd();
        let registry = self.poll.registry();
        registry
            .register(&mut SourceFd(&fd), WATCHED, Interest::READABLE)
            .map_err(|e| LoopError::Io("watching a descriptor", e))
    }

    /// Ends what [`watch`](Self::watch) began.
    ///
    /// # Errors
    ///
    /// [`LoopError::Io`]: it was not watched.
    pub fn unwatch(&mut self, descriptor: &impl AsRawFd) -> Result<(), LoopError> {
        let fd: RawFd = descriptor.as_raw_fd();
        let registry = self.poll.registry();
        registry
            .deregister(&mut SourceFd(&fd))
            .map_err(|e| LoopError::Io("unwatching a descriptor", e))
    }
}
