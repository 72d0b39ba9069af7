//! Decodes the chunked transfer coding (RFC 9112, section 7.1).

use super::head::too_large;
use super::{Refusal, field};

/// Maximum length of a line with a chunk's size and extensions, and of a trailer line, in bytes.
const MAX_LINE: usize = 256;

/// Maximum number of trailer lines. They are checked and ignored.
const MAX_TRAILERS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the line with a chunk's size.
    Size,
    /// Inside a chunk, with this many bytes still missing.
    Data(usize),
    /// Before the CR LF that ends a chunk.
    End,
    /// Before a trailer line, after this many others.
    Trailer(usize),
    Done,
}

/// Decoder of one chunked body.
#[derive(Debug)]
pub(super) struct Chunked {
    max_body: usize,
    body: Vec<u8>,
    state: State,
}

impl Chunked {
    pub fn new(max_body: usize) -> Self {
        Self {
            max_body,
            body: Vec::new(),
            state: State::Size,
        }
    }

    /// Returns the length of the body so far, in bytes.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Returns the memory in use, in bytes.
    pub fn held(&self) -> usize {
        self.body.capacity()
    }

    /// Takes the body, once it is complete.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.body)
    }

    /// Decodes these bytes. Returns how many of them were used, and `true` once the body is complete. Pass unused bytes
    /// again, followed by later ones.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), Refusal> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match self.state {
                State::Size => {
                    let Some(line) = line(rest)? else { break };
                    used += line.len() + 2;
                    let size = self.size(line)?;
                    self.state = match size {
                        0 => State::Trailer(0),
                        _ => State::Data(size),
                    };
                }
                State::Data(left) => {
                    let taken = left.min(rest.len());
                    self.body.extend_from_slice(&rest[..taken]);
                    used += taken;
                    if taken < left {
                        self.state = State::Data(left - taken);
                        break;
                    }
                    self.state = State::End;
                }
                State::End => {
                    match rest {
                        [b'\r', b'\n', ..] => {}
                        [] | [b'\r'] => break,
                        _ => return Err(Refusal::bad("a chunk is longer than its size")),
                    }
                    used += 2;
                    self.state = State::Size;
                }
                State::Trailer(count) => {
                    let Some(line) = line(rest)? else { break };
                    used += line.len() + 2;
                    if line.is_empty() {
                        self.state = State::Done;
                        break;
                    }
                    if count == MAX_TRAILERS {
                        return Err(Refusal::new(431, "too many lines after the body"));
                    }
                    field(text(line)?)?;
                    self.state = State::Trailer(count + 1);
                }
                State::Done => break,
            }
        }
        Ok((used, self.state == State::Done))
    }

    /// Returns the size at the beginning of this line. Extensions, behind a `;`, are ignored.
    fn size(&self, line: &[u8]) -> Result<usize, Refusal> {
        let line = text(line)?;
        if line.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(Refusal::bad("the size of a chunk has a control character"));
        }
        let digits = line.split(';').next().unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Refusal::bad(
                "the size of a chunk is not a hexadecimal number",
            ));
        }
        let size = usize::from_str_radix(digits, 16).unwrap_or(usize::MAX);
        if size > self.max_body.saturating_sub(self.body.len()) {
            return Err(too_large(self.max_body));
        }
        Ok(size)
    }
}

/// Returns the next line without its CR LF, or `None` if it is not complete.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    let Some(end) = bytes.iter().take(MAX_LINE).position(|b| *b == b'\n') else {
        if bytes.len() >= MAX_LINE {
            return Err(Refusal::bad("a line within the body is too long"));
        }
        return Ok(None);
    };
    match bytes[..end].split_last() {
        Some((b'\r', line)) => Ok(Some(line)),
        _ => Err(Refusal::bad("a line within the body ends without CR")),
    }
}

fn text(line: &[u8]) -> Result<&str, Refusal> {
    let ascii = line.is_ascii().then(|| std::str::from_utf8(line).ok());
    ascii
        .flatten()
        .ok_or_else(|| Refusal::bad("a line within the body is not ASCII"))
}
