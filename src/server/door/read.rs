//! Bytes of a connection become requests (RFC 9112). Pure: it is told what has come, and says what it is.

use super::chunked::Chunked;
use crate::signaling::http::head::{self, Framing, Refusal};

/// Empty lines that are passed over before a request. RFC 9112, section 2.2, wants one to be; some clients send one
/// after each body.
const MAX_EMPTY_LINES: usize = 8;

/// A buffer that has used up this many bytes is made smaller.
const WORTH_SHRINKING: usize = 4096;

/// How large what is read may become, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadLimits {
    pub head: usize,
    pub body: usize,
}

/// A request as it came, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    /// The head, its empty line included; it has been checked.
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

/// What the bytes so far have led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// More bytes are needed.
    More,
    /// The client has to be told to send its body; then as `More`.
    Continue,
    Request(Raw),
    /// Nothing that comes after it can be understood.
    Refused(Refusal),
}

#[derive(Debug)]
enum State {
    Head,
    Length { head: Vec<u8>, length: usize },
    Chunked { head: Vec<u8>, body: Chunked },
    Refused,
}

/// Reads requests, one after the other.
#[derive(Debug)]
pub(crate) struct RequestReader {
    limits: ReadLimits,
    /// Bytes received.
    bytes: Vec<u8>,
    /// How many of these bytes are used up.
    used: usize,
    /// How many of those that follow are known to be of the head.
    scanned: usize,
    /// Empty lines that have come before this request.
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

    /// Returns the number of bytes received for a request that is not complete.
    pub fn unfinished(&self) -> usize {
        let inside = match &self.state {
            State::Chunked { head, body } => head.len() + body.len(),
            State::Length { head, .. } => head.len(),
            State::Head | State::Refused => 0,
        };
        self.rest().len() + inside
    }

    /// Returns the memory in use, in bytes: capacity, which may be twice what has come.
    pub fn held(&self) -> usize {
        let inside = match &self.state {
            State::Chunked { head, body } => head.capacity() + body.held(),
            State::Length { head, .. } => head.capacity(),
            State::Head | State::Refused => 0,
        };
        self.bytes.capacity() + inside
    }

    /// Whether it is between two requests.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head) && self.rest().is_empty()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Takes `count` bytes out of what has come.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.rest()[..count].to_vec();
        self.used += count;
        taken
    }

    /// Frees what is used up. A byte is moved no more often than others are used up, so that the time is linear
    /// however small the requests are.
    fn free(&mut self) {
        if self.used == self.bytes.len() {
            // What idles holds nothing.
            (self.bytes, self.used) = (Vec::new(), 0);
        } else if self.used >= WORTH_SHRINKING.max(self.bytes.len() / 2) {
            self.bytes.drain(..self.used);
            self.bytes.shrink_to_fit();
            self.used = 0;
        }
    }

    /// Whether the head has come and the body has not.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Length { .. } | State::Chunked { .. })
    }

    /// Why a request that ends here is not one.
    pub fn ended(&self) -> Option<Refusal> {
        let text = match &self.state {
            State::Head if self.rest().is_empty() => return None,
            State::Refused => return None,
            State::Head => "the connection ended within the head".to_owned(),
            State::Length { length, .. } => {
                let got = self.rest().len();
                format!("the body ended after {got} of {length} bytes")
            }
            State::Chunked { .. } => "the connection ended within the body".to_owned(),
        };
        Some(Refusal::new(400, text))
    }

    /// What is left over, for another protocol.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.bytes.split_off(self.used)
    }

    /// The next step. To be asked until it is `More` or `Refused`.
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
        match &mut self.state {
            State::Refused => Ok(Step::More),
            State::Head => self.head(),
            State::Length { head, length } => {
                let length = *length;
                if self.bytes.len() - self.used < length {
                    return Ok(Step::More);
                }
                let head = std::mem::take(head);
                let body = self.take(length);
                self.state = State::Head;
                Ok(Step::Request(Raw { head, body }))
            }
            State::Chunked { head, body } => {
                let (used, is_done) = body.take(&self.bytes[self.used..])?;
                self.used += used;
                if !is_done {
                    return Ok(Step::More);
                }
                let head = std::mem::take(head);
                let body = body.finish();
                self.state = State::Head;
                Ok(Step::Request(Raw { head, body }))
            }
        }
    }

    fn head(&mut self) -> Result<Step, Refusal> {
        while self.scanned == 0 && self.rest().starts_with(b"\r\n") {
            self.used += 2;
            self.empty_lines += 1;
            if self.empty_lines > MAX_EMPTY_LINES {
                let text = format!("more than {MAX_EMPTY_LINES} empty lines before a request");
                return Err(Refusal::new(400, text));
            }
        }
        if matches!(self.rest(), [] | [b'\r']) {
            return Ok(Step::More);
        }
        let Some(end) = self.scan()? else {
            return Ok(Step::More);
        };
        let bytes = self.take(end);
        (self.scanned, self.empty_lines) = (0, 0);
        let head = head::parse(&bytes, self.limits.body)?;
        let waits = head.expects_continue && self.rest().is_empty();
        match head.framing {
            Framing::None | Framing::Length(0) => {
                let body = Vec::new();
                return Ok(Step::Request(Raw { head: bytes, body }));
            }
            Framing::Length(length) => {
                self.state = State::Length {
                    head: bytes,
                    length,
                };
            }
            Framing::Chunked => {
                self.state = State::Chunked {
                    head: bytes,
                    body: Chunked::new(self.limits.body),
                };
            }
        }
        if waits {
            Ok(Step::Continue)
        } else {
            self.try_step()
        }
    }

    /// Looks for the end of the head, in what has not been looked at. A line must end with CR LF: readers that take a
    /// lone LF for the end of a line would see other lines than those that do not.
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
                return Err(Refusal::new(400, "a line of the head ends without CR"));
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
