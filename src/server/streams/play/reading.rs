//! Reads files and pipes ahead of time, up to a limit, on a thread of their own, so that a slow disk or an empty pipe
//! does not block the loop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::pass::Pass;
use super::queue::{Item, Shared};
use super::{AtEnd, Input, probe};
use crate::driver::LoopHandle;
use crate::server::streams::config::StreamsConfig;

/// Delay after the end of a named pipe's writer before the pipe is reopened.
const REOPEN: Duration = Duration::from_millis(200);

/// The loop's handle of a reading thread. When it is dropped, the thread ends; if it waits for a pipe, with the next
/// data.
#[derive(Debug)]
pub(in crate::server::streams) struct Reading(Arc<Shared>);

impl Reading {
    /// Starts the thread.
    pub fn start(input: Input, handle: LoopHandle, config: &StreamsConfig) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(handle, config, input.is_live));
        let theirs = shared.clone();
        std::thread::Builder::new()
            .name("looprtc-reader".into())
            .spawn(move || run(&input, &theirs))?;
        Ok(Self(shared))
    }

    /// Returns the next item read; `None` if there is none yet: the loop is woken once there is.
    pub(super) fn pop(&self) -> Option<Item> {
        self.0.pop()
    }

    /// Returns the number of frames of a live pipe that were dropped because the loop did not take them in time.
    pub fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    /// Returns the number of queued items, and of their bytes.
    #[cfg(test)]
    pub fn held(&self) -> (usize, usize) {
        self.0.held()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn run(input: &Input, queue: &Shared) {
    let more = input.at_end != AtEnd::Stop;
    let is_named_pipe = input.at_end == AtEnd::NextWriter;
    if let Err(why) = check(input) {
        queue.push(Item::Failed(why));
        return;
    }
    loop {
        let result = Pass::open(input).and_then(|pass| pass.play(queue, more));
        match result {
            Ok(true) if more => {}
            Ok(_) => return,
            Err(why) if is_named_pipe => {
                if !queue.push(Item::Trouble(why)) {
                    return;
                }
            }
            Err(why) => {
                queue.push(Item::Failed(why));
                return;
            }
        }
        if is_named_pipe {
            std::thread::sleep(REOPEN);
        }
    }
}

fn check(input: &Input) -> Result<(), String> {
    match input.is_checked {
        true => probe(input).map(|_| ()),
        false => Ok(()),
    }
}
