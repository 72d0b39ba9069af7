//! Bytes from a file or pipe, and how a live pipe is read without waiting for the frame after.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// A live pipe whose frames are further apart than this is slow: a frame is not held until the next one shows that it is
/// whole, but given out once nothing has come for [`QUIET`]. Faster ones are never cut, as their writer may have been
/// interrupted in the middle of a frame.
const SLOW: Duration = Duration::from_millis(120);

/// See [`SLOW`].
const QUIET: Duration = Duration::from_millis(60);

/// A file or pipe being read.
pub(super) struct Pipe {
    input: Box<dyn Read>,
    chunk: Vec<u8>,
    /// A second handle of the pipe, for waiting.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    live: Option<File>,
    last: Option<Instant>,
    interval: Duration,
}

impl Pipe {
    /// Wraps a file, which is read as fast as it is wanted.
    pub fn of(input: impl Read + 'static) -> Self {
        Self {
            input: Box::new(input),
            chunk: Vec::new(),
            live: None,
            last: None,
            interval: Duration::ZERO,
        }
    }

    /// Opens a named pipe, or the standard input. Waits for a writer.
    pub fn open(path: Option<&Path>, live: bool) -> io::Result<Self> {
        let file = match path {
            Some(path) => File::open(path)?,
            None => match standard_input()? {
                Some(file) => file,
                None => return Ok(Self::of(io::stdin())),
            },
        };
        let twin = live.then(|| file.try_clone()).transpose()?;
        Ok(Self {
            live: twin,
            ..Self::of(file)
        })
    }

    /// Reads what there is; empty at the end.
    pub fn read(&mut self) -> io::Result<&[u8]> {
        self.chunk.resize(CHUNK, 0);
        let n = self.input.read(&mut self.chunk)?;
        Ok(self.chunk.get(..n).unwrap_or_default())
    }

    /// A frame has come of it.
    pub fn note_frame(&mut self) {
        if self.live.is_some() {
            let now = Instant::now();
            let last = self.last.replace(now).unwrap_or(now);
            self.interval = now.saturating_duration_since(last);
        }
    }

    /// Waits for more to read, if the pipe is slow. Returns `true` if nothing came for so long that what was read is
    /// a whole frame.
    pub fn is_quiet(&self) -> bool {
        match &self.live {
            Some(file) if self.interval >= SLOW => !is_readable_within(file, QUIET),
            _ => false,
        }
    }
}

/// The standard input without the buffer that `std` puts in front of it.
#[cfg(unix)]
fn standard_input() -> io::Result<Option<File>> {
    use std::os::fd::AsFd;
    Ok(Some(File::from(io::stdin().as_fd().try_clone_to_owned()?)))
}

#[cfg(not(unix))]
fn standard_input() -> io::Result<Option<File>> {
    Ok(None)
}

/// Returns `true` if the standard input is a file.
pub(in crate::server::streams) fn is_input_a_file() -> bool {
    let file = standard_input().ok().flatten();
    file.is_some_and(|f| f.metadata().is_ok_and(|m| m.is_file()))
}

#[cfg(target_os = "linux")]
fn is_readable_within(file: &File, wait: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(wait.subsec_nanos()),
    };
    let mut all = [PollFd::new(file, PollFlags::IN)];
    // What cannot be waited for is read at once.
    poll(&mut all, Some(&timeout)).map_or(true, |n| n > 0)
}

#[cfg(not(target_os = "linux"))]
fn is_readable_within(_: &File, _: Duration) -> bool {
    true
}
