//! Buffer of unparsed input bytes that knows their position in the input.

use super::{Limits, MediaError, MediaErrorKind};

/// Room above `max_frame` for the container's own bytes around a frame.
const OVERHEAD: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// `bytes` is consumed up to this index.
    start: usize,
    /// Position of `bytes[start]` in the input.
    offset: u64,
    finished: bool,
    max_unread: usize,
}

impl Input {
    pub fn new(limits: &Limits) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            offset: 0,
            finished: false,
            max_unread: limits.max_unread.max(limits.max_frame + OVERHEAD),
        }
    }

    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        if self.unread().len() > self.max_unread {
            let reason = format!(
                "{} bytes are waiting; poll before feeding more",
                self.unread().len()
            );
            return Err(MediaError::new(MediaErrorKind::Unread, self.offset, reason));
        }
        // Moves the rest only when it is the smaller part: amortized, each byte moves once.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    pub fn finish(&mut self) {
        self.finished = true;
    }

    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Returns the unconsumed bytes.
    pub fn unread(&self) -> &[u8] {
        // `start` never passes the end: see `consume`
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Returns the first `n` bytes, if they are there.
    pub fn peek(&self, n: usize) -> Option<&[u8]> {
        self.unread().get(..n)
    }

    /// Returns the position of the first unread byte in the input.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Consumes `n` bytes, or all there are.
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.bytes.len() - self.start);
        self.start += n;
        self.offset += n as u64;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
            // Releases the memory of a large burst.
            self.bytes.shrink_to(self.max_unread.min(1 << 20));
        }
    }

    /// Discards everything; the next byte fed is at `offset`.
    pub fn restart(&mut self, offset: u64) {
        self.bytes.clear();
        self.start = 0;
        self.offset = offset;
        self.finished = false;
    }
}

/// Reads an integer at a position; returns 0 beyond the end. Callers check the length before.
pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    array(bytes, at).map_or(0, u16::from_le_bytes)
}

pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    array(bytes, at).map_or(0, u32::from_le_bytes)
}

pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    array(bytes, at).map_or(0, u64::from_le_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
