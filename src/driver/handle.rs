//! Access to a loop from other threads.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::EventLoop;

/// A job for the loop's thread.
pub(super) type Job = Box<dyn FnOnce(&mut EventLoop) + Send>;

struct Shared {
    waker: mio::Waker,
    jobs: Mutex<VecDeque<Job>>,
    max: usize,
    wake_asked: AtomicBool,
    closed: AtomicBool,
}

/// Handle for other threads to reach a loop. Cheap to clone.
#[derive(Clone)]
pub struct LoopHandle(Arc<Shared>);

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopHandle").finish_non_exhaustive()
    }
}

/// Reason why a job was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostError {
    /// [`LoopConfig::max_posted`](super::LoopConfig::max_posted) jobs are queued. Try again later.
    Full,
    /// The loop has been dropped.
    Closed,
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the loop has too many jobs waiting; try again later",
            Self::Closed => "the loop is gone",
        })
    }
}

impl std::error::Error for PostError {}

impl LoopHandle {
    pub(super) fn new(waker: mio::Waker, max: usize) -> Self {
        Self(Arc::new(Shared {
            waker,
            jobs: Mutex::new(VecDeque::new()),
            max,
            wake_asked: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }))
    }

    /// Queues a job for the loop's thread, to be run in its next turn. Jobs run in order.
    ///
    /// # Errors
    ///
    /// Returns [`PostError::Full`] or [`PostError::Closed`]; the job was dropped.
    pub fn post(&self, job: impl FnOnce(&mut EventLoop) + Send + 'static) -> Result<(), PostError> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(PostError::Closed);
        }
        {
            let mut jobs = self.jobs();
            if jobs.len() >= self.0.max {
                return Err(PostError::Full);
            }
            jobs.push_back(Box::new(job));
        }
        self.notify();
        Ok(())
    }

    /// Makes [`EventLoop::next_event`] return `None` once, so that the loop's thread can look at data left by another
    /// thread.
    pub fn wake(&self) {
        self.ask_wake();
        self.notify();
    }

    /// Requests a wake-up from within an iteration of the loop.
    pub(super) fn ask_wake(&self) {
        self.0.wake_asked.store(true, Ordering::Release);
    }

    /// Ends the loop's wait.
    pub(super) fn notify(&self) {
        if let Err(e) = self.0.waker.wake() {
            log::error!("the loop cannot be woken: {e}");
        }
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        // The queue stays valid if a thread panics while holding the lock.
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self, most: usize) -> VecDeque<Job> {
        let mut jobs = self.jobs();
        let most = most.min(jobs.len());
        jobs.drain(..most).collect()
    }

    pub(super) fn has_jobs(&self) -> bool {
        !self.jobs().is_empty()
    }

    pub(super) fn take_wake(&self) -> bool {
        self.0.wake_asked.swap(false, Ordering::AcqRel)
    }

    pub(super) fn is_wake_asked(&self) -> bool {
        self.0.wake_asked.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.jobs().clear();
    }
}

pub(super) fn waker(registry: &mio::Registry, token: mio::Token) -> io::Result<mio::Waker> {
    mio::Waker::new(registry, token)
}
