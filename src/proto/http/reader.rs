//! Splits the bytes of a connection into requests (RFC 9112).

use super::chunked::Chunked;
use super::head::{Framing, ReadLimits};
use super::{Refusal, RequestHead};

/// Maximum number of empty lines skipped before a request. RFC 9112, section 2.2, asks for one; some clients send one
/// after each body.
const MAX_EMPTY_LINES: usize = 8;

/// Number of consumed bytes at the front of the buffer from which it is compacted.
const WORTH_SHRINKING: usize = 4096;

/// A complete request: its head, and its body decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawRequest {
    pub head: RequestHead,
    pub body: Vec<u8>,
}

/// Result of [`RequestReader::step`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// More bytes are needed.
    More,
    /// The client waits for `100 Continue` before it sends the body. After that more bytes are needed.
    Continue,
    Request(Box<RawRequest>),
    /// The bytes are not a request; later bytes of the connection are ignored.
    Refused(Refusal),
}

#[derive(Debug)]
enum State {
    Head,
    /// The head is complete, and a body follows it.
    Body {
        head: RequestHead,
        /// The memory that the head takes, in bytes.
        held: usize,
        body: Body,
    },
    Refused,
}

/// A body that is not complete.
#[derive(Debug)]
enum Body {
    Length(usize),
    Chunked(Chunked),
}

/// Parses requests, one after the other.
#[derive(Debug)]
pub(crate) struct RequestReader {
    limits: ReadLimits,
    /// Received bytes.
    bytes: Vec<u8>,
    /// How many of these are used up.
    used: usize,
    /// How many of the following bytes are known to belong to the head.
    scanned: usize,
    /// Empty lines skipped before this request.
    empty_lines: usize,
    state: State,
}

impl RequestReader {
    pub fn new(limits: ReadLimits) -> Self {
        Self {
            limits,
            bytes: Vec::new(),
            used: 0,
            scanned: 0,
            empty_lines: 0,
            state: State::Head,
        }
    }

    pub fn limits(&self) -> ReadLimits {
        self.limits
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the number of bytes received for a request that is not complete, without its head once that is parsed.
    pub fn unfinished(&self) -> usize {
        let inside = match &self.state {
            State::Body {
                body: Body::Chunked(body),
                ..
            } => body.len(),
            _ => 0,
        };
        self.rest().len() + inside
    }

    /// Returns the memory in use, in bytes: by capacity, which may be twice as much as was received.
    pub fn held(&self) -> usize {
        let inside = match &self.state {
            State::Body { held, body, .. } => {
                let chunks = match body {
                    Body::Chunked(body) => body.held(),
                    Body::Length(_) => 0,
                };
                held + chunks
            }
            State::Head | State::Refused => 0,
        };
        self.bytes.capacity() + inside
    }

    /// Returns `true` between two requests.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head) && self.rest().is_empty()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Takes the next `count` bytes.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.rest()[..count].to_vec();
        self.used += count;
        taken
    }

    /// Frees the used bytes. A byte is moved no more often than others are used, so that the time is linear however small
    /// the requests are.
    fn free(&mut self) {
        if self.used == self.bytes.len() {
            // An idle connection holds no memory.
            (self.bytes, self.used) = (Vec::new(), 0);
        } else if self.used >= WORTH_SHRINKING.max(self.bytes.len() / 2) {
            self.bytes.drain(..self.used);
            self.bytes.shrink_to_fit();
            self.used = 0;
        }
    }

    /// Returns `true` if the head is complete and the body is not.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Body { .. })
    }

    /// Returns the refusal of a request that ends here, with the connection. `None`: no request has begun.
    pub fn ended(&self) -> Option<Refusal> {
        let text = match &self.state {
            State::Head if self.rest().is_empty() => return None,
            State::Refused => return None,
            State::Head => "the connection ended within the head".to_owned(),
            State::Body {
                body: Body::Length(length),
                ..
            } => {
                let got = self.rest().len();
                format!("the body ended after {got} of {length} bytes")
            }
            State::Body { .. } => "the connection ended within the body".to_owned(),
        };
        Some(Refusal::bad(text))
    }

    /// Returns the bytes behind the last request, for another protocol.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.bytes.split_off(self.used)
    }

    /// Takes the next step. Call it until it returns `More` or `Refused`.
    pub fn step(&mut self) -> Step {
        let step = self.try_step().unwrap_or_else(Step::Refused);
        if let Step::Refused(_) = step {
            self.state = State::Refused;
            self.used = self.bytes.len();
        }
        self.free();
        step
    }

    fn try_step(&mut self) -> Result<Step, Refusal> {
        match self.state {
            State::Refused => Ok(Step::More),
            State::Head => self.head(),
            State::Body { .. } => self.body(),
        }
    }

    fn body(&mut self) -> Result<Step, Refusal> {
        let State::Body { body, .. } = &mut self.state else {
            return Ok(Step::More);
        };
        let rest = &self.bytes[self.used..];
        let body = match body {
            Body::Length(length) if rest.len() < *length => return Ok(Step::More),
            Body::Length(length) => {
                let length = *length;
                self.take(length)
            }
            Body::Chunked(chunked) => {
                let (used, is_done) = chunked.take(rest)?;
                self.used += used;
                if !is_done {
                    return Ok(Step::More);
                }
                chunked.finish()
            }
        };
        match std::mem::replace(&mut self.state, State::Head) {
            State::Body { head, .. } => Ok(Step::Request(Box::new(RawRequest { head, body }))),
            State::Head | State::Refused => Ok(Step::More),
        }
    }

    fn head(&mut self) -> Result<Step, Refusal> {
        while self.scanned == 0 && self.rest().starts_with(b"\r\n") {
            self.used += 2;
            self.empty_lines += 1;
            if self.empty_lines > MAX_EMPTY_LINES {
                let text = format!("more than {MAX_EMPTY_LINES} empty lines before a request");
                return Err(Refusal::bad(text));
            }
        }
        if matches!(self.rest(), [] | [b'\r']) {
            return Ok(Step::More);
        }
        let Some(end) = self.scan()? else {
            return Ok(Step::More);
        };
        let head = RequestHead::parse(&self.rest()[..end], &self.limits)?;
        self.used += end;
        (self.scanned, self.empty_lines) = (0, 0);
        let waits = head.expects_continue && self.rest().is_empty();
        let body = match head.framing {
            Framing::None | Framing::Length(0) => {
                let body = Vec::new();
                return Ok(Step::Request(Box::new(RawRequest { head, body })));
            }
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Chunked::new(self.limits.body)),
        };
        let held = head.held();
        self.state = State::Body { head, held, body };
        if waits {
            Ok(Step::Continue)
        } else {
            self.body()
        }
    }

    /// Finds the end of the head in the bytes that have not been scanned. A line must end with CR LF: a parser that
    /// accepts a lone LF as the end of a line sees different lines.
    fn scan(&mut self) -> Result<Option<usize>, Refusal> {
        let rest = &self.bytes[self.used..];
        let most = rest.len().min(self.limits.head);
        while self.scanned < most {
            let at = self.scanned;
            self.scanned += 1;
            if rest[at] != b'\n' {
                continue;
            }
            if at == 0 || rest[at - 1] != b'\r' {
                return Err(Refusal::bad("a line of the head ends without CR"));
            }
            if at >= 3 && rest[at - 3..at - 1] == *b"\r\n" {
                return Ok(Some(at + 1));
            }
        }
        if rest.len() >= self.limits.head {
            let most = self.limits.head;
            return Err(Refusal::new(431, format!("the head is over {most} bytes")));
        }
        Ok(None)
    }
}
