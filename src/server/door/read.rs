//! Bytes of a connection become requests (RFC 9112). Pure: it is told what has come, and says what it is.

use super::chunked::Chunked;
use crate::signaling::http::head::{self, Framing, Refusal};

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
    /// What has come and is not used up.
    bytes: Vec<u8>,
    /// How many of them are known to be of the head.
    scanned: usize,
    state: State,
}

impl RequestReader {
    pub fn new(limits: ReadLimits) -> Self {
        Self {
            limits,
            bytes: Vec::new(),
            scanned: 0,
            state: State::Head,
        }
    }

    pub fn limits(&self) -> ReadLimits {
        self.limits
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        let inside = match &self.state {
            State::Chunked { head, body } => head.len() + body.held(),
            State::Length { head, .. } => head.len(),
            State::Head | State::Refused => 0,
        };
        self.bytes.len() + inside
    }

    /// Whether it is between two requests.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head) && self.bytes.is_empty()
    }

    /// Whether the head has come and the body has not.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Length { .. } | State::Chunked { .. })
    }

    /// Why a request that ends here is not one.
    pub fn ended(&self) -> Option<Refusal> {
        let text = match &self.state {
            State::Head if self.bytes.is_empty() => return None,
            State::Refused => return None,
            State::Head => "the connection ended within the head".to_owned(),
            State::Length { length, .. } => {
                let got = self.bytes.len();
                format!("the body ended after {got} of {length} bytes")
            }
            State::Chunked { .. } => "the connection ended within the body".to_owned(),
        };
        Some(Refusal::new(400, text))
    }

    /// What is left over, for another protocol.
    pub fn into_rest(self) -> Vec<u8> {
        self.bytes
    }

    /// The next step. To be asked until it is `More` or `Refused`.
    pub fn step(&mut self) -> Step {
        let step = self.try_step().unwrap_or_else(Step::Refused);
        match step {
            Step::Refused(_) => {
                self.state = State::Refused;
                self.bytes = Vec::new();
            }
            // What idles holds nothing.
            _ if self.bytes.is_empty() => self.bytes = Vec::new(),
            _ => {}
        }
        step
    }

    fn try_step(&mut self) -> Result<Step, Refusal> {
        match &mut self.state {
            State::Refused => Ok(Step::More),
            State::Head => self.head(),
            State::Length { head, length } => {
                if self.bytes.len() < *length {
                    return Ok(Step::More);
                }
                let head = std::mem::take(head);
                let rest = self.bytes.split_off(*length);
                let body = std::mem::replace(&mut self.bytes, rest);
                self.state = State::Head;
                Ok(Step::Request(Raw { head, body }))
            }
            State::Chunked { head, body } => {
                let (used, is_done) = body.take(&self.bytes)?;
                self.bytes.drain(..used);
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
        // Empty lines before the request are to be passed over (RFC 9112, section 2.2).
        while self.scanned == 0 && self.bytes.starts_with(b"\r\n") {
            self.bytes.drain(..2);
        }
        if matches!(self.bytes[..], [] | [b'\r']) {
            return Ok(Step::More);
        }
        let Some(end) = self.scan()? else {
            return Ok(Step::More);
        };
        let rest = self.bytes.split_off(end);
        let bytes = std::mem::replace(&mut self.bytes, rest);
        self.scanned = 0;
        let head = head::parse(&bytes, self.limits.body)?;
        let waits = head.expects_continue && self.bytes.is_empty();
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
        let most = self.bytes.len().min(self.limits.head);
        while self.scanned < most {
            let at = self.scanned;
            self.scanned += 1;
            if self.bytes[at] != b'\n' {
                continue;
            }
            if at == 0 || self.bytes[at - 1] != b'\r' {
                return Err(Refusal::new(400, "a line of the head ends without CR"));
            }
            if at >= 3 && self.bytes[at - 3..at - 1] == *b"\r\n" {
                return Ok(Some(at + 1));
            }
        }
        if self.bytes.len() >= self.limits.head {
            let most = self.limits.head;
            return Err(Refusal::new(431, format!("the head is over {most} bytes")));
        }
        Ok(None)
    }
}
