//! Bodies that come in chunks (RFC 9112, section 7.1).

use crate::signaling::http::head::{Refusal, field};

/// The longest line of a chunk's size with its extensions, and the longest trailer, in bytes.
const MAX_LINE: usize = 256;

/// Trailer lines taken; they are thrown away.
const MAX_TRAILERS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At a size.
    Size,
    /// So many bytes of a chunk are still to come.
    Data(usize),
    /// At the CR LF behind a chunk.
    End,
    /// At a trailer line, of which there were so many.
    Trailer(usize),
    Done,
}

/// Takes a chunked body apart.
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

    /// The body, once it is whole.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.body)
    }

    /// Takes of these bytes what it can: how many they were, and whether the body is whole. What was not taken has to
    /// come again with what follows it.
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
                        _ => return Err(bad("a chunk is longer than its size")),
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

    /// The size at the beginning of this line; what follows a `;` is not looked at, but for its bytes.
    fn size(&self, line: &[u8]) -> Result<usize, Refusal> {
        let line = text(line)?;
        if line.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(bad("the size of a chunk has a control character"));
        }
        let digits = line.split(';').next().unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad("the size of a chunk is not a hexadecimal number"));
        }
        let size = usize::from_str_radix(digits, 16).unwrap_or(usize::MAX);
        if size > self.max_body.saturating_sub(self.body.len()) {
            let most = self.max_body;
            let text = format!("the body is over the limit of {most} bytes");
            return Err(Refusal::new(413, text));
        }
        Ok(size)
    }
}

/// The next line, without its CR LF, once it is there.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    let Some(end) = bytes.iter().take(MAX_LINE).position(|b| *b == b'\n') else {
        if bytes.len() >= MAX_LINE {
            return Err(bad("a line within the body is too long"));
        }
        return Ok(None);
    };
    match bytes[..end].split_last() {
        Some((b'\r', line)) => Ok(Some(line)),
        _ => Err(bad("a line within the body ends without CR")),
    }
}

fn text(line: &[u8]) -> Result<&str, Refusal> {
    let ascii = line.is_ascii().then(|| std::str::from_utf8(line).ok());
    ascii
        .flatten()
        .ok_or_else(|| bad("a line within the body is not ASCII"))
}

fn bad(message: &str) -> Refusal {
    Refusal::new(400, message)
}
