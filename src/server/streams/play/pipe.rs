//! Bytes from a file or pipe, with prompt delivery of frames from a live pipe.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

/// Size of a read, in bytes.
const CHUNK: usize = 64 * 1024;

/// Frame interval above which a live pipe is slow: a frame is then not held until the next one shows that it is
/// complete, but released once nothing has arrived for [`QUIET`]. Faster ones are never cut, because their writer may
/// have been interrupted within a frame.
const SLOW: Duration = Duration::from_millis(120);

/// See [`SLOW`].
const QUIET: Duration = Duration::from_millis(60);

/// A file or pipe being read.
pub(super) struct Pipe {
    input: Box<dyn Read>,
    chunk: Vec<u8>,
    /// A second handle of the pipe, used to wait for data.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    live: Option<File>,
    last: Option<Instant>,
    interval: Duration,
}

impl Pipe {
    /// Wraps a file, which is read on demand.
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

    /// Reads available data; empty at the end.
    pub fn read(&mut self) -> io::Result<&[u8]> {
        self.chunk.resize(CHUNK, 0);
        let n = self.input.read(&mut self.chunk)?;
        Ok(self.chunk.get(..n).unwrap_or_default())
    }

    /// Records that a frame was completed.
    pub fn note_frame(&mut self) {
        if self.live.is_some() {
            let now = Instant::now();
            let last = self.last.replace(now).unwrap_or(now);
            self.interval = now.saturating_duration_since(last);
        }
    }

    /// Waits for more data, if the pipe is slow. Returns `true` if none arrived, so that the data so far is a complete
    /// frame.
    pub fn is_quiet(&self) -> bool {
        match &self.live {
            Some(file) if self.interval >= SLOW => !is_readable_within(file, QUIET),
            _ => false,
        }
    }
}

/// Returns the standard input without the buffer that `std` adds.
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
    // If waiting is impossible, it is read at once.
    poll(&mut all, Some(&timeout)).map_or(true, |n| n > 0)
}

#[cfg(not(target_os = "linux"))]
fn is_readable_within(_: &File, _: Duration) -> bool {
    true
}
